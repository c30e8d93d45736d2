"""A session can end at any moment, in any way, and every message that was begun is finished exactly once."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from twisted.trial.unittest import SynchronousTestCase

from tests.smtp.sample import finished, mail, open_session, session
from zsmtp.policy import Outcome, judge
from zsmtp.smtp.event import Broken, Event, Left
from zsmtp.smtp.session import Session, State, Tls
from zsmtp.smtp.transaction import Transaction
from zsmtp.trouble import Kind, Trouble

LARGE = (b"x" * 65000 + b"\r\n", b"y" * 65000 + b"\r\n", b"z\r\n")
GROUP = b"250 a\r\n250 b\r\n354 c\r\n"


class Point(NamedTuple):
    """A moment in a session: the messages that are open, and those that may have been delivered."""

    session: Session
    mails: tuple[Transaction, ...] = ()
    maybe: tuple[bool, ...] = ()


def greeting() -> Point:
    return Point(session())


def hello() -> Point:
    talker = session()
    talker.receive(b"220 x\r\n")
    talker.take()
    return Point(talker)


def hello_not_taken() -> Point:
    talker = session()
    talker.receive(b"220 x\r\n")
    return Point(talker)


def helo() -> Point:
    point = hello()
    point.session.receive(b"500 x\r\n")
    point.session.take()
    return point


def starttls() -> Point:
    talker = session(tls=Tls.REQUIRED)
    talker.receive(b"220 x\r\n")
    talker.take()
    talker.receive(b"250-x\r\n250 STARTTLS\r\n")
    talker.take()
    return Point(talker)


def handshake() -> Point:
    point = starttls()
    point.session.receive(b"220 go\r\n")
    return point


def mechanisms() -> Point:
    talker = session(authenticate=True)
    talker.receive(b"220 x\r\n")
    talker.take()
    talker.receive(b"250-x\r\n250 AUTH LOGIN\r\n")
    return Point(talker)


def challenge() -> Point:
    point = mechanisms()
    point.session.authenticate(b"LOGIN")
    point.session.take()
    point.session.receive(b"334 x\r\n")
    return point


def answer() -> Point:
    point = challenge()
    point.session.answer(b"eHh4")
    point.session.take()
    return point


def idle() -> Point:
    return Point(open_session("PIPELINING"))


def probing() -> Point:
    talker = open_session()
    talker.probe()
    talker.take()
    return Point(talker)


def resetting() -> Point:
    talker, one = open_session(), mail(2)
    talker.begin(one, reset=True)
    talker.take()
    return Point(talker, (one,), (False,))


def announced() -> Point:
    talker, one = open_session("PIPELINING", in_step=True), mail(2)
    talker.begin(one)
    return Point(talker, (one,), (False,))


def sender_asked() -> Point:
    talker, one = open_session(), mail(2)
    talker.begin(one)
    talker.take()
    return Point(talker, (one,), (False,))


def recipient_asked() -> Point:
    point = sender_asked()
    point.session.receive(b"250 a\r\n")
    point.session.take()
    return point


def data_asked() -> Point:
    point = recipient_asked()
    for line in (b"250 a\r\n", b"250 b\r\n"):
        point.session.receive(line)
        point.session.take()
    return point


def empty_message() -> Point:
    talker, one = open_session("PIPELINING", in_step=True), mail(2)
    talker.begin(one)
    talker.take()
    talker.receive(b"250 a\r\n450 b\r\n450 c\r\n354 d\r\n")
    talker.take()
    return Point(talker, (one,), (False,))


def message_to_be_sent() -> Point:
    talker, one = open_session("PIPELINING", in_step=True), mail(1, *LARGE)
    talker.begin(one)
    talker.take()
    talker.receive(GROUP)
    return Point(talker, (one,), (False,))


def message_on_its_way() -> Point:
    point = message_to_be_sent()
    point.session.take()
    return point


def message_on_its_way_and_another_announced() -> Point:
    talker, mails, maybe = message_on_its_way()
    two = mail(2)
    talker.begin(two)
    return Point(talker, (*mails, two), (*maybe, False))


def message_sent() -> Point:
    talker, mails, _ = message_on_its_way()
    while talker.take():
        pass
    talker.flushed()
    return Point(talker, mails, (True,))


def message_sent_and_another_announced() -> Point:
    talker, mails, _ = message_sent()
    two = mail(2)
    talker.begin(two)
    talker.take()
    return Point(talker, (*mails, two), (True, False))


def message_sent_by_lmtp() -> Point:
    talker, one = open_session("PIPELINING", lmtp=True), mail(2)
    talker.begin(one)
    talker.take()
    talker.receive(b"250 a\r\n250 b\r\n250 c\r\n354 d\r\n")
    talker.take()
    talker.flushed()
    return Point(talker, (one,), (True,))


def chunk_sent() -> Point:
    talker, one = open_session("CHUNKING", in_step=True), mail(1, *LARGE)
    talker.begin(one)
    for line in (b"250 a\r\n", b"250 b\r\n"):
        talker.take()
        talker.receive(line)
    talker.take()
    talker.flushed()
    return Point(talker, (one,), (False,))


def small_message_sent_blindly() -> Point:
    talker, one = open_session("PIPELINING", "CHUNKING", in_step=True), mail(1)
    talker.begin(one)
    talker.take()
    talker.flushed()
    return Point(talker, (one,), (True,))


def leaving() -> Point:
    talker = open_session()
    talker.leave()
    talker.take()
    return Point(talker)


def over() -> Point:
    talker = open_session()
    talker.receive(b"421 bye\r\n")
    return Point(talker)


POINTS: tuple[Callable[[], Point], ...] = (
    greeting,
    hello,
    hello_not_taken,
    helo,
    starttls,
    handshake,
    mechanisms,
    challenge,
    answer,
    idle,
    probing,
    resetting,
    announced,
    sender_asked,
    recipient_asked,
    data_asked,
    empty_message,
    message_to_be_sent,
    message_on_its_way,
    message_on_its_way_and_another_announced,
    message_sent,
    message_sent_and_another_announced,
    message_sent_by_lmtp,
    chunk_sent,
    small_message_sent_blindly,
    leaving,
    over,
)


def left(talker: Session) -> list[Event]:
    talker.leave()
    return talker.poll()


ENDS: dict[str, Callable[[Session], list[Event]]] = {
    "lost": lambda one: one.lost(),
    "lost for a reason": lambda one: one.lost(Trouble(Kind.STOPPED, b"told to stop")),
    "no answer": lambda one: one.expired(),
    "does not read": lambda one: one.expired(writing=True),
    "closing": lambda one: one.receive(b"421 bye\r\n"),
    "garbage": lambda one: one.receive(b"hello\r\n"),
    "absurd": lambda one: one.receive(b"650 x\r\n"),
    "too long": lambda one: one.receive(b"x" * 70000),
    "left": left,
}
EARLY = {"closing", "absurd"}
"""replies that are taken for what they say"""


class EveryEndAtEveryMoment(SynchronousTestCase):
    """27 moments, nine ways to end."""

    def test_session_is_over_and_says_so_once(self) -> None:
        for make in POINTS:
            for name, end in ENDS.items():
                talker = make().session
                was = talker.state
                events = end(talker)
                ends = [event for event in events if isinstance(event, Broken | Left)]
                where = (make.__name__, name)
                if was is State.OVER:
                    self.assertEqual(events, [], where)
                elif name == "left" and make in (idle, probing, leaving):
                    self.assertEqual((talker.state, events), (State.LEAVING, []), where)
                    continue
                elif talker.state is State.LEAVING:
                    self.assertEqual((name, len(ends)), ("closing", 1), where)  # QUIT is said
                    continue
                else:
                    self.assertEqual(
                        [type(one) for one in ends], [Left if was is State.LEAVING else Broken], where
                    )
                self.assertIs(talker.state, State.OVER, where)
                self.assertEqual(talker.take(), b"", where)
                self.assertFalse(talker.has_room or talker.is_idle or talker.awaits_final, where)

    def test_whatever_comes_afterwards_is_not_heard(self) -> None:
        for make in POINTS:
            for name, end in ENDS.items():
                talker = make().session
                end(talker)
                if talker.state is not State.OVER:
                    continue
                for other in ENDS.values():
                    self.assertEqual(other(talker), [], (make.__name__, name))
                talker.flushed()
                talker.secured()
                talker.authenticate(b"LOGIN")
                talker.answer(b"eHh4")
                talker.refrain()
                self.assertEqual((talker.take(), talker.poll()), (b"", []))

    def test_every_message_is_finished_once_and_deferred(self) -> None:
        for make in POINTS:
            for name, end in ENDS.items():
                point = make()
                where = (make.__name__, name)
                events = end(point.session)
                self.assertEqual(finished(events), list(point.mails), where)
                for one, maybe in zip(point.mails, point.maybe, strict=True):
                    for verdict in (judge(one, recipient) for recipient in one.recipients):
                        self.assertIs(verdict.outcome, Outcome.DEFERRED, where)
                        if name not in EARLY:
                            self.assertIs(verdict.maybe_delivered, maybe, where)
                            self.assertEqual(
                                verdict.word.value, b"deferback" if maybe else b"deferred", where
                            )

    def test_where_it_was_is_remembered(self) -> None:
        for make in POINTS:
            point = make()
            was = point.session.state
            point.session.lost()
            expected = None if was is State.LEAVING else State.READY if was is State.OVER else was
            self.assertIs(point.session.ended_in, expected, make.__name__)

    def test_flushed_means_nothing_on_its_own(self) -> None:
        for make in POINTS:
            talker = make().session
            was = talker.state
            talker.flushed()
            talker.flushed()
            self.assertIs(talker.state, was)
            self.assertEqual(talker.receive(b""), [])


class MaybeDelivered(SynchronousTestCase):
    """The moment between the end of the message and its reply is the worst to stop."""

    def test_it_is_known(self) -> None:
        for make in POINTS:
            point = make()
            self.assertIs(point.session.awaits_final, any(point.maybe))

    def test_message_sent_blindly(self) -> None:
        """It may be delivered although not even MAIL was answered: no other connection may have it."""
        for replies, maybe in (
            (b"", True),
            (b"250 a\r\n", True),
            (b"250 a\r\n250 b\r\n", True),
            (b"450 a\r\n", False),
        ):
            point = small_message_sent_blindly()
            point.session.receive(replies)
            point.session.lost()
            (one,) = point.mails
            self.assertIs(judge(one, one.recipients[0]).maybe_delivered, maybe)
            self.assertFalse(one.is_untouched)


class ToldToStop(SynchronousTestCase):
    """Rows 133 and 134, at the level of the session."""

    def test_before_the_dot(self) -> None:
        point = recipient_asked()
        point.session.lost(Trouble(Kind.STOPPED, b"this transport agent was told to stop"))
        (one,) = point.mails
        verdict = judge(one, one.recipients[0])
        self.assertEqual((verdict.word.value, verdict.action), (b"deferred", b"failed"))
        self.assertEqual(verdict.status, b"4.3.2 (transport agent is stopping)")
        self.assertTrue(verdict.text.endswith(b"\rthis transport agent was told to stop"))

    def test_after_the_dot_the_answer_is_worth_waiting_for(self) -> None:
        point = message_sent()
        self.assertTrue(point.session.awaits_final)
        point.session.receive(b"250 ok\r\n")
        self.assertFalse(point.session.awaits_final)
        (one,) = point.mails
        self.assertEqual(judge(one, one.recipients[0]).word.value, b"ok3")


class ServerThatDoesNotRead(SynchronousTestCase):
    """Row 83; weakness W18; defect 13 of the stock class."""

    def test_message_is_deferred(self) -> None:
        point = message_on_its_way()
        point.session.expired(writing=True)
        (one,) = point.mails
        verdict = judge(one, one.recipients[0])
        self.assertEqual((verdict.word.value, verdict.status), (b"deferred", b"4.4.2 (timeout on write)"))
        self.assertTrue(verdict.text.endswith(b"\rTimeout of 300 sec while writing to remote"))
        self.assertFalse(verdict.maybe_delivered)

    def test_connection_lost_in_the_middle_of_the_message(self) -> None:
        """Row 82: no dot was sent."""
        point = message_on_its_way()
        point.session.lost()
        (one,) = point.mails
        verdict = judge(one, one.recipients[0])
        self.assertEqual((verdict.word.value, verdict.maybe_delivered), (b"deferred", False))
