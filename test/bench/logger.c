/*
 * The floor: as little as a program can do that logs every byte of N ttys with its time.
 *
 *   logger DIRECTORY RELAY-TCP-PORT TTY...   logs TTY i to DIRECTORY/i.log; says "ready" on stdout
 *   logger --extract FILE                    writes the bytes without their times to stdout
 *
 * Every read becomes one writev: the time in microseconds (64 bits), the length (32 bits), the
 * bytes. RELAY-TCP-PORT (0: none) joins one TCP client on 127.0.0.1 with the first tty, both ways,
 * so that keystroke echo has a floor as well. Nothing is buffered, nothing is synced.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct head {
	uint64_t at_us;
	uint32_t length;
} __attribute__((packed));

enum { LISTENER = -1, CLIENT = -2 };

static int epoll, client = -1;
static int *ttys, *logs;
static char buffer[65536];

static void die(const char *what)
{
	fprintf(stderr, "logger: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void watch(int fd, int what)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = what };
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event))
		die("epoll_ctl");
}

static void log_tty(int index)
{
	struct timespec now;
	ssize_t length = read(ttys[index], buffer, sizeof buffer);
	if (length <= 0) {
		if (length < 0 && errno == EAGAIN)
			return;
		close(ttys[index]);
		return;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	struct head head = { now.tv_sec * 1000000ull + now.tv_nsec / 1000, length };
	struct iovec parts[] = { { &head, sizeof head }, { buffer, length } };
	if (writev(logs[index], parts, 2) != (ssize_t)sizeof head + length)
		die("log");
	if (index == 0 && client >= 0 && write(client, buffer, length) != length)
		die("client");
}

static int listen_on(int tcp_port)
{
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(tcp_port),
				       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 1))
		die("listen");
	return fd;
}

static void relay(void)
{
	ssize_t length = read(client, buffer, sizeof buffer);
	if (length <= 0) {
		close(client);
		client = -1;
	} else if (write(ttys[0], buffer, length) != length) {
		die("tty");
	}
}

static int extract(const char *path)
{
	FILE *file = fopen(path, "rb");
	struct head head;
	if (!file)
		die(path);
	while (fread(&head, sizeof head, 1, file) == 1) {
		if (head.length > sizeof buffer || fread(buffer, 1, head.length, file) != head.length)
			die("damaged log");
		fwrite(buffer, 1, head.length, stdout);
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "--extract"))
		return extract(argv[2]);
	if (argc < 4) {
		fprintf(stderr, "usage: logger DIRECTORY RELAY-TCP-PORT TTY...\n");
		return 2;
	}
	struct rlimit files;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);

	int count = argc - 3, tcp_port = atoi(argv[2]), listener = -1;
	ttys = calloc(count, sizeof *ttys);
	logs = calloc(count, sizeof *logs);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	for (int i = 0; i < count; i++) {
		char path[4096];
		ttys[i] = open(argv[3 + i], O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
		if (ttys[i] < 0)
			die(argv[3 + i]);
		snprintf(path, sizeof path, "%s/%d.log", argv[1], i);
		logs[i] = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
		if (logs[i] < 0)
			die(path);
		watch(ttys[i], i);
	}
	if (tcp_port > 0) {
		listener = listen_on(tcp_port);
		watch(listener, LISTENER);
	}
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		struct epoll_event events[256];
		int ready = epoll_wait(epoll, events, 256, -1);
		for (int i = 0; i < ready; i++) {
			int what = events[i].data.fd, one = 1;
			if (what >= 0) {
				log_tty(what);
			} else if (what == CLIENT) {
				relay();
			} else if ((client = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
				setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
				watch(client, CLIENT);
			}
		}
	}
}
