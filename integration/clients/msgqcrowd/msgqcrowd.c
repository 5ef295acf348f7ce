/*
 * msgqcrowd: many that use a message queue once, all at the same time.
 *
 *   msgqcrowd PATH LETTERS N    N threads, or with f processes, each of which reads (r) or writes (w; with a, O_APPEND) one message, a small one or one of 8000
 *                               bytes (b), through a descriptor of its own, or one for all (s, f)
 *
 * Prints, when all are done, "ERROR COUNT" for each error that there was; OK is none.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define ERRORS 4096

static const char *path;
static int fd = -1, writes, flags;
static size_t size = 8; /* of the message */
static _Atomic int *errors; /* counts, by errno; shared with the processes */

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void *visit(void *arg)
{
	static const char text[8008] = { 1, 0, 0, 0, 0, 0, 0, 0, 'm', 'e', 's', 's', 'a', 'g', 'e', '\n' };
	char buf[9000];
	int mine = fd >= 0 ? fd : open(path, flags), head = strstr(path, ":raw") ? 0 : 8;
	ssize_t n = mine < 0 ? -1 : writes ? write(mine, text + head, 8 - head + size) : read(mine, buf, sizeof(buf));

	errors[n < 0 ? errno : 0]++;
	return arg;
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	int n = atoi(argv[3]), forks = strchr(argv[2], 'f') != NULL;
	struct rlimit r = { n + 100, n + 100 }, old;
	pthread_t *threads = calloc(n + 1, sizeof(*threads));
	pthread_attr_t attr;

	path = argv[1];
	writes = strchr(argv[2], 'w') != NULL;
	if (strchr(argv[2], 'b'))
		size = 8000;
	flags = (writes ? O_WRONLY : O_RDONLY) | (strchr(argv[2], 'a') ? O_APPEND : 0);
	errors = mmap(NULL, ERRORS * sizeof(*errors), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (errors == MAP_FAILED || !threads)
		die("memory");
	if (getrlimit(RLIMIT_NOFILE, &old) || (old.rlim_cur < r.rlim_cur && setrlimit(RLIMIT_NOFILE, &r)))
		die("RLIMIT_NOFILE");
	if (forks || strchr(argv[2], 's')) {
		fd = open(path, flags);
		if (fd < 0)
			die(path);
	}
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 << 10);
	for (int i = 0; i < n; i++) {
		pid_t pid = forks ? fork() : 1;

		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			visit(NULL);
			_exit(0);
		}
		if (pid < 0 || (!forks && pthread_create(&threads[i], &attr, visit, NULL)))
			die("start");
	}
	for (int i = 0; i < n; i++)
		if (forks)
			wait(NULL);
		else
			pthread_join(threads[i], NULL);
	for (int i = 0; i < ERRORS; i++)
		if (errors[i])
			printf("%s %d\n", i ? strerrorname_np(i) : "OK", errors[i]);
	return 0;
}
