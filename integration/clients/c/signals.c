// signals SCENARIO PIPE...: SIGPIPE, and calls that a signal ends.
#define _GNU_SOURCE
#include <sys/epoll.h>
#include <sys/uio.h>

#include "client.h"

static _Atomic int caught;
static _Atomic pid_t caught_by;

static void handler(int sig)
{
	caught = sig;
	caught_by = (pid_t)syscall(SYS_gettid);
}

// handle installs a handler without SA_RESTART: the calls that the signal meets are to end.
static void handle(int sig)
{
	struct sigaction a = { .sa_handler = handler };
	MUST(sigaction(sig, &a, NULL));
}

static const char *caught_name(void)
{
	int sig = atomic_exchange(&caught, 0);
	return sig == 0 ? "no signal" : sig == SIGPIPE ? "SIGPIPE" : sig == SIGUSR1 ? "SIGUSR1" : "another signal";
}

static int broken(const char *path)
{
	struct ends e = open_both(path);
	close(e.rd);
	return e.wr;
}

static void sigpipe_default(char **pipes)
{
	int wr = broken(pipes[0]);
	pid_t pid = MUST(fork());
	if (pid == 0) {
		say_result("write", write(wr, "x", 1));
		_exit(0);
	}
	reap(pid);

	// The reader goes while the write waits.
	struct ends e = open_both(pipes[1]);
	fill(e.wr);
	pid = MUST(fork());
	if (pid == 0) {
		close(e.rd);
		say_result("write", write(e.wr, "x", 1));
		_exit(0);
	}
	until_blocked(pid, "write", e.wr);
	close(e.rd);
	reap(pid);
}

static void sigpipe_ignored(char **pipes)
{
	signal(SIGPIPE, SIG_IGN);
	int wr = broken(pipes[0]);
	say_result("write", write(wr, "x", 1));
	say_result("write", write(wr, "x", 1));
	set_flag(wr, O_NONBLOCK, 1);
	say_result("non-blocking write", write(wr, "x", 1));
	say_result("write of nothing", write(wr, "", 0));

	// What came through before the reader went is the result, the next write is the error.
	struct ends e = open_both(pipes[1]);
	struct call c = { .fd = e.wr, .writes = 1, .size = 100000 };
	start_blocked(&c);
	close(e.rd);
	say_result("write of 100000", finish(&c));
	say_result("write", write(e.wr, "x", 1));

	// Another reader mends it, and finds what is left.
	char *buf = malloc(1 << 20);
	int rd = MUST(open(pipes[1], O_RDONLY));
	say_result("read", read(rd, buf, 1 << 20));
	say_result("write", write(e.wr, "x", 1));
	say_read("read", rd, 100);
}

static void sigpipe_handled(char **pipes)
{
	handle(SIGPIPE);
	int wr = broken(pipes[0]);
	say_result("write", write(wr, "x", 1));
	say("%s, by the thread that wrote: %d\n", caught_name(), caught_by == getpid());

	struct iovec v[2] = { { "a", 1 }, { "b", 1 } };
	say_result("writev", writev(wr, v, 2));
	say("%s\n", caught_name());

	// The signal is for the thread that wrote, also when its write waited.
	struct ends e = open_both(pipes[1]);
	struct call c = { .fd = e.wr, .writes = 1, .size = 100000 };
	start_blocked(&c);
	close(e.rd);
	say_result("write of 100000", finish(&c));
	say("%s, by the thread that wrote: %d\n", caught_name(), caught_by == c.tid);
}

// A blocked SIGPIPE is pending after the write, for the thread.
static void sigpipe_blocked(char **pipes)
{
	sigset_t set, pending;
	struct timespec now = { 0, 0 };
	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	MUST(sigprocmask(SIG_BLOCK, &set, NULL));
	int wr = broken(pipes[0]);
	say_result("write", write(wr, "x", 1));
	MUST(sigpending(&pending));
	say("pending: %d\n", sigismember(&pending, SIGPIPE));
	say("taken: %d\n", sigtimedwait(&set, NULL, &now) == SIGPIPE);
	say("another: %d\n", sigtimedwait(&set, NULL, &now) == SIGPIPE);
}

// interrupt sends the thread that waits in a call the signal.
static void interrupt(struct call *c)
{
	MUST(syscall(SYS_tgkill, getpid(), c->tid, SIGUSR1));
}

static void eintr(char **pipes)
{
	handle(SIGUSR1);
	struct ends e = open_both(pipes[0]);
	struct call rd = { .fd = e.rd, .size = 100 };
	start_blocked(&rd);
	interrupt(&rd);
	say_result("read", finish(&rd));
	say("%s\n", caught_name());
	MUST(write(e.wr, "kept", 4));
	say_read("read", e.rd, 100);

	fill(e.wr);
	struct call wr = { .fd = e.wr, .writes = 1, .size = 100 };
	start_blocked(&wr);
	interrupt(&wr);
	say_result("write", finish(&wr));
	say("%s\n", caught_name());
	char *buf = malloc(1 << 20);
	say_result("read all", read(e.rd, buf, 1 << 20));

	// What is in the pipe when the signal comes is the result.
	struct call part = { .fd = e.wr, .writes = 1, .size = 100000, .letter = 'p' };
	start_blocked(&part);
	interrupt(&part);
	say_result("write of 100000", finish(&part));
	say("%s\n", caught_name());
	say_result("read all", read(e.rd, buf, 1 << 20));
	set_flag(e.rd, O_NONBLOCK, 1);
	say_read("read", e.rd, 100);
}

static void open_child(const char *path, int flags)
{
	handle(SIGUSR1);
	say_result("open", open(path, flags));
	say("%s\n", caught_name());
	_exit(0);
}

static void eintr_open(char **pipes)
{
	for (int i = 0; i < 2; i++) {
		pid_t pid = MUST(fork());
		if (pid == 0)
			open_child(pipes[0], i ? O_WRONLY : O_RDONLY);
		until_blocked(pid, "open", -1);
		MUST(kill(pid, SIGUSR1));
		reap(pid);
	}
	// The opens that were interrupted count for nothing.
	say_result("open for writing without a reader", open(pipes[0], O_WRONLY | O_NONBLOCK));
	// And a process that is killed in open leaves nothing either.
	for (int i = 0; i < 2; i++) {
		pid_t pid = MUST(fork());
		if (pid == 0)
			open_child(pipes[0], i ? O_WRONLY : O_RDONLY);
		until_blocked(pid, "open", -1);
		MUST(kill(pid, SIGKILL));
		reap(pid);
	}
	say_result("open for writing without a reader", open(pipes[0], O_WRONLY | O_NONBLOCK));
}

static void eintr_poll(char **pipes)
{
	struct ends e = open_both(pipes[0]);
	for (int i = 0; i < 2; i++) {
		pid_t pid = MUST(fork());
		if (pid == 0) {
			handle(SIGUSR1);
			if (i == 0) {
				struct pollfd p = { .fd = e.rd, .events = POLLIN };
				say_result("poll", poll(&p, 1, -1));
			} else {
				struct epoll_event ev = { .events = EPOLLIN };
				int epoll = MUST(epoll_create1(0));
				MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, e.rd, &ev));
				say_result("epoll_wait", epoll_wait(epoll, &ev, 1, -1));
			}
			say("%s\n", caught_name());
			_exit(0);
		}
		until_blocked(pid, i ? "epoll" : "poll", -1);
		MUST(kill(pid, SIGUSR1));
		reap(pid);
	}
}

int main(int argc, char **argv)
{
	static const struct scenario scenarios[] = {
		{ "sigpipe-default", sigpipe_default }, { "sigpipe-ignored", sigpipe_ignored }, { "sigpipe-handled", sigpipe_handled },
		{ "sigpipe-blocked", sigpipe_blocked }, { "eintr", eintr }, { "eintr-open", eintr_open }, { "eintr-poll", eintr_poll }, { NULL, NULL },
	};
	(void)argc;
	return run_scenario(scenarios, argv);
}
