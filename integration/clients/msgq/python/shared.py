"""What the Python clients of a message queue share. A client is given the path of an empty queue, and leaves it empty, or removed."""

import errno
import os
import struct
import sys
import time

LONG = struct.Struct("@l")
MSGMAX = 8192
QBYTES = 16384


class Queue:
    """A queue at a path, and its views."""

    def __init__(self, path):
        self.path = path

    def open(self, view="", flags=os.O_RDONLY):
        return os.open(self.path + view, flags)

    def field(self, name):
        return int(os.getxattr(self.path, "user.ipc." + name))

    def until(self, **fields):
        """Waits until these fields have these values."""
        for name, value in fields.items():
            while self.field(name) != value:
                time.sleep(0.0005)

    def send(self, data, mtype=1):
        fd = self.open(f":{mtype}", os.O_WRONLY)
        try:
            assert os.write(fd, data) == len(data)
        finally:
            os.close(fd)

    def receive(self, view=""):
        fd = self.open(view, os.O_RDONLY | os.O_NONBLOCK)
        try:
            return os.read(fd, MSGMAX + LONG.size)
        finally:
            os.close(fd)


def pack(mtype, data):
    return LONG.pack(mtype) + data


def unpack(message):
    return LONG.unpack_from(message)[0], message[LONG.size:]


def error(call, *args):
    """The name of the error of a call."""
    try:
        return f"{call.__name__} did not fail: {call(*args)!r}"
    except OSError as e:
        return errno.errorcode[e.errno]


def expect(got, want):
    if got != want:
        raise AssertionError(f"{got!r}, not {want!r}")


def say(*words):
    print(*words, flush=True)


def main(**scenarios):
    name, *args, path = sys.argv[1:]
    scenarios[name](Queue(path), *args)
