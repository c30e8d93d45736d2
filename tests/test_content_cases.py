"""The numbered cases of the content specification that need a job or a session: SIZE limits and BDAT.

All others are in `tests.message.test_cases`.
"""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.message import test_cases
from tests.message.test_cases import ARRIVED, COMMON, E7, T8, TEXT, TEXT_QP, USER, chosen
from tests.smtp.sample import Played, play
from tests.spooled import SpooledTest
from zsmtp.message.form import Ability, Form
from zsmtp.smtp.capability import Capabilities
from zsmtp.smtp.transaction import Recipient, Transaction
from zsmtp.testing.table import Table

BINARY = b"MIME-Version: 1.0\nContent-Type: image/x-any\nContent-Transfer-Encoding: binary\n"
EB = Ability(eight_bit_mime=True, smtputf8=False, binary=True)
_ROW = re.compile(r"def test_(\d\d)(?:_(and|to)_(\d\d))?_")


class EveryRow(SynchronousTestCase):
    """Sections 3.1 to 3.6 have 86 rows."""

    def test_has_a_test_of_its_number(self) -> None:
        found: set[int] = set()
        for file in (test_cases.__file__, __file__):
            for first, word, last in _ROW.findall(Path(file).read_text()):
                numbers = (
                    range(int(first), int(last) + 1)
                    if word == "to"
                    else map(int, filter(None, (first, last)))
                )
                found.update(numbers)
        self.assertEqual(set(range(1, 87)) - found, set())


class TheSizeLimit(SpooledTest):
    """Section 3.5."""

    def offered(self, limit: int | None, body: bytes) -> Transaction | None:
        """What a job makes for a server with this limit."""
        job = self.opened(self.spool.add(body=body))
        (batch,) = job.batches()
        return job.prepare(batch, Capabilities(size=limit))

    def test_76_a_larger_message_is_never_begun(self) -> None:
        self.assertIsNone(self.offered(1000, b"x\n" * 1000))
        self.assertEqual(self.words, ["error2"])
        self.assertIn(b"5.3.4", self.settled[0].line + self.settled[0].verdict.status)

    def test_76_the_limit_is_held_against_the_exact_size(self) -> None:
        made = self.offered(100_000, b"x\n" * 1000)
        assert made is not None
        size = made.content.size
        self.assertIsNotNone(self.offered(size, b"x\n" * 1000))
        self.assertIsNone(self.offered(size - 1, b"x\n" * 1000))

    def test_76_zero_is_no_limit_and_size_is_said(self) -> None:
        made = self.offered(0, b"x\n" * 1000)
        assert made is not None
        played = play("+P +S 0", made)
        self.assertEqual(played.words(), "ok3")
        self.assertIn(b" SIZE=%d\r\n" % made.content.size, played.conversation.client)


class Chunks(SynchronousTestCase):
    """Section 3.5."""

    def played(self, server: str, fields: bytes, body: bytes, ability: Ability = E7) -> tuple[Played, bytes]:
        """Deliver one message; give the dialogue and what the server has got."""
        form = chosen(fields, body, ability)
        assert isinstance(form, Form)
        played = play(
            server,
            Transaction(b"a@x.test", [Recipient(USER)], form, eight_bit=form.eight_bit, binary=form.binary),
            in_step=True,
        )
        self.assertEqual(played.words(), "ok3")
        self.assertEqual(played.conversation.problems, [])
        (message,) = played.conversation.messages
        return played, message.octets

    def bdat(self, played: Played) -> list[bytes]:
        """The BDAT commands."""
        return re.findall(rb"(?m)^BDAT [0-9]+(?: LAST)?(?=\r$)", played.conversation.client)

    def test_77_one_flight_without_doubled_dots_or_a_final_dot(self) -> None:
        played, octets = self.played("+P +C", COMMON, b".\n..\n.a\n")
        whole = ARRIVED + b"\r\n.\r\n..\r\n.a\r\n"
        self.assertEqual(octets, whole)
        flight = b"MAIL From:<a@x.test>\r\nRCPT To:<%b>\r\nBDAT %d LAST\r\n" % (USER, len(whole))
        self.assertIn(
            flight + whole + b"QUIT" if played.is_over else flight + whole, played.conversation.client
        )

    def test_78_the_count_is_that_of_the_encoded_octets(self) -> None:
        played, octets = self.played("+P +C", COMMON + T8, TEXT)
        self.assertTrue(octets.endswith(b"\r\n\r\n" + TEXT_QP))
        self.assertEqual(self.bdat(played), [b"BDAT %d LAST" % len(octets)])

    def test_79_without_pipelining_each_reply_is_awaited(self) -> None:
        played, octets = self.played("+C", COMMON, b"x\n")
        self.assertEqual(self.bdat(played), [b"BDAT %d LAST" % len(octets)])

    def test_80_large_messages_go_by_bdat_too(self) -> None:
        body = b"a\n" * 60_000
        played, octets = self.played("+P +C", COMMON, body)
        self.assertEqual(octets, ARRIVED + b"\r\n" + body.replace(b"\n", b"\r\n"))
        sizes = [int(line.split()[1]) for line in self.bdat(played)]
        self.assertEqual(sum(sizes), len(octets))
        self.assertGreater(len(sizes), 1)

    def test_32_binarymime_is_said_and_arrives_octet_for_octet(self) -> None:
        fields = COMMON + BINARY
        body = b"\0\n.\n\r\n.\r\n\r\xe4."
        server = Table(announce=["PIPELINING", "CHUNKING", "8BITMIME", "BINARYMIME"])
        form = chosen(fields, body, EB)
        assert isinstance(form, Form)
        played = play(server, Transaction(b"a@x.test", [Recipient(USER)], form, eight_bit=True, binary=True))
        self.assertEqual(played.words(), "ok3")
        self.assertIn(b"MAIL From:<a@x.test> BODY=BINARYMIME\r\n", played.conversation.client)
        self.assertTrue(played.conversation.messages[0].octets.endswith(b"\r\n\r\n" + body))

    def test_32_binary_octets_never_go_by_data(self) -> None:
        fields = COMMON + BINARY
        form = chosen(fields, b"\n.\n", EB)
        assert isinstance(form, Form)
        played = play("+P", Transaction(b"a@x.test", [Recipient(USER)], form, binary=True))
        self.assertEqual(played.words(), "deferred")
        self.assertEqual(played.conversation.messages, [])
        self.assertNotIn(b"BINARYMIME", played.conversation.client)
