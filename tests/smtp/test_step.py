"""Whether replies are in step with commands, and what is believed when they are not (weakness W2)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.smtp.sample import broken, finished, go_through, mail, open_session, reply
from zsmtp.policy import judge
from zsmtp.smtp.event import Broken, Event, RecipientAnswered, TransactionFinished
from zsmtp.smtp.patience import Awaits
from zsmtp.smtp.session import Session
from zsmtp.smtp.step import Marks, disbelieve
from zsmtp.smtp.transaction import Transaction
from zsmtp.trouble import Kind

USUAL = ("2.1.0", "2.1.5", "2.0.0")
"""as Postfix, Sendmail and Gmail mark their replies"""
ALIKE = ("2.0.0", "2.0.0", "2.0.0")
ALL = ("PIPELINING", "CHUNKING")


def taken(sender: str, *recipients: str, end: str) -> Transaction:
    """A transaction that went through with these replies."""
    one = mail(len(recipients))
    one.mail_reply, one.data_reply, one.final_reply = reply(sender), reply("354 go"), reply(end)
    for recipient, line in zip(one.recipients, recipients, strict=True):
        recipient.reply = reply(line)
        one.accepted.append(recipient)
    return one


class HowAServerMarks(SynchronousTestCase):
    """Learnt from a message that it took."""

    def marks(self, sender: str, *recipients: str, end: str) -> Marks:
        found = Marks.of(taken(sender, *recipients, end=end))
        assert found is not None
        return found

    def test_mark_of_another_command_is_a_contradiction(self) -> None:
        marks = self.marks("250 2.1.0 a", "250 2.1.5 b", end="250 2.0.0 c")
        self.assertFalse(marks.contradict(Awaits.FINAL, reply("250 2.0.0 x")))
        for awaited, line in (
            (Awaits.FINAL, "250 2.1.5 x"),
            (Awaits.FINAL, "250 2.1.0 x"),
            (Awaits.RCPT, "250 2.1.0 x"),
            (Awaits.MAIL, "250 2.0.0"),
        ):
            self.assertTrue(marks.contradict(awaited, reply(line)), line)

    def test_any_other_reply_is_none(self) -> None:
        marks = self.marks("250 2.1.0 a", "250 2.1.5 b", end="250 2.0.0 c")
        for line in ("250 x", "250 2.6.0 x", "250 2.1.50 x", "550 5.1.5 x", "550 2.1.5 x", "250 x 2.1.5"):
            self.assertFalse(marks.contradict(Awaits.FINAL, reply(line)), line)

    def test_server_that_marks_nothing_or_all_alike_contradicts_nothing(self) -> None:
        for line in ("250 ok", "250 2.0.0 ok"):
            marks = self.marks(line, line, end=line)
            for awaited in (Awaits.MAIL, Awaits.RCPT, Awaits.FINAL):
                for other in ("250 ok", "250 2.0.0 ok", "250 2.1.5 ok"):
                    self.assertFalse(marks.contradict(awaited, reply(other)))

    def test_every_mark_that_it_gave_to_recipients_is_one_of_theirs(self) -> None:
        marks = self.marks("250 2.1.0 a", "250 2.1.5 b", "251 2.0.0 c", end="250 2.0.0 d")
        self.assertFalse(marks.contradict(Awaits.RCPT, reply("250 2.0.0 x")))
        self.assertTrue(marks.contradict(Awaits.FINAL, reply("250 2.1.5 x")))

    def test_every_final_reply_of_lmtp_counts(self) -> None:
        one = taken("250 2.1.0 a", "250 2.1.5 b", "250 2.1.5 c", end="250 2.6.0 d")
        one.accepted[0].final, one.accepted[1].final = reply("250 2.1.5 d"), reply("250 2.6.0 d")
        marks = Marks.of(one)
        assert marks is not None
        self.assertFalse(marks.contradict(Awaits.FINAL, reply("250 2.1.5 x")))

    def test_message_that_nobody_got_shows_nothing(self) -> None:
        self.assertIsNone(Marks.of(taken("250 2.1.0 a", "250 2.1.5 b", end="550 5.7.1 c")))


class Disbelief(SynchronousTestCase):
    """Of what one read has answered."""

    def test_proven_stays(self) -> None:
        one = taken("250 a", "250 b", end="250 c")
        told: list[Event] = [RecipientAnswered(one, one.recipients[0]), TransactionFinished(one)]
        self.assertEqual(disbelieve(told, (None, one), even_proven=False), told)
        self.assertFalse(one.is_in_doubt)

    def test_unproven_is_told_at_its_end_only(self) -> None:
        one = taken("250 a", "250 b", end="250 c")
        one.data_reply = None
        told: list[Event] = [RecipientAnswered(one, one.recipients[0]), TransactionFinished(one)]
        self.assertEqual(disbelieve(told, (), even_proven=False), [TransactionFinished(one)])
        self.assertTrue(one.is_in_doubt)

    def test_what_is_under_way_is_in_doubt(self) -> None:
        one = mail()
        self.assertEqual(disbelieve([], (None, one), even_proven=False), [])
        self.assertTrue(one.is_in_doubt)


class StepTest(SynchronousTestCase):
    """A session that has let a first message through."""

    def open(self, *announced: str, marks: tuple[str, str, str] = USUAL, lmtp: bool = False) -> Session:
        talker = open_session(*(announced or ALL), lmtp=lmtp)
        go_through(talker, marks=marks)
        return talker

    def sent(self, talker: Session, recipients: int = 2) -> Transaction:
        """Begin a message and send all that can be sent."""
        one = mail(recipients)
        talker.begin(one)
        while talker.take():
            talker.flushed()
        return one

    def words(self, one: Transaction) -> list[str]:
        return [judge(one, each).word.value.decode() for each in one.recipients]


class BehindASurplusReply(StepTest):
    """A message sent blindly: each command hears the answer to the one before it."""

    LINES = (b"250 2.1.0 a\r\n", b"250 2.1.5 b\r\n", b"250 2.1.5 c\r\n", b"550 5.7.1 d\r\n")

    def shifted(self, at: int) -> bytes:
        return b"".join(self.LINES[: at + 1] + self.LINES[at:])

    def test_marks_tell_it(self) -> None:
        for lmtp in (False, True):
            for at in range(3):
                for in_one_read in (True, False):
                    talker = self.open(lmtp=lmtp)
                    one = self.sent(talker)
                    octets = self.shifted(at)
                    pieces = [octets] if in_one_read else octets.splitlines(keepends=True)
                    events = [event for piece in pieces for event in talker.receive(piece)]
                    self.assertIs(broken(events).trouble.kind, Kind.PROTOCOL)
                    self.assertEqual(finished(events), [one])
                    self.assertEqual(self.words(one), ["deferback"] * 2, (lmtp, at))
                    self.assertTrue(judge(one, one.recipients[0]).maybe_delivered)

    def test_late_reply_to_the_message_before_is_no_reply_to_mail(self) -> None:
        talker = self.open()
        one = self.sent(talker)
        self.assertIs(broken(talker.receive(b"250 2.0.0 again\r\n")).trouble.kind, Kind.PROTOCOL)
        self.assertEqual(self.words(one), ["deferback"] * 2)

    def test_without_marks_the_surplus_at_the_end_tells_it_if_it_comes_at_once(self) -> None:
        for marks in (ALIKE, ("", "", "")):
            for lmtp in (False, True):
                talker = self.open(marks=marks, lmtp=lmtp)
                one = self.sent(talker)
                octets = b"250 a\r\n250 b\r\n250 c\r\n250 c\r\n" + b"550 d\r\n" * (2 if lmtp else 1)
                self.assertIsInstance(talker.receive(octets)[-1], Broken)
                self.assertEqual(self.words(one), ["deferback"] * 2)

    def test_refusal_is_nobodys(self) -> None:
        """One was refused, and nobody knows which."""
        talker = self.open(marks=ALIKE)
        one = self.sent(talker)
        events = talker.receive(b"250 a\r\n550 5.1.1 b\r\n550 5.1.1 b\r\n250 c\r\n250 d\r\n")
        self.assertIsInstance(events[-1], Broken)
        self.assertEqual(self.words(one), ["deferback"] * 2)

    def test_in_step_nothing_is_in_doubt(self) -> None:
        talker = self.open()
        one = self.sent(talker)
        self.assertEqual(len(talker.receive(b"".join(self.LINES[:3]) + b"250 2.6.0 d\r\n")), 1)
        self.assertEqual(self.words(one), ["ok3", "ok3"])

    def test_closing_right_behind_the_end_takes_nothing_back(self) -> None:
        talker = self.open()
        one = self.sent(talker)
        talker.receive(b"".join(self.LINES[:3]) + b"250 2.0.0 d\r\n421 4.3.2 bye\r\n")
        self.assertEqual(self.words(one), ["ok3", "ok3"])


class BehindASurplusReplyUnderData(StepTest):
    """The 3yz is not where it belongs, before an octet of the message was sent."""

    def test_message_is_not_sent(self) -> None:
        talker = open_session("PIPELINING")
        one = self.sent(talker)
        talker.receive(b"250 a\r\n250 a\r\n250 b\r\n250 c\r\n354 d\r\n")
        self.assertEqual((self.words(one), talker.take()), (["deferred"] * 2, b""))

    def test_refusal_is_nobodys(self) -> None:
        """RCPT refused for the second, and DATA seems to be."""
        talker = open_session("PIPELINING")
        one = self.sent(talker)
        events = talker.receive(b"250 a\r\n250 a\r\n250 b\r\n550 5.1.1 c\r\n354 d\r\n")
        self.assertEqual((finished(events), self.words(one)), ([one], ["deferred"] * 2))

    def test_nobody_is_told_before_data_is_answered(self) -> None:
        for in_step in (True, False):
            talker = open_session("PIPELINING")
            one = self.sent(talker)
            self.assertEqual(talker.receive(b"250 a\r\n250 b\r\n550 5.1.1 c\r\n"), [])
            events = talker.receive(b"354 d\r\n" if in_step else b"250 c\r\n")
            if in_step:
                self.assertEqual(events, [RecipientAnswered(one, one.recipients[1])])
            else:
                self.assertEqual([type(event) for event in events], [TransactionFinished, Broken])
                self.assertEqual(self.words(one), ["deferred"] * 2)

    def test_lost_connection_leaves_refusals_as_they_are(self) -> None:
        talker = open_session("PIPELINING")
        one = self.sent(talker)
        talker.receive(b"250 a\r\n250 b\r\n550 5.1.1 c\r\n")
        talker.lost()
        self.assertEqual(self.words(one), ["deferred", "error2"])


class WithoutAReplyToTheMessage(StepTest):
    """A server forgets it, and answers the envelope that was sent behind the dot."""

    def overlapping(
        self, marks: tuple[str, str, str], *, lmtp: bool = False
    ) -> tuple[Session, Transaction, Transaction]:
        talker = self.open("PIPELINING", marks=marks, lmtp=lmtp)
        one, two = mail(), mail()
        talker.begin(one)
        talker.take()
        talker.flushed()
        talker.receive(b"250 2.1.0 a\r\n250 2.1.5 b\r\n354 c\r\n")
        talker.begin(two)
        talker.take()
        talker.flushed()
        return talker, one, two

    def test_marks_tell_it(self) -> None:
        for lmtp in (False, True):
            talker, one, two = self.overlapping(USUAL, lmtp=lmtp)
            self.assertIs(broken(talker.receive(b"250 2.1.0 a\r\n")).trouble.kind, Kind.PROTOCOL)
            self.assertEqual((self.words(one), self.words(two)), (["deferback"], ["deferred"]))
            self.assertTrue(two.is_untouched)

    def test_without_marks_the_3yz_tells_it_if_it_comes_at_once(self) -> None:
        for lmtp in (False, True):
            talker, one, two = self.overlapping(ALIKE, lmtp=lmtp)
            events = talker.receive(b"250 a\r\n250 b\r\n354 c\r\n")
            self.assertEqual(finished(events), [one, two])
            self.assertEqual((self.words(one), self.words(two)), (["deferback"], ["deferred"]))
            self.assertFalse(two.data_sent)

    def test_in_step_it_is_told_at_its_own_reply(self) -> None:
        talker, one, _ = self.overlapping(USUAL)
        self.assertEqual(talker.receive(b"250 2.0.0 d\r\n"), [TransactionFinished(one)])
        self.assertEqual(self.words(one), ["ok3"])

    def test_answer_that_is_absurd_but_not_too_early_takes_nothing_back(self) -> None:
        talker, one, two = self.overlapping(USUAL)
        talker.receive(b"250 2.0.0 d\r\n250 2.1.0 a\r\n250 2.1.5 b\r\n250 2.1.5 c\r\n")
        self.assertEqual((self.words(one), self.words(two)), (["ok3"], ["deferred"]))
