"""What a client sent on one connection, sorted into messages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tests.reference.recording import Piece

__all__ = ["Mail", "mails"]


class Mail(NamedTuple):
    """One transaction whose data was sent: its commands, and the data, dots single and without the last."""

    sender: bytes
    recipients: tuple[bytes, ...]
    data: bytes

    @property
    def size(self) -> int | None:
        """What MAIL announced."""
        found = re.search(rb" SIZE=(\d+)", self.sender)
        return int(found[1]) if found else None


def mails(pieces: Sequence[Piece]) -> Iterator[Mail]:
    """Give the messages of one connection, those that were cut off left out."""
    sender, recipients = b"", list[bytes]()
    is_granted = False
    for who, octets in pieces:
        if who == "S":
            is_granted = octets.splitlines()[-1].startswith(b"354")
        if who != "C":
            continue
        rest = octets
        if is_granted:
            data, end, rest = (b"\r\n" + octets).partition(b"\r\n.\r\n")
            if end and data:
                yield Mail(sender, tuple(recipients), (data + b"\r\n")[2:].replace(b"\r\n.", b"\r\n"))
        while rest:
            line, _, rest = rest.partition(b"\r\n")
            if line.startswith(b"MAIL "):
                sender, recipients = line, []
            elif line.startswith(b"RCPT "):
                recipients.append(line)
            elif line.startswith(b"BDAT "):
                size = int(line.split()[1])
                yield Mail(sender, tuple(recipients), rest[:size])
                rest = rest[size:]
