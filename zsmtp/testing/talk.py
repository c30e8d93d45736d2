"""Drives a pure session through a dialogue, without sockets, clock or reactor.

    talk(session, '''
        S: 220 mx.example ESMTP
        C: EHLO client.example
        S: 250 mx.example
    ''')
    session.begin(transaction)
    events = talk(session, '''
        C: MAIL FROM:<a@x.example>
        S: 250 ok
        ...
    ''')

Both directions are checked: what the session sends must be what the script expects, at the place where it
expects it, and nothing else; a dialogue may go on in the next call, and nothing may be left unsaid between
two calls.  `converse` is the lenient sister: it lets a session talk to a table or script until both are
silent.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from zsmtp.smtp.session import Session, State
from zsmtp.testing.conversation import Conversation
from zsmtp.testing.dialogue import Script, ScriptPeer
from zsmtp.testing.peer import Action, Ask, Drip, Flood, Send, Turn, Wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from zsmtp.smtp.event import Event
    from zsmtp.smtp.transaction import Transaction
    from zsmtp.testing.peer import Behaviour, Peer

__all__ = ["Mismatch", "converse", "talk"]

_ENDLESS = 200_000  # lines of a flood that has no end


class Mismatch(AssertionError):
    """Session and script do not agree.  The text shows where, and all that was said."""


def talk(
    session: Session,
    dialogue: str,
    *transactions: Transaction,
    split: str = "no",
    prompts: Mapping[str, Callable[[], Any]] | None = None,
) -> list[Event]:
    """Play a dialogue with a session, return its events; raise `Mismatch` where the two do not agree.

    `transactions` begin one after the other as soon as the session has room for them.  `split` says how the
    server's octets arrive: `no` (all that stands together in the dialogue at once), `lines` or `octets`.
    `-- client NAME` calls the prompt of that name, or else the session's method without arguments.  `--
    close` and `-- reset` tell the session that the connection is lost; the end of the script does not.
    """
    peer = Script(dialogue, strict=True).peer()
    table = _Table(session, peer, list(transactions), split, prompts or {})
    table.sit()
    table.check(peer)
    return table.events


def converse(
    session: Session, behaviour: Behaviour, *transactions: Transaction, split: str = "no"
) -> tuple[Conversation, list[Event]]:
    """Let a session talk to any scripted peer until both are silent; return what was said, and the events."""
    table = _Table(session, behaviour.peer(), list(transactions), split, {})
    table.sit()
    return table.conversation, table.events


class _Table:
    """Where the two sit."""

    def __init__(
        self,
        session: Session,
        peer: Peer,
        transactions: list[Transaction],
        split: str,
        prompts: Mapping[str, Callable[[], Any]],
    ) -> None:
        if split not in ("no", "lines", "octets"):
            raise ValueError(f"split={split!r}: no, lines or octets")
        self.conversation = Conversation(peer)
        self.events: list[Event] = []
        self._session = session
        self._peer = peer
        self._transactions = transactions
        self._split = split
        self._prompts = prompts
        self._is_lost = False
        self._reads = True

    def sit(self) -> None:
        """Talk until both are silent."""
        # What is said before the server says anything is out of place if the script begins with the server.
        self._peer.receive(self._said())
        queue = deque(self._peer.connected())
        while True:
            while queue:
                queue.extend(self._perform(queue.popleft()))
            if self._is_lost:
                return
            said = self._said()
            if said:
                queue.extend(self._peer.receive(said))
            elif self._session.state is State.OVER:
                self._peer.closed()
                return
            else:
                return

    def check(self, peer: ScriptPeer) -> None:
        """Raise if the script was not played to its end, or something else was said."""
        problem = ""
        if peer.problems:
            problem = "; ".join(peer.problems)
        elif peer.awaiting and not self._is_lost:
            problem = f"'{peer.awaiting}' was expected, the session sent nothing"
        if problem:
            raise Mismatch(f"{problem}\n{self.conversation!r}\nevents: {self.events!r}")

    def _said(self) -> bytes:
        session = self._session
        said: list[bytes] = []
        while True:
            while self._transactions and session.has_room:
                session.begin(self._transactions.pop(0))
            octets = session.take()
            if not octets:
                break
            said.append(octets)
        self.events += session.poll()
        if not self._reads:
            return b""
        if said:
            session.flushed()
            self.conversation.add("C", b"".join(said), 0.0)
        return b"".join(said)

    def _perform(self, action: Action) -> list[Action]:
        match action:
            case Send():
                self._hear(action.octets)
            case Drip():
                for piece in action.pieces:
                    self._hear(piece)
            case Flood():
                for part in _flood(action):
                    self._hear(part)
            case Ask():
                outcome = (self._prompts.get(action.name) or getattr(self._session, action.name))()
                if isinstance(outcome, list):
                    self.events += outcome
            case Wait():
                pass  # a session has no clock
            case Turn.SECURE:
                if said := self._said():
                    self._peer.problems.append(f"the session sent {said!r} before the handshake")
                self._session.secured()
                return self._peer.secured()
            case Turn.CLOSE | Turn.RESET | Turn.HALF_CLOSE | Turn.CUT | Turn.ALERT:
                self.conversation.note(action.value, 0.0)
                self._is_lost = True
                self.events += self._session.lost()
            case Turn.STOP_READING:
                self._reads = False
        return []

    def _hear(self, octets: bytes) -> None:
        self.conversation.add("S", octets, 0.0)
        pieces: Iterable[bytes] = (octets,)
        if self._split == "lines":
            pieces = octets.splitlines(keepends=True)
        elif self._split == "octets":
            pieces = (octets[index : index + 1] for index in range(len(octets)))
        for piece in pieces:
            self.events += self._session.receive(piece)


def _flood(action: Flood) -> Iterable[bytes]:
    left = _ENDLESS if action.times is None else action.times
    while left:
        times = min(left, 500)
        left -= times
        yield action.octets * times
