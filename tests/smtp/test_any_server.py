"""Whatever a server sends, and whenever: the promises that hold without exception.

A server is made up of moves.  Most answer what the session waits for, so that it gets somewhere; the others
answer something else, too much, too little, at another time or not at all.
"""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.smtp.sample import Text
from zsmtp.policy import Outcome, Verdict, judge
from zsmtp.smtp.event import (
    Broken,
    ChallengeReceived,
    Event,
    MechanismsOffered,
    RecipientAnswered,
    SecureNow,
    TransactionFinished,
)
from zsmtp.smtp.manner import Manner, Tls
from zsmtp.smtp.patience import Awaits
from zsmtp.smtp.reply import LINE_KEPT, UNREAD_KEPT, ReplyReader
from zsmtp.smtp.session import Session, State
from zsmtp.smtp.transaction import Recipient, Transaction

END = b"the end of it\r\n"
PROPER = {
    Awaits.GREETING: b"220 x ESMTP\r\n",
    Awaits.STARTTLS: b"220 go\r\n",
    Awaits.AUTH: b"235 welcome\r\n",
    Awaits.DATA: b"354 go\r\n",
    Awaits.QUIT: b"221 bye\r\n",
}
OFFERS = (
    b"PIPELINING",
    b"CHUNKING",
    b"STARTTLS",
    b"AUTH LOGIN",
    b"SIZE",
    b"DSN",
    b"8BITMIME",
    b"LIMITS RCPTMAX=5",
)


class Mail(NamedTuple):
    """A message: how many recipients, and the sizes of its pieces; -1 is an error in reading."""

    recipients: int
    pieces: tuple[int, ...]


class World(NamedTuple):
    """A server's offers, our manners, and the messages."""

    offers: frozenset[int]
    lmtp: bool
    tls: Tls
    authenticate: bool
    mails: tuple[Mail, ...]


class Move(NamedTuple):
    """One thing that happens.

    `octets` None: the proper answers to all that is awaited, but for number `twist`, which is `other` (-1:
    none is; one beyond the last: `other` is one too many).  `takes`: we are asked for octets before.
    `flushes`: they leave.  `breaks`: the last octets come with the next move.
    """

    octets: bytes | None = None
    twist: int = -1
    other: bytes = b""
    takes: bool = True
    flushes: bool = True
    breaks: int = 0
    cuts: tuple[int, ...] = ()


worlds = st.builds(
    World,
    st.frozensets(st.integers(0, len(OFFERS) - 1)),
    st.booleans(),
    st.sampled_from([Tls.NEVER, Tls.NEVER, Tls.OPPORTUNISTIC, Tls.REQUIRED]),
    st.sampled_from([False, False, True]),
    st.lists(
        st.builds(
            Mail,
            st.integers(1, 3),
            st.lists(st.sampled_from([3, 3, 20, 20, 40000, 70000, -1]), max_size=3).map(tuple),
        ),
        min_size=1,
        max_size=3,
    ).map(tuple),
)
codes = st.sampled_from(
    [b"250", b"250", b"354", b"550", b"450", b"421", b"503", b"334", b"199", b"650", b"221", b"452 4.5.3"]
)
replies = st.one_of(
    codes.map(lambda code: code + b" x\r\n"),
    codes.map(lambda code: code[:3] + b"-x\r\n" + code + b" y\n"),
    st.sampled_from(
        [
            b"250-",
            b"250",
            b"2",
            b"\r\n",
            b"hello\r\n",
            b"250-x\r\n550 y\r\n",
            b"250-x\r\n" * 101,
            b"x" * 70000,
        ]
    ),
    st.binary(max_size=6),
)
GOOD = Move()
cuts = st.lists(st.integers(0, 60), max_size=3).map(tuple)
often = st.sampled_from([True, True, True, False])
breaks = st.sampled_from([0, 0, 0, 1, 2, 4])
moves = st.one_of(
    st.builds(Move, flushes=often, breaks=breaks, cuts=cuts),
    st.builds(Move, twist=st.integers(0, 5), other=replies, flushes=often, breaks=breaks, cuts=cuts),
    st.builds(Move, replies, takes=st.booleans(), flushes=st.booleans(), cuts=cuts),
    st.builds(Move, takes=st.booleans(), flushes=st.booleans(), breaks=breaks, cuts=cuts),
)
scripts = st.builds(
    lambda good, script: [GOOD] * good + script,
    st.sampled_from([0, 2, 3, 4, 4, 5, 5, 6, 8]),
    st.lists(moves, max_size=10),
)
ends = st.sampled_from([Session.lost, Session.expired, lambda session: session.expired(writing=True)])


class Run:
    """One session in one world, with a model of what has left this host beside it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.session = Session(
            Manner(b"client.example", world.lmtp, tls=world.tls, authenticate=world.authenticate)
        )
        self.mails = [transaction(index, mail) for index, mail in enumerate(world.mails)]
        self.begun: list[Transaction] = []
        self.events: list[Event] = []
        self.sent = bytearray()
        self.gone = 0  # octets of `sent` that have left
        self._proven: set[int] = set()  # recipients whose success was found to be true
        self._rest = b""  # of what the server says, not sent yet
        self._shadow = ReplyReader()
        self._gone_then = 0  # how many had left when the reply that is coming in began

    def make(self, move: Move, *, split: bool = False) -> None:
        """Let it happen."""
        session = self.session
        while len(self.begun) < len(self.mails) and session.has_room:
            self.begun.append(self.mails[len(self.begun)])
            session.begin(self.begun[-1])
        self.hear(session.poll())
        if move.takes:
            self.take()
        if move.flushes:
            session.flushed()
            self.gone = len(self.sent)
        octets = self._rest + (self.proper(move) if move.octets is None else move.octets)
        end = max(0, len(octets) - move.breaks)
        octets, self._rest = octets[:end], octets[end:]
        cuts = sorted({min(cut, len(octets)) for cut in move.cuts}) if split else []
        events: list[Event] = []
        for start, end in zip([0, *cuts], [*cuts, len(octets)], strict=True):
            events += self.receive(octets[start:end])
        self.hear(events)

    def take(self) -> None:
        """Take all there is."""
        while octets := self.session.take():
            self.gone = len(self.sent)
            self.sent += octets
        self.hear(self.session.poll())

    def receive(self, octets: bytes) -> list[Event]:
        """Give octets to the session, and see that it calls nothing a success that is none."""
        if self._shadow.is_empty:
            self._gone_then = self.gone
        completed = len(self._shadow.receive(octets))
        events = self.session.receive(octets)
        gone = self._gone_then if completed < 2 else self.gone
        for event in events:
            if isinstance(event, RecipientAnswered | TransactionFinished):
                self.check(event.transaction, gone)
        return events

    def check(self, transaction: Transaction, gone: int) -> None:
        """Success needs a 2yz that began after the end of the message had left."""
        for recipient in transaction.recipients:
            if judge(transaction, recipient).outcome is not Outcome.DELIVERED:
                continue
            final = recipient.final if self.world.lmtp else transaction.final_reply
            assert final is not None
            assert final.code // 100 == 2
            assert recipient.is_accepted
            if id(recipient) not in self._proven:
                token = b"%d %s" % (self.begun.index(transaction), END)
                if transaction.data_command == b"DATA":
                    token += b".\r\n"
                assert token in self.sent[:gone], "confirmed before it had left"
                self._proven.add(id(recipient))

    def proper(self, move: Move) -> bytes:
        """What a good server says to all that it was asked, but for one answer."""
        said = []
        for awaited, _, _ in self.session._awaited:
            if awaited is Awaits.EHLO:
                lines = [b"x", *[OFFERS[index] for index in sorted(self.world.offers)]]
                said.append(b"".join(b"250-%s\r\n" % line for line in lines[:-1]) + b"250 %s\r\n" % lines[-1])
            else:
                said.append(PROPER.get(awaited, b"250 ok\r\n"))
        if move.twist >= 0:
            place = move.twist % (len(said) + 1)
            said[place : place + 1] = [move.other]
        return b"".join(said)

    def hear(self, events: list[Event]) -> None:
        """Do what an owner does."""
        self.events += events
        for event in events:
            match event:
                case SecureNow():
                    self.session.secured()
                case MechanismsOffered(mechanisms):
                    if mechanisms:
                        self.session.authenticate(b"LOGIN", b"c2VjcmV0")
                    else:
                        self.session.refrain()
                case ChallengeReceived():
                    self.session.answer(b"c2VjcmV0")
        if more := self.session.poll():
            self.hear(more)

    def facts(self) -> list[tuple[object, ...]]:
        """The events in a form that can be compared with those of another run."""
        found: list[tuple[object, ...]] = []
        for event in self.events:
            match event:
                case TransactionFinished(one):
                    found.append(("finished", one.key, one.trouble))
                case RecipientAnswered(one, recipient):
                    found.append(("answered", one.key, recipient.key))
                case other:
                    found.append((other,))
        return found

    def verdicts(self) -> list[Verdict]:
        """What became of everybody."""
        return [judge(one, recipient) for one in self.begun for recipient in one.recipients]


def transaction(index: int, mail: Mail) -> Transaction:
    """Make a message whose end can be found in what was sent."""
    pieces: list[bytes | Exception] = [
        OSError("disk gone") if size < 0 else b"." * (size - 2) + b"\r\n" for size in mail.pieces
    ]
    recipients = [Recipient(b"r%d@y.example" % number, key=number) for number in range(mail.recipients)]
    content = Text(*pieces, b"%d %s" % (index, END))
    return Transaction(b"a@x.example", recipients, content, key=index)


class Promises(SynchronousTestCase):
    """Hold in any state, for any octets."""

    @settings(max_examples=400, deadline=None)
    @given(worlds, scripts, ends)
    def test_no_exception_no_false_success_no_message_forgotten(
        self, world: World, script: list[Move], end: object
    ) -> None:
        run = Run(world)
        for move in script:
            run.make(move)
            self.bounded(run)
        run.hear(end(run.session))  # type: ignore[operator]
        if run.session.state is not State.OVER:
            run.hear(run.session.lost())
        self.assertIs(run.session.state, State.OVER)
        self.assertEqual(run.session.take(), b"")
        finished = [event.transaction.key for event in run.events if isinstance(event, TransactionFinished)]
        self.assertEqual(sorted(finished), [one.key for one in run.begun], "each exactly once")
        self.assertLessEqual(sum(isinstance(event, Broken) for event in run.events), 1)
        for verdict in run.verdicts():
            self.assertEqual(verdict.status[:1].decode(), verdict.outcome.value)
            self.assertTrue(verdict.text)
            self.assertIs(verdict.maybe_delivered and verdict.outcome is not Outcome.DEFERRED, False)

    def bounded(self, run: Run) -> None:
        """Memory does not depend on what the server likes to send."""
        reader = run.session._reader
        held = len(reader._partial) + sum(map(len, reader._lines))
        self.assertLessEqual(held, 2 * (UNREAD_KEPT + LINE_KEPT))
        self.assertEqual(run.session._events, [])
        asked = sum(len(one.recipients) + 8 for one in run.begun)
        self.assertLessEqual(len(run.session._awaited), asked + 2)

    @settings(max_examples=300, deadline=None)
    @given(worlds, scripts)
    def test_pieces_do_not_matter(self, world: World, script: list[Move]) -> None:
        whole, split = Run(world), Run(world)
        for move in script:
            whole.make(move)
            split.make(move, split=True)
            self.assertEqual(split.facts(), whole.facts())
            self.assertEqual(split.sent, whole.sent)
        self.assertEqual(split.verdicts(), whole.verdicts())

    @settings(max_examples=100, deadline=None)
    @given(worlds)
    def test_good_server_gets_everything(self, world: World) -> None:
        """The machinery above does get to the end."""
        world = world._replace(
            mails=tuple(
                mail._replace(pieces=tuple(abs(size) + 2 for size in mail.pieces)) for mail in world.mails
            ),
            offers=world.offers | {2, 3},
        )
        run = Run(world)
        for _ in range(60):
            run.make(GOOD)
        self.assertEqual(len(run.begun), len(world.mails))
        self.assertEqual({verdict.outcome for verdict in run.verdicts()}, {Outcome.DELIVERED})
        self.assertTrue(run.session.is_idle)
