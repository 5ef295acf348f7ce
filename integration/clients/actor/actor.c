/*
 * actor: a process that does one system call at a time, as it is told.
 *
 *   actor SOCKET     waits for lines on standard input; each makes it fork a process that connects to SOCKET (SOCK_SEQPACKET), says
 *                    "hello PID", and does what it is told there, one command a packet.
 *
 * A descriptor is named by a slot, 0 to 15. The answer to a command is
 *
 *   RESULT ERRNO PIPES USRS DATA TEXT
 *
 * where PIPES and USRS are how many SIGPIPE and SIGUSR1 were handled since the last answer, DATA is a checksum of what was read and TEXT is what
 * a command about a message queue has to say besides, mostly nothing. There is no SA_RESTART, and no runtime that sends signals of its own: that is why this is in C.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/msg.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#define SLOTS 16
#define POLLED 12
#define MAXIO (4 << 20)

static int fds[SLOTS];
static unsigned char buf[MAXIO];
static volatile sig_atomic_t pipes, usrs;
static const char *socket_path;
static int control;
static int msqid = -1;
static struct {
	long mtype;
	unsigned char mtext[1 << 17];
} msg;
static char text[256];

static void on_signal(int sig)
{
	if (sig == SIGPIPE)
		pipes++;
	else
		usrs++;
}

static void handle(int sig)
{
	struct sigaction sa = { .sa_handler = on_signal };

	sigaction(sig, &sa, NULL);
}

static uint64_t checksum(const unsigned char *p, size_t n)
{
	uint64_t h = 14695981039346656037u;

	for (size_t i = 0; i < n; i++)
		h = (h ^ p[i]) * 1099511628211u;
	return h;
}

static void fill(unsigned seed, size_t n)
{
	uint32_t x = seed * 2654435761u + 1;

	for (size_t i = 0; i < n; i++) {
		x = x * 1664525u + 1013904223u;
		buf[i] = x >> 24;
	}
}

/* iovecs cuts the buffer into pieces of len bytes. */
static int iovecs(struct iovec *v, size_t n, size_t len)
{
	int k = 0;

	for (size_t off = 0; off < n; off += len, k++) {
		v[k].iov_base = buf + off;
		v[k].iov_len = n - off < len ? n - off : len;
	}
	return k;
}

static void become_actor(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	char hello[32];

	control = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	strncpy(addr.sun_path, socket_path, sizeof(addr.sun_path) - 1);
	if (control < 0 || connect(control, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		_exit(1);
	/* Above the slots, so that a killed actor closes what it has open first. */
	int high = fcntl(control, F_DUPFD_CLOEXEC, 1000);
	close(control);
	control = high;
	snprintf(hello, sizeof(hello), "hello %d", getpid());
	send(control, hello, strlen(hello), 0);
}

/* sysv does what a command says about the message queue of System V. */
static long sysv(char *line, uint64_t *data)
{
	long a = 0, b = 0, c = 0;
	char value[32];
	struct msqid_ds ds;
	ssize_t n;
	int d = 0;

	if (sscanf(line, "msgget %li %li", &a, &b) == 2) {
		n = msgget(a, b);
		if (n >= 0)
			msqid = n; /* otherwise the old one is kept */
		return n < 0 ? -1 : 0;
	}
	if (sscanf(line, "msgsnd %ld %ld %ld %d", &a, &b, &c, &d) == 4) {
		msg.mtype = a;
		fill(c, b);
		memcpy(msg.mtext, buf, b);
		return msgsnd(msqid, &msg, b, d);
	}
	if (sscanf(line, "msgrcv %ld %ld %d", &a, &b, &d) == 3) {
		n = msgrcv(msqid, &msg, a, b, d);
		if (n > 0)
			*data = checksum(msg.mtext, n);
		if (n >= 0)
			snprintf(text, sizeof(text), "%ld", msg.mtype);
		return n;
	}
	if (sscanf(line, "msgset %lu", &a) == 1) {
		if (msgctl(msqid, IPC_STAT, &ds) < 0)
			return -1;
		ds.msg_qbytes = a;
		return msgctl(msqid, IPC_SET, &ds);
	}
	if (sscanf(line, "msgmnb %31s", value) == 1) {
		/* Of this process' own namespace, which is why it is not for the test to do. */
		d = open("/proc/sys/kernel/msgmnb", O_WRONLY);
		n = write(d, value, strlen(value));
		close(d);
		return n < 0 ? -1 : 0;
	}
	if (!strcmp(line, "msgrm"))
		return msgctl(msqid, IPC_RMID, NULL);
	if (sscanf(line, "msgstat %li", &a) == 1) {
		n = msgget(a, 0);
		if (n < 0 || msgctl(n, IPC_STAT, &ds) < 0)
			return -1;
		snprintf(text, sizeof(text), "%lu %lu %lu %d %d %ld %ld", (unsigned long)ds.__msg_cbytes, (unsigned long)ds.msg_qnum,
			 (unsigned long)ds.msg_qbytes, ds.msg_lspid, ds.msg_lrpid, (long)ds.msg_stime, (long)ds.msg_rtime);
		return 0;
	}
	return -1;
}

/* view does what a command says about a message queue of ipcfs. */
static long view(char *line, uint64_t *data)
{
	/* Those who wait come last: when they are counted, what they have done before is in the other fields or has been answered. */
	static const char *const fields[] = { "q_cbytes", "q_qnum", "q_qbytes", "q_lspid", "q_lrpid", "q_stime", "q_rtime", "q_receivers", "q_senders" };
	char op[32], path[512], name[64], value[32];
	long flags, slot, keep, raw, size, seed;
	ssize_t n, head;
	int err;

	if (sscanf(line, "vset %511s %31s", path, value) == 2)
		return setxattr(path, "user.ipc.q_qbytes", value, strlen(value), 0);
	if (sscanf(line, "vstat %511s", path) == 1) {
		/* The path is looked up once, and nothing is opened. */
		slot = open(path, O_PATH | O_CLOEXEC);
		if (slot < 0)
			return -1;
		snprintf(path, sizeof(path), "/proc/self/fd/%ld", slot);
		n = 0;
		for (size_t i = 0, at = 0; n >= 0 && i < sizeof(fields) / sizeof(*fields); i++) {
			snprintf(name, sizeof(name), "user.ipc.%s", fields[i]);
			n = getxattr(path, name, value, sizeof(value) - 1);
			value[n < 0 ? 0 : n] = 0;
			at += snprintf(text + at, sizeof(text) - at, "%s ", value);
		}
		err = errno;
		close(slot);
		errno = err;
		return n < 0 ? -1 : 0;
	}
	/* One message, through a descriptor that is open already or is opened now, and stays open or not. */
	if (sscanf(line, "%31s %511s %ld %ld %ld %ld %ld %ld %ld", op, path, &flags, &slot, &keep, &raw, &size, &msg.mtype, &seed) != 9)
		return -1;
	if (fds[slot] < 0)
		fds[slot] = open(path, flags | O_CLOEXEC);
	if (fds[slot] < 0)
		return -1;
	head = raw ? sizeof(msg.mtype) : 0;
	if (!strcmp(op, "vsend")) {
		fill(seed, size);
		memcpy(msg.mtext, buf, size);
		n = write(fds[slot], (char *)&msg + sizeof(msg.mtype) - head, head + size);
		if (n == head + size)
			n = 0;
	} else {
		n = read(fds[slot], (char *)&msg + sizeof(msg.mtype) - head, head + size);
		if (n >= 0)
			n -= head;
		if (n > 0)
			*data = checksum(msg.mtext, n);
		if (n >= 0 && raw)
			snprintf(text, sizeof(text), "%ld", msg.mtype);
	}
	err = errno;
	if (!keep) {
		close(fds[slot]);
		fds[slot] = -1;
	}
	errno = err;
	return n;
}

static long run(char *line, uint64_t *data)
{
	char op[32], value[32], path[512], to[512];
	long a = 0, b = 0, c = 0, d = 0;
	struct iovec v[1024];
	struct stat st;
	ssize_t n;

	if (sscanf(line, "open %ld %511s %ld", &a, path, &b) == 3)
		return fds[a] = open(path, b | O_CLOEXEC, 0666);
	if (sscanf(line, "rename %511s %511s", path, to) == 2)
		return rename(path, to);
	if (sscanf(line, "stat %511s", path) == 1)
		return stat(path, &st);
	if (sscanf(line, "chmod %511s", path) == 1)
		return chmod(path, 0666);
	if (sscanf(line, "utimes %511s", path) == 1)
		return utimensat(AT_FDCWD, path, NULL, 0);
	if (sscanf(line, "truncate %511s %ld", path, &a) == 2)
		return truncate(path, a);
	if (sscanf(line, "setpipe %ld %ld", &a, &b) == 2)
		return fcntl(fds[a], F_SETPIPE_SZ, b) < 0 ? -1 : b;
	if (sscanf(line, "setxattr %ld %31s %511s", &a, value, path) == 3)
		return setxattr(path, "user.ipc.capacity", value, strlen(value), 0) ? -1 : atol(value);
	if (sscanf(line, "unlink %511s", path) == 1)
		return unlink(path);
	if (sscanf(line, "mkfifo %511s", path) == 1)
		return mknod(path, S_IFIFO | 0666, 0);
	if (sscanf(line, "mkreg %511s", path) == 1)
		return mknod(path, S_IFREG | 0666, 0);
	if (!strcmp(line, "reset")) {
		for (int i = 0; i < SLOTS; i++) {
			if (fds[i] >= 0)
				close(fds[i]);
			fds[i] = -1;
		}
		msqid = -1;
		return 0;
	}
	if (!strncmp(line, "msg", 3))
		return sysv(line, data);
	if (line[0] == 'v')
		return view(line, data);
	if (sscanf(line, "%31s %ld %ld %ld %ld", op, &a, &b, &c, &d) < 1)
		return -1;
	if (!strcmp(op, "close")) {
		n = close(fds[a]);
		fds[a] = -1;
		return n;
	}
	if (!strcmp(op, "dup"))
		return fds[b] = fcntl(fds[a], F_DUPFD_CLOEXEC, 3);
	if (!strcmp(op, "read")) {
		n = read(fds[a], buf, b);
		if (n > 0)
			*data = checksum(buf, n);
		return n;
	}
	if (!strcmp(op, "readv")) {
		n = readv(fds[a], v, iovecs(v, b, c));
		if (n > 0)
			*data = checksum(buf, n);
		return n;
	}
	if (!strcmp(op, "write")) {
		fill(c, b);
		return write(fds[a], buf, b);
	}
	if (!strcmp(op, "writev")) {
		fill(d, b);
		return writev(fds[a], v, iovecs(v, b, c));
	}
	if (!strcmp(op, "poll")) {
		struct pollfd p = { .fd = fds[a], .events = b };

		n = poll(&p, 1, c);
		*data = p.revents;
		return n;
	}
	if (!strcmp(op, "pollall")) {
		/* 5 bits for each of the first slots: open, and what is ready now. */
		for (int i = 0; i < POLLED; i++) {
			struct pollfd p = { .fd = fds[i], .events = POLLIN | POLLOUT };

			if (fds[i] >= 0 && poll(&p, 1, 0) >= 0)
				*data |= (uint64_t)(1 | !!(p.revents & POLLIN) << 1 | !!(p.revents & POLLOUT) << 2 |
						    !!(p.revents & POLLERR) << 3 | !!(p.revents & POLLHUP) << 4) << 5 * i;
		}
		return 0;
	}
	if (!strcmp(op, "flags"))
		return fcntl(fds[a], F_SETFL, b);
	if (!strcmp(op, "sigpipe")) {
		if (a)
			handle(SIGPIPE);
		else
			signal(SIGPIPE, SIG_IGN);
		return 0;
	}
	if (!strcmp(op, "fork")) {
		int old = control;
		pid_t pid = fork();

		if (pid == 0) {
			close(old);
			become_actor();
			pipes = usrs = 0;
			return -2; /* the child has no answer to give */
		}
		return pid > 0 ? 0 : -1;
	}
	errno = ENOSYS;
	return -1;
}

int main(int argc, char **argv)
{
	char line[2048], answer[512];

	if (argc != 2)
		return 2;
	socket_path = argv[1];
	signal(SIGCHLD, SIG_IGN);
	while (fgets(line, sizeof(line), stdin))
		if (fork() == 0)
			goto actor;
	return 0;
actor:
	close(0);
	for (int i = 0; i < SLOTS; i++)
		fds[i] = -1;
	handle(SIGPIPE);
	handle(SIGUSR1);
	become_actor();
	for (;;) {
		uint64_t data = 0;
		ssize_t n = recv(control, line, sizeof(line) - 1, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return 0;
		line[n] = 0;
		errno = 0;
		text[0] = 0;
		long ret = run(line, &data);
		if (ret == -2)
			continue;
		int err = ret < 0 ? errno : 0;
		if (!strncmp(line, "open", 4) || !strncmp(line, "dup", 3))
			ret = ret < 0 ? -1 : 0; /* the number of the descriptor is nobody's business */
		n = snprintf(answer, sizeof(answer), "%ld %d %d %d %llx%s%s", ret, err, pipes, usrs, (unsigned long long)data, *text ? " " : "", text);
		pipes = usrs = 0;
		send(control, answer, n, 0);
	}
}
