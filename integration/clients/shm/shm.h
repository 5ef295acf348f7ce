// What the C clients of /dev/shm share. A client is a program as any other: it knows the names of its objects and nothing of what serves them.
#ifndef SHM_H
#define SHM_H

#include "../c/client.h"

#include <sys/mman.h>
#include <sys/stat.h>

#define SHM "/dev/shm/"

// UNIT is a whole number of pages on every machine.
enum { UNIT = 65536 };

// say_error says what a function of pthreads returned.
CLIENT void say_error(const char *what, int e)
{
	say("%s: %s\n", what, e ? strerrorname_np(e) : "0");
}

// say_call says what a call returned, or the name of its error.
CLIENT void say_call(const char *what, long result)
{
	if (result < 0)
		say_error(what, errno);
	else
		say("%s: %ld\n", what, result);
}

// look lets the test look at the directory from outside, and returns when it has.
CLIENT void look(void)
{
	char c;
	say("look\n");
	if (MUST(read(STDIN_FILENO, &c, 1)) == 0)
		_exit(1);
}

CLIENT void *map(int fd, size_t size, int prot, int flags)
{
	void *p = mmap(NULL, size, prot, flags, fd, 0);
	MUST(p == MAP_FAILED ? -1 : 0);
	return p;
}

// segment maps the shared memory with this name, which it makes if flags have O_CREAT.
CLIENT void *segment(const char *name, int flags, size_t size)
{
	int fd = MUST(shm_open(name, O_RDWR | flags, 0600));
	if (flags & O_CREAT)
		MUST(ftruncate(fd, size));
	void *p = map(fd, size, PROT_READ | PROT_WRITE, MAP_SHARED);
	close(fd);
	return p;
}

// until_in waits until another process sleeps in the system call with this number. It must be a child: Linux may show others to nobody.
CLIENT void until_in(pid_t pid, long nr)
{
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/syscall", pid);
	for (;; usleep(200)) {
		char text[256] = "";
		long now;
		int f = MUST(open(path, O_RDONLY | O_CLOEXEC));
		ssize_t n = read(f, text, sizeof text - 1);
		close(f);
		if (n > 0 && sscanf(text, "%ld", &now) == 1 && now == nr)
			return;
	}
}

// peer is another process, which takes turns with this one where the order matters.
struct peer {
	pid_t pid;
	int in, out;
};

// pass passes the turn to the other process.
CLIENT void pass(struct peer *p)
{
	MUST(write(p->out, "", 1));
}

// turn waits until the other process has passed the turn.
CLIENT void turn(struct peer *p)
{
	char c;
	if (MUST(read(p->in, &c, 1)) == 0) {
		dprintf(STDERR_FILENO, "process %d does not pass the turn any more\n", p->pid);
		_exit(1);
	}
}

// start_peer runs run in another process. It sees this one as its peer.
CLIENT struct peer start_peer(void (*run)(struct peer *parent, void *arg), void *arg)
{
	int down[2], up[2];
	pid_t parent = getpid();
	MUST(pipe2(down, O_CLOEXEC));
	MUST(pipe2(up, O_CLOEXEC));
	pid_t pid = MUST(fork());
	struct peer p = { pid ? pid : parent, pid ? up[0] : down[0], pid ? down[1] : up[1] };
	close(pid ? up[1] : down[1]);
	close(pid ? down[0] : up[0]);
	if (pid == 0) {
		run(&p, arg);
		_exit(0);
	}
	return p;
}

// finish_peer lets the other process read that there are no more turns, waits for its end, and says how it ended unless well.
CLIENT void finish_peer(struct peer *p)
{
	close(p->out);
	reap(p->pid);
	close(p->in);
}

// kill_peer kills the other process, whatever it does, and waits for its end.
CLIENT void kill_peer(struct peer *p)
{
	MUST(kill(p->pid, SIGKILL));
	finish_peer(p);
}

#endif
