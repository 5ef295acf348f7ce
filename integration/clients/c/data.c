// data SCENARIO PIPE...: reads and writes of many pieces, and packets.
#define _GNU_SOURCE
#include <limits.h>
#include <sys/uio.h>

#include "client.h"

enum { PIECES = 1024 };

// letter is what position i of a stream holds; 251 is prime, so that no shift goes unseen.
static char letter(size_t i) { return (char)(i % 251); }

static void put(char *p, size_t from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = letter(from + i);
}

static int is(const char *p, size_t from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != letter(from + i))
			return 0;
	return 1;
}

// pieces cuts buf into PIECES of size bytes.
static void pieces(struct iovec *v, char *buf, size_t size)
{
	for (int i = 0; i < PIECES; i++)
		v[i] = (struct iovec){ buf + i * size, size };
}

static void writev_readv(char **pipes)
{
	static const size_t sizes[] = { 1, 4, 64 };
	static char in[PIECES * 64], out[PIECES * 64];
	struct iovec v[PIECES], u[PIECES];
	struct ends e = open_both(pipes[0]);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		size_t sum = PIECES * sizes[i];
		put(out, 0, sum);
		pieces(v, out, sizes[i]);
		say_result("writev", writev(e.wr, v, PIECES));
		memset(in, 0, sizeof in);
		pieces(u, in, sizes[i]);
		say_result("readv", readv(e.rd, u, PIECES));
		say("the same: %d\n", is(in, 0, sum));
	}
	// A readv takes what is there and does not wait for the rest.
	MUST(write(e.wr, out, 1000));
	pieces(u, in, 3);
	say_result("readv of what is not there", readv(e.rd, u, PIECES));
	MUST(write(e.wr, out, 3 * PIECES));
	say_result("readv of all that is there", readv(e.rd, u, PIECES));
	// A read that gets exactly what every request of it asks for does not wait for more either.
	MUST(write(e.wr, out, 3 * PIECES / 4));
	say_result("readv of a quarter", readv(e.rd, u, PIECES));
	set_flag(e.rd, O_NONBLOCK, 1);
	say_result("readv of nothing", readv(e.rd, u, PIECES));
	v[0].iov_len = v[1].iov_len = 0;
	say_result("writev with empty pieces", writev(e.wr, v, 3));
	say_result("readv", readv(e.rd, u, PIECES));
}

// A long writev waits for its reader again and again.
static void long_writev(char **pipes)
{
	enum { SIZE = 1009 };
	static char out[PIECES * SIZE], in[PIECES * SIZE];
	struct iovec v[PIECES];
	struct ends e = open_both(pipes[0]);
	put(out, 0, sizeof out);
	pieces(v, out, SIZE);
	pid_t pid = MUST(fork());
	if (pid == 0) {
		close(e.rd);
		say_result("writev", writev(e.wr, v, PIECES));
		_exit(0);
	}
	until_blocked(pid, "writev", e.wr);
	close(e.wr);
	size_t sum = 0;
	long n;
	while ((n = MUST(read(e.rd, in + sum, 10007 < sizeof in - sum ? 10007 : sizeof in - sum))) > 0)
		sum += n;
	reap(pid);
	say("read: %zu, the same: %d\n", sum, is(in, 0, sum));
}

// A non-blocking writev of up to PIPE_BUF bytes goes in whole or not at all, in however many pieces it comes.
static void atomic_writev(char **pipes)
{
	static char out[PIPE_BUF], in[65536];
	struct iovec v[PIECES];
	struct ends e = open_both(pipes[0]);
	pieces(v, out, PIPE_BUF / PIECES);
	set_flag(e.wr, O_NONBLOCK, 1);
	for (int i = 0; i < 15; i++)
		MUST(write(e.wr, out, PIPE_BUF));
	MUST(write(e.wr, out, 1000));
	say_result("writev into the room of a part", writev(e.wr, v, PIECES));
	say_result("read", read(e.rd, in, sizeof in));
}

// A write of more than a request of FUSE can hold, and a read of as much.
static void large(char **pipes)
{
	enum { SIZE = 3 << 20 };
	char *out = malloc(SIZE), *in = calloc(1, SIZE);
	struct ends e = open_both(pipes[0]);
	put(out, 0, SIZE);
	struct call c = { .fd = e.wr, .writes = 1, .size = SIZE, .buf = out };
	start_blocked(&c);
	size_t sum = 0;
	while (sum < SIZE)
		sum += MUST(read(e.rd, in + sum, SIZE - sum));
	say_result("write", finish(&c));
	say("the same: %d\n", is(in, 0, SIZE));
}

static void packets(char **pipes)
{
	static char buf[65536];
	struct ends e = open_both(pipes[0]);
	set_flag(e.wr, O_DIRECT, 1);
	MUST(write(e.wr, "one", 3));
	MUST(write(e.wr, "two", 3));
	MUST(write(e.wr, "three", 5));
	say_read("read", e.rd, 100);
	say_read("read of a part", e.rd, 2);
	say_read("read", e.rd, 100);
	// More than a page is several packets, of a page each.
	say_result("write", write(e.wr, buf, 10000));
	say_result("read", read(e.rd, buf, sizeof buf));
	say_result("read", read(e.rd, buf, sizeof buf));
	say_result("read", read(e.rd, buf, sizeof buf));
	// A packet takes a slot, however small it is.
	set_flag(e.wr, O_NONBLOCK, 1);
	int n = 0;
	while (write(e.wr, "x", 1) == 1)
		n++;
	say("packets until full: %d\n", n);
	for (int i = 0; i < n; i++)
		MUST(read(e.rd, buf, sizeof buf));
	// Nothing is added to a packet, but a small write with the flag still runs together with a stream before it.
	MUST(write(e.wr, "packet", 6));
	set_flag(e.wr, O_DIRECT, 0);
	MUST(write(e.wr, "str", 3));
	MUST(write(e.wr, "eam", 3));
	set_flag(e.wr, O_DIRECT, 1);
	MUST(write(e.wr, "last", 4));
	say_read("read", e.rd, 100);
	say_read("read", e.rd, 100);
	set_flag(e.rd, O_NONBLOCK, 1);
	say_read("read", e.rd, 100);
	set_flag(e.rd, O_NONBLOCK, 0);
	// A reader that waits gets one packet.
	struct call c = { .fd = e.rd, .size = 100 };
	start_blocked(&c);
	MUST(write(e.wr, "awaited", 7));
	say_result("read", finish(&c));
	// The flag belongs to the open file, not to the pipe.
	int other = MUST(open(pipes[0], O_WRONLY));
	MUST(write(other, "a", 1));
	MUST(write(other, "b", 1));
	say_read("read", e.rd, 100);
	// A readv takes one packet over all its pieces.
	struct iovec v[2] = { { buf, 2 }, { buf + 2, 98 } };
	MUST(write(e.wr, "first", 5));
	MUST(write(e.wr, "second", 6));
	say_result("readv", readv(e.rd, v, 2));
	say_read("read", e.rd, 100);
}

// open_direct asks for packets in open itself.
static void open_direct(char **pipes)
{
	int rd = MUST(open(pipes[0], O_RDONLY | O_NONBLOCK));
	int wr = open(pipes[0], O_WRONLY | O_DIRECT);
	say_result("open", wr < 0 ? wr : 0);
	close(rd);
}

int main(int argc, char **argv)
{
	static const struct scenario scenarios[] = {
		{ "writev-readv", writev_readv }, { "long-writev", long_writev }, { "atomic-writev", atomic_writev }, { "large", large },
		{ "packets", packets }, { "open-direct", open_direct }, { NULL, NULL },
	};
	(void)argc;
	return run_scenario(scenarios, argv);
}
