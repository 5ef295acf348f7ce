/*
 * What the clients of the hammer share: who does what, and the memory in which each of them notes what it knows.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>

#define SLOTS 8
#define HEAD 18
#define MAXTEXT 4096
#define BUF (64 << 10)
#define PATIENCE 30 /* seconds */

struct sent {
	uint32_t slot, seq, inc, type, len;
	uint32_t told;  /* bytes of it that its sender was told to have written */
	uint32_t begun; /* and those that were on the way when it was killed, included */
	uint32_t unused;
};

struct got {
	uint32_t receiver, inc, slot, seq, type, len;
	uint32_t read; /* which read of the receiver it was */
	uint32_t how;  /* 0: in its log, 1: in the buffer of one that was killed, 2: left in the queue */
	uint64_t begin, end;
};

/* A place in what a sender has to say: all messages before seq, and cut bytes of that one. */
#define PLACE(seq, cut) ((uint64_t)(seq) << 16 | (cut))
#define SEQ(place) ((uint32_t)((place) >> 16))
#define CUT(place) ((uint32_t)((place) & 0xffff))

struct role {
	const char *view;
	int type; /* 0: any from 1 to 9 */
	int flags;
	int lines, raw;
	int weight; /* of the messages to send */
};

struct stage {
	const char *name;
	struct role senders[SLOTS], receivers[SLOTS];
};

static const struct stage stages[] = {
	{ "mixed",
	  { { "", 1, 0, 0, 0, 1 }, { ":7", 7, 0, 0, 0, 1 }, { ":raw", 0, 0, 0, 1, 1 }, { ":raw", 0, O_APPEND, 0, 1, 1 },
	    { ":lines", 1, 0, 1, 0, 9 }, { ":7:lines", 7, 0, 1, 0, 9 }, { ":3:lines", 3, O_APPEND, 1, 0, 9 }, { ":5:lines", 5, O_NONBLOCK, 1, 0, 9 } },
	  { { "", 0, 0, 0, 0, 0 }, { ":7", 7, 0, 0, 0, 0 }, { ":-4", -4, 0, 0, 0, 0 }, { ":^7", 0, O_NONBLOCK, 0, 0, 0 },
	    { ":raw", 0, 0, 0, 1, 0 }, { ":lines", 0, 0, 1, 0, 0 }, { ":7:lines", 7, 0, 1, 0, 0 }, { ":-6:lines", -6, O_NONBLOCK, 1, 0, 0 } } },
	/* One sender and one receiver for each type. */
	{ "paired",
	  { { ":1", 1, 0, 0, 0, 1 }, { ":2:lines", 2, 0, 1, 0, 12 }, { ":raw", 3, 0, 0, 1, 1 }, { ":4", 4, O_APPEND, 0, 0, 1 },
	    { ":5:lines", 5, 0, 1, 0, 1 }, { ":6:lines", 6, O_NONBLOCK, 1, 0, 12 }, { ":7:lines", 7, 0, 1, 0, 1 }, { ":8:lines", 8, O_APPEND, 1, 0, 12 } },
	  { { ":1", 1, 0, 0, 0, 0 }, { ":2:lines", 2, 0, 1, 0, 0 }, { ":3:raw", 3, 0, 0, 1, 0 }, { ":4:lines", 4, 0, 1, 0, 0 },
	    { ":5", 5, 0, 0, 0, 0 }, { ":6:lines", 6, O_NONBLOCK, 1, 0, 0 }, { ":7:stream", 7, 0, 0, 0, 0 }, { ":8:lines", 8, 0, 1, 0, 0 } } },
};

struct sender {
	_Atomic uint64_t begun, told;
	uint32_t inc, first, quota, room; /* first: its first message since it was started last; room: for that many messages */
	struct sent *sent;
};

struct receiver {
	_Atomic uint64_t word; /* twice how many entries its log has, and 1 while it reads */
	uint32_t inc, reads;
	uint64_t begin;
	struct got *log;
	char buf[BUF];
};

static struct shared {
	struct sender senders[SLOTS];
	struct receiver receivers[SLOTS];
} *shared;

static const struct stage *stage;
static const char *queue;
