/*
 * msgqhammer: clients of a message queue that are killed at any instant, and what each of them knew.
 *
 *   msgqhammer QUEUE STAGE TOTAL SEED OUT   8 senders and 8 receivers, until TOTAL messages were sent
 *
 * What the clients know is in memory that they share with the one that started them, and nothing of it goes through the queue. A sender stores what it is
 * about to write before it writes, and what it was told to have written after that. A receiver reads into that memory, clears it before, and enters what
 * read(2) returned into its log with one store. So a receiver that was killed in read(2) shows in its buffer what it was given: the kernel copies the answer there
 * before the process can die of the signal. Nothing of what was received is unknown.
 *
 * A message is
 *
 *   @ slot(2) seq(8) type(2) length(4) : letters newline
 *
 * in hexadecimal digits, the letters following from slot and seq. Of what is written by :lines and cut by a kill a part may arrive, without the newline.
 *
 * OUT.sent and OUT.got get a record for each message and each receipt, struct sent and struct got. On standard output are the figures.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "shared.h"

static uint32_t rnd;

static uint32_t roll(uint32_t n)
{
	rnd ^= rnd << 13;
	rnd ^= rnd >> 17;
	rnd ^= rnd << 5;
	return rnd % n;
}

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

#define die(...) do { fprintf(stderr, __VA_ARGS__); fprintf(stderr, "\n"); _exit(1); } while (0)

static void *share(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		die("mmap of %zu bytes: %s", n, strerror(errno));
	return p;
}

static int open_view(const struct role *r, int access)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s%s", queue, r->view);
	int fd = open(path, access | r->flags | O_CLOEXEC);
	if (fd < 0)
		die("open %s: %s", path, strerror(errno));
	return fd;
}

static void wait_ready(int fd, int events)
{
	struct pollfd p = { .fd = fd, .events = events };

	if (poll(&p, 1, 1000 * PATIENCE) == 0)
		die("poll for %#x has waited for %d seconds", events, PATIENCE);
	usleep(100); /* ready for a byte is not ready for all */
}

static void put_hex(char *p, uint32_t v, int digits)
{
	for (; digits-- > 0; v >>= 4)
		p[digits] = "0123456789abcdef"[v & 15];
}

static uint32_t get_hex(const char *p, int digits)
{
	uint32_t v = 0;

	for (; digits-- > 0; p++)
		v = v << 4 | (*p <= '9' ? *p - '0' : *p - 'a' + 10);
	return v;
}

static char letter(uint32_t slot, uint32_t seq, uint32_t i)
{
	return 'a' + (slot * 5 + seq + i) % 26;
}

/* make writes message seq of a slot to p, enters it, and returns its length. */
static uint32_t make(char *p, int slot, uint32_t seq)
{
	struct sender *s = &shared->senders[slot];
	const struct role *r = &stage->senders[slot];
	uint32_t type = r->type ? (uint32_t)r->type : 1 + roll(9);
	uint32_t len = HEAD + 2 + roll(roll(r->lines ? 128 : 16) ? 24 : MAXTEXT - HEAD - 1);

	*p = '@';
	put_hex(p + 1, slot, 2);
	put_hex(p + 3, seq, 8);
	put_hex(p + 11, type, 2);
	put_hex(p + 13, len, 4);
	p[17] = ':';
	for (uint32_t i = HEAD; i < len - 1; i++)
		p[i] = letter(slot, seq, i);
	p[len - 1] = '\n';
	s->sent[seq] = (struct sent){ .slot = slot, .seq = seq, .inc = s->inc, .type = type, .len = len };
	return len;
}

/* after is the place that is n bytes after another. */
static uint64_t after(const struct sender *s, uint64_t place, size_t n)
{
	uint32_t seq = SEQ(place);

	for (n += CUT(place); n > 0 && n >= s->sent[seq].len; seq++)
		n -= s->sent[seq].len;
	return PLACE(seq, n);
}

static void send_lines(struct sender *s, int slot, int fd)
{
	static char buf[BUF];
	size_t have = 0;
	uint32_t next = s->first;

	while (next < s->quota || have > 0) {
		uint64_t from = s->told;
		size_t n, last = 0, target = 1 + roll(stage->senders[slot].weight > 1 && roll(4) ? 16384 : 200);

		for (; next < s->quota && have < target && have < BUF - MAXTEXT; next++)
			have += last = make(buf + have, slot, next);
		n = have;
		if (last && n > last && roll(3) == 0) /* cut in the middle of the last line, behind its head */
			n -= roll(last - HEAD);
		s->begun = after(s, from, n);
		ssize_t w = write(fd, buf, n);
		if (w < 0 && errno == EAGAIN && stage->senders[slot].flags & O_NONBLOCK) {
			s->begun = from;
			wait_ready(fd, POLLOUT);
			continue;
		}
		if (w <= 0)
			die("sender %d: write of %zu bytes: %zd, %s", slot, n, w, strerror(errno));
		uint64_t to = after(s, from, w);
		if ((size_t)w < n && (CUT(to) || !(stage->senders[slot].flags & O_NONBLOCK)))
			die("sender %d: write of %zu bytes took %zd, cut %u", slot, n, w, CUT(to));
		s->told = to;
		memmove(buf, buf + w, have - w);
		have -= w;
	}
}

static void send_messages(struct sender *s, int slot, int fd)
{
	static struct {
		int64_t type;
		char text[MAXTEXT];
	} m;

	for (uint32_t seq = s->first; seq < s->quota; seq++) {
		size_t n = make(m.text, slot, seq), head = stage->senders[slot].raw ? sizeof(m.type) : 0;

		m.type = s->sent[seq].type;
		s->begun = PLACE(seq + 1, 0);
		ssize_t w = write(fd, m.text - head, head + n);
		if (w != (ssize_t)(head + n))
			die("sender %d: write of %zu bytes: %zd, %s", slot, head + n, w, strerror(errno));
		s->told = s->begun;
	}
}

/* parse enters the messages in buf behind the log of a receiver, and returns how many there are. */
static int parse(int who, const struct role *r, const char *buf, size_t n, struct got *log, int how, uint64_t end)
{
	const char *p = buf, *stop = buf + n;
	int64_t type = 0;
	int k = 0;

	if (r->raw) {
		memcpy(&type, p, sizeof(type));
		p += sizeof(type);
	}
	for (; p < stop; k++) {
		const char *q = memchr(p + 1, '@', stop - p - 1);
		uint32_t len = (q ? q : stop) - p;

		if (*p != '@' || len <= HEAD)
			die("receiver %d: no message at byte %zd of %zu: %.*s", who, p - buf, n, (int)n, buf);
		struct got g = { .receiver = who, .slot = get_hex(p + 1, 2), .seq = get_hex(p + 3, 8), .type = get_hex(p + 11, 2), .len = len, .how = how, .end = end };
		uint32_t whole = get_hex(p + 13, 4);
		for (uint32_t i = HEAD; i < len; i++)
			if (p[i] != (i == whole - 1 ? '\n' : letter(g.slot, g.seq, i)))
				die("receiver %d: byte %u of a message is wrong: %.*s", who, i, len, p);
		if (len > whole || (r->raw && type != g.type) || (r->type > 0 && g.type != (uint32_t)r->type) || (r->type < 0 && g.type > (uint32_t)-r->type) ||
		    (!strcmp(r->view, ":^7") && g.type == 7) || (k > 0 && !r->lines))
			die("receiver %d of %s got %.*s", who, r->view, len, p);
		log[k] = g;
		p += len;
	}
	return k;
}

static void receive(struct receiver *v, int slot, int fd)
{
	static const size_t sizes[] = { 300, 4096, 16384, BUF };
	const struct role *r = &stage->receivers[slot];
	uint64_t count = v->word >> 1;
	size_t used = BUF;
	int large = 0;

	for (;;) {
		size_t size = large || (!r->lines && roll(16)) ? BUF : r->lines ? sizes[roll(4)] : 40;

		if (!strcmp(r->view, ":7:stream")) /* which would give a part */
			size = BUF;
		memset(v->buf, 0, used);
		used = 0;
		v->begin = now();
		v->reads++;
		v->word = count << 1 | 1;
		ssize_t n = read(fd, v->buf, size);
		if (n < 0 && ((errno == E2BIG && size < BUF) || (errno == EAGAIN && r->flags & O_NONBLOCK))) {
			large = errno == E2BIG;
			v->word = count << 1;
			if (!large)
				wait_ready(fd, POLLIN);
			continue;
		}
		if (n <= 0)
			die("receiver %d: read of %zu bytes: %zd, %s", slot, size, n, strerror(errno));
		large = 0;
		used = n;
		int k = parse(slot, r, v->buf, n, v->log + count, 0, now());
		for (int i = 0; i < k; i++) {
			v->log[count + i].begin = v->begin;
			v->log[count + i].read = v->reads;
			v->log[count + i].inc = v->inc;
		}
		count += k;
		v->word = count << 1;
	}
}

static pid_t pids[2 * SLOTS]; /* senders, then receivers */
static int done[SLOTS];

static void spawn(int who)
{
	uint32_t seed = roll(1u << 31) | 1;
	pid_t parent = getpid(), pid = fork();

	if (pid < 0)
		die("fork: %s", strerror(errno));
	if (pid > 0) {
		pids[who] = pid;
		return;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	rnd = seed;
	int slot = who % SLOTS;
	if (who >= SLOTS)
		receive(&shared->receivers[slot], slot, open_view(&stage->receivers[slot], O_RDONLY));
	const struct role *r = &stage->senders[slot];
	(r->lines ? send_lines : send_messages)(&shared->senders[slot], slot, open_view(r, O_WRONLY));
	_exit(0);
}

static struct { /* how many were killed, and where */
	unsigned long send, send_between, read_nothing, read_one, read_several, read_between, in_buffers;
} figures;

/* settle notes what a client that is gone knew. */
static void settle(int who, int killed)
{
	if (who < SLOTS) {
		struct sender *s = &shared->senders[who];
		uint32_t upto = SEQ(s->begun) + (CUT(s->begun) > 0);

		*(s->begun != s->told ? &figures.send : &figures.send_between) += killed;
		for (uint32_t i = s->first; i < upto; i++) {
			struct sent *m = &s->sent[i];

			m->told = i < SEQ(s->told) ? m->len : i == SEQ(s->told) ? CUT(s->told) : 0;
			m->begun = i < SEQ(s->begun) ? m->len : CUT(s->begun);
		}
		s->quota += upto - SEQ(s->told); /* more, until it has been told enough */
		if (s->quota > s->room)
			die("sender %d has no room for %u messages", who, s->quota);
		s->inc++;
		s->first = upto;
		s->told = s->begun = PLACE(upto, 0);
		return;
	}
	struct receiver *v = &shared->receivers[who - SLOTS];
	uint64_t count = v->word >> 1;
	if (v->word & 1) {
		const struct role *r = &stage->receivers[who - SLOTS];
		size_t head = r->raw ? sizeof(int64_t) : 0, n = strnlen(v->buf + head, BUF - head);
		int k = n ? parse(who - SLOTS, r, v->buf, head + n, v->log + count, 1, now()) : 0;

		for (int i = 0; i < k; i++) {
			v->log[count + i].begin = v->begin;
			v->log[count + i].read = v->reads;
			v->log[count + i].inc = v->inc;
		}
		v->word = (count + k) << 1;
		figures.in_buffers += k;
		++*(k == 0 ? &figures.read_nothing : k == 1 ? &figures.read_one : &figures.read_several);
	} else {
		figures.read_between++;
	}
	v->inc++;
	memset(v->buf, 0, BUF);
}

static void kill_one(int who)
{
	uint64_t deadline = now() + PATIENCE * 1000000000ull;
	int status;

	kill(pids[who], SIGKILL);
	while (waitpid(pids[who], &status, WNOHANG) == 0) {
		if (now() > deadline)
			die("client %d, process %d, cannot be killed", who, pids[who]);
		usleep(50);
	}
	pids[who] = 0;
	if (WIFEXITED(status) && (WEXITSTATUS(status) || who >= SLOTS))
		_exit(1); /* it has said why */
	settle(who, WIFSIGNALED(status));
	if (WIFEXITED(status))
		done[who] = 1;
}

/* fill lets a sender by lines fill the queue, and kills it where it waits for room. */
static void fill(int who)
{
	uint64_t deadline = now() + PATIENCE * 1000000000ull;
	char value[8];

	shared->senders[who].quota += 40000;
	spawn(who);
	while (getxattr(queue, "user.ipc.q_senders", value, sizeof(value)) != 1 || *value == '0') {
		if (now() > deadline)
			die("the queue does not get full");
		usleep(1000);
	}
	kill_one(who);
}

/* left is what is in the queue at the end. */
static int left(struct got *log)
{
	static const struct role all = { .view = ":raw", .raw = 1, .flags = O_NONBLOCK };
	static char buf[BUF];
	int fd = open_view(&all, O_RDONLY), k = 0;
	ssize_t n;

	for (; (n = read(fd, buf, BUF)) > 0; k++) {
		parse(SLOTS, &all, buf, n, log + k, 2, now());
		log[k].begin = log[k].end;
		log[k].read = k;
	}
	if (n == 0 || errno != EAGAIN)
		die("emptying the queue: %zd, %s", n, strerror(errno));
	return k;
}

static void put(FILE *f, const void *p, size_t size, size_t n)
{
	if (fwrite(p, size, n, f) != n)
		die("writing the records: %s", strerror(errno));
}

static uint64_t progress(void)
{
	uint64_t sum = 0;

	for (int i = 0; i < SLOTS; i++)
		sum += shared->senders[i].told + shared->receivers[i].word + shared->senders[i].inc;
	return sum;
}

static int hammer(char **argv)
{
	uint32_t total = atoi(argv[3]), weights = 0, alive = SLOTS, log = 0;
	uint64_t seen = 0, since = now();
	char path[4096], value[32];

	queue = argv[1];
	rnd = (uint32_t)strtoull(argv[4], NULL, 10) | 1;
	for (size_t i = 0; i < sizeof(stages) / sizeof(*stages); i++)
		if (!strcmp(stages[i].name, argv[2]))
			stage = &stages[i];
	if (!stage)
		die("no stage %s", argv[2]);
	shared = share(sizeof(*shared));
	for (int i = 0; i < SLOTS; i++)
		weights += stage->senders[i].weight;
	for (int i = 0; i < SLOTS; i++) {
		struct sender *s = &shared->senders[i];

		s->quota = (uint64_t)total * stage->senders[i].weight / weights + 1;
		s->room = 4 * s->quota + 100000;
		s->sent = share(s->room * sizeof(*s->sent));
		log += s->room;
	}
	for (int i = 0; i < SLOTS; i++)
		shared->receivers[i].log = share((log + BUF / HEAD) * sizeof(struct got));
	for (int i = 0; i < 2 * SLOTS; i++)
		spawn(i);
	while (alive > 0) {
		int who = roll(2 * SLOTS), status;

		usleep(roll(4000));
		for (int i = 0; i < 2 * SLOTS; i++)
			if (pids[i] && waitpid(pids[i], &status, WNOHANG) == pids[i]) {
				if (!WIFEXITED(status) || WEXITSTATUS(status) || i >= SLOTS)
					die("client %d ended with status %#x", i, status);
				pids[i] = 0;
				done[i] = 1;
				settle(i, 0);
			}
		if (pids[who])
			kill_one(who);
		if (who >= SLOTS || !done[who])
			spawn(who);
		alive = 0;
		for (int i = 0; i < SLOTS; i++)
			alive += !done[i];
		if (roll(100) == 0) {
			snprintf(value, sizeof(value), "%u", 8192 + roll(geteuid() ? 8192 : 32768));
			if (setxattr(queue, "user.ipc.q_qbytes", value, strlen(value), 0))
				die("q_qbytes: %s", strerror(errno));
		}
		if (progress() != seen) {
			seen = progress();
			since = now();
		} else if (now() - since > PATIENCE * 1000000000ull) {
			die("nothing has moved for %d seconds", PATIENCE);
		}
	}
	for (int i = SLOTS; i < 2 * SLOTS; i++)
		kill_one(i);
	fill(4);

	snprintf(path, sizeof(path), "%s.sent", argv[5]);
	FILE *f = fopen(path, "w");
	for (int i = 0; f && i < SLOTS; i++)
		put(f, shared->senders[i].sent, sizeof(struct sent), shared->senders[i].first);
	if (!f || fclose(f))
		die("%s: %s", path, strerror(errno));
	snprintf(path, sizeof(path), "%s.got", argv[5]);
	f = fopen(path, "w");
	for (int i = 0; f && i < SLOTS; i++)
		put(f, shared->receivers[i].log, sizeof(struct got), shared->receivers[i].word >> 1);
	struct got *rest = share((log + 1) * sizeof(*rest));
	int k = left(rest);
	put(f, rest, sizeof(*rest), k);
	if (!f || fclose(f))
		die("%s: %s", path, strerror(errno));
	printf("killed: senders %lu in write, %lu outside; receivers %lu in read with nothing, %lu with a message, %lu with several (%lu messages in buffers), %lu outside; "
	       "%d messages left in the queue\n",
	       figures.send, figures.send_between, figures.read_nothing, figures.read_one, figures.read_several, figures.in_buffers, figures.read_between, k);
	return 0;
}

int main(int argc, char **argv)
{
	return argc == 6 ? hammer(argv) : 2;
}
