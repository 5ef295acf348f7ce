// share SCENARIO PIPE...: descriptors of both sides, shared by threads, processes and numbers.
#define _GNU_SOURCE
#include "client.h"

// A descriptor opened O_RDWR is its own reader and writer: nothing of it ever ends or breaks.
static void rdwr(char **pipes)
{
	int fd = MUST(open(pipes[0], O_RDWR));
	struct pollfd p = { .fd = fd, .events = POLLIN | POLLOUT };
	MUST(poll(&p, 1, 0));
	say_events("empty", p.revents);
	MUST(write(fd, "hello", 5));
	MUST(poll(&p, 1, 0));
	say_events("written", p.revents);
	say_read("read", fd, 100);
	say("full: %ld\n", fill(fd));
	MUST(poll(&p, 1, 0));
	say_events("full", p.revents);

	struct ends e = { MUST(open(pipes[0], O_RDONLY)), MUST(open(pipes[0], O_WRONLY)) };
	close(e.wr);
	close(e.rd);
	MUST(poll(&p, 1, 0));
	say_events("others came and went", p.revents);
	set_flag(fd, O_NONBLOCK, 1);
	char *buf = malloc(1 << 20);
	say_result("read all", read(fd, buf, 1 << 20));
	say_result("read empty", read(fd, buf, 1 << 20));
	set_flag(fd, O_NONBLOCK, 0);

	// It keeps the pipe alive for readers and writers that come one after the other.
	e.wr = MUST(open(pipes[0], O_WRONLY));
	MUST(write(e.wr, "kept", 4));
	close(e.wr);
	e.rd = MUST(open(pipes[0], O_RDONLY));
	say_read("read", e.rd, 100);
	struct call c = { .fd = e.rd, .size = 100 };
	start_blocked(&c);
	close(fd);
	say_result("read until the last writer closes", finish(&c));
}

// A read and a write of one open file wait at the same time, in two threads.
static void one_descriptor(char **pipes)
{
	int fd = MUST(open(pipes[0], O_RDWR));
	struct call rd = { .fd = fd, .size = 100 };
	start_blocked(&rd);
	MUST(write(fd, "to the reader", 13));
	say("%ld bytes: %.13s\n", (long)finish(&rd), rd.buf);

	// The write waits for room that only a read of the same open file can make.
	struct call wr = { .fd = fd, .writes = 1, .size = 200000, .letter = 'w' };
	start_blocked(&wr);
	static char buf[200000];
	long sum = 0;
	while (sum < (long)sizeof buf)
		sum += MUST(read(fd, buf + sum, sizeof buf - sum));
	say_result("write", finish(&wr));
	say("read: %ld, all of it: %d\n", sum, buf[0] == 'w' && memcmp(buf, buf + 1, sizeof buf - 1) == 0);
}

// Reads and writes of one pipe go on in the order in which they began to wait.
static void in_order(char **pipes)
{
	enum { N = 4 };
	struct ends e = open_both(pipes[0]);
	struct call rd[N], wr[N];
	memset(rd, 0, sizeof rd);
	memset(wr, 0, sizeof wr);
	for (int i = 0; i < N; i++) {
		rd[i].fd = e.rd;
		rd[i].size = 100;
		start_blocked(&rd[i]);
	}
	for (int i = 0; i < N; i++) {
		MUST(write(e.wr, &"abcd"[i], 1));
		long n = finish(&rd[i]);
		say("read %d: %ld %c\n", i, n, rd[i].buf[0]);
	}
	say("full: %ld\n", fill(e.wr));
	for (int i = 0; i < N; i++) {
		wr[i].fd = e.wr;
		wr[i].writes = 1;
		wr[i].size = 4096;
		wr[i].letter = "ABCD"[i];
		start_blocked(&wr[i]);
	}
	char page[4096];
	for (int i = 0; i < N; i++) {
		say("read: %ld\n", (long)read(e.rd, page, sizeof page));
		say("write %d: %ld\n", i, (long)finish(&wr[i]));
	}
	for (int i = N; i < 16; i++)
		MUST(read(e.rd, page, sizeof page));
	for (int i = 0; i < N; i++) {
		MUST(read(e.rd, page, sizeof page));
		say("page of %c\n", page[0]);
	}
}

// Threads that wait for one another through one pipe keep every byte and never end.
static void many_threads(char **pipes)
{
	enum { N = 8, SIZE = 100000 };
	struct ends e = open_both(pipes[0]);
	struct call wr[N];
	static char buf[65536];
	long count[N] = { 0 }, sum = 0, n;
	memset(wr, 0, sizeof wr);
	for (int i = 0; i < N; i++) {
		wr[i].fd = e.wr;
		wr[i].writes = 1;
		wr[i].size = SIZE;
		wr[i].letter = 'a' + i;
		start(&wr[i]);
	}
	while (sum < N * SIZE) {
		n = MUST(read(e.rd, buf, sizeof buf));
		sum += n;
		for (long i = 0; i < n; i++)
			count[buf[i] - 'a']++;
	}
	for (int i = 0; i < N; i++)
		say("thread %d: wrote %ld, read %ld\n", i, (long)finish(&wr[i]), count[i]);
}

// A fork shares the open file: its flags, and its life.
static void forked(char **pipes)
{
	struct ends e = open_both(pipes[0]);
	pid_t pid = MUST(fork());
	if (pid == 0) {
		close(e.rd);
		MUST(write(e.wr, "child", 5));
		set_flag(e.wr, O_NONBLOCK, 1);
		_exit(0);
	}
	say_read("read", e.rd, 100);
	reap(pid);
	say("the child's flag: %d\n", (MUST(fcntl(e.wr, F_GETFL)) & O_NONBLOCK) != 0);
	say("full: %ld\n", fill(e.wr));

	// The child keeps the writing side open after the parent closed it, and is blocked on it.
	pid = MUST(fork());
	if (pid == 0) {
		close(e.rd);
		say_result("child writes", write(e.wr, "last words", 10));
		_exit(0);
	}
	until_blocked(pid, "write", e.wr);
	close(e.wr);
	char *buf = malloc(1 << 20);
	long n = read(e.rd, buf, 65536);
	reap(pid);
	say_result("read", n);
	say_read("read", e.rd, 100);
	say_read("read", e.rd, 100);

	// A process that is killed closes what it has.
	e.wr = MUST(open(pipes[0], O_WRONLY));
	fill(e.wr);
	pid = MUST(fork());
	if (pid == 0) {
		close(e.rd);
		MUST(write(e.wr, "x", 1));
		_exit(0);
	}
	until_blocked(pid, "write", e.wr);
	close(e.wr);
	MUST(kill(pid, SIGKILL));
	reap(pid);
	say_result("read", read(e.rd, buf, 1 << 20));
	say_result("read", read(e.rd, buf, 1 << 20));
}

// O_NONBLOCK switched while the file is open holds for the next call, and not for one that waits already.
static void nonblock(char **pipes)
{
	struct ends e = open_both(pipes[0]);
	set_flag(e.rd, O_NONBLOCK, 1);
	say_read("read", e.rd, 100);
	set_flag(e.rd, O_NONBLOCK, 0);
	struct call c = { .fd = e.rd, .size = 100 };
	start_blocked(&c);
	set_flag(e.rd, O_NONBLOCK, 1);
	say_read("another read", e.rd, 100);
	MUST(write(e.wr, "hello", 5));
	say_result("the read that waited", finish(&c));
	say_read("read", e.rd, 100);

	set_flag(e.wr, O_NONBLOCK, 1);
	char *buf = calloc(1, 1 << 20);
	say_result("write 100000", write(e.wr, buf, 100000));
	say_result("write 1", write(e.wr, buf, 1));
	say_result("read 6000", read(e.rd, buf, 6000));
	say_result("write 4097", write(e.wr, buf, 4097));
	say_result("write 4096", write(e.wr, buf, 4096));
	set_flag(e.wr, O_NONBLOCK, 0);
	struct call w = { .fd = e.wr, .writes = 1, .size = 4096 };
	start_blocked(&w);
	say_result("read 8192", read(e.rd, buf, 8192));
	say_result("the write that waited", finish(&w));
	close(e.rd);
	e.rd = MUST(open(pipes[0], O_RDONLY | O_NONBLOCK));
	say_result("read all", read(e.rd, buf, 1 << 20));
	close(e.wr);
	say_result("read", read(e.rd, buf, 1 << 20));
	close(e.rd);
	e.wr = open(pipes[0], O_WRONLY | O_NONBLOCK);
	say_result("open for writing without a reader", e.wr);
}

// A duplicate is the same open file: it shares the flags, and the side stays open until the last one is closed.
static void duplicates(char **pipes)
{
	struct ends e = open_both(pipes[0]);
	int a = MUST(dup(e.wr)), b = MUST(dup2(e.wr, 100)), c = MUST(fcntl(e.wr, F_DUPFD_CLOEXEC, 200));
	int all[] = { e.wr, a, b, c };
	set_flag(b, O_NONBLOCK, 1);
	set_flag(e.rd, O_NONBLOCK, 1);
	for (int i = 0; i < 4; i++) {
		say("flag: %d\n", (MUST(fcntl(all[i], F_GETFL)) & O_NONBLOCK) != 0);
		MUST(write(all[i], "dup", 3));
		say_read("read", e.rd, 100);
		if (i == 3)
			break;
		close(all[i]);
		say_read("read", e.rd, 100);
	}
	set_flag(e.rd, O_NONBLOCK, 0);
	struct call rd = { .fd = e.rd, .size = 100 };
	start_blocked(&rd);
	close(c);
	say_result("read", finish(&rd));
}

// exec_sleeper starts a program that does nothing but keep what exec left it, until its stdin ends.
static pid_t exec_sleeper(int *stdin_of_it)
{
	int p[2];
	MUST(pipe2(p, O_CLOEXEC));
	pid_t pid = MUST(fork());
	if (pid == 0) {
		MUST(dup2(p[0], 0));
		execlp("cat", "cat", (char *)NULL);
		_exit(1);
	}
	close(p[0]);
	*stdin_of_it = p[1];
	// It must have come to its exec, which is what closes.
	until_blocked(pid, "read", 0);
	return pid;
}

static void cloexec(char **pipes)
{
	int keep, p;
	struct ends e = { MUST(open(pipes[0], O_RDONLY | O_NONBLOCK | O_CLOEXEC)), MUST(open(pipes[0], O_WRONLY | O_CLOEXEC)) };
	pid_t pid = exec_sleeper(&keep);
	close(e.wr);
	say_read("closed by exec", e.rd, 100);
	close(keep);
	reap(pid);

	e.wr = MUST(open(pipes[0], O_WRONLY));
	pid = exec_sleeper(&keep);
	close(e.wr);
	say_read("kept by exec", e.rd, 100);
	set_flag(e.rd, O_NONBLOCK, 0);
	struct call c = { .fd = e.rd, .size = 100 };
	start_blocked(&c);
	close(keep);
	reap(pid);
	say_result("the program ended", finish(&c));

	// FD_CLOEXEC by fcntl, after the open.
	e.wr = MUST(open(pipes[0], O_WRONLY));
	p = MUST(fcntl(e.wr, F_GETFD));
	say("FD_CLOEXEC: %d\n", p & FD_CLOEXEC);
	MUST(fcntl(e.wr, F_SETFD, p | FD_CLOEXEC));
	pid = exec_sleeper(&keep);
	close(e.wr);
	say_read("closed by exec", e.rd, 100);
	close(keep);
	reap(pid);
}

int main(int argc, char **argv)
{
	static const struct scenario scenarios[] = {
		{ "rdwr", rdwr }, { "one-descriptor", one_descriptor }, { "in-order", in_order }, { "many-threads", many_threads },
		{ "forked", forked }, { "nonblock", nonblock }, { "duplicates", duplicates }, { "cloexec", cloexec }, { NULL, NULL },
	};
	(void)argc;
	return run_scenario(scenarios, argv);
}
