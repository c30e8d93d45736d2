"""Messages in an open session: what is said when, and what follows from each answer."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.smtp.sample import HELLO, OPENING, PLAIN, finished, mail, open_session, play, session, shown
from zsmtp.errors import Misuse
from zsmtp.policy import Outcome, judge
from zsmtp.smtp.event import Broken, Greeted, Left, RecipientAnswered, TransactionFinished
from zsmtp.smtp.session import Esmtp, State
from zsmtp.smtp.transaction import Recipient
from zsmtp.testing.table import Table
from zsmtp.testing.talk import talk
from zsmtp.trouble import Kind

SENDER = "⏎<<- MAIL From:<a@x.example>⏎->> 250 2.1.0 sender ok"
ENVELOPE = SENDER + "⏎<<- RCPT To:<r1@y.example>⏎->> 250 2.1.5 recipient ok"


class AMessage(SynchronousTestCase):
    """One message, every answer as it should be."""

    def test_with_pipelining_the_envelope_is_one_write(self) -> None:
        """Row 1."""
        one = mail(2)
        events = talk(
            session(),
            OPENING
            + r"""
            C: MAIL FROM:<a@x.example>
            C: RCPT TO:<r1@y.example>
            C: RCPT TO:<r2@y.example>
            C: DATA
            S: 250 a
            S: 250 b
            S: 250 c
            S: 354 d
            C-data: Subject: hello\r\n\r\nhello\r\n
            S: 250 2.6.0 queued
            """,
            one,
        )
        self.assertEqual([type(event) for event in events], [Greeted, TransactionFinished])
        self.assertEqual(judge(one, one.recipients[1]).word.value, b"ok3")

    def test_the_text_tells_the_whole_dialogue(self) -> None:
        """Row 1, section 9.3."""
        played = play("+P", recipients=2)
        self.assertEqual(played.words(), "ok3 ok3")
        self.assertEqual(
            shown(played.verdict().text),
            ENVELOPE + "⏎<<- DATA⏎->> 354 go ahead⏎<<- .⏎->> 250 2.6.0 message accepted id=FAKE1",
        )
        self.assertEqual(
            (played.verdict().status, played.verdict().diagnostic),
            (b"2.6.0", b"smtp; 250 (message accepted id=FAKE1)"),
        )

    def test_without_pipelining_each_command_waits(self) -> None:
        """Row 2."""
        one = mail(2)
        talk(
            session(),
            PLAIN
            + """
            C: MAIL FROM:<a@x.example>
            S: 250 a
            C: RCPT TO:<r1@y.example>
            S: 250 b
            C: RCPT TO:<r2@y.example>
            S: 250 c
            C: DATA
            S: 354 d
            C-data:
            S: 250 e
            """,
            one,
        )
        self.assertEqual([judge(one, each).word.value for each in one.recipients], [b"ok3", b"ok3"])

    def test_pipelining_can_be_switched_off(self) -> None:
        """Row 29 (option -P)."""
        played = play("+P", pipelining=False)
        self.assertEqual(played.words(), "ok3")
        self.assertEqual(len(played.conversation.flights), 5)

    def test_dots_are_doubled(self) -> None:
        """Row 81; defect 2 of the stock class: at the start, at line starts, and over the edges of pieces."""
        one = mail(1, b".a\r\nb.\r", b"\n.", b".\r\n..c\r\n.\r\n")
        played = play("+P", one)
        self.assertEqual(played.words(), "ok3")
        self.assertEqual(played.conversation.messages[0].octets, b".a\r\nb.\r\n..\r\n..c\r\n.\r\n")

    def test_pieces_that_hold_nothing_are_passed_over(self) -> None:
        for server in ("+P", "+P +C", "+C", "+8"):
            played = play(server, mail(1, b"", b"a\r\n", b"", b"b\r\n", b""))
            self.assertEqual(
                (played.words(), played.conversation.messages[0].octets), ("ok3", b"a\r\nb\r\n"), server
            )

    def test_message_without_an_octet(self) -> None:
        for server in ("+P", "+P +C", "+C", "+8"):
            played = play(server, mail(1, b""))
            self.assertEqual((played.words(), played.conversation.messages[0].octets), ("ok3", b""), server)

    def test_text_that_grows_by_its_dots_has_an_end_all_the_same(self) -> None:
        one = mail(1, b".\r\n" * 100 + b"x", b"\r\n")
        self.assertEqual(play("+P", one).conversation.messages[0].octets, b".\r\n" * 100 + b"x\r\n")

    def test_many_pieces(self) -> None:
        pieces = [b"%06d" % number * 10000 + b"\r\n" for number in range(20)]
        for server in ("+P", "+8", "+P +C", "+C"):
            played = play(server, mail(1, *pieces))
            self.assertEqual(played.words(), "ok3", server)
            self.assertEqual(played.conversation.messages[0].octets, b"".join(pieces), server)

    def test_same_recipient_twice(self) -> None:
        """Row 72."""
        played = play("+P; R 250, 550", mail([b"b@y.example", b"b@y.example"]))
        self.assertEqual(played.words(), "ok3 error2")
        self.assertEqual(played.said, ["EHLO", "MAIL", "RCPT", "RCPT", "DATA", "."])

    def test_recipient_who_is_forwarded_elsewhere_by_the_server(self) -> None:
        """Row 58."""
        self.assertEqual(play("+P; R 251 will forward").words(), "ok3")

    def test_reply_of_many_lines_is_told_in_full(self) -> None:
        """Rows 86 and 124."""
        played = play(Table({"dot": "250-a\r\n250 b", "rcpt": "250-\r\n250"}, announce=[]))
        self.assertEqual(played.words(), "ok3")
        self.assertIn("->> 250-⏎->> 250⏎", shown(played.verdict().text))
        self.assertTrue(shown(played.verdict().text).endswith("⏎<<- .⏎->> 250-a⏎->> 250 b"))

    def test_envelope_larger_than_any_buffer(self) -> None:
        """Row 132; weakness W20: what is read while it is written belongs to what was written."""
        one = mail([b"x" * 240 + b"%d@y.example" % number for number in range(800)])
        played = play("+P", one)
        self.assertEqual(set(played.words().split()), {"ok3"})
        self.assertEqual(len(played.conversation.messages[0].recipients), 800)


class Parameters(SynchronousTestCase):
    """What stands behind the addresses depends on what the server announces."""

    def mail_line(self, announced: str, **facts: Any) -> str:
        recipient = Recipient(b"b@y.example", b" NOTIFY=NEVER ORCPT=rfc822;b@y.example")
        played = play(announced, mail([recipient], **facts))
        self.assertEqual(played.words(), "ok3")
        return b"|".join(played.conversation.commands[1:3]).decode()

    def test_everything(self) -> None:
        """Row 33."""
        self.assertEqual(
            self.mail_line("+D +S 1000 +8 +P", eight_bit=True, envelope_id=b"QQ314", ret=b"HDRS"),
            "MAIL From:<a@x.example> BODY=8BITMIME SIZE=25 ENVID=QQ314 RET=HDRS"
            "|RCPT To:<b@y.example> NOTIFY=NEVER ORCPT=rfc822;b@y.example",
        )

    def test_nothing_is_said_that_the_server_does_not_know(self) -> None:
        self.assertEqual(
            self.mail_line(
                "+P", eight_bit=True, smtputf8=True, envelope_id=b"QQ314", ret=b"HDRS", deliver_by=b"60;R"
            ),
            "MAIL From:<a@x.example>|RCPT To:<b@y.example>",
        )

    def test_body_is_only_named_where_it_has_octets_above_127(self) -> None:
        """Weakness W29."""
        self.assertEqual(self.mail_line("+8"), "MAIL From:<a@x.example>|RCPT To:<b@y.example>")

    def test_size_without_limit(self) -> None:
        """Rows 31 and 32: the exact number of octets, without doubled dots."""
        self.assertIn("SIZE=25|", self.mail_line("+S 0"))
        played = play("+S", mail(1, b"..\r\n"))
        self.assertEqual(played.conversation.commands[1], b"MAIL From:<a@x.example> SIZE=4")

    def test_internationalized(self) -> None:
        played = play(
            Table({}, announce=["SMTPUTF8", "8BITMIME", "DELIVERBY"]), mail(smtputf8=True, deliver_by=b"60;R")
        )
        self.assertEqual(played.conversation.commands[1], b"MAIL From:<a@x.example> BY=60;R SMTPUTF8")

    def test_null_sender(self) -> None:
        """Row 34."""
        self.assertEqual(play("+P", mail(sender=b"")).conversation.commands[1], b"MAIL From:<>")

    def test_extensions_switched_off(self) -> None:
        """Rows 25 to 28, at the level of the session (option -77)."""
        played = play("+P +D +S 5 +8", mail(eight_bit=True), esmtp=Esmtp.NEVER)
        self.assertEqual(
            played.conversation.commands[:2], [b"HELO client.example", b"MAIL From:<a@x.example>"]
        )


class SeveralMessages(SynchronousTestCase):
    """One after the other on one connection."""

    def test_no_reset_after_success(self) -> None:
        """Rows 70 and 114."""
        played = play("+8", mail(), mail())
        self.assertEqual(played.said, ["EHLO", "MAIL", "RCPT", "DATA", ".", "MAIL", "RCPT", "DATA", "."])
        self.assertEqual((played.words(1), played.words(2)), ("ok3", "ok3"))

    def test_end_of_one_and_envelope_of_the_next_share_a_write(self) -> None:
        one, two = mail(), mail()
        talker = open_session("PIPELINING", in_step=True)
        talker.begin(one)
        talk(talker, "C: MAIL *\nC: RCPT *\nC: DATA\nS: 250 a\nS: 250 b")
        self.assertFalse(talker.has_room)
        talker.receive(b"354 c\r\n")
        self.assertTrue(talker.has_room)
        talker.begin(two)
        self.assertFalse(talker.has_room, "never more than one whose final reply is outstanding")
        self.assertEqual(
            talker.take(), HELLO + b".\r\nMAIL From:<a@x.example>\r\nRCPT To:<r1@y.example>\r\nDATA\r\n"
        )
        talker.flushed()
        self.assertEqual(talker.receive(b"250 d\r\n"), [TransactionFinished(one)])
        self.assertFalse(talker.has_room)
        talker.receive(b"250 a\r\n250 b\r\n354 c\r\n")
        self.assertTrue(talker.has_room)
        self.assertEqual(talker.take(), HELLO + b".\r\n")
        talker.flushed()
        self.assertEqual(talker.receive(b"250 e\r\n"), [TransactionFinished(two)])

    def test_first_one_goes_alone(self) -> None:
        """Until a server has shown that it keeps step, nothing is sent behind a body, and no body blindly."""
        for announced in (["PIPELINING"], ["PIPELINING", "CHUNKING"], ["CHUNKING"]):
            talker = open_session(*announced)
            talker.begin(mail())
            if "PIPELINING" not in announced:
                talk(talker, "C: MAIL *\nS: 250 a\nC: RCPT *\nS: 250 b\nC: DATA\nS: 354 c\nC-data:")
            else:
                talk(talker, "C: MAIL *\nC: RCPT *\nC: DATA\nS: 250 a\nS: 250 b\nS: 354 c\nC-data:")
            self.assertFalse(talker.has_room)
            talker.receive(b"250 d\r\n")
            self.assertTrue(talker.has_room)

    def test_one_that_was_not_taken_shows_nothing(self) -> None:
        for refusal in ("M 550, 250; R 503, 250; D 503, 354", "R 550, 250", "D 550, 354", ". 550, 250"):
            played = play(f"+P +C; {refusal}", *[mail() for _ in range(4)])
            self.assertEqual((played.said.count("DATA"), played.said.count("BDAT")), (2, 2), refusal)

    def test_without_pipelining_the_next_waits_for_the_end(self) -> None:
        talker = open_session()
        talker.begin(mail())
        talk(talker, "C: MAIL *\nS: 250 a\nC: RCPT *\nS: 250 b\nC: DATA\nS: 354 c\nC-data:")
        self.assertFalse(talker.has_room)
        talk(talker, "S: 250 d")
        self.assertTrue(talker.has_room)

    def test_refusal_of_one_is_not_that_of_the_next(self) -> None:
        played = play("+P; . 550 5.7.1 no, 250", mail(), mail())
        self.assertEqual((played.words(1), played.words(2)), ("error2", "ok3"))
        self.assertIs(played.session.is_idle, True)

    def test_next_one_is_refused_while_the_first_is_awaited(self) -> None:
        played = play("+P; R 250, 550; D 354, 554", mail(), mail())
        self.assertEqual((played.words(1), played.words(2)), ("ok3", "error2"))

    def test_each_outcome_goes_to_its_message(self) -> None:
        played = play("+P; . 250 a, 450 b, 550 c, 250 d", *[mail() for _ in range(4)])
        self.assertEqual([played.words(each) for each in (1, 2, 3, 4)], ["ok3", "deferback", "error2", "ok3"])
        self.assertEqual(finished(played.events), list(played.mails))

    def test_large_body_and_the_envelope_behind_it(self) -> None:
        """The envelope waits until the body has gone, so that no reply can look early."""
        talker = open_session("PIPELINING", in_step=True)
        talker.begin(mail(1, b"x" * 65000 + b"\r\n", b"y\r\n"))
        talker.take()
        talker.flushed()
        talker.receive(b"250 a\r\n250 b\r\n354 c\r\n")
        talker.begin(mail())
        sizes = []
        while octets := talker.take():
            sizes.append(octets[-6:])
        self.assertEqual(sizes, [b"\ny\r\n.\r\n"[-6:], b"DATA\r\n"])

    def test_connection_lost_with_two_under_way(self) -> None:
        """Row 91: what was sent as a whole may have been delivered, what was only announced was not."""
        one, two = mail(), mail()
        talker = open_session("PIPELINING", in_step=True)
        talker.begin(one)
        talk(
            talker,
            """
            C: MAIL *
            C: RCPT *
            C: DATA
            S: 250 a
            S: 250 b
            S: 354 c
            C-data:
            C: MAIL *
            C: RCPT *
            C: DATA
            -- close
            """,
            two,
        )
        first, second = judge(one, one.recipients[0]), judge(two, two.recipients[0])
        self.assertEqual((first.word.value, first.maybe_delivered), (b"deferback", True))
        self.assertEqual((second.word.value, second.maybe_delivered), (b"deferred", False))
        self.assertEqual((one.is_untouched, two.is_untouched), (False, True))
        self.assertIn("while 4 responses missing", shown(first.text))


class SenderRefused(SynchronousTestCase):
    """MAIL is not accepted."""

    def test_for_good_without_pipelining(self) -> None:
        """Row 38; weaknesses W8 and W21: at once, with the reply's own words."""
        played = play("+8; M 550 5.7.1 no", recipients=3)
        self.assertEqual(played.words(), "error2 error2 error2")
        verdict = played.verdict(2)
        self.assertEqual((verdict.status, verdict.diagnostic), (b"5.7.1", b"smtp; 550 (no)"))
        self.assertEqual(shown(verdict.text), "⏎<<- MAIL From:<a@x.example>⏎->> 550 5.7.1 no")
        self.assertEqual(played.said, ["EHLO", "MAIL"])
        self.assertTrue(played.session.is_idle)

    def test_for_good_with_pipelining(self) -> None:
        """Row 39; weakness W9: the diagnostic is that of MAIL."""
        played = play("+P; M 550 go away; R 503 need mail; D 503", recipients=3)
        self.assertEqual(played.words(), "error2 error2 error2")
        self.assertEqual(played.verdict(3).diagnostic, b"smtp; 550 (go away)")
        self.assertEqual(played.verdict(3).status, b"5.7.1 (sender refused)")
        self.assertEqual(
            shown(played.verdict(3).text),
            "⏎<<- MAIL From:<a@x.example>⏎->> 550 go away⏎<<- RCPT To:<r3@y.example>⏎->> 503 need mail",
        )

    def test_server_goes_on_as_if_nothing_was(self) -> None:
        """Row 40: nothing is submitted to a server that contradicts itself."""
        played = play("+P; M 550 5.7.1 no; R 250; D 354", recipients=2)
        self.assertEqual(played.words(), "error2 error2")
        self.assertEqual(played.verdict().diagnostic, b"smtp; 550 (no)")
        self.assertEqual(played.conversation.messages, [])
        self.assertTrue(played.is_over)

    def test_for_now(self) -> None:
        """Rows 41 and 43: no second attempt, no waiting."""
        played = play("+8; M 450 4.7.1 later, 250", recipients=2)
        self.assertEqual(played.words(), "deferred deferred")
        self.assertEqual(played.verdict().status, b"4.7.1")
        self.assertEqual(played.said, ["EHLO", "MAIL"])

    def test_for_now_with_pipelining(self) -> None:
        """Row 42."""
        played = play("+P; M 450 later; R 503; D 503", recipients=2)
        self.assertEqual(played.words(), "deferred deferred")
        self.assertEqual(
            (played.verdict().status, played.verdict().diagnostic), (b"4.0.0", b"smtp; 450 (later)")
        )

    def test_next_message_begins_with_reset(self) -> None:
        played = play("+8; M 550, 250", mail(), mail())
        self.assertEqual(played.said, ["EHLO", "MAIL", "RSET", "MAIL", "RCPT", "DATA", "."])
        self.assertEqual((played.words(1), played.words(2)), ("error2", "ok3"))

    def test_server_closes(self) -> None:
        """Row 44: another connection may have it, since nothing else happened."""
        played = play("+8; M 421 bye +X", recipients=2)
        self.assertEqual(played.words(), "deferred deferred")
        self.assertTrue(played.is_over)
        self.assertEqual(played.mails[0].mail_reply.code if played.mails[0].mail_reply else 0, 421)

    def test_hang_up(self) -> None:
        """Rows 45 and 46."""
        played = play("+8; M X", recipients=2)
        self.assertTrue(played.mails[0].is_untouched)
        self.assertEqual(
            shown(played.verdict().text),
            "⏎<<- MAIL From:<a@x.example>⏎remote hung up on us while 1 responses missing",
        )
        played = play("+P; M X", recipients=3)
        self.assertEqual(played.words(), "deferred deferred deferred")
        self.assertTrue(
            shown(played.verdict().text).endswith("⏎<<- DATA⏎remote hung up on us while 5 responses missing")
        )

    def test_421_with_pipelining(self) -> None:
        """Section 2.5."""
        played = play("+P; M 421 later +X", recipients=2)
        self.assertEqual(played.words(), "deferred deferred")
        self.assertEqual(played.verdict().diagnostic, b"smtp; 421 (later)")

    def test_silence(self) -> None:
        """Row 47."""
        played = play("+8; M -", recipients=2)
        self.assertEqual(played.words(), "deferred deferred")
        self.assertEqual(played.verdict().status, b"4.4.2 (no answer in time)")
        self.assertEqual(
            shown(played.verdict().text),
            "⏎<<- MAIL From:<a@x.example>⏎Timeout of 300 sec while waiting responses from remote",
        )

    def test_reply_of_another_kind(self) -> None:
        """Row 48; weakness W1."""
        for line in ("354", "100", "650", "000"):
            for announced in ("+P", "+8"):
                played = play(f"{announced}; M {line} x")
                self.assertEqual((played.words(), played.is_over), ("deferred", True), line)
                self.assertIn(f"->> {line} x", shown(played.verdict().text))
                self.assertEqual(played.verdict().status, b"4.5.0 (generic protocol failure)")


class RecipientsRefused(SynchronousTestCase):
    """RCPT is not accepted."""

    def test_one_of_three(self) -> None:
        """Row 49: told at once, before the message is sent."""
        for announced in ("+P", "+8"):
            played = play(f"{announced}; R 250, 550 nobody (here), 250", recipients=3)
            self.assertEqual(played.words(), "ok3 error2 ok3")
            verdict = played.verdict(2)
            self.assertEqual(verdict.status, b"5.1.1 (bad destination mailbox)")
            self.assertEqual(verdict.diagnostic, b"smtp; 550 (nobody [here])")
            self.assertEqual(
                shown(verdict.text),
                SENDER + "⏎<<- RCPT To:<r2@y.example>⏎->> 550 nobody (here)",
            )
            self.assertEqual(
                [type(event) for event in played.events], [Greeted, RecipientAnswered, TransactionFinished]
            )
            self.assertEqual(played.conversation.messages[0].recipients, (b"r1@y.example", b"r3@y.example"))

    def test_all_for_good_without_pipelining(self) -> None:
        """Row 61."""
        played = play("+8; R 550, 550, 550, 250", mail(3), mail())
        self.assertEqual(played.words(), "error2 error2 error2")
        self.assertEqual(
            played.said, ["EHLO", "MAIL", "RCPT", "RCPT", "RCPT", "RSET", "MAIL", "RCPT", "DATA", "."]
        )
        self.assertEqual(played.words(2), "ok3")

    def test_all_for_good_and_data_refused(self) -> None:
        """Row 62."""
        played = play("+P; R 550, 550, 250; D 554, 354", mail(2), mail())
        self.assertEqual((played.words(1), played.words(2)), ("error2 error2", "ok3"))
        self.assertEqual(
            played.said, ["EHLO", "MAIL", "RCPT", "RCPT", "DATA", "RSET", "MAIL", "RCPT", "DATA", "."]
        )

    def test_all_for_good_and_data_granted(self) -> None:
        """Row 63; weakness W12: RFC 2920 3.1, an empty message, whatever its reply, and RSET."""
        for answer in ("250", "554", "451"):
            played = play(f"+P; R 550, 550, 250; D 354; . {answer}, 250", mail(2), mail())
            self.assertEqual((played.words(1), played.words(2)), ("error2 error2", "ok3"))
            self.assertEqual(
                played.said,
                ["EHLO", "MAIL", "RCPT", "RCPT", "DATA", ".", "RSET", "MAIL", "RCPT", "DATA", "."],
            )
            self.assertEqual(played.conversation.messages[0].octets, b"")

    def test_all_for_now_and_data_granted(self) -> None:
        """Row 64."""
        played = play("+P; R 450; D 354; . 554", recipients=2)
        self.assertEqual(played.words(), "deferred deferred")
        self.assertEqual(played.conversation.messages[0].octets, b"")

    def test_no_answer_to_the_empty_message(self) -> None:
        for end in ("X", "-", "354", "421"):
            played = play(f"+P; R 550; D 354; . {end}")
            self.assertEqual((played.words(), played.is_over), ("error2", True), end)

    def test_closing_at_the_first_recipient(self) -> None:
        """Row 51; defect 15 of the stock class: after 421 nothing more is said."""
        for announced, said in (
            ("+8", ["EHLO", "MAIL", "RCPT"]),
            ("+P", ["EHLO", "MAIL", "RCPT", "RCPT", "RCPT", "DATA"]),
        ):
            played = play(f"{announced}; R 421 no", recipients=3)
            self.assertEqual(
                (played.words(), played.is_over, played.said), ("deferred deferred deferred", True, said)
            )
            self.assertEqual(played.verdict(3).diagnostic, b"smtp; 421 (no)")

    def test_one_too_many(self) -> None:
        """Rows 52 and 53: 452 and 552 behind others are no word about the recipient."""
        for line in ("452 too many", "552 too many", "550 5.5.3 too many"):
            played = play(f"+P; R 250, 250, {line}", recipients=3)
            self.assertEqual(played.words(), "ok3 ok3 deferred", line)

    def test_not_one_too_many(self) -> None:
        for line in ("552 5.2.2 mailbox full", "552 5.3.4 too big"):
            self.assertEqual(play(f"+P; R 250, {line}", recipients=2).words(), "ok3 error2", line)
        self.assertEqual(play("+P; R 552, 250", recipients=2).words(), "error2 ok3")

    def test_odd_codes(self) -> None:
        """Rows 54 to 57; weakness W14."""
        abnormal = " (this is abnormal, investigate!)"
        for code, word, status, note in (
            (455, "deferred", "4.5.4", ""),
            (500, "error2", "5.5.1", abnormal),
            (501, "error2", "5.5.2", abnormal),
            (502, "error2", "5.5.1", abnormal),
            (503, "deferred", "4.5.0", ""),
            (504, "error2", "5.5.4", abnormal),
            (555, "error2", "5.5.4 (invalid parameters)", abnormal),
            (551, "error2", "5.1.6 (mailbox has moved)", ""),
            (553, "error2", "5.1.3 (bad destination mailbox address [syntax])", ""),
            (554, "error2", "5.1.1 (No acceptable recipients given)", ""),
            (571, "error2", "5.7.1 (Delivery not authorized, message refused)", ""),
            (599, "error2", "5.0.0 (generic permanent failure)", ""),
            (499, "deferred", "4.0.0 (generic temporary failure)", ""),
            (451, "deferred", "4.0.0", ""),
        ):
            verdict = play(f"+P; R {code} x, 250", recipients=2).verdict()
            self.assertEqual((verdict.word.value.decode(), verdict.status.decode()), (word, status), code)
            self.assertTrue(shown(verdict.text).endswith(f"->> {code} x{note}"), code)

    def test_reply_of_another_kind(self) -> None:
        """Rows 59 and 60; weakness W1."""
        for line in ("199", "354", "650"):
            for announced in ("+P", "+8"):
                played = play(f"{announced}; R 250, {line} x", recipients=3)
                self.assertEqual((played.words(), played.is_over), ("deferred deferred deferred", True))
                self.assertEqual(played.conversation.messages, [])
                self.assertIn(f"⏎->> {line} x⏎", shown(played.verdict(1).text), "quoted for the others too")

    def test_hang_up_with_pipelining(self) -> None:
        """Row 67: no recipient that was accepted is told anything else."""
        played = play("+P; R 250, X", recipients=2)
        self.assertEqual(played.words(), "deferred deferred")
        self.assertTrue(
            shown(played.verdict(1).text).endswith(
                "⏎<<- RCPT To:<r1@y.example>⏎->> 250 2.1.5 recipient ok".replace(
                    "250 2.1.5 recipient ok", "250 scripted"
                )
                + "⏎<<- DATA⏎remote hung up on us while 2 responses missing"
            )
        )

    def test_hang_up_without_pipelining(self) -> None:
        """Row 68; weakness W23: nothing is said to a dead connection, and nothing shown that was not said."""
        played = play("+8; R 250, X", recipients=3)
        self.assertEqual(played.words(), "deferred deferred deferred")
        hung_up = "⏎remote hung up on us while 1 responses missing"
        self.assertEqual(
            [shown(verdict.text) for verdict in played.verdicts()],
            [
                SENDER + "⏎<<- RCPT To:<r1@y.example>⏎->> 250 scripted" + hung_up,
                SENDER + "⏎<<- RCPT To:<r2@y.example>" + hung_up,
                SENDER + hung_up,
            ],
        )

    def test_silence(self) -> None:
        """Row 69; weakness W22."""
        played = play("+8; R 250, -", recipients=3)
        self.assertEqual(played.words(), "deferred deferred deferred")
        for verdict in played.verdicts():
            self.assertTrue(
                shown(verdict.text).endswith("Timeout of 300 sec while waiting responses from remote")
            )
            self.assertEqual(verdict.status, b"4.4.2 (no answer in time)")

    def test_hang_up_in_the_middle_of_a_reply_is_quoted(self) -> None:
        played = play(Table({"rcpt": b"550-no such\r\n550 us", "data": None}, announce=["PIPELINING"]))
        self.assertEqual(played.words(), "deferred")
        self.assertTrue(
            shown(played.verdict().text).endswith(
                "⏎<<- DATA⏎->> 550-no such⏎->> 550 us⏎remote hung up on us while 2 responses missing"
            )
        )


class DataRefused(SynchronousTestCase):
    """DATA is not granted although there are recipients."""

    def test_some_recipients_were_refused_before(self) -> None:
        """Rows 65 and 66; weakness W13: each is judged by what was said about it."""
        played = play("+P; R 550, 250, 450; D 554 no", recipients=3)
        self.assertEqual(played.words(), "error2 error2 deferred")
        self.assertEqual(played.verdict(2).diagnostic, b"smtp; 554 (no)")
        self.assertTrue(shown(played.verdict(2).text).endswith("⏎<<- DATA⏎->> 554 no"))
        played = play("+8; R 550, 250, 450 a; D 451 b", recipients=3)
        self.assertEqual(played.words(), "error2 deferred deferred")
        self.assertEqual(
            [verdict.diagnostic for verdict in played.verdicts()[1:]], [b"smtp; 451 (b)", b"smtp; 450 (a)"]
        )

    def test_for_now(self) -> None:
        """Row 77."""
        for code in (421, 451):
            played = play(f"+P; D {code}")
            self.assertEqual((played.words(), played.is_over), ("deferred", code == 421))

    def test_for_good(self) -> None:
        """Row 78."""
        for code, word in ((500, "error2"), (503, "deferred"), (554, "error2")):
            played = play(f"+P; D {code} x, 354", mail(), mail())
            self.assertEqual((played.words(1), played.words(2)), (word, "ok3"), code)
            self.assertFalse(shown(played.verdict().text).endswith("investigate!)"))

    def test_reply_of_another_kind(self) -> None:
        """Row 79; weakness W1; defect 1 of the stock class: 250 and 221 are no permission and no success."""
        for line in ("250", "221", "199", "650"):
            for announced in ("+P", "+8"):
                played = play(f"{announced}; D {line} x")
                self.assertEqual((played.words(), played.is_over), ("deferred", True), line)
                self.assertEqual(played.conversation.messages, [])
                self.assertIn(f"⏎<<- DATA⏎->> {line} x⏎", shown(played.verdict().text))

    def test_no_answer(self) -> None:
        """Row 80; weakness W15: the status is our own."""
        for end, status in (("X", b"4.4.2 (connection lost)"), ("-", b"4.4.2 (no answer in time)")):
            played = play(f"+P; D {end}")
            self.assertEqual((played.words(), played.verdict().status), ("deferred", status))
            self.assertFalse(played.verdict().maybe_delivered)


class TheFinalReply(SynchronousTestCase):
    """The reply to the end of the data decides, and only that."""

    def test_for_now(self) -> None:
        """Row 87."""
        for code in (421, 450, 452):
            played = play(f"+P; . {code} x", recipients=2)
            self.assertEqual((played.words(), played.is_over), ("deferback deferback", code == 421))
            self.assertFalse(played.verdict().maybe_delivered)

    def test_for_good(self) -> None:
        """Row 88."""
        for code, status in (
            (500, "5.5.1"),
            (503, "5.5.0"),
            (550, "5.1.1 (bad destination mailbox)"),
            (552, "5.2.3 (Some content related rejection, size ? text ?)"),
            (554, "5.1.1 (No acceptable recipients given)"),
            (571, "5.7.1 (Delivery not authorized, message refused)"),
        ):
            played = play(f"+P; . {code} x")
            self.assertEqual((played.words(), played.verdict().status.decode()), ("error2", status))
            self.assertTrue(shown(played.verdict().text).endswith(f"⏎<<- .⏎->> {code} x"))
            self.assertTrue(played.session.is_idle, "the server has forgotten the envelope: no RSET")

    def test_reply_of_another_kind(self) -> None:
        """Rows 89 and 90; weakness W1: no success, and no certainty."""
        for line in ("354", "199", "000", "650"):
            played = play(f"+P; . {line} x")
            self.assertEqual((played.words(), played.is_over), ("deferback", True), line)
            self.assertTrue(played.verdict().maybe_delivered)
            self.assertIn(f"⏎<<- .⏎->> {line} x⏎the server gave a reply", shown(played.verdict().text))

    def test_no_answer(self) -> None:
        """Rows 91 and 92; weaknesses W15 and W24; defect 18 of the stock class."""
        for end, text, status in (
            ("X", "remote hung up on us while 1 responses missing", b"4.4.2 (connection lost)"),
            ("-", "Timeout of 1200 sec while waiting responses from remote", b"4.4.2 (no answer in time)"),
        ):
            played = play(f"+P; . {end}")
            verdict = played.verdict()
            self.assertEqual(
                (played.words(), verdict.maybe_delivered, verdict.status), ("deferback", True, status)
            )
            self.assertTrue(shown(verdict.text).endswith(f"⏎<<- .⏎{text}"))
            self.assertEqual(verdict.diagnostic, b"smtp; 466 (" + text.encode() + b")")

    def test_closing(self) -> None:
        """Row 93."""
        played = play("+P; . 421 bye +X", recipients=2)
        self.assertEqual(played.words(), "deferback deferback")
        self.assertEqual(played.verdict().diagnostic, b"smtp; 421 (bye)")

    def test_one_event_for_each_message(self) -> None:
        """Defect 14 of the stock class: what comes after the end is not heard."""
        played = play("+P; . 250")
        self.assertEqual(played.session.receive(b"hello\r\n")[0].__class__, Broken)
        self.assertEqual(played.session.receive(b"250 a\r\n"), [])
        self.assertEqual(played.session.lost(), [])
        self.assertEqual(played.session.expired(), [])
        self.assertEqual(played.words(), "ok3")


class Reset(SynchronousTestCase):
    """RSET, where the server may still have an envelope, or where a connection was idle."""

    def test_after_a_pause(self) -> None:
        """Row 115."""
        for announced in ((), ("PIPELINING",), ("PIPELINING", "CHUNKING")):
            talker = open_session(*announced)
            talker.begin(mail(), reset=True)
            self.assertTrue(talker.take().startswith(b"RSET\r\n"))

    def test_with_pipelining_it_is_part_of_the_group(self) -> None:
        talker = open_session("PIPELINING")
        talker.begin(mail(), reset=True)
        self.assertEqual(
            talker.take(), b"RSET\r\nMAIL From:<a@x.example>\r\nRCPT To:<r1@y.example>\r\nDATA\r\n"
        )

    def test_refused(self) -> None:
        """Rows 116 and 117; defect 8 of the stock class: never a second time; the message goes elsewhere."""
        for announced in ("+8", "+P"):
            for answer in ("421", "500", "X", "-", "354"):
                played = play(f"{announced}; M 550, 250; R 503, 250; D 503; S {answer}", mail(), mail(2))
                self.assertEqual((played.words(1), played.words(2)), ("error2", "deferred deferred"))
                self.assertTrue(played.is_over)
                self.assertEqual(played.said.count("RSET"), 1)
                self.assertTrue(played.mails[1].is_untouched, (announced, answer))

    def test_what_was_not_said_is_not_shown(self) -> None:
        played = play("+8; M 550, 250; S 500 no", mail(), mail())
        self.assertEqual(shown(played.verdict(of=2).text), "⏎->> 500 no⏎the server refused RSET")


class Probes(SynchronousTestCase):
    """NOOP on an idle connection."""

    def test_answered(self) -> None:
        """Row 120."""
        talker = open_session("PIPELINING")
        talker.probe()
        self.assertFalse(talker.has_room, "RFC 2920 3.1: nothing follows NOOP before its reply")
        self.assertFalse(talker.is_idle)
        self.assertEqual(talk(talker, "C: NOOP\nS: 250 ok"), [])
        self.assertTrue(talker.has_room)
        self.assertTrue(talker.is_idle)

    def test_refused(self) -> None:
        for line in ("421 bye", "500 no", "354 x"):
            talker = open_session()
            talker.probe()
            (event,) = talk(talker, f"C: NOOP\nS: {line}\nC-close")
            self.assertIsInstance(event, Broken)

    def test_only_when_idle(self) -> None:
        talker = open_session()
        talker.begin(mail())
        self.assertRaises(Misuse, talker.probe)
        self.assertRaises(Misuse, session().probe)

    def test_leaving_behind_it(self) -> None:
        talker = open_session()
        talker.probe()
        talker.leave()
        self.assertEqual(talk(talker, "C: NOOP\nC: QUIT\nS: 250 ok\nS: 221 bye\nC-close"), [Left()])


class Misused(SynchronousTestCase):
    """Mistakes of ours."""

    def test_message_where_there_is_no_room(self) -> None:
        self.assertRaises(Misuse, session().begin, mail())
        talker = open_session()
        talker.begin(mail())
        self.assertRaises(Misuse, talker.begin, mail())

    def test_message_for_nobody(self) -> None:
        self.assertRaises(Misuse, open_session().begin, mail([]))

    def test_message_that_cannot_be_said(self) -> None:
        """Defect 16 of the stock class: it is finished at once, and the connection is good for the next."""
        for one in (
            mail(sender=b"a\r\nRSET"),
            mail([b"b@y.example", b"b\r\nDATA"]),
            mail([Recipient(b"b@y.example", b" NOTIFY=NEVER\n")]),
        ):
            talker = open_session("PIPELINING", "DSN")
            talker.begin(one)
            self.assertEqual(talker.poll(), [TransactionFinished(one)])
            self.assertEqual((talker.take(), talker.has_room, talker.is_idle), (b"", True, True))
            verdict = judge(one, one.recipients[0])
            self.assertIs(verdict.outcome, Outcome.DEFERRED)
            self.assertEqual(verdict.status, b"4.3.0 (internal error)")
            assert one.trouble is not None
            self.assertIs(one.trouble.kind, Kind.INTERNAL)
            self.assertEqual(
                shown(verdict.text), "⏎a command line with a control character was about to be sent"
            )


class Leaving(SynchronousTestCase):
    """QUIT where it has its place."""

    def test_idle(self) -> None:
        talker = open_session()
        talker.leave()
        talker.leave()
        self.assertFalse(talker.has_room)
        self.assertEqual(talk(talker, "C: QUIT\nS: 221 bye\nC-close"), [Left()])
        self.assertIs(talker.state, State.OVER)

    def test_whatever_the_server_answers(self) -> None:
        for end in ("S: 500 x", "S: 421 x", "S: hello", "S: 354 x", "-- close", "-- client expired"):
            talker = open_session()
            talker.leave()
            self.assertEqual(
                talk(talker, f"C: QUIT\n{end}\nC-close" if end[0] == "S" else f"C: QUIT\n{end}"),
                [Left()],
                end,
            )
            self.assertIs(talker.state, State.OVER)
            talker.leave()
            self.assertEqual((talker.take(), talker.poll()), (b"", []))

    def test_in_the_middle_of_a_message(self) -> None:
        """QUIT would become a part of the text."""
        talker, one = open_session("PIPELINING"), mail(1, b"x" * 70000 + b"\r\n", b"y\r\n")
        talker.begin(one)
        talk(talker, "C: MAIL *\nC: RCPT *\nC: DATA\nS: 250 a\nS: 250 b")
        talker.receive(b"354 c\r\n")
        talker.take()
        talker.leave()
        finish, end = talker.poll()
        self.assertEqual((finish, talker.take()), (TransactionFinished(one), b""))
        assert isinstance(end, Broken)
        self.assertIs(end.trouble.kind, Kind.STOPPED)
        self.assertEqual(judge(one, one.recipients[0]).status, b"4.3.2 (transport agent is stopping)")

    def test_before_the_session_is_open(self) -> None:
        talker = session()
        talker.leave()
        (event,) = talker.poll()
        self.assertIsInstance(event, Broken)
