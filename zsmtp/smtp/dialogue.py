"""The machinery of a dialogue: what is to be sent, what is awaited, what has happened.

Everything to be sent stands in one queue, in order: groups of commands, each with what its replies will
answer, and bodies.  `take` hands out octets and at that moment moves what they await into the list of awaited
replies, so that a reply can only answer a command whose octets have left our hands.  A complete reply answers
the head of that list and nothing else.  What the table of a subclass does not name, what nobody waits for,
what began when nobody waited, and what is no reply breaks the dialogue: the connection is dropped and nothing
undecided is believed.

What was taken counts as gone when `flushed` says so, or when more is taken.

Knows no command: see `zsmtp.smtp.opening` and `zsmtp.smtp.session`.
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, TypeAlias

from zsmtp.smtp.capability import Capabilities
from zsmtp.smtp.event import Broken, Event, Left
from zsmtp.smtp.manner import Manner
from zsmtp.smtp.patience import Awaits, patience
from zsmtp.smtp.reply import Reply, ReplyReader
from zsmtp.trouble import Kind, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from zsmtp.smtp.transaction import Recipient, Transaction

__all__ = [
    "CRLF",
    "PIECE",
    "Awaited",
    "Dialogue",
    "Group",
    "State",
    "Stream",
    "Table",
]

PIECE: Final = 65536
"""Octets handed out at once, about, and the size up to which one BDAT goes with its envelope."""
CRLF: Final = b"\r\n"

Awaited: TypeAlias = tuple[Awaits, "Transaction | None", "Recipient | None"]
"""What a reply will answer, and about whom."""

Table: TypeAlias = "Mapping[tuple[Awaits, int], Callable[[Any, Reply, Any, Any], None]]"
"""(what is awaited, first digit of the reply) -> what follows."""


class State(Enum):
    """The session is ..."""

    GREETING = "waiting for the server's greeting"
    NEGOTIATING = "waiting for the answer to EHLO, LHLO or HELO"
    SECURING = "about to begin TLS, or in the handshake"
    AUTHENTICATING = "in an authentication exchange"
    READY = "open for transactions"
    LEAVING = "waiting for the answer to QUIT"
    OVER = "over"


class Group(NamedTuple):
    """Commands that leave together, and what their replies will answer."""

    octets: bytes
    awaits: tuple[Awaited, ...]
    shown: bytes | None = None
    """what a transcript may show of it, where that is not all"""


class Stream:
    """Something longer than a group on its way out: the message of one transaction.

    `is_done` says that everything was given out, `is_long` that it took more than one turn.
    """

    __slots__ = ("is_done", "is_long")

    is_done: bool
    is_long: bool

    def next(self) -> bytes:
        """Return the next octets; `b""` if a reply must come first.  May raise what reading a file raises."""
        raise NotImplementedError


class Dialogue:
    """Octets in, events and octets out.  See the head of this module."""

    __slots__ = (
        "_awaited",
        "_end",
        "_events",
        "_gone",
        "_gone_before",
        "_is_ahead",
        "_last_command",
        "_outgoing",
        "_reader",
        "_secrets",
        "_taken",
        "answered",
        "capabilities",
        "ended_in",
        "manner",
        "state",
        "witness",
    )

    table: ClassVar[Table] = {}

    def __init__(self, manner: Manner) -> None:
        self.manner = manner
        self.state = State.GREETING
        self.capabilities = Capabilities()
        self.ended_in: State | None = None
        """Where the session was when it broke."""
        self.answered = 0
        """Complete replies so far: the owner begins a new deadline when this changes."""
        self._reader = ReplyReader()
        self._awaited: deque[Awaited] = deque([(Awaits.GREETING, None, None)])
        self._outgoing: deque[Group | Stream] = deque()
        self._events: list[Event] = []
        self._taken = 0  # octets handed out so far
        self._gone = 0  # of them, those that have left this host
        self._gone_before = 0  # of them, those that had left when the reply that is coming in began
        self._end = 0  # how many were handed out when the latest message was complete
        self._is_ahead = False  # the server began the reply that is coming in when none was awaited
        self._secrets: list[bytes] = []
        self._last_command = b"(connecting)"
        self.witness: Callable[[str, bytes], None] | None = None
        """Called with "w" and each command line, the end of the data included, "r" and each reply line, and
        "p" and how much of a long message was handed out, such as `65536/200000`.  Never with content.
        """

    @property
    def patience(self) -> float | None:
        """Seconds that the reply awaited now may take in all; None where none is awaited."""
        if self._awaited:
            return patience(self._awaited[0][0], self.manner.timeouts)
        return self.manner.timeouts.write if self.state is State.SECURING else None

    # Inputs and outputs

    def receive(self, data: bytes) -> list[Event]:
        """Take octets from the server; return what has happened."""
        reader = self._reader
        if reader.is_empty:
            self._gone_before = self._gone
        for reply in reader.receive(data):
            if self.state is State.OVER:
                break
            self._answer(reply)
            self._gone_before = self._gone
        if self.state is not State.OVER:
            if reader.problem is not None:
                self._break(Kind.PROTOCOL, reader.problem.encode(), said=reader.unfinished)
            elif not self._awaited and not reader.is_empty:
                self._is_ahead = True
                if self.state is State.SECURING and not self._outgoing:
                    self._injected()
        return self.poll()

    def take(self) -> bytes:
        """Return octets to be sent now, at most about 64 KiB more than one group, or `b""`.

        To be called when what it gave before has been passed on.  Reading a message may fail here; then the
        session is over, and `poll` has the events.
        """
        outgoing = self._outgoing
        if not outgoing:
            return b""
        taken: list[bytes] = []
        size = 0
        while outgoing and size < PIECE:
            item = outgoing[0]
            if isinstance(item, Group):
                octets = item.octets
                if taken and size + len(octets) > PIECE:
                    break
                outgoing.popleft()
                self._awaited.extend(item.awaits)
                if self.witness is not None:
                    self._show("w", (item.shown or octets).splitlines())
                taken.append(octets)
                size += len(octets)
                continue
            try:
                octets = item.next()
            except Exception as error:  # noqa: BLE001  whatever reading raises costs a retry, never a message
                self._break(Kind.CONTENT_UNREADABLE, str(error).encode(errors="replace"))
                return b""
            if not octets:
                break
            taken.append(octets)
            size += len(octets)
            if item.is_done:
                outgoing.popleft()
                self._end = self._taken + size
                if item.is_long:
                    # what follows waits until this has gone: a part of it that the peer is slow to read must
                    # not make the reply to the message look early
                    break
        if taken:
            self._gone = self._taken
            self._taken += size
        return b"".join(taken) if len(taken) != 1 else taken[0]

    def poll(self) -> list[Event]:
        """Return the events that an input other than `receive`, `lost` or `expired` has caused."""
        events, self._events = self._events, []
        return events

    def flushed(self, waiting: int = 0) -> None:
        """All octets taken so far have left this host, but for the last `waiting` of them."""
        self._gone = self._taken - waiting

    def lost(self, reason: Trouble | None = None) -> list[Event]:
        """The connection is gone, by a close of the server or for `reason`."""
        if reason is not None:
            self._break(reason.kind, reason.text, reply=reason.reply)
        else:
            missing = b"remote hung up on us while %d responses missing" % len(self._awaited)
            self._break(Kind.HUNG_UP, missing, said=self._reader.unfinished)
        return self.poll()

    def expired(self, *, writing: bool = False) -> list[Event]:
        """The awaited reply did not come in time or, with `writing`, the server did not read in time."""
        if writing:
            text = b"Timeout of %d sec while writing to remote" % self.manner.timeouts.write
            self._break(Kind.WRITE_TIMED_OUT, text)
        elif self.state is State.SECURING and not self._awaited:
            self._break(Kind.TLS_FAILED, b"Timeout of %d sec in the TLS handshake" % (self.patience or 0))
        else:
            text = b"Timeout of %d sec while waiting responses from remote" % (self.patience or 0)
            self._break(Kind.TIMED_OUT, text, said=self._reader.unfinished)
        return self.poll()

    # For subclasses

    def _send(
        self, line: bytes, awaits: Awaits, about: Transaction | None = None, to: Recipient | None = None
    ) -> None:
        self._outgoing.append(Group(line + CRLF, ((awaits, about, to),)))

    def _answer(self, reply: Reply) -> None:
        """Let `reply` answer the head of what is awaited."""
        self.answered += 1
        if self._secrets:
            reply = Reply(reply.code, tuple(map(self._masked, reply.lines)))
        if self.witness is not None:
            self._show("r", reply.lines)
        if not self._awaited or self._is_ahead:
            self._is_ahead = False
            if self.state is State.SECURING and not self._outgoing:
                self._injected()  # whether it came in one piece makes no difference
            else:
                self._unasked(reply)
            return
        awaited, transaction, recipient = self._awaited[0]
        handler = self.table.get((awaited, reply.code // 100))
        if handler is None:
            self._absurd(reply)
            return
        self._awaited.popleft()
        handler(self, reply, transaction, recipient)
        if reply.code == 421 and self.state not in (State.OVER, State.LEAVING):
            # RFC 5321 3.8: the server is closing, whatever it was asked
            self._break(Kind.CLOSING, b"the server is closing the connection", reply=reply)

    def _show(self, kind: str, lines: Iterable[bytes]) -> None:
        if self.witness is not None:
            for line in lines:
                self.witness(kind, line)

    def _masked(self, said: bytes) -> bytes:
        """A server that does not understand a secret may quote it, and what it says is shown to many."""
        for secret in self._secrets:
            said = said.replace(secret, b"***")
        return said

    def _absurd(self, reply: Reply) -> None:
        """A reply that has no meaning for what is awaited."""
        self._break(
            Kind.PROTOCOL, b"the server gave a reply that is not defined for this command", reply=reply
        )

    def _injected(self) -> None:
        """STARTTLS injection: clear text that would be taken for the first secure reply."""
        self._break(Kind.PROTOCOL, b"octets came between the reply to STARTTLS and the handshake")

    def _unasked(self, reply: Reply) -> None:
        """A reply to no command."""
        kind = Kind.CLOSING if reply.code == 421 else Kind.PROTOCOL
        self._break(kind, b"the server sent a reply that answers no command", reply=reply)

    def _opening_text(self, lines: tuple[bytes, ...], why: bytes) -> bytes:
        """What a postmaster reads of a session that was not opened."""
        said = self._last_command if lines or self.state is not State.GREETING else b"(null)"
        text = b"\r<<- " + said + b"".join(b"\r->> " + line for line in lines)
        return self._masked(text + b"\r" + why if why else text)

    def _break(
        self, kind: Kind, text: bytes, *, reply: Reply | None = None, said: tuple[bytes, ...] = ()
    ) -> None:
        """The session is over: nothing more is sent, nothing undecided is believed."""
        match self.state:
            case State.OVER:
                return
            case State.LEAVING:
                self.state = State.OVER
                self._outgoing.clear()
                self._events.append(Left())
                return
            case State.READY:
                text = b"".join(b"->> " + line + b"\r" for line in said) + text
            case _:
                text = self._opening_text(reply.lines if reply is not None else said, text)
        trouble = Trouble(kind, text, reply)
        self.ended_in, self.state = self.state, State.OVER
        self._abandon(trouble)
        self._outgoing.clear()
        self._events.append(Broken(trouble))

    def _abandon(self, trouble: Trouble) -> None:
        """What is under way ends in `trouble`."""
