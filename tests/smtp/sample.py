"""Messages, sessions and whole dialogues for tests of the conversation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from zsmtp.message.wire import stuffed as with_dots_doubled
from zsmtp.policy import Verdict, judge
from zsmtp.smtp.event import Broken, Event, TransactionFinished
from zsmtp.smtp.manner import Manner
from zsmtp.smtp.reply import Reply
from zsmtp.smtp.session import Session, State
from zsmtp.smtp.step import Marks
from zsmtp.smtp.transaction import Recipient, Transaction
from zsmtp.testing.conversation import Conversation
from zsmtp.testing.peer import Behaviour
from zsmtp.testing.table import table
from zsmtp.testing.talk import converse

__all__ = [
    "HELLO",
    "OPENING",
    "PLAIN",
    "Played",
    "Text",
    "broken",
    "finished",
    "go_through",
    "mail",
    "open_session",
    "play",
    "reply",
    "session",
    "shown",
]

HELLO = b"Subject: hello\r\n\r\nhello\r\n"

OPENING = """
    S: 220 mx.example ESMTP
    C: EHLO client.example
    S: 250-mx.example
    S: 250 PIPELINING
"""
PLAIN = """
    S: 220 mx.example ESMTP
    C: EHLO client.example
    S: 250 mx.example
"""


class Text:
    """The content of a message in the pieces given; an exception among them is raised in its turn."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self._pieces = pieces or (HELLO,)
        self.size = sum(len(piece) for piece in self._pieces if isinstance(piece, bytes))

    def pieces(self, *, stuffed: bool) -> Iterator[bytes]:
        """Give them, dots doubled if `stuffed`."""
        return with_dots_doubled(self._read()) if stuffed else self._read()

    def _read(self) -> Iterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece


def mail(
    recipients: int | Sequence[Recipient | bytes] = 1,
    *pieces: bytes | Exception,
    sender: bytes = b"a@x.example",
    **facts: Any,
) -> Transaction:
    """Make a message from a@x.example to r1@y.example, r2@y.example and so on."""
    named = (
        [b"r%d@y.example" % (index + 1) for index in range(recipients)]
        if isinstance(recipients, int)
        else recipients
    )
    made = [one if isinstance(one, Recipient) else Recipient(one) for one in named]
    return Transaction(sender, made, Text(*pieces), **facts)


def session(**manner: Any) -> Session:
    """Make a session of client.example."""
    return Session(Manner(name=b"client.example", **manner))


def open_session(*announced: str, in_step: bool = False, **manner: Any) -> Session:
    """Make a session that is open, to a server that announces these extensions.

    With `in_step` a first message has gone through already.
    """
    made = session(**manner)
    made.receive(b"220 mx.example\r\n")
    made.take()
    made.flushed()
    lines = ["mx.example", *announced]
    made.receive("".join(f"250-{line}\r\n" for line in lines[:-1]).encode() + f"250 {lines[-1]}\r\n".encode())
    assert made.state is State.READY, made.state
    if in_step:
        go_through(made)
    return made


def go_through(talker: Session, *, marks: tuple[str, str, str] = ("", "", "")) -> Transaction:
    """Let the server take a message; `marks` are its enhanced status codes for MAIL, RCPT and the end."""
    sender, recipient, end = marks
    said = {b"M": f"250 {sender} a", b"R": f"250 {recipient} b", b"D": "354 c", b".": f"250 {end} d"}
    one = mail()
    talker.begin(one)
    while octets := talker.take():
        talker.flushed()
        for line in octets.splitlines():
            if line[:5] in (b"MAIL ", b"RCPT ", b"DATA", b"."):
                talker.receive(said[line[:1]].encode() + b"\r\n")
    assert talker.is_idle
    return one


def reply(text: str) -> Reply:
    """Make a reply; its lines are separated by a stroke."""
    lines = tuple(line.encode() for line in text.split("|"))
    return Reply(int(lines[-1][:3]), lines)


def broken(events: Sequence[Event]) -> Broken:
    """Return the one event of that kind."""
    (found,) = [event for event in events if isinstance(event, Broken)]
    return found


def finished(events: Sequence[Event]) -> list[Transaction]:
    """Return the transactions that were finished, in that order."""
    return [event.transaction for event in events if isinstance(event, TransactionFinished)]


def shown(text: bytes) -> str:
    """Write a report's text as the specification does."""
    return text.decode().replace("\r", "⏎")


class Played:
    """A whole dialogue and what came of it."""

    def __init__(
        self, talker: Session, mails: Sequence[Transaction], conversation: Conversation, events: list[Event]
    ) -> None:
        self.session = talker
        self.mails = mails
        self.conversation = conversation
        self.events = events

    @property
    def is_over(self) -> bool:
        """Whether the session has dropped the connection."""
        return self.session.state is State.OVER

    @property
    def said(self) -> list[str]:
        """The first word of every line that the client sent; of the usual message only the dot at its end."""
        text = self.conversation.client.replace(HELLO, b"")
        return [line.split(b" ")[0].decode("latin-1") for line in text.replace(b"\r\n", b"\n").splitlines()]

    def verdict(self, recipient: int = 1, *, of: int = 1) -> Verdict:
        """What became of a recipient; both counted from 1."""
        transaction = self.mails[of - 1]
        return judge(transaction, transaction.recipients[recipient - 1])

    def verdicts(self, of: int = 1) -> list[Verdict]:
        """What became of all recipients of a message."""
        return [judge(self.mails[of - 1], recipient) for recipient in self.mails[of - 1].recipients]

    def words(self, of: int = 1) -> str:
        """The words of their reports, separated by blanks."""
        return " ".join(verdict.word.value.decode() for verdict in self.verdicts(of))


def play(
    server: str | Behaviour,
    *mails: Transaction,
    recipients: int = 1,
    then: Callable[[Session], object] | None = Session.expired,
    in_step: bool = False,
    **manner: Any,
) -> Played:
    """Let a session deliver to a server until both are silent; then time passes, if something is under way.

    `server` is a behaviour or the short notation of a table.  Without `mails`: one for so many recipients.
    With `in_step` it is as if a message had gone through before them.
    """
    mails = mails or (mail(recipients),)
    talker = session(**manner)
    if in_step:
        talker._marks = Marks({})
    behaviour = table(server) if isinstance(server, str) else server
    conversation, events = converse(talker, behaviour, *mails)
    if then is not None and not talker.is_idle and talker.state is not State.OVER:
        outcome = then(talker)
        events += outcome if isinstance(outcome, list) else talker.poll()
    return Played(talker, mails, conversation, events)
