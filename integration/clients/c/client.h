// What the C clients share. A client does not know where its pipes are: it opens the paths that it is given, and says on stdout what it saw.
#ifndef CLIENT_H
#define CLIENT_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#define CLIENT static inline __attribute__((unused))

// say goes around stdio, whose buffer a fork would double.
#define say(...) dprintf(STDOUT_FILENO, __VA_ARGS__)

#define MUST(call) must(#call, (call))

CLIENT long must(const char *what, long result)
{
	if (result < 0) {
		dprintf(STDERR_FILENO, "%s: %s\n", what, strerror(errno));
		_exit(1);
	}
	return result;
}

// errno_name is the name of the errors that a pipe gives; what has none here is a surprise anyway.
CLIENT const char *errno_name(int e)
{
	switch (e) {
	case EAGAIN: return "EAGAIN";
	case EBADF: return "EBADF";
	case EINTR: return "EINTR";
	case EINVAL: return "EINVAL";
	case ENXIO: return "ENXIO";
	case EPIPE: return "EPIPE";
	case ESPIPE: return "ESPIPE";
	}
	return strerror(e);
}

// say_result says what a call returned: its value, or the name of its error.
CLIENT void say_result(const char *what, long result)
{
	if (result < 0)
		say("%s: %s\n", what, errno_name(errno));
	else
		say("%s: %ld\n", what, result);
}

// say_read reads once and says what came.
CLIENT void say_read(const char *what, int fd, size_t size)
{
	char *buf = malloc(size);
	ssize_t n = read(fd, buf, size);
	if (n > 0 && n < 100)
		say("%s: %ld %.*s\n", what, (long)n, (int)n, buf);
	else
		say_result(what, n);
	free(buf);
}

// say_events says the bits of poll, which are those of epoll too.
CLIENT void say_events(const char *what, unsigned events)
{
	static const struct { unsigned bit; const char *name; } names[] = {
		{ POLLIN, " IN" }, { POLLOUT, " OUT" }, { POLLERR, " ERR" }, { POLLHUP, " HUP" }, { POLLNVAL, " NVAL" },
	};
	char line[64] = "";
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (events & names[i].bit)
			strcat(line, names[i].name);
	say("%s:%s\n", what, *line ? line : " nothing");
}

CLIENT void set_flag(int fd, int flag, int on)
{
	int flags = MUST(fcntl(fd, F_GETFL));
	MUST(fcntl(fd, F_SETFL, on ? flags | flag : flags & ~flag));
}

struct ends { int rd, wr; };

// open_both opens both ends, blocking, from one thread.
CLIENT struct ends open_both(const char *path)
{
	struct ends e;
	e.rd = MUST(open(path, O_RDONLY | O_NONBLOCK));
	e.wr = MUST(open(path, O_WRONLY));
	set_flag(e.rd, O_NONBLOCK, 0);
	return e;
}

// fill makes the pipe full, and returns with how many bytes.
CLIENT long fill(int wr)
{
	static char page[4096];
	long sum = 0, n;
	set_flag(wr, O_NONBLOCK, 1);
	while ((n = write(wr, page, sizeof page)) > 0)
		sum += n;
	set_flag(wr, O_NONBLOCK, 0);
	return sum;
}

// is_call says whether a number is that of one of the system calls that a function of the C library may make.
CLIENT int is_call(long nr, const char *call)
{
	static const struct { const char *call; long nr; } calls[] = {
		{ "read", SYS_read }, { "write", SYS_write }, { "readv", SYS_readv }, { "writev", SYS_writev },
		{ "open", SYS_openat }, { "poll", SYS_ppoll }, { "select", SYS_pselect6 }, { "epoll", SYS_epoll_pwait },
#ifdef SYS_poll
		{ "poll", SYS_poll }, { "select", SYS_select }, { "epoll", SYS_epoll_wait },
#endif
	};
	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
		if (calls[i].nr == nr && strcmp(calls[i].call, call) == 0)
			return 1;
	return 0;
}

// until_blocked waits until a thread sleeps in a call, on fd unless that is -1. The thread must be of this process, or a child: Linux may show
// the system call of others to nobody.
CLIENT void until_blocked(pid_t tid, const char *call, int fd)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/syscall", tid);
	for (;; usleep(200)) {
		char text[256] = "";
		long nr;
		unsigned long arg;
		int f = MUST(open(path, O_RDONLY | O_CLOEXEC));
		ssize_t n = read(f, text, sizeof text - 1);
		close(f);
		if (n > 0 && sscanf(text, "%ld %lx", &nr, &arg) == 2 && is_call(nr, call) && (fd < 0 || (unsigned long)fd == arg))
			return;
	}
}

// reap waits for a child and says how it ended, unless well.
CLIENT void reap(pid_t pid)
{
	int status;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			MUST(-1);
	if (WIFSIGNALED(status))
		say("child ended by %s\n", strsignal(WTERMSIG(status)));
	else if (WEXITSTATUS(status) != 0)
		say("child exits with %d\n", WEXITSTATUS(status));
}

// call is one read or write in a thread of its own.
struct call {
	int fd;
	int writes;
	size_t size;
	char *buf; // if NULL, it is made, and filled with the letter
	char letter;

	ssize_t result;
	int error;
	_Atomic pid_t tid;
	pthread_t thread;
};

CLIENT void *make_call(void *arg)
{
	struct call *c = arg;
	c->tid = (pid_t)syscall(SYS_gettid);
	c->result = c->writes ? write(c->fd, c->buf, c->size) : read(c->fd, c->buf, c->size);
	c->error = errno;
	return NULL;
}

// start starts the call.
CLIENT void start(struct call *c)
{
	if (!c->buf) {
		c->buf = malloc(c->size + 1);
		memset(c->buf, c->letter, c->size);
	}
	MUST(-pthread_create(&c->thread, NULL, make_call, c));
}

// start_blocked starts the call and waits until it waits.
CLIENT void start_blocked(struct call *c)
{
	start(c);
	while (!c->tid)
		usleep(200);
	until_blocked(c->tid, c->writes ? "write" : "read", c->fd);
}

// finish waits for the end of the call and leaves its result as that of the call itself.
CLIENT ssize_t finish(struct call *c)
{
	MUST(-pthread_join(c->thread, NULL));
	errno = c->error;
	return c->result;
}

struct scenario {
	const char *name;
	void (*run)(char **pipes);
};

// run_scenario runs the scenario that the first argument names, on the pipes that the others name.
CLIENT int run_scenario(const struct scenario *s, char **argv)
{
	for (; s->name; s++)
		if (argv[1] && strcmp(s->name, argv[1]) == 0) {
			s->run(argv + 2);
			return 0;
		}
	dprintf(STDERR_FILENO, "no such scenario: %s\n", argv[1]);
	return 2;
}

#endif
