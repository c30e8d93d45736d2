"""A recording of the original: what it was given, and what it then did.

One file is one JSON object whose strings hold one character per octet (Latin-1); `README.rst` lists its keys.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["CASES", "ROUTES", "Outcome", "Piece", "Recording", "Route", "SpoolFile", "octets"]

_FOLDER = Path(__file__).resolve().parent / "recordings"


def octets(text: str) -> bytes:
    """Turn a string of a recording into the octets that it stands for."""
    return text.encode("latin-1")


class SpoolFile(NamedTuple):
    """A control file and its message file; without a `message` there is none in queue/."""

    name: str
    control: bytes
    message: bytes | None


class Piece(NamedTuple):
    """Neighbouring octets from one side of a connection: `who` is C, S, or - for an event told in words."""

    who: str
    octets: bytes


class Outcome(NamedTuple):
    """What an agent did: everything that scheduler, server and spool saw of it, with placeholders filled in.

    `exit` is its status, or says how it was ended; `controls` are the control files afterwards.
    """

    exit: int | str
    stdout: bytes
    stderr: bytes
    connections: tuple[tuple[Piece, ...], ...]
    controls: tuple[bytes, ...]


class Recording(NamedTuple):
    """One run of the original.

    `environment` holds changes of zmailer.conf, `feed` the lines for standard input, `server` what the peer
    answers where that is not the usual.
    """

    name: str
    what: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    feed: tuple[bytes, ...]
    files: tuple[SpoolFile, ...]
    server: Mapping[str, Any]
    outcome: Outcome

    @classmethod
    def read(cls, path: Path) -> Recording:
        """Read a `.case` file."""
        told = json.loads(path.read_text())
        return cls(
            told["name"],
            told["what"],
            tuple(told["argv"]),
            told["zenv"],
            tuple(map(octets, told["stdin"])),
            tuple(
                SpoolFile(
                    file["name"],
                    octets(file["control"]),
                    None if file["message"] is None else octets(file["message"]),
                )
                for file in told["files"]
            ),
            told["server"],
            Outcome(
                told["exit"],
                octets(told["stdout"]),
                octets(told["stderr"]),
                tuple(
                    tuple(Piece(who, octets(text)) for who, text in connection)
                    for connection in told["connections"]
                ),
                tuple(map(octets, told["control_after"])),
            ),
        )


class Route(NamedTuple):
    """What the real router made of a message: `submitted` came in; `control` and `message` went out."""

    name: str
    what: str
    submitted: bytes
    control: bytes
    message: bytes

    @classmethod
    def read(cls, path: Path) -> Route:
        """Read a `.route` file."""
        told = json.loads(path.read_text())
        return cls(
            told["name"],
            told["what"],
            octets(told["submitted"]),
            octets(told["control"]),
            octets(told["message"]),
        )


CASES = {path.stem: path for path in sorted(_FOLDER.glob("*.case"))}
ROUTES = {path.stem: path for path in sorted(_FOLDER.glob("*.route"))}
