/*
 * segment: a process that does one thing at a time to files in memory, as it is told.
 *
 *   segment DIR [within] [fill]  works in DIR. Each line on standard input is a command, each line on standard output the answer to it.
 *
 * A descriptor is named by a slot, a mapping too. The answer is
 *
 *   RESULT ERRNO SIGNAL DATA
 *
 * where SIGNAL is what the command raised and DATA a checksum of what was seen. With fill, what is read by a system call is touched through a mapping
 * then: that gives memory to the holes in it, as a read into the page cache of a FUSE file does. With within, nothing is stored behind the end of
 * a file in its last page.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#define SLOTS 8
#define MAPS 6
#define PAGE 4096
#define MAXIO (4 << 20)

static int fds[SLOTS];
static struct {
	unsigned char *at;
	size_t len;
	int fd; /* with within, the file */
} maps[MAPS];
static unsigned char buf[MAXIO];
static int fills, withins;
static volatile sig_atomic_t raised;
static sigjmp_buf back;
static volatile sig_atomic_t touching;

static void on_signal(int sig)
{
	raised = sig;
	if (touching)
		siglongjmp(back, 1);
}

static uint64_t mix(uint64_t h, const void *p, size_t n)
{
	const unsigned char *b = p;

	for (size_t i = 0; i < n; i++)
		h = (h ^ b[i]) * 1099511628211u;
	return h;
}

static uint64_t mix_number(uint64_t h, long long n)
{
	return mix(h, &n, sizeof(n));
}

#define SEED 14695981039346656037u

static void fill(unsigned seed, size_t n)
{
	uint32_t x = seed * 2654435761u + 1;

	for (size_t i = 0; i < n; i++) {
		x = x * 1664525u + 1013904223u;
		buf[i] = x >> 24;
	}
}

static int iovecs(struct iovec *v, size_t n, size_t len)
{
	int k = 0;

	for (size_t off = 0; off < n; off += len, k++) {
		v[k].iov_base = buf + off;
		v[k].iov_len = n - off < len ? n - off : len;
	}
	return k;
}

/* touch reads a byte of each page of the n at off of a file. */
static void touch(int fd, long long off, long long n)
{
	struct stat st;

	if (!fills || off < 0 || n <= 0 || fstat(fd, &st) || !S_ISREG(st.st_mode) || off >= st.st_size)
		return;
	if (n > st.st_size - off)
		n = st.st_size - off;
	n += off % PAGE;
	off -= off % PAGE;
	volatile unsigned char *p = mmap(NULL, n, PROT_READ, MAP_SHARED, fd, off);
	if (p != MAP_FAILED) {
		for (long long i = 0; i < n; i += PAGE)
			(void)p[i];
		munmap((void *)p, n);
	}
}

/*
 * overlap says whether n bytes at off of a file would be sent to a place in the same file where some of them are. What comes of that is chance: the
 * pipe in between holds pages of the file, not copies.
 */
static int overlap(int to, int from, long long off, long long n)
{
	struct stat a, b;
	long long at = lseek(to, 0, SEEK_CUR);

	if (fstat(to, &a) || fstat(from, &b) || a.st_ino != b.st_ino)
		return 0;
	return at / PAGE <= (off + n) / PAGE && off / PAGE <= (at + n) / PAGE;
}

/* look sums up what can be seen of a file: its attributes, where it has data, and what. */
static uint64_t look(uint64_t h, int fd)
{
	struct stat st;
	long long pos = lseek(fd, 0, SEEK_CUR), at = 0;

	if (fstat(fd, &st))
		return mix_number(h, errno);
	h = mix_number(h, st.st_size);
	h = mix_number(h, st.st_nlink);
	h = mix_number(h, st.st_mode);
	h = mix_number(h, st.st_blocks);
	h = mix_number(h, pos);
	while ((at = lseek(fd, at, SEEK_DATA)) >= 0) {
		long long end = lseek(fd, at, SEEK_HOLE);

		h = mix_number(mix_number(h, at), end);
		for (ssize_t n; at < end; at += n) {
			n = pread(fd, buf, end - at < MAXIO ? end - at : MAXIO, at);
			if (n <= 0) {
				h = mix_number(h, n ? errno : 0);
				break;
			}
			h = mix(h, buf, n);
		}
		at = end;
	}
	h = mix_number(h, errno);
	lseek(fd, pos, SEEK_SET);
	return h;
}

/* tell says in words what look sums up. */
static void tell(int fd)
{
	struct stat st;
	long long pos = lseek(fd, 0, SEEK_CUR), at = 0;

	if (fstat(fd, &st))
		return;
	printf("%lld bytes, %lu links, mode %o, %ld blocks, at %lld, data", (long long)st.st_size, (unsigned long)st.st_nlink, st.st_mode, (long)st.st_blocks, pos);
	while ((at = lseek(fd, at, SEEK_DATA)) >= 0) {
		long long end = lseek(fd, at, SEEK_HOLE);

		printf(" %lld-%lld", at, end);
		at = end;
	}
	printf("; ");
	lseek(fd, pos, SEEK_SET);
}

/* unmap ends a mapping, if there is one. */
static int unmap(long m)
{
	int ret;

	if (!maps[m].at)
		return 0;
	ret = munmap(maps[m].at, maps[m].len);
	maps[m].at = NULL;
	if (withins)
		close(maps[m].fd);
	return ret;
}

/* within gives how many of the n bytes at off of a mapping may be stored into: not those behind the end of the file in its last page. */
static long long within(long m, long long off, long long n)
{
	struct stat st;

	if (!withins || fstat(maps[m].fd, &st) || off >= (st.st_size + PAGE - 1) / PAGE * PAGE)
		return n;
	if (off >= st.st_size)
		return 0;
	return n < st.st_size - off ? n : st.st_size - off;
}

/* reset closes and unmaps all. */
static void reset(void)
{
	struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };

	for (int i = 0; i < SLOTS; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
		fds[i] = -1;
	}
	for (int i = 0; i < MAPS; i++)
		unmap(i);
	setrlimit(RLIMIT_FSIZE, &unlimited);
}

/* in_map gives the address of n bytes at off of a mapping, or NULL. */
static unsigned char *in_map(long m, long long off, long long n)
{
	if (!maps[m].at || off < 0 || n < 0 || off + n > (long long)maps[m].len) {
		errno = ENXIO;
		return NULL;
	}
	return maps[m].at + off;
}

static long long run(char *line, uint64_t *data)
{
	char op[32], name[64], to[64], link[64];
	long long a = 0, b = 0, c = 0, d = 0, e = 0, n;
	struct iovec v[1024];
	struct stat st;

	if (sscanf(line, "open %lld %63s %lld", &a, name, &b) == 3) {
		if (fds[a] >= 0)
			close(fds[a]);
		fds[a] = open(name, b | O_CLOEXEC, 0666);
		return fds[a] < 0 ? -1 : 0;
	}
	if (sscanf(line, "truncate %63s %lld", name, &a) == 2)
		return truncate(name, a);
	if (sscanf(line, "rename %63s %63s", name, to) == 2)
		return rename(name, to);
	if (sscanf(line, "exchange %63s %63s", name, to) == 2)
		return renameat2(AT_FDCWD, name, AT_FDCWD, to, RENAME_EXCHANGE);
	if (sscanf(line, "linkfd %lld %63s", &a, name) == 2) {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fds[a]);
		return linkat(AT_FDCWD, link, AT_FDCWD, name, AT_SYMLINK_FOLLOW);
	}
	if (sscanf(line, "link %63s %63s", name, to) == 2)
		return linkat(AT_FDCWD, name, AT_FDCWD, to, 0);
	if (sscanf(line, "symlink %63s %63s", name, to) == 2)
		return symlink(name, to);
	if (sscanf(line, "unlink %63s", name) == 1)
		return unlink(name);
	if (sscanf(line, "mkdir %63s", name) == 1)
		return mkdir(name, 0777);
	if (sscanf(line, "rmdir %63s", name) == 1)
		return rmdir(name);
	if (sscanf(line, "chmod %63s %lli", name, &a) == 2)
		return chmod(name, a);
	if (sscanf(line, "utimens %63s %lld %lld", name, &a, &b) == 3) {
		struct timespec t[2] = { { a, 1 }, { b, UTIME_OMIT } };

		if (utimensat(AT_FDCWD, name, t, 0) || stat(name, &st))
			return -1;
		*data = mix_number(mix_number(SEED, st.st_atim.tv_sec), st.st_atim.tv_nsec);
		t[0].tv_nsec = UTIME_OMIT;
		t[1].tv_nsec = 999999999;
		if (utimensat(AT_FDCWD, name, t, 0) || stat(name, &st))
			return -1;
		*data = mix_number(mix_number(*data, st.st_mtim.tv_sec), st.st_mtim.tv_nsec);
		return 0;
	}
	if (sscanf(line, "stat %63s", name) == 1) {
		if (lstat(name, &st))
			return -1;
		*data = mix_number(mix_number(SEED, st.st_mode), st.st_nlink);
		return S_ISREG(st.st_mode) ? st.st_size : 0;
	}
	if (sscanf(line, "setxattr %lld %63s %lld %lld", &a, name, &b, &c) == 4) {
		fill(b, b);
		return fsetxattr(fds[a], name, buf, b, c);
	}
	if (sscanf(line, "getxattr %lld %63s", &a, name) == 2) {
		n = fgetxattr(fds[a], name, buf, MAXIO);
		*data = n > 0 ? mix(SEED, buf, n) : 0;
		return n;
	}
	if (sscanf(line, "removexattr %lld %63s", &a, name) == 2)
		return fremovexattr(fds[a], name);
	if (sscanf(line, "%31s %lld %lld %lld %lld %lld", op, &a, &b, &c, &d, &e) < 1)
		return -1;
	if (!strcmp(op, "reset")) {
		reset();
		return 0;
	}
	if (!strcmp(op, "listxattr")) {
		/* the order is nobody's business */
		n = flistxattr(fds[a], (char *)buf, MAXIO);
		for (char *p = (char *)buf; n > 0 && p < (char *)buf + n; p += strlen(p) + 1)
			*data += mix(SEED, p, strlen(p));
		return n;
	}
	if (!strcmp(op, "close")) {
		n = close(fds[a]);
		fds[a] = -1;
		return n;
	}
	if (!strcmp(op, "append")) {
		n = fcntl(fds[a], F_GETFL);
		return n < 0 ? -1 : fcntl(fds[a], F_SETFL, b ? n | O_APPEND : n & ~O_APPEND);
	}
	if (!strcmp(op, "ftruncate"))
		return ftruncate(fds[a], b);
	if (!strcmp(op, "fallocate"))
		return fallocate(fds[a], b, c, d);
	if (!strcmp(op, "lseek"))
		return lseek(fds[a], b, c);
	if (!strcmp(op, "fsync"))
		return b ? fsync(fds[a]) : fdatasync(fds[a]);
	if (!strcmp(op, "read")) {
		n = read(fds[a], buf, b);
		if (n > 0) {
			*data = mix(SEED, buf, n);
			touch(fds[a], lseek(fds[a], 0, SEEK_CUR) - n, n);
		}
		return n;
	}
	if (!strcmp(op, "pread")) {
		n = pread(fds[a], buf, b, c);
		if (n > 0) {
			*data = mix(SEED, buf, n);
			touch(fds[a], c, n);
		}
		return n;
	}
	if (!strcmp(op, "preadv")) {
		n = preadv2(fds[a], v, iovecs(v, b, c), d, 0);
		if (n > 0) {
			*data = mix(SEED, buf, n);
			touch(fds[a], d, n);
		}
		return n;
	}
	if (!strcmp(op, "write")) {
		fill(c, b);
		return write(fds[a], buf, b);
	}
	if (!strcmp(op, "pwrite")) {
		fill(d, b);
		return pwrite(fds[a], buf, b, c);
	}
	if (!strcmp(op, "pwritev")) {
		fill(e, b);
		return pwritev2(fds[a], v, iovecs(v, b, c), d, 0);
	}
	if (!strcmp(op, "copy")) {
		off_t from = b, at = d;

		n = copy_file_range(fds[a], &from, fds[c], &at, e, 0);
		*data = mix_number(mix_number(SEED, from), at);
		return n;
	}
	if (!strcmp(op, "sendfile")) {
		off_t from = c;

		if (overlap(fds[a], fds[b], c, d)) {
			errno = EINVAL;
			return -1;
		}
		n = sendfile(fds[a], fds[b], &from, d);
		*data = from;
		if (n > 0)
			touch(fds[b], c, n);
		return n;
	}
	if (!strcmp(op, "mmap")) {
		unmap(a);
		maps[a].at = mmap(NULL, e, c, d, fds[b], 0);
		maps[a].len = e;
		if (maps[a].at != MAP_FAILED) {
			if (withins)
				maps[a].fd = fcntl(fds[b], F_DUPFD_CLOEXEC, 100);
			return 0;
		}
		maps[a].at = NULL;
		return -1;
	}
	if (!strcmp(op, "munmap")) {
		if (!in_map(a, 0, 0))
			return -1;
		return unmap(a);
	}
	if (!strcmp(op, "msync"))
		return in_map(a, 0, 0) ? msync(maps[a].at, maps[a].len, b) : -1;
	if (!strcmp(op, "mprotect"))
		return in_map(a, 0, 0) ? mprotect(maps[a].at, maps[a].len, b) : -1;
	if (!strcmp(op, "madvise"))
		return in_map(a, c, d) ? madvise(maps[a].at + c, d, b) : -1;
	if (!strcmp(op, "load") || !strcmp(op, "store") || !strcmp(op, "add") || !strcmp(op, "call")) {
		unsigned char *p = in_map(a, b, !strcmp(op, "add") ? 8 : c);

		if (!p)
			return -1;
		if (!strcmp(op, "store")) {
			c = within(a, b, c);
			fill(d, c);
		}
		if (!strcmp(op, "add") && within(a, b, 8) < 8)
			return 0;
		touching = 1;
		if (sigsetjmp(back, 1) == 0) {
			if (!strcmp(op, "load"))
				*data = mix(SEED, p, c);
			else if (!strcmp(op, "store"))
				memcpy(p, buf, c);
			else if (!strcmp(op, "add"))
				*data = __atomic_add_fetch((uint64_t *)p, c, __ATOMIC_SEQ_CST);
			else if (*p == 0xc3) /* ret */
				((void (*)(void))p)();
		}
		touching = 0;
		return 0;
	}
	if (!strcmp(op, "ret")) /* makes the first byte of a file a function */
		return pwrite(fds[a], "\xc3", 1, b);
	if (!strcmp(op, "fsize")) {
		struct rlimit r = { a, RLIM_INFINITY };

		return setrlimit(RLIMIT_FSIZE, &r);
	}
	if (!strcmp(op, "look")) {
		uint64_t h = SEED;

		for (int i = 0; i < SLOTS; i++)
			if (fds[i] >= 0)
				h = look(mix_number(h, i), fds[i]);
		*data = h;
		return 0;
	}
	if (!strcmp(op, "tell")) {
		for (int i = 0; i < SLOTS; i++)
			if (fds[i] >= 0) {
				printf("slot %d: ", i);
				tell(fds[i]);
			}
		return 0;
	}
	errno = ENOSYS;
	return -1;
}

int main(int argc, char **argv)
{
	static char line[1024];
	static const int signals[] = { SIGBUS, SIGSEGV, SIGXFSZ };
	struct sigaction sa = { .sa_handler = on_signal };

	if (argc < 2 || chdir(argv[1])) {
		perror("segment");
		return 1;
	}
	withins = argc > 2;
	fills = argc > 3;
	for (int i = 0; i < SLOTS; i++)
		fds[i] = -1;
	for (size_t i = 0; i < sizeof(signals) / sizeof(*signals); i++)
		sigaction(signals[i], &sa, NULL);
	while (fgets(line, sizeof(line), stdin)) {
		uint64_t data = 0;

		raised = 0;
		errno = 0;
		long long ret = run(line, &data);
		int err = ret < 0 ? errno : 0;
		printf("%lld %d %d %llx\n", ret, err, (int)raised, (unsigned long long)data);
		fflush(stdout);
	}
	return 0;
}
