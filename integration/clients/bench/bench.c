/*
 * bench: how fast bytes go through files that two processes open.
 *
 *   bench roundtrip A B N      two processes; one sends a byte through A and waits for it to come back through B, N times. Prints the median, the
 *                              99th percentile and the longest, in nanoseconds.
 *   bench throughput A SIZE N  one process writes N bytes into A in writes of SIZE, another reads them in reads of SIZE. Prints nanoseconds.
 *   bench alone A SIZE N       one process writes SIZE bytes to A and reads SIZE bytes from it, N times. Prints nanoseconds.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

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

static void throughput(const char *path, long size, long long n)
{
	char *buf = aligned_alloc(4096, size < 4096 ? 4096 : size);
	pid_t pid;
	int fd;

	memset(buf, 'x', size);
	pid = fork();
	if (pid == 0) {
		fd = must_open(path, O_WRONLY);
		for (long long left = n; left > 0;) {
			ssize_t k = write(fd, buf, left < size ? left : size);

			if (k <= 0)
				die("write");
			left -= k;
		}
		exit(0);
	}
	fd = must_open(path, O_RDONLY);
	long long t = now(), got = 0;
	for (ssize_t k; (k = read(fd, buf, size)) > 0;)
		got += k;
	t = now() - t;
	if (got != n)
		fprintf(stderr, "bytes are missing: %lld of %lld\n", n - got, n), exit(1);
	waitpid(pid, NULL, 0);
	printf("%lld\n", t);
}

static void alone(const char *path, long size, long n)
{
	char *buf = aligned_alloc(4096, size < 4096 ? 4096 : size);
	int in = must_open(path, O_RDONLY), out = must_open(path, O_WRONLY);
	long long t = now();

	memset(buf, 'x', size);
	for (long i = 0; i < n; i++)
		if (pwrite(out, buf, size, 0) != size || pread(in, buf, size, 0) != size)
			die("alone");
	printf("%lld\n", now() - t);
}

int main(int argc, char **argv)
{
	if (argc == 5 && !strcmp(argv[1], "roundtrip"))
		roundtrip(argv[2], argv[3], atol(argv[4]));
	else if (argc == 5 && !strcmp(argv[1], "throughput"))
		throughput(argv[2], atol(argv[3]), atoll(argv[4]));
	else if (argc == 5 && !strcmp(argv[1], "alone"))
		alone(argv[2], atol(argv[3]), atol(argv[4]));
	else
		return 2;
	return 0;
}
