/* client QUEUE: what a C program sees of a message queue; QUEUE does not exist yet. It says ok, or fails. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(x) do { if (!(x)) { fprintf(stderr, "line %d: %s (errno %d)\n", __LINE__, #x, errno); exit(1); } } while (0)

static const char *q;
struct msg { long mtype; char mtext[8192]; };

static int view(const char *v, int flags)
{
	char name[4096];
	int fd;

	snprintf(name, sizeof(name), "%s%s", q, v);
	CHECK((fd = open(name, flags | O_CLOEXEC, 0600)) >= 0);
	return fd;
}

static void send_raw(int fd, long type, const char *text)
{
	struct msg m = { .mtype = type };
	size_t n = strlen(text);

	memcpy(m.mtext, text, n);
	CHECK(write(fd, &m, sizeof(long) + n) == (ssize_t)(sizeof(long) + n));
}

static void on_signal(int sig) { (void)sig; }

/* Selectors, raw, refusals. */
static void messages(void)
{
	int raw = view(":raw", O_RDWR), low = view(":-5:raw", O_RDONLY | O_NONBLOCK), not1 = view(":^1", O_RDONLY | O_NONBLOCK);
	struct msg m;
	char big[8193] = { 0 };

	send_raw(raw, 1, "one");
	send_raw(raw, 9, "nine");
	send_raw(raw, 4, "");
	CHECK(read(not1, big, 100) == 4 && !memcmp(big, "nine", 4));
	CHECK(read(low, &m, 10) == -1 && errno == E2BIG);
	CHECK(read(low, &m, sizeof(m)) == sizeof(long) + 3 && m.mtype == 1);
	CHECK(read(low, &m, sizeof(m)) == sizeof(long) && m.mtype == 4);
	CHECK(read(low, &m, sizeof(m)) == -1 && errno == EAGAIN);
	CHECK(read(low, &m, 7) == -1 && errno == EINVAL);
	m.mtype = 0;
	CHECK(write(raw, &m, 20) == -1 && errno == EINVAL);
	CHECK(write(view("", O_WRONLY), big, 8193) == -1 && errno == EINVAL);
	CHECK(write(view(":-5", O_WRONLY), big, 1) == -1 && errno == EINVAL);
	CHECK(lseek(raw, 0, SEEK_SET) == -1 && errno == ESPIPE);
	CHECK(pread(raw, big, 1, 0) == -1 && errno == ESPIPE);

	/* a message of many pieces is one */
	struct iovec v[100];
	for (int i = 0; i < 100; i++)
		v[i] = (struct iovec){ "abc", 3 };
	CHECK(writev(view(":7", O_WRONLY), v, 100) == 300);
	CHECK(read(view(":7", O_RDONLY), big, sizeof(big)) == 300);
}

/* Waiting by poll, select, and epoll of both kinds. */
static void waiting(void)
{
	int raw = view(":raw", O_WRONLY), seven = view(":7", O_RDONLY | O_NONBLOCK), ep = epoll_create1(EPOLL_CLOEXEC);
	struct pollfd p = { .fd = seven, .events = POLLIN };
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET }, got;
	struct timeval now = { 0, 0 };
	char b[100];
	fd_set set;

	CHECK(poll(&p, 1, 0) == 0);
	CHECK(epoll_ctl(ep, EPOLL_CTL_ADD, seven, &ev) == 0 && epoll_wait(ep, &got, 1, 0) == 0);
	send_raw(raw, 6, "x");
	CHECK(poll(&p, 1, 0) == 0 && epoll_wait(ep, &got, 1, 0) == 0);
	pid_t child = fork();
	if (child == 0) {
		send_raw(raw, 7, "seven");
		_exit(0);
	}
	CHECK(poll(&p, 1, 30000) == 1 && p.revents == POLLIN);
	CHECK(epoll_wait(ep, &got, 1, 30000) == 1 && got.events == EPOLLIN);
	CHECK(waitpid(child, NULL, 0) == child);
	FD_ZERO(&set);
	FD_SET(seven, &set);
	CHECK(select(seven + 1, &set, NULL, NULL, &now) == 1);
	CHECK(read(seven, b, 100) == 5 && read(seven, b, 100) == -1 && errno == EAGAIN);
	send_raw(raw, 7, "again");
	CHECK(epoll_wait(ep, &got, 1, 30000) == 1);
	CHECK(read(seven, b, 100) == 5 && read(view(":6", O_RDONLY), b, 100) == 1);

	/* POLLOUT is room for a byte */
	int w = view("", O_WRONLY | O_NONBLOCK), r = view("", O_RDONLY);
	struct pollfd o = { .fd = w, .events = POLLOUT };
	static char block[8192];
	CHECK(write(w, block, 8192) == 8192 && write(w, block, 8191) == 8191 && poll(&o, 1, 0) == 1);
	CHECK(write(w, block, 2) == -1 && errno == EAGAIN);
	CHECK(write(w, block, 1) == 1 && poll(&o, 1, 0) == 0);
	CHECK(read(r, block, 8192) == 8192 && poll(&o, 1, 30000) == 1);
	CHECK(read(r, block, 8192) == 8191 && read(r, block, 8192) == 1);
}

/* A signal ends a wait with EINTR, with SA_RESTART too. */
static void signals(void)
{
	int r = view("", O_RDONLY), w = view("", O_WRONLY);
	static char b[8192];

	for (int restart = 0; restart < 2; restart++) {
		struct sigaction sa = { .sa_handler = on_signal, .sa_flags = restart ? SA_RESTART : 0 };
		sigaction(SIGALRM, &sa, NULL);
		ualarm(20000, 20000);
		CHECK(read(r, b, 100) == -1 && errno == EINTR);
		ualarm(0, 0);
		CHECK(write(w, b, 8192) == 8192 && write(w, b, 8192) == 8192);
		ualarm(20000, 20000);
		CHECK(write(w, b, 1) == -1 && errno == EINTR);
		ualarm(0, 0);
		CHECK(read(r, b, 8192) == 8192 && read(r, b, 8192) == 8192);
	}
}

/* Request and reply by type = pid, four clients; then the end of the queue. */
static void rpc(void)
{
	int raw = view(":raw", O_WRONLY);
	struct { long mtype; long from, n; } m;

	for (int c = 0; c < 4; c++)
		if (fork() == 0) {
			char mine[32];

			snprintf(mine, sizeof(mine), ":%d:raw", getpid());
			int r = view(mine, O_RDONLY);
			for (long n = 1; n <= 200; n++) {
				m.mtype = 1, m.from = getpid(), m.n = n;
				CHECK(write(raw, &m, sizeof(m)) == sizeof(m));
				CHECK(read(r, &m, sizeof(m)) == sizeof(m) && m.mtype == getpid() && m.n == n * n);
			}
			_exit(0);
		}
	int requests = view(":1:raw", O_RDONLY), status;
	for (int i = 0; i < 800; i++) {
		CHECK(read(requests, &m, sizeof(m)) == sizeof(m));
		m.mtype = m.from, m.n *= m.n;
		CHECK(write(raw, &m, sizeof(m)) == sizeof(m));
	}
	for (int c = 0; c < 4; c++)
		CHECK(wait(&status) > 0 && status == 0);
	pid_t child = fork();
	if (child == 0) {
		CHECK(read(requests, &m, sizeof(m)) == -1 && errno == EIDRM);
		_exit(0);
	}
	CHECK(unlink(q) == 0 && waitpid(child, &status, 0) == child && status == 0);
	CHECK(write(raw, &m, sizeof(m)) == -1 && errno == EIDRM);
	struct pollfd p = { .fd = requests, .events = POLLIN };
	CHECK(poll(&p, 1, 0) == 1 && p.revents == (POLLIN | POLLERR | POLLHUP));
}

int main(int argc, char **argv)
{
	CHECK(argc == 2);
	q = argv[1];
	close(view("", O_WRONLY | O_CREAT | O_EXCL));
	messages();
	waiting();
	signals();
	rpc();
	puts("ok");
	return 0;
}
