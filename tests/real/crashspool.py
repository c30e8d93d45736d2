"""The spool of the crash loop, with a scheduler's knowledge of it.

Writes messages of every shape (several recipients, two senders, a long body, dots), and after each kill looks
at the control files as the scheduler does when it reads them again: stale locks are cleared, marks and `d`
lines are read, and anything else that changed is a problem.  Shares no code with `zsmtp.spool`, which is
under test.

Source: spool specification A.6, B, D.
"""

from __future__ import annotations

import os
from pathlib import Path
from random import Random
from typing import NamedTuple

__all__ = ["HOST", "KINDS", "Addressee", "Letter", "Office"]

HOST = "crash.example"

KINDS = ("plain",) * 20 + ("never", "later", "busy")
"""The first word of an address, as often as it is used.

`never` is refused at RCPT, `later` deferred there when first met, `busy` defers the first final reply.
"""


class Addressee(NamedTuple):
    """One recipient line; `offset` is that of its `r`."""

    offset: int
    address: bytes

    @property
    def is_refused(self) -> bool:
        """Tell whether the server never takes it."""
        return self.address.startswith(b"never")


class Letter:
    """One message in the spool."""

    def __init__(self, number: int, control: bytes, body: bytes) -> None:
        self.number = number
        self.body = body.replace(b"\n", b"\r\n")
        self.addressees: list[Addressee] = []
        self._control = control
        at = 0
        for line in control.split(b"\n"):
            if line.startswith(b"r           smtp "):
                self.addressees.append(Addressee(at, line.split()[3]))
            at += len(line) + 1

    def unexpected(self, octets: bytes) -> str:
        """Say what a control file has become that it must not be; empty where all is well."""
        known = bytearray(octets[: len(self._control)])
        for addressee in self.addressees:
            known[addressee.offset + 1 : addressee.offset + 8] = b"       "
        if known != self._control:
            return "octets other than marks have changed"
        for line in octets[len(self._control) :].split(b"\n")[:-1]:
            # a line cut by the kill has no sender of reports to care for: `has_diagnostic` looks for whole
            # ones
            if line and not line.startswith(b"d "):
                return f"strange line {line[:60]!r}"
        return ""

    def has_diagnostic(self, octets: bytes, addressee: Addressee) -> bool:
        """Tell whether there is a whole `d` line for the recipient, its notary field in six parts."""
        start = b"d %d:" % addressee.offset
        for line in octets[len(self._control) :].split(b"\n")[:-1]:
            fields = line.split(b"\t")
            if line.startswith(start) and len(fields) == 3 and fields[1].count(b"\x01") == 5:
                return True
        return False


class Office:
    """A POSTOFFICE with `letters` by number."""

    def __init__(self, directory: Path, random: Random) -> None:
        self.transport = directory / "transport"
        self.zconfig = directory / "zmailer.conf"
        self.letters: dict[int, Letter] = {}
        self._queue = directory / "queue"
        self._random = random
        self._written = 0
        for folder in (self.transport, self._queue, directory / "public"):
            folder.mkdir(parents=True)
        self.zconfig.write_text(f"POSTOFFICE={directory}\n")

    def body(self, address: bytes) -> bytes:
        """Give the body that belongs to an address, as it has to arrive; empty for an unknown one."""
        letter = self.letters.get(int(address.partition(b"-")[2].partition(b"-")[0] or b"0"))
        return letter.body if letter else b""

    def read(self, letter: Letter) -> bytes:
        """Read a control file."""
        return (self.transport / str(letter.number)).read_bytes()

    def write(self) -> Letter:
        """Put one more message into the spool."""
        number = 1001 + self._written
        self._written += 1
        envelope = b"external\nfrom <sender@%s>\nenv-end\n" % HOST.encode()
        control = [
            b"@ 0x00000007",
            b"i %d" % number,
            b"o %d" % len(envelope),
            b"l <%d@%s>" % (number, HOST.encode()),
        ]
        count = self._random.choice((1, 1, 1, 2, 3, 4))
        for group in range(self._random.choice((1, 1, 1, 2))):
            sender = b"s%d-%d@%s" % (group, number, HOST.encode())
            control.append(b"s local %s %s 99" % (sender, sender))
            for index in range(count):
                kind = self._random.choice(KINDS).encode()
                address = b"%s-%d-%d%d@%s" % (kind, number, group, index, HOST.encode())
                control.append(b"r           smtp %s %s 99" % (HOST.encode(), address))
                control.append(b"N NOTIFY=FAILURE,DELAY ORCPT=rfc822;%s" % address)
            control += [b"m", b"From:\t%s" % sender, b"Subject: %d" % number, b""]
        letter = Letter(number, b"\n".join(control) + b"\n", self._text(number))
        text = letter.body.replace(b"\r\n", b"\n")
        _create(self._queue / str(number), envelope + text)
        _create(self.transport / str(number), b"\n".join(control) + b"\n")
        self.letters[number] = letter
        return letter

    def read_again(self, letter: Letter, dead: set[int]) -> tuple[dict[Addressee, bytes], list[str]]:
        """Clear stale locks and read the marks; with the marks come the problems that were found.

        `dead` are the process numbers whose locks are stale.  A mark is one of SPC, `+`, `-`.
        """
        octets = self.read(letter)
        unexpected = letter.unexpected(octets)
        problems = [f"{letter.number}: {unexpected}"] if unexpected else []
        marks = {}
        for addressee in letter.addressees:
            mark, pid = (
                octets[addressee.offset + 1 : addressee.offset + 2],
                octets[addressee.offset + 2 :][:6],
            )
            if mark == b"~":
                if pid not in {b"%6d" % number for number in dead}:
                    problems.append(
                        f"{letter.number}/{addressee.offset}: locked by {pid!r}, who is not our agent"
                    )
                self._blank(letter, addressee)
                mark = b" "
            elif mark not in (b" ", b"+", b"-") or pid.strip():
                problems.append(f"{letter.number}/{addressee.offset}: mark {mark + pid!r}")
            if mark == b"-" and not letter.has_diagnostic(octets, addressee):
                problems.append(f"{letter.number}/{addressee.offset}: marked as failed without a d line")
            marks[addressee] = mark
        return marks, problems

    def has_diagnostic(self, letter: Letter, addressee: Addressee) -> bool:
        """Tell whether a whole `d` line stands for the recipient."""
        return letter.has_diagnostic(self.read(letter), addressee)

    def _blank(self, letter: Letter, addressee: Addressee) -> None:
        fd = os.open(self.transport / str(letter.number), os.O_WRONLY)
        try:
            os.pwrite(fd, b"       ", addressee.offset + 1)
        finally:
            os.close(fd)

    def _text(self, number: int) -> bytes:
        lines = self._random.choice((3, 30, 60, 60, 60, 90, 4000 if self._random.random() < 0.2 else 60))
        return (
            b"%d\n.\n..\n" % number
            + b"A line of text, no dot at its start, of 60 octets altogether.\n" * lines
        )


def _create(path: Path, octets: bytes) -> None:
    hidden = path.with_name(f".{path.name}")
    hidden.write_bytes(octets)
    hidden.rename(path)
