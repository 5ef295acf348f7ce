"""What the Python clients share. A client does not know where its pipes are: it opens the paths it is given, and prints what it saw."""

import os
import platform
import sys
import threading
import time

# Linux has other numbers for them on each machine, and Python no names.
CALLS = {
    "x86_64": {"read": (0,), "write": (1,), "poll": (7, 271), "select": (23, 270), "epoll": (232, 281), "open": (2, 257)},
    "aarch64": {"read": (63,), "write": (64,), "poll": (73,), "select": (72,), "epoll": (22,), "open": (56,)},
}[platform.machine()]


def say(*words):
    print(*words, flush=True)


def until_blocked(tid, call, fd=None):
    """Waits until a thread of this process, or of a child, sleeps in the call."""
    while True:
        with open(f"/proc/{tid}/syscall") as f:
            words = f.read().split()
        if len(words) > 1 and int(words[0]) in CALLS[call] and fd in (None, int(words[1], 16)):
            return
        time.sleep(0.0005)


class Call(threading.Thread):
    """A call in a thread of its own, which start_blocked leaves waiting in it."""

    def __init__(self, function, *args):
        super().__init__(daemon=True)
        self.function, self.args = function, args

    def run(self):
        try:
            self.result = self.function(*self.args)
        except OSError as e:
            self.result = type(e).__name__

    def start_blocked(self, call, fd=None):
        self.start()
        until_blocked(self.native_id, call, fd)
        return self

    def finish(self):
        self.join()
        return self.result


def open_both(path):
    """Opens both ends, blocking, from one thread."""
    rd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    wr = os.open(path, os.O_WRONLY)
    os.set_blocking(rd, True)
    return rd, wr


def fill(wr):
    os.set_blocking(wr, False)
    total = 0
    try:
        while True:
            total += os.write(wr, bytes(4096))
    except BlockingIOError:
        os.set_blocking(wr, True)
        return total


def main(**scenarios):
    scenarios[sys.argv[1]](*sys.argv[2:])
