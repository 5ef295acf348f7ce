/* data SCENARIO QUEUE: what one call carries. */
#define _GNU_SOURCE
#include <sys/mman.h>

#include "queue.h"

enum { PAGE = 4096 };

/* guarded is memory for n bytes that ends where nothing can be read or written; with a shift, so many bytes before. */
static char *guarded(size_t n, size_t shift)
{
	size_t size = (n + shift + PAGE - 1) / PAGE * PAGE;
	char *b = mmap(NULL, size + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(b != MAP_FAILED);
	MUST(mprotect(b + size, PAGE, PROT_NONE));
	return b + size - n - shift;
}

static void pattern(char *b, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		b[i] = (char)((i * 7 + i / 251 + seed) & 0xff);
}

/* The pieces of one call are one message. */
static void pieces(char **args)
{
	static char text[MSGMAX], got[MSGMAX];
	int w = view(":7", O_WRONLY), raw = view(":raw", O_RDWR), r = view(":7", O_RDONLY);
	int counts[] = { 1, 2, 3, 7, 64, 99, 100, 256 };

	(void)args;
	for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
		struct iovec v[256];
		int n = counts[c];
		size_t sizes[] = { 1, 100, 256, MSGMAX - 1, MSGMAX };

		for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
			size_t size = sizes[s];

			pattern(text, size, n + s);
			/* the pieces are as unlike as can be: all but the last are odd, and some are empty */
			size_t off = 0;
			for (int i = 0; i < n; i++) {
				size_t left = size - off, len = i == n - 1 ? left : i % 5 == 4 ? 0 : (size_t)(i * 37 % 61);

				v[i] = (struct iovec){ text + off, len < left ? len : left };
				off += v[i].iov_len;
			}
			CHECK(off == size);
			CHECK(writev(w, v, n) == (ssize_t)size);
			CHECK(field("q_qnum") == 1 && field("q_cbytes") == (long)size);
			CHECK(read(r, got, sizeof got) == (ssize_t)size && !memcmp(got, text, size));

			/* raw: the type may be in pieces too */
			struct message m = { .type = 7 };
			struct iovec p[] = { { &m.type, 3 }, { (char *)&m.type + 3, 5 }, { text, size / 2 }, { text + size / 2, size - size / 2 } };

			CHECK(writev(raw, p, 4) == (ssize_t)(size + 8));
			/* and a read fills pieces */
			memset(got, 0, sizeof got);
			off = 0;
			for (int i = 0; i < n; i++) {
				v[i] = (struct iovec){ got + off, i == n - 1 ? sizeof got - off : (size_t)(i * 53 % 29) };
				off += v[i].iov_len;
			}
			CHECK(readv(r, v, n) == (ssize_t)size && !memcmp(got, text, size));
		}
	}
	/* exactly enough room in pieces, and a byte too little */
	struct iovec room[] = { { got, 2 }, { got + 2, 0 }, { got + 2, 3 } };

	MUST(write(w, "hello", 5));
	room[2].iov_len = 2;
	CHECK(readv(r, room, 3) < 0 && errno == E2BIG && field("q_qnum") == 1);
	room[2].iov_len = 3;
	CHECK(readv(r, room, 3) == 5 && !memcmp(got, "hello", 5));
	say("pieces are one message\n");
}

/* What is longer than a message is refused whole, and the open file is as good as before. */
static void oversized(char **args)
{
	static const size_t sizes[] = { MSGMAX + 1, QBYTES, QBYTES + 1, 65536, 131072, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (1 << 20) + 5000, 2 << 20, (3 << 20) + 1 };
	static const char *views[] = { "", ":7", ":stream", ":raw", ":7:raw" };
	char *b = mmap(NULL, 4 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct message m;

	(void)args;
	CHECK(b != MAP_FAILED);
	memset(b, 'x', 4 << 20);
	for (size_t i = 0; i < sizeof views / sizeof *views; i++) {
		for (int flags = 0; flags < 3; flags++) {
			int raw = strstr(views[i], "raw") != NULL, head = raw ? 8 : 0;
			int fd = view(views[i], O_WRONLY | (flags == 1 ? O_NONBLOCK : flags == 2 ? O_APPEND : 0)), r = view(":raw", O_RDONLY | O_NONBLOCK);

			memcpy(b, &(long){ 7 }, head);
			for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
				CHECK(write(fd, b, sizes[s] + head) < 0 && errno == EINVAL);
				CHECK(field("q_qnum") == 0);
				/* a message after it is one by itself */
				CHECK(write(fd, b, 3 + head) == 3 + head);
				CHECK(read(r, &m, sizeof m) == 3 + 8 && !memcmp(m.text, raw ? b + 8 : b, 3));
				/* so is one of pieces */
				struct iovec v[2] = { { b, head + MSGMAX / 2 }, { b + 9, MSGMAX / 2 + 1 } };
				CHECK(writev(fd, v, 2) < 0 && errno == EINVAL && field("q_qnum") == 0);
				v[1].iov_len--;
				CHECK(writev(fd, v, 2) == MSGMAX + head);
				CHECK(read(r, &m, sizeof m) == MSGMAX + 8);
			}
			close(fd);
			close(r);
		}
	}
	/* lines: a long one is refused, those before it are sent, and what comes next is not a part of it */
	int fd = view(":lines", O_WRONLY), r = view(":lines", O_RDONLY | O_NONBLOCK);

	memset(b, 'x', MSGMAX + 1);
	memcpy(b, "short\n", 6);
	CHECK(write(fd, b, MSGMAX + 7) == 6);
	CHECK(write(fd, b + 6, MSGMAX + 1) < 0 && errno == EINVAL);
	CHECK(write(fd, "next\n", 5) == 5);
	CHECK(read(r, b, 100) == 11 && !memcmp(b, "short\nnext\n", 11));
	say("refused whole\n");
}

/* Buffers that begin anywhere in a page, and end where memory ends, carry a message of any size. */
static void unaligned(char **args)
{
	static const size_t shifts[] = { 0, 1, 2, 3, 7, 8, 63, 511, 2048, 4089, 4095 };
	static const size_t sizes[] = { 1, 7, 8, 4047, 4048, 4049, 4088, 4095, 4096, 4097, 8143, 8144, 8145, MSGMAX - 1, MSGMAX };
	int w = view("", O_WRONLY), r = view("", O_RDONLY), wr = view(":raw", O_WRONLY), rr = view(":raw", O_RDONLY), s = view(":stream", O_RDONLY);

	(void)args;
	for (size_t i = 0; i < sizeof shifts / sizeof *shifts; i++)
		for (size_t j = 0; j < sizeof sizes / sizeof *sizes; j++) {
			size_t n = sizes[j];
			char *from = guarded(n + 8, shifts[i]) + 8, *to = guarded(n, shifts[(i + 5) % 11]), *raw = guarded(n + 8, shifts[(i + 3) % 11]);

			pattern(from, n, i * j);
			CHECK(write(w, from, n) == (ssize_t)n);
			CHECK(read(r, to, n) == (ssize_t)n && !memcmp(from, to, n));
			memset(to, 0, n);
			CHECK(write(w, from, n) == (ssize_t)n);
			for (size_t got = 0; got < n; got += n / 3 + 1) {
				size_t part = n - got < n / 3 + 1 ? n - got : n / 3 + 1;
				CHECK(read(s, to + got, part) == (ssize_t)part);
			}
			CHECK(!memcmp(from, to, n));
			memcpy(from - 8, &(long){ 5 + (long)n }, 8);
			CHECK(write(wr, from - 8, n + 8) == (ssize_t)n + 8);
			CHECK(read(rr, raw, n + 8) == (ssize_t)n + 8 && !memcmp(raw, from - 8, n + 8));
			munmap((void *)((unsigned long)from / PAGE * PAGE), PAGE);
		}
	say("any buffer will do\n");
}

/* Nothing is neither a message nor the end; no position; the wrong direction. */
static void refusals(char **args)
{
	int both = view("", O_RDWR), r = view("", O_RDONLY), w = view("", O_WRONLY), raw = view(":raw", O_RDWR | O_NONBLOCK);
	int low = view(":-7", O_RDWR), except = view(":^7", O_RDWR), peek = view(":peek", O_RDWR);
	char b[MSGMAX + 8] = "x";

	(void)args;
	say_result("write of nothing", write(both, b, 0));
	CHECK(field("q_qnum") == 0);
	MUST(write(w, "hello", 5));
	say_result("read of nothing", read(r, b, 0));
	CHECK(field("q_qnum") == 1);
	say_result("read without room", read(r, b, 4));
	CHECK(field("q_qnum") == 1 && field("q_lrpid") == 0);
	say_result("raw read without room", read(raw, b, 12));
	say_result("raw read without room for a type", read(raw, b, 7));
	say_result("pread", pread(both, b, 10, 0));
	say_result("pwrite", pwrite(both, b, 1, 0));
	say_result("lseek", lseek(both, 0, SEEK_CUR));
	say_result("write to a reader", write(r, b, 1));
	say_result("read from a writer", read(w, b, 10));
	say_result("shared mapping", (long)mmap(NULL, PAGE, PROT_READ, MAP_SHARED, r, 0) == -1 ? -1 : 0);
	say_result("send through :-7", write(low, b, 1));
	say_result("send through :^7", write(except, b, 1));
	say_result("send through :peek", write(peek, b, 1));
	say_result("no type", write(raw, b, 7));
	say_result("type 0", send_type(raw, 0, "x", 1));
	say_result("type -1", send_type(raw, -1, "x", 1));
	say_result("the largest type", send_type(raw, 0x7fffffffffffffff, "x", 1));
	say_result("no memory", write(w, guarded(0, 0), 10));
	CHECK(field("q_qnum") == 2 && field("q_cbytes") == 6);
	say_message("raw", raw);
	say_message("raw", raw);
	say_message("raw", raw);

	/* a read without memory to read into takes nothing */
	MUST(write(w, "x", 1));
	say_result("read to no memory", read(raw, guarded(0, 0), 100));
	/* and to memory that ends before the message does */
	CHECK(read(r, guarded(1, 0), 0) == 0);
	MUST(write(w, "yz", 2));
	CHECK(read(view(":raw", O_RDONLY), guarded(9, 0), 100) == 9);
	CHECK(read(r, guarded(1, 0), 100) < 0 && (errno == E2BIG || errno == EFAULT));
	CHECK(field("q_qnum") == 1 && drain() == 1);
}

/* peek: the moment of its opening, by whatever pieces it is read. */
static void peeks(char **args)
{
	int raw = view(":raw", O_WRONLY), w = view(":3", O_WRONLY);
	char text[200] = "", want[200], b[200];

	(void)args;
	MUST(write(w, "a\nb", 3));
	must_send(raw, 9, "");
	int fd = view(":peek", O_RDONLY), three = view(":3:peek", O_RDONLY), none = view(":4:peek", O_RDONLY);
	MUST(write(w, "later", 5));
	snprintf(want, sizeof want, "type=3 size=3 pid=%d text=a\\nb\ntype=9 size=0 pid=%d text=\n", getpid(), getpid());
	for (ssize_t n; (n = MUST(read(fd, b, 7))) > 0;)
		strncat(text, b, n);
	CHECK(!strcmp(text, want));
	say_result("at the end", read(fd, b, 10));
	ssize_t n = MUST(read(three, b, sizeof b));
	CHECK(n == strchr(want, '\n') - want + 1 && !memcmp(b, want, n));
	say_result("of a type that is not there", read(none, b, 10));
	MUST(unlink(queue));
	say_result("after the queue", read(three, b, 10));
}

/* lines: parts of lines in any pieces, and as many whole ones as there is room for. */
static void lines(char **args)
{
	int w = view(":7:lines", O_WRONLY), other = view(":7:lines", O_WRONLY), r = view(":7:lines", O_RDONLY | O_NONBLOCK);
	char b[MSGMAX * 2];

	(void)args;
	MUST(write(w, "be", 2));
	MUST(write(other, "another\n", 8));
	say_result("pieces", writev(w, (struct iovec[]){ { "gin", 3 }, { "\nsecond\n", 8 }, { "", 0 }, { "th", 2 } }, 4));
	MUST(write(w, "\n\n", 2));
	MUST(write(w, "rest", 4));
	say_read("no room for one", r, 7);
	say_read("room for one", r, 8);
	say_read("room for one and a half", r, 10);
	say_read("all", r, 100);
	say_read("nothing", r, 100);
	say_result("held back", field("q_qnum"));
	close(w);
	until_field("q_qnum", 1);
	say_read("sent at the end", r, 100);
	/* a line of exactly msgmax, with and without its newline */
	memset(b, 'l', MSGMAX);
	b[MSGMAX - 1] = '\n';
	say_result("the longest line", write(other, b, MSGMAX));
	b[MSGMAX - 1] = 'l';
	say_result("the longest line without end", write(other, b, MSGMAX));
	close(other);
	until_field("q_qnum", 2);
	say_result("both", read(r, b, sizeof b));

	/* 10,000 lines in a call, by a receiver that has room for some */
	pid_t pid = MUST(fork());
	if (pid == 0) {
		char *all = malloc(60000);
		int n = 0;

		for (int i = 0; i < 10000; i++)
			n += sprintf(all + n, "%d\n", i);
		w = view(":lines", O_WRONLY);
		CHECK(write(w, all, n) == n);
		_exit(0);
	}
	r = view(":lines", O_RDONLY);
	for (int i = 0; i < 10000;) {
		ssize_t n = MUST(read(r, b, 1000));
		CHECK(n > 0 && n <= 1000 && b[n - 1] == '\n');
		b[n] = 0;
		for (char *p = b; *p; i++)
			CHECK(strtol(p, &p, 10) == i && *p++ == '\n');
	}
	reap(pid);
	say("10000 lines in order\n");
}

int main(int argc, char **argv)
{
	static const struct scenario scenarios[] = {
		{ "pieces", pieces }, { "oversized", oversized }, { "unaligned", unaligned }, { "refusals", refusals }, { "peek", peeks }, { "lines", lines }, { NULL, NULL },
	};

	(void)argc;
	return run_queue(scenarios, argv);
}
