"""wait.py MECHANISM PIPE PIPE PIPE PIPE: a thread waits without a time limit for each thing that can be waited for."""

import os
import select
import selectors

from client import Call, fill, main, open_both, say

NAMES = ((select.POLLIN, "IN"), (select.POLLOUT, "OUT"), (select.POLLERR, "ERR"), (select.POLLHUP, "HUP"))


def names(bits):
    return " ".join(n for b, n in NAMES if bits & b) or "nothing"


def by_select(fd, bits):
    args = [fd] if bits & select.POLLIN else [], [fd] if bits & select.POLLOUT else [], []

    def wait(*timeout):
        rd, wr, _ = select.select(*args, *timeout)
        return (select.POLLIN if rd else 0) | (select.POLLOUT if wr else 0)

    return wait


def by_poll(fd, bits):
    p = select.poll()
    p.register(fd, bits)
    return lambda *timeout: sum(b for _, b in p.poll(*timeout))


def by_epoll(fd, bits, flags=0):
    p = select.epoll()
    p.register(fd, bits | flags)
    return lambda *timeout: sum(b for _, b in p.poll(*timeout))


def by_edge(fd, bits):
    return by_epoll(fd, bits, select.EPOLLET)


def by_selectors(fd, bits):
    s = selectors.DefaultSelector()
    s.register(fd, bits & 1 | (selectors.EVENT_WRITE if bits & select.POLLOUT else 0))
    to_poll = {0: 0, 1: select.POLLIN, 2: select.POLLOUT}
    return lambda *timeout: sum(to_poll[b] for _, b in s.select(*timeout))


def scenario(make, call):
    def waiting(what, fd, bits):
        say(what)
        wait = make(fd, bits)
        say("before:", names(wait(0)))
        thread = Call(wait).start_blocked(call)

        def woken():
            say("woken:", names(thread.finish()))
            say("again:", names(wait(0)))

        return woken

    def run(data, room, hup, err):
        rd, wr = open_both(data)
        woken = waiting("data", rd, select.POLLIN)
        os.write(wr, b"hello")
        woken()
        say(os.read(rd, 100))

        rd, wr = open_both(room)
        say("full:", fill(wr))
        woken = waiting("room after full", wr, select.POLLOUT)
        os.read(rd, 4096)
        woken()

        rd, wr = open_both(hup)
        woken = waiting("last writer closes", rd, select.POLLIN)
        os.close(wr)
        woken()
        say(os.read(rd, 100))

        rd, wr = open_both(err)
        say("full:", fill(wr))
        woken = waiting("last reader closes", wr, select.POLLOUT)
        os.close(rd)
        woken()
        try:
            os.write(wr, b"x")
        except BrokenPipeError as e:
            say(type(e).__name__)

    return run


main(
    select=scenario(by_select, "select"),
    poll=scenario(by_poll, "poll"),
    epoll=scenario(by_epoll, "epoll"),
    edge=scenario(by_edge, "epoll"),
    selectors=scenario(by_selectors, "epoll"),
)
