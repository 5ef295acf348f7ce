/*
 * lookbench: somebody who looks, or computes, while others use pipes.
 *
 *   lookbench spin           takes the time of a processor until SIGTERM. Prints 0.
 *   lookbench read FILE...   opens each file, reads it to its end and closes it, again and again, until SIGTERM. Prints how often all were read.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t over;

static void end(int number)
{
	(void)number;
	over = 1;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void read_all(char **files)
{
	static char buf[1 << 18];
	long times = 0;

	for (;; times++) {
		for (char **f = files; *f; f++) {
			ssize_t n;
			int fd;

			if (over) {
				printf("%ld\n", times);
				return;
			}
			fd = open(*f, O_RDONLY);
			if (fd < 0) {
				if (over)
					continue;
				die(*f);
			}
			while ((n = read(fd, buf, sizeof(buf))) > 0)
				;
			if (n < 0 && !over)
				die(*f);
			close(fd);
		}
	}
}

int main(int argc, char **argv)
{
	struct sigaction ended = { .sa_handler = end };

	if (argc == 2 && !strcmp(argv[1], "spin")) {
		sigaction(SIGTERM, &ended, NULL);
		while (!over)
			;
		printf("0\n");
	} else if (argc > 2 && !strcmp(argv[1], "read")) {
		sigaction(SIGTERM, &ended, NULL);
		read_all(argv + 2);
	} else {
		return 2;
	}
	return 0;
}
