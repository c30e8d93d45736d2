"""What we do otherwise than the original did, by name and with the reason.

`expected` takes the account of a recording through the rules that list it, then through its own section of
`differences.txt`, and what comes out is what our agent has to do, octet by octet.  A rule or section that
changes nothing, or does not fit, is an error: nothing is passed over because something else was.

A section of the file begins with `== NAME`; in it stand pieces, each begun by `@@ REASON` (which may go on in
further lines that begin with `@@`).  The lines of a piece begin with `-` for what the original did, `+` for
what we do, and a blank for what both do; pieces follow in the order of the account.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from tests.reference.account import account
from tests.reference.recording import Recording
from tests.reference.rules import RULES

__all__ = ["SECTIONS", "Piece", "Unfit", "expected", "unexplained"]

_FILE: Final = Path(__file__).resolve().parent / "differences.txt"


class Unfit(Exception):
    """A difference is listed that does not exist."""


class Piece(NamedTuple):
    """Neighbouring lines that differ for one reason; `old` is what the original did."""

    reason: str
    old: tuple[str, ...]
    new: tuple[str, ...]


def _read(path: Path) -> dict[str, list[Piece]]:
    sections: dict[str, list[Piece]] = {}
    pieces: list[Piece] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        mark, rest = line[:1], line[1:]
        if line.startswith("== "):
            pieces = sections.setdefault(line[3:], [])
        elif line.startswith("@@ "):
            if pieces and not pieces[-1].old and not pieces[-1].new:
                reason = pieces.pop().reason + " " + line[3:]
            else:
                reason = line[3:]
            pieces.append(Piece(reason, (), ()))
        elif mark in (" ", "-", "+") and line and pieces:
            reason, old, new = pieces.pop()
            old += (rest,) * (mark != "+")
            new += (rest,) * (mark != "-")
            pieces.append(Piece(reason, old, new))
        elif line and not line.startswith("#"):
            raise Unfit(f"{path.name}:{number}: this line belongs to no piece: {line}")
    return sections


SECTIONS: Final = _read(_FILE)


def expected(recording: Recording) -> list[str]:
    """Write down what our agent has to do.  Raises Unfit where a listed difference does not exist."""
    lines = account(recording.outcome, recording.files)
    for rule in RULES:
        if rule.is_for(recording.name):
            changed = rule.change(lines, recording)
            if changed == lines:
                raise Unfit(f"{recording.name}: no such difference any more: {rule.reason}")
            lines = changed
    at = 0
    for piece in SECTIONS.get(recording.name, []):
        at = _find(lines, piece, at, recording.name)
        lines[at : at + len(piece.old)] = piece.new
        at += len(piece.new)
    return lines


def _find(lines: Sequence[str], piece: Piece, start: int, name: str) -> int:
    for at in range(start, len(lines) - len(piece.old) + 1):
        if tuple(lines[at : at + len(piece.old)]) == piece.old:
            return at
    raise Unfit(f"{name}: no such difference any more: {piece.reason}: {piece.old[:3]}")


def unexplained(found: Sequence[str], wanted: Sequence[str]) -> Iterator[str]:
    """Give the differences that are left, in the form of pieces without a reason."""
    for line in list(difflib.unified_diff(wanted, found, lineterm="", n=1))[2:]:
        yield "@@ why?" if line.startswith("@@") else line
