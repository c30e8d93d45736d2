"""The demo's messages are as many kinds as it promises."""

from __future__ import annotations

from email import message_from_bytes, policy

from twisted.trial.unittest import SynchronousTestCase

from zsmtp.ctl.demomail import LARGE, letters

DATE = "Tue, 01 Apr 2025 12:00:00 +0200"


class Letters(SynchronousTestCase):
    """The messages."""

    def setUp(self) -> None:
        self.letters = letters(DATE)

    def body(self, number: int) -> bytes:
        return self.letters[number - 1].octets.partition(b"\n\n")[2]

    def test_each_is_proper_mail(self) -> None:
        for letter in self.letters:
            message = message_from_bytes(letter.octets, policy=policy.default)
            self.assertEqual([*message.defects, *(d for part in message.walk() for d in part.defects)], [])
            self.assertEqual((message["date"], message["from"].addresses[0].addr_spec), (DATE, letter.sender))
            self.assertEqual(
                [address.addr_spec for address in message["to"].addresses],
                [reader.address for reader in letter.readers],
            )

    def test_senders_and_identities_differ(self) -> None:
        self.assertEqual(len({letter.sender for letter in self.letters}), len(self.letters))

    def test_no_line_is_too_long_for_smtp(self) -> None:
        self.assertLess(max(len(line) for letter in self.letters for line in letter.octets.split(b"\n")), 998)

    def test_plain_one_has_the_dots_that_smtp_must_hide(self) -> None:
        self.assertIn(b"\n.\n..\n.hidden\n", self.body(1))

    def test_second_one_has_eight_bits(self) -> None:
        self.assertFalse(self.body(2).isascii())

    def test_attachment_has_every_octet(self) -> None:
        message = message_from_bytes(self.letters[2].octets, policy=policy.default)
        [attachment] = message.iter_attachments()
        self.assertEqual(set(attachment.get_content()), set(range(256)))

    def test_large_body_is_as_large_as_promised(self) -> None:
        self.assertEqual(len(self.body(7)), LARGE)

    def test_all_kinds_of_answers_and_both_channels_occur(self) -> None:
        readers = [reader for letter in self.letters for reader in letter.readers]
        self.assertEqual({reader.answer.word for reader in readers}, {"ok3", "error2", "deferred"})
        self.assertEqual({reader.channel for reader in readers}, {"smtp", "lmtp"})
        self.assertTrue(any(len({r.channel for r in letter.readers}) == 2 for letter in self.letters))
