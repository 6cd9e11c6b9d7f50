/*
 * Preloaded into QEMU: a write to a socket or pty that is full waits for room.
 *
 * QEMU 7.2 (chardev/char.c, qemu_chr_write_buffer) writes a byte to its log file also when the
 * backend refused it with EAGAIN, and once more when it is tried again. A unix socket is full after
 * some 280 single bytes nobody has read yet, so the log would hold bytes twice that were sent once.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int waited(int fd)
{
	struct pollfd room = { .fd = fd, .events = POLLOUT };
	int saved = errno;
	if (errno != EAGAIN || poll(&room, 1, -1) < 0) {
		errno = saved;
		return 0;
	}
	return 1;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	ssize_t sent;
	do
		sent = REAL(sendmsg)(fd, message, flags);
	while (sent < 0 && waited(fd));
	return sent;
}

/* Among what QEMU writes to are eventfds, which are to refuse. */
ssize_t write(int fd, const void *data, size_t length)
{
	ssize_t sent;
	do
		sent = REAL(write)(fd, data, length);
	while (sent < 0 && errno == EAGAIN && isatty(fd) && (errno = EAGAIN) && waited(fd));
	return sent;
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
	ssize_t sent;
	do
		sent = REAL(writev)(fd, parts, count);
	while (sent < 0 && errno == EAGAIN && isatty(fd) && (errno = EAGAIN) && waited(fd));
	return sent;
}
