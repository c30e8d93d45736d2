"""The server of the crash loop: it knows exactly what it took, and when it said so.

An acceptance is written down before the final reply to it leaves, and its `answered_at` when that reply is
with the kernel.  Whoever calls a recipient delivered without an answered acceptance has lied.  Addresses say
how they are treated (`crashspool.KINDS`).  Final replies come late now and then, so that a kill finds some of
them outstanding.  One thread, no deadline of its own; the loop around it watches the clock.

Sources: RFC 5321 section 4.1, RFC 2033, RFC 2920, RFC 3030.
"""

from __future__ import annotations

import heapq
import selectors
import socket
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

__all__ = ["Acceptance", "Connection", "Due", "Server"]


class Due(NamedTuple):
    """A reply, or part of one, and when it leaves; `then` is done behind it, and nothing is sent after it."""

    at: float
    octets: bytes
    taken: tuple[Acceptance, ...] = ()
    then: Callable[[], None] | None = None


class Acceptance:
    """One recipient of one message that the server took into its hands."""

    __slots__ = ("address", "answered_at", "connection", "turn")

    def __init__(self, address: bytes, connection: Connection, turn: int) -> None:
        self.address = address
        self.connection = connection
        self.turn = turn  # counts the messages of the connection
        self.answered_at: float | None = None


class Connection:
    """One dialogue.

    `ended_at` is when the client left (QUIT or end of file), None while it is there; `turn` counts the
    messages, `taken` is what the last one brought.  `cut_at` is for the loop: when the client was
    killed while it was here.
    """

    def __init__(self, server: Server, sock: socket.socket) -> None:
        self.server = server
        self.sock = sock
        self.ended_at: float | None = None
        self.cut_at: float | None = None
        self.turn = 0
        self.taken: list[Acceptance] = []
        self._input = bytearray()
        self._data: bytearray | None = None  # the text since 354, behind the line end of the command
        self._chunk_left = 0
        self._chunk_last = False
        self._chunks = bytearray()
        self._mail = False
        self._recipients: list[bytes] = []
        self._replies: list[Due] = []
        self._say(b"220 crash.example ready")

    def readable(self) -> None:
        """Take what is there; the end of file ends the connection."""
        try:
            octets = self.sock.recv(1 << 18)
        except BlockingIOError:
            return
        except ConnectionError:
            octets = b""
        if not octets:
            self.close()
            return
        self._input += self._decoded(octets)
        while self._input and self._use():
            pass
        self.send_due()

    def send_due(self) -> None:
        """Send the replies whose time has come; the loop is told when to call again."""
        now = time.monotonic()
        count = sum(due.at <= now for due in self._replies)
        if count:
            due_now, self._replies = self._replies[:count], self._replies[count:]
            acceptances = [acceptance for due in due_now for acceptance in due.taken]
            for acceptance in acceptances:  # first, since the client may be faster than the next line
                acceptance.answered_at = now
            try:
                # a few octets to a client that reads: they fit, or the client is gone
                self.sock.send(self._encoded(b"".join(due.octets for due in due_now)))
            except OSError:
                self._replies.clear()
                for acceptance in acceptances:
                    acceptance.answered_at = None
                return
            then = due_now[-1].then
            if then is not None:
                then()
        if self._replies:
            self.server.wake(self._replies[0].at, self)
        elif self.ended_at is not None:
            self.close()

    def close(self) -> None:
        """Forget the client; replies that have not left never will."""
        if self.ended_at is None:
            self.ended_at = time.monotonic()
        self._replies.clear()
        self.server.forget(self)
        self.sock.close()

    def _say(self, line: bytes, *, delay: float = 0.0, taken: tuple[Acceptance, ...] = ()) -> None:
        due = time.monotonic() + delay
        if self._replies:
            due = max(due, self._replies[-1].at)  # replies never overtake each other
        self._replies.append(Due(due, line + b"\r\n", taken))

    def _decoded(self, octets: bytes) -> bytes:
        """Make of what came what was said, where it is not the same."""
        return octets

    def _encoded(self, octets: bytes) -> bytes:
        """Make of what is said what is sent, where it is not the same."""
        return octets

    def _use(self) -> bool:
        """Use up one command, chunk or text; False where more input is needed."""
        if self._data is not None:
            return self._use_text(self._data)
        if self._chunk_left:
            return self._use_chunk()
        line, found, rest = bytes(self._input).partition(b"\n")
        if not found:
            return False
        self._input = bytearray(rest)
        self._command(line.rstrip(b"\r"))
        return True

    def _use_text(self, data: bytearray) -> bool:
        start = max(0, len(data) - 4)
        data += self._input
        self._input.clear()
        end = data.find(b"\r\n.\r\n", start)
        if end < 0:
            return False
        self._input = data[end + 5 :]
        self._data = None
        self._message(bytes(data[: end + 2]).replace(b"\r\n.", b"\r\n")[2:])
        return True

    def _use_chunk(self) -> bool:
        piece = self._input[: self._chunk_left]
        del self._input[: len(piece)]
        self._chunks += piece
        self._chunk_left -= len(piece)
        if not self._chunk_left:
            self._chunk_complete()
        return True

    def _chunk_complete(self) -> None:
        message = bytes(self._chunks)
        if not self._recipients:
            self._chunks.clear()
            self._say(b"503 5.5.1 no recipients")
        elif not self._chunk_last:
            self._say(b"250 2.0.0 more")
        else:
            self._chunks.clear()
            self._message(message)

    def _command(self, line: bytes) -> None:
        words = line.upper().split()
        match words[:1]:
            case [b"EHLO" | b"LHLO"]:
                names = self._announced()
                for name in names[:-1]:
                    self._say(b"250-" + name)
                self._say(b"250 " + names[-1])
            case [b"MAIL"]:
                self._mail = True
                self._say(b"250 2.1.0 ok")
            case [b"RCPT"]:
                self._recipient(line)
            case [b"DATA"] if self._recipients:
                self._data = bytearray(b"\r\n")
                self._say(b"354 go on")
            case [b"DATA"]:
                self._say(b"554 5.5.1 no valid recipients")
            case [b"BDAT"]:
                self._chunk_left = int(words[1])
                self._chunk_last = words[2:] == [b"LAST"]
                if not self._chunk_left:
                    self._chunk_complete()
            case [b"QUIT"]:
                self.ended_at = time.monotonic()
                self._say(b"221 2.0.0 bye")
            case [b"RSET"]:
                self._reset()
                self._say(b"250 2.0.0 ok")
            case [b"NOOP"]:
                self._say(b"250 2.0.0 ok")
            case _:
                self._say(b"500 5.5.1 what?")

    def _announced(self) -> tuple[bytes, ...]:
        """Give the lines of the answer to EHLO."""
        return self.server.announce

    def _recipient(self, line: bytes) -> None:
        address = line[line.index(b"<") + 1 : line.index(b">")]
        if not self._mail:
            self._say(b"503 5.5.1 MAIL first")
        elif address.startswith(b"never"):
            self.server.refused.add(address)
            self._say(b"550 5.1.1 no such user")
        elif address.startswith(b"later") and self.server.is_first(address):
            self._say(b"450 4.2.1 not now")
        else:
            self._recipients.append(address)
            self._say(b"250 2.1.5 ok")

    def _reset(self) -> None:
        self._mail = False
        self._recipients = []
        self._chunks.clear()

    def _message(self, message: bytes) -> None:
        recipients = self._recipients
        self._reset()
        self.turn += 1
        self.taken = []
        busy = {a for a in recipients if a.startswith(b"busy") and self.server.is_first(a)}
        if busy and not self.server.lmtp:
            self._say(b"451 4.3.0 try again", delay=self.server.pause())
            return
        for address in recipients:
            if address not in busy:
                self.server.check(address, message)
                self.taken.append(Acceptance(address, self, self.turn))
                self.server.acceptances.setdefault(address, []).append(self.taken[-1])
        if not self.server.lmtp:
            self._say(b"250 2.0.0 taken", delay=self.server.pause(), taken=tuple(self.taken))
            return
        rest = iter(self.taken)
        for address in recipients:
            if address in busy:
                self._say(b"452 4.2.2 mailbox full", delay=self.server.pause())
            else:
                self._say(b"250 2.0.0 taken", delay=self.server.pause(), taken=(next(rest),))


class Server:
    """Listens at `address`, in the form of option -F.

    Collects `acceptances` by address, the addresses that were `refused` for good and those that came
    `damaged`, the `connections` that are open and those that were `met` (the loop empties that list).
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        *,
        path: Path | None = None,
        lmtp: bool = False,
        extensions: tuple[bytes, ...] = (b"PIPELINING", b"8BITMIME", b"ENHANCEDSTATUSCODES"),
        random: Random,
        expected: Callable[[bytes], bytes],
    ) -> None:
        """Listen on a UNIX socket at `path`, else on a loopback port.

        `expected` gives the body that has to arrive for an address, with CRLF.
        """
        self.lmtp = lmtp
        self.announce = (b"crash.example", *extensions)
        self.acceptances: dict[bytes, list[Acceptance]] = {}
        self.refused: set[bytes] = set()
        self.damaged: list[bytes] = []
        self.connections: set[Connection] = set()
        self.met: list[Connection] = []
        self._selector = selector
        self._random = random
        self._expected = expected
        self._known: set[bytes] = set()
        self._wakes: list[tuple[float, int, Connection]] = []
        if path is None:
            self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
            self.address = f"[127.0.0.1]:{self._listener.getsockname()[1]}"
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(path))
            self._listener.listen(64)
            self.address = f"UNIX:{path}"
        self._listener.setblocking(False)
        selector.register(self._listener, selectors.EVENT_READ, self._accept)

    def connection(self, sock: socket.socket) -> Connection:
        """Make the server's side of a new connection."""
        return Connection(self, sock)

    def close(self) -> None:
        """Stop listening and cut all connections."""
        for connection in list(self.connections):
            connection.close()
        self._selector.unregister(self._listener)
        self._listener.close()

    def next_due(self) -> float | None:
        """Give the time at which `send_due` has something to do."""
        return self._wakes[0][0] if self._wakes else None

    def send_due(self) -> None:
        """Send all replies whose time has come."""
        now = time.monotonic()
        while self._wakes and self._wakes[0][0] <= now:
            _, _, connection = heapq.heappop(self._wakes)
            if connection in self.connections:
                connection.send_due()

    def wake(self, due: float, connection: Connection) -> None:
        """Have the connection's replies looked at when they are due."""
        heapq.heappush(self._wakes, (due, id(connection), connection))

    def forget(self, connection: Connection) -> None:
        """Drop a connection that ended."""
        if connection in self.connections:
            self.connections.remove(connection)
            self._selector.unregister(connection.sock)

    def pause(self) -> float:
        """Choose how many seconds a final reply is late: mostly none, at times up to 20 ms."""
        return self._random.choice((0.0, 0.0, 0.0, self._random.uniform(0.0, 0.02)))

    def is_first(self, address: bytes) -> bool:
        """Tell whether this address is met for the first time."""
        if address in self._known:
            return False
        self._known.add(address)
        return True

    def check(self, address: bytes, message: bytes) -> None:
        """Note a body that is not what was in the message file."""
        if message.partition(b"\r\n\r\n")[2] != self._expected(address):
            self.damaged.append(address)

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        sock.setblocking(False)
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = self.connection(sock)
        self.connections.add(connection)
        self.met.append(connection)
        self._selector.register(sock, selectors.EVENT_READ, connection.readable)
        connection.send_due()
