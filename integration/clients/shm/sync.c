// sync SCENARIO: processes that wait for each other by what lies in shared memory: POSIX semaphores, mutexes, condition variables, futexes.
#define _GNU_SOURCE
#include "shm.h"

#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <semaphore.h>
#include <time.h>

#define NAME "/sync"

// soon is a time that passes, if nothing else happens.
static struct timespec soon(clockid_t clock, long ms)
{
	struct timespec t;
	MUST(clock_gettime(clock, &t));
	t.tv_nsec += ms * 1000000;
	t.tv_sec += t.tv_nsec / 1000000000;
	t.tv_nsec %= 1000000000;
	return t;
}

static sem_t *semaphore(const char *name, int flags, unsigned value)
{
	sem_t *s = sem_open(name, flags, 0600, value);
	MUST(s == SEM_FAILED ? -1 : 0);
	return s;
}

static void say_open(const char *what, sem_t *s)
{
	say_call(what, s == SEM_FAILED ? -1 : 0);
}

static void say_value(const char *what, sem_t *s)
{
	int value;
	MUST(sem_getvalue(s, &value));
	say("%s: %d\n", what, value);
}

enum { ROUNDS = 5000 };

static void sem_other(struct peer *parent, void *arg)
{
	(void)arg;
	sem_t *ping = semaphore("/ping", 0, 0), *pong = semaphore("/pong", 0, 0);
	pass(parent);
	for (int i = 0; i < ROUNDS; i++) {
		MUST(sem_wait(ping));
		MUST(sem_post(pong));
	}
	// Once more after the name is gone.
	turn(parent);
	say_open("the other, unlinked", sem_open("/ping", 0));
	MUST(sem_wait(ping));
	say("the other was woken\n");
}

// Named semaphores, each opened in two processes.
static void named_semaphores(char **args)
{
	(void)args;
	say_open("none yet", sem_open("/ping", 0));
	sem_t *ping = semaphore("/ping", O_CREAT | O_EXCL, 0), *pong = semaphore("/pong", O_CREAT, 0);
	say_open("another exclusive one", sem_open("/ping", O_CREAT | O_EXCL, 0600, 7));
	say("the same in one process: %d\n", sem_open("/ping", O_CREAT, 0600, 7) == ping);
	look();

	struct peer other = start_peer(sem_other, NULL);
	turn(&other);
	until_in(other.pid, SYS_futex);
	for (int i = 0; i < ROUNDS; i++) {
		MUST(sem_post(ping));
		MUST(sem_wait(pong));
	}
	say_value("ping", ping);
	say_call("sem_trywait", sem_trywait(ping));
	struct timespec until = soon(CLOCK_REALTIME, 50), now;
	say_call("sem_timedwait", sem_timedwait(pong, &until));
	MUST(clock_gettime(CLOCK_REALTIME, &now));
	say("it waited: %d\n", now.tv_sec > until.tv_sec || (now.tv_sec == until.tv_sec && now.tv_nsec >= until.tv_nsec));
	MUST(sem_post(pong));
	say_call("sem_timedwait", sem_timedwait(pong, &until));
	say_call("sem_timedwait", sem_timedwait(pong, &until));

	MUST(sem_unlink("/ping"));
	say_call("unlinked again", sem_unlink("/ping"));
	sem_t *another = semaphore("/ping", O_CREAT | O_EXCL, 3);
	say("another one by the same name: %d\n", another != ping);
	MUST(sem_unlink("/ping"));
	look();
	pass(&other);
	until_in(other.pid, SYS_futex);
	MUST(sem_post(ping));
	finish_peer(&other);
	for (int i = 0; i < 3; i++)
		MUST(sem_trywait(another));
	say_call("the fourth of three", sem_trywait(another));
	MUST(sem_close(another));
	MUST(sem_unlink("/pong"));
}

enum { MANY = 6, RACES = 30 };

static void sem_racer(struct peer *parent, void *arg)
{
	(void)arg;
	for (int i = 0; i < RACES; i++) {
		turn(parent);
		sem_t *s = semaphore("/race", O_CREAT, 0);
		MUST(sem_post(s));
		MUST(sem_close(s));
		pass(parent);
	}
}

// Of many that make a semaphore by one name at once, one makes it and all have it. The C library makes it aside and links it to its name.
static void semaphore_race(char **args)
{
	(void)args;
	struct peer p[MANY];
	int bad = 0, value;
	for (int i = 0; i < MANY; i++)
		p[i] = start_peer(sem_racer, NULL);
	for (int i = 0; i < RACES; i++) {
		for (int j = 0; j < MANY; j++)
			pass(&p[j]);
		for (int j = 0; j < MANY; j++)
			turn(&p[j]);
		sem_t *s = semaphore("/race", 0, 0);
		MUST(sem_getvalue(s, &value));
		bad += value != MANY;
		MUST(sem_close(s));
		MUST(sem_unlink("/race"));
	}
	for (int i = 0; i < MANY; i++)
		finish_peer(&p[i]);
	say("not all had the same: %d of %d\n", bad, RACES);
	look();
}

// state is what the processes share.
struct state {
	char title[16]; // for those who look from outside
	pthread_barrier_t start;
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	sem_t sem;
	volatile long counter, twin; // guarded by mutex, equal when it is free
	long turn;                   // guarded by mutex
	atomic_long progress;
};

static struct state *new_state(int robust, int processes)
{
	struct state *s = segment(NAME, O_CREAT | O_EXCL, UNIT);
	pthread_mutexattr_t m;
	pthread_condattr_t c;
	pthread_barrierattr_t b;
	pthread_mutexattr_init(&m);
	pthread_condattr_init(&c);
	pthread_barrierattr_init(&b);
	pthread_mutexattr_setpshared(&m, PTHREAD_PROCESS_SHARED);
	pthread_condattr_setpshared(&c, PTHREAD_PROCESS_SHARED);
	pthread_condattr_setclock(&c, CLOCK_MONOTONIC);
	pthread_barrierattr_setpshared(&b, PTHREAD_PROCESS_SHARED);
	if (robust)
		pthread_mutexattr_setrobust(&m, PTHREAD_MUTEX_ROBUST);
	MUST(-pthread_mutex_init(&s->mutex, &m));
	MUST(-pthread_cond_init(&s->cond, &c));
	MUST(-pthread_barrier_init(&s->start, &b, processes));
	MUST(sem_init(&s->sem, 1, 0));
	strcpy(s->title, "state");
	return s;
}

// lock and unlock are for mutexes of whose state nothing is to be said.
static void lock(struct state *s)
{
	int e = pthread_mutex_lock(&s->mutex);
	if (e) {
		dprintf(STDERR_FILENO, "pthread_mutex_lock: %s\n", strerror(e));
		_exit(1);
	}
}

static void unlock(struct state *s)
{
	pthread_mutex_unlock(&s->mutex);
}

enum { PROCESSES = 4, INCREMENTS = 50000, TURNS = 500 };

static void incrementer(struct peer *parent, void *arg)
{
	(void)parent;
	long me = (long)arg;
	struct state *s = segment(NAME, 0, UNIT);
	pthread_barrier_wait(&s->start);
	for (int i = 0; i < INCREMENTS; i++) {
		lock(s);
		s->counter++;
		unlock(s);
	}
	// Then they wait for each other in a circle.
	for (int i = 0; i < TURNS; i++) {
		lock(s);
		while (s->turn % PROCESSES != me)
			pthread_cond_wait(&s->cond, &s->mutex);
		s->turn++;
		pthread_cond_broadcast(&s->cond);
		unlock(s);
	}
	sem_post(&s->sem);
}

static void mutexes(char **args)
{
	(void)args;
	struct state *s = new_state(0, PROCESSES);
	struct peer p[PROCESSES];
	for (long i = 0; i < PROCESSES; i++)
		p[i] = start_peer(incrementer, (void *)i);
	look();
	for (int i = 0; i < PROCESSES; i++)
		MUST(sem_wait(&s->sem));
	for (int i = 0; i < PROCESSES; i++)
		finish_peer(&p[i]);
	say("counter: %ld, turns: %ld\n", s->counter, s->turn);
	lock(s);
	struct timespec t = soon(CLOCK_MONOTONIC, 50);
	say_error("pthread_cond_timedwait", pthread_cond_timedwait(&s->cond, &s->mutex, &t));
	unlock(s);
	MUST(shm_unlink(NAME));
}

// holder takes the mutex, leaves the pair of words half done, and says so.
static struct state *holder(struct peer *parent)
{
	struct state *s = segment(NAME, 0, UNIT);
	lock(s);
	s->counter++;
	pass(parent);
	return s;
}

static void holder_waits(struct peer *parent, void *arg)
{
	(void)arg;
	holder(parent);
	for (;;)
		pause();
}

// holder_forgets is a holder whose pages the system has put away when it is killed: the kernel has to fetch the mutex back to mark it.
static void holder_forgets(struct peer *parent, void *arg)
{
	(void)arg;
	struct state *s = segment(NAME, 0, UNIT);
	lock(s);
	s->counter++;
	MUST(msync(s, UNIT, MS_SYNC));
	MUST(madvise(s, UNIT, MADV_PAGEOUT));
	pass(parent);
	for (;;)
		pause();
}

static void holder_exits(struct peer *parent, void *arg)
{
	(void)arg;
	holder(parent);
}

static void holder_execs(struct peer *parent, void *arg)
{
	(void)arg;
	holder(parent);
	execlp("true", "true", (char *)NULL);
	_exit(1);
}

static void waiter(struct peer *parent, void *arg)
{
	(void)arg;
	struct state *s = segment(NAME, 0, UNIT);
	int e = pthread_mutex_lock(&s->mutex);
	turn(parent);
	say_error("the waiter locks", e);
	if (e == EOWNERDEAD)
		say_error("the waiter repairs", pthread_mutex_consistent(&s->mutex));
	unlock(s);
}

static void try_lock(struct peer *parent, void *arg)
{
	(void)parent;
	(void)arg;
	struct state *s = segment(NAME, 0, UNIT);
	int e = pthread_mutex_trylock(&s->mutex);
	say_error("another tries", e);
	if (e == 0)
		unlock(s);
}

static void another_tries(void)
{
	struct peer p = start_peer(try_lock, NULL);
	finish_peer(&p);
}

// survive locks the mutex of a holder that is gone, and repairs what it left.
static void survive(struct state *s)
{
	say_error("lock", pthread_mutex_lock(&s->mutex));
	say("words: %ld %ld\n", s->counter, s->twin);
	another_tries();
	s->twin = s->counter;
	say_error("consistent", pthread_mutex_consistent(&s->mutex));
	unlock(s);
	another_tries();
	say_error("lock", pthread_mutex_lock(&s->mutex));
	unlock(s);
}

// A robust mutex whose holder is gone says so to the next one, and what it guards is as the holder left it.
static void robust(char **args)
{
	(void)args;
	struct state *s = new_state(1, 1);
	struct peer p = start_peer(holder_waits, NULL);
	turn(&p);
	another_tries();
	kill_peer(&p);
	survive(s);

	say("holder without pages\n");
	// A page that others have mapped too would not be put away.
	MUST(munmap(s, UNIT));
	p = start_peer(holder_forgets, NULL);
	turn(&p);
	kill_peer(&p);
	s = segment(NAME, 0, UNIT);
	survive(s);

	say("holder that exits\n");
	p = start_peer(holder_exits, NULL);
	turn(&p);
	finish_peer(&p);
	survive(s);

	say("holder that becomes another program\n");
	p = start_peer(holder_execs, NULL);
	turn(&p);
	finish_peer(&p);
	survive(s);

	say("somebody waits\n");
	p = start_peer(holder_waits, NULL);
	turn(&p);
	struct peer w = start_peer(waiter, NULL);
	until_in(w.pid, SYS_futex);
	kill_peer(&p);
	pass(&w);
	finish_peer(&w);
	another_tries();

	say("not repaired\n");
	p = start_peer(holder_waits, NULL);
	turn(&p);
	kill_peer(&p);
	say_error("lock", pthread_mutex_lock(&s->mutex));
	unlock(s);
	say_error("lock", pthread_mutex_lock(&s->mutex));
	MUST(shm_unlink(NAME));
}

static void busy(struct peer *parent, void *arg)
{
	(void)parent;
	(void)arg;
	struct state *s = segment(NAME, 0, UNIT);
	for (;;) {
		int e = pthread_mutex_lock(&s->mutex);
		if (e == EOWNERDEAD) {
			s->twin = s->counter;
			pthread_mutex_consistent(&s->mutex);
		} else if (e) {
			_exit(1);
		}
		s->counter++;
		s->twin++;
		s->progress++;
		unlock(s);
	}
}

// Processes that use one robust mutex all the time are killed one after the other, at any point; the others go on.
static void robust_storm(char **args)
{
	(void)args;
	enum { KILLS = 60 };
	struct state *s = new_state(1, 1);
	long bad = 0;
	struct peer p[2] = { start_peer(busy, NULL), start_peer(busy, NULL) };
	for (int i = 0; i < KILLS; i++) {
		// It goes on until somebody has got further, whatever the last kill left.
		long was = s->progress;
		while (s->progress < was + 100)
			sched_yield();
		struct peer *k = &p[i % 2];
		MUST(kill(k->pid, SIGKILL));
		MUST(waitpid(k->pid, NULL, 0));
		close(k->in);
		close(k->out);
		int e = pthread_mutex_lock(&s->mutex);
		if (e == EOWNERDEAD) {
			bad += s->counter - s->twin != 0 && s->counter - s->twin != 1;
			s->twin = s->counter;
			MUST(-pthread_mutex_consistent(&s->mutex));
		} else {
			bad += e != 0 || s->counter != s->twin;
		}
		unlock(s);
		*k = start_peer(busy, NULL);
	}
	for (int i = 0; i < 2; i++)
		kill_peer(&p[i]);
	say("not as it should be: %ld of %d\n", bad, KILLS);
	MUST(shm_unlink(NAME));
}

static long futex(void *word, int op, unsigned value, const struct timespec *timeout)
{
	return syscall(SYS_futex, word, op, value, timeout, NULL, 0);
}

static void futex_waiter(struct peer *parent, void *arg)
{
	(void)arg;
	unsigned *word = segment(NAME, 0, UNIT);
	// Who waits for the test to see it asleep must not fetch its page then.
	long r = word[1] == 5 ? futex(&word[1], FUTEX_WAIT, 5, NULL) : -1;
	turn(parent);
	say("woken: %ld, word is %u\n", r, word[1]);
}

static void futex_reader(struct peer *parent, void *arg)
{
	(void)arg;
	int fd = MUST(shm_open(NAME, O_RDONLY, 0));
	unsigned *word = map(fd, UNIT, PROT_READ, MAP_SHARED);
	long r = word[1] == 6 ? futex(&word[1], FUTEX_WAIT, 6, NULL) : -1;
	turn(parent);
	say("woken, may only read: %ld, word is %u\n", r, word[1]);
}

// Processes wait for a word with the system call itself. They find each other though each has the word at an address of its own.
static void futexes(char **args)
{
	(void)args;
	atomic_uint *word = segment(NAME, O_CREAT, UNIT);
	word[1] = 5;
	say_call("nobody waits", futex(&word[1], FUTEX_WAKE, INT_MAX, NULL));
	say_call("another value", futex(&word[1], FUTEX_WAIT, 4, NULL));
	struct timespec ms = { 0, 20000000 };
	say_call("timeout", futex(&word[1], FUTEX_WAIT, 5, &ms));

	struct peer p[3];
	for (int i = 0; i < 3; i++) {
		p[i] = start_peer(futex_waiter, NULL);
		until_in(p[i].pid, SYS_futex);
	}
	say_call("another word", futex(&word[2], FUTEX_WAKE, INT_MAX, NULL));
	say_call("private", futex(&word[1], FUTEX_WAKE_PRIVATE, INT_MAX, NULL));
	word[1] = 6;
	say_call("wake 2", futex(&word[1], FUTEX_WAKE, 2, NULL));
	// Who waited first is woken first.
	for (int i = 0; i < 2; i++) {
		pass(&p[i]);
		finish_peer(&p[i]);
	}
	say_call("moved to another word", syscall(SYS_futex, &word[1], FUTEX_CMP_REQUEUE, 0, INT_MAX, &word[1000], 6));
	say_call("wake nobody", futex(&word[1], FUTEX_WAKE, INT_MAX, NULL));
	say_call("wake all", futex(&word[1000], FUTEX_WAKE, INT_MAX, NULL));
	pass(&p[2]);
	finish_peer(&p[2]);

	p[0] = start_peer(futex_reader, NULL);
	until_in(p[0].pid, SYS_futex);
	atomic_uint *again = segment(NAME, 0, UNIT);
	word[1] = 7;
	say_call("wake by another mapping", futex(&again[1], FUTEX_WAKE, INT_MAX, NULL));
	pass(&p[0]);
	finish_peer(&p[0]);

	// A waiter that is killed does not wait any more.
	word[1] = 5;
	p[0] = start_peer(futex_waiter, NULL);
	until_in(p[0].pid, SYS_futex);
	kill_peer(&p[0]);
	say_call("wake all", futex(&word[1], FUTEX_WAKE, INT_MAX, NULL));
	MUST(shm_unlink(NAME));
}

int main(int argc, char **argv)
{
	static const struct scenario scenarios[] = {
		{ "named-semaphores", named_semaphores }, { "semaphore-race", semaphore_race }, { "mutexes", mutexes }, { "robust", robust },
		{ "robust-storm", robust_storm }, { "futexes", futexes }, { NULL, NULL },
	};
	(void)argc;
	umask(022);
	return run_scenario(scenarios, argv);
}
