/* signals SCENARIO QUEUE: what ends a call that waits: a signal, a kill, the end of the queue. */
#define _GNU_SOURCE
#include "queue.h"

static _Atomic int caught;

static void handler(int sig) { caught = sig; }

static void handle(int sig, int flags)
{
	struct sigaction a = { .sa_handler = handler, .sa_flags = flags };

	MUST(sigaction(sig, &a, NULL));
}

static void interrupt(struct call *c, int sig)
{
	caught = 0;
	MUST(syscall(SYS_tgkill, getpid(), c->tid, sig));
}

static const char *views[] = { "", ":7", ":-7", ":^2", ":raw", ":lines", ":7:lines", ":stream" };

enum { VIEWS = sizeof views / sizeof *views };

/* A handler ends the wait with EINTR, with SA_RESTART too (msgop(2)), and nothing is received or sent. */
static void eintr(char **args)
{
	int raw = view(":raw", O_WRONLY);
	char b[100];

	(void)args;
	for (int restart = 0; restart < 2; restart++) {
		handle(SIGUSR1, restart ? SA_RESTART : 0);
		for (int i = 0; i < VIEWS; i++) {
			int rd = view(views[i], O_RDONLY);
			struct call r = { .fd = rd, .size = 100 };

			start_blocked(&r);
			until_field("q_receivers", 1);
			interrupt(&r, SIGUSR1);
			CHECK(finish(&r) < 0 && errno == EINTR && caught == SIGUSR1);
			CHECK(field("q_receivers") == 0);
			must_send(raw, 7, "kept\n");
			CHECK(field("q_qnum") == 1);
			ssize_t n = MUST(read(rd, b, sizeof b));
			CHECK(n == 5 + (strcmp(views[i], ":raw") ? 0 : 8) && !memcmp(b + n - 5, "kept\n", 5));
			close(rd);

			if (strchr(views[i], '-') || strchr(views[i], '^'))
				continue;
			fill_queue(1);
			int wr = view(views[i], O_WRONLY), n0 = field("q_qnum");
			struct call w = { .fd = wr, .writes = 1, .size = 11, .buf = (char[]){ 7, 0, 0, 0, 0, 0, 0, 0, 'x', 'y', '\n' } };

			start_blocked(&w);
			until_field("q_senders", 1);
			interrupt(&w, SIGUSR1);
			CHECK(finish(&w) < 0 && errno == EINTR && caught == SIGUSR1);
			CHECK(field("q_senders") == 0 && field("q_qnum") == n0);
			drain();
			CHECK(write(wr, w.buf, 11) == 11 && field("q_qnum") == 1);
			close(wr);
			CHECK(field("q_qnum") == 1 && drain() == 1);
		}
	}
	say("EINTR, and nothing was lost\n");
}

/* Lines that are sent when the signal comes are the result, and whole. */
static void eintr_lines(char **args)
{
	char *all = malloc(200000);
	int n = 0, wr = view(":lines", O_WRONLY), rd = view("", O_RDONLY | O_NONBLOCK);

	(void)args;
	for (int i = 0; i < 10000; i++)
		n += sprintf(all + n, "line %d\n", i);
	handle(SIGUSR1, 0);
	struct call w = { .fd = wr, .writes = 1, .size = n, .buf = all };
	start_blocked(&w);
	until_field("q_senders", 1);
	interrupt(&w, SIGUSR1);
	ssize_t sent = finish(&w);
	CHECK(sent > 0 && sent < n && all[sent - 1] == '\n' && sent == field("q_cbytes"));
	close(wr);
	char b[100];
	for (ssize_t off = 0; off < sent;) {
		ssize_t got = MUST(read(rd, b, sizeof b));
		CHECK(!memcmp(b, all + off, got) && b[got - 1] == '\n');
		off += got;
	}
	CHECK(read(rd, b, 1) < 0 && errno == EAGAIN);
	say("whole lines were sent\n");
}

/* A signal that is ignored, or blocked, ends nothing; one that stops may, but loses nothing. */
static void undisturbed(char **args)
{
	int raw = view(":raw", O_WRONLY), status;
	sigset_t set;

	(void)args;
	signal(SIGUSR2, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	MUST(sigprocmask(SIG_BLOCK, &set, NULL));
	struct call c = { .fd = view(":7", O_RDONLY), .size = 100 };
	start_blocked(&c);
	interrupt(&c, SIGUSR2);
	interrupt(&c, SIGHUP);
	interrupt(&c, SIGCHLD);
	until_blocked(c.tid, "read", c.fd);
	must_send(raw, 7, "seven");
	CHECK(finish(&c) == 5);

	pid_t pid = MUST(fork());
	if (pid == 0) {
		char b[100];
		int fd = view(":7", O_RDONLY);
		ssize_t n;

		while ((n = read(fd, b, sizeof b)) < 0 && errno == EINTR)
			;
		CHECK(n == 5);
		_exit(0);
	}
	until_field("q_receivers", 1);
	MUST(kill(pid, SIGSTOP));
	MUST(waitpid(pid, &status, WUNTRACED));
	CHECK(WIFSTOPPED(status));
	must_send(raw, 7, "seven");
	MUST(kill(pid, SIGCONT));
	reap(pid);
	say("nothing was lost\n");
}

/* poll and epoll end too. */
static void eintr_poll(char **args)
{
	(void)args;
	for (int i = 0; i < 3; i++) {
		pid_t pid = MUST(fork());

		if (pid == 0) {
			int rd = view(":7", O_RDONLY);

			handle(SIGUSR1, SA_RESTART);
			if (i == 0) {
				struct pollfd p = { .fd = rd, .events = POLLIN };
				say_result("poll", poll(&p, 1, -1));
			} else if (i == 1) {
				struct epoll_event ev = { .events = EPOLLIN };
				int epoll = MUST(epoll_create1(0));
				MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, rd, &ev));
				say_result("epoll_wait", epoll_wait(epoll, &ev, 1, -1));
			} else {
				fd_set set;
				FD_ZERO(&set);
				FD_SET(rd, &set);
				say_result("select", select(rd + 1, &set, NULL, NULL, NULL));
			}
			_exit(0);
		}
		until_blocked(pid, i == 0 ? "poll" : i == 1 ? "epoll" : "select", -1);
		MUST(kill(pid, SIGUSR1));
		reap(pid);
	}
}

/* Processes that are killed while they wait take nothing, send nothing, and stand in nobody's way. */
static void killed(char **args)
{
	enum { EACH = 3 };
	pid_t pids[EACH * VIEWS];
	int n = 0, raw = view(":raw", O_RDWR | O_NONBLOCK);
	char text[] = { 1, 0, 0, 0, 0, 0, 0, 0, 'x', '\n' };

	(void)args;
	for (int writes = 0; writes < 2; writes++) {
		int waiting = 0;

		if (writes)
			fill_queue(0);
		for (int i = 0; i < EACH * VIEWS; i++) {
			const char *v = views[i % VIEWS];

			if (writes && (strchr(v, '-') || strchr(v, '^')))
				continue;
			waiting++;
			if ((pids[n++] = MUST(fork())) == 0) {
				char b[100];
				int fd = view(v, writes ? O_WRONLY : O_RDONLY);

				if (writes)
					MUST(write(fd, text, sizeof text));
				else
					MUST(read(fd, b, sizeof b));
				_exit(1);
			}
			until_field(writes ? "q_senders" : "q_receivers", waiting);
		}
		long held = field("q_qnum");
		while (n > 0) {
			MUST(kill(pids[--n], SIGKILL));
			MUST(waitpid(pids[n], NULL, 0));
		}
		until_field("q_senders", 0);
		until_field("q_receivers", 0);
		CHECK(field("q_qnum") == held);
		CHECK(drain() == held);
	}
	must_send(raw, 7, "for the living");
	say_message("received", raw);
}

/* The end of the queue is EIDRM to whoever waits, in whatever call. */
static void removed(char **args)
{
	/* the queue is full of type 1: these readers find nothing */
	static const char *readers[] = { ":50", ":53:raw", ":^1", ":^1:raw", ":51:lines", ":^1:lines", ":52:stream" };
	static const char *writers[] = { "", ":7", ":raw", ":7:raw", ":lines", ":7:lines", ":stream" };
	enum { EACH = sizeof readers / sizeof *readers };
	struct call c[2 * EACH];
	int n = 0, r = view("", O_RDONLY), w = view("", O_WRONLY), fd;
	char text[] = { 1, 0, 0, 0, 0, 0, 0, 0, 'x', '\n' }, b[100];

	(void)args;
	memset(c, 0, sizeof c);
	for (int i = 0; i < EACH; i++) {
		c[n].fd = view(readers[i], O_RDONLY);
		c[n].size = 100;
		start_blocked(&c[n++]);
	}
	fill_queue(0);
	for (int i = 0; i < EACH; i++) {
		c[n].fd = view(writers[i], O_WRONLY);
		c[n].size = sizeof text;
		c[n].writes = 1;
		c[n].buf = text;
		start_blocked(&c[n++]);
	}
	until_field("q_senders", EACH);
	until_field("q_receivers", EACH);
	MUST(unlink(queue));
	for (int i = 0; i < n; i++)
		CHECK(finish(&c[i]) < 0 && errno == EIDRM);
	/* and to whoever calls later; O_NONBLOCK or not */
	for (int i = 0; i < 2; i++) {
		CHECK(read(r, b, 100) < 0 && errno == EIDRM);
		CHECK(readv(r, &(struct iovec){ b, 100 }, 1) < 0 && errno == EIDRM);
		CHECK(write(w, b, 100) < 0 && errno == EIDRM);
		CHECK(writev(w, &(struct iovec){ b, 100 }, 1) < 0 && errno == EIDRM);
		CHECK(ftruncate(w, 100) < 0 && errno == EIDRM);
		set_flag(r, O_NONBLOCK, 1);
		set_flag(w, O_NONBLOCK, 1);
	}
	say("%d calls ended\n", n);

	/* another queue of that name has nothing to do with it */
	fd = MUST(open(queue, O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, 0600));
	CHECK(read(r, b, 100) < 0 && errno == EIDRM);
	say_read("a new queue", fd, 100);
	MUST(write(fd, "new", 3));
	CHECK(read(r, b, 100) < 0 && errno == EIDRM);
	say_read("a new queue", fd, 100);
}

int main(int argc, char **argv)
{
	static const struct scenario scenarios[] = {
		{ "eintr", eintr }, { "eintr-lines", eintr_lines }, { "undisturbed", undisturbed }, { "eintr-poll", eintr_poll }, { "killed", killed }, { "removed", removed },
		{ NULL, NULL },
	};

	(void)argc;
	return run_queue(scenarios, argv);
}
