"""An agent that delivers nothing, for tests of the scheduler's stand-in; a program, not a module.

The first argument names what it does wrong, `right` for nothing; it needs no package, so that it starts fast.
Every recipient of the channel `smtp` is reported by its local part: `fail`, `later`, `retry`; all else is ok.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time

HOW = sys.argv[1]
HOST = sys.argv[2].encode() if len(sys.argv) > 2 else None
PID = b"%6d" % os.getpid()
AGENT = b"fake[%d]" % os.getpid()


def say(octets: bytes) -> None:
    while octets:
        octets = octets[os.write(1, octets) :]


def hungry() -> None:
    say(b"#hungry\n")


def mark(path: str, offset: int, octets: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(offset + 1)
        file.write(octets)


def append(path: str, octets: bytes) -> None:
    with open(path, "ab") as file:
        file.write(octets)


def notary(user: bytes, action: bytes = b"failed") -> bytes:
    return b"\x01".join((user, action, b"4.2.0", b"smtp; 450 (later)", b"dns; mx.example", AGENT))


def report(path: str, offset: int, user: bytes) -> None:
    ident = b"%d/%d\t" % (int(path.rpartition("/")[2]), offset)
    word = user.partition(b"@")[0]
    if word in (b"later", b"retry"):
        status = b"retryat +60 " if word == b"retry" else b"deferred "
        given = notary(user)
        if HOW == "retryat without a number":
            status = b"retryat "
        elif HOW == "five sub-fields":
            given = given.rpartition(b"\x01")[0]
        elif HOW == "delayed":
            given = notary(user, b"delayed")
        mark(path, offset, b"       ")
        say(ident + given + b"\t" + status + b"\r<<- RCPT\r->> 450 later\n")
    elif word == b"fail":
        if HOW != "no diagnostic":
            given = notary(user)
            if HOW == "diagnostic with five sub-fields":
                given = given.rpartition(b"\x01")[0]
            append(path, b"d %d:-1:-1::1743501600\t%s\t\r->> 550 no\n" % (offset, given))
        say(ident + b"\terror2 \r->> 550 no\n")
        if HOW != "lock left":
            mark(path, offset, b"-      ")
    else:
        if HOW != "no mark":
            mark(path, offset, b"+      ")
        if HOW == "text without end before a report":
            say(b"oops")
        if HOW == "tab in text":
            say(ident + b"\tok3 a\tb\n")
        elif HOW == "wrong number":
            say(b"99/%d\t\tok3 fine\n" % offset)
        elif HOW == "wrong offset":
            say(b"%d/3\t\tok3 fine\n" % int(path.rpartition("/")[2]))
        elif HOW == "traceback":
            sys.stderr.write("Traceback (most recent call last):\n")
            sys.stderr.flush()
        else:
            say(ident + b"\tok3 fine\n")
        if HOW == "reported twice":
            say(ident + b"\tok3 fine\n")


def work(path: str, host: bytes) -> None:
    try:
        with open(path, "rb") as file:
            octets = file.read()
    except FileNotFoundError:
        say(b"# fake: cannot open " + path.encode() + b"\n#resync " + path.encode() + b"\n")
        return
    if HOW == "extra hungry while working":
        hungry()
    if HOW == "slow":
        time.sleep(0.3)
    found = 0
    position = 0
    for line in octets.split(b"\n"):
        quad = line[12:].split(b" ")
        if line.startswith(b"r ") and quad[0] == b"smtp" and quad[1] == host:
            found += 1
            if HOW not in ("no report", "resync only"):
                mark(path, position, b"~" + PID)
                report(path, position, quad[2])
        position += len(line) + 1
    if not found or HOW == "resync only":
        say(b"#resync " + path.encode() + b"\n")
    if HOW == "rewritten":
        mark(path, 0, b"X")
    if HOW == "resync of another":
        say(b"#resync 4711\n")


def limits() -> None:
    say(b"# files %d\n" % resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    say(b"# sigpipe ignored %d\n" % (signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN))
    say(b"# folder " + os.getcwd().encode() + b"\n")
    own = {b"LC_CTYPE"}  # Python sets it by itself
    say(b"# environment " + b" ".join(sorted(set(os.environb) - own)) + b"\n")
    same = os.fstat(0).st_ino == os.fstat(1).st_ino
    say(b"# one socket %d\n# one output %d\n" % (same, os.fstat(1).st_ino == os.fstat(2).st_ino))
    open_files = [number for number in range(3, 32) if os.path.exists(f"/proc/self/fd/{number}")]
    say(b"# others %d\n" % len([number for number in open_files if is_open(number)]))


def is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def main() -> int:
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    if HOW == "dies at once":
        return 7
    if HOW == "limits":
        limits()
    if HOW != "no hungry":
        hungry()
    unread = b""
    while True:
        octets = os.read(0, 4096)
        if not octets:
            break
        unread += octets
        while b"\n" in unread:
            line, _, unread = unread.partition(b"\n")
            if not line:
                return leave()
            if line == b"#idle":
                if HOW != "no answer to idle":
                    hungry()
                if HOW == "extra hungry when idle":
                    hungry()
                continue
            path, _, host = line.partition(b"\t")
            if host or HOST is not None:
                work(path.decode(), host or HOST or b"")
            else:
                say(b"# fake needs defined host!\n")
            if HOW == "two in one line":
                say(b"#hungry#hungry\n")
            elif HOW != "lost hungry":
                hungry()
    return leave()


def leave() -> int:
    if HOW == "tail":
        say(b"# that is")
    if HOW == "hungry at the end":
        hungry()
    if HOW == "never ends":
        time.sleep(60)
    if HOW == "bad status":
        return 70
    return 0


if __name__ == "__main__":
    sys.exit(main())
