"""The server of the crash loop, with faults: refusals, stalls, drops, resets, drips, noise, broken TLS.

One fault at most ends a connection's good conduct; refusals (4yz, 5yz) come at any reply besides.  All of it
is written down, so that an account can tell what the client could know from what it could not.

A reply too many is sent only where order can show it: not in front of a message that goes by BDAT, and not
among the final replies of LMTP (see docs/session.rst, "What replies cannot show").
"""

from __future__ import annotations

import selectors
import socket
import ssl
import struct
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.real.crashserver import Acceptance, Connection, Due, Server

__all__ = ["FAULTS", "LIES", "TLS_FAULTS", "FaultConnection", "FaultServer", "Plan"]

FAULTS = {
    "421": 3,
    "drip": 4,
    "drop": 4,
    "drop behind": 4,
    "flood": 1,
    "half a reply": 3,
    "noise": 2,
    "reset": 4,
    "reset behind": 4,
    "stall": 1,
    "surplus": 4,
    "trickle": 1,
}
"""What can take the place of a reply, each with its weight."""

TLS_FAULTS = ("alert", "drop", "injection", "noise", "refusal", "reset")
"""What can take the place of a handshake."""

LIES = ("forgets", "counts twice", "hides refusals")
"""Ways in which the account itself can be false, to show that this is found."""

_SHARE = 0.5  # of the connections have a fault
_TLS_SHARE = 0.4  # of the handshakes
_REPLIES = 60  # a fault comes within so many
_REFUSED = 0.01  # of the replies
_TEMPORARY = (b"450 4.2.0", b"451 4.3.0", b"452 4.5.3", b"451")
_PERMANENT = (b"550 5.7.1", b"553 5.1.3", b"554 5.0.0", b"554")
_ALERT = b"\x15\x03\x03\x00\x02\x02\x28"  # fatal, handshake_failure
_LINGER_NOT = struct.pack("ii", 1, 0)


class Plan(NamedTuple):
    """The fault of a connection: what comes in place of, or with, its reply number `at`."""

    fault: str
    at: int


class FaultConnection(Connection):
    """One dialogue with at most one `plan`.

    What the client sends behind `spoiled_turn`, or has no answer to, it cannot know the fate of.
    """

    server: FaultServer

    def __init__(self, server: FaultServer, sock: socket.socket, plan: Plan | None, broken_tls: str) -> None:
        self.spoiled_turn: int | None = None
        self.was_reset = False
        self._plan = plan
        self._broken_tls = broken_tls
        self._count = 0
        self._done = ""
        self._stage = b"GREETING"
        self._sender = b""
        self._is_deaf = False
        self._is_securing = False
        self._is_secure = False
        self._tls: ssl.SSLObject | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        super().__init__(server, sock)

    def is_doubtful(self, acceptance: Acceptance) -> bool:
        """Tell whether the client may not have had the answer for this one, or no reason to believe it."""
        if acceptance.answered_at is None or (self.was_reset and acceptance.turn == self.turn):
            return True
        return self.spoiled_turn is not None and acceptance.turn > self.spoiled_turn

    def __repr__(self) -> str:
        return f"<{self._done or 'in order'}, spoiled {self.spoiled_turn}, {self.turn} messages>"

    # What is said

    def _say(self, line: bytes, *, delay: float = 0.0, taken: tuple[Acceptance, ...] = ()) -> None:
        if self._is_deaf:
            return
        self._count += 1
        plan = self._plan
        if plan is not None and self._count >= plan.at and self._can(plan.fault):
            self._plan = None
            self._done = f"{plan.fault} at {line!r}"
            self.server.fired[plan.fault] += 1
            self._misbehave(plan.fault, line, taken)
        elif self._is_refusable(line) and self.server.refuses():
            super()._say(self._refuse(taken), delay=delay)
        else:
            super()._say(line, delay=delay, taken=taken)

    def _can(self, fault: str) -> bool:
        if self.server.context is not None and not self._is_secure and self._stage != b"GREETING":
            return False  # the agent would do without TLS for an hour; `TLS_FAULTS` are for this
        if fault == "surplus" and b"CHUNKING" in self.server.announce:
            return self._stage in (b"GREETING", b"EHLO")
        if fault == "surplus":
            return not (self.server.lmtp and self._stage == b"FINAL")
        return True

    def _misbehave(self, fault: str, line: bytes, taken: tuple[Acceptance, ...]) -> None:
        """Do what was planned in place of one reply."""
        whole = line + b"\r\n"
        now = time.monotonic()
        if self._replies:
            now = max(now, self._replies[-1].at)
        match fault:
            case "drip":  # slow, but in time
                pieces = [whole[at : at + 1] for at in range(len(whole))]
                self._replies += [Due(now + 0.01 * at, piece) for at, piece in enumerate(pieces[:-1])]
                self._replies.append(Due(now + 0.01 * len(pieces), pieces[-1], taken))
                return
            case "trickle":  # each octet is in time, the reply never is
                self._replies += [Due(now + 3 * at, whole[at : at + 1]) for at in range(len(whole) - 1)]
            case "surplus":
                self._spoil()
                super()._say(line, taken=taken)
                super()._say(line)
                return
            case "noise":
                self._replies.append(Due(now, b"\xff\x00\x1b[2J no reply\r\n"))
            case "flood":
                self._replies.append(Due(now, (b"250-" + b"x" * 400 + b"\r\n") * 300))
            case "421":
                self._replies.append(Due(now, b"421 4.3.2 no more today\r\n", (), self._end))
            case "drop":
                self._replies.append(Due(now, b"", (), self._end))
            case "half a reply":
                self._replies.append(Due(now, whole[: len(whole) // 2], (), self._end))
            case "drop behind":
                self._replies.append(Due(now, whole, taken, self._end))
            case "reset":
                self._replies.append(Due(now, b"", (), self._reset_connection))
            case "reset behind":
                self._replies.append(Due(now, whole, taken, self._reset_connection))
        self._fall_deaf()

    def _fall_deaf(self) -> None:
        """Take no more notice of the client, but of its end."""
        self._spoil()
        self._is_deaf = True
        self._input.clear()

    def _spoil(self) -> None:
        """From here on the client has no reason to believe what it hears."""
        if self.spoiled_turn is None:
            self.spoiled_turn = self.turn

    def _end(self) -> None:
        """Close our side, so that all that was said arrives."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the client has gone

    def _reset_connection(self) -> None:
        self.was_reset = True
        if self.sock.family != socket.AF_UNIX:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        self.close()

    # Refusals

    def _is_refusable(self, line: bytes) -> bool:
        if line[:1] not in b"23" or line[3:4] == b"-":
            return False
        return self._stage in (b"MAIL", b"RCPT", b"DATA", b"BDAT", b"FINAL", b"RSET")

    def _refuse(self, taken: tuple[Acceptance, ...]) -> bytes:
        """Take back what was about to be granted."""
        server = self.server
        permanent = server.chance() < 0.3
        self.server.fired["5yz" if permanent else "4yz"] += 1
        concerned = [acceptance.address for acceptance in taken]
        for acceptance in taken:
            server.acceptances[acceptance.address].remove(acceptance)
        match self._stage:
            case b"RSET":
                self._spoil()  # the message behind it may be under way, and the client will not wait for it
            case b"MAIL":
                self._mail = False
                if permanent and server.lie != "hides refusals":
                    server.refused_senders.add(self._sender)
            case b"RCPT":
                concerned = [self._recipients.pop()]
            case b"DATA" | b"BDAT":
                concerned = self._recipients
                self._data = None
                self._recipients = []
        if permanent and server.lie != "hides refusals":
            server.refused.update(concerned)
        return server.choose(_PERMANENT if permanent else _TEMPORARY) + b" not this time"

    def _command(self, line: bytes) -> None:
        verb, _, rest = line.partition(b" ")
        self._stage = verb = verb.upper()
        match verb:
            case b"STARTTLS" if self.server.context is not None and not self._is_secure:
                self._start_tls()
            case b"HELO":
                self._say(b"250 " + self.server.announce[0])
            case _:
                if verb == b"MAIL":
                    self._sender = rest.partition(b"<")[2].partition(b">")[0]
                super()._command(line)

    def _message(self, message: bytes) -> None:
        self._stage = b"FINAL"
        super()._message(message)
        lie = self.server.lie
        if lie in ("forgets", "counts twice") and self.taken and self.server.chance() < 0.05:
            taken = self.server.acceptances[self.taken[0].address]
            if lie == "forgets":
                taken.clear()
            else:
                taken += taken[-1:]

    # TLS

    def _announced(self) -> tuple[bytes, ...]:
        names = self.server.announce
        return (*names, b"STARTTLS") if self.server.context is not None and not self._is_secure else names

    def _start_tls(self) -> None:
        if self._broken_tls:
            self.server.fired[f"TLS {self._broken_tls}"] += 1
        match self._broken_tls:
            case "refusal":
                self._say(b"454 4.7.0 no TLS today")
            case "injection":
                self._say(b"220 go ahead\r\n250 go on")
                self._fall_deaf()
            case _:
                self._say(b"220 go ahead")
                self._is_securing = True

    def _decoded(self, octets: bytes) -> bytes:
        if self._is_deaf:
            return b""
        if self._is_securing and not self._replies:
            self._is_securing = False
            if not self._broken_tls:
                assert self.server.context is not None
                self._tls = self.server.context.wrap_bio(self._incoming, self._outgoing, server_side=True)
            else:
                self._break_tls()
                return b""
        return octets if self._tls is None else self._plain(self._tls, octets)

    def _break_tls(self) -> None:
        """Answer the first octets of the handshake in a wrong way."""
        self._fall_deaf()
        now = time.monotonic()
        match self._broken_tls:
            case "alert":
                self._replies.append(Due(now, _ALERT, (), self._end))
            case "noise":
                self._replies.append(Due(now, b"\x00\x01this is no handshake\r\n" * 9))
            case "reset":
                self._replies.append(Due(now, b"", (), self._reset_connection))
            case _:
                self._replies.append(Due(now, b"", (), self._end))

    def _plain(self, tls: ssl.SSLObject, octets: bytes) -> bytes:
        self._incoming.write(octets)
        plain = b""
        try:
            if not self._is_secure:
                tls.do_handshake()
                self._is_secure = True
                self.server.fired["TLS begun"] += 1
                self._reset()
            while piece := tls.read(1 << 16):
                plain += piece
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            self._is_deaf = True
        try:
            self.sock.send(self._outgoing.read())
        except OSError:
            pass  # it is gone: the next read tells
        return plain

    def _encoded(self, octets: bytes) -> bytes:
        if self._tls is None or not self._is_secure:
            return octets
        self._tls.write(octets)
        return self._outgoing.read()


class FaultServer(Server):
    """Makes connections with faults for as long as it `is_hostile`; `fired` counts them.

    `refused_senders` are those of whose mail at least once all was refused for good.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        *,
        random: Random,
        expected: Callable[[bytes], bytes],
        path: Path | None = None,
        lmtp: bool = False,
        extensions: tuple[bytes, ...] = (),
        context: ssl.SSLContext | None = None,
        breaks_tls: bool = False,
        lie: str = "",
    ) -> None:
        super().__init__(
            selector, path=path, lmtp=lmtp, extensions=extensions, random=random, expected=expected
        )
        self.context = context
        self.lie = lie
        self.is_hostile = True
        self.fired: Counter[str] = Counter()
        self.refused_senders: set[bytes] = set()
        self._breaks_tls = breaks_tls
        self._chances = random

    def connection(self, sock: socket.socket) -> Connection:
        """Make the next connection, with or without a fault."""
        self.met.clear()
        self.fired["connections"] += 1
        plan, broken_tls = None, ""
        if self.is_hostile and self.chance() < _SHARE:
            fault = self._chances.choices(list(FAULTS), list(FAULTS.values()))[0]
            plan = Plan(fault, self._chances.randint(1, _REPLIES))
        if self.is_hostile and self._breaks_tls and self.chance() < _TLS_SHARE:
            broken_tls = self._chances.choice(TLS_FAULTS)
        return FaultConnection(self, sock, plan, broken_tls)

    def refuses(self) -> bool:
        """Decide whether the next reply is a refusal."""
        return self.is_hostile and self.chance() < _REFUSED

    def chance(self) -> float:
        """Draw a number from 0 to 1."""
        return self._chances.random()

    def choose(self, texts: tuple[bytes, ...]) -> bytes:
        """Draw a text."""
        return self._chances.choice(texts)
