/*
 * The systems that msgqbench measures, each as little code as it takes to make a queue, send and receive.
 *
 * Channel 0 is for messages and requests, channel 1 for replies. A process that joins a channel to send may not receive from it, and the other way
 * round, except that a receiver of channel 0 may join to send, too.
 */
#ifndef SYSTEMS_H
#define SYSTEMS_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mqueue.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BUF (64L << 10)
#define MSGMAX 8192L /* the longest message of SysV, POSIX and ipcfs, if nobody says otherwise */

struct system {
	const char *name;
	void (*make)(void);    /* makes the queues; no signal comes meanwhile */
	void (*destroy)(void); /* removes those that there are; may run in a handler of a signal */
	void (*join)(int channel, int receives);
	void (*send)(int channel, const char *msg, long len); /* msg is where space says */
	char *(*receive)(int channel, long *len);             /* what comes is there until the next receive */
	long (*left)(int channel);                            /* how much is in the queue that nobody has received, 0 if nothing */
};

static const char *place; /* a directory of ipcfs, the socket of redis-server */
static int answers;	  /* there are requests and replies */
static pid_t maker;	  /* the process that makes and removes the queues */
static pid_t client;	  /* the process that gets the replies */

/* What is sent begins behind HEAD bytes, and has TAIL behind it, for what a system puts around a message. */
#define HEAD 64
#define TAIL 8
static _Alignas(4096) char space[HEAD + BUF + TAIL];
static _Alignas(4096) char in[HEAD + BUF + TAIL];

static void die(const char *what);
static void fail(const char *what);

/* ipcfs: a message is a write and a read; with lines, many of both are. */

static char path[PATH_MAX - 32];
static int files[2][2]; /* by channel and whether it receives */

static void file_make(void)
{
	char name[sizeof(path)];
	int fd;

	if (snprintf(name, sizeof(name), "%s/msgqbench.%d", place, (int)maker) >= (int)sizeof(name)) {
		errno = ENAMETOOLONG;
		die(place);
	}
	fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0600);
	if (fd < 0)
		die(name);
	memcpy(path, name, sizeof(path));
	close(fd);
}

static void file_destroy(void)
{
	if (path[0])
		unlink(path);
	path[0] = 0;
}

static int file_open(const char *view, int flags)
{
	char name[PATH_MAX];
	int fd;

	snprintf(name, sizeof(name), "%s%s", path, view);
	fd = open(name, flags);
	if (fd < 0)
		die(name);
	return fd;
}

static void file_join(int channel, int receives)
{
	char view[32] = "";

	if (channel == 1)
		snprintf(view, sizeof(view), ":%d", (int)client);
	else if (answers && receives)
		strcpy(view, ":1");
	files[channel][receives] = file_open(view, receives ? O_RDONLY : O_WRONLY);
}

static void lines_join(int channel, int receives)
{
	files[channel][receives] = file_open(":lines", receives ? O_RDONLY : O_WRONLY);
}

static void file_send(int channel, const char *msg, long len)
{
	ssize_t n = write(files[channel][0], msg, len);

	if (n < 0)
		die("write");
	if (n != len)
		fail("a write took less than a message");
}

static void lines_send(int channel, const char *msg, long len)
{
	while (len > 0) {
		ssize_t n = write(files[channel][0], msg, len);

		if (n <= 0)
			die("write");
		msg += n;
		len -= n;
	}
}

static char *file_read(int channel, long *len, long most)
{
	ssize_t n = read(files[channel][1], in, most);

	if (n < 0)
		die("read");
	*len = n;
	return in;
}

static char *file_receive(int channel, long *len)
{
	return file_read(channel, len, MSGMAX);
}

static char *lines_receive(int channel, long *len)
{
	return file_read(channel, len, BUF);
}

static long file_left(int channel)
{
	int fd;
	ssize_t n;

	if (channel == 1) /* it is the same queue */
		return 0;
	fd = file_open("", O_RDONLY | O_NONBLOCK);
	n = read(fd, in, MSGMAX);
	if (n < 0 && errno != EAGAIN)
		die("read of an empty queue");
	close(fd);
	return n < 0 ? 0 : n ? n : 1;
}

/* SysV: one queue, of which replies are another type. */

static int msqid = -1;

static void sysv_make(void)
{
	msqid = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
	if (msqid < 0)
		die("msgget");
}

static void sysv_destroy(void)
{
	if (msqid >= 0)
		msgctl(msqid, IPC_RMID, NULL);
	msqid = -1;
}

static long sysv_type(int channel)
{
	return channel == 1 ? client : 1;
}

static void sysv_join(int channel, int receives)
{
	(void)channel;
	(void)receives;
}

static void sysv_send(int channel, const char *msg, long len)
{
	struct msgbuf *m = (struct msgbuf *)(msg - offsetof(struct msgbuf, mtext));

	m->mtype = sysv_type(channel);
	if (msgsnd(msqid, m, len, 0) < 0)
		die("msgsnd");
}

static char *sysv_receive(int channel, long *len)
{
	struct msgbuf *m = (struct msgbuf *)in;
	ssize_t n = msgrcv(msqid, m, MSGMAX, answers ? sysv_type(channel) : 0, 0);

	if (n < 0)
		die("msgrcv");
	*len = n;
	return m->mtext;
}

static long sysv_left(int channel)
{
	struct msqid_ds ds;

	(void)channel;
	if (msgctl(msqid, IPC_STAT, &ds) < 0)
		die("msgctl");
	return ds.msg_qnum;
}

/* POSIX: a queue for each channel, as mq_open makes it if it is told no size. */

static char mq_names[2][32];
static mqd_t mqs[2];

static void posix_make(void)
{
	for (int i = 0; i < 1 + answers; i++) {
		char name[sizeof(mq_names[i])];

		snprintf(name, sizeof(name), "/msgqbench.%d.%d", (int)maker, i);
		mqs[i] = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, NULL);
		if (mqs[i] < 0)
			die("mq_open");
		memcpy(mq_names[i], name, sizeof(name));
	}
}

static void posix_destroy(void)
{
	for (int i = 0; i < 2; i++) {
		if (mq_names[i][0])
			mq_unlink(mq_names[i]);
		mq_names[i][0] = 0;
	}
}

/* The descriptor of the maker is for both; who joins opens one of its own. */
static void posix_join(int channel, int receives)
{
	mqs[channel] = mq_open(mq_names[channel], receives ? O_RDONLY : O_WRONLY);
	if (mqs[channel] < 0)
		die("mq_open");
}

static void posix_send(int channel, const char *msg, long len)
{
	if (mq_send(mqs[channel], msg, len, 0) < 0)
		die("mq_send");
}

static char *posix_receive(int channel, long *len)
{
	ssize_t n = mq_receive(mqs[channel], in, MSGMAX, NULL);

	if (n < 0)
		die("mq_receive");
	*len = n;
	return in;
}

static long posix_left(int channel)
{
	struct mq_attr attr;

	if (mq_getattr(mqs[channel], &attr) < 0)
		die("mq_getattr");
	return attr.mq_curmsgs;
}

/*
 * Redis: a list for each channel, "a" and "b", in a server of our own. A request is an array of strings, each with its length in front; there is
 * never more than one of a connection on its way.
 */

static int redis = -1;

static void redis_join(int channel, int receives)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };

	(void)channel;
	(void)receives;
	if (redis >= 0) /* a connection is for both */
		return;
	if (strlen(place) >= sizeof(to.sun_path)) {
		errno = ENAMETOOLONG;
		die(place);
	}
	strcpy(to.sun_path, place);
	redis = socket(AF_UNIX, SOCK_STREAM, 0);
	if (redis < 0 || connect(redis, (struct sockaddr *)&to, sizeof(to)) < 0)
		die(place);
}

static void redis_request(const char *text, long len)
{
	while (len > 0) {
		ssize_t n = write(redis, text, len);

		if (n < 0)
			die("write to redis-server");
		text += n;
		len -= n;
	}
}

/* Reads more of the reply; returns how much there is. */
static long redis_more(long have)
{
	ssize_t n = read(redis, in + have, sizeof(in) - 1 - have);

	if (n < 0)
		die("read from redis-server");
	if (n == 0)
		fail("redis-server has gone, or its reply is too long");
	in[have + n] = 0;
	return have + n;
}

/* The number in a reply that is nothing else. */
static long redis_number(void)
{
	long have = 0, n;

	do
		have = redis_more(have);
	while (in[have - 1] != '\n');
	if (sscanf(in, ":%ld\r", &n) != 1)
		fail(in);
	return n;
}

static void redis_send(int channel, const char *msg, long len)
{
	static char head[HEAD];
	static long head_len, head_of;
	char *out = (char *)msg;

	if (head_of != len) {
		head_len = snprintf(head, sizeof(head), "*3\r\n$5\r\nRPUSH\r\n$1\r\na\r\n$%ld\r\n", len);
		head_of = len;
	}
	memcpy(out - head_len, head, head_len);
	out[-head_len + 19] = 'a' + channel;
	memcpy(out + len, "\r\n", 2);
	redis_request(out - head_len, head_len + len + 2);
	redis_number(); /* how long the list is now, that is 0 or more */
}

static char *redis_receive(int channel, long *len)
{
	static char ask[] = "*3\r\n$5\r\nBLPOP\r\n$1\r\na\r\n$1\r\n0\r\n";
	static char want[] = "*2\r\n$1\r\na\r\n$";
	const long at = sizeof(want) - 1;
	char *text = NULL, *end;
	long have = 0, n = 0;

	ask[19] = want[8] = 'a' + channel;
	redis_request(ask, sizeof(ask) - 1);
	do {
		have = redis_more(have);
		if (text || !memchr(in + at, '\n', have > at ? have - at : 0))
			continue;
		n = strtol(in + at, &end, 10);
		if (memcmp(in, want, at) || end == in + at || memcmp(end, "\r\n", 2) || n < 0)
			fail(in);
		text = end + 2;
	} while (!text || have < text - in + n + 2);
	if (have != text - in + n + 2)
		fail("redis-server says more than it was asked");
	*len = n;
	return text;
}

static long redis_left(int channel)
{
	char ask[] = "*2\r\n$4\r\nLLEN\r\n$1\r\na\r\n";

	redis_join(channel, 1);
	ask[18] = 'a' + channel;
	redis_request(ask, sizeof(ask) - 1);
	return redis_number();
}

/* The lists of one that was killed may be there. */
static void redis_make(void)
{
	static const char ask[] = "*3\r\n$3\r\nDEL\r\n$1\r\na\r\n$1\r\nb\r\n";

	redis_join(0, 0);
	redis_request(ask, sizeof(ask) - 1);
	redis_number();
	close(redis);
	redis = -1;
}

/* A list without elements is none, and the server ends with the benchmark. */
static void redis_destroy(void)
{
}

static const struct system systems[] = {
	{ "ipcfs", file_make, file_destroy, file_join, file_send, file_receive, file_left },
	{ "lines", file_make, file_destroy, lines_join, lines_send, lines_receive, file_left },
	{ "sysv", sysv_make, sysv_destroy, sysv_join, sysv_send, sysv_receive, sysv_left },
	{ "posix", posix_make, posix_destroy, posix_join, posix_send, posix_receive, posix_left },
	{ "redis", redis_make, redis_destroy, redis_join, redis_send, redis_receive, redis_left },
};

#define SYSTEMS (int)(sizeof(systems) / sizeof(*systems))

#endif
