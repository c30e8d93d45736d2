"""The tools of this folder: behaviours are read as they stand, lies of servers and of agents are noticed."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.hostile.behaviour import DIALOGUES, Behaviour, Expected, Mail, read
from tests.hostile.matrix import WAYS, cases
from tests.hostile.rules import complaints, letters
from tests.hostile.stage import Outcome, Told
from tests.hostile.witness import Receipt, Witness, codes_in
from zsmtp.testing.conversation import Conversation
from zsmtp.testing.dialogue import Script
from zsmtp.testing.peer import Behaviour as Played
from zsmtp.testing.peer import Drip, Message, Peer, Send, Turn
from zsmtp.testing.table import table

# Rows about our own side, which no server can provoke.
ELSEWHERE = {
    26: "option -8", 27: "option -7", 28: "option -7", 35: "mailing-list senders", 36: "mailing-list senders",
    37: "a wrong option", 73: "how addresses are written", 74: "how NOTIFY is written",
    75: "an address that cannot be said", 76: "an address that cannot be said", 100: "authentication",
    101: "authentication", 113: "a wrong option", 115: "a pause of ours", 119: "two destinations",
    135: "name servers",
}  # fmt: skip


def everything() -> list[Behaviour]:
    return [behaviour for path in sorted(DIALOGUES.glob("*.txt")) for behaviour in read(path)]


class TheCollection(SynchronousTestCase):
    """It is as large and as complete as it claims."""

    def test_has_three_hundred_dialogues(self) -> None:
        self.assertGreater(len(everything()), 300)

    def test_has_a_thousand_faults(self) -> None:
        self.assertGreater(sum(1 for way in WAYS for _ in cases(way)), 1000)

    def test_names_differ(self) -> None:
        for path in DIALOGUES.glob("*.txt"):
            names = [behaviour.name for behaviour in read(path)]
            self.assertEqual(len(names), len(set(names)), path.name)

    def test_every_row_that_a_server_can_provoke_is_there(self) -> None:
        rows = {int(each[4:]) for one in everything() for each in one.about if each.startswith("row ")}
        self.assertEqual(set(range(1, 139)) - rows, set(ELSEWHERE))

    def test_every_behaviour_says_what_it_attacks(self) -> None:
        known = re.compile(r"row \d+|W\d+|stock \d+|RFC \d+( [\d.]+)?")
        wrong = [one.title for one in everything() if not all(map(known.fullmatch, one.about))]
        self.assertEqual(wrong, [])

    def test_fifteen_meet_an_agent_of_its_own(self) -> None:
        self.assertEqual(sum(one.child for one in everything()), 15)


class Reading(SynchronousTestCase):
    """Behaviours from text."""

    def read(self, text: str) -> Behaviour:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "some.txt"
            path.write_text(text)
            return read(path)[0]

    def test_fills_in_what_is_usual(self) -> None:
        one = self.read("=== A Title, indeed\nabout: W1\nserver: +P\nmail: to=2\nexpect: ok3\n")
        self.assertEqual(one.name, "a_title_indeed")
        self.assertEqual(one.expected, ((Expected(("ok3",)),) * 2,))
        self.assertEqual((one.connections, one.arrives), (range(1, 2), range(2, 3)))

    def test_takes_alternatives(self) -> None:
        one = self.read(
            "=== x\nabout: W1\nserver: +P\nmail: to=3\nexpect: error2|ok3 5.1|2, deferred 4.4.2 x2\n"
        )
        self.assertEqual(
            one.expected[0],
            (Expected(("error2", "ok3"), ("5.1", "2")), *[Expected(("deferred",), ("4.4.2",))] * 2),
        )

    def test_spells_out_scripts(self) -> None:
        one = self.read("=== x\nabout: W1\nserver:\n    @open +P\n    @whole 2\n    @quit\nexpect: ok3\n")
        script = one.hosts()[0][0]
        self.assertIsInstance(script, Script)
        self.assertEqual(len(getattr(script, "steps", ())), 3 + 1 + 2 + 4 + 3 + 1 + 2)

    def test_knows_sizes(self) -> None:
        one = self.read("=== x\nabout: W1\nserver: +P\nmail: body=130\nexpect: ok3\n")
        self.assertEqual(len(one.mails[0].wire), 130)

    def test_names_what_it_cannot_read(self) -> None:
        for wrong in (
            "nonsense",
            "colour: red",
            "within: 1\nwithin: 2",
            "mail: colour=red",
            "expect: delivered",
            "mail: to=3\nexpect: ok3, ok3",
            "server:\n    @dance",
            "server:\n    X: y",
        ):
            expect = "" if "expect" in wrong else "expect: ok3\n"
            error = self.assertRaises(
                ValueError, self.read, f"=== the title\nabout: W1\nserver: +P\n{expect}{wrong}\n"
            )
            self.assertIn("some.txt: the title: ", str(error), wrong)


class TheWitness(SynchronousTestCase):
    """Knows whom a server has promised to serve."""

    def meet(self, played: Played, octets: bytes, *, lmtp: bool = False) -> tuple[Witness, Peer]:
        witness = Witness(lmtp=lmtp)
        peer = witness.watch(played).peer()
        peer.connected()
        peer.receive(octets)
        return witness, peer

    def accepted(self, played: Played, octets: bytes, *, lmtp: bool = False) -> list[tuple[bytes, ...]]:
        witness, _ = self.meet(played, octets, lmtp=lmtp)
        return [receipt.accepted for receipt in witness.receipts]

    ENVELOPE = b"EHLO c\r\nMAIL From:<a>\r\nRCPT To:<r1>\r\nRCPT To:<r2>\r\nDATA\r\n"
    SCRIPT = """
        S: 220 x
        C: EHLO *
        S: 250 x
        C: MAIL FROM:<*>
        S: 250 a
        C: RCPT TO:<*>
        S: 250 b
        C: RCPT TO:<*>
        S: 550 c
        C: DATA
        S: 354 d
        C-data:
    """

    def test_of_a_table(self) -> None:
        self.assertEqual(self.accepted(table("+P; R 250, 550"), self.ENVELOPE + b"x\r\n.\r\n"), [(b"r1",)])

    def test_of_a_table_that_refuses(self) -> None:
        for reply in ("554", "354", "-", "X", "250-x\\r\\n550 x"):
            played = table("+P; . " + reply.replace("\\r\\n", "\r\n"))
            self.assertEqual(self.accepted(played, self.ENVELOPE + b"x\r\n.\r\n"), [()], reply)

    def test_of_a_table_in_lmtp(self) -> None:
        played = table("lmtp; +P; . 250 a, 450 b")
        octets = self.ENVELOPE.replace(b"EHLO", b"LHLO") + b"x\r\n.\r\n"
        self.assertEqual(self.accepted(played, octets, lmtp=True), [(b"r1",)])

    def test_of_a_script(self) -> None:
        played = Script(self.SCRIPT + "S: 250 ok")
        self.assertEqual(self.accepted(played, self.ENVELOPE + b"x\r\n.\r\n"), [(b"r1",)])

    def test_of_a_script_that_breaks_off(self) -> None:
        for end in ("S-raw: 250 o", "S: 250-ok", "-- close", "S: 554 no", "S: 354 go"):
            played = Script(self.SCRIPT + end)
            self.assertEqual(self.accepted(played, self.ENVELOPE + b"x\r\n.\r\n"), [()], end)

    def test_without_the_end_of_the_text_there_is_nothing(self) -> None:
        self.assertEqual(self.accepted(table("+P"), self.ENVELOPE + b"x\r\n"), [])

    def test_reads_codes(self) -> None:
        self.assertEqual(codes_in([Send(b"250-a\r\n250 b\r\n354\r\n"), Send(b"22")]), [250, 354])
        self.assertEqual(codes_in([Send(b"250-a\r\n550 b\r\n")]), [0])
        self.assertEqual(codes_in([Send(b"250 a"), Turn.CLOSE, Send(b"\r\n")]), [])
        self.assertEqual(codes_in([Drip((b"25", b"0 x\n"), 0.1)]), [250])


class TheRules(SynchronousTestCase):
    """Every lie of an agent is noticed."""

    MAIL = Mail(recipients=2)
    PATHS = (b"r1.m1@example.net", b"r2.m1@example.net")

    def conversation(self, *messages: Message, problem: str = "") -> Conversation:
        peer = table("+P").peer()
        peer.messages += messages
        peer.problems += [problem] if problem else []
        conversation = Conversation(peer)
        conversation.add(
            "C",
            b"EHLO c\r\nMAIL From:<a>\r\nDATA\r\nFrom: x\r\nQUIT\r\n.\r\nBDAT 3 LAST\r\nab\nQUIT\r\n",
            0.0,
        )
        return conversation

    def message(self, octets: bytes | None = None) -> Message:
        octets = self.MAIL.wire if octets is None else octets
        return Message(b"alice@example.com", self.PATHS, octets, len(octets))

    def complaints(
        self,
        *told: Told | None,
        accepted: tuple[bytes, ...] = PATHS,
        message: Message | None = None,
        problem: str = "",
        **more: object,
    ) -> str:
        message = message or self.message()
        behaviour = Behaviour(
            "x",
            list,
            ((Expected(("ok3",)), Expected(("ok3", "error2", "deferred"), ("", "5", "4"))),),
            mails=(self.MAIL,),
            arrives=range(len(accepted), len(accepted) + 1),
        )._replace(**more)  # type: ignore[arg-type]
        outcome = Outcome(
            [list(told)],
            [self.conversation(message, problem=problem)],
            [Receipt(message, accepted)],
            [],
            [],
            0.1,
        )
        return "\n".join(complaints(behaviour, outcome))

    OK = Told("ok3", "", b"", b"fine")

    def test_no_complaint_without_a_reason(self) -> None:
        self.assertEqual(self.complaints(self.OK, self.OK), "")

    def test_success_that_no_server_knows_of(self) -> None:
        self.assertIn("FALSE SUCCESS: b'r2", self.complaints(self.OK, self.OK, accepted=self.PATHS[:1]))

    def test_a_text_that_is_not_what_was_sent(self) -> None:
        for octets in (self.MAIL.wire[:-7], self.MAIL.wire + b"\r\n", b""):
            wrong = self.complaints(self.OK, self.OK, message=self.message(octets))
            self.assertIn("DAMAGED", wrong)

    def test_an_empty_text_for_nobody_is_none(self) -> None:
        message = Message(b"a", (), b"", 0)
        told = Told("error2", "5.1.1", b"", b"")
        expected = ((Expected(("error2",)),) * 2,)
        self.assertEqual(self.complaints(told, told, accepted=(), message=message, expected=expected), "")

    def test_a_second_delivery(self) -> None:
        self.assertIn(
            "servers answer for 2 recipients, not 1", self.complaints(self.OK, self.OK, arrives=range(1, 2))
        )

    def test_a_recipient_who_is_not_told_of(self) -> None:
        self.assertIn("nothing was reported about b'r2", self.complaints(self.OK, None))

    def test_another_word(self) -> None:
        told = Told("deferback", "4.4.2", b"", b"")
        self.assertIn("expected ok3, ok3|error2|deferred", self.complaints(self.OK, told))

    def test_another_status(self) -> None:
        told = Told("error2", "5.4.4", b"", b"")
        wrong = self.complaints(
            self.OK, told, expected=((Expected(("ok3",)), Expected(("error2",), ("5.1",))),)
        )
        self.assertIn("told ok3 , error2 5.4.4", wrong)

    def test_a_status_that_contradicts_the_word(self) -> None:
        self.assertIn("contradicts", self.complaints(self.OK, Told("error2", "4.1.1", b"", b"")))
        self.assertIn("contradicts", self.complaints(self.OK, Told("deferred", "2.0.0", b"", b"")))
        self.assertIn("is no status", self.complaints(self.OK, Told("deferred", "4.0", b"", b"")))

    def test_controls(self) -> None:
        for octet in (b"\0", b"\t", b"\1", b"\n", b"\x7f", b"\x1b"):
            self.assertIn("control characters", self.complaints(self.OK, Told("ok3", "", b"", octet)))

    def test_texts(self) -> None:
        self.assertEqual(self.complaints(self.OK, self.OK, says=(b"fine",), unsaid=(b"x",)), "")
        self.assertIn("no report says", self.complaints(self.OK, self.OK, says=(b"well",)))
        self.assertIn("a report says", self.complaints(self.OK, self.OK, unsaid=(b"fin",)))

    def test_connections(self) -> None:
        self.assertIn("1 connections, not 2", self.complaints(self.OK, self.OK, connections=range(2, 3)))

    def test_commands(self) -> None:
        self.assertEqual(letters(self.conversation()), "E M D . B Q")
        self.assertIn("the client said", self.complaints(self.OK, self.OK, client=("E Q",)))

    def test_time(self) -> None:
        self.assertIn("it took", self.complaints(self.OK, self.OK, within=0.05))

    def test_what_a_script_finds(self) -> None:
        self.assertIn("out of place: haste", self.complaints(self.OK, self.OK, problem="haste"))
        self.assertEqual(self.complaints(self.OK, self.OK, problem="haste", is_strict=False), "")
