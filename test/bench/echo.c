/*
 * A device that says back at once whatever it is told, on a pty of its own: prints the pty's path,
 * and ends with its stdin.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

int main(void)
{
	struct termios raw;
	int master = posix_openpt(O_RDWR | O_NOCTTY);
	if (master < 0 || grantpt(master) || unlockpt(master))
		return perror("echo: no pty"), 1;
	/* Held open, so that a reader's coming and going is no hang-up. */
	int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	if (slave < 0 || tcgetattr(slave, &raw))
		return perror("echo: pty"), 1;
	cfmakeraw(&raw);
	tcsetattr(slave, TCSANOW, &raw);
	printf("%s\n", ptsname(master));
	fflush(stdout);

	struct pollfd polls[] = { { .fd = 0, .events = POLLIN }, { .fd = master, .events = POLLIN } };
	while (poll(polls, 2, -1) >= 0) {
		char buffer[4096];
		if (polls[0].revents && read(0, buffer, sizeof buffer) <= 0)
			return 0;
		if (!polls[1].revents)
			continue;
		ssize_t length = read(master, buffer, sizeof buffer);
		if (length <= 0 || write(master, buffer, length) != length)
			return 1;
	}
	return 1;
}
