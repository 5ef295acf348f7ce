/*
 * shmbench: how fast memory is that processes share through a file, in several directories side by side.
 *
 *   shmbench map SIZE PASSES MS DIR...    maps a new file of SIZE bytes; writes one byte into each page (touch), then stores into all of it (store)
 *                                         and loads all of it (load), PASSES times each. Nanoseconds a page.
 *   shmbench pingpong TRIPS MS DIR...     two processes map the same file and answer each other through one word of it (pingpong). Nanoseconds a
 *                                         round trip.
 *   shmbench io SIZE CALL N MS DIR...     fills a file of SIZE bytes; writes N times CALL bytes into it (write), one behind the other and from the
 *                                         start again at its end, then reads as often (read). Nanoseconds a call.
 *
 * Each makes a file of its own in each DIR, and removes it. Each line that it prints is a part of one measurement: its name, that is the word in
 * brackets, and what it took in each DIR. Nothing goes on for much longer than MS milliseconds in one DIR: there are fewer lines then.
 *
 * The directories take turns, mostly of less than a millisecond, and who begins changes: a busy or virtual machine is faster now and slower then by
 * a quarter, so only what was measured at the same time can be compared. Nor can it be known how much memory a file has got that is slow to get
 * at; if the files grow in turns, all get their share of it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096L
#define MIB (1L << 20)
#define DIRS 8

struct peer {
	char path[PATH_MAX]; /* empty if there is no file */
	int fd;
	long size;
	char *mem;		/* of map */
	_Atomic uint64_t *word; /* of pingpong */
	uint64_t value;		/* that the word has when it is this process's turn */
	long at;		/* where the next call of io goes */
	long done;		/* pages, round trips, calls */
	long long took;		/* nanoseconds */
};

static struct peer peers[DIRS];
static int npeers;
static long long limit;
static pid_t maker; /* the process that removes the files: a child that ends must not */

static long long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void cleanup(void)
{
	int failed = 0;

	if (getpid() != maker)
		return;
	for (int i = 0; i < npeers; i++) {
		if (!peers[i].path[0] || unlink(peers[i].path) == 0)
			continue;
		perror(peers[i].path);
		failed = 1;
	}
	if (failed)
		_exit(1);
}

/* Also for SIGBUS: a page of a file could not be had. */
static void killed(int sig)
{
	const char *what = sig == SIGBUS ? "shmbench: a page cannot be had\n" : "shmbench: killed\n";

	if (write(2, what, strlen(what)) < 0)
		_exit(1);
	for (int i = 0; i < npeers && getpid() == maker; i++)
		if (peers[i].path[0])
			unlink(peers[i].path);
	_exit(1);
}

static void make(struct peer *p, const char *dir, long size)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/shmbench.%d", dir, (int)maker) >= (int)sizeof(path)) {
		errno = ENAMETOOLONG;
		die(dir);
	}
	p->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (p->fd < 0)
		die(path);
	memcpy(p->path, path, sizeof(path));
	if (ftruncate(p->fd, size) < 0)
		die("ftruncate");
	p->size = size;
}

static void *map(int fd, long size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

/* There and back, so that nobody always follows the same one. */
static struct peer *turn_of(long i, int k)
{
	return &peers[i % 2 ? npeers - 1 - k : k];
}

/*
 * Lets the directories take turns: so many parts, in which each of them has its turn so many times. Prints a line for each part. Stops early if one
 * of them has used up its time. Without a name nothing is measured.
 */
static void turns(const char *name, long parts, long each, void (*turn)(struct peer *, long))
{
	long long used[DIRS] = { 0 };
	int over = 0;

	for (long part = 0; part < parts && !over; part++) {
		for (int k = 0; k < npeers; k++)
			peers[k].took = peers[k].done = 0;
		for (long i = part * each; i < (part + 1) * each; i++) {
			for (int k = 0; k < npeers; k++) {
				struct peer *p = turn_of(i, k);
				long long t = now();

				turn(p, i);
				p->took += now() - t;
			}
		}
		if (!name)
			continue;
		printf("%s", name);
		for (int k = 0; k < npeers; k++) {
			printf(" %.3f", (double)peers[k].took / peers[k].done);
			used[k] += peers[k].took;
			over |= used[k] > limit;
		}
		printf("\n");
	}
}

/* n turns as PARTS parts, or a few less. */
#define PARTS 64

static void measure(const char *name, long n, void (*turn)(struct peer *, long))
{
	if (n < PARTS)
		turns(name, n, 1, turn);
	else
		turns(name, PARTS, n / PARTS, turn);
}

/* The compiler must not know that nobody looks at what was stored or loaded. */
static void keep(const void *p)
{
	asm volatile("" : : "r"(p) : "memory");
}

#define SLICE (64 * PAGE)

static char *slice(struct peer *p, long i)
{
	p->done += SLICE / PAGE;
	return p->mem + i % (p->size / SLICE) * SLICE;
}

static long touched; /* bytes of each file that are there */

static void touch(struct peer *p, long i)
{
	char *mem = slice(p, i);

	for (long at = 0; at < SLICE; at += PAGE)
		*(volatile char *)(mem + at) = 1;
	touched = (i + 1) * SLICE;
}

static void store(struct peer *p, long i)
{
	char *mem = slice(p, i);

	memset(mem, (int)i, SLICE);
	keep(mem);
}

static void load(struct peer *p, long i)
{
	const uint64_t *w = (const uint64_t *)slice(p, i);
	uint64_t a = 0, b = 0, c = 0, d = 0;

	for (unsigned long k = 0; k < SLICE / sizeof(*w); k += 4) {
		a += w[k];
		b += w[k + 1];
		c += w[k + 2];
		d += w[k + 3];
	}
	a += b + c + d;
	keep(&a);
}

static void mapping(long size, long passes)
{
	for (int i = 0; i < npeers; i++)
		peers[i].mem = map(peers[i].fd, size);
	measure("touch", size / SLICE, touch);
	/* If there was no time to touch all, the others are for what is there. */
	for (int i = 0; i < npeers; i++)
		peers[i].size = touched;
	measure("store", touched / SLICE * passes, store);
	measure("load", touched / SLICE * passes, load);
}

/* Goes to the nth of the CPUs that this process may use; stays where it is if there are fewer. */
static void pin(int nth)
{
	cpu_set_t may, one;

	if (sched_getaffinity(0, sizeof(may), &may) < 0)
		die("sched_getaffinity");
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &may) || nth-- > 0)
			continue;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		if (sched_setaffinity(0, sizeof(one), &one) < 0)
			die("sched_setaffinity");
		return;
	}
}

/* Waits until the word is v. Gives the CPU away now and then: the other process may need it. Returns 0 after the deadline. */
static int await(_Atomic uint64_t *word, uint64_t v, long long deadline)
{
	for (long spins = 1;; spins++) {
		if (atomic_load_explicit(word, memory_order_acquire) == v)
			return 1;
		if (spins % 1000)
			continue;
		if (now() > deadline)
			return 0;
		sched_yield();
	}
}

#define BATCH 100 /* round trips between two looks at the clock: a look takes as long as some of them */

static void ask(struct peer *p, long i)
{
	long long deadline = now() + limit + 5000000000LL;

	(void)i;
	for (int k = 0; k < BATCH; k++) {
		atomic_store_explicit(p->word, p->value + 1, memory_order_release);
		p->value += 2;
		if (await(p->word, p->value, deadline))
			continue;
		fprintf(stderr, "shmbench: the other process does not answer\n");
		exit(1);
	}
	p->done += BATCH;
}

static void answer(struct peer *p)
{
	for (int k = 0; k < BATCH; k++) {
		await(p->word, p->value + 1, LLONG_MAX);
		p->value += 2;
		atomic_store_explicit(p->word, p->value, memory_order_release);
	}
}

/* The other process opens the files as any stranger would, and answers in the order in which it will be asked until it is killed. */
static void other(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != maker)
		_exit(1);
	for (int i = 0; i < npeers; i++) {
		int fd = open(peers[i].path, O_RDWR);

		if (fd < 0)
			die(peers[i].path);
		peers[i].word = map(fd, PAGE);
	}
	pin(1);
	for (long i = 0;; i++)
		for (int k = 0; k < npeers; k++)
			answer(turn_of(i, k));
}

static void pingpong(long trips)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid == 0)
		other();
	for (int i = 0; i < npeers; i++)
		peers[i].word = map(peers[i].fd, PAGE);
	pin(0);
	turns(NULL, 2, 1, ask); /* the other process gets there; there and back again, as it counts on too */
	turns("pingpong", (trips + BATCH - 1) / BATCH, 1, ask);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static char *buf;
static long call;

static long advance(struct peer *p)
{
	long at = p->at;

	p->at = at + 2 * call <= p->size ? at + call : 0;
	p->done++;
	return at;
}

/* As many calls as there is time for between two looks at the clock. */
static long calls(void)
{
	return call < SLICE ? SLICE / call : 1;
}

static void put(struct peer *p, long i)
{
	(void)i;
	for (long k = calls(); k > 0; k--)
		if (pwrite(p->fd, buf, call, advance(p)) != call)
			die("pwrite");
}

static void get(struct peer *p, long i)
{
	(void)i;
	for (long k = calls(); k > 0; k--)
		if (pread(p->fd, buf, call, advance(p)) != call)
			die("pread");
}

static void fill(struct peer *p, long i)
{
	long at = i * MIB, k = at + MIB < p->size ? MIB : p->size - at;

	if (pwrite(p->fd, buf, k, at) != k)
		die("pwrite");
}

static void io(long size, long n)
{
	long most = call < MIB ? MIB : call;

	buf = aligned_alloc(PAGE, most);
	if (!buf)
		die("aligned_alloc");
	memset(buf, 'x', most);
	turns(NULL, (size + MIB - 1) / MIB, 1, fill);
	measure("write", (n + calls() - 1) / calls(), put);
	measure("read", (n + calls() - 1) / calls(), get);
}

/* Argument i, which has to be a multiple of unit. */
static long number(char **argv, int i, long unit)
{
	char *end;
	long v = strtol(argv[i], &end, 10);

	if (*end || v <= 0 || v % unit) {
		fprintf(stderr, "shmbench: %s is not a multiple of %ld\n", argv[i], unit);
		exit(1);
	}
	return v;
}

int main(int argc, char **argv)
{
	static const int sigs[] = { SIGBUS, SIGHUP, SIGINT, SIGTERM };
	static const char *const names[] = { "map", "pingpong", "io" };
	static const int numbers[] = { 3, 2, 4 };
	int what = 0, dir;
	long n[4], size;

	while (argc > 1 && what < 3 && strcmp(argv[1], names[what]))
		what++;
	if (argc == 1 || what == 3)
		return 2;
	dir = 2 + numbers[what];
	if (argc <= dir || argc > dir + DIRS)
		return 2;
	for (int i = 0; i < numbers[what]; i++)
		n[i] = number(argv, 2 + i, what == 0 && i == 0 ? SLICE : 1);
	limit = n[numbers[what] - 1] * 1000000LL;
	size = what == 1 ? PAGE : n[0];
	if (what == 2)
		call = n[1];
	if (call > size) {
		fprintf(stderr, "shmbench: CALL is more than SIZE\n");
		return 1;
	}
	maker = getpid();
	for (unsigned int i = 0; i < sizeof(sigs) / sizeof(*sigs); i++)
		signal(sigs[i], killed);
	atexit(cleanup);
	while (dir < argc)
		make(&peers[npeers++], argv[dir++], size);
	if (what == 0)
		mapping(size, n[1]);
	else if (what == 1)
		pingpong(n[0]);
	else
		io(size, n[2]);
	return 0;
}
