/*
 * msgqheldup QUEUE: sends a message whose vector is gone from memory as soon as the kernel has copied it, and does not come back for anybody: whoever looks at it waits.
 * SIGUSR1 is caught.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define PAGE 4096
#define PIECES 256 /* as many as one request holds, so that there may be more */

static char *vector, *data; /* a page of each */
static int uffd;

static long must(const char *what, long result)
{
	if (result < 0) {
		perror(what);
		exit(1);
	}
	return result;
}
#define MUST(call) must(#call, (call))

static void caught(int sig)
{
	(void)sig;
}

/* pager takes the vector away when the data is asked for, and then gives the data. It gives nothing else. */
static void *pager(void *unused)
{
	struct uffd_msg m;
	(void)unused;
	while (MUST(read(uffd, &m, sizeof m)) > 0) {
		struct uffdio_zeropage z = { .range = { (uintptr_t)data, PAGE } };
		if (m.event != UFFD_EVENT_PAGEFAULT || (m.arg.pagefault.address & -PAGE) != (uintptr_t)data)
			continue;
		MUST(madvise(vector, PAGE, MADV_DONTNEED));
		MUST(ioctl(uffd, UFFDIO_ZEROPAGE, &z));
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct sigaction a = { .sa_handler = caught, .sa_flags = SA_RESTART };
	pthread_t thread;
	struct iovec *v;
	sigset_t usr1;
	int fd;

	if (argc != 2)
		return 2;
	vector = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (vector == MAP_FAILED)
		MUST(-1);
	data = vector + PAGE;
	v = (struct iovec *)vector;
	for (int i = 0; i < PIECES; i++)
		v[i] = (struct iovec){ data + i, 1 };
	uffd = MUST(syscall(SYS_userfaultfd, O_CLOEXEC));
	MUST(ioctl(uffd, UFFDIO_API, &api));
	struct uffdio_register r = { .range = { (uintptr_t)vector, 2 * PAGE }, .mode = UFFDIO_REGISTER_MODE_MISSING };
	MUST(ioctl(uffd, UFFDIO_REGISTER, &r));

	/* The thread that writes gets the signal. */
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	MUST(sigprocmask(SIG_BLOCK, &usr1, NULL));
	MUST(-pthread_create(&thread, NULL, pager, NULL));
	MUST(sigprocmask(SIG_UNBLOCK, &usr1, NULL));
	MUST(sigaction(SIGUSR1, &a, NULL));

	fd = MUST(open(argv[1], O_WRONLY));
	MUST(writev(fd, v, PIECES));
	return 0;
}
