"""A transport agent that is just good enough to be killed, and wrong on demand.

Holds the crash loop to its word: an honest agent must pass, and one that marks too early, reports too early,
marks too late or makes failures of deferrals must be found out.  One connection, one message after the other,
no options but -F and -M.

Usage: fakeagent.py HABIT -F '[127.0.0.1]:PORT'|UNIX:PATH [-M] …, with one of the habits that `Agent` names.
"""

from __future__ import annotations

import getopt
import os
import re
import socket
import sys
import time
from typing import NamedTuple

__all__ = ["main"]


class Line(NamedTuple):
    """A recipient line that is to be done."""

    offset: int
    user: bytes


class Agent:
    """One run; `habit` is honest, marks-early, reports-early, marks-late, never-marks or gives-up."""

    def __init__(self, habit: str, where: str, *, lmtp: bool) -> None:
        self.habit = habit
        self.lmtp = lmtp
        if where.startswith("UNIX:"):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(where[5:])
        else:
            self.socket = socket.create_connection(("127.0.0.1", int(where.rpartition(":")[2])))
        self.replies = self.socket.makefile("rb")
        self.late: list[tuple[int, Line]] = []
        self.reply()
        self.socket.sendall(b"LHLO fake\r\n" if lmtp else b"EHLO fake\r\n")
        self.reply()

    def reply(self) -> int:
        while True:
            line = self.replies.readline()
            if line[3:4] != b"-":
                return int(line[:1])

    def job(self, name: str) -> None:
        """Deliver one control file, group by group."""
        fd = os.open(name, os.O_RDWR)
        octets = os.pread(fd, 1 << 24, 0)
        with open(f"../queue/{name}", "rb") as file:
            body = file.read()[int(octets[octets.index(b"\no ") + 3 :].split(b"\n")[0]) :]
        at = 0
        for group in octets.split(b"\n\n"):
            if b"\ns local " in b"\n" + group and b"\nm\n" in group:
                self.group(fd, at, group, body)
            at += len(group) + 2
        if self.habit != "marks-late":
            os.close(fd)

    def group(self, fd: int, at: int, group: bytes, body: bytes) -> None:
        lines = [
            Line(at + m.start() + 1, m[1]) for m in re.finditer(rb"\nr {11}smtp \S+ (\S+) ", b"\n" + group)
        ]
        lines = [line._replace(offset=line.offset - 1) for line in lines]
        if not lines:
            return
        for line in lines:
            self.mark(fd, line, b"+      " if self.habit == "marks-early" else b"~%6d" % os.getpid())
        if self.habit == "marks-early":
            time.sleep(0.01)  # a window that kills do hit
        sender = re.search(rb"s local (\S+) ", group)
        assert sender is not None
        self.socket.sendall(b"MAIL FROM:<%s>\r\n" % sender[1])
        self.reply()
        accepted = []
        for line in lines:
            self.socket.sendall(b"RCPT TO:<%s>\r\n" % line.user)
            if (answer := self.reply()) == 2:
                accepted.append(line)
            else:
                self.failed(fd, line, answer)
        if not accepted:
            self.socket.sendall(b"RSET\r\n")
            self.reply()
            return
        self.socket.sendall(b"DATA\r\n")
        self.reply()
        headers = group[group.index(b"\nm\n") + 3 :]
        message = (headers + b"\n\n" + body).replace(b"\n.", b"\n..").replace(b"\n", b"\r\n")
        self.socket.sendall(message + b".\r\n")
        if self.habit == "reports-early":
            self.report(fd, accepted)
        answers = [self.reply() for _ in accepted] if self.lmtp else [self.reply()] * len(accepted)
        for line, answer in zip(accepted, answers, strict=True):
            if answer != 2:
                self.failed(fd, line, answer)
            elif self.habit != "reports-early":
                self.report(fd, [line])

    def report(self, fd: int, lines: list[Line]) -> None:
        for line in lines:
            if self.habit == "marks-late":
                self.late.append((fd, line))
                if len(self.late) >= 20:
                    for late in self.late:
                        self.mark(*late, b"+      ")
                        self.say(*late, b"ok3 late")
                    self.late.clear()
                continue
            self.mark(fd, line, b"       " if self.habit == "never-marks" else b"+      ")
            self.say(fd, line, b"ok3 fine")

    def failed(self, fd: int, line: Line, answer: int) -> None:
        if answer == 4 and self.habit != "gives-up":
            self.mark(fd, line, b"       ")
            self.say(fd, line, b"deferred later")
            return
        notary = b"%s\x01failed\x015.0.0\x01smtp; 550 (no)\x01\x01smtp[%d]" % (line.user, os.getpid())
        diagnostic = b"d %d:-1:-1::%d\t%s\tno\n" % (line.offset, int(time.time()), notary)
        os.pwrite(fd, diagnostic, os.fstat(fd).st_size)
        self.say(fd, line, b"error2 no")
        self.mark(fd, line, b"-      ")

    def mark(self, fd: int, line: Line, mark: bytes) -> None:
        os.pwrite(fd, mark, line.offset + 1)

    def say(self, fd: int, line: Line, text: bytes) -> None:
        number = os.readlink(f"/proc/self/fd/{fd}").rpartition("/")[2]
        os.write(1, b"%s/%d\t\t%s\n" % (number.encode(), line.offset, text))


def main() -> None:
    """Work until the end of input."""
    options = dict(getopt.getopt(sys.argv[2:], "c:h:O:F:M")[0])
    agent = Agent(sys.argv[1], options["-F"], lmtp="-M" in options)
    os.write(1, b"#hungry\n")
    with os.fdopen(0, "rb", buffering=0) as feed:
        for line in feed:
            agent.job(line.split(b"\t")[0].decode())
            os.write(1, b"#hungry\n")


if __name__ == "__main__":
    main()
