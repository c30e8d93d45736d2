"""Whether the demo went as it must: each copy once, in the right Maildir and unchanged, each report and mark.

Reads the Maildirs and control files, and nothing that the servers remember but the TLS version, so that a
server that loses, doubles or spoils a message is found out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from zsmtp.ctl.demomail import Letter, Reader
from zsmtp.testing import marks
from zsmtp.testing.report import Report

__all__ = ["Fate", "Posted", "check", "copies", "fates", "reply_in"]


class Posted(NamedTuple):
    """A message in the spool: its control file (path below `transport/`, number, octets at first).

    `offsets` are those of the recipient lines, in the order of `letter.readers`.
    """

    letter: Letter
    path: str
    number: int
    before: bytes
    offsets: tuple[int, ...]


class Fate(NamedTuple):
    """What became of one recipient: reply and report word as the agent told them, and the mark."""

    letter: Letter
    reader: Reader
    tls: str | None
    reply: str
    word: str
    mark: bytes


def fates(
    posted: Sequence[Posted],
    reports: Mapping[tuple[int, int], Report],
    seen: Mapping[tuple[str, str], str | None],
    now: Mapping[str, bytes],
) -> list[Fate]:
    """Bring together what agents, servers and control files say; `now` has these by their path.

    A recipient that was not reported has an empty word.
    """
    found = []
    for each in posted:
        tags = {line.offset: line.tag for line in marks.recipients(now.get(each.path, b""))}
        for offset, reader in zip(each.offsets, each.letter.readers, strict=True):
            report = reports.get((each.number, offset))
            found.append(
                Fate(
                    each.letter,
                    reader,
                    seen.get((each.letter.sender, reader.address)),
                    reply_in(report.text) if report is not None else "no report",
                    report.word if report is not None else "",
                    tags.get(offset, b"?"),
                )
            )
    return found


def reply_in(text: bytes) -> str:
    """Cut the server's last line out of the text of a report; the end of the text where no server spoke."""
    parts = text.split(b"\r")
    replies = [part[4:] for part in parts if part.startswith(b"->> ")]
    return (replies or parts)[-1].decode("ascii", "replace")


def copies(folder: str) -> dict[str, list[bytes]]:
    """Read all Maildirs in a folder: the messages of each by its name, half-written ones included."""
    found: dict[str, list[bytes]] = {}
    for name in sorted(os.listdir(folder)):
        messages = found[name] = []
        for part in ("new", "cur", "tmp"):
            place = os.path.join(folder, name, part)
            for file_name in sorted(os.listdir(place)):
                with open(os.path.join(place, file_name), "rb") as file:
                    messages.append(file.read())
    return found


def check(results: Sequence[Fate], arrived: Mapping[str, Sequence[bytes]]) -> list[str]:
    """Name everything that is not as it must be; an empty list if all is well.

    `arrived` are the messages in each Maildir, as `copies` reads them.
    """
    problems: list[str] = []
    spare = {name: list(messages) for name, messages in arrived.items()}
    for fate in results:
        problems += _reported_wrong(fate)
        if fate.reader.answer.is_delivery:
            problems += _delivered_wrong(fate, spare.get(fate.reader.address, []))
    for name, messages in spare.items():
        problems += [
            f"the Maildir of {name} holds {_named(message)}, which is not for it" for message in messages
        ]
    return problems


def _reported_wrong(fate: Fate) -> list[str]:
    who, answer = _who(fate), fate.reader.answer
    problems = []
    if fate.word != answer.word:
        problems.append(f"{who}: was reported {fate.word or 'not at all'}, and {answer.word} is right")
    if fate.word and fate.reply != answer.reply:
        problems.append(f"{who}: the agent tells of the reply {fate.reply!r}, and {answer.reply!r} was given")
    if fate.mark != answer.mark:
        problems.append(
            f"{who}: the mark in the control file is {_shown(fate.mark)}, not {_shown(answer.mark)}"
        )
    if fate.reader.channel == "smtp" and not fate.tls:
        problems.append(f"{who}: came to the server without TLS, though it offers STARTTLS")
    return problems


def _delivered_wrong(fate: Fate, messages: list[bytes]) -> list[str]:
    """Take the copies of a message out of what lies in the Maildir, and say what is wrong with them."""
    sent = fate.letter.octets
    count = messages.count(sent)
    messages[:] = [message for message in messages if message != sent]
    if count == 1:
        return []
    if count > 1:
        return [f"{_who(fate)}: arrived {count} times"]
    for message in messages:
        if _identity(message) == _identity(sent):
            messages.remove(message)
            place = next((n for n, (a, b) in enumerate(zip(message, sent, strict=False)) if a != b), None)
            where = (
                f"at octet {place}" if place is not None else f"in length: {len(message)}, not {len(sent)}"
            )
            return [f"{_who(fate)}: what arrived differs from what was sent {where}"]
    return [f"{_who(fate)}: did not arrive"]


def _who(fate: Fate) -> str:
    return f"message {fate.letter.number} to {fate.reader.address}"


def _shown(mark: bytes) -> str:
    return "blank" if mark == b" " else mark.decode("ascii", "replace")


def _identity(message: bytes) -> bytes:
    """The line by which a message is recognised, though something else in it may be wrong."""
    return next((line for line in message[:2000].split(b"\n") if line.startswith(b"Message-ID:")), b"")


def _named(message: bytes) -> str:
    identity = _identity(message).removeprefix(b"Message-ID:").strip()
    return f"the message {identity.decode('ascii', 'replace')}" if identity else f"{len(message)} octets"
