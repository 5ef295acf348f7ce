/*
 * lookbench: what those feel who use pipes while somebody looks.
 *
 *   lookbench roundtrip A B N   two processes; one sends a byte through A and waits for it to come back through B, N times. Prints the median, the
 *                               99th percentile and the longest, in nanoseconds.
 *   lookbench spin              takes the time of a processor until SIGTERM. Prints 0.
 *   lookbench read FILE...      opens each file, reads it to its end and closes it, again and again, until SIGTERM. Prints how often all were read.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t over;

static void end(int number)
{
	(void)number;
	over = 1;
}

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int must_open(const char *path, int flags)
{
	int fd = open(path, flags);

	if (fd < 0)
		die(path);
	return fd;
}

static int compare(const void *a, const void *b)
{
	long long x = *(const long long *)a, y = *(const long long *)b;

	return (x > y) - (x < y);
}

static void roundtrip(const char *there, const char *back, long n)
{
	long long *took = calloc(n, sizeof(*took));
	char c = 'x';
	pid_t pid = fork();
	int in, out, status;

	if (pid == 0) {
		in = must_open(there, O_RDONLY);
		out = must_open(back, O_WRONLY);
		while (read(in, &c, 1) == 1)
			if (write(out, &c, 1) != 1)
				die("write");
		exit(0);
	}
	out = must_open(there, O_WRONLY);
	in = must_open(back, O_RDONLY);
	for (long i = 0; i < n; i++) {
		long long t = now();

		if (write(out, &c, 1) != 1 || read(in, &c, 1) != 1)
			die("round trip");
		took[i] = now() - t;
	}
	close(out);
	if (waitpid(pid, &status, 0) != pid || status != 0)
		exit(1);
	qsort(took, n, sizeof(*took), compare);
	printf("%lld %lld %lld\n", took[n / 2], took[n * 99 / 100], took[n - 1]);
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

	if (argc == 5 && !strcmp(argv[1], "roundtrip"))
		roundtrip(argv[2], argv[3], atol(argv[4]));
	else if (argc == 2 && !strcmp(argv[1], "spin")) {
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
