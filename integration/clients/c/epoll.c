// epoll SCENARIO PIPE...: what epoll does beyond waiting once.
#define _GNU_SOURCE
#include <sys/epoll.h>

#include "client.h"

static int new_epoll(void) { return MUST(epoll_create1(EPOLL_CLOEXEC)); }

static void add(int epoll, int fd, unsigned events)
{
	struct epoll_event e = { .events = events, .data.fd = fd };
	MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e));
}

// ready says what is ready now.
static void ready(const char *what, int epoll)
{
	struct epoll_event e = { 0 };
	MUST(epoll_wait(epoll, &e, 1, 0));
	say_events(what, e.events);
}

// sleeper is a thread in epoll_wait.
struct sleeper {
	int epoll;
	struct epoll_event event;
	_Atomic pid_t tid;
	pthread_t thread;
};

static void *sleep_in_epoll(void *arg)
{
	struct sleeper *s = arg;
	s->tid = (pid_t)syscall(SYS_gettid);
	MUST(epoll_wait(s->epoll, &s->event, 1, -1));
	return NULL;
}

static void fall_asleep(struct sleeper *s, int epoll)
{
	memset(s, 0, sizeof *s);
	s->epoll = epoll;
	MUST(-pthread_create(&s->thread, NULL, sleep_in_epoll, s));
	while (!s->tid)
		usleep(200);
	until_blocked(s->tid, "epoll", epoll);
}

static void awake(const char *what, struct sleeper *s)
{
	MUST(-pthread_join(s->thread, NULL));
	say_events(what, s->event.events);
}

// Every write is an edge, read or not; a read that leaves something is none.
static void edges_in(char **pipes)
{
	struct ends e = open_both(pipes[0]);
	int epoll = new_epoll();
	struct sleeper s;
	add(epoll, e.rd, EPOLLIN | EPOLLET);
	ready("empty", epoll);
	fall_asleep(&s, epoll);
	MUST(write(e.wr, "one", 3));
	awake("first write", &s);
	fall_asleep(&s, epoll);
	MUST(write(e.wr, "two", 3));
	awake("second write, nothing read yet", &s);
	ready("no write", epoll);
	say_read("read", e.rd, 2);
	ready("something left", epoll);
	say_read("read", e.rd, 100);
	ready("nothing left", epoll);
	fall_asleep(&s, epoll);
	MUST(write(e.wr, "three", 5));
	awake("third write", &s);
	fall_asleep(&s, epoll);
	close(e.wr);
	awake("closed", &s);
	ready("still closed", epoll);
	say_read("read", e.rd, 100);
	say_read("read", e.rd, 100);
}

// Only a read that makes a full pipe not full is an edge for the writer.
static void edges_out(char **pipes)
{
	static char buf[65536];
	struct ends e = open_both(pipes[0]);
	int epoll = new_epoll();
	struct sleeper s;
	add(epoll, e.wr, EPOLLOUT | EPOLLET);
	ready("empty", epoll);
	ready("still empty", epoll);
	say("full: %ld\n", fill(e.wr));
	ready("full", epoll);
	MUST(read(e.rd, buf, 100));
	ready("100 bytes of the first page read", epoll);
	fall_asleep(&s, epoll);
	MUST(read(e.rd, buf, 3996));
	awake("the first page read", &s);
	MUST(read(e.rd, buf, 4096));
	ready("the second page read", epoll);
	say("full: %ld\n", fill(e.wr));
	fall_asleep(&s, epoll);
	MUST(read(e.rd, buf, sizeof buf));
	awake("all read", &s);
	fall_asleep(&s, epoll);
	close(e.rd);
	awake("closed", &s);
	ready("still closed", epoll);
}

// Level-triggered: ready for as long as it is.
static void level(char **pipes)
{
	struct ends e = open_both(pipes[0]);
	int epoll = new_epoll();
	struct sleeper s;
	add(epoll, e.rd, EPOLLIN);
	fall_asleep(&s, epoll);
	MUST(write(e.wr, "one", 3));
	awake("written", &s);
	ready("not read", epoll);
	say_read("read", e.rd, 2);
	ready("something left", epoll);
	say_read("read", e.rd, 2);
	ready("nothing left", epoll);
	fall_asleep(&s, epoll);
	close(e.wr);
	awake("closed", &s);
	ready("still closed", epoll);
	e.wr = MUST(open(pipes[0], O_WRONLY));
	ready("opened again", epoll);
	fall_asleep(&s, epoll);
	MUST(write(e.wr, "two", 3));
	awake("written", &s);
	say_read("read", e.rd, 100);
}

static void oneshot(char **pipes)
{
	struct ends e = open_both(pipes[0]);
	int epoll = new_epoll();
	struct sleeper s;
	struct epoll_event again = { .events = EPOLLIN | EPOLLONESHOT };
	add(epoll, e.rd, EPOLLIN | EPOLLONESHOT);
	fall_asleep(&s, epoll);
	MUST(write(e.wr, "one", 3));
	awake("first write", &s);
	MUST(write(e.wr, "two", 3));
	ready("second write", epoll);
	MUST(epoll_ctl(epoll, EPOLL_CTL_MOD, e.rd, &again));
	ready("armed again", epoll);
	ready("fired", epoll);
	say_read("read", e.rd, 100);
	MUST(epoll_ctl(epoll, EPOLL_CTL_MOD, e.rd, &again));
	fall_asleep(&s, epoll);
	MUST(write(e.wr, "three", 5));
	awake("third write", &s);
	close(e.wr);
	ready("closed, not armed", epoll);
	MUST(epoll_ctl(epoll, EPOLL_CTL_MOD, e.rd, &again));
	ready("closed, armed", epoll);
}

static void several(char **pipes)
{
	enum { N = 5 };
	struct ends e = open_both(pipes[0]);
	struct sleeper s[N];
	int epoll[N];
	for (int i = 0; i < N; i++) {
		epoll[i] = new_epoll();
		add(epoll[i], e.rd, EPOLLIN | (i % 2 ? EPOLLET : 0));
	}
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < N; i++)
			fall_asleep(&s[i], epoll[i]);
		MUST(write(e.wr, "x", 1));
		for (int i = 0; i < N; i++)
			awake("written", &s[i]);
		for (int i = 0; i < N; i++)
			ready(i % 2 ? "again, edge" : "again, level", epoll[i]);
		say_read("read", e.rd, 100);
	}
	for (int i = 0; i < N; i++)
		fall_asleep(&s[i], epoll[i]);
	close(e.wr);
	for (int i = 0; i < N; i++)
		awake("closed", &s[i]);
}

static void both_ends(char **pipes)
{
	struct ends e = open_both(pipes[0]);
	int epoll = new_epoll();
	struct sleeper s;
	struct epoll_event got[4];
	add(epoll, e.rd, EPOLLIN | EPOLLET);
	add(epoll, e.wr, EPOLLOUT | EPOLLET);
	say("events: %ld\n", MUST(epoll_wait(epoll, got, 4, 0)));
	say("it is the writer: %d\n", got[0].data.fd == e.wr);
	fall_asleep(&s, epoll);
	say("full: %ld\n", fill(e.wr));
	awake("filled", &s);
	say("it is the reader: %d\n", s.event.data.fd == e.rd);
	// Every page of the fill was an edge; those that came after the wake-up are one more event.
	MUST(epoll_wait(epoll, got, 4, 0));
	fall_asleep(&s, epoll);
	MUST(read(e.rd, (char[4096]){ 0 }, 4096));
	awake("read", &s);
	say("it is the writer: %d\n", s.event.data.fd == e.wr);
	say("events: %ld\n", MUST(epoll_wait(epoll, got, 4, 0)));
	fall_asleep(&s, epoll);
	close(e.rd);
	awake("reader closed", &s);
	ready("again", epoll);
}

// Two epolls with edges for one descriptor of both sides: what wakes one is no edge for the other.
static void two_sides(char **pipes)
{
	int fd = MUST(open(pipes[0], O_RDWR));
	int in = new_epoll(), out = new_epoll();
	add(in, fd, EPOLLIN | EPOLLET);
	add(out, fd, EPOLLOUT | EPOLLET);
	ready("empty, in", in);
	ready("empty, out", out);
	MUST(write(fd, "x", 1));
	ready("written, in", in);
	ready("written, out", out);
}

// An epoll inside an epoll.
static void nested(char **pipes)
{
	struct ends e = open_both(pipes[0]);
	int inner = new_epoll(), outer = new_epoll();
	struct sleeper s;
	add(inner, e.rd, EPOLLIN);
	add(outer, inner, EPOLLIN);
	fall_asleep(&s, outer);
	MUST(write(e.wr, "x", 1));
	awake("outer", &s);
	ready("inner", inner);
	say_read("read", e.rd, 100);
	ready("outer", outer);
	fall_asleep(&s, outer);
	close(e.wr);
	awake("outer", &s);
	ready("inner", inner);
}

// A descriptor that is closed leaves the epoll, unless a duplicate keeps the open file.
static void closed(char **pipes)
{
	struct ends e = open_both(pipes[0]);
	int epoll = new_epoll();
	struct sleeper s;
	int other = MUST(dup(e.rd));
	add(epoll, e.rd, EPOLLIN);
	close(e.rd);
	fall_asleep(&s, epoll);
	MUST(write(e.wr, "x", 1));
	awake("duplicate open", &s);
	close(other);
	ready("all closed", epoll);
	other = MUST(open(pipes[0], O_RDONLY | O_NONBLOCK));
	ready("another open file", epoll);
	say_read("read", other, 100);
}

int main(int argc, char **argv)
{
	static const struct scenario scenarios[] = {
		{ "edges-in", edges_in }, { "edges-out", edges_out }, { "level", level }, { "oneshot", oneshot }, { "several", several },
		{ "both-ends", both_ends }, { "two-sides", two_sides }, { "nested", nested }, { "closed", closed }, { NULL, NULL },
	};
	(void)argc;
	return run_scenario(scenarios, argv);
}
