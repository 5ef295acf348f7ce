/* wait SCENARIO QUEUE: waiting for a queue by poll, select, and epoll of both kinds, on several views at once. */
#define _GNU_SOURCE
#include "queue.h"

static const char *views[] = { "", ":7", ":-7", ":^7", ":raw", ":7:raw", ":-2:raw", ":lines", ":7:lines", ":stream", ":^1:stream" };

enum { VIEWS = sizeof views / sizeof *views };

static int fds[VIEWS];

static void open_views(void)
{
	for (int i = 0; i < VIEWS; i++)
		fds[i] = view(views[i], O_RDONLY | O_NONBLOCK);
}

static void say_ready(const char *what, const unsigned events[VIEWS], unsigned which)
{
	char line[256] = "";

	for (int i = 0; i < VIEWS; i++)
		if (events[i] & which) {
			strcat(line, " q");
			strcat(line, views[i]);
		}
	say("%s:%s\n", what, *line ? line : " none");
}

static void by_poll(unsigned events[VIEWS])
{
	struct pollfd p[VIEWS];

	for (int i = 0; i < VIEWS; i++)
		p[i] = (struct pollfd){ .fd = fds[i], .events = POLLIN };
	MUST(poll(p, VIEWS, 0));
	for (int i = 0; i < VIEWS; i++)
		events[i] = p[i].revents;
}

static void by_select(unsigned events[VIEWS])
{
	struct timeval now = { 0, 0 };
	fd_set set;

	FD_ZERO(&set);
	for (int i = 0; i < VIEWS; i++)
		FD_SET(fds[i], &set);
	MUST(select(FD_SETSIZE, &set, NULL, NULL, &now));
	for (int i = 0; i < VIEWS; i++)
		events[i] = FD_ISSET(fds[i], &set) ? POLLIN : 0;
}

static int ep;

static void by_epoll(unsigned events[VIEWS])
{
	struct epoll_event e[VIEWS];
	int n = MUST(epoll_wait(ep, e, VIEWS, 0));

	memset(events, 0, VIEWS * sizeof *events);
	for (int i = 0; i < n; i++)
		events[e[i].data.u32] = e[i].events;
}

static void add_views(unsigned kind)
{
	ep = MUST(epoll_create1(EPOLL_CLOEXEC));
	for (int i = 0; i < VIEWS; i++) {
		struct epoll_event e = { .events = EPOLLIN | kind, .data.u32 = i };

		MUST(epoll_ctl(ep, EPOLL_CTL_ADD, fds[i], &e));
	}
}

/* A view is ready when a message is there that it takes, for as long as it is. */
static void selects(void (*ready)(unsigned[VIEWS]))
{
	unsigned events[VIEWS];
	int raw = view(":raw", O_WRONLY);
	char b[100];

	ready(events);
	say_ready("empty", events, ~0u);
	must_send(raw, 3, "three");
	ready(events);
	say_ready("3", events, POLLIN);
	ready(events);
	say_ready("3, again", events, POLLIN);
	must_send(raw, 7, "seven");
	ready(events);
	say_ready("3 7", events, POLLIN);
	CHECK(read(fds[3], b, sizeof b) == 5 && !memcmp(b, "three", 5));
	ready(events);
	say_ready("7", events, POLLIN);
	must_send(raw, 9, "nine");
	CHECK(read(fds[1], b, sizeof b) == 5 && !memcmp(b, "seven", 5));
	ready(events);
	say_ready("9", events, POLLIN);
	must_send(raw, 1, "one");
	CHECK(read(fds[3], b, sizeof b) == 4 && !memcmp(b, "nine", 4));
	ready(events);
	say_ready("1", events, POLLIN);
	/* a message that is begun is ready for its open file only */
	CHECK(read(fds[9], b, 1) == 1 && b[0] == 'o');
	ready(events);
	say_ready("begun", events, POLLIN);
	CHECK(read(fds[9], b, 9) == 2 && !memcmp(b, "ne", 2));
	ready(events);
	say_ready("empty", events, ~0u);
	/* without text it is nothing to lines and stream */
	must_send(raw, 7, "");
	ready(events);
	say_ready("7 of no bytes", events, POLLIN);
	CHECK(read(fds[5], b, sizeof b) == 8);
	MUST(unlink(queue));
	ready(events);
	say_ready("removed", events, POLLIN);
}

static void poll_selects(char **args) { (void)args; open_views(); selects(by_poll); }
static void select_selects(char **args) { (void)args; open_views(); selects(by_select); }
static void epoll_selects(char **args) { (void)args; open_views(); add_views(0); selects(by_epoll); }

/* Edges: each message is one for the views that take it, and none for the others. Who reads until there is no more misses none. */
static void edge_selects(char **args)
{
	static const struct { long type; const char *text; } sent[] = { { 3, "three" }, { 7, "seven" }, { 9, "nine" }, { 1, "one" }, { 1, "one" }, { 2, "two" } };
	unsigned events[VIEWS];
	int raw = view(":raw", O_WRONLY);
	char what[20];

	(void)args;
	open_views();
	add_views(EPOLLET);
	by_epoll(events);
	say_ready("empty", events, ~0u);
	for (size_t i = 0; i < sizeof sent / sizeof *sent; i++) {
		must_send(raw, sent[i].type, sent[i].text);
		by_epoll(events);
		sprintf(what, "%ld", sent[i].type);
		say_ready(what, events, POLLIN);
		by_epoll(events);
		say_ready("again", events, ~0u);
		CHECK(drain() == 1);
		by_epoll(events);
		say_ready("received", events, ~0u);
	}
	MUST(unlink(queue));
	by_epoll(events);
	say_ready("removed", events, POLLHUP);
}

struct sleeper {
	const char *by;
	int fd;
	unsigned events;
	unsigned found;
	_Atomic pid_t tid;
	pthread_t thread;
};

static void *sleep_by(void *arg)
{
	struct sleeper *s = arg;

	s->tid = (pid_t)syscall(SYS_gettid);
	if (strcmp(s->by, "poll") == 0) {
		struct pollfd p = { .fd = s->fd, .events = s->events };

		MUST(poll(&p, 1, -1));
		s->found = p.revents;
	} else if (strcmp(s->by, "select") == 0) {
		fd_set in, out;

		FD_ZERO(&in);
		FD_ZERO(&out);
		FD_SET(s->fd, s->events & POLLIN ? &in : &out);
		MUST(select(s->fd + 1, &in, &out, NULL, NULL));
		s->found = (FD_ISSET(s->fd, &in) ? POLLIN : 0) | (FD_ISSET(s->fd, &out) ? POLLOUT : 0);
	} else {
		struct epoll_event e = { .events = s->events | (strcmp(s->by, "edge") ? 0 : EPOLLET) };
		int epoll = MUST(epoll_create1(EPOLL_CLOEXEC));

		MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, s->fd, &e));
		MUST(epoll_wait(epoll, &e, 1, -1));
		s->found = e.events;
		close(epoll);
	}
	return NULL;
}

static void fall_asleep(struct sleeper *s, const char *by, int fd, unsigned events)
{
	*s = (struct sleeper){ .by = by, .fd = fd, .events = events };
	MUST(-pthread_create(&s->thread, NULL, sleep_by, s));
	while (!s->tid)
		usleep(200);
	until_blocked(s->tid, *by == 'e' ? "epoll" : by, -1);
}

static void awake(const char *what, struct sleeper *s)
{
	MUST(-pthread_join(s->thread, NULL));
	say_events(what, s->found);
}

/* wakes: a thread that sleeps is woken by the message that its view takes, by room for a byte, and by the end. */
static void wakes(char **args)
{
	const char *by = args[1];
	int raw = view(":raw", O_WRONLY), seven = view(":7", O_RDONLY | O_NONBLOCK), low = view(":-5:raw", O_RDONLY | O_NONBLOCK);
	int out = view(":2", O_WRONLY | O_NONBLOCK), lines = view(":7:lines", O_RDONLY | O_NONBLOCK);
	struct sleeper s, t, u;
	char b[MSGMAX];

	fall_asleep(&s, by, seven, POLLIN);
	fall_asleep(&t, by, low, POLLIN);
	fall_asleep(&u, by, lines, POLLIN);
	must_send(raw, 6, "not this");
	must_send(raw, 5, "this");
	awake("low", &t);
	say_message("low", low);
	until_blocked(s.tid, *by == 'e' ? "epoll" : by, -1);
	must_send(raw, 7, "seven");
	awake("seven", &s);
	awake("seven by lines", &u);
	say_read("seven", seven, 100);
	CHECK(drain() == 1);

	/* room */
	fill_queue(1);
	struct pollfd p = { .fd = out, .events = POLLOUT };
	CHECK(poll(&p, 1, 0) == 1 && p.revents == POLLOUT);
	CHECK(write(out, b, 2) < 0 && errno == EAGAIN);
	CHECK(write(out, "x", 1) == 1 && poll(&p, 1, 0) == 0);
	CHECK(write(out, "x", 1) < 0 && errno == EAGAIN);
	fall_asleep(&s, by, out, POLLOUT);
	CHECK(read(view(":2", O_RDONLY), b, 1) == 1);
	awake("room for one", &s);
	MUST(write(out, "x", 1));
	fall_asleep(&s, by, out, POLLOUT);
	MUST(truncate(queue, QBYTES + 1));
	awake("a higher limit", &s);
	drain();
	MUST(truncate(queue, 1));
	must_send(raw, 1, "");
	CHECK(poll(&p, 1, 0) == 0);
	fall_asleep(&s, by, out, POLLOUT);
	CHECK(drain() == 1);
	awake("no bytes, but a message less", &s);
	must_send(raw, 1, "x");

	/* the end */
	fall_asleep(&s, by, seven, POLLIN);
	fall_asleep(&t, by, out, POLLOUT);
	fall_asleep(&u, by, lines, POLLIN);
	MUST(unlink(queue));
	awake("removed, reader", &s);
	awake("removed, writer", &t);
	awake("removed, lines", &u);
	p = (struct pollfd){ .fd = seven };
	CHECK(poll(&p, 1, -1) == 1);
	say_events("removed, waiting for nothing", p.revents);
}

static void end(char **args)
{
	int both = view("", O_RDWR | O_NONBLOCK), seven = view(":7:raw", O_RDWR | O_NONBLOCK);
	struct pollfd p[] = { { both, POLLIN | POLLOUT, 0 }, { seven, POLLIN | POLLOUT, 0 } };

	(void)args;
	CHECK(poll(p, 2, 0) == 2);
	say_events("empty", p[0].revents);
	must_send(seven, 7, "x");
	fill_queue(0);
	CHECK(poll(p, 2, 0) == 2);
	say_events("full", p[0].revents);
	say_events("full, of type 7", p[1].revents);
	MUST(unlink(queue));
	CHECK(poll(p, 2, 0) == 2);
	say_events("removed", p[0].revents);
	say_events("removed, of type 7", p[1].revents);
	say_read("read", both, 10);
	say_result("write", write(both, "x", 1));
	say_message("raw", seven);
	/* who opened a view of it before, and who comes now */
	char path[4096];
	snprintf(path, sizeof path, "%s:7", queue);
	say_result("open", open(path, O_RDONLY));
	say_result("open", open(queue, O_RDWR));
}

/* Four threads that wait by epoll on their own open files share the work: who comes too late gets EAGAIN, no message is lost. */
enum { JOBS = 2000, WORKERS = 4 };

static _Atomic int done[JOBS], left = JOBS;

struct worker {
	pthread_t thread;
	unsigned kind;
	int fd;
};

static void *epoll_worker(void *arg)
{
	struct worker *w = arg;
	struct epoll_event e = { .events = EPOLLIN | w->kind };
	int fd = w->fd, epoll = MUST(epoll_create1(EPOLL_CLOEXEC));
	struct message m;

	MUST(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e));
	while (left > 0) {
		MUST(epoll_wait(epoll, &e, 1, -1));
		for (;;) {
			ssize_t n = read(fd, &m, sizeof m);
			int job;

			if (n < 0 && (errno == EAGAIN || errno == EIDRM))
				break;
			CHECK(n == sizeof m.type + sizeof job && m.type >= 1 && m.type <= 3);
			memcpy(&job, m.text, sizeof job);
			done[job]++;
			if (--left == 0)
				MUST(unlink(queue)); /* wakes those who wait */
			if (e.events & EPOLLET)
				continue;
		}
	}
	close(fd);
	close(epoll);
	return NULL;
}

static void workers(char **args)
{
	unsigned kind = strcmp(args[1], "edge") ? 0 : EPOLLET;
	int raw = view(":raw", O_WRONLY | O_NONBLOCK);
	struct pollfd p = { .fd = raw, .events = POLLOUT };
	struct worker all[WORKERS];

	for (int i = 0; i < WORKERS; i++) {
		all[i].kind = kind;
		all[i].fd = view(":-3:raw", O_RDONLY | O_NONBLOCK); /* a worker that comes late may find no queue any more */
		MUST(-pthread_create(&all[i].thread, NULL, epoll_worker, &all[i]));
	}
	for (int job = 0; job < JOBS; job++)
		while (send_type(raw, 1 + job % 3, (char *)&job, sizeof job) < 0) {
			CHECK(errno == EAGAIN);
			MUST(poll(&p, 1, -1));
		}
	for (int i = 0; i < WORKERS; i++)
		MUST(-pthread_join(all[i].thread, NULL));
	for (int job = 0; job < JOBS; job++)
		CHECK(done[job] == 1);
	say("%d jobs, each done once\n", JOBS);
}

int main(int argc, char **argv)
{
	static const struct scenario scenarios[] = {
		{ "poll", poll_selects }, { "select", select_selects }, { "epoll", epoll_selects }, { "edge", edge_selects },
		{ "wakes", wakes }, { "end", end }, { "workers", workers }, { NULL, NULL },
	};

	(void)argc;
	/* wait SCENARIO [KIND] QUEUE: the queue comes last */
	for (int i = 2; argv[i]; i++)
		queue = argv[i];
	char *again[] = { argv[0], argv[1], (char *)queue, argv[2], NULL };
	return run_scenario(scenarios, again);
}
