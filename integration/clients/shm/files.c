// files SCENARIO: what else programs do with files of /dev/shm.
#define _GNU_SOURCE
#include "shm.h"

#include <sys/socket.h>
#include <sys/un.h>

static void say_file(const char *what, int fd)
{
	struct stat st;
	char text[32] = "";
	MUST(fstat(fd, &st));
	MUST(pread(fd, text, sizeof text - 1, 0));
	say("%s: %ld links, %ld bytes: %s\n", what, (long)st.st_nlink, (long)st.st_size, text);
}

static int make_file(const char *path, const char *text, mode_t mode)
{
	int fd = MUST(open(path, O_RDWR | O_CREAT | O_EXCL, mode));
	MUST(write(fd, text, strlen(text)));
	return fd;
}

static int same_file(const char *a, const char *b)
{
	struct stat s, t;
	MUST(stat(a, &s));
	MUST(stat(b, &t));
	return s.st_dev == t.st_dev && s.st_ino == t.st_ino;
}

// Two names of one file.
static void links(char **args)
{
	(void)args;
	int fd = make_file(SHM "first", "one file", 0600);
	MUST(link(SHM "first", SHM "second"));
	say_call("link to a name that is there", link(SHM "first", SHM "second"));
	say("the same: %d\n", same_file(SHM "first", SHM "second"));
	say_file("linked", fd);
	char *p = map(MUST(open(SHM "second", O_RDWR)), 8, PROT_READ | PROT_WRITE, MAP_SHARED);
	memcpy(p, "two name", 8);
	say_file("stored by the other name", fd);
	look();
	MUST(unlink(SHM "first"));
	say_file("the first name is gone", fd);
	look();
	MUST(unlink(SHM "second"));
	say_file("both are gone", fd);
	say_call("a link of what has no name", linkat(fd, "", AT_FDCWD, SHM "third", AT_EMPTY_PATH));
}

static void link_by_proc(int fd, const char *path)
{
	char proc[64];
	snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
	say_call("linkat /proc/self/fd", linkat(AT_FDCWD, proc, AT_FDCWD, path, AT_SYMLINK_FOLLOW));
}

// A file without a name gets one when it is complete.
static void nameless(char **args)
{
	(void)args;
	int fd = MUST(open(SHM, O_TMPFILE | O_RDWR, 0640));
	MUST(write(fd, "no name", 7));
	say_file("new", fd);
	char *p = map(fd, UNIT, PROT_READ | PROT_WRITE, MAP_SHARED);
	look();
	say_call("linkat AT_EMPTY_PATH", linkat(fd, "", AT_FDCWD, SHM "first", AT_EMPTY_PATH));
	link_by_proc(fd, SHM "second");
	link_by_proc(fd, SHM "second");
	memcpy(p, "2 names", 7);
	say_file("linked", fd);
	say("the same: %d\n", same_file(SHM "first", SHM "second"));
	look();
	MUST(unlink(SHM "first"));
	MUST(unlink(SHM "second"));

	fd = MUST(open(SHM, O_TMPFILE | O_RDWR, 0600));
	link_by_proc(fd, SHM "only by proc");
	say_file("linked", MUST(open(SHM "only by proc", O_RDONLY)));
	MUST(unlink(SHM "only by proc"));

	fd = MUST(open(SHM, O_TMPFILE | O_RDWR | O_EXCL, 0600));
	link_by_proc(fd, SHM "never");
	say_call("O_TMPFILE for reading only", open(SHM, O_TMPFILE | O_RDONLY, 0600));
}

// Names move while the files are mapped.
static void renames(char **args)
{
	(void)args;
	int old = make_file(SHM "current", "version 1", 0600), new = make_file(SHM "next", "version 2", 0600);
	char *p = map(old, 9, PROT_READ | PROT_WRITE, MAP_SHARED), *q = map(new, 9, PROT_READ | PROT_WRITE, MAP_SHARED);
	say_call("RENAME_NOREPLACE", renameat2(AT_FDCWD, SHM "next", AT_FDCWD, SHM "current", RENAME_NOREPLACE));
	say_call("RENAME_EXCHANGE", renameat2(AT_FDCWD, SHM "next", AT_FDCWD, SHM "current", RENAME_EXCHANGE));
	look();
	MUST(rename(SHM "next", SHM "current"));
	p[8] = '3';
	q[8] = '4';
	say_file("on top of the other", old);
	say_file("replaced", new);
	MUST(mkdir(SHM "directory", 0755));
	MUST(rename(SHM "current", SHM "directory/current"));
	p[8] = '5';
	look();
	say_file("moved", MUST(open(SHM "directory/current", O_RDONLY)));
	say_call("rmdir", rmdir(SHM "directory"));
	MUST(unlink(SHM "directory/current"));
	MUST(rmdir(SHM "directory"));
	MUST(symlink("/dev/null", SHM "symlink"));
	look();
	MUST(unlink(SHM "symlink"));
}

// copy_self copies this program to path.
static int copy_self(const char *path)
{
	static char buf[65536];
	ssize_t n;
	int from = MUST(open("/proc/self/exe", O_RDONLY)), to = MUST(open(path, O_RDWR | O_CREAT | O_EXCL, 0755));
	while ((n = MUST(read(from, buf, sizeof buf))) > 0)
		if (MUST(write(to, buf, n)) != n)
			_exit(1);
	close(from);
	return to;
}

struct program {
	const char *path, *arg;
};

static void be_program(struct peer *parent, void *arg)
{
	struct program *p = arg;
	// Nothing is ever written there: a program that does not read it may be gone at any time. It is at its end when the parent waits for the program.
	MUST(dup2(parent->in, STDIN_FILENO));
	execl(p->path, p->path, p->arg, (char *)NULL);
	say_call("execve", -1);
}

static void run(const char *path, const char *arg)
{
	struct program prog = { path, arg };
	struct peer p = start_peer(be_program, &prog);
	finish_peer(&p);
}

// hello is what the copy does: it says where it is, and ends when its parent waits for that.
static void hello(char **args)
{
	(void)args;
	char path[64] = "", c;
	MUST(readlink("/proc/self/exe", path, sizeof path - 1));
	say("hello from %s\n", path);
	MUST(read(STDIN_FILENO, &c, 1));
}

// Programs in the directory can be run, and are protected while they do.
static void programs(char **args)
{
	(void)args;
	int fd = copy_self(SHM "program");
	run(SHM "program", "hello");
	close(fd);
	run(SHM "program", "hello");
	fd = make_file(SHM "script", "#!/bin/sh\necho script: $0\n", 0755);
	close(fd);
	run(SHM "script", "hello");
	fd = make_file(SHM "interpreted", "#!" SHM "program hello\n", 0755);
	close(fd);
	run(SHM "interpreted", NULL);
	MUST(chmod(SHM "script", 0644));
	run(SHM "script", "hello");

	struct program prog = { SHM "program", "hello" };
	struct peer p = start_peer(be_program, &prog);
	until_blocked(p.pid, "read", STDIN_FILENO);
	say_call("open for writing while it runs", open(SHM "program", O_WRONLY));
	say_call("truncate while it runs", truncate(SHM "program", 0));
	say_call("open for reading while it runs", close(MUST(open(SHM "program", O_RDONLY))));
	MUST(unlink(SHM "program"));
	look();
	finish_peer(&p);
	MUST(unlink(SHM "script"));
	MUST(unlink(SHM "interpreted"));
}

static struct sockaddr_un address(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	strcpy(a.sun_path, path);
	return a;
}

static int bind_socket(int type, const char *path)
{
	struct sockaddr_un a = address(path);
	int fd = MUST(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
	if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0)
		return -1;
	return fd;
}

static int connect_socket(int type, const char *path)
{
	struct sockaddr_un a = address(path);
	int fd = MUST(socket(AF_UNIX, type | SOCK_CLOEXEC, 0));
	if (connect(fd, (struct sockaddr *)&a, sizeof a) < 0)
		return -1;
	return fd;
}

static void socket_client(struct peer *parent, void *arg)
{
	(void)arg;
	char text[32] = "";
	struct ucred peer;
	struct sockaddr_un a;
	socklen_t size = sizeof peer;
	int fd = MUST(connect_socket(SOCK_STREAM, SHM "stream"));
	MUST(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size));
	size = sizeof a;
	MUST(getpeername(fd, (struct sockaddr *)&a, &size));
	say("connected to %s of the parent: %d\n", a.sun_path, peer.pid == parent->pid);
	MUST(write(fd, "hello", 5));
	MUST(read(fd, text, sizeof text - 1));
	say("the client read: %s\n", text);
	fd = MUST(connect_socket(SOCK_DGRAM, SHM "datagrams"));
	MUST(send(fd, "datagram", 8, 0));
	pass(parent);
}

// Sockets have their names there; their data is the kernel's.
static void sockets(char **args)
{
	(void)args;
	char text[32] = "";
	int stream = MUST(bind_socket(SOCK_STREAM, SHM "stream")), dgram = MUST(bind_socket(SOCK_DGRAM, SHM "datagrams"));
	say_call("bound again", bind_socket(SOCK_STREAM, SHM "stream"));
	say_call("nobody listens", connect_socket(SOCK_STREAM, SHM "stream"));
	MUST(listen(stream, 5));
	look();
	struct peer p = start_peer(socket_client, NULL);
	int fd = MUST(accept(stream, NULL, NULL));
	MUST(read(fd, text, sizeof text - 1));
	say("the server read: %s\n", text);
	MUST(write(fd, "welcome", 7));
	turn(&p);
	memset(text, 0, sizeof text);
	MUST(read(dgram, text, sizeof text - 1));
	say("datagram: %s\n", text);
	finish_peer(&p);
	MUST(rename(SHM "stream", SHM "renamed"));
	fd = MUST(connect_socket(SOCK_STREAM, SHM "renamed"));
	say_call("open", open(SHM "renamed", O_RDWR));
	close(stream);
	say_call("closed", connect_socket(SOCK_STREAM, SHM "renamed"));
	MUST(unlink(SHM "renamed"));
	say_call("unlinked", connect_socket(SOCK_STREAM, SHM "renamed"));
	MUST(unlink(SHM "datagrams"));
}

static void fifo_writer(struct peer *parent, void *arg)
{
	(void)parent;
	(void)arg;
	int fd = MUST(open(SHM "fifo", O_WRONLY));
	MUST(write(fd, "through the fifo", 16));
}

static void fifo(char **args)
{
	(void)args;
	MUST(mkfifo(SHM "fifo", 0600));
	say_call("again", mkfifo(SHM "fifo", 0600));
	say_call("nobody reads", open(SHM "fifo", O_WRONLY | O_NONBLOCK));
	look();
	struct peer p = start_peer(fifo_writer, NULL);
	until_in(p.pid, SYS_openat);
	int fd = MUST(open(SHM "fifo", O_RDONLY));
	finish_peer(&p);
	say_read("read", fd, 100);
	say_read("read", fd, 100);
	MUST(unlink(SHM "fifo"));
}

int main(int argc, char **argv)
{
	static const struct scenario scenarios[] = {
		{ "links", links }, { "tmpfile", nameless }, { "renames", renames }, { "programs", programs }, { "hello", hello },
		{ "sockets", sockets }, { "fifo", fifo }, { NULL, NULL },
	};
	(void)argc;
	umask(022);
	return run_scenario(scenarios, argv);
}
