/* work SCENARIO QUEUE: what queues are for, between processes that know each other by the path only. */
#define _GNU_SOURCE
#include <sys/mman.h>

#include "queue.h"

enum { JOBS = 3000, WORKERS = 5 };

/* Workers take jobs until they are told to end, and report by type. */
static void jobs(char **args)
{
	pid_t pids[WORKERS];
	int jobs_out = view(":1", O_WRONLY), results = view(":3", O_RDONLY), sum = 0;
	static char done[JOBS];
	struct { int job, worker; } r;

	(void)args;
	for (int w = 0; w < WORKERS; w++)
		if ((pids[w] = MUST(fork())) == 0) {
			int in = view(":-2:raw", O_RDONLY), out = view(":3", O_WRONLY);
			struct message m;

			for (;;) {
				ssize_t n = MUST(read(in, &m, sizeof m));
				if (m.type == 2)
					_exit(0);
				CHECK(m.type == 1 && n == 8 + sizeof r.job);
				memcpy(&r.job, m.text, sizeof r.job);
				r.worker = w;
				CHECK(write(out, &r, sizeof r) == sizeof r);
			}
		}
	pid_t sender = MUST(fork());
	if (sender == 0) {
		for (int i = 0; i < JOBS; i++)
			MUST(write(jobs_out, &i, sizeof i));
		_exit(0);
	}
	for (int i = 0; i < JOBS; i++) {
		CHECK(read(results, &r, sizeof r) == sizeof r && r.job >= 0 && r.job < JOBS && !done[r.job]++);
		sum += r.job;
	}
	reap(sender);
	for (int w = 0; w < WORKERS; w++)
		MUST(write(view(":2", O_WRONLY), "end", 3));
	for (int w = 0; w < WORKERS; w++)
		reap(pids[w]);
	say("%d jobs, each done once: %d\n", JOBS, sum);
}

/* The lowest type first; in a type the order of sending holds; what nobody asks for stays. */
static void priorities(char **args)
{
	static const long types[] = { 5, 3, 8, 1, 5, 2, 1, 9, 3, 3, 0x7fffffffffffffff, 1 };
	int raw = view(":raw", O_RDWR), low = view(":-5:raw", O_RDONLY | O_NONBLOCK), all = view(":-9223372036854775807:raw", O_RDONLY | O_NONBLOCK);
	struct message m;
	char text[20];

	(void)args;
	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		sprintf(text, "%zu", i);
		must_send(raw, types[i], text);
	}
	for (ssize_t n; (n = read(low, &m, sizeof m)) > 0;)
		say("%ld:%.*s ", m.type, (int)(n - 8), m.text);
	CHECK(errno == EAGAIN && field("q_qnum") == 3);
	must_send(raw, 4, "late");
	for (ssize_t n; (n = read(all, &m, sizeof m)) > 0;)
		say("%ld:%.*s ", m.type, (int)(n - 8), m.text);
	CHECK(errno == EAGAIN);
	say("\n");
}

static void ask(int raw, int n)
{
	struct { long type; pid_t from; int n; } q;
	char v[40];

	sprintf(v, ":%d:raw", getpid());
	int mine = view(v, O_RDONLY);
	for (int i = 1; i <= n; i++) {
		q.type = 1;
		q.from = getpid();
		q.n = i;
		CHECK(write(raw, &q, sizeof q) == sizeof q);
		CHECK(read(mine, &q, sizeof q) == sizeof q && q.type == getpid() && q.from == getppid() && q.n == i * i);
	}
}

/* Request and reply by type = pid: two servers, ten clients, and a queue so small that all wait for all. */
static void replies(char **args)
{
	enum { SERVERS = 2, CLIENTS = 10, EACH = 100 };
	pid_t servers[SERVERS], clients[CLIENTS];
	int raw = view(":raw", O_WRONLY);
	struct { long type; pid_t from; int n; } q;

	(void)args;
	MUST(truncate(queue, 8 * CLIENTS));
	for (int i = 0; i < SERVERS; i++) {
		int in = view(":1:raw", O_RDONLY); /* here, as a server that comes late may find no queue any more */

		if ((servers[i] = MUST(fork())) == 0) {
			while (read(in, &q, sizeof q) == sizeof q) {
				q.type = q.from;
				q.from = getppid();
				q.n *= q.n;
				MUST(write(raw, &q, sizeof q));
			}
			CHECK(errno == EIDRM);
			_exit(0);
		}
		close(in);
	}
	for (int i = 0; i < CLIENTS; i++)
		if ((clients[i] = MUST(fork())) == 0) {
			ask(raw, EACH);
			_exit(0);
		}
	for (int i = 0; i < CLIENTS; i++)
		reap(clients[i]);
	CHECK(field("q_qnum") == 0);
	MUST(unlink(queue));
	for (int i = 0; i < SERVERS; i++)
		reap(servers[i]);
	say("%d requests, each answered to who asked\n", CLIENTS * EACH);
}

/* One who looks, all the time, while others send and receive: what it sees are whole messages, and it takes none. */
static void watched(char **args)
{
	pid_t sender = MUST(fork()), receiver;
	char want[40], text[1 << 17];

	(void)args;
	if (sender == 0) {
		for (int i = 0; i < 2000; i++) {
			int w = i % 2 ? view(":2", O_WRONLY) : view(":raw", O_WRONLY), n = sprintf(want, "message %d", i);

			if (i % 2)
				CHECK(write(w, want, n) == n);
			else
				CHECK(send_type(w, 2, want, n) == n + 8);
			close(w);
		}
		_exit(0);
	}
	if ((receiver = MUST(fork())) == 0) {
		int r = view(":2", O_RDONLY);

		for (int i = 0; i < 2000; i++) {
			ssize_t n = MUST(read(r, text, sizeof text));
			CHECK(n == sprintf(want, "message %d", i) && !memcmp(text, want, n));
		}
		_exit(0);
	}
	int last = -1, status;
	do {
		int fd = view(":2:peek", O_RDONLY), before = -1, size, pid, i;
		ssize_t n = 0, part;

		while ((part = MUST(read(fd, text + n, sizeof text - 1 - n))) > 0)
			n += part;
		text[n] = 0;
		close(fd);
		for (char *line = text; *line; line = strchr(line, '\n') + 1) {
			CHECK(sscanf(line, "type=2 size=%d pid=%d text=message %d\n", &size, &pid, &i) == 3 && pid == sender && size == sprintf(want, "message %d", i));
			CHECK(i >= last && (before < 0 || i == before + 1));
			if (before < 0)
				last = i;
			before = i;
		}
	} while (waitpid(receiver, &status, WNOHANG) == 0);
	CHECK(status == 0);
	reap(sender);
	CHECK(field("q_qnum") == 0);
	say("seen, and not taken\n");
}

int main(int argc, char **argv)
{
	static const struct scenario scenarios[] = {
		{ "jobs", jobs }, { "priorities", priorities }, { "replies", replies }, { "watched", watched }, { NULL, NULL },
	};

	(void)argc;
	return run_queue(scenarios, argv);
}
