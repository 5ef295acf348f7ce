"""processes.py SCENARIO PIPE...: programs whose stdin or stdout is the pipe."""

import os
import subprocess
import sys

from client import Call, main, open_both, say, until_blocked


def stdin(path):
    rd, wr = open_both(path)
    p = subprocess.Popen(["cat"], stdin=rd, stdout=subprocess.PIPE)
    os.close(rd)
    until_blocked(p.pid, "read", 0)
    os.write(wr, b"through cat\n")
    say(p.stdout.readline())
    until_blocked(p.pid, "read", 0)
    os.close(wr)
    say(p.stdout.read(), p.wait())


def stdout(path):
    rd, wr = open_both(path)
    with subprocess.Popen(["seq", "100000"], stdout=wr) as p:
        os.close(wr)
        with open(rd, "rb") as f:
            data = f.read()
    say(len(data), data[:6], data[-7:], p.returncode)


def broken(path):
    """The program has Python's children's default SIGPIPE: it is killed when its reader is gone."""
    rd, wr = open_both(path)
    p = subprocess.Popen(["sh", "-c", "while :; do echo yes; done"], stdout=wr)
    os.close(wr)
    say(os.read(rd, 4))
    until_blocked(p.pid, "write", 1)
    os.close(rd)
    say(p.wait())


def pipeline(a, b):
    """Three programs and two pipes between them."""
    a_rd, a_wr = open_both(a)
    b_rd, b_wr = open_both(b)
    first = subprocess.Popen(["seq", "50000"], stdout=a_wr)
    second = subprocess.Popen(["grep", "7"], stdin=a_rd, stdout=b_wr)
    third = subprocess.Popen(["wc", "-l"], stdin=b_rd, stdout=subprocess.PIPE)
    for fd in a_rd, a_wr, b_rd, b_wr:
        os.close(fd)
    say(third.communicate()[0].split(), first.wait(), second.wait(), third.wait())


def python(a, b):
    """An interpreter with both as its own files: sys.stdin, sys.stdout, input and print."""
    code = "import sys\nprint(sys.stdin.isatty(), flush=True)\nwhile True:\n    try:\n        print('got', input(), flush=True)\n    except EOFError:\n        break\nprint(sys.stdin.read())"
    a_rd, a_wr = open_both(a)
    b_rd, b_wr = open_both(b)
    p = subprocess.Popen([sys.executable, "-c", code], stdin=a_rd, stdout=b_wr)
    os.close(a_rd)
    os.close(b_wr)
    with open(b_rd) as answers, open(a_wr, "w") as questions:
        say(repr(answers.readline()))
        for i in range(3):
            print("line", i, file=questions, flush=True)
            say(repr(answers.readline()))
        questions.close()
        say(repr(answers.read()), p.wait())


def by_name(path):
    """Programs that open the pipe by its path, and wait for each other in open."""
    p = subprocess.Popen(["cat", path], stdout=subprocess.PIPE)
    until_blocked(p.pid, "open")
    subprocess.run(["sh", "-c", 'echo one > "$0"', path], check=True)
    say(p.communicate()[0], p.wait())
    p = subprocess.Popen(["cp", "/proc/sys/kernel/ostype", path])
    until_blocked(p.pid, "open")
    with open(path) as f:
        say(f.read(), p.wait())


def run_input(path):
    """subprocess.run with input and output of its own, beside a pipe that is inherited by number."""
    rd, wr = open_both(path)
    say(subprocess.run(["sh", "-c", f"cat >&{wr}; echo done"], input=b"by number", stdout=subprocess.PIPE, pass_fds=[wr], check=True).stdout)
    read = Call(os.read, rd, 100)
    read.start()
    say(read.finish())


main(stdin=stdin, stdout=stdout, broken=broken, pipeline=pipeline, python=python, by_name=by_name, run_input=run_input)
