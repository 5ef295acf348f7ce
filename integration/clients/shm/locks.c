// locks SCENARIO: the locks that the kernel keeps for a file, between processes.
#define _GNU_SOURCE
#include "shm.h"

#include <sys/file.h>

#define FILE_NAME SHM "locked"

// wish is a lock that another process wants.
struct wish {
	const char *what;
	int cmd;  // LOCK_*, or one of the commands of fcntl
	int type; // for fcntl: F_RDLCK, F_WRLCK, F_UNLCK
	long start, len;
};

static struct flock range(int type, long start, long len)
{
	return (struct flock){ .l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len };
}

static long lock_range(int fd, int cmd, int type, long start, long len)
{
	struct flock l = range(type, start, len);
	return fcntl(fd, cmd, &l);
}

// grant gets the wish, which may take time.
static long grant(int fd, const struct wish *w)
{
	return w->type < 0 ? flock(fd, w->cmd) : lock_range(fd, w->cmd, w->type, w->start, w->len);
}

static int open_file(void)
{
	return MUST(open(FILE_NAME, O_RDWR | O_CREAT, 0600));
}

// not_theirs is a descriptor that other processes do not keep from their parent, if it is not -1.
static int not_theirs = -1;

// holder has what it wishes until it is killed, or has its turn again.
static void holder(struct peer *parent, void *arg)
{
	struct wish *w = arg;
	if (not_theirs >= 0)
		close(not_theirs);
	long r = grant(open_file(), w);
	int e = errno;
	pass(parent);
	turn(parent);
	errno = e;
	say_call(w->what, r);
	pass(parent);
	turn(parent);
}

// want says whether another process gets its wish.
static void want(struct wish w)
{
	struct peer p = start_peer(holder, &w);
	turn(&p);
	pass(&p);
	turn(&p);
	pass(&p);
	finish_peer(&p);
}

static struct peer hold(struct wish w)
{
	struct peer p = start_peer(holder, &w);
	turn(&p);
	pass(&p);
	turn(&p);
	return p;
}

// wait_for starts a process that cannot have its wish yet.
static struct peer wait_for(struct wish w, long call)
{
	struct peer p = start_peer(holder, &w);
	until_in(p.pid, call);
	return p;
}

// has_it waits until the process has its wish, and lets it end.
static void has_it(struct peer *p)
{
	turn(p);
	pass(p);
	turn(p);
	pass(p);
	finish_peer(p);
}

// whole is a lock of the whole file with flock(2).
static struct wish whole(const char *what, int cmd)
{
	return (struct wish){ what, cmd, -1, 0, 0 };
}

static void whole_file(char **args)
{
	(void)args;
	int fd = open_file();
	struct peer p = hold(whole("first: exclusive", LOCK_EX));
	want(whole("exclusive", LOCK_EX | LOCK_NB));
	want(whole("shared", LOCK_SH | LOCK_NB));
	struct peer w = wait_for(whole("waited: exclusive", LOCK_EX), SYS_flock);
	kill_peer(&p);
	has_it(&w);

	p = hold(whole("first: shared", LOCK_SH));
	want(whole("shared", LOCK_SH | LOCK_NB));
	want(whole("exclusive", LOCK_EX | LOCK_NB));
	say_call("mine: shared", flock(fd, LOCK_SH));
	w = wait_for(whole("waited: exclusive", LOCK_EX), SYS_flock);
	kill_peer(&p);
	want(whole("exclusive, one shared left", LOCK_EX | LOCK_NB));
	say_call("unlock", flock(fd, LOCK_UN));
	has_it(&w);

	// It belongs to the open file, and not to the process.
	say_call("mine: exclusive", flock(fd, LOCK_EX));
	int other = open_file(), same = MUST(dup(fd));
	say_call("another open file", flock(other, LOCK_EX | LOCK_NB));
	say_call("a duplicate", flock(same, LOCK_EX | LOCK_NB));
	close(fd);
	say_call("one of two closed", flock(other, LOCK_EX | LOCK_NB));
	close(same);
	say_call("both closed", flock(other, LOCK_EX | LOCK_NB));
	MUST(unlink(FILE_NAME));
	want(whole("a new file by the same name", LOCK_EX | LOCK_NB));
	MUST(unlink(FILE_NAME));
}

// ANYBODY may hold a lock, as far as say_holder is concerned.
enum { ANYBODY = 0 };

// say_holder says what F_GETLK or F_OFD_GETLK finds in the way.
static void say_holder(const char *what, int fd, int cmd, struct flock l, pid_t expected)
{
	MUST(fcntl(fd, cmd, &l));
	if (l.l_type == F_UNLCK)
		say("%s: nobody\n", what);
	else
		say("%s: %s %ld %ld%s\n", what, l.l_type == F_WRLCK ? "write" : "read", (long)l.l_start, (long)l.l_len,
		    expected == ANYBODY ? "" : l.l_pid == expected ? ", by whom it should" : ", by somebody else");
}

// part is a lock of a part of the file with fcntl(2).
static struct wish part(const char *what, int cmd, int type, long start, long len)
{
	return (struct wish){ what, cmd, type, start, len };
}

static void records(char **args)
{
	(void)args;
	int fd = open_file();
	MUST(ftruncate(fd, 1000));
	say_holder("free", fd, F_GETLK, range(F_WRLCK, 0, 0), ANYBODY);
	struct peer p = hold(part("first: write 100+100", F_SETLK, F_WRLCK, 100, 100));
	say_holder("all", fd, F_GETLK, range(F_WRLCK, 0, 0), p.pid);
	say_holder("before", fd, F_GETLK, range(F_WRLCK, 0, 100), p.pid);
	say_holder("behind", fd, F_GETLK, range(F_RDLCK, 200, 0), p.pid);
	say_holder("its last byte", fd, F_GETLK, range(F_RDLCK, 199, 1), p.pid);
	want(part("before", F_SETLK, F_WRLCK, 0, 100));
	want(part("its first byte", F_SETLK, F_RDLCK, 100, 1));
	struct peer w = wait_for(part("waited: read", F_SETLKW, F_RDLCK, 150, 0), SYS_fcntl);
	kill_peer(&p);
	turn(&w);
	pass(&w);
	turn(&w);
	say_holder("after the kill", fd, F_GETLK, range(F_WRLCK, 0, 0), w.pid);
	say_holder("for reading", fd, F_GETLK, range(F_RDLCK, 0, 0), w.pid);
	want(part("another reader", F_SETLK, F_RDLCK, 150, 10));
	say_call("mine: write", lock_range(fd, F_SETLK, F_WRLCK, 0, 0));
	say_call("mine: write 0+150", lock_range(fd, F_SETLK, F_WRLCK, 0, 150));
	pass(&w);
	finish_peer(&w);

	// What a process has is free when it ends.
	p = hold(part("first: write 500", F_SETLK, F_WRLCK, 500, 1));
	pass(&p);
	finish_peer(&p);
	say_call("freed by exit", lock_range(fd, F_SETLK, F_WRLCK, 500, 1));
	MUST(lock_range(fd, F_SETLK, F_UNLCK, 500, 1));

	// It belongs to the process: a child does not have it, and any close of the file drops it.
	want(part("mine is not the child's", F_SETLK, F_WRLCK, 0, 1));
	int other = open_file();
	say_call("mine by another open file", lock_range(other, F_SETLK, F_WRLCK, 0, 1));
	close(other);
	want(part("after a close", F_SETLK, F_WRLCK, 0, 0));
	MUST(unlink(FILE_NAME));
}

static void crosswise(struct peer *parent, void *arg)
{
	(void)arg;
	int fd = open_file();
	MUST(lock_range(fd, F_SETLK, F_WRLCK, 1, 1));
	pass(parent);
	turn(parent);
	MUST(lock_range(fd, F_SETLKW, F_WRLCK, 0, 1));
	say("the other waited and has it\n");
}

// The kernel sees a circle of processes that wait for each other.
static void deadlock(char **args)
{
	(void)args;
	int fd = open_file();
	MUST(lock_range(fd, F_SETLK, F_WRLCK, 0, 1));
	struct peer p = start_peer(crosswise, NULL);
	turn(&p);
	pass(&p);
	until_in(p.pid, SYS_fcntl);
	say_call("crosswise", lock_range(fd, F_SETLKW, F_WRLCK, 1, 1));
	MUST(lock_range(fd, F_SETLK, F_UNLCK, 0, 1));
	finish_peer(&p);
	MUST(unlink(FILE_NAME));
}

static void keep_file(struct peer *parent, void *arg)
{
	(void)arg;
	pass(parent);
	turn(parent);
}

// The record locks of open files, as those of flock: no process has them.
static void open_files(char **args)
{
	(void)args;
	int fd = open_file(), other = open_file();
	say_call("mine: write 0+10", lock_range(fd, F_OFD_SETLK, F_WRLCK, 0, 10));
	say_call("another open file", lock_range(other, F_OFD_SETLK, F_WRLCK, 9, 1));
	say_call("another open file, behind", lock_range(other, F_OFD_SETLK, F_WRLCK, 10, 1));
	say_holder("in the way", other, F_OFD_GETLK, range(F_WRLCK, 0, 0), ANYBODY);
	say_holder("in the way of a process", other, F_GETLK, range(F_WRLCK, 0, 0), ANYBODY);
	say_call("a lock of the process", lock_range(other, F_SETLK, F_WRLCK, 0, 10));
	close(other);
	not_theirs = fd;
	struct peer w = wait_for(part("waited: write 0+20", F_OFD_SETLKW, F_WRLCK, 0, 20), SYS_fcntl);
	not_theirs = -1;
	want(part("others", F_OFD_SETLK, F_RDLCK, 0, 1));

	// A child has the open file too, and with it the lock.
	struct peer child = start_peer(keep_file, NULL);
	turn(&child);
	close(fd);
	want(part("others, the child has it", F_OFD_SETLK, F_RDLCK, 0, 1));
	kill_peer(&child);
	turn(&w);
	pass(&w);
	turn(&w);
	fd = open_file();
	say_holder("what waited", fd, F_OFD_GETLK, range(F_WRLCK, 0, 0), ANYBODY);
	pass(&w);
	finish_peer(&w);
	struct peer p = hold(part("a process: write 0+10", F_SETLK, F_WRLCK, 0, 10));
	say_holder("in the way of an open file", fd, F_OFD_GETLK, range(F_WRLCK, 0, 0), ANYBODY);
	say_call("an open file", lock_range(fd, F_OFD_SETLK, F_WRLCK, 0, 10));
	w = wait_for(part("waited: write", F_OFD_SETLKW, F_WRLCK, 5, 1), SYS_fcntl);
	kill_peer(&p);
	has_it(&w);

	// Locks of the whole file and of records do not know each other.
	say_call("flock", flock(fd, LOCK_EX));
	want(part("records beside flock", F_SETLK, F_WRLCK, 0, 0));
	want(part("records of open files beside flock", F_OFD_SETLK, F_WRLCK, 0, 0));
	MUST(unlink(FILE_NAME));
}

// Who is said to have a lock, if one of the two asks for the other's.
static void open_files_pids(char **args)
{
	(void)args;
	int fd = open_file(), other = open_file();
	MUST(lock_range(fd, F_OFD_SETLK, F_WRLCK, 0, 10));
	say_holder("an open file, asked by another", other, F_OFD_GETLK, range(F_WRLCK, 0, 0), -1);
	say_holder("an open file, asked by a process", other, F_GETLK, range(F_WRLCK, 0, 0), -1);
	MUST(lock_range(fd, F_OFD_SETLK, F_UNLCK, 0, 10));
	struct peer p = hold(part("a process", F_SETLK, F_WRLCK, 0, 10));
	say_holder("a process, asked by an open file", fd, F_OFD_GETLK, range(F_WRLCK, 0, 0), p.pid);
	kill_peer(&p);
	MUST(unlink(FILE_NAME));
}

int main(int argc, char **argv)
{
	static const struct scenario scenarios[] = {
		{ "flock", whole_file }, { "fcntl", records }, { "deadlock", deadlock }, { "ofd", open_files }, { "ofd-pids", open_files_pids },
		{ NULL, NULL },
	};
	(void)argc;
	umask(022);
	return run_scenario(scenarios, argv);
}
