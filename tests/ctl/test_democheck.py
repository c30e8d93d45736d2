"""The demo finds out what went wrong."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zsmtp.ctl.democheck import Fate, check, reply_in
from zsmtp.ctl.demomail import letters

LETTERS = letters("Tue, 1 Apr 2025 12:00:00 +0200")


def ideal() -> list[Fate]:
    """What must become of every recipient."""
    return [
        Fate(
            letter,
            reader,
            "TLSv1.3" if reader.channel == "smtp" else None,
            reader.answer.reply,
            reader.answer.word,
            reader.answer.mark,
        )
        for letter in LETTERS
        for reader in letter.readers
    ]


def delivered() -> dict[str, list[bytes]]:
    """What must lie in every Maildir."""
    found: dict[str, list[bytes]] = {}
    for fate in ideal():
        if fate.reader.answer.is_delivery:
            found.setdefault(fate.reader.address, []).append(fate.letter.octets)
    return found


def stray(address: str, number: int) -> str:
    """What is said of a message in a Maildir where it does not belong."""
    return f"the Maildir of {address} holds the message <demo.{number}@home.example>, which is not for it"


class Deliveries(SynchronousTestCase):
    """Maildirs that are not as they must be."""

    def setUp(self) -> None:
        self.arrived = delivered()

    def problems(self) -> list[str]:
        return check(ideal(), self.arrived)

    def test_all_is_well(self) -> None:
        self.assertEqual(self.problems(), [])

    def test_order_in_a_maildir_is_of_no_matter(self) -> None:
        for messages in self.arrived.values():
            messages.reverse()
        self.assertEqual(self.problems(), [])

    def test_lost(self) -> None:
        del self.arrived["emil@far.example"]
        self.assertEqual(self.problems(), ["message 7 to emil@far.example: did not arrive"])

    def test_doubled(self) -> None:
        self.arrived["anna@far.example"].append(LETTERS[0].octets)
        self.assertEqual(self.problems(), ["message 1 to anna@far.example: arrived 2 times"])

    def test_one_octet_changed(self) -> None:
        octets = bytearray(LETTERS[6].octets)
        octets[1_000_000] ^= 1
        self.arrived["emil@far.example"] = [bytes(octets)]
        self.assertEqual(
            self.problems(),
            ["message 7 to emil@far.example: what arrived differs from what was sent at octet 1000000"],
        )

    def test_cut_short(self) -> None:
        self.arrived["boris@far.example"] = [LETTERS[1].octets[:-1]]
        [problem] = self.problems()
        self.assertIn(
            "message 2 to boris@far.example: what arrived differs from what was sent in length", problem
        )

    def test_in_the_wrong_maildir(self) -> None:
        self.arrived["hanna@home.example"], self.arrived["boris@far.example"] = (
            self.arrived["boris@far.example"],
            self.arrived["hanna@home.example"],
        )
        self.assertEqual(
            self.problems(),
            [
                "message 2 to boris@far.example: did not arrive",
                "message 4 to hanna@home.example: did not arrive",
                stray("boris@far.example", 4),
                stray("hanna@home.example", 2),
            ],
        )

    def test_refused_and_delivered_all_the_same(self) -> None:
        self.arrived["nobody@far.example"] = [LETTERS[4].octets]
        self.assertEqual(
            self.problems(),
            [stray("nobody@far.example", 5)],
        )

    def test_rubbish_in_a_maildir(self) -> None:
        self.arrived["anna@far.example"].append(b"rubbish")
        self.assertEqual(
            self.problems(), ["the Maildir of anna@far.example holds 7 octets, which is not for it"]
        )


class Reports(SynchronousTestCase):
    """Reports and marks that are not as they must be."""

    def problem(self, place: int, **changes: object) -> str:
        fates = ideal()
        fates[place] = fates[place]._replace(**changes)  # type: ignore[arg-type]
        [problem] = check(fates, delivered())
        return problem

    def test_no_report(self) -> None:
        self.assertEqual(
            self.problem(0, word="", reply="no report"),
            "message 1 to anna@far.example: was reported not at all, and ok3 is right",
        )

    def test_wrong_word(self) -> None:
        self.assertIn("was reported deferred, and ok3 is right", self.problem(0, word="deferred"))

    def test_wrong_reply(self) -> None:
        self.assertIn("'250 2.0.0 stored' was given", self.problem(0, reply="250 OK"))

    def test_wrong_mark(self) -> None:
        self.assertIn("the mark in the control file is ~, not +", self.problem(0, mark=b"~"))

    def test_failure_without_a_mark(self) -> None:
        place = next(n for n, fate in enumerate(ideal()) if fate.reader.answer.word == "error2")
        self.assertIn("the mark in the control file is blank, not -", self.problem(place, mark=b" "))

    def test_no_tls(self) -> None:
        self.assertIn("without TLS", self.problem(0, tls=None))


class ReplyInReport(SynchronousTestCase):
    """The server's words in the text of a report."""

    def test_last_reply_counts(self) -> None:
        self.assertEqual(reply_in(b"\r<<- MAIL\r->> 250 fine\r<<- .\r->> 250 stored"), "250 stored")

    def test_without_reply_the_end_of_the_text_counts(self) -> None:
        self.assertEqual(reply_in(b"smtp; 500 (nobody\xff listens)"), "smtp; 500 (nobody� listens)")
