/*
 * crowd: many processes, each blocked in a read of a pipe of its own.
 *
 *   crowd DIR N     forks N processes, one after another. Number I opens DIR/I for reading and writing, then reads a byte from it and ends with
 *                   that byte as its exit status.
 *
 * Prints "open I NANOSECONDS" for each open, then "ready", then "exit I STATUS" for each process that ends (STATUS is "killed N" for a signal).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void child(const char *dir, int i, int report)
{
	char path[4096];
	struct timespec from, to;
	long long ns;
	unsigned char byte;

	snprintf(path, sizeof(path), "%s/%d", dir, i);
	clock_gettime(CLOCK_MONOTONIC, &from);
	int fd = open(path, O_RDWR);
	clock_gettime(CLOCK_MONOTONIC, &to);
	ns = (to.tv_sec - from.tv_sec) * 1000000000LL + to.tv_nsec - from.tv_nsec;
	if (fd < 0)
		ns = -errno;
	if (write(report, &ns, sizeof(ns)) != sizeof(ns) || fd < 0)
		_exit(255);
	close(report);
	_exit(read(fd, &byte, 1) == 1 ? byte : 254);
}

int main(int argc, char **argv)
{
	int n = argc == 3 ? atoi(argv[2]) : 0;
	pid_t *pids = calloc(n + 1, sizeof(*pids));
	int report[2];

	if (n < 1 || pipe(report) < 0)
		return 2;
	for (int i = 0; i < n; i++) {
		long long ns;

		pids[i] = fork();
		if (pids[i] == 0)
			child(argv[1], i, report[1]);
		if (pids[i] < 0 || read(report[0], &ns, sizeof(ns)) != sizeof(ns))
			return 1;
		printf("open %d %lld\n", i, ns);
	}
	printf("ready\n");
	fflush(stdout);
	for (int i = 0; i < n; i++) {
		int status;

		waitpid(pids[i], &status, 0);
		if (WIFSIGNALED(status))
			printf("exit %d killed %d\n", i, WTERMSIG(status));
		else
			printf("exit %d %d\n", i, WEXITSTATUS(status));
	}
	return 0;
}
