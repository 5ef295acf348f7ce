"""ready.py SCENARIO QUEUE: waiting for several views at once, with select, and by asyncio. (What the transports of asyncio refuse is told in the pipes' aio.py.)"""

import asyncio
import os
import select
import selectors
import threading

from shared import QBYTES, error, expect, main, pack, say, unpack

VIEWS = "", ":7", ":-7", ":^7", ":7:raw", ":lines", ":stream"


def by_select(fds):
    return lambda: select.select(fds, [], [], 0)[0]


def by_poll(fds):
    p = select.poll()
    for fd in fds:
        p.register(fd, select.POLLIN)
    return lambda: [fd for fd, _ in p.poll(0)]


def by_epoll(fds, kind=0):
    p = select.epoll()
    for fd in fds:
        p.register(fd, select.EPOLLIN | kind)
    return lambda: [fd for fd, _ in p.poll(0)]


def by_edge(fds):
    return by_epoll(fds, select.EPOLLET)


def by_selectors(fds):
    s = selectors.DefaultSelector()
    for fd in fds:
        s.register(fd, selectors.EVENT_READ)
    return lambda: [key.fd for key, _ in s.select(0)]


def views(q, how):
    """Which views are ready, as messages come and go, for as long as they are; at an edge once."""
    fds = {q.open(view, os.O_RDONLY | os.O_NONBLOCK): view for view in VIEWS}
    ready = globals()["by_" + how](list(fds))

    def say_ready(what):
        say(what, *sorted("q" + fds[fd] for fd in ready()))

    say_ready("empty:")
    for mtype in 7, 2, 9:
        q.send(b"x", mtype)
        say_ready(f"{mtype}:")
        if how != "edge":
            say_ready("again:")
        expect(q.receive(), b"x")
        say_ready("received:")
    os.unlink(q.path)
    say_ready("removed:")
    say(*sorted({error(os.read, fd, 10) for fd in fds}))


class Reader:
    """Receives through a view in the loop."""

    def __init__(self, q, view):
        self.loop, self.fd, self.ready = asyncio.get_running_loop(), q.open(view, os.O_RDONLY | os.O_NONBLOCK), asyncio.Event()
        self.loop.add_reader(self.fd, self.ready.set)

    async def receive(self):
        while True:
            try:
                return os.read(self.fd, 8200)
            except BlockingIOError:
                self.ready.clear()
                await self.ready.wait()

    def close(self):
        self.loop.remove_reader(self.fd)
        os.close(self.fd)


class Writer(Reader):
    """Sends through a view in the loop."""

    def __init__(self, q, view):
        self.loop, self.fd, self.ready = asyncio.get_running_loop(), q.open(view, os.O_WRONLY | os.O_NONBLOCK), asyncio.Event()
        self.loop.add_writer(self.fd, self.ready.set)

    async def send(self, data):
        while True:
            try:
                return os.write(self.fd, data)
            except BlockingIOError:
                self.ready.clear()
                await self.ready.wait()

    def close(self):
        self.loop.remove_writer(self.fd)
        os.close(self.fd)


async def many(q):
    """Sixteen readers by type, four writers, and room for few: all at once in one loop."""
    os.truncate(q.path, 64)
    each = 200

    async def read(mtype):
        reader = Reader(q, f":{mtype}")
        for i in range(each):
            expect(await reader.receive(), b"%d.%d" % (mtype, i))
        reader.close()

    async def write(mtypes):
        writer = Writer(q, ":raw")
        for i in range(each):
            for mtype in mtypes:
                await writer.send(pack(mtype, b"%d.%d" % (mtype, i)))
        writer.close()

    await asyncio.gather(*(read(t) for t in range(1, 17)), *(write(range(w, 17, 4)) for w in range(1, 5)))
    say(q.field("q_qnum"), "left of", 16 * each)


async def work(q):
    """Workers of the loop take the lowest type first, and end on the highest."""
    done = []

    async def worker():
        reader = Reader(q, ":-9:raw")
        while (message := unpack(await reader.receive()))[0] < 9:
            done.append(message)
            await asyncio.sleep(0)
        reader.close()

    writer = Writer(q, ":raw")
    for i in range(60):
        await writer.send(pack(1 + i % 3, b"%d" % i))
    workers = [asyncio.create_task(worker()) for _ in range(4)]
    for _ in workers:
        await writer.send(pack(9, b"end"))
    await asyncio.gather(*workers)
    writer.close()
    expect(done, sorted(done, key=lambda m: (m[0], int(m[1]))))
    expect(sorted(int(data) for _, data in done), list(range(60)))
    say(len(done), "jobs in order")


async def replies(q):
    """Request and reply by a number, of many clients at once in one loop and a server in a thread that blocks."""

    def serve():
        requests, raw = q.open(":1"), q.open(":raw", os.O_WRONLY)
        while (request := os.read(requests, 100)) != b"end":
            me, n = map(int, request.split())
            os.write(raw, pack(me, b"%d" % n**2))
        os.close(requests)
        os.close(raw)

    async def client(me):
        reader, writer = Reader(q, f":{me}"), Writer(q, ":1")
        for n in range(20):
            await writer.send(b"%d %d" % (me, n))
            expect(await reader.receive(), b"%d" % n**2)
        reader.close()
        writer.close()

    server = asyncio.create_task(asyncio.to_thread(serve))
    await asyncio.gather(*(client(os.getpid() * 100 + i) for i in range(30)))
    q.send(b"end")
    await server
    say("each got its own replies")


async def ends(q):
    """A time limit; the room of a byte; and the end of the queue, of which all hear."""
    reader = Reader(q, ":7")
    try:
        await asyncio.wait_for(reader.receive(), 0.05)
    except asyncio.TimeoutError:
        say("timeout")
    q.send(b"later", 7)
    say(await reader.receive())

    writer = Writer(q, ":3")
    await writer.send(bytes(8192))
    await writer.send(bytes(8191))
    await writer.send(b"x")
    task = asyncio.create_task(writer.send(b"y"))
    done, _ = await asyncio.wait([task], timeout=0.05)
    expect((len(done), q.field("q_cbytes")), (0, QBYTES))
    expect(len(q.receive()), 8192)
    say(await task)

    tasks = [asyncio.create_task(Reader(q, view).receive()) for view in (":7", ":-2", ":9:raw", ":8:lines", ":8:stream")]
    await writer.send(bytes(8191))
    tasks.append(asyncio.create_task(writer.send(bytes(100))))
    await asyncio.sleep(0)
    threading.Thread(target=os.unlink, args=(q.path,)).start()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    say([type(r).__name__ + " " + r.strerror for r in results[:1]], len({str(r) for r in results}))


async def lines(q):
    """A StreamReader that is fed from a view: lines as they come, whatever messages they came in."""
    reader, feeder = asyncio.StreamReader(), Reader(q, ":lines")

    async def feed():
        try:
            while True:
                reader.feed_data(await feeder.receive())
        except OSError:
            reader.feed_eof()

    task = asyncio.create_task(feed())
    with open(q.path + ":lines", "w") as f:
        print(*range(2000), sep="\n", file=f)
    q.send(b"the last")
    got = [await reader.readline() for _ in range(2000)]
    expect(got, [b"%d\n" % i for i in range(2000)])
    say(await reader.readexactly(8))
    os.unlink(q.path)
    await task
    say(await reader.read(), reader.at_eof())


if __name__ == "__main__":
    main(views=views, **{f.__name__: lambda q, f=f: asyncio.run(f(q)) for f in (many, work, replies, ends, lines)})
