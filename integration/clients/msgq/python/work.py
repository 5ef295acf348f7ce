"""work.py SCENARIO QUEUE: workers, priorities, request and reply, peek, with os.read and os.write."""

import errno
import json
import multiprocessing
import os
import subprocess
import sys
import threading

from shared import LONG, Queue, error, expect, main, pack, say, unpack

JOBS = 1000


def worker(q, number):
    jobs, results = q.open(":-2:raw"), q.open(":3", os.O_WRONLY)
    n = 0
    while True:
        mtype, data = unpack(os.read(jobs, 8200))
        if mtype == 2:
            return
        n += 1
        os.write(results, json.dumps({"worker": number, "n": n, "job": int(data)}).encode())


def jobs(q, how):
    """Workers of multiprocessing, or other programs: all find the queue by its path."""
    if how == "multiprocessing":
        # By fork: the other ways start a process that outlives its parent for a moment, and what a client starts is to end with it.
        context = multiprocessing.get_context("fork")
        processes = [context.Process(target=worker, args=(Queue(q.path), i)) for i in range(3)]
        for p in processes:
            p.start()
    else:
        processes = [subprocess.Popen([sys.executable, "-B", __file__, "worker", str(i), q.path]) for i in range(3)]
    # Jobs wait for room and results for being read, so one thread cannot do both.
    raw = q.open(":raw", os.O_WRONLY)

    def send():
        for i in range(JOBS):
            os.write(raw, pack(1, b"%d" % i))

    sender = threading.Thread(target=send)
    sender.start()
    results, done, last = q.open(":3"), [], {}
    while len(done) < JOBS:
        result = json.loads(os.read(results, 8192))
        expect(result["n"], last.get(result["worker"], 0) + 1)
        last[result["worker"]] = result["n"]
        done.append(result["job"])
    sender.join()
    for p in processes:
        os.write(raw, pack(2, b"end"))
    for p in processes:
        if how == "multiprocessing":
            p.join()
            expect(p.exitcode, 0)
        else:
            expect(p.wait(), 0)
    expect(sorted(done), list(range(JOBS)))
    say(len(done), "jobs, each done once")


def priorities(q):
    for i, mtype in enumerate((5, 1, 3, 5, 1, 2**63 - 1, 7)):
        q.send(b"%d" % i, mtype)
    raw = q.open(":-5:raw", os.O_RDONLY | os.O_NONBLOCK)
    say([unpack(os.read(raw, 100)) for _ in range(5)])
    say(error(os.read, raw, 100))
    say(q.receive(":-7"), q.receive(":^7"), error(q.receive))
    say(error(q.send, b"x", -5), error(q.send, b"x", "^5"), error(q.send, b"x", 0))


def serve(q):
    requests, raw = q.open(":1:raw"), q.open(":raw", os.O_WRONLY)
    while True:
        try:
            pid, n = map(int, unpack(os.read(requests, 100))[1].split())
        except OSError as e:
            expect(e.errno, errno.EIDRM)
            return
        os.write(raw, pack(pid, b"%d" % n**2))


def ask(q):
    requests, replies = q.open(":1", os.O_WRONLY), q.open(f":{os.getpid()}")
    for n in range(100):
        os.write(requests, b"%d %d" % (os.getpid(), n))
        expect(os.read(replies, 100), b"%d" % n**2)


def replies(q):
    def start(role):
        return subprocess.Popen([sys.executable, "-B", __file__, role, q.path])

    server, clients = start("serve"), [start("ask") for _ in range(3)]
    ask(q)
    for c in clients:
        expect(c.wait(), 0)
    os.unlink(q.path)
    expect(server.wait(), 0)
    say("each got its own replies")


def peek(q):
    def look(view=":peek"):
        with open(q.path + view, "rb") as f:
            return f.read()

    expect(look(), b"")
    q.send(b"one\n")
    q.send(bytes(range(256)), 7)
    os.write(q.open(":raw", os.O_WRONLY), pack(3, b""))
    with open(q.path + ":peek", encoding="utf-8") as f:
        lines = [dict(word.split("=", 1) for word in line.rstrip("\n").split(" ", 3)) for line in f]
    expect([(m["type"], m["size"], int(m["pid"])) for m in lines], [("1", "4", os.getpid()), ("7", "256", os.getpid()), ("3", "0", os.getpid())])
    # What it escapes, Python's own escapes undo.
    expect([m["text"].encode("latin-1").decode("unicode-escape").encode("latin-1") for m in lines], [b"one\n", bytes(range(256)), b""])
    expect(look(":-3:peek").count(b"\n"), 2)
    expect(look(":^1:peek").count(b"\n"), 2)
    expect(q.field("q_qnum"), 3)
    expect(unpack(q.receive(":3:raw")), (3, b""))
    say(q.receive(), len(q.receive()), look())


def raw(q):
    """Types and sizes at their edges, through os.writev and os.readv too."""
    r, w = q.open(":raw", os.O_RDONLY | os.O_NONBLOCK), q.open(":raw", os.O_WRONLY | os.O_NONBLOCK)
    for mtype in 1, 2, 2**31 - 1, 2**31, 2**32, 2**63 - 1:
        for size in 0, 1, 8191, 8192:
            data = os.urandom(size)
            expect(os.writev(w, [LONG.pack(mtype), data[: size // 2], data[size // 2:]]), size + 8)
            head, text = bytearray(8), bytearray(8192)
            expect(os.readv(r, [head, text]), size + 8)
            expect((LONG.unpack(head)[0], bytes(text[:size])), (mtype, data))
    for bad in pack(0, b"x"), pack(-1, b"x"), pack(-(2**63), b"x"), b"1234567", pack(1, bytes(8193)):
        say(error(os.write, w, bad))
    os.write(w, pack(1, b"abc"))
    say(error(os.read, r, 10), error(os.read, r, 7), os.read(r, 11) == pack(1, b"abc"), error(os.read, r, 11))


if __name__ == "__main__":
    main(**{f.__name__: f for f in (jobs, worker, priorities, serve, ask, replies, peek, raw)})
