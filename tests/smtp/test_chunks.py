"""CHUNKING (RFC 3030): a small message leaves with its envelope, a large one when it has a recipient."""

from __future__ import annotations

from functools import partial

from twisted.trial.unittest import SynchronousTestCase

from tests.smtp import sample
from tests.smtp.sample import HELLO, finished, mail, open_session, shown
from zsmtp.policy import judge
from zsmtp.smtp.event import Broken, RecipientAnswered, TransactionFinished
from zsmtp.testing.table import Table
from zsmtp.testing.talk import talk
from zsmtp.trouble import Kind

play = partial(sample.play, in_step=True)
BDAT = b"BDAT %d LAST\r\n" % len(HELLO) + HELLO
LARGE = (b"x" * 65000 + b"\r\n", b"." * 65000 + b"\r\n", b"the end\r\n")


class SmallMessages(SynchronousTestCase):
    """Up to 64 KiB."""

    def test_everything_in_one_write(self) -> None:
        """Row 96."""
        one, talker = mail(2), open_session("PIPELINING", "CHUNKING", in_step=True)
        talker.begin(one)
        self.assertEqual(
            talker.take(),
            b"MAIL From:<a@x.example>\r\nRCPT To:<r1@y.example>\r\nRCPT To:<r2@y.example>\r\n" + BDAT,
        )
        talker.flushed()
        self.assertFalse(talker.has_room)
        self.assertEqual(talker.receive(b"250 a\r\n250 b\r\n250 c\r\n250 d\r\n"), [TransactionFinished(one)])
        self.assertTrue(talker.is_idle)
        self.assertEqual(
            shown(judge(one, one.recipients[1]).text),
            "⏎<<- MAIL From:<a@x.example>⏎->> 250 a⏎<<- RCPT To:<r2@y.example>⏎->> 250 c"
            "⏎<<- BDAT 25 LAST⏎->> 250 d",
        )

    def test_without_pipelining_it_waits_for_its_turn(self) -> None:
        """Row 97."""
        talk(
            open_session("CHUNKING", in_step=True),
            """
            C: MAIL *
            S: 250 a
            C: RCPT *
            S: 250 b
            C: RCPT *
            S: 550 c
            C-bdat: 25 LAST
            S: 250 d
            """,
            mail(2),
        )

    def test_dots_are_not_doubled(self) -> None:
        for server in ("+P +C", "+C"):
            played = play(server, mail(1, b".a\r\n..\r\n.\r\n"))
            self.assertEqual(played.conversation.messages[0].octets, b".a\r\n..\r\n.\r\n")

    def test_it_can_be_switched_off(self) -> None:
        self.assertIn("DATA", play("+P +C", chunking=False).said)

    def test_final_reply_decides(self) -> None:
        """Section 5.5."""
        for server in ("+P +C", "+C"):
            for answer, word in (
                ("250", "ok3"),
                ("450", "deferback"),
                ("552", "error2"),
                ("503", "deferback"),
            ):
                self.assertEqual(
                    play(f"{server}; . {answer}", recipients=2).words(), f"{word} {word}", answer
                )

    def test_no_answer(self) -> None:
        for server in ("+P +C", "+C"):
            for end in ("X", "-", "354", "199", "421"):
                played = play(f"{server}; . {end}")
                self.assertEqual((played.words(), played.is_over), ("deferback", True), end)
                self.assertIs(played.verdict().maybe_delivered, end != "421", end)

    def test_after_a_refusal_the_next_begins_with_reset(self) -> None:
        """RFC 3030 section 2: what state the server is in nobody knows."""
        for server in ("+P +C", "+C"):
            played = play(f"{server}; . 552, 250", mail(), mail())
            self.assertEqual((played.words(1), played.words(2)), ("error2", "ok3"))
            self.assertEqual(played.said.count("RSET"), 1)

    def test_no_message_follows_reset_blindly(self) -> None:
        """A server that refuses RSET must not have a message by then whose reply nobody hears."""
        one, talker = mail(), open_session("PIPELINING", "CHUNKING", in_step=True)
        talker.begin(one, reset=True)
        self.assertEqual(talker.take(), b"RSET\r\nMAIL From:<a@x.example>\r\nRCPT To:<r1@y.example>\r\n")
        talker.flushed()
        talker.receive(b"502 5.5.1 no\r\n250 a\r\n250 b\r\n")
        self.assertEqual((one.data_sent, talker.take()), (False, b""))
        self.assertIs(judge(one, one.recipients[0]).maybe_delivered, False)

    def test_nobody_was_accepted(self) -> None:
        """Row 98: the message is out already; what is said of it means nothing."""
        for answer in ("503", "250", "450"):
            played = play(f"+P +C; R 550 5.1.1 nobody, 550, 250; . {answer}, 250", mail(2), mail())
            self.assertEqual((played.words(1), played.words(2)), ("error2 error2", "ok3"), answer)
            self.assertEqual(played.verdict().status, b"5.1.1")
            self.assertEqual(played.said.count("RSET"), 1)

    def test_sender_was_refused(self) -> None:
        for line, word in (("550", "error2"), ("450", "deferred")):
            played = play(f"+P +C; M {line} no, 250; R 503, 503, 250; . 503, 250", mail(2), mail())
            self.assertEqual((played.words(1), played.words(2)), (f"{word} {word}", "ok3"))
            self.assertEqual(played.verdict().diagnostic, f"smtp; {line} (no)".encode())

    def test_sender_was_refused_and_the_message_taken(self) -> None:
        """A server that contradicts itself is believed the worse."""
        self.assertEqual(play("+P +C; M 550; R 250; . 250").words(), "error2")

    def test_nobody_is_asked_twice(self) -> None:
        """Without PIPELINING no chunk leaves if nobody would get it."""
        played = play("+C; R 550", recipients=2)
        self.assertEqual(played.said, ["EHLO", "MAIL", "RCPT", "RCPT"])

    def test_in_two_pieces_all_the_same(self) -> None:
        one = mail(1, b"a\r\n", b"b\r\n")
        talker = open_session("PIPELINING", "CHUNKING", in_step=True)
        talker.begin(one)
        self.assertTrue(talker.take().endswith(b"BDAT 3\r\na\r\nBDAT 3 LAST\r\nb\r\n"))
        talker.flushed()
        self.assertEqual(talker.receive(b"250 a\r\n250 b\r\n250 c\r\n250 d\r\n"), [TransactionFinished(one)])

    def test_in_two_pieces_for_nobody(self) -> None:
        played = play("+P +C; R 550, 250; bdat 503; . 503, 250", mail(1, b"a\r\n", b"b\r\n"), mail())
        self.assertEqual((played.words(1), played.words(2), played.is_over), ("error2", "ok3", False))

    def test_in_two_pieces_and_the_first_is_refused(self) -> None:
        played = play("+P +C; bdat 554 5.6.0 no; . 250", mail(1, b"a\r\n", b"b\r\n"))
        self.assertEqual((played.words(), played.is_over), ("error2", True))
        self.assertEqual(played.verdict().status, b"5.6.0")

    def test_envelope_larger_than_the_first_write(self) -> None:
        """The replies to its beginning may come before the message has left."""
        recipients = [b"x" * 200 + b"%d@y.example" % number for number in range(400)]
        for lmtp in (False, True):
            one, talker = mail(recipients), open_session("PIPELINING", "CHUNKING", in_step=True, lmtp=lmtp)
            talker.begin(one)
            self.assertTrue(talker.take().endswith(b"399@y.example>\r\n"))
            talker.receive(b"250 a\r\n" + b"250 b\r\n" * 200)
            self.assertEqual(talker.take(), BDAT)
            talker.flushed()
            talker.receive(b"550 c\r\n" * 100 + b"250 d\r\n" * 100)
            events = talker.receive(b"250 e\r\n" * (300 if lmtp else 1))
            self.assertEqual(finished(events), [one])
            words = [judge(one, recipient).word.value for recipient in one.recipients]
            self.assertEqual((words.count(b"ok3"), words.count(b"error2")), (300, 100))
            self.assertTrue(talker.is_idle)


class LargeMessages(SynchronousTestCase):
    """More than 64 KiB: one chunk for each piece, once the recipients are known."""

    def test_in_chunks_at_once(self) -> None:
        one = mail(2, *LARGE)
        events = talk(
            open_session("PIPELINING", "CHUNKING", in_step=True),
            """
            C: MAIL *
            C: RCPT *
            C: RCPT *
            S: 250 a
            S: 550 b
            S: 250 c
            C-bdat: 65002
            C-bdat: 65002
            C-bdat: 9 LAST
            S: 250 d
            S: 250 e
            S: 250 f
            """,
            one,
        )
        self.assertEqual([type(event) for event in events], [RecipientAnswered, TransactionFinished])
        self.assertEqual([judge(one, each).word.value for each in one.recipients], [b"error2", b"ok3"])

    def test_one_after_the_other_without_pipelining(self) -> None:
        talk(
            open_session("CHUNKING", in_step=True),
            """
            C: MAIL *
            S: 250 a
            C: RCPT *
            S: 250 b
            C-bdat: 65002
            S: 250 c
            C-bdat: 65002
            S: 250 d
            C-bdat: 9 LAST
            S: 250 e
            """,
            mail(1, *LARGE),
        )

    def test_nobody_was_accepted(self) -> None:
        """No octet of it is sent."""
        for server in ("+P +C", "+C"):
            played = play(f"{server}; R 550, 550, 250", mail(2, *LARGE), mail())
            self.assertEqual((played.words(1), played.words(2)), ("error2 error2", "ok3"))
            self.assertEqual(len(played.conversation.messages), 1)

    def test_sender_was_refused(self) -> None:
        for server in ("+P +C; R 503, 503, 250", "+P +C; R 250", "+C"):
            played = play(f"{server}; M 550 no, 250", mail(2, *LARGE), mail())
            self.assertEqual((played.words(1), played.words(2)), ("error2 error2", "ok3"))
            self.assertEqual(len(played.conversation.messages), 1)

    def test_chunk_is_refused(self) -> None:
        """Row 99; weakness W30: no further chunk is sent, and the reply is the verdict."""
        for line, word in (("554 5.6.0 no", "error2"), ("452 4.3.1 full", "deferred"), ("503", "deferred")):
            played = play(f"+C; bdat {line}, 250", mail(2, *LARGE), mail())
            self.assertEqual((played.words(1), played.words(2)), (f"{word} {word}", "ok3"), line)
            self.assertEqual(
                [one for one in played.said if one.isalpha() and one.isupper()],
                ["EHLO", "MAIL", "RCPT", "RCPT", "BDAT", "RSET", "MAIL", "RCPT", "BDAT"],
            )
            self.assertIn(f"⏎<<- BDAT 65002⏎->> {line}", shown(played.verdict().text))

    def test_chunk_is_refused_while_others_are_under_way(self) -> None:
        for line, word in (
            ("554 5.6.0 no", "error2"),
            ("452 4.3.1 full", "deferred"),
            ("421 bye", "deferred"),
        ):
            played = play(f"+P +C; bdat {line}", mail(2, *LARGE))
            self.assertEqual((played.words(), played.is_over), (f"{word} {word}", True))
            self.assertFalse(played.verdict().maybe_delivered)

    def test_chunk_is_refused_before_it_has_gone(self) -> None:
        talker, one = open_session("CHUNKING", in_step=True), mail(1, *LARGE)
        talker.begin(one)
        talk(talker, "C: MAIL *\nS: 250 a\nC: RCPT *")
        talker.receive(b"250 b\r\n")
        talker.take()
        finish, end = talker.receive(b"552 too big\r\n")
        self.assertEqual(finish, TransactionFinished(one))
        assert isinstance(end, Broken)
        self.assertEqual(judge(one, one.recipients[0]).word.value, b"error2")

    def test_last_chunk_is_confirmed_before_it_has_gone(self) -> None:
        talker, one = open_session("CHUNKING", "PIPELINING", in_step=True), mail(1, *LARGE)
        talker.begin(one)
        talker.take()
        talker.flushed()
        talker.receive(b"250 a\r\n250 b\r\n")
        while talker.take():
            pass
        events = talker.receive(b"250 c\r\n250 d\r\n250 e\r\n")
        self.assertEqual([type(event) for event in events], [TransactionFinished, Broken])
        verdict = judge(one, one.recipients[0])
        self.assertEqual((verdict.word.value, verdict.maybe_delivered), (b"deferback", True))

    def test_no_answer_to_a_chunk(self) -> None:
        for server in ("+P +C", "+C"):
            for end in ("X", "-", "354"):
                played = play(f"{server}; bdat {end}", mail(1, *LARGE))
                self.assertEqual(
                    (played.words(), played.is_over), ("deferback" if "P" in server else "deferred", True)
                )

    def test_no_recipient_is_lost_when_the_last_is_refused(self) -> None:
        played = play("+P +C; R 250, 550", mail(2, *LARGE))
        self.assertEqual(played.words(), "ok3 error2")

    def test_next_message_waits_for_the_reply(self) -> None:
        talker = open_session("PIPELINING", "CHUNKING", in_step=True)
        talker.begin(mail(1, *LARGE))
        talker.take()
        talker.receive(b"250 a\r\n250 b\r\n")
        self.assertFalse(talker.has_room)
        while talker.take():
            self.assertFalse(talker.has_room)
        talker.flushed()
        talker.receive(b"250 c\r\n250 d\r\n250 e\r\n")
        self.assertTrue(talker.has_room)


class ContentThatCannotBeRead(SynchronousTestCase):
    """An error of the disk costs a retry: the message is never ended, so it is never delivered."""

    def test_wherever_it_happens(self) -> None:
        for server in ("+P", "+8", "+P +C", "+C"):
            for pieces in (
                (OSError("disk gone"),),
                (HELLO, OSError("disk gone")),
                (*LARGE, OSError("disk gone")),
                (*LARGE, RuntimeError("disk gone")),
            ):
                for lmtp in ("", "lmtp; "):
                    played = play(lmtp + server, mail(2, *pieces), lmtp=bool(lmtp))
                    self.assertEqual((played.words(), played.is_over), ("deferred deferred", True))
                    self.assertEqual(played.conversation.messages, [])
                    self.assertEqual(played.verdict().status, b"4.3.0 (message file cannot be read)")
                    self.assertFalse(played.verdict().maybe_delivered)
                    self.assertTrue(shown(played.verdict().text).endswith("disk gone"))
                    self.assertEqual(finished(played.events), list(played.mails))

    def test_as_soon_as_it_is_asked_for(self) -> None:
        """Content that does not wait for its first piece to be wanted."""

        class Hasty:
            size = 5

            def pieces(self, *, stuffed: bool) -> object:
                raise OSError("disk gone")

        for server in ("+P", "+8", "+P +C", "+C"):
            one = mail()
            one.content = Hasty()  # type: ignore[assignment]
            self.assertEqual(play(server, one).words(), "deferred")

    def test_the_message_behind_it_is_not_to_blame(self) -> None:
        one, two = mail(1, *LARGE, OSError("disk gone")), mail()
        played = play(Table({}, announce=["PIPELINING"]), one, two)
        self.assertEqual((played.words(1), played.words(2)), ("deferred", "deferred"))
        assert two.trouble is not None
        self.assertIs(two.trouble.kind, Kind.INTERNAL)
        self.assertTrue(two.is_untouched)
        self.assertEqual(shown(played.verdict(of=2).text), "⏎the message before could not be sent to its end")
