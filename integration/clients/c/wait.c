// wait MECHANISM PIPE PIPE PIPE PIPE PIPE: another process waits for each thing that can be waited for, blocked and without a time limit, and
// is woken by what this one does.
#define _GNU_SOURCE
#include <sys/epoll.h>
#include <sys/select.h>

#include "client.h"

struct wait {
	const char *mechanism;
	int fd;
	unsigned events;
	int epoll;
};

static void prepare(struct wait *w)
{
	struct epoll_event e = { .events = w->events };
	if (strncmp(w->mechanism, "epoll", 5) != 0)
		return;
	if (strcmp(w->mechanism, "epoll-edge") == 0)
		e.events |= EPOLLET;
	w->epoll = MUST(epoll_create1(EPOLL_CLOEXEC));
	MUST(epoll_ctl(w->epoll, EPOLL_CTL_ADD, w->fd, &e));
}

// wait_once returns the events that hold; select knows no names for them.
static unsigned wait_once(struct wait *w, int forever)
{
	if (strcmp(w->mechanism, "poll") == 0) {
		struct pollfd p = { .fd = w->fd, .events = w->events };
		MUST(poll(&p, 1, forever ? -1 : 0));
		return p.revents;
	}
	if (strcmp(w->mechanism, "ppoll") == 0) {
		struct pollfd p = { .fd = w->fd, .events = w->events };
		struct timespec now = { 0, 0 };
		MUST(ppoll(&p, 1, forever ? NULL : &now, NULL));
		return p.revents;
	}
	if (strcmp(w->mechanism, "select") == 0 || strcmp(w->mechanism, "pselect") == 0) {
		fd_set in, out;
		struct timeval now = { 0, 0 };
		struct timespec pnow = { 0, 0 };
		FD_ZERO(&in);
		FD_ZERO(&out);
		if (w->events & POLLIN)
			FD_SET(w->fd, &in);
		if (w->events & POLLOUT)
			FD_SET(w->fd, &out);
		if (*w->mechanism == 's')
			MUST(select(w->fd + 1, &in, &out, NULL, forever ? NULL : &now));
		else
			MUST(pselect(w->fd + 1, &in, &out, NULL, forever ? NULL : &pnow, NULL));
		return (FD_ISSET(w->fd, &in) ? POLLIN : 0) | (FD_ISSET(w->fd, &out) ? POLLOUT : 0);
	}
	struct epoll_event e = { 0 };
	MUST(epoll_wait(w->epoll, &e, 1, forever ? -1 : 0));
	return e.events;
}

// start_waiting forks a process that waits; it says what it saw before, when it was woken, and when it asked again.
static pid_t start_waiting(const char *mechanism, int fd, unsigned events, int other)
{
	int ready[2];
	char byte;
	MUST(pipe2(ready, O_CLOEXEC));
	pid_t pid = MUST(fork());
	if (pid == 0) {
		struct wait w = { mechanism, fd, events, -1 };
		close(other);
		prepare(&w);
		say_events("before", wait_once(&w, 0));
		MUST(write(ready[1], "", 1));
		say_events("woken", wait_once(&w, 1));
		say_events("again", wait_once(&w, 0));
		_exit(0);
	}
	close(fd);
	MUST(read(ready[0], &byte, 1));
	close(ready[0]);
	close(ready[1]);
	until_blocked(pid, strstr(mechanism, "select") ? "select" : strstr(mechanism, "epoll") ? "epoll" : "poll", -1);
	return pid;
}

int main(int argc, char **argv)
{
	static char buf[1 << 20];
	if (argc != 7)
		return 2;
	const char *mechanism = argv[1];
	char **pipes = argv + 2;
	// select has no way to ask for nothing but an error.
	unsigned errors = strstr(mechanism, "select") ? POLLOUT : 0;

	say("data\n");
	struct ends e = open_both(pipes[0]);
	pid_t pid = start_waiting(mechanism, e.rd, POLLIN, e.wr);
	MUST(write(e.wr, "hello", 5));
	reap(pid);
	close(e.wr);

	say("room after full\n");
	e = open_both(pipes[1]);
	say("full: %ld\n", fill(e.wr));
	pid = start_waiting(mechanism, e.wr, POLLOUT, e.rd);
	MUST(read(e.rd, buf, 4096));
	reap(pid);
	close(e.rd);

	say("last writer closes\n");
	e = open_both(pipes[2]);
	pid = start_waiting(mechanism, e.rd, POLLIN, e.wr);
	close(e.wr);
	reap(pid);

	say("last reader closes\n");
	e = open_both(pipes[3]);
	say("full: %ld\n", fill(e.wr));
	pid = start_waiting(mechanism, e.wr, POLLOUT, e.rd);
	close(e.rd);
	reap(pid);

	say("last reader closes, waiting for errors\n");
	e = open_both(pipes[4]);
	if (errors)
		fill(e.wr);
	pid = start_waiting(mechanism, e.wr, errors, e.rd);
	close(e.rd);
	reap(pid);
	return 0;
}
