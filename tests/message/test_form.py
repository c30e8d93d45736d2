"""Tests of zsmtp.message.form: the decision, and what becomes of a message that needs no conversion."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zsmtp.message.form import Ability, Form, Wishes, choose
from zsmtp.message.wire import examine

BLOCK = b"From:\ta@x.test\nSubject: t\n"


def form(block: bytes, body: bytes) -> Form:
    """A message for a server that takes everything."""
    result = choose(
        block,
        lambda: (body,),
        examine(lambda: (body,)),
        ability=Ability(True, True),
        wishes=Wishes(),
        recipients=[(b"u@x.test", None)],
    )
    assert isinstance(result, Form), result
    return result


class AMessageThatNeedsNothing(SynchronousTestCase):
    """Plain text."""

    def test_a_small_one_is_one_piece(self) -> None:
        result = form(BLOCK, b"hello\n")
        expected = b"From:   a@x.test\r\nSubject: t\r\n\r\nhello\r\n"
        self.assertEqual(list(result.pieces(stuffed=True)), [expected])
        self.assertEqual(result.size, len(expected))
        self.assertEqual(result.conversion, b"NONE")
        self.assertEqual(repr(result), f"<Form NONE {len(expected)} octets>")

    def test_pieces_can_be_asked_for_again(self) -> None:
        result = form(BLOCK, b"hello\n" * 20_000)
        self.assertEqual(list(result.pieces(stuffed=True)), list(result.pieces(stuffed=True)))

    def test_a_large_one_comes_in_pieces_and_keeps_its_size(self) -> None:
        body = b".x\n" * 100_000
        result = form(BLOCK, body)
        plain = list(result.pieces(stuffed=False))
        self.assertEqual(sum(map(len, plain)), result.size)
        self.assertGreater(len(plain), 3)
        self.assertLess(max(map(len, plain)), 250_000)
        self.assertEqual(sum(map(len, result.pieces(stuffed=True))), result.size + 100_000)

    def test_an_empty_block_and_an_empty_body(self) -> None:
        self.assertEqual(list(form(b"", b"").pieces(stuffed=True)), [b"\r\n"])

    def test_a_block_without_its_last_line_end(self) -> None:
        self.assertEqual(list(form(b"A: 1", b"").pieces(stuffed=True)), [b"A: 1\r\n\r\n"])

    def test_a_dot_at_the_start_of_the_header_is_doubled(self) -> None:
        self.assertEqual(
            list(form(b".a: 1\n.b: 2\n", b"").pieces(stuffed=True)), [b"..a: 1\r\n..b: 2\r\n\r\n"]
        )
