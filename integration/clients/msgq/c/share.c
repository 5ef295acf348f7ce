/* share SCENARIO QUEUE: open files that threads and processes share, and who comes first. */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <sys/socket.h>

#include "queue.h"

/* Those who wait to receive get messages in the order in which they came, each by what it takes; and so is room made for those who wait to send. */
static void in_order(char **args)
{
	static const char *waiting[] = { "", ":7", ":-5", "", ":^7", ":7:raw", ":lines" };
	enum { N = sizeof waiting / sizeof *waiting };
	struct call r[N], w[4];
	int raw = view(":raw", O_RDWR);

	(void)args;
	memset(r, 0, sizeof r);
	memset(w, 0, sizeof w);
	for (int i = 0; i < N; i++) {
		r[i].fd = view(waiting[i], O_RDONLY);
		r[i].size = 100;
		start_blocked(&r[i]);
		until_field("q_receivers", i + 1);
	}
	static const struct { long type; int to; } sent[] = { { 9, 0 }, { 5, 2 }, { 7, 1 }, { 7, 3 }, { 7, 5 }, { 7, 6 }, { 7, -1 }, { 3, 4 } };
	for (size_t i = 0; i < sizeof sent / sizeof *sent; i++) {
		char text[] = { '0' + i, '\n', 0 };
		int to = sent[i].to;

		must_send(raw, sent[i].type, text);
		if (to < 0)
			continue;
		ssize_t n = finish(&r[to]);
		CHECK(n >= 2 && r[to].buf[n - 2] == text[0]);
		say("%c, of type %ld: to %d\n", text[0], sent[i].type, to);
	}
	CHECK(field("q_receivers") == 0 && drain() == 1);

	fill_queue(0);
	for (int i = 0; i < 4; i++) {
		w[i].fd = view("", O_WRONLY);
		w[i].writes = 1;
		w[i].size = MSGMAX;
		w[i].letter = 'a' + i;
		start_blocked(&w[i]);
		until_field("q_senders", i + 1);
	}
	struct message m;
	for (int i = 0; i < 6; i++) {
		CHECK(read(raw, &m, sizeof m) == MSGMAX + 8);
		if (i < 4)
			CHECK(finish(&w[i]) == MSGMAX);
		if (i >= 2)
			say("%c\n", m.text[0]);
	}
}

/* A read and a write wait on one open file at the same time. */
static void one_descriptor(char **args)
{
	static const char *views[] = { "", ":1", ":raw", ":lines", ":stream" };

	(void)args;
	for (int i = 0; i < 5; i++) {
		int fd = view(views[i], O_RDWR), other = view(":raw", O_RDWR);
		char text[] = { 1, 0, 0, 0, 0, 0, 0, 0, 'x', '\n' };
		struct call r = { .fd = fd, .size = 100 };

		start_blocked(&r);
		CHECK(write(fd, text, sizeof text) == sizeof text && finish(&r) == sizeof text);

		/* the write waits for room that only a read of the same open file makes */
		struct call w = { .fd = fd, .writes = 1, .size = sizeof text, .buf = text };
		fill_queue(1);
		start_blocked(&w);
		until_field("q_senders", 1);
		char b[MSGMAX + 8];
		while (field("q_senders") > 0)
			CHECK(read(fd, b, sizeof b) > 0);
		CHECK(finish(&w) == sizeof text);
		drain();

		/* both at once: the queue is full, of a type that is not asked for */
		int two = view(":2", O_RDWR);
		struct call r2 = { .fd = two, .size = 100 }, w2 = { .fd = two, .writes = 1, .size = 100, .letter = 'w' };
		fill_queue(50);
		start_blocked(&w2);
		start_blocked(&r2);
		struct message m;
		CHECK(read(other, &m, sizeof m) >= 8);
		CHECK(finish(&w2) == 100 && finish(&r2) == 100 && r2.buf[99] == 'w');
		drain();
		close(two);
		close(fd);
		close(other);
	}
	say("both ways\n");
}

enum { THREADS = 8, EACH = 500 };

static int shared_rd, shared_wr;
static _Atomic int got[THREADS * EACH];

static void *write_shared(void *arg)
{
	int base = (int)(long)arg * EACH;

	for (int i = base; i < base + EACH; i++)
		CHECK(send_type(shared_wr, 1 + i % 3, (char *)&i, sizeof i) == sizeof i + 8);
	return NULL;
}

static void *read_shared(void *arg)
{
	struct message m;
	int i;

	for (int n = 0; n < EACH; n++) {
		CHECK(read(shared_rd, &m, sizeof m) == sizeof i + 8);
		memcpy(&i, m.text, sizeof i);
		CHECK(m.type == 1 + i % 3 && got[i]++ == 0);
	}
	return arg;
}

/* Eight threads write, and eight read, by one open file: all is received once. */
static void threads(char **args)
{
	pthread_t t[2 * THREADS];

	(void)args;
	MUST(truncate(queue, 40));
	for (int once = 0; once < 2; once++) {
		shared_rd = view(":raw", once ? O_RDWR : O_RDONLY);
		shared_wr = once ? shared_rd : view(":raw", O_WRONLY);
		memset(got, 0, sizeof got);
		for (long i = 0; i < THREADS; i++) {
			MUST(-pthread_create(&t[i], NULL, write_shared, (void *)i));
			MUST(-pthread_create(&t[THREADS + i], NULL, read_shared, NULL));
		}
		for (int i = 0; i < 2 * THREADS; i++)
			MUST(-pthread_join(t[i], NULL));
		for (int i = 0; i < THREADS * EACH; i++)
			CHECK(got[i] == 1);
	}
	say("%d messages, each received once\n", THREADS * EACH);
}

/* A fork shares the open file: what it reads is gone, what of a message is begun goes on, and a line may have two authors. */
static void forked(char **args)
{
	int stream = view(":stream", O_RDONLY), lines = view(":lines", O_WRONLY), plain = view("", O_RDWR);
	pid_t pid;

	(void)args;
	MUST(write(plain, "first second third", 18));
	say_read("parent", stream, 6);
	if ((pid = MUST(fork())) == 0) {
		say_read("child", stream, 7);
		MUST(write(lines, "from the child ", 15));
		_exit(0);
	}
	reap(pid);
	say_read("parent", stream, 100);
	CHECK(field("q_qnum") == 0); /* the line has no end yet, and is still the parent's to end */
	MUST(write(lines, "and its parent\nlast", 19));
	say_read("line", plain, 100);

	/* the last of them closes it, which sends what is left */
	if ((pid = MUST(fork())) == 0) {
		close(lines);
		_exit(0);
	}
	reap(pid);
	CHECK(field("q_qnum") == 0);
	if ((pid = MUST(fork())) == 0)
		for (;;)
			pause();
	close(lines);
	CHECK(field("q_qnum") == 0);
	MUST(kill(pid, SIGKILL));
	MUST(waitpid(pid, NULL, 0));
	until_field("q_qnum", 1);
	say_read("line", plain, 100);

	/* twenty children and their parent read by one open file, each message goes to one */
	int raw = view(":raw", O_RDWR), n = 0, i;
	_Atomic int *counts = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct message m;

	for (int c = 0; c < 20; c++)
		if ((pid = MUST(fork())) == 0) {
			while (read(raw, &m, sizeof m) > 8) {
				memcpy(&i, m.text, sizeof i);
				counts[i]++;
			}
			_exit(0);
		}
	for (i = 0; i < 1000; i++)
		CHECK(send_type(raw, 1 + i % 5, (char *)&i, sizeof i) == sizeof i + 8);
	for (i = 0; i < 20; i++)
		must_send(raw, 9, "");
	for (i = 0; i < 20; i++)
		reap(-1);
	for (i = 0; i < 1000; i++)
		n += counts[i] == 1;
	say("received once: %d of 1000\n", n);
}

/* Duplicates, descriptors that are passed on, and files opened anew by their number are the same queue; a duplicate is the same open file. */
static void duplicates(char **args)
{
	int fd = view(":7:stream", O_RDWR), copy = MUST(dup(fd)), w = view(":7", O_WRONLY), pair[2];
	char path[64], b[10];

	(void)args;
	MUST(write(w, "abcdef", 6));
	say_read("one", fd, 2);
	say_read("its duplicate", copy, 2);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	int anew = MUST(open(path, O_RDONLY | O_NONBLOCK));
	say_read("opened anew", anew, 2);
	MUST(write(w, "ghi", 3));
	say_read("opened anew", anew, 2);
	close(anew);
	set_flag(copy, O_NONBLOCK, 1);
	say_read("one", fd, 10);
	say_read("one", fd, 10);
	close(copy);

	/* as by a server that passes a view on to whom it trusts */
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	union { struct cmsghdr h; char space[CMSG_SPACE(sizeof(int))]; } c = { .h = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	struct msghdr h = { .msg_iov = &(struct iovec){ b, 1 }, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof c.space };
	int in = view(":7:raw", O_RDONLY);

	memcpy(CMSG_DATA(&c.h), &in, sizeof in);
	MUST(sendmsg(pair[0], &h, 0));
	close(in);
	CHECK(recvmsg(pair[1], &h, 0) == 1);
	memcpy(&in, CMSG_DATA(CMSG_FIRSTHDR(&h)), sizeof in);
	MUST(write(w, "passed on", 9));
	say_message("by a descriptor that was sent", in);

	/* a read that waits goes on when its descriptor is closed, and gets its message */
	int last = view(":8", O_RDONLY);
	struct call r = { .fd = last, .size = 100 };
	start_blocked(&r);
	close(last);
	MUST(write(view(":8", O_WRONLY), "late", 4));
	say_result("closed meanwhile", finish(&r));

	/* O_NONBLOCK holds for the next call, not for the one that waits */
	int later = view(":8", O_RDONLY);
	struct call s = { .fd = later, .size = 100 };
	start_blocked(&s);
	set_flag(later, O_NONBLOCK, 1);
	say_read("another", later, 10);
	MUST(write(view(":8", O_WRONLY), "later", 5));
	say_result("the one that waited", finish(&s));
}

/* Who appends by one open file loses nothing either, though the kernel lets only one of them write at a time. */
static void appended(char **args)
{
	pthread_t t[THREADS];

	(void)args;
	MUST(truncate(queue, 100));
	shared_wr = view(":raw", O_WRONLY | O_APPEND);
	shared_rd = view(":raw", O_RDONLY);
	for (long i = 0; i < THREADS; i++)
		MUST(-pthread_create(&t[i], NULL, write_shared, (void *)i));
	for (int i = 0; i < THREADS; i++)
		read_shared(NULL);
	for (int i = 0; i < THREADS; i++)
		MUST(-pthread_join(t[i], NULL));
	say("%d messages, each received once\n", THREADS * EACH);
}

int main(int argc, char **argv)
{
	static const struct scenario scenarios[] = {
		{ "in-order", in_order }, { "one-descriptor", one_descriptor }, { "threads", threads }, { "forked", forked }, { "duplicates", duplicates }, { "appended", appended },
		{ NULL, NULL },
	};

	(void)argc;
	return run_queue(scenarios, argv);
}
