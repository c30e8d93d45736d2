"""A POSTOFFICE full of small messages, made in a hurry and checked afterwards.

The files are those that a router writes (control file below `transport/`, message file below `queue/`), but
they are written straight to their names: nobody reads them before all are there.  One recipient in each
message, so that message, token, recipient and report stand for each other.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["PostOffice"]

_FIRST = 100_001

_CONTROL = """\
@ 0x00000007
i {number}
o {offset}
l <{number}@bench.example>
e sender@bench.example
s local sender@bench.example sender@bench.example 99
r           {channel} {host} {user} 99
N NOTIFY=FAILURE,DELAY ORCPT=rfc822;{user} INRCPT=rfc822;{user} INFROM=rfc822;sender@bench.example
m
{headers}
"""

_HEADERS = """\
Received: from client.bench.example ([192.0.2.7]) by mta.bench.example with ESMTP
\tid <S{number}AblDAKAA>; Tue, 1 Apr 2025 13:00:00 +0300
X-Token: {number}
From:\tSender <sender@bench.example>
To:\t{user}
Subject: Message {number} of a benchmark
Message-Id: <{number}@bench.example>
Date:\tTue, 1 Apr 2025 12:00:00 +0200
"""

_ENVELOPE = "external\nrcvdfrom client.bench.example\nfrom <sender@bench.example>\nto <{user}>\nenv-end\n"


def _body(octets: int) -> str:
    """Text of just so many octets (2 or more) when its line ends are CRLF."""
    line = "The quick brown fox. It jumps over the lazy dog, again and more\n"
    full, rest = divmod(octets, len(line) + 1)
    match rest:
        case 0:
            return line * full
        case 1:
            return "x" + line * full
        case _:
            return line * full + "x" * (rest - 2) + "\n"


class PostOffice:
    """A private spool with messages 100001, 100002, … for one host; `jobs` are its feed lines."""

    def __init__(
        self,
        directory: Path,
        *,
        messages: int,
        body: int,
        channel: str = "smtp",
        host: str = "bench.example",
    ) -> None:
        """Write all files; `body` is the size of each body in octets on the wire."""
        self.transport = directory / "transport"
        self.queue = directory / "queue"
        self.zconfig = directory / "zmailer.conf"
        self.host = host
        self.body = body
        self.numbers = range(_FIRST, _FIRST + messages)
        self._offsets: list[int] = []
        for folder in (self.transport, self.queue, directory / "public"):
            folder.mkdir(parents=True)
        self.zconfig.write_text(f"POSTOFFICE={directory}\n")
        text = _body(body)
        for number in self.numbers:
            words = {"number": number, "user": f"u{number}@{host}", "channel": channel, "host": host}
            headers = _HEADERS.format(**words)
            before = _ENVELOPE.format(**words) + headers + "\n"
            control = _CONTROL.format(offset=len(before), headers=headers, **words)
            self._offsets.append(control.index("\nr  ") + 1)
            _write(self.queue / str(number), before + text)
            _write(self.transport / str(number), control)

    @property
    def jobs(self) -> list[bytes]:
        """The lines with which a scheduler feeds these messages."""
        return [b"%d\t%s\n" % (number, self.host.encode()) for number in self.numbers]

    def reset(self) -> None:
        """Make every recipient one that is still to do."""
        for number, offset in zip(self.numbers, self._offsets, strict=True):
            fd = os.open(self.transport / str(number), os.O_WRONLY)
            os.pwrite(fd, b"       ", offset + 1)
            os.close(fd)

    def problems(self, reports: list[bytes], record: list[tuple[str, int, str]]) -> list[str]:
        """Compare what was reported, marked and received with the spool; no line means that all is well."""
        found: list[str] = []
        words = {line.split(b"\t")[0]: line.split(b"\t")[-1].split(b" ")[0] for line in reports}
        expected = {
            b"%d/%d" % (number, offset) for number, offset in zip(self.numbers, self._offsets, strict=True)
        }
        if len(reports) != len(expected) or words.keys() != expected:
            found.append(
                f"{len(reports)} reports about {len(words)} recipients; {len(expected)} recipients were fed"
            )
        refused = [key for key, word in words.items() if word not in (b"ok", b"ok2", b"ok3")]
        if refused:
            first = refused[0].decode()
            found.append(f"{len(refused)} reports are not ok: {first} is {words[refused[0]].decode()}")
        arrived = {(token, recipient) for token, _, recipient in record}
        wanted = {(str(number), f"u{number}@{self.host}") for number in self.numbers}
        if len(record) != len(arrived):
            found.append(f"{len(record) - len(arrived)} messages arrived twice")
        if arrived != wanted:
            found.append(f"{len(wanted - arrived)} messages are missing, {len(arrived - wanted)} are unknown")
        short = sum(octets < self.body + 200 for _, octets, _ in record)
        if short:
            found.append(f"{short} messages are too short")
        places = zip(self.numbers, self._offsets, strict=True)
        unmarked = sum(not self._is_marked(number, offset) for number, offset in places)
        if unmarked:
            found.append(f"{unmarked} recipients are not marked as delivered")
        return found

    def _is_marked(self, number: int, offset: int) -> bool:
        fd = os.open(self.transport / str(number), os.O_RDONLY)
        try:
            return os.pread(fd, 9, offset) == b"r+       "
        finally:
            os.close(fd)


def _write(path: Path, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    try:
        os.write(fd, text.encode("ascii"))
    finally:
        os.close(fd)
