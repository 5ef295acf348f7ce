"""client.py QUEUE: what asyncio and others see of a message queue; QUEUE does not exist yet. It says 'ok', or fails."""
import asyncio
import errno
import os
import select
import struct
import subprocess
import sys

Q = sys.argv[1]


def send(view, text):
    fd = os.open(Q + view, os.O_WRONLY)
    assert os.write(fd, text) == len(text)
    os.close(fd)


def raw(mtype, text):
    return struct.pack('l', mtype) + text


class Receiver:
    """Receives through a view, waiting in the event loop."""

    def __init__(self, view):
        self.fd = os.open(Q + view, os.O_RDONLY | os.O_NONBLOCK)
        self.ready = asyncio.Event()
        asyncio.get_running_loop().add_reader(self.fd, self.ready.set)

    async def receive(self):
        while True:
            try:
                return os.read(self.fd, 8200)
            except BlockingIOError:
                self.ready.clear()
                await self.ready.wait()

    def close(self):
        asyncio.get_running_loop().remove_reader(self.fd)
        os.close(self.fd)


async def work():
    """Two workers share jobs by priority, each is done once."""
    done = []

    async def worker(name):
        receiver = Receiver(':-9')
        while (job := await receiver.receive()) != b'end':
            done.append((name, job))
            await asyncio.sleep(0)
        receiver.close()

    workers = [asyncio.create_task(worker(n)) for n in 'ab']
    await asyncio.sleep(0)  # both wait
    fd = os.open(Q + ':raw', os.O_WRONLY)
    for i in range(200):
        os.write(fd, raw(1 + i % 5, b'job %d' % i))
        if i % 10 == 0:
            await asyncio.sleep(0)
    os.write(fd, raw(9, b'end'))
    os.write(fd, raw(9, b'end'))
    os.close(fd)
    await asyncio.gather(*workers)
    assert sorted(int(job[4:]) for _, job in done) == list(range(200)), done


async def priorities():
    for mtype in 5, 1, 3, 1:
        send(f':{mtype}', b'%d' % mtype)
    receiver = Receiver(':-3:raw')
    got = [await receiver.receive() for _ in range(3)]
    assert got == [raw(1, b'1'), raw(1, b'1'), raw(3, b'3')], got
    try:
        os.read(receiver.fd, 100)
        raise AssertionError('type 5 came through -3')
    except BlockingIOError:
        pass
    receiver.close()
    with open(Q + ':peek') as f:
        assert f.read() == f'type=5 size=1 pid={os.getpid()} text=5\n'
    rest = Receiver(':^1')
    assert await rest.receive() == b'5'
    rest.close()


async def rpc():
    """A server in another process, several clients; each takes what is sent to its own number."""
    server = subprocess.Popen([sys.executable, __file__, Q, 'serve'])

    async def client(n):
        me = os.getpid() * 100 + n
        receiver = Receiver(f':{me}')
        send(':1', b'%d %d' % (me, n))
        assert await receiver.receive() == b'%d' % (n * n)
        receiver.close()

    await asyncio.gather(*(client(n) for n in range(20)))
    send(':1', b'end')
    assert server.wait(30) == 0


def serve():
    fd = os.open(Q + ':1', os.O_RDONLY)
    while (request := os.read(fd, 100)) != b'end':
        me, n = map(int, request.split())
        send(f':{me}', b'%d' % (n * n))


async def writer():
    """add_writer tells when there is room."""
    fd = os.open(Q, os.O_RDWR | os.O_NONBLOCK)
    full = 0
    try:
        while True:
            full += os.write(fd, b'x' * 1024)
    except BlockingIOError:
        pass
    assert full == 16384, full
    room = asyncio.Event()
    asyncio.get_running_loop().add_writer(fd, room.set)
    await asyncio.sleep(0.05)
    assert not room.is_set()
    assert os.read(fd, 1024) == b'x' * 1024
    await asyncio.wait_for(room.wait(), 30)
    asyncio.get_running_loop().remove_writer(fd)
    for _ in range(15):
        os.read(fd, 1024)
    os.close(fd)


def epoll():
    """Each view is ready by its own selector."""
    views = {os.open(Q + v, os.O_RDONLY | os.O_NONBLOCK): v for v in ('', ':7', ':-3', ':^7', ':7:raw', ':stream', ':9:lines')}
    ep = select.epoll()
    for fd in views:
        ep.register(fd, select.EPOLLIN)

    def ready():
        return sorted(views[fd] for fd, _ in ep.poll(0))

    assert ready() == []
    send(':7', b'seven')
    assert ready() == ['', ':7', ':7:raw', ':stream'], ready()
    send(':2', b'two')
    assert ready() == ['', ':-3', ':7', ':7:raw', ':^7', ':stream'], ready()
    by = {v: fd for fd, v in views.items()}
    assert os.read(by[':-3'], 100) == b'two'
    assert os.read(by[':7:raw'], 13) == raw(7, b'seven')
    assert ready() == []
    os.unlink(Q)
    assert len(ep.poll(0)) == len(views)
    for fd in views:
        try:
            os.read(fd, 100)
            raise AssertionError('a removed queue can be read')
        except OSError as e:
            assert e.errno == errno.EIDRM, e
        os.close(fd)
    ep.close()


if sys.argv[2:] == ['serve']:
    serve()
else:
    os.close(os.open(Q, os.O_CREAT | os.O_WRONLY))
    for part in work, priorities, rpc, writer:
        asyncio.run(part())
    epoll()
    print('ok')
