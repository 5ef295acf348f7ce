// memory SCENARIO: segments of shared memory, each opened by its name in two processes.
#define _GNU_SOURCE
#include "shm.h"

#define NAME "/block"

static void reader_and_writer(struct peer *parent, void *arg)
{
	(void)arg;
	say_call("another exclusive open", shm_open(NAME, O_RDWR | O_CREAT | O_EXCL, 0600));
	int fd = MUST(shm_open(NAME, O_RDWR, 0));
	char *p = map(fd, 2 * UNIT, PROT_READ | PROT_WRITE, MAP_SHARED);
	say("the other reads: %s, %s\n", p, p + UNIT + 100);
	strcpy(p, "stored by the other");
	strcpy(p + 2 * UNIT - 8, "the end");
	pass(parent);

	turn(parent);
	say("the other reads what was written: %s\n", p + 5000);
	MUST(pwrite(fd, "written by the other", 21, 6000));
	pass(parent);

	turn(parent);
	say("the other, after unlink: %s\n", p);
	strcpy(p, "still shared");
	pass(parent);
	turn(parent);
}

// Two processes see each other's stores, writes and reads, until the last one is gone, whatever becomes of the name.
static void shared(char **args)
{
	(void)args;
	struct stat st;
	char text[32];
	say_call("no segment yet", shm_open(NAME, O_RDWR, 0));
	int fd = MUST(shm_open(NAME, O_RDWR | O_CREAT | O_EXCL, 0640));
	MUST(fstat(fd, &st));
	say("new: %ld bytes, %ld blocks, FD_CLOEXEC %ld\n", (long)st.st_size, (long)st.st_blocks, MUST(fcntl(fd, F_GETFD)));
	MUST(ftruncate(fd, 2 * UNIT));
	char *p = map(fd, 2 * UNIT, PROT_READ | PROT_WRITE, MAP_SHARED);
	strcpy(p, "hello");
	strcpy(p + UNIT + 100, "on another page");
	look();

	struct peer other = start_peer(reader_and_writer, NULL);
	turn(&other);
	say("reads: %s, %s\n", p, p + 2 * UNIT - 8);
	MUST(pread(fd, text, sizeof text, 0));
	say("pread: %s\n", text);
	MUST(pwrite(fd, "written", 8, 5000));
	pass(&other);
	turn(&other);
	say("reads: %s\n", p + 6000);
	look();

	MUST(shm_unlink(NAME));
	say_call("unlinked again", shm_unlink(NAME));
	say_call("unlinked, opened", shm_open(NAME, O_RDWR, 0));
	look();
	char *second = segment(NAME, O_CREAT | O_EXCL, UNIT);
	strcpy(second, "another one by the same name");
	look();
	close(fd);
	pass(&other);
	turn(&other);
	say("after unlink: %s\n", p);
	pass(&other);
	finish_peer(&other);
	say("left alone: %s; %s\n", p, second);
	MUST(shm_unlink(NAME));
}

static void touch_byte(struct peer *parent, void *byte)
{
	(void)parent;
	++*(volatile char *)byte;
}

// touch_in_child touches a byte where it can cost a life.
static void touch_in_child(const char *what, char *byte)
{
	say("%s\n", what);
	struct peer p = start_peer(touch_byte, byte);
	finish_peer(&p);
}

static void truncate_it(struct peer *parent, void *size)
{
	(void)parent;
	int fd = MUST(shm_open(NAME, O_RDWR, 0));
	MUST(ftruncate(fd, (off_t)(long)size));
}

// truncate_in_child truncates the segment as another process with another open file.
static void truncate_in_child(long size)
{
	struct peer p = start_peer(truncate_it, (void *)size);
	finish_peer(&p);
}

// A segment grows and shrinks under those who have it mapped; what it lost is zero when it comes back.
static void resize(char **args)
{
	(void)args;
	int fd = MUST(shm_open(NAME, O_RDWR | O_CREAT, 0600));
	char *p = map(fd, 4 * UNIT, PROT_READ | PROT_WRITE, MAP_SHARED);
	touch_in_child("touched, empty", p);
	MUST(ftruncate(fd, UNIT));
	touch_in_child("touched, one unit", p);
	say("it is %d\n", *p);
	touch_in_child("touched, beyond the end", p + UNIT);

	truncate_in_child(3 * UNIT);
	memset(p, 'x', 3 * UNIT);
	look();
	truncate_in_child(UNIT + 100);
	say("kept: %c %c, of the last page: %d\n", p[0], p[UNIT + 99], p[UNIT + 100]);
	touch_in_child("touched, cut off", p + 2 * UNIT);
	truncate_in_child(3 * UNIT);
	long sum = 0;
	for (long i = UNIT + 100; i < 3 * UNIT; i++)
		sum += p[i];
	say("grown again: %c, then %ld\n", p[UNIT + 99], sum);

	memset(p, 'y', 3 * UNIT);
	MUST(madvise(p + UNIT, UNIT, MADV_REMOVE));
	say("a hole: %d %d %d\n", p[UNIT - 1], p[UNIT], p[2 * UNIT]);
	say_error("posix_fallocate", posix_fallocate(fd, 3 * UNIT, UNIT));
	strcpy(p + 4 * UNIT - 10, "allocated");
	look();
	p = mremap(p, 4 * UNIT, 8 * UNIT, MREMAP_MAYMOVE);
	MUST(p == MAP_FAILED ? -1 : 0);
	MUST(ftruncate(fd, 8 * UNIT));
	strcpy(p + 7 * UNIT, "remapped");
	MUST(msync(p, 8 * UNIT, MS_SYNC));
	char text[16];
	MUST(pread(fd, text, sizeof text, 7 * UNIT));
	say("pread: %s\n", text);

	int again = MUST(open(SHM "block", O_RDWR | O_TRUNC));
	touch_in_child("touched, O_TRUNC", p);
	MUST(ftruncate(again, UNIT));
	say("empty again: %d\n", p[100]);
	MUST(shm_unlink(NAME));
}

// Who may only read cannot share a mapping for writing; what is private stays private.
static void protection(char **args)
{
	(void)args;
	char *p = segment(NAME, O_CREAT, UNIT);
	strcpy(p, "shared");
	int fd = MUST(shm_open(NAME, O_RDONLY, 0));
	void *no = mmap(NULL, UNIT, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	say_call("writable mapping of a file opened for reading", no == MAP_FAILED ? -1 : 0);
	char *r = map(fd, UNIT, PROT_READ, MAP_SHARED);
	char *w = map(fd, UNIT, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	touch_in_child("touched, for reading only", r);
	say_call("mprotect", mprotect(r, UNIT, PROT_READ | PROT_WRITE));
	strcpy(w, "mine");
	strcpy(p + 100, "seen");
	say("%s %s %s, %s\n", p, r, w, r + 100);
	say_call("ftruncate", ftruncate(fd, 0));
	say_call("write", write(fd, "x", 1));
	MUST(shm_unlink(NAME));
}

enum { ADDS = 1000000 };

static void adder(struct peer *parent, void *arg)
{
	(void)arg;
	atomic_long *word = segment(NAME, 0, UNIT);
	// Both begin when both are there.
	pass(parent);
	turn(parent);
	for (int i = 0; i < ADDS; i++)
		atomic_fetch_add(word, 1);
}

// Atomic additions of two processes to one word are all there.
static void atomics(char **args)
{
	(void)args;
	atomic_long *word = segment(NAME, O_CREAT, UNIT);
	struct peer a = start_peer(adder, NULL), b = start_peer(adder, NULL);
	turn(&a);
	turn(&b);
	pass(&a);
	pass(&b);
	finish_peer(&a);
	finish_peer(&b);
	say("sum: %ld\n", atomic_load(word));
	MUST(shm_unlink(NAME));
}

enum { LARGE = 16 << 20 };

static void fill_large(struct peer *parent, void *arg)
{
	(void)arg;
	(void)parent;
	unsigned *p = segment(NAME, 0, LARGE);
	for (unsigned i = 0; i < LARGE / sizeof *p; i++)
		p[i] = i * 2654435761u;
}

static long wrong_words(const unsigned *p)
{
	long wrong = 0;
	for (unsigned i = 0; i < LARGE / sizeof *p; i++)
		wrong += p[i] != i * 2654435761u;
	return wrong;
}

// What one process leaves behind is there for the next, also if no process has it open between, and if the system has no use for its pages.
static void kept(char **args)
{
	(void)args;
	munmap(segment(NAME, O_CREAT, LARGE), LARGE);
	struct peer other = start_peer(fill_large, NULL);
	finish_peer(&other);
	unsigned *p = segment(NAME, 0, LARGE);
	say("wrong words: %ld\n", wrong_words(p));
	MUST(msync(p, LARGE, MS_SYNC));
	MUST(madvise(p, LARGE, MADV_PAGEOUT));
	say("wrong words after MADV_PAGEOUT: %ld\n", wrong_words(p));
	munmap(p, LARGE);
	int fd = MUST(shm_open(NAME, O_RDWR, 0));
	MUST(fsync(fd));
	say_error("posix_fadvise", posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
	p = malloc(LARGE);
	long n, sum = 0;
	while (sum < LARGE && (n = MUST(read(fd, (char *)p + sum, LARGE - sum))) > 0)
		sum += n;
	say("read: %ld, wrong words: %ld\n", sum, wrong_words(p));
	MUST(shm_unlink(NAME));
}

// put_code puts the code of a function that returns value.
static void put_code(unsigned char *at, int value)
{
#if defined(__x86_64__)
	unsigned char code[] = { 0xb8, value, 0, 0, 0, 0xc3 }; // mov $value, %eax; ret
#elif defined(__aarch64__)
	unsigned code[] = { 0x52800000u | (unsigned)value << 5, 0xd65f03c0u }; // mov w0, #value; ret
#else
#error "write the code of this machine here"
#endif
	memcpy(at, code, sizeof code);
	__builtin___clear_cache((char *)at, (char *)at + sizeof code);
}

static void patcher(struct peer *parent, void *arg)
{
	(void)arg;
	unsigned char *w = segment(NAME, 0, UNIT);
	put_code(w, 43);
	pass(parent);
}

// Code in a segment can be called, and another process can change it. So do compilers at run time that map their code twice.
static void code(char **args)
{
	(void)args;
	unsigned char text[64];
	int fd = MUST(shm_open(NAME, O_RDWR | O_CREAT, 0700));
	MUST(ftruncate(fd, UNIT));
	put_code(text, 42);
	MUST(pwrite(fd, text, sizeof text, 0));
	int (*f)(void) = (int (*)(void))map(fd, UNIT, PROT_READ | PROT_EXEC, MAP_SHARED);
	say("written: %d\n", f());
	struct peer other = start_peer(patcher, NULL);
	turn(&other);
	finish_peer(&other);
	__builtin___clear_cache((char *)f, (char *)f + 64);
	say("patched: %d\n", f());
	unsigned char *w = map(fd, UNIT, PROT_READ | PROT_WRITE, MAP_SHARED);
	put_code(w + 1024, 44);
	f = (int (*)(void))((char *)f + 1024);
	say("added: %d\n", f());
	f = (int (*)(void))map(fd, UNIT, PROT_READ | PROT_EXEC, MAP_PRIVATE);
	say("private: %d\n", f());
	MUST(mprotect(w, UNIT, PROT_READ | PROT_EXEC));
	f = (int (*)(void))w;
	say("made executable: %d\n", f());
	MUST(shm_unlink(NAME));
}

int main(int argc, char **argv)
{
	static const struct scenario scenarios[] = {
		{ "shared", shared }, { "resize", resize }, { "protection", protection }, { "atomics", atomics }, { "kept", kept }, { "code", code },
		{ NULL, NULL },
	};
	(void)argc;
	umask(022);
	return run_scenario(scenarios, argv);
}
