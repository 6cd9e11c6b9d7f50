/*
 * Notes what a program does to the files of one directory, in the order it happens, so that the
 * disk's contents after a power cut at any moment can be made up afterwards (replay.ts).
 *
 *   LD_PRELOAD=shim.so POWERCUT_DIRECTORY=/abs/dir POWERCUT_TRACE=/abs/trace program
 *
 * Seen: open with O_CREAT or O_TRUNC, write, writev, pwrite, pwritev, (f)truncate, fallocate,
 * fsync, fdatasync, unlink, rename. Not seen: stores into mappings (SQLite's -shm, which it makes
 * anew from the WAL) and what a program does by raw system calls.
 *
 * A record of the trace, little-endian: u8 operation, u64 time in microseconds, u64 offset, u32
 * path bytes, u32 data bytes, path, data. A lock is held over call and record, so the order is true
 * across threads.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum operation { WRITE = 1, TRUNCATE = 2, SYNC = 3, UNLINK = 4, RENAME = 5, CREATE = 6 };

struct record {
	uint8_t operation;
	uint64_t at_us;
	uint64_t offset;
	uint32_t path_bytes;
	uint32_t data_bytes;
} __attribute__((packed));

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *directory;
static size_t directory_length;
static int trace = -1;

__attribute__((constructor)) static void start(void)
{
	const char *path = getenv("POWERCUT_TRACE");
	directory = getenv("POWERCUT_DIRECTORY");
	if (!directory || !path)
		return;
	directory_length = strlen(directory);
	trace = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

/* The part of the path below the directory, or NULL when it is not ours. */
static const char *ours(const char *path)
{
	if (trace < 0 || strncmp(path, directory, directory_length))
		return NULL;
	if (path[directory_length] == 0)
		return "";
	return path[directory_length] == '/' ? path + directory_length + 1 : NULL;
}

static const char *path_of(int fd, char *buffer)
{
	char link[64];
	if (trace < 0)
		return NULL;
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t length = readlink(link, buffer, PATH_MAX - 1);
	if (length <= 0)
		return NULL;
	buffer[length] = 0;
	return ours(buffer);
}

/* An absolute form of a path argument; directories of the path are taken as they are. */
static const char *path_at(int at, const char *path, char *buffer)
{
	if (trace < 0)
		return NULL;
	if (path[0] == '/')
		return ours(path);
	char base[PATH_MAX], link[64];
	if (at == AT_FDCWD)
		snprintf(link, sizeof link, "/proc/self/cwd");
	else
		snprintf(link, sizeof link, "/proc/self/fd/%d", at);
	ssize_t length = readlink(link, base, sizeof base - 1);
	if (length <= 0)
		return NULL;
	base[length] = 0;
	if (strncmp(path, "./", 2) == 0)
		path += 2;
	if (snprintf(buffer, PATH_MAX, "%s/%s", base, path) >= PATH_MAX)
		return NULL;
	return ours(buffer);
}

static void put(enum operation operation, const char *path, uint64_t offset, const void *data,
		uint32_t data_bytes)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	struct record record = { operation, now.tv_sec * 1000000ull + now.tv_nsec / 1000, offset,
				 strlen(path), data_bytes };
	struct iovec parts[] = {
		{ &record, sizeof record },
		{ (void *)path, record.path_bytes },
		{ (void *)data, data_bytes },
	};
	int saved = errno;
	ssize_t length = syscall(SYS_writev, trace, parts, 3);
	if (length != (ssize_t)(sizeof record + record.path_bytes + data_bytes))
		abort();
	errno = saved;
}

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name)
{
	void *found = dlsym(RTLD_NEXT, name);
	if (!found)
		abort();
	return found;
}

/* The real call under the lock; `note` runs after a success with the call's result as `done`. */
#define TRACED(path, call, note)                                                                   \
	do {                                                                                       \
		if (!(path))                                                                       \
			return call;                                                               \
		pthread_mutex_lock(&lock);                                                         \
		__typeof__(call) done = call;                                                      \
		if (done >= 0) {                                                                   \
			note;                                                                      \
		}                                                                                  \
		pthread_mutex_unlock(&lock);                                                       \
		return done;                                                                       \
	} while (0)

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset)
{
	char buffer[PATH_MAX];
	const char *path = path_of(fd, buffer);
	TRACED(path, REAL(pwrite)(fd, data, length, offset), put(WRITE, path, offset, data, done));
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset)
{
	return pwrite(fd, data, length, offset);
}

/* Where a write at the file's own position began, once it is done. */
static uint64_t place_before(int fd, ssize_t done)
{
	return lseek(fd, 0, SEEK_CUR) - done;
}

ssize_t write(int fd, const void *data, size_t length)
{
	char buffer[PATH_MAX];
	const char *path = path_of(fd, buffer);
	TRACED(path, REAL(write)(fd, data, length),
	       put(WRITE, path, place_before(fd, done), data, done));
}

static void put_parts(const char *path, uint64_t offset, const struct iovec *parts, int count,
		      ssize_t done)
{
	for (int i = 0; i < count && done > 0; i++) {
		size_t length = parts[i].iov_len < (size_t)done ? parts[i].iov_len : (size_t)done;
		put(WRITE, path, offset, parts[i].iov_base, length);
		offset += length;
		done -= length;
	}
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
	char buffer[PATH_MAX];
	const char *path = path_of(fd, buffer);
	TRACED(path, REAL(writev)(fd, parts, count),
	       put_parts(path, place_before(fd, done), parts, count, done));
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
	char buffer[PATH_MAX];
	const char *path = path_of(fd, buffer);
	TRACED(path, REAL(pwritev)(fd, parts, count, offset),
	       put_parts(path, offset, parts, count, done));
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset)
{
	return pwritev(fd, parts, count, offset);
}

int ftruncate(int fd, off_t length)
{
	char buffer[PATH_MAX];
	const char *path = path_of(fd, buffer);
	TRACED(path, REAL(ftruncate)(fd, length), put(TRUNCATE, path, length, NULL, 0));
}

int ftruncate64(int fd, off64_t length)
{
	return ftruncate(fd, length);
}

int truncate(const char *name, off_t length)
{
	char buffer[PATH_MAX];
	const char *path = path_at(AT_FDCWD, name, buffer);
	TRACED(path, REAL(truncate)(name, length), put(TRUNCATE, path, length, NULL, 0));
}

int truncate64(const char *name, off64_t length)
{
	return truncate(name, length);
}

/* fallocate() and posix_fallocate() only grow a file here: a size, as far as contents go. */
static void put_size(int fd, const char *path)
{
	struct stat status;
	if (fstat(fd, &status) == 0)
		put(TRUNCATE, path, status.st_size, NULL, 0);
}

int posix_fallocate(int fd, off_t offset, off_t length)
{
	char buffer[PATH_MAX];
	const char *path = path_of(fd, buffer);
	TRACED(path, REAL(posix_fallocate)(fd, offset, length), put_size(fd, path));
}

int posix_fallocate64(int fd, off64_t offset, off64_t length)
{
	return posix_fallocate(fd, offset, length);
}

int fallocate(int fd, int mode, off_t offset, off_t length)
{
	char buffer[PATH_MAX];
	const char *path = path_of(fd, buffer);
	TRACED(path, REAL(fallocate)(fd, mode, offset, length), put_size(fd, path));
}

int fallocate64(int fd, int mode, off64_t offset, off64_t length)
{
	return fallocate(fd, mode, offset, length);
}

int fsync(int fd)
{
	char buffer[PATH_MAX];
	const char *path = path_of(fd, buffer);
	TRACED(path, REAL(fsync)(fd), put(SYNC, path, 0, NULL, 0));
}

int fdatasync(int fd)
{
	char buffer[PATH_MAX];
	const char *path = path_of(fd, buffer);
	TRACED(path, REAL(fdatasync)(fd), put(SYNC, path, 0, NULL, 0));
}

int unlink(const char *name)
{
	char buffer[PATH_MAX];
	const char *path = path_at(AT_FDCWD, name, buffer);
	TRACED(path, REAL(unlink)(name), put(UNLINK, path, 0, NULL, 0));
}

int rename(const char *from, const char *to)
{
	char from_buffer[PATH_MAX], to_buffer[PATH_MAX];
	const char *path = path_at(AT_FDCWD, from, from_buffer);
	const char *target = path_at(AT_FDCWD, to, to_buffer);
	if (path && !target)
		TRACED(path, REAL(rename)(from, to), put(UNLINK, path, 0, NULL, 0));
	TRACED(path, REAL(rename)(from, to), put(RENAME, path, 0, target, strlen(target)));
}

static int opened(int at, const char *name, int flags, mode_t mode)
{
	char buffer[PATH_MAX];
	const char *path = flags & (O_CREAT | O_TRUNC) ? path_at(at, name, buffer) : NULL;
	struct stat status;
	int was_there = path && fstatat(at, name, &status, 0) == 0;
	int writes = (flags & O_ACCMODE) != O_RDONLY;
	TRACED(path, REAL(openat)(at, name, flags, mode),
	       if (!was_there) put(CREATE, path, 0, NULL, 0);
	       else if ((flags & O_TRUNC) && writes) put(TRUNCATE, path, 0, NULL, 0));
}

static mode_t mode_of(int flags, va_list rest)
{
	return flags & (O_CREAT | __O_TMPFILE) ? va_arg(rest, mode_t) : 0;
}

#define OPEN(at, name, flags)                                                                      \
	va_list rest;                                                                              \
	va_start(rest, flags);                                                                     \
	mode_t mode = mode_of(flags, rest);                                                        \
	va_end(rest);                                                                              \
	return opened(at, name, flags, mode)

int open(const char *name, int flags, ...)
{
	OPEN(AT_FDCWD, name, flags);
}

int open64(const char *name, int flags, ...)
{
	OPEN(AT_FDCWD, name, flags);
}

int openat(int at, const char *name, int flags, ...)
{
	OPEN(at, name, flags);
}

int openat64(int at, const char *name, int flags, ...)
{
	OPEN(at, name, flags);
}

int creat(const char *name, mode_t mode)
{
	return opened(AT_FDCWD, name, O_WRONLY | O_CREAT | O_TRUNC, mode);
}
