/* What the C clients of a message queue share, beyond what all C clients do. A client is given the path of an empty queue, and leaves it empty, or removed. */
#ifndef QUEUE_H
#define QUEUE_H

#include "../../c/client.h"

#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/uio.h>
#include <sys/xattr.h>

#define MSGMAX 8192
#define QBYTES 16384

static const char *queue;

struct message { long type; char text[MSGMAX]; };

/* CHECK is for what must hold so often that saying it would be too much. */
#define CHECK(x) check(__FILE__, __LINE__, #x, (x))

CLIENT void check(const char *file, int line, const char *what, int holds)
{
	if (!holds) {
		dprintf(STDERR_FILENO, "%s:%d: %s does not hold (%s)\n", file, line, what, strerror(errno));
		_exit(1);
	}
}

/* view opens a view of the queue: "" is the queue itself. */
CLIENT int view(const char *v, int flags)
{
	char path[4096];

	snprintf(path, sizeof path, "%s%s", queue, v);
	return MUST(open(path, flags | O_CLOEXEC));
}

/* field is a field of the queue. */
CLIENT long field(const char *name)
{
	char attr[64], value[32] = "";

	snprintf(attr, sizeof attr, "user.ipc.%s", name);
	MUST(getxattr(queue, attr, value, sizeof value - 1));
	return atol(value);
}

/* until_field waits until a field has a value. */
CLIENT void until_field(const char *name, long value)
{
	while (field(name) != value)
		usleep(200);
}

/* send_type sends a text through a view that is raw. */
CLIENT ssize_t send_type(int raw, long type, const char *text, size_t n)
{
	struct message m = { .type = type };

	memcpy(m.text, text, n);
	return write(raw, &m, sizeof m.type + n);
}

CLIENT void must_send(int raw, long type, const char *text)
{
	MUST(send_type(raw, type, text, strlen(text)));
}

/* say_message receives through a view that is raw, and says what came. */
CLIENT void say_message(const char *what, int raw)
{
	struct message m;
	ssize_t n = read(raw, &m, sizeof m);

	if (n < (ssize_t)sizeof m.type)
		say_result(what, n);
	else
		say("%s: type %ld, %ld: %.*s\n", what, m.type, (long)(n - sizeof m.type), (int)(n - sizeof m.type), m.text);
}

/* fill_queue leaves room for so many bytes. */
CLIENT void fill_queue(size_t room)
{
	static char block[MSGMAX];
	int fd = view("", O_WRONLY | O_NONBLOCK);

	while (QBYTES - (size_t)field("q_cbytes") > room) {
		size_t n = QBYTES - field("q_cbytes") - room;

		MUST(write(fd, block, n < MSGMAX ? n : MSGMAX));
	}
	close(fd);
}

/* drain takes whatever there is, and returns how many messages that was. */
CLIENT int drain(void)
{
	struct message m;
	int fd = view(":raw", O_RDONLY | O_NONBLOCK), n = 0;

	while (read(fd, &m, sizeof m) >= 0)
		n++;
	CHECK(errno == EAGAIN);
	close(fd);
	return n;
}

/* run_queue runs a scenario on the queue, which is the last argument. */
CLIENT int run_queue(const struct scenario *s, char **argv)
{
	queue = argv[1] ? argv[2] : NULL;
	return run_scenario(s, argv);
}

#endif
