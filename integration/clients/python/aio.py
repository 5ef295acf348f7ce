"""aio.py SCENARIO PIPE...: asyncio.

loop.connect_read_pipe and loop.connect_write_pipe are not here: they look at the type of the file before they use it, and refuse everything but
a FIFO, a socket and a character device ("Pipe transport is for pipes/sockets only."). A file of ipcfs is a regular file. What works on every
descriptor that can be polled is what those transports are made of, loop.add_reader and loop.add_writer on a non-blocking descriptor;
read and write below are all there is to it.
"""

import asyncio
import os

from client import fill, main, open_both, say, until_blocked


async def ready(add, remove, fd):
    done = asyncio.get_running_loop().create_future()
    add(fd, lambda: done.done() or done.set_result(None))
    try:
        await done
    finally:
        remove(fd)


async def read(fd, n):
    loop = asyncio.get_running_loop()
    while True:
        try:
            return os.read(fd, n)
        except BlockingIOError:
            await ready(loop.add_reader, loop.remove_reader, fd)


async def write(fd, data):
    loop = asyncio.get_running_loop()
    while data:
        try:
            data = data[os.write(fd, data):]
        except BlockingIOError:
            await ready(loop.add_writer, loop.remove_writer, fd)


def both(path):
    fds = open_both(path)
    for fd in fds:
        os.set_blocking(fd, False)
    return fds


async def while_loop_sleeps(act):
    """Acts in another thread, once the loop sleeps in epoll."""
    loop = asyncio.get_running_loop()
    pid = os.getpid()

    def wait_and_act():
        until_blocked(pid, "epoll")
        act()

    await loop.run_in_executor(None, wait_and_act)


async def wakes(data, room, hup, err):
    rd, wr = both(data)
    task = asyncio.create_task(read(rd, 100))
    await while_loop_sleeps(lambda: os.write(wr, b"hello"))
    say(await task)

    rd, wr = both(room)
    say("full:", fill(wr))
    os.set_blocking(wr, False)
    task = asyncio.create_task(write(wr, b"x" * 4096))
    await while_loop_sleeps(lambda: os.read(rd, 4096))
    await task
    say("full:", len(os.read(rd, 1 << 20)))

    rd, wr = both(hup)
    task = asyncio.create_task(read(rd, 100))
    await while_loop_sleeps(lambda: os.close(wr))
    say(await task)

    rd, wr = both(err)
    fill(wr)
    os.set_blocking(wr, False)
    task = asyncio.create_task(write(wr, b"x"))
    await while_loop_sleeps(lambda: os.close(rd))
    try:
        await task
    except BrokenPipeError as e:
        say(type(e).__name__)


async def many(*paths):
    """Sixteen pipes at once, a megabyte through each."""
    total = 1 << 20
    ends = [both(p) for p in paths]

    async def source(i, fd):
        await write(fd, bytes([i]) * total)
        os.close(fd)

    async def sink(fd):
        seen, n = set(), 0
        while chunk := await read(fd, 65536):
            seen.update(chunk)
            n += len(chunk)
        return seen, n

    sinks = [asyncio.create_task(sink(rd)) for rd, _ in ends]
    await asyncio.gather(*(source(i, wr) for i, (_, wr) in enumerate(ends)))
    results = await asyncio.gather(*sinks)
    say(len(results), all(r == ({i}, total) for i, r in enumerate(results)))


async def stream(path):
    """A StreamReader, fed by hand: readline, readexactly and read."""
    rd, wr = both(path)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()

    def feed():
        if data := os.read(rd, 4096):
            reader.feed_data(data)
        else:
            loop.remove_reader(rd)
            reader.feed_eof()

    loop.add_reader(rd, feed)
    os.write(wr, b"one\ntw")
    say(await reader.readline())
    task = asyncio.create_task(reader.readline())
    await while_loop_sleeps(lambda: os.write(wr, b"o\n"))
    say(await task)
    os.write(wr, b"12345rest")
    say(await reader.readexactly(5))
    os.close(wr)
    say(await reader.read(), reader.at_eof())


async def timeout(path):
    """A time limit on a read that gets nothing; the pipe works on."""
    rd, wr = both(path)
    try:
        await asyncio.wait_for(read(rd, 100), 0.01)
    except asyncio.TimeoutError:
        say("timeout")
    task = asyncio.create_task(read(rd, 100))
    await while_loop_sleeps(lambda: os.write(wr, b"later"))
    say(await task)


async def process(a, b):
    """A program of asyncio's with the pipes as its stdin and stdout."""
    a_rd, a_wr = open_both(a)
    b_rd, b_wr = open_both(b)
    p = await asyncio.create_subprocess_exec("cat", stdin=a_rd, stdout=b_wr)
    os.close(a_rd)
    os.close(b_wr)
    os.set_blocking(a_wr, False)
    os.set_blocking(b_rd, False)
    await write(a_wr, b"through cat")
    say(await read(b_rd, 100))
    os.close(a_wr)
    say(await read(b_rd, 100), await p.wait())


main(**{f.__name__: lambda *paths, f=f: asyncio.run(f(*paths)) for f in (wakes, many, stream, timeout, process)})
