"""A session is held to a dialogue, in both directions."""

from __future__ import annotations

from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

from zsmtp.smtp.command import QUIT
from zsmtp.smtp.event import Broken, Greeted, Left, RecipientAnswered, SecureNow, TransactionFinished
from zsmtp.smtp.patience import Awaits
from zsmtp.smtp.session import Manner, Session, State, Tls
from zsmtp.smtp.transaction import Recipient, Transaction
from zsmtp.testing.dialogue import Script
from zsmtp.testing.table import table
from zsmtp.testing.talk import Mismatch, converse, talk
from zsmtp.trouble import Kind

OPENING = """
    S: 220 mx.example ESMTP
    C: EHLO client.example
    S: 250-mx.example
    S: 250 PIPELINING
"""
GROUP = r"""
    C: MAIL FROM:<a@x.example>
    C: RCPT TO:<b@y.example>
    C: DATA
    S: 250 sender
    S: 250 recipient
    S: 354 go on
    C-data: hello\r\n
    S: 250 thanks
"""


class Hello:
    """A small message."""

    size = 7

    def pieces(self, *, stuffed: bool) -> Iterator[bytes]:
        yield b"hello\r\n"


def session(**manner: object) -> Session:
    return Session(Manner(name=b"client.example", **manner))  # type: ignore[arg-type]


def transaction() -> Transaction:
    return Transaction(b"a@x.example", [Recipient(b"b@y.example")], Hello())


class SessionsThatKeepToIt(SynchronousTestCase):
    """The dialogue is played to its end."""

    def test_dialogue_goes_on_in_the_next_call(self) -> None:
        talker, mail = session(), transaction()
        self.assertIsInstance(talk(talker, OPENING)[0], Greeted)
        talker.begin(mail)
        events = talk(talker, GROUP)
        self.assertEqual(events, [TransactionFinished(mail)])
        self.assertEqual(talk(talker, "-- client leave\nC: QUIT\nS: 221 bye\nC-close"), [Left()])

    def test_transactions_begin_when_there_is_room(self) -> None:
        mails = [transaction(), transaction(), transaction()]  # nothing follows the first at once
        text = (
            OPENING
            + GROUP
            + GROUP.replace("S: 250 thanks", "")
            + r"""
            C: MAIL FROM:<a@x.example>
            C: RCPT TO:<b@y.example>
            C: DATA
            S: 250 thanks
            S: 250 sender
            S: 550 recipient
            S: 554 nobody
        """
        )
        events = talk(session(), text, *mails)
        finished = [event.transaction for event in events if isinstance(event, TransactionFinished)]
        self.assertEqual(finished, mails)

    def test_any_split_gives_the_same_events(self) -> None:
        for split in ("no", "lines", "octets"):
            mail = transaction()
            events = talk(session(), OPENING + GROUP, mail, split=split)
            self.assertEqual([type(event) for event in events], [Greeted, TransactionFinished], split)
        self.assertRaises(ValueError, talk, session(), OPENING, split="words")

    def test_handshake_is_made(self) -> None:
        events = talk(
            session(tls=Tls.REQUIRED),
            """
            S: 220 mx.example ESMTP
            C: EHLO client.example
            S: 250-mx.example
            S: 250 STARTTLS
            C: STARTTLS
            S: 220 go
            -- starttls
            C: EHLO client.example
            S: 250 mx.example
            """,
        )
        self.assertEqual([type(event) for event in events], [SecureNow, Greeted])

    def test_connection_can_be_lost(self) -> None:
        for direction in ("close", "reset", "halfclose"):
            (event,) = talk(session(), f"S: 220 mx.example\nC: EHLO *\n-- {direction}")
            assert isinstance(event, Broken)
            self.assertIs(event.trouble.kind, Kind.HUNG_UP)

    def test_prompts_are_called(self) -> None:
        talker = session()
        asked: list[str] = []
        events = talk(
            talker,
            "S: 220 a\nC: EHLO *\n-- client think\n-- client expired\nC-close",
            prompts={"think": lambda: asked.append("now")},
        )
        self.assertEqual((asked, talker.state), (["now"], State.OVER))
        self.assertIsInstance(events[0], Broken)

    def test_dripping_flooding_and_pauses_need_no_time(self) -> None:
        events = talk(
            session(),
            "-- wait 100\n-- drip 9 per octet\nS: 220 a\n-- drip off\nC: EHLO *\n-- flood 3 lines 250-b",
        )
        self.assertEqual(events, [])

    def test_session_that_gives_up_closes(self) -> None:
        (event,) = talk(session(), "S: 220 a\nC: EHLO *\n-- flood endless lines 250-b\nC-close")
        self.assertIsInstance(event, Broken)

    def test_server_that_does_not_read_leaves_octets_unflushed(self) -> None:
        talker = session()
        talk(talker, "-- stop reading\nS: 220 a")
        self.assertFalse(talker.is_idle)


class SessionsThatDoNot(SynchronousTestCase):
    """The dialogue stops where the two do not agree."""

    def mismatch(self, text: str, talker: Session | None = None) -> str:
        return str(self.assertRaises(Mismatch, talk, talker or session(), text))

    def test_another_line_is_shown_with_all_that_was_said(self) -> None:
        text = self.mismatch("S: 220 mx.example ESMTP\nC: HELO client.example")
        self.assertIn("'C: HELO client.example' was expected, the client sent b'EHLO client.example'", text)
        self.assertIn(r"S: b'220 mx.example ESMTP\r\n'", text)

    def test_nothing_where_something_was_expected(self) -> None:
        self.assertIn(
            "'C: MAIL *' was expected, the session sent nothing", self.mismatch(OPENING + "C: MAIL *")
        )

    def test_something_where_nothing_was_expected(self) -> None:
        self.assertIn("after the end of the script", self.mismatch("S: 220 mx.example"))

    def test_something_before_its_time(self) -> None:
        text = OPENING + "C: MAIL *\nS: 250 a\nC: RCPT *\nC: DATA"
        self.assertIn(
            "should wait for b'250 a", str(self.assertRaises(Mismatch, talk, session(), text, transaction()))
        )

    def test_talking_before_the_greeting(self) -> None:
        talker = Hasty(Manner(name=b"client.example"))
        talker.leave()
        self.assertIn("where it should wait for b'220", self.mismatch("S: 220 a", talker))

    def test_octets_between_starttls_and_handshake(self) -> None:
        text = (
            OPENING.replace("PIPELINING", "STARTTLS") + "C: STARTTLS\nS: 220 go\n-- client leave\n-- starttls"
        )
        hasty = Hasty(Manner(name=b"client.example", tls=Tls.REQUIRED))
        self.assertIn("before the handshake", self.mismatch(text, hasty))


class Hasty(Session):
    """A session that speaks out of turn when told to leave, and would go on as if TLS had begun."""

    __slots__ = ()

    def leave(self) -> None:
        """Say something at the worst moment."""
        self._send(QUIT, Awaits.QUIT)

    def secured(self) -> None:
        """Believe it."""


class LenientTalk(SynchronousTestCase):
    """converse lets both say what they like."""

    def test_table_and_session_talk_until_both_are_silent(self) -> None:
        mails = [transaction(), transaction()]
        conversation, events = converse(session(), table("+P; M 250, 451; R 250, 503; D 354, 503"), *mails)
        self.assertEqual(conversation.problems, [])
        self.assertEqual(
            [type(event) for event in events if not isinstance(event, RecipientAnswered)],
            [Greeted, TransactionFinished, TransactionFinished],
        )
        self.assertEqual(conversation.messages[0].octets, b"hello\r\n")

    def test_problems_are_not_raised(self) -> None:
        conversation, _ = converse(session(), Script("S: 220 a\nC: HELO *"))
        self.assertEqual(len(conversation.problems), 1)
        self.assertEqual(conversation.events, ["server closes"])
