"""The record of one connection: who sent what, and who waited for whom.

Neighbouring pieces from one side are merged: where a piece of the server stands between two of the client,
the client may have waited for it; inside one piece it cannot have waited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from zsmtp.testing.peer import Message, Peer

__all__ = ["Conversation", "Piece"]


class Piece(NamedTuple):
    """Octets from the client (`C`) or the server (`S`), or an event (`-`); `at` is when the last of it came.

    Times are those of the runner's clock, in seconds.
    """

    who: str
    octets: bytes
    at: float


class Conversation:
    """What happened on one connection.

    `problems` are what the peer's script found out of place.  `tls` is the protocol version after STARTTLS.
    `client_address` is address and port of the other end, over TCP.
    `is_finished` is set when the server's side of the connection is gone.
    """

    def __init__(self, peer: Peer) -> None:
        self._parts: list[tuple[str, list[bytes], float]] = []
        self.tls: str | None = None
        self.client_address: tuple[str, int] | None = None
        self.is_finished = False
        self._peer = peer

    def __repr__(self) -> str:
        return "\n".join(f"{piece.who}: {piece.octets!r}" for piece in self.pieces)

    @property
    def pieces(self) -> list[Piece]:
        """Everything, in order."""
        return [Piece(who, b"".join(parts), at) for who, parts, at in self._parts]

    @property
    def messages(self) -> list[Message]:
        """The messages received."""
        return self._peer.messages

    @property
    def problems(self) -> list[str]:
        """What was out of place."""
        return self._peer.problems

    def add(self, who: str, octets: bytes, at: float) -> None:
        """Note octets of one side."""
        parts: list[bytes] = []
        if self._parts and self._parts[-1][0] == who:
            parts = self._parts.pop()[1]
        parts.append(octets)
        self._parts.append((who, parts, at))

    def note(self, event: str, at: float) -> None:
        """Note an event; events are not merged."""
        self._parts.append(("-", [event.encode()], at))

    @property
    def client(self) -> bytes:
        """All octets from the client."""
        return b"".join(self.flights)

    @property
    def server(self) -> bytes:
        """All octets from the server."""
        return b"".join(piece.octets for piece in self.pieces if piece.who == "S")

    @property
    def flights(self) -> list[bytes]:
        """The client's octets, cut where the server spoke."""
        return [piece.octets for piece in self.pieces if piece.who == "C"]

    @property
    def events(self) -> list[str]:
        """The events, such as `server closes`, `client closes`."""
        return [piece.octets.decode() for piece in self.pieces if piece.who == "-"]

    @property
    def commands(self) -> list[bytes]:
        """The client's lines without CRLF; message texts come in between as they were sent."""
        return self.client.replace(b"\r\n", b"\n").splitlines()

    def recording(self) -> list[list[str]]:
        """Return the form of the recordings of the original: `[who, text]`, one character for each octet."""
        return [[piece.who, piece.octets.decode("latin-1")] for piece in self.pieces]
