"""files.py SCENARIO QUEUE: file objects of Python on views, what they buffer, and what others make of a queue: subprocess, shutil, logging, mmap."""

import io
import logging
import mmap
import os
import shutil
import subprocess
import tempfile
import threading

from shared import error, expect, main, say


def sent(q):
    """What is in the queue, without its types."""
    messages = []
    while True:
        try:
            messages.append(q.receive())
        except BlockingIOError:
            return messages


def writers(q):
    """A flush is a message; line buffering makes one of each line; unbuffered each write."""
    with open(q.path, "wb") as f:
        f.write(b"one ")
        f.write(b"message")
        f.flush()
        f.write(b"another")
    say(sent(q))
    with open(q.path + ":7", "w", buffering=1) as f:
        print("a line", file=f)
        print("two", "words", file=f)
        f.write("no end")
    say(sent(q))
    with open(q.path, "wb", buffering=0) as f:
        say(f.write(b"x"), f.write(bytes(8192)), f.write(b"y"))
    say([len(m) for m in sent(q)])
    with open(q.path, "ab") as f:
        f.write(b"appended")
    with open(q.path + ":7:lines", "w") as f:
        f.writelines(f"{i}\n" for i in range(3))
    say(sent(q))
    with open(q.path, "wb", buffering=0) as f:
        say(error(f.write, bytes(8193)), q.field("q_qnum"))
    say(error(open, q.path, "xb"), error(open, q.path + ":7", "xb"), error(open, q.path + ":x", "wb"))
    with open(q.path + ":-7", "wb", buffering=0) as f:
        say(error(f.write, b"x"))


def readers(q):
    """Unbuffered, a read is a message; a view of bytes is read as any stream."""
    for data in b"one", b"two", b"three":
        q.send(data)
    with open(q.path, "rb", buffering=0) as f:
        room = bytearray(10)
        say(f.read(100), f.readinto(room), bytes(room[:3]), error(f.read, 4), f.read(5))
        say(f.seekable(), f.isatty(), error(f.seek, 0), error(f.tell))
    q.send("zeile eins\nzeile zwöi\nrest".encode())
    q.send(b" of it\n")
    with open(q.path + ":stream", encoding="utf-8") as f:
        say([next(f) for _ in range(3)].__repr__().encode("ascii", "backslashreplace").decode())
    q.send(b"0123456789")
    with open(q.path + ":stream", "rb") as f:
        say(f.read(3), f.peek()[:2], f.read1(4), f.read(3))
    fd = q.open(":7", os.O_RDONLY | os.O_NONBLOCK)
    with open(fd, "rb", buffering=0) as f:
        say(f.read(10))


def loop(q):
    """A worker's `for line in file`, which the end of the queue ends; its queue is filled by subprocess, by path."""
    got = []

    def work():
        try:
            with open(q.path + ":lines", buffering=1) as f:
                for line in f:
                    got.append(line)
        except OSError as e:
            got.append(e.strerror)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for t in threads:
        t.start()
    subprocess.run(f"seq 5000 > '{q.path}:lines'", shell=True, check=True)
    q.until(q_qnum=0, q_receivers=3)
    os.unlink(q.path)
    for t in threads:
        t.join()
    expect(sorted(map(int, (g for g in got if g[0].isdigit()))), list(range(1, 5001)))
    say([g for g in got if not g[0].isdigit()])


def programs(q):
    """Programs with a view for stdin or stdout."""
    with open(q.path + ":7", "wb") as out:
        subprocess.run(["echo", "hello"], stdout=out, check=True)
    with open(q.path + ":7", "rb") as src:
        say(subprocess.run(["dd", "bs=100", "count=1", "status=none"], stdin=src, capture_output=True, check=True).stdout)
    with open(q.path + ":stream", "rb") as src:
        cat = subprocess.Popen(["cat"], stdin=src, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for data in b"one ", b"two ", b"three":
        q.send(data)
    expect(cat.stdout.read(13), b"one two three")
    os.unlink(q.path)
    say(cat.communicate()[1], cat.returncode)


def copies(q):
    """shutil takes a queue for a file: what it sends is the file, in one message; what it receives is what peek shows."""
    with tempfile.TemporaryDirectory() as d:
        a, b = os.path.join(d, "a"), os.path.join(d, "b")
        with open(a, "wb") as f:
            f.write(b"content " * 1000)
        shutil.copyfile(a, q.path)
        shutil.copy(a, q.path + ":7")
        say([len(m) for m in sent(q)])
        q.send(b"x", 3)
        shutil.copyfile(q.path + ":peek", b)
        with open(b) as f:
            say(f.read().split()[0])
        with open(q.path, "rb", buffering=0) as src, open(b, "wb") as dst:
            dst.write(src.read(8192))
            expect(os.stat(q.path).st_size, 1 << 20)
            say(error(mmap.mmap, src.fileno(), 4096, mmap.MAP_SHARED, mmap.PROT_READ))
        say(os.path.getsize(b), os.path.isfile(q.path + ":7"), os.path.exists(q.path + "x:7"), os.listdir(os.path.dirname(q.path)) == [os.path.basename(q.path)])


def logs(q):
    """logging to a queue: a record is a message. A collector takes them by level."""
    root = logging.getLogger()
    root.setLevel(logging.DEBUG)
    for level in logging.DEBUG, logging.WARNING, logging.ERROR:
        handler = logging.FileHandler(f"{q.path}:{100 - level}")
        handler.addFilter(lambda record, level=level: record.levelno == level)
        root.addHandler(handler)
    logging.debug("so it goes")
    logging.error("it burns")
    logging.warning("it smokes")
    logging.debug("so it went")
    say([q.receive(":-100") for _ in range(4)])
    logging.shutdown()


def text_of_a_moment(q):
    """io.open of peek, as any text file; also when the queue is gone meanwhile."""
    for i in range(3):
        q.send(b"%d" % i, i + 1)
    with io.open(q.path + ":peek") as f:
        first = f.readline().split()[0]
        os.unlink(q.path)
        say(first, sum(1 for _ in f))


if __name__ == "__main__":
    main(**{f.__name__: f for f in (writers, readers, loop, programs, copies, logs, text_of_a_moment)})
