"""The scripted server of the recordings, on a loopback port of its own.

It answers each verb with what the script of the case has for it (`README.rst` tells how that is written), and
writes down every octet of both sides.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from tests.reference.recording import Piece

__all__ = ["ScriptedServer"]

_NAME: Final = "fake.example.test"
_CAPABILITIES: Final = ("8BITMIME", "SIZE 100000000", "PIPELINING", "ENHANCEDSTATUSCODES", "DSN")
_USUAL: Final = {
    "banner": f"220 {_NAME} ESMTP fake",
    "helo": f"250 {_NAME}",
    "mail": "250 2.1.0 sender ok",
    "rcpt": "250 2.1.5 recipient ok",
    "data": "354 go ahead",
    "dot": "250 2.6.0 message accepted id=FAKE1",
    "rset": "250 2.0.0 reset",
    "noop": "250 2.0.0 ok",
    "quit": "221 2.0.0 bye",
}
_UNKNOWN: Final = b"500 5.5.2 what?\r\n"
_PIECE: Final = 1 << 18
_PATIENCE: Final = 60.0


class ScriptedServer:
    """Serves until `close`; `connections` then says what was said on each, in the order of their opening."""

    def __init__(self, script: Mapping[str, Any]) -> None:
        self._script = script
        self._turns: dict[str, int] = {}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._talks: list[_Talk] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        self.port: int = self._listener.getsockname()[1]

    def close(self) -> None:
        """End the listening and wait for conversations to end, as they do when their client is gone."""
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(_PATIENCE)
        self._listener.close()

    @property
    def connections(self) -> tuple[tuple[Piece, ...], ...]:
        """What was said, neighbouring pieces of one side merged."""
        return tuple(tuple(talk.pieces) for talk in self._talks)

    @property
    def client_ports(self) -> list[int]:
        """The client's port on each connection."""
        return [talk.client_port for talk in self._talks]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            talk = _Talk(connection, self._script, self._turn)
            self._talks.append(talk)
            thread = threading.Thread(target=talk.run, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _turn(self, verb: str) -> str | None:
        """What is said to this verb now: turns go on over connections; the last one is said again."""
        answers = self._script[verb] if verb in self._script else _USUAL[verb]
        if not isinstance(answers, list):
            answers = [answers]
        turn = self._turns.get(verb, 0)
        self._turns[verb] = turn + 1
        said: str | None = answers[min(turn, len(answers) - 1)]
        return said


class _Closed(Exception):
    """The script wants this connection closed."""


class _Talk:
    """One connection."""

    def __init__(
        self, connection: socket.socket, script: Mapping[str, Any], turn: Callable[[str], str | None]
    ) -> None:
        self.pieces: list[Piece] = []
        self.client_port: int = connection.getpeername()[1]
        self._connection = connection
        self._script = script
        self._turn = turn
        self._said = b""  # to be sent when everything at hand is answered
        self._accepted = 0
        self._left_of_chunk = 0
        self._chunk = ""
        self._lines_of_data = -1  # -1: not in the data
        self._is_silent = False

    def run(self) -> None:
        """Converse until one side closes."""
        self._connection.settimeout(_PATIENCE)
        with self._connection:
            try:
                self._answer("banner")
                self._flush()
                self._converse()
            except _Closed:
                self._flush()
            except ConnectionError:
                self._note("-", b"client resets")

    def _converse(self) -> None:
        waiting = b""
        while data := self._connection.recv(_PIECE):
            self._note("C", data)
            waiting = self._take(waiting + data)
            self._flush()
        if not self._is_silent:
            self._note("-", b"client closes")

    def _take(self, waiting: bytes) -> bytes:
        """Answer what is complete; return the rest."""
        while waiting and not self._is_silent:
            if self._left_of_chunk:
                taken = min(len(waiting), self._left_of_chunk)
                self._left_of_chunk -= taken
                waiting = waiting[taken:]
                if not self._left_of_chunk:
                    self._say(self._chunk)
                continue
            line, end, rest = waiting.partition(b"\n")
            if not end:
                break
            waiting = rest
            if self._lines_of_data >= 0:
                self._take_data(line)
            else:
                self._take_command(line.rstrip(b"\r").decode("latin-1"))
        return waiting

    def _take_data(self, line: bytes) -> None:
        self._lines_of_data += 1
        if self._lines_of_data == self._script.get("drop_after_lines"):
            self._note("-", b"server closes")
            raise _Closed
        if line == b".\r":
            self._lines_of_data = -1
            for _ in range(self._accepted if self._script.get("lmtp") else 1):
                self._answer("dot")

    def _take_command(self, line: str) -> None:
        verb, _, argument = line.partition(" ")
        match verb.lower():
            case "ehlo" | "lhlo" if "ehlo" not in self._script:
                lines = [_NAME, *self._script.get("caps", _CAPABILITIES)]
                for one in lines[:-1]:
                    self._say("250-" + one)
                self._say("250 " + lines[-1])
            case "ehlo" | "lhlo":
                self._answer("ehlo")
            case "rcpt":
                self._accepted += self._answer("rcpt").startswith("2")
            case "data":
                if self._answer("data").startswith("354"):
                    self._lines_of_data = 0
            case "bdat":
                size = argument.partition(" ")[0]
                self._left_of_chunk = int(size)
                self._chunk = f"250 2.6.0 {size} octets received"
            case "mail":
                self._accepted = 0
                self._answer("mail")
            case "quit":
                self._answer("quit")
                raise _Closed
            case "helo" | "rset" | "noop" as known:
                self._answer(known)
            case _:
                self._said += _UNKNOWN

    def _answer(self, verb: str) -> str:
        said = self._turn(verb)
        if said is None:
            self._note("-", b"server closes")
            raise _Closed
        if said == "hang":
            self._flush()
            self._note("-", b"server falls silent")
            self._is_silent = True
            return ""
        self._say(said)
        return said

    def _say(self, reply: str) -> None:
        self._said += reply.encode("latin-1") + b"\r\n"

    def _flush(self) -> None:
        said, self._said = self._said, b""
        if said:
            self._note("S", said)
            self._connection.sendall(said)

    def _note(self, who: str, octets: bytes) -> None:
        if self.pieces and self.pieces[-1].who == who != "-":
            octets = self.pieces.pop().octets + octets
        self.pieces.append(Piece(who, octets))
