"""shm_multiprocessing.py SCENARIO: what Python's standard library keeps in /dev/shm. The test looks at it from outside meanwhile."""

import os
import subprocess
import sys
from multiprocessing import get_context, resource_tracker
from multiprocessing.managers import SharedMemoryManager
from multiprocessing.shared_memory import ShareableList, SharedMemory

from client import main, say

START_METHODS = "fork", "spawn", "forkserver"


def look(*what):
    """Lets the test list the directory, or look for a number of files by a pattern."""
    say("look", *what)
    if sys.stdin.read(1) != "\n":
        sys.exit("the test is gone")


def check(process):
    process.join()
    if process.exitcode != 0:
        sys.exit(f"a process ended with {process.exitcode}")


def attach(name, conn):
    block = SharedMemory(name)
    conn.send((block.size, bytes(block.buf[:5])))
    conn.recv()
    block.buf[5:10] = b"other"
    conn.send(bytes(block.buf[10:15]))
    conn.recv()
    block.close()


def attached(name):
    """The same in a program of its own."""
    if sys.version_info >= (3, 13):
        block = SharedMemory(name, track=False)
    else:
        # Without this it would remove at its end what it did not make: https://bugs.python.org/issue38119
        block = SharedMemory(name)
        resource_tracker.unregister("/" + name, "shared_memory")
    say(block.size, bytes(block.buf[:5]))
    sys.stdin.readline()
    block.buf[5:10] = b"other"
    say(bytes(block.buf[10:15]))
    sys.stdin.readline()
    block.close()


def shared_memory():
    """A block that others attach by its name; all see each other's stores."""
    block = SharedMemory("block", create=True, size=100000)
    block.buf[:5] = b"hello"
    say(block.name, block.size)
    look()
    for method in START_METHODS:
        ctx = get_context(method)
        conn, theirs = ctx.Pipe()
        p = ctx.Process(target=attach, args=(block.name, theirs))
        p.start()
        say(method, *conn.recv())
        block.buf[10:15] = b"again"
        conn.send("go on")
        say(method, conn.recv(), bytes(block.buf[5:10]))
        conn.send("end")
        check(p)
        block.buf[5:15] = bytes(10)

    p = subprocess.Popen([sys.executable, "-B", __file__, "attached", block.name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    say("a program:", p.stdout.readline().strip())
    block.buf[10:15] = b"again"
    print("go on", file=p.stdin, flush=True)
    say("a program:", p.stdout.readline().strip(), bytes(block.buf[5:10]))
    p.communicate("end\n")
    say("it ended with", p.returncode)
    look()

    try:
        SharedMemory("block", create=True, size=1)
    except FileExistsError as e:
        say(e.strerror)
    block.unlink()
    look()
    try:
        SharedMemory("block")
    except FileNotFoundError as e:
        say(e.strerror)
    say("after unlink:", bytes(block.buf[:15]))
    block.close()


def nameless():
    """A block whose name Python chooses."""
    block = SharedMemory(create=True, size=4096)
    block.buf[:4] = b"text"
    look()
    with open("/dev/shm/" + block.name, "r+b") as f:
        say(f.read(4))
        f.seek(2)
        f.write(b"rm")
    say(bytes(block.buf[:4]))
    block.close()
    block.unlink()


def change(name, lock):
    names = ShareableList(name=name)
    for _ in range(1000):
        with lock:
            names[0] += 1
    names[2] = "changed"
    names.shm.close()


def shareable_list():
    ctx = get_context("spawn")
    values = ShareableList([1, 2.5, "unchanged", b"bytes", True, None], name="list")
    look(1, "list")
    lock = ctx.Lock()
    ps = [ctx.Process(target=change, args=("list", lock)) for _ in range(2)]
    for p in ps:
        p.start()
    for p in ps:
        check(p)
    say(list(values), values.count(2.5), values.index("changed"))
    values.shm.close()
    values.shm.unlink()


def add_up(name, start, end):
    block = SharedMemory(name)
    total = sum(block.buf[start:end])
    block.close()
    return total


def manager():
    """Blocks that a manager, another process, removes."""
    with SharedMemoryManager() as m, get_context("spawn").Pool(2) as pool:
        block = m.SharedMemory(200000)
        numbers = m.ShareableList(range(10))
        block.buf[:] = bytes(i % 251 for i in range(block.size))
        say(sum(pool.starmap(add_up, [(block.name, i, i + 50000) for i in range(0, 200000, 50000)])), sum(numbers))
        look(2, "psm_*")
    say([n for n in os.listdir("/dev/shm") if n.startswith("psm_")])


ROUNDS, WORKERS = 500, 4


def work(me, lock, sem, inside, counter, barrier, queue):
    barrier.wait()
    for _ in range(ROUNDS):
        with lock:
            counter.value += 1
    most = 0
    for _ in range(ROUNDS // 10):
        with sem:
            with lock:
                inside.value += 1
                most = max(most, inside.value)
            with lock:
                inside.value -= 1
    queue.put((me, most <= 2))


def primitives(method):
    """Lock, Semaphore, Barrier, Value and Queue. What fork makes has lost its name at once; what spawn makes keeps it, for others to open it."""
    ctx = get_context(method)
    lock, sem = ctx.Lock(), ctx.Semaphore(2)
    look()
    counter, inside = ctx.Value("l", 0, lock=False), ctx.Value("i", 0, lock=False)
    with open("/proc/self/maps") as f:
        say("values are in /dev/shm:", any("/dev/shm/pym-" in line for line in f))
    barrier, queue = ctx.Barrier(WORKERS), ctx.Queue()
    ps = [ctx.Process(target=work, args=(i, lock, sem, inside, counter, barrier, queue)) for i in range(WORKERS)]
    for p in ps:
        p.start()
    say(sorted(queue.get() for _ in ps))
    for p in ps:
        check(p)
    say(counter.value, inside.value)
    for acquired in lock.acquire(), lock.acquire(timeout=0.05), lock.acquire(block=False):
        say(acquired)
    lock.release()
    say(sem.acquire(block=False), sem.acquire(block=False), sem.acquire(block=False))


def wait_and_answer(cond, event, box, queue):
    with cond:
        box.value = 1
        cond.notify()
    event.wait()
    while (item := queue.get()) is not None:
        box.value += item
        queue.task_done()
    queue.task_done()


def conditions(method):
    """Condition, Event and JoinableQueue."""
    ctx = get_context(method)
    cond, event, box, queue = ctx.Condition(), ctx.Event(), ctx.Value("i", 0), ctx.JoinableQueue()
    p = ctx.Process(target=wait_and_answer, args=(cond, event, box, queue))
    with cond:
        p.start()
        say(cond.wait_for(lambda: box.value == 1))
    say(event.is_set(), event.wait(0.01))
    event.set()
    for i in range(1, 101):
        queue.put(i)
    queue.put(None)
    queue.join()
    check(p)
    say(box.value)


def square(x):
    return x * x


def fail(x):
    raise ValueError(x)


def fill(args):
    name, start, end = args
    block = SharedMemory(name)
    block.buf[start:end] = bytes(i * i % 256 for i in range(start, end))
    block.close()
    return os.getpid()


def pool(method):
    ctx = get_context(method)
    block = SharedMemory("pool", create=True, size=10000)
    with ctx.Pool(4) as p:
        say(sum(p.map(square, range(1000))), sum(p.imap_unordered(square, range(100), chunksize=7)), p.apply_async(square, (12,)).get())
        try:
            p.apply(fail, ("no",))
        except ValueError as e:
            say(type(e).__name__, e)
        pids = p.map(fill, [("pool", i, i + 100) for i in range(0, 10000, 100)], chunksize=1)
        say(os.getpid() in pids, all(block.buf[i] == i * i % 256 for i in range(10000)))
        look(1, "pool")
    block.close()
    block.unlink()


if __name__ == "__main__":
    main(
        shared_memory=shared_memory,
        attached=attached,
        nameless=nameless,
        shareable_list=shareable_list,
        manager=manager,
        primitives=primitives,
        conditions=conditions,
        pool=pool,
    )
