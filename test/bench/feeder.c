/*
 * A rack of machines that talk: N ptys, each fed a stream that anybody can compute again, so that
 * what was logged can be compared with what was said, byte for byte.
 *
 *   feeder feed PORTS [CHUNK-MIN CHUNK-MAX]   opens the ptys, then obeys commands on stdin
 *   feeder print PORT FROM TO                 writes that part of the stream to stdout
 *   feeder base                               writes what every stream is made of (stream_at)
 *   feeder verify PORT [FROM:TO ...] [FROM:]  compares stdin with these parts, one after the other
 *
 * Commands of `feed`, one a line; each is answered by one JSON line:
 *   run RATE SECONDS BYTES   feeds every port RATE bytes a second (0: as fast as the tty takes it)
 *                            until SECONDS are over or each port has BYTES more (0: no limit)
 *   stop                     ends the run (its answer is that of `run`)
 *   drain                    reads what the reader left in the kernel, and counts it
 * The end of stdin ends the program.
 *
 * The slave side of each pty is held open as well: so a reader that dies hangs nothing up, and
 * what it has not read can be counted.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define BASE_BYTES (4u << 20)
#define BLOCK_BYTES 65536u
#define FLAT_CHUNK_BYTES 1024
#define TICK_NS 1000000L

static char base[BASE_BYTES + BLOCK_BYTES];

static uint32_t random_state = 0x9e3779b9u;

static uint32_t next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 17;
	random_state ^= random_state << 5;
	return random_state;
}

static const char *const WORDS[] = {
	"usb", "eth0", "pci", "ata1", "link", "is", "up", "down", "reset", "device", "driver", "failed",
	"with", "error", "timeout", "at", "address", "bytes", "mounted", "filesystem", "ordered", "data",
	"mode", "systemd", "started", "stopped", "session", "of", "user", "root", "kernel", "module",
	"loaded", "verification", "cpu", "temperature", "above", "threshold", "clock", "throttled",
	"memory", "page", "allocation", "node", "interrupt", "disabled", "enabled", "register", "dump",
};
#define WORD_COUNT (sizeof WORDS / sizeof *WORDS)

/* Lines like a console's: a time, words, now and then numbers that no compressor can guess. */
static void make_base(void)
{
	size_t at = 0;
	uint64_t us = 0;
	while (at < BASE_BYTES) {
		char line[256];
		us += next_random() % 400000;
		int length = snprintf(line, sizeof line, "[%5llu.%06llu]", (unsigned long long)(us / 1000000),
				      (unsigned long long)(us % 1000000));
		for (uint32_t words = 3 + next_random() % 10; words > 0; words--) {
			uint32_t kind = next_random() % 8;
			if (kind == 0)
				length += snprintf(line + length, sizeof line - length, " 0x%08x", next_random());
			else if (kind == 1)
				length += snprintf(line + length, sizeof line - length, " %u", next_random() % 5000);
			else
				length += snprintf(line + length, sizeof line - length, " %s",
						   WORDS[next_random() % WORD_COUNT]);
		}
		length += snprintf(line + length, sizeof line - length, "\r\n");
		size_t room = BASE_BYTES - at;
		size_t part = (size_t)length < room ? (size_t)length : room;
		memcpy(base + at, line, part);
		at += part;
	}
	/* Reading on past the end goes on at the start, so a block never has to be put together. */
	memcpy(base + BASE_BYTES, base, BLOCK_BYTES);
}

/*
 * The stream of a port from `offset` on, as far as it lies in one piece: each block of 64 KiB is a
 * stretch of the base chosen by (port, block), so a byte of another port, another place, missing or
 * doubled does not match.
 */
static const char *stream_at(uint32_t port, uint64_t offset, size_t *length)
{
	uint64_t block = offset / BLOCK_BYTES;
	uint64_t hash = (block * 0x9e3779b97f4a7c15ull) ^ ((uint64_t)(port + 1) * 0xd1342543de82ef95ull);
	hash ^= hash >> 29;
	hash *= 0xbf58476d1ce4e5b9ull;
	hash ^= hash >> 32;
	size_t within = offset % BLOCK_BYTES;
	*length = BLOCK_BYTES - within;
	return base + hash % BASE_BYTES + within;
}

struct port {
	int master;
	int slave;
	uint64_t sent;
	uint64_t run_start;
	uint64_t behind_max;
	uint32_t next_chunk;
};

static struct port *ports;
static struct pollfd *polls;
static int port_count;
static uint32_t chunk_min = 16, chunk_max = 64;
static uint64_t refusals;

static void die(const char *what)
{
	fprintf(stderr, "feeder: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void open_ports(void)
{
	struct rlimit files;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	ports = calloc(port_count, sizeof *ports);
	polls = calloc(port_count + 1, sizeof *polls);
	printf("{\"ptys\":[");
	for (int i = 0; i < port_count; i++) {
		struct port *port = &ports[i];
		struct termios raw;
		port->master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
		if (port->master < 0 || grantpt(port->master) || unlockpt(port->master))
			die("no pty");
		const char *path = ptsname(port->master);
		port->slave = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
		if (port->slave < 0 || tcgetattr(port->slave, &raw))
			die(path);
		cfmakeraw(&raw);
		if (tcsetattr(port->slave, TCSANOW, &raw))
			die(path);
		port->next_chunk = chunk_min + next_random() % (chunk_max - chunk_min + 1);
		printf("%s\"%s\"", i ? "," : "", path);
	}
	printf("]}\n");
	fflush(stdout);
}

/* Hands up to `bytes` to the tty; false when it would take no more. */
static int feed(int index, uint64_t bytes)
{
	struct port *port = &ports[index];
	while (bytes > 0) {
		size_t length;
		const char *piece = stream_at(index, port->sent, &length);
		if (length > bytes)
			length = bytes;
		ssize_t taken = write(port->master, piece, length);
		if (taken < 0 && errno != EAGAIN)
			die("write");
		if (taken > 0)
			port->sent += taken;
		if (taken < (ssize_t)length) {
			refusals++;
			return 0;
		}
		bytes -= length;
	}
	return 1;
}

static void tick_paced(uint64_t target)
{
	for (int i = 0; i < port_count; i++) {
		struct port *port = &ports[i];
		uint64_t behind = target - (port->sent - port->run_start);
		if (behind > port->behind_max)
			port->behind_max = behind;
		while (behind >= port->next_chunk) {
			if (!feed(i, port->next_chunk))
				break;
			behind -= port->next_chunk;
			port->next_chunk = chunk_min + next_random() % (chunk_max - chunk_min + 1);
		}
	}
}

/* Gives every port what it takes; waits when none takes anything. False when all have their bytes. */
static int tick_flat(uint64_t bytes)
{
	int progress = 0, unfinished = 0;
	for (int i = 0; i < port_count; i++) {
		struct port *port = &ports[i];
		uint64_t before = port->sent, left = UINT64_MAX;
		if (bytes > 0)
			left = port->run_start + bytes - port->sent;
		if (left == 0)
			continue;
		for (int times = 0; times < 16 && left > 0; times++) {
			uint64_t part = left < FLAT_CHUNK_BYTES ? left : FLAT_CHUNK_BYTES;
			if (!feed(i, part))
				break;
			left -= part;
		}
		progress |= port->sent != before;
		unfinished |= left > 0;
	}
	if (unfinished && !progress) {
		for (int i = 0; i < port_count; i++) {
			int done = bytes > 0 && ports[i].sent - ports[i].run_start >= bytes;
			polls[i] = (struct pollfd){ .fd = done ? -1 : ports[i].master, .events = POLLOUT };
		}
		polls[port_count] = (struct pollfd){ .fd = 0, .events = POLLIN };
		poll(polls, port_count + 1, 1);
	}
	return unfinished;
}

static int input_waits(void)
{
	struct pollfd input = { .fd = 0, .events = POLLIN };
	return poll(&input, 1, 0) > 0;
}

static void print_counts(const char *name, const uint64_t *counts)
{
	printf("\"%s\":[", name);
	for (int i = 0; i < port_count; i++)
		printf("%s%llu", i ? "," : "", (unsigned long long)counts[i]);
	printf("]");
}

static void print_sent(void)
{
	uint64_t *counts = calloc(port_count, sizeof *counts);
	for (int i = 0; i < port_count; i++)
		counts[i] = ports[i].sent;
	print_counts("sent", counts);
	free(counts);
}

/* Any line on stdin ends the run; `stop` is the one meant. */
static void run(uint64_t rate, double seconds, uint64_t bytes)
{
	uint64_t start = now_ns(), end = seconds > 0 ? start + (uint64_t)(seconds * 1e9) : UINT64_MAX;
	uint64_t behind_max = 0;
	struct timespec tick;
	refusals = 0;
	for (int i = 0; i < port_count; i++) {
		ports[i].run_start = ports[i].sent;
		ports[i].behind_max = 0;
	}
	clock_gettime(CLOCK_MONOTONIC, &tick);
	for (;;) {
		uint64_t now = now_ns();
		if (now >= end || input_waits())
			break;
		if (rate == 0) {
			if (!tick_flat(bytes))
				break;
			continue;
		}
		uint64_t target = (uint64_t)((double)(now - start) * rate / 1e9);
		if (bytes > 0 && target > bytes + chunk_max)
			break;
		tick_paced(target);
		tick.tv_nsec += TICK_NS;
		if (tick.tv_nsec >= 1000000000L) {
			tick.tv_nsec -= 1000000000L;
			tick.tv_sec++;
		}
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &tick, NULL);
	}
	double took = (now_ns() - start) / 1e9;
	for (int i = 0; i < port_count; i++)
		if (ports[i].behind_max > behind_max)
			behind_max = ports[i].behind_max;
	printf("{\"seconds\":%.6f,\"behindBytesMax\":%llu,\"refusals\":%llu,", took,
	       (unsigned long long)behind_max, (unsigned long long)refusals);
	print_sent();
	printf("}\n");
	fflush(stdout);
}

/* The kernel moves bytes from the master to the slave's queue in the background: look until it is done. */
static void drain(void)
{
	uint64_t *counts = calloc(port_count, sizeof *counts);
	for (int quiet = 0; quiet < 5; quiet++) {
		for (int i = 0; i < port_count; i++) {
			char buffer[65536];
			ssize_t length;
			while ((length = read(ports[i].slave, buffer, sizeof buffer)) > 0) {
				counts[i] += length;
				quiet = -1;
			}
		}
		usleep(5000);
	}
	printf("{");
	print_counts("unread", counts);
	printf(",");
	print_sent();
	printf("}\n");
	fflush(stdout);
	free(counts);
}

static void obey(void)
{
	char line[256];
	size_t length = 0;
	while (length < sizeof line - 1 && read(0, line + length, 1) == 1) {
		unsigned long long rate, bytes;
		double seconds;
		if (line[length++] != '\n')
			continue;
		line[length - 1] = 0;
		length = 0;
		if (sscanf(line, "run %llu %lf %llu", &rate, &seconds, &bytes) == 3)
			run(rate, seconds, bytes);
		else if (!strcmp(line, "drain"))
			drain();
		else if (strcmp(line, "stop")) {
			fprintf(stderr, "feeder: cannot read \"%s\"\n", line);
			exit(2);
		}
	}
}

static void print(uint32_t port, uint64_t from, uint64_t to)
{
	while (from < to) {
		size_t length;
		const char *piece = stream_at(port, from, &length);
		if (length > to - from)
			length = to - from;
		if (fwrite(piece, 1, length, stdout) != length)
			die("stdout");
		from += length;
	}
}

/* Prints how many bytes came, how many the parts hold (null: open), and where they first differ. */
static int verify(uint32_t port, char **parts, int part_count)
{
	uint64_t total = 0, expected = 0;
	long long differs = -1;
	int open_end = part_count == 0, part = 0;
	char buffer[65536];
	size_t have = 0, used = 0;
	char all[] = "0:", *all_parts[] = { all };
	if (part_count == 0) {
		parts = all_parts;
		part_count = 1;
	}
	for (; part < part_count; part++) {
		char *colon;
		uint64_t from = strtoull(parts[part], &colon, 10);
		uint64_t to = colon[0] == ':' && colon[1] ? strtoull(colon + 1, NULL, 10) : UINT64_MAX;
		if (to == UINT64_MAX)
			open_end = 1;
		else
			expected += to - from;
		while (from < to && differs < 0) {
			size_t length;
			if (used == have) {
				ssize_t got = read(0, buffer, sizeof buffer);
				if (got <= 0)
					break;
				have = got;
				used = 0;
			}
			const char *piece = stream_at(port, from, &length);
			if (length > to - from)
				length = to - from;
			if (length > have - used)
				length = have - used;
			if (memcmp(piece, buffer + used, length)) {
				size_t same = 0;
				while (piece[same] == buffer[used + same])
					same++;
				differs = total + same;
			}
			from += length;
			used += length;
			total += length;
		}
	}
	/* What comes after the last part is too much. */
	if (differs < 0 && used < have)
		differs = total;
	total += have - used;
	for (ssize_t got; (got = read(0, buffer, sizeof buffer)) > 0; total += got)
		if (differs < 0)
			differs = total;
	printf("{\"bytes\":%llu,\"expected\":", (unsigned long long)total);
	if (open_end)
		printf("null");
	else
		printf("%llu", (unsigned long long)expected);
	if (differs < 0)
		printf(",\"differsAt\":null}\n");
	else
		printf(",\"differsAt\":%lld}\n", differs);
	return differs < 0 && (open_end || total == expected) ? 0 : 1;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	make_base();
	if (!strcmp(what, "base") && argc == 2) {
		if (fwrite(base, 1, sizeof base, stdout) != sizeof base)
			die("stdout");
		return 0;
	} else if (!strcmp(what, "feed") && argc > 2) {
		port_count = atoi(argv[2]);
		if (argc > 4) {
			chunk_min = atoi(argv[3]);
			chunk_max = atoi(argv[4]);
		}
		if (port_count > 0 && chunk_min > 0 && chunk_max >= chunk_min) {
			open_ports();
			obey();
			return 0;
		}
	} else if (!strcmp(what, "print") && argc == 5) {
		print(atoi(argv[2]), strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10));
		return 0;
	} else if (!strcmp(what, "verify") && argc > 2) {
		return verify(atoi(argv[2]), argv + 3, argc - 3);
	}
	fprintf(stderr, "usage: feeder feed PORTS [CHUNK-MIN CHUNK-MAX]\n"
			"       feeder print PORT FROM TO\n"
			"       feeder base\n"
			"       feeder verify PORT [FROM:TO ...]\n");
	return 2;
}
