"""What a scripted server has really promised: which recipients it answers for, known from its own side.

A `Witness` stands between a behaviour and the server that plays it.  A recipient counts as accepted if the
server sent a whole 2yz reply when it had received a whole message for it; what the client made of the reply
does not matter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from zsmtp.testing.dialogue import Script
from zsmtp.testing.peer import Action, Ask, Behaviour, Drip, Flood, Message, Peer, Send, Turn
from zsmtp.testing.table import Reply, Table, TablePeer

__all__ = ["DOCTORED", "Doctor", "Receipt", "Witness", "codes_in"]

_LINE = re.compile(rb"([0-9]{3})(-[^\n]*|[ \r][^\n]*|)\n")
_LINES = re.compile(rb"[^\n]*\n|[^\n]+")
_PATH = re.compile(rb"(?i)(MAIL FROM|RCPT TO):<([^>]*)>")


class Receipt(NamedTuple):
    """A whole message that a server received, and the recipients that it answers for."""

    message: Message
    accepted: tuple[bytes, ...]


class Doctor(NamedTuple):
    """Replaces the reply of a table at one place: the `turn`-th of `stage` on all connections together.

    `treat` makes of the usual reply the actions that take its place.  `takes` is the code by which the table
    itself goes on: 354 lets it read a message, 250 count a recipient, 500 nothing.
    """

    stage: str
    turn: int
    takes: int
    treat: Callable[[bytes], Sequence[Action]]
    forever: bool = False


DOCTORED = b"\0doctored\0"


class Witness:
    """Behaviours for one address, and what their peers promised.  `asked` is called for `-- client NAME`."""

    def __init__(
        self, *, lmtp: bool, doctor: Doctor | None = None, asked: Callable[[str], None] | None = None
    ) -> None:
        self.receipts: list[Receipt] = []
        self.lmtp = lmtp
        self.doctor = doctor
        self.asked = asked
        self.seen: dict[str, int] = {}

    def watch(self, behaviour: Behaviour) -> Behaviour:
        """Return the same behaviour, watched."""
        return _Watched(self, behaviour)


class _Watched:
    def __init__(self, witness: Witness, behaviour: Behaviour) -> None:
        self._witness = witness
        self._behaviour = behaviour

    def peer(self) -> Peer:
        """See Behaviour."""
        behaviour = self._behaviour
        if isinstance(behaviour, Table):
            view = _View(self._witness, behaviour)
            peer = TablePeer(view)
            view.peer_messages = peer.messages
            return _TablePeer(self._witness, peer)
        assert isinstance(behaviour, Script)
        return _ScriptPeer(self._witness, behaviour.peer())


class _View(Table):
    """A table as one of its peers sees it: notes the replies to messages, and has them doctored."""

    def __init__(self, witness: Witness, table: Table) -> None:
        super().__init__(announce=table.announced, lmtp=table.lmtp, keep=table.keep)
        self.peer_messages: list[Message] = []
        self._witness = witness
        self._table = table
        self._receipt = -1  # the message that is being answered
        self._answers = 0

    def reply(self, stage: str, usual: str = "") -> Reply:
        """See Table."""
        witness = self._witness
        reply = self._table.reply(stage, usual)
        doctor = witness.doctor
        if doctor is not None and doctor.stage == stage:
            turn = witness.seen[stage] = witness.seen.get(stage, 0) + 1
            if turn == doctor.turn or (doctor.forever and turn > doctor.turn):
                usual_reply = _octets(reply)
                if stage == "dot":
                    self._note(codes_in(doctor.treat(usual_reply)))
                return b"%d " % doctor.takes + DOCTORED + usual_reply.replace(b"\n", b"\1") + DOCTORED + b"\n"
        if stage == "dot":
            self._note(codes_in([Send(_octets(reply))]))
        return reply

    def _note(self, codes: list[int]) -> None:
        """One reply to the latest message: for everybody or, in LMTP, for the next recipient."""
        message = self.peer_messages[-1]
        receipts = self._witness.receipts
        if self._receipt != len(self.peer_messages):
            self._receipt = len(self.peer_messages)
            self._answers = 0
            receipts.append(Receipt(message, ()))
        is_good = bool(codes) and codes[0] // 100 == 2
        if self._table.lmtp:
            named = message.recipients[self._answers : self._answers + 1]
            self._answers += 1
        else:
            named = message.recipients
        if is_good:
            index = next(i for i in reversed(range(len(receipts))) if receipts[i].message is message)
            receipts[index] = Receipt(message, receipts[index].accepted + named)


class _Peer:
    """Passes everything on to another peer."""

    def __init__(self, witness: Witness, peer: Peer) -> None:
        self._witness = witness
        self._peer = peer
        self.messages = peer.messages
        self.problems = peer.problems

    def connected(self) -> list[Action]:
        """See Peer."""
        return self._seen(self._peer.connected())

    def receive(self, octets: bytes) -> list[Action]:
        """See Peer."""
        return self._seen(self._peer.receive(octets))

    def secured(self) -> list[Action]:
        """See Peer."""
        return self._seen(self._peer.secured())

    def closed(self) -> list[Action]:
        """See Peer."""
        return self._seen(self._peer.closed())

    def _seen(self, actions: list[Action]) -> list[Action]:
        for action in actions:
            if isinstance(action, Ask) and self._witness.asked is not None:
                self._witness.asked(action.name)
        return actions


class _TablePeer(_Peer):
    """Performs what the doctor ordered."""

    def __init__(self, witness: Witness, peer: Peer) -> None:
        super().__init__(witness, peer)
        self._is_mute = False

    def _seen(self, actions: list[Action]) -> list[Action]:
        done: list[Action] = []
        for action in actions:
            if self._is_mute:
                break
            if not isinstance(action, Send) or DOCTORED not in action.octets:
                done.append(action)
                continue
            before, usual, after = action.octets.split(DOCTORED)
            before = before[:-4]  # the code for the table
            doctor = self._witness.doctor
            assert doctor is not None
            done += [Send(before)] if before else []
            done += doctor.treat(usual.replace(b"\1", b"\n"))
            done += [Send(after[1:])] if after[1:] else []
        if Turn.SILENCE in done:
            self._is_mute = True
            done = done[: done.index(Turn.SILENCE) + 1]
        return done


class _ScriptPeer(_Peer):
    """Feeds a script line by line, so that each reply can be told from those before it.

    Which recipients were accepted is known as long as replies come in the order of the commands.
    """

    def __init__(self, witness: Witness, peer: Peer) -> None:
        super().__init__(witness, peer)
        self._unanswered: list[bytes] = []
        self._offered: list[bytes] = []  # who was accepted for the message to come
        self._in_text = False
        self._partial = b""

    def receive(self, octets: bytes) -> list[Action]:
        """See Peer."""
        actions: list[Action] = []
        for line in _LINES.findall(octets):
            before = len(self.messages)
            said = self._peer.receive(line)
            codes = codes_in(said)
            if len(self.messages) > before:
                self._in_text = False
                self._note(codes)
            elif not self._in_text:
                self._partial += line
                if line.endswith(b"\n"):
                    self._unanswered.append(self._partial)
                    self._partial = b""
                self._answer(codes)
            actions += said
            if Turn.STOP_READING in said:
                break  # what came in the same packet is not read either
        return self._seen(actions)

    def _answer(self, codes: list[int]) -> None:
        for code in codes[: len(self._unanswered)]:
            line = self._unanswered.pop(0)
            command = _PATH.match(line)
            if command is not None and command[1][:1] in b"Mm":
                self._offered = []
            elif command is not None and code // 100 == 2:
                self._offered.append(command[2])
            elif line[:4].upper() == b"DATA" and code // 100 == 3:
                self._in_text = True

    def _note(self, codes: list[int]) -> None:
        """A message is whole, and these are the replies to it."""
        offered, self._offered, self._unanswered = self._offered, [], []
        if self._witness.lmtp:
            good = [path for path, code in zip(offered, codes, strict=False) if code // 100 == 2]
        else:
            good = offered if codes and codes[0] // 100 == 2 else []
        self._witness.receipts.append(Receipt(self.messages[-1], tuple(good)))


def codes_in(actions: Sequence[Action]) -> list[int]:
    """Return the codes of the whole replies that these actions send; 0 for one whose lines do not agree."""
    octets = b""
    for action in actions:
        match action:
            case Send():
                octets += action.octets
            case Drip():
                octets += b"".join(action.pieces)
            case Flood():
                octets += action.octets * min(action.times or 1000, 1000)
            case Turn.CLOSE | Turn.RESET | Turn.CUT | Turn.ALERT | Turn.HALF_CLOSE | Turn.SILENCE:
                break
    codes: list[int] = []
    in_reply: set[bytes] = set()
    for line in _LINES.findall(octets):
        found = _LINE.fullmatch(line)
        if found is None:
            in_reply.add(b"")
            continue
        in_reply.add(found[1])
        if found[2][:1] != b"-":
            codes.append(int(found[1]) if len(in_reply) == 1 else 0)
            in_reply = set()
    return codes


def _octets(reply: Reply) -> bytes:
    """A table's reply as it is sent, if it is sent at all."""
    match reply:
        case None | "X" | "-" | "hang" | "reset":
            return b""
        case bytes():
            return reply
    text = reply.removesuffix("+X").rstrip(" ")
    return text.encode() + (b" scripted\r\n" if re.fullmatch("[0-9]{3}", text) else b"\r\n")
