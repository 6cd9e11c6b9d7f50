/*
 * A device that sends NULs without end, and others that take nothing, each on a pty of its own: prints
 * the paths, the source's first, sends from the first line on its stdin on, and ends with that. Argument:
 * how many take nothing.
 *
 * A pty has no XOFF of its own making: its driver takes some KB for a reader that never comes, which
 * is what a UART's driver does behind an XOFF.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

static int make(int flags)
{
	struct termios raw;
	int master = posix_openpt(O_RDWR | O_NOCTTY | flags);
	if (master < 0 || grantpt(master) || unlockpt(master))
		exit((perror("nul: no pty"), 1));
	/* Held open, so that a reader's coming and going is no hang-up. */
	int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	if (slave < 0 || tcgetattr(slave, &raw))
		exit((perror("nul: pty"), 1));
	cfmakeraw(&raw);
	tcsetattr(slave, TCSANOW, &raw);
	printf("%s\n", ptsname(master));
	return master;
}

int main(int argc, char **argv)
{
	static const char nul[4096];
	int source = make(O_NONBLOCK);
	for (int stuck = argc > 1 ? atoi(argv[1]) : 0; stuck > 0; stuck--)
		make(0);
	fflush(stdout);

	char line[16];
	if (read(0, line, sizeof line) <= 0)
		return 0;
	struct pollfd polls[] = { { .fd = 0, .events = POLLIN }, { .fd = source, .events = POLLOUT } };
	while (poll(polls, 2, -1) >= 0) {
		if (polls[0].revents)
			return 0;
		if (write(source, nul, sizeof nul) < 0)
			usleep(1000);
	}
	return 1;
}
