"""files.py SCENARIO PIPE...: Python's file objects, which look at what they opened before they use it, and os.read and os.write."""

import io
import os
import tempfile
from multiprocessing.connection import Connection, wait

from client import Call, fill, main, open_both, say


def opened(path, how_rd, how_wr):
    """Opens both ends as file objects; each open waits for the other."""
    rd = Call(lambda: open(path, **how_rd)).start_blocked("open")
    wr = open(path, **how_wr)
    return rd.finish(), wr


def text(path):
    rd, wr = opened(path, dict(mode="r", encoding="utf-8"), dict(mode="w", encoding="utf-8"))
    say("seekable:", rd.seekable(), wr.seekable(), "tty:", rd.isatty())
    wr.write("first\nsecönd\r\nthird, without an end")
    wr.flush()
    say(ascii(rd.readline()))
    say(ascii(rd.readline()))
    third = Call(rd.readline).start_blocked("read")
    wr.write(" but here\nfourth\nfifth")
    wr.flush()
    say(ascii(third.finish()))
    wr.close()
    for line in rd:
        say(ascii(line))
    say(ascii(rd.read()))


def line_buffered(path):
    rd, wr = opened(path, dict(mode="r"), dict(mode="w", buffering=1))
    os.set_blocking(rd.fileno(), False)
    wr.write("half")
    try:
        say(os.read(rd.fileno(), 100))
    except BlockingIOError as e:
        say(type(e).__name__)
    wr.write(" whole\n")
    say(os.read(rd.fileno(), 100))


def split_character(path):
    """A character of four bytes comes in two writes."""
    rd, wr = opened(path, dict(mode="r", encoding="utf-8"), dict(mode="wb", buffering=0))
    wr.write("🙂".encode()[:2])
    char = Call(rd.read, 1).start_blocked("read", rd.fileno())
    wr.write("🙂".encode()[2:])
    # It comes out whole, or not before the end: the decoder waits for a full chunk.
    wr.close()
    say(ascii(char.finish()))


def binary_buffered(path):
    rd, wr = opened(path, dict(mode="rb"), dict(mode="wb"))
    wr.write(b"0123456789")
    say("held back:", wr.tell() if wr.seekable() else "no position")
    wr.flush()
    say(rd.peek(1)[:3], rd.read1(4), rd.read1(100))
    whole = Call(rd.read, 20).start_blocked("read")
    wr.write(b"ten bytes.")
    wr.flush()
    wr.write(b"and 10 more")
    wr.flush()
    say(whole.finish())
    rest = Call(rd.read).start_blocked("read")
    wr.write(bytes(300000))
    wr.close()
    say(len(rest.finish()), rd.read())


def binary_unbuffered(path):
    rd, wr = opened(path, dict(mode="rb", buffering=0), dict(mode="wb", buffering=0))
    say("write:", wr.write(b"0123456789"))
    say(rd.read(4), rd.read(100))
    buf = bytearray(8)
    into = Call(rd.readinto, buf).start_blocked("read", rd.fileno())
    wr.write(b"abc")
    say(into.finish(), bytes(buf))
    rest = Call(rd.readall).start_blocked("read", rd.fileno())
    wr.write(bytes(100000))
    wr.close()
    say(len(rest.finish()), rd.read(1))


def non_blocking(path):
    rd, wr = open_both(path)
    os.set_blocking(rd, False)
    os.set_blocking(wr, False)
    raw, buffered, out = io.FileIO(rd, closefd=False), open(rd, "rb", closefd=False), io.FileIO(wr, "w", closefd=False)
    say(raw.read(10), buffered.read(10), buffered.read1(10))
    say("write:", out.write(bytes(100000)), out.write(b"x"))
    say(len(buffered.read(65536)), buffered.read(10))
    os.close(wr)
    say(raw.read(10), buffered.read(10))


def update(path):
    """Mode r+ is O_RDWR, a is O_APPEND: Python seeks in both, where it can."""
    try:
        open(path, "r+b")
    except io.UnsupportedOperation as e:
        say(e)
    both = open(path, "r+b", buffering=0)
    both.write(b"to myself")
    say(both.read(100))
    add = open(path, "ab")
    add.write(b"appended")
    add.flush()
    say(both.read(100))
    add = open(path, "a")
    print("a line", file=add, flush=True)
    say(both.read(100))
    try:
        both.seek(0)
    except OSError as e:
        say(type(e).__name__, os.strerror(e.errno))
    try:
        os.pread(both.fileno(), 1, 0)
    except OSError as e:
        say(type(e).__name__, os.strerror(e.errno))


def calls(path):
    rd, wr = open_both(path)
    say(os.write(wr, b"one"), os.writev(wr, [b"two", b"", b"three"]))
    say(os.read(rd, 5))
    bufs = [bytearray(2), bytearray(2), bytearray(20)]
    say(os.readv(rd, bufs), bytes(bufs[2][:2]))
    read = Call(os.read, rd, 100).start_blocked("read", rd)
    os.write(wr, b"woken")
    say(read.finish())
    say("full:", fill(wr))
    write = Call(os.write, wr, b"x" * 5000).start_blocked("write", wr)
    say(len(os.read(rd, 8192)), write.finish(), len(os.read(rd, 1 << 20)))
    os.close(rd)
    try:
        os.write(wr, b"x")
    except BrokenPipeError as e:
        say(type(e).__name__, os.strerror(e.errno))
    try:
        os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError as e:
        say(type(e).__name__, os.strerror(e.errno))


def sendfile(path):
    """From a file into the pipe, without a buffer of our own."""
    rd, wr = open_both(path)
    with tempfile.TemporaryFile() as f:
        f.write(b"abc" * 10000)
        f.flush()
        say(os.sendfile(wr, f.fileno(), 0, 30000))
    say(os.read(rd, 1 << 20) == b"abc" * 10000)


def connection(path):
    """multiprocessing's messages over a pipe."""
    rd, wr = open_both(path)
    a, b = Connection(rd, writable=False), Connection(wr, readable=False)
    say(a.poll(0))
    b.send({"a": [1, 2, 3]})
    say(a.poll(0), a.recv())
    ready = Call(wait, [a]).start_blocked("poll")
    b.send_bytes(b"woken")
    say(ready.finish() == [a], a.recv_bytes())
    large = Call(b.send_bytes, bytes(1 << 20)).start_blocked("write")
    say(len(a.recv_bytes()), large.finish())
    b.close()
    try:
        a.recv()
    except EOFError as e:
        say(type(e).__name__)


main(
    text=text,
    line_buffered=line_buffered,
    split_character=split_character,
    binary_buffered=binary_buffered,
    binary_unbuffered=binary_unbuffered,
    non_blocking=non_blocking,
    update=update,
    calls=calls,
    sendfile=sendfile,
    connection=connection,
)
