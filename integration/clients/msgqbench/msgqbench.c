/*
 * msgqbench: how fast messages go from process to process through a queue of one of several systems: those of systems.h.
 *
 *   msgqbench throughput SYSTEM PLACE SIZE N MS   N processes send messages of SIZE bytes, N others receive them, for MS milliseconds and until all
 *                                                 has arrived. Prints how many messages there were, and nanoseconds.
 *   msgqbench latency SYSTEM PLACE SIZE MS        a client sends a request of SIZE bytes, a server replies, for MS milliseconds. Prints how many
 *                                                 requests there were, and the median and the 99th percentile in nanoseconds.
 *
 * PLACE is a directory for ipcfs and lines, a socket for redis, and means nothing to the others.
 *
 * It fails unless as many messages have arrived as were sent, each once, whole, and those of one sender in order. It leaves no queue and no process
 * behind, when it fails or is told to end neither.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "systems.h"

#define PROCESSES 16
#define TRIPS 1000000
#define WARMUP 100     /* round trips that nobody measures */
#define SHORTEST 16    /* bytes of a message */
#define PATIENCE 20000 /* milliseconds that it may all take longer than was asked for */

/* What the processes tell each other. Nobody writes here while it is measured, but for the one who says stop. */
struct received {
	uint64_t count, sum; /* of messages, of their numbers; by sender */
};

static struct shared {
	_Atomic int stop;
	_Atomic int senders_done;
	uint64_t sent[PROCESSES];
	struct received received[PROCESSES][PROCESSES]; /* by receiver and sender */
	long long ended[PROCESSES];			/* when a receiver was told that nothing follows */
	long trips, median, p99;
} *shared;

static const struct system *way;
static long size, each, ms;
static int batch; /* messages that are sent at once */

static pid_t children[2 * PROCESSES];
static int nchildren;
static int at_start[2], go[2]; /* pipes: each child writes a byte to the first and goes when the second ends */

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* Ends it all; may run in a handler of a signal. Once the queue is gone nobody waits for it, so that each child ends. */
static void stop_all(void)
{
	for (int i = 0; i < nchildren; i++)
		if (children[i] > 0)
			kill(children[i], SIGKILL);
	way->destroy();
	for (int i = 0; i < nchildren; i++)
		if (children[i] > 0)
			waitpid(children[i], NULL, 0);
	nchildren = 0;
}

static void killed(int sig)
{
	const char *what = sig == SIGALRM ? "msgqbench: it takes too long\n" : "msgqbench: killed\n";

	if (sig != SIGUSR1 && write(2, what, strlen(what)) < 0)
		_exit(1);
	stop_all();
	_exit(1);
}

/* A child that fails lets the maker end the others. */
static void give_up(void)
{
	if (getpid() != maker)
		kill(maker, SIGUSR1);
	else if (way)
		stop_all();
	_exit(1);
}

static void die(const char *what)
{
	fprintf(stderr, "msgqbench: %s: %s\n", what, strerror(errno));
	give_up();
}

static void fail(const char *what)
{
	fprintf(stderr, "msgqbench: %s\n", what);
	give_up();
}

static const int signals[] = { SIGHUP, SIGINT, SIGTERM, SIGALRM, SIGUSR1 };

#define SIGNALS (sizeof(signals) / sizeof(*signals))

static sigset_t ours;

static void handle_signals(void)
{
	struct sigaction sa = { .sa_handler = killed };

	sigemptyset(&ours);
	for (unsigned int i = 0; i < SIGNALS; i++)
		sigaddset(&ours, signals[i]);
	sa.sa_mask = ours;
	for (unsigned int i = 0; i < SIGNALS; i++)
		sigaction(signals[i], &sa, NULL);
}

/* As fork, and the maker knows the child in any case. */
static pid_t start(void (*be)(int), int i)
{
	pid_t pid;

	sigprocmask(SIG_BLOCK, &ours, NULL);
	pid = fork();
	if (pid == 0) {
		nchildren = 0;
		for (unsigned int k = 0; k < SIGNALS; k++)
			signal(signals[k], SIG_DFL);
		sigprocmask(SIG_UNBLOCK, &ours, NULL);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != maker)
			_exit(1);
		alarm((ms + PATIENCE) / 1000 + 5); /* the maker's comes first */
		close(go[1]);
		close(at_start[0]);
		be(i);
		_exit(0);
	}
	if (pid > 0)
		children[nchildren++] = pid;
	sigprocmask(SIG_UNBLOCK, &ours, NULL);
	if (pid < 0)
		die("fork");
	return pid;
}

/* Where a child waits until all are there. */
static void barrier(void)
{
	char c = 0;

	if (write(at_start[1], &c, 1) != 1 || read(go[0], &c, 1) != 0)
		die("the start");
}

/* Lets the children run for the time that they have, waits until they have ended, and returns when they began. */
static long long run(void)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };
	long long began;
	char c;

	for (int i = 0; i < nchildren; i++)
		if (read(at_start[0], &c, 1) != 1)
			die("the start");
	began = now();
	close(go[1]);
	nanosleep(&t, NULL);
	atomic_store(&shared->stop, 1);
	for (int n = nchildren; n > 0; n--) {
		int status;
		pid_t pid = wait(&status);

		if (pid < 0)
			die("wait");
		for (int i = 0; i < nchildren; i++)
			if (children[i] == pid)
				children[i] = 0;
		if (status)
			fail("a process of it has failed");
	}
	return began;
}

/*
 * A message is what it is (a letter), who sent it (a letter), its number as 8 letters, x'es and a newline. If there is room, the number is at its end
 * once more, so that two halves of different messages are none.
 */
#define MESSAGE 'm'
#define REPLY 'r'
#define END 'e' /* one for each receiver; nothing follows */
#define DIGITS 8

static void make_message(char *msg, char what, int from)
{
	memset(msg, 'x', size);
	msg[0] = what;
	msg[1] = 'A' + from;
	msg[size - 1] = '\n';
}

static int has_two(void)
{
	return size >= 2 + DIGITS + DIGITS + 1;
}

static void set_number(char *msg, uint64_t n)
{
	n = (n | n << 16) & 0x0000ffff0000ffff;
	n = (n | n << 8) & 0x00ff00ff00ff00ff;
	n = (n | n << 4) & 0x0f0f0f0f0f0f0f0f;
	n += 0x6161616161616161;
	memcpy(msg + 2, &n, DIGITS);
	if (has_two())
		memcpy(msg + size - 1 - DIGITS, &n, DIGITS);
}

static uint64_t number(const char *msg)
{
	uint64_t n;

	memcpy(&n, msg + 2, DIGITS);
	n -= 0x6161616161616161;
	if (n & ~(uint64_t)0x0f0f0f0f0f0f0f0f)
		fail("a message has another number than any that was sent");
	n = (n | n >> 4) & 0x00ff00ff00ff00ff;
	n = (n | n >> 8) & 0x0000ffff0000ffff;
	n = (n | n >> 16) & 0x00000000ffffffff;
	return n;
}

/* That it is whole; returns what it is. */
static char check(const char *msg, long len)
{
	if (len != size)
		fail("a message has another size than it was sent with");
	if (msg[size - 1] != '\n' || (has_two() && memcmp(msg + 2, msg + size - 1 - DIGITS, DIGITS)))
		fail("a message is not whole");
	return msg[0];
}

static void send_ends(int n)
{
	char *msg = space + HEAD;

	make_message(msg, END, 0);
	set_number(msg, 0);
	while (n-- > 0)
		way->send(0, msg, size);
}

static void sender(int me)
{
	char *msg = space + HEAD;
	uint64_t n = 0;

	for (int i = 0; i < batch; i++)
		make_message(msg + i * size, MESSAGE, me);
	way->join(0, 0);
	barrier();
	while (!atomic_load_explicit(&shared->stop, memory_order_relaxed)) {
		for (int i = 0; i < batch; i++)
			set_number(msg + i * size, n++);
		way->send(0, msg, batch * size);
	}
	shared->sent[me] = n;
	if (atomic_fetch_add(&shared->senders_done, 1) == each - 1)
		send_ends(each);
}

/* Counts a message of r's, whose next number from each sender is at least next. */
static void count(struct received *r, uint64_t *next, const char *msg)
{
	int from = msg[1] - 'A';
	uint64_t n = number(msg);

	if (msg[0] != MESSAGE || from < 0 || from >= each)
		fail("a message that nobody has sent");
	if (n < next[from] || (each == 1 && n != next[from]))
		fail("messages are not in order, or some are missing");
	next[from] = n + 1;
	r[from].count++;
	r[from].sum += n;
}

static void receiver(int me)
{
	struct received r[PROCESSES] = { 0 };
	uint64_t next[PROCESSES] = { 0 };
	int ends = 0;

	way->join(0, 1);
	barrier();
	while (ends == 0) {
		long len, n;
		char *msg = way->receive(0, &len);

		if (len <= 0)
			fail("nothing was received");
		for (; len > 0; msg += n, len -= n) {
			char *newline = batch > 1 ? memchr(msg, '\n', len) : NULL;

			n = newline ? newline + 1 - msg : len;
			if (check(msg, n) == END)
				ends++;
			else if (ends > 0)
				fail("a message behind the end");
			else
				count(r, next, msg);
		}
	}
	shared->ended[me] = now();
	memcpy(shared->received[me], r, sizeof(r));
	if (ends > 1) { /* it has got those of others in the same call */
		way->join(0, 0);
		send_ends(ends - 1);
	}
}

static void make(void)
{
	sigprocmask(SIG_BLOCK, &ours, NULL);
	way->make();
	sigprocmask(SIG_UNBLOCK, &ours, NULL);
}

static void destroy(void)
{
	for (int i = 0; i < 1 + answers; i++)
		if (way->left(i))
			fail("something is left in the queue");
	way->destroy();
}

static void throughput(void)
{
	uint64_t total = 0;
	long long began, ended = 0;

	make();
	for (int i = 0; i < each; i++) {
		start(receiver, i);
		start(sender, i);
	}
	began = run();
	for (int i = 0; i < each; i++) {
		uint64_t n = shared->sent[i], got = 0, sum = 0;

		for (int k = 0; k < each; k++) {
			got += shared->received[k][i].count;
			sum += shared->received[k][i].sum;
		}
		if (got != n || sum != n * (n - 1) / 2) {
			fprintf(stderr, "sender %d: %lu sent, %lu received\n", i, (unsigned long)n, (unsigned long)got);
			fail("messages are missing or were received twice");
		}
		if (n == 0 || n > UINT32_MAX)
			fail("a sender has sent nothing, or more than there are numbers");
		total += n;
		ended = shared->ended[i] > ended ? shared->ended[i] : ended;
	}
	destroy();
	printf("%lu %lld\n", (unsigned long)total, ended - began);
}

static void server(int me)
{
	long len;
	char *msg = space + HEAD;

	make_message(msg, REPLY, me);
	way->join(0, 1);
	way->join(1, 0);
	barrier();
	for (uint64_t n = 0;; n++) {
		char *request = way->receive(0, &len);

		if (check(request, len) == END)
			return;
		if (request[0] != MESSAGE || number(request) != n)
			fail("a request that nobody has sent now");
		set_number(msg, n);
		way->send(1, msg, size);
	}
}

static int compare(const void *a, const void *b)
{
	int x = *(const int *)a, y = *(const int *)b;

	return (x > y) - (x < y);
}

static void ask(int me)
{
	static int took[WARMUP + TRIPS];
	long len, n = 0;
	char *msg = space + HEAD;

	client = getpid();
	make_message(msg, MESSAGE, me);
	way->join(0, 0);
	way->join(1, 1);
	barrier();
	while (n < WARMUP + TRIPS && !atomic_load_explicit(&shared->stop, memory_order_relaxed)) {
		long long t = now();
		char *reply;

		set_number(msg, n);
		way->send(0, msg, size);
		reply = way->receive(1, &len);
		if (check(reply, len) != REPLY || number(reply) != (uint64_t)n)
			fail("a reply to another request");
		took[n++] = now() - t;
	}
	send_ends(1);
	n -= WARMUP;
	if (n < 100)
		fail("too few requests for a percentile");
	qsort(took + WARMUP, n, sizeof(*took), compare);
	shared->trips = n;
	shared->median = took[WARMUP + n / 2];
	shared->p99 = took[WARMUP + n * 99 / 100];
}

static void latency(void)
{
	make();
	client = start(ask, 0);
	start(server, 0);
	run();
	destroy();
	printf("%ld %ld %ld\n", shared->trips, shared->median, shared->p99);
}

/* An argument that is a number from least to most. */
static long argument(const char *text, long least, long most)
{
	char *end;
	long v = strtol(text, &end, 10);

	if (*end || end == text || v < least || v > most) {
		fprintf(stderr, "msgqbench: %s is not from %ld to %ld\n", text, least, most);
		exit(2);
	}
	return v;
}

int main(int argc, char **argv)
{
	void (*measure)(void) = argc == 7 && !strcmp(argv[1], "throughput") ? throughput : argc == 6 && !strcmp(argv[1], "latency") ? latency : NULL;
	const struct system *found = NULL;

	for (int i = 0; measure && i < SYSTEMS; i++)
		if (!strcmp(argv[2], systems[i].name))
			found = &systems[i];
	answers = measure == latency;
	if (!found || (answers && found->receive == lines_receive))
		return 2;
	place = argv[3];
	size = argument(argv[4], SHORTEST, MSGMAX);
	each = answers ? 1 : argument(argv[5], 1, PROCESSES);
	ms = argument(argv[argc - 1], 1, 60000);
	batch = found->receive == lines_receive ? BUF / size : 1;
	maker = getpid();
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED || pipe(at_start) < 0 || pipe(go) < 0)
		die("memory and pipes");
	way = found;
	handle_signals();
	alarm((ms + PATIENCE) / 1000);
	measure();
	return fflush(stdout) ? 1 : 0;
}
