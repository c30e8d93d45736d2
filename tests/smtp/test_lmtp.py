"""LMTP (RFC 2033): one final reply for each accepted recipient, by position."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.smtp.sample import finished, mail, open_session, play, shown
from tests.smtp.test_chunks import LARGE
from zsmtp.policy import judge
from zsmtp.smtp.event import Broken, RecipientAnswered, TransactionFinished
from zsmtp.testing.talk import talk

WAYS = ("lmtp; +P", "lmtp; +8", "lmtp; +P +C", "lmtp; +C")


class FinalReplies(SynchronousTestCase):
    """Each recipient has its own fate."""

    def test_each_is_told_when_its_reply_comes(self) -> None:
        one, talker = mail(2), open_session("PIPELINING", lmtp=True)
        talker.begin(one)
        talk(
            talker,
            "C: MAIL *\nC: RCPT *\nC: RCPT *\nC: DATA\nS: 250 a\nS: 250 b\nS: 250 c\nS: 354 d\nC-data:",
        )
        self.assertEqual(talker.receive(b"250 e\r\n"), [RecipientAnswered(one, one.recipients[0])])
        self.assertFalse(talker.is_idle)
        self.assertTrue(talker.awaits_final)
        self.assertEqual(
            talker.receive(b"550 f\r\n"),
            [RecipientAnswered(one, one.recipients[1]), TransactionFinished(one)],
        )
        self.assertTrue(talker.is_idle)
        self.assertEqual([judge(one, each).word.value for each in one.recipients], [b"ok3", b"error2"])

    def test_three_fates(self) -> None:
        """Rows 103 and 108."""
        for way in WAYS:
            played = play(f"{way}; . 250, 450 4.2.2 full, 550 5.1.1 no", recipients=3, lmtp=True)
            self.assertEqual(played.words(), "ok3 deferred error2", way)
            self.assertEqual(
                [verdict.status for verdict in played.verdicts()], [b"2.0.0", b"4.2.2", b"5.1.1"]
            )
            self.assertEqual(played.said[:2], ["LHLO", "MAIL"])
            self.assertTrue(played.session.is_idle)

    def test_refused_recipients_have_no_final_reply(self) -> None:
        """Row 104."""
        for way in WAYS:
            played = play(f"{way}; R 250, 550, 250", recipients=3, lmtp=True)
            self.assertEqual(played.words(), "ok3 error2 ok3", way)
            answered = [event.recipient for event in played.events if isinstance(event, RecipientAnswered)]
            first, second, third = played.mails[0].recipients
            self.assertEqual(answered, [second, first, third])
            self.assertTrue(played.session.is_idle)

    def test_same_recipient_twice(self) -> None:
        """Rows 72 and 104: by position, never by address."""
        played = play("lmtp; +P; . 250, 550", mail([b"b@y.example", b"b@y.example"]), lmtp=True)
        self.assertEqual(played.words(), "ok3 error2")

    def test_only_a_few_final_replies(self) -> None:
        """Row 105; weakness W24; defect 19 of the stock class: silence is no success."""
        for way in WAYS:
            for end, text in (("X", "remote hung up on us while 2"), ("-", "Timeout of 1200 sec")):
                played = play(f"{way}; . 250, {end}", recipients=3, lmtp=True)
                self.assertEqual(played.words(), "ok3 deferback deferback")
                self.assertEqual(
                    [verdict.maybe_delivered for verdict in played.verdicts()], [False, True, True]
                )
                self.assertIn(text, shown(played.verdict(3).text))
                self.assertTrue(played.verdict(3).status.startswith(b"4.4.2"))
                self.assertEqual(finished(played.events), list(played.mails))

    def test_more_than_there_are_recipients(self) -> None:
        """Row 106: what is decided stands; nothing more is sent to a server that cannot count."""
        one, talker = mail(3), open_session("PIPELINING", lmtp=True)
        talker.begin(one)
        talk(
            talker,
            "C: MAIL *\nC: RCPT *\nC: RCPT *\nC: RCPT *\nC: DATA\nS: 250\nS: 250\nS: 250\nS: 250\nS: 354\n"
            "C-data:",
        )
        events = talker.receive(b"250 a\r\n250 b\r\n250 c\r\n250 d\r\n250 e\r\n")
        self.assertEqual([type(event) for event in events[-2:]], [TransactionFinished, Broken])
        self.assertEqual({judge(one, each).word.value for each in one.recipients}, {b"ok3"})

    def test_reply_of_another_kind(self) -> None:
        """Row 107: the first that is none ends it for those behind."""
        for line in ("199", "354", "650", "000"):
            played = play(f"lmtp; +P; . 250, {line}, 250", recipients=3, lmtp=True)
            self.assertEqual((played.words(), played.is_over), ("ok3 deferback deferback", True), line)

    def test_closing(self) -> None:
        """Section 6: 421 is the fate of one, and the end for the others."""
        for way in WAYS:
            played = play(f"{way}; . 250, 421 bye", recipients=3, lmtp=True)
            self.assertEqual((played.words(), played.is_over), ("ok3 deferred deferback", True))
            self.assertEqual(played.verdict(3).diagnostic, b"smtp; 421 (bye)")
            self.assertTrue(
                shown(played.verdict(3).text).endswith("⏎->> 421 bye⏎the server is closing the connection")
            )

    def test_out_of_step(self) -> None:
        """Section 3.3: 503 is no word about a recipient."""
        self.assertEqual(play("lmtp; +P; . 503 no valid recipients", lmtp=True).words(), "deferred")

    def test_abnormal(self) -> None:
        played = play("lmtp; +P; . 500 what", lmtp=True)
        self.assertTrue(
            shown(played.verdict().text).endswith("⏎<<- .⏎->> 500 what (this is abnormal, investigate!)")
        )

    def test_large_message(self) -> None:
        for way in WAYS:
            played = play(f"{way}; . 250, 550", mail(2, *LARGE), lmtp=True)
            self.assertEqual(played.words(), "ok3 error2", way)
            self.assertEqual(played.conversation.messages[0].octets, b"".join(LARGE))

    def test_next_message_overlaps(self) -> None:
        played = play("lmtp; +P; . 250, 550, 450", mail(2), mail(), in_step=True, lmtp=True)
        self.assertEqual((played.words(1), played.words(2)), ("ok3 error2", "deferred"))
        self.assertTrue(any(b".\r\nMAIL" in flight for flight in played.conversation.flights))


class NobodyLeft(SynchronousTestCase):
    """All recipients are refused."""

    def test_data_refused(self) -> None:
        """RFC 2033 section 4.2."""
        played = play("lmtp; +P; R 550, 550, 250; D 503, 354", mail(2), mail(), lmtp=True)
        self.assertEqual((played.words(1), played.words(2)), ("error2 error2", "ok3"))

    def test_data_granted(self) -> None:
        """Weakness W12: no final reply would ever come, so the connection ends at once."""
        played = play("lmtp; +P; R 550; D 354", recipients=2, lmtp=True)
        self.assertEqual((played.words(), played.is_over), ("error2 error2", True))
        self.assertEqual(played.conversation.messages, [])

    def test_sender_refused_and_the_message_sent_blindly(self) -> None:
        """One reply to BDAT then, as there is nobody to have one of his own."""
        for line, word in (("550", "error2"), ("450", "deferred")):
            talker, one = open_session("PIPELINING", "CHUNKING", in_step=True, lmtp=True), mail(2)
            talker.begin(one)
            talker.take()
            talker.flushed()
            events = talker.receive(f"{line} no\r\n503 a\r\n503 b\r\n503 c\r\n".encode())
            self.assertEqual(finished(events), [one])
            self.assertEqual({judge(one, each).word.value.decode() for each in one.recipients}, {word})
            self.assertTrue(talker.is_idle)
            talker.begin(mail())
            self.assertTrue(talker.take().startswith(b"RSET\r\n"))

    def test_sender_refused_and_recipients_accepted_all_the_same(self) -> None:
        """It gives more replies than there are commands, and then nobody knows what the first one meant."""
        talker, one = open_session("PIPELINING", "CHUNKING", in_step=True, lmtp=True), mail(2)
        talker.begin(one)
        talker.take()
        talker.flushed()
        events = talker.receive(b"550 no\r\n250 a\r\n250 b\r\n250 c\r\n250 d\r\n")
        self.assertEqual(finished(events), [one])
        self.assertIsInstance(events[-1], Broken)
        self.assertEqual({judge(one, each).word.value for each in one.recipients}, {b"deferback"})


class Chunks(SynchronousTestCase):
    """BDAT is refused before the end."""

    def test_refusal_of_a_chunk_is_everybody_s(self) -> None:
        for way in ("lmtp; +C", "lmtp; +P +C"):
            for line, word in (("554 5.6.0 no", "error2"), ("452 4.3.1 full", "deferred")):
                played = play(
                    f"{way}; R 250, 550 5.1.1 nobody; bdat {line}", mail(3, *LARGE), in_step=True, lmtp=True
                )
                self.assertEqual(played.words(), f"{word} error2 error2", way)
                self.assertEqual(played.verdict(1).status.decode(), line.split()[1])
                self.assertEqual(played.verdict(2).status, b"5.1.1")


class Success(SynchronousTestCase):
    """LMTP is the final delivery, so it is for us to tell the sender."""

    def test_it_is_called_delivered(self) -> None:
        """Row 94; weakness W25."""
        for lmtp, action in ((False, b"relayed"), (True, b"delivered")):
            played = play("lmtp; +P" if lmtp else "+P", lmtp=lmtp)
            (one,) = played.mails
            verdict = judge(one, one.recipients[0], record_success=True)
            self.assertEqual((verdict.word.value, verdict.action), (b"ok2", action))
            self.assertEqual((played.verdict().word.value, played.verdict().action), (b"ok3", b"-"))
