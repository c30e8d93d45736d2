"""Tests of zsmtp.message.wire."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.message import wire

#: Bodies from few octets, so that line ends, dots, CRs and NULs meet in every way.
BODIES = st.lists(st.sampled_from([b"a", b".", b"\n", b"\r", b"\r\n", b"\0", b"\xe4", b"b" * 500])).map(
    b"".join
)


@st.composite
def cut_bodies(draw: st.DrawFn) -> tuple[bytes, ...]:
    """A body in pieces, empty ones among them."""
    body = draw(BODIES)
    cuts = sorted(draw(st.lists(st.integers(0, len(body)), max_size=6)))
    edges = [0, *cuts, len(body)]
    return tuple(body[start:end] for start, end in pairwise(edges))


class AWholeBody(SynchronousTestCase):
    """A body in memory is looked at quickly, with the same result."""

    @given(BODIES)
    def test_facts_and_octets_are_those_of_the_pieces(self, body: bytes) -> None:
        whole = wire.Whole(body)
        self.assertEqual(whole.examine(), wire.examine(lambda: (body,)))
        for source in (whole, wire.Whole(body)):  # examined before or not
            self.assertEqual(b"".join(source.on_wire()), b"".join(wire.wire_pieces(lambda: (body,))))
            self.assertEqual(b"".join(wire.plain_body(source, len(body))()), b"".join(source.on_wire()))


class ABody(SynchronousTestCase):
    """What the wire gets of a body."""

    def check(self, body: bytes, expected: bytes) -> None:
        self.assertEqual(wire.wire(body), expected)
        self.assertEqual(b"".join(wire.wire_pieces(lambda: (body,))), expected)
        self.assertEqual(wire.examine(lambda: (body,)).octets, len(expected))

    def test_lines_end_with_cr_lf(self) -> None:
        self.check(b"one\ntwo\n", b"one\r\ntwo\r\n")

    def test_a_missing_line_end_is_added(self) -> None:
        self.check(b"one\ntwo", b"one\r\ntwo\r\n")

    def test_an_empty_one_has_no_line(self) -> None:
        self.check(b"", b"")

    def test_cr_lf_in_the_file_is_one_line_end(self) -> None:
        self.check(b"a\r\nb\r\n.\r\n", b"a\r\nb\r\n.\r\n")

    def test_a_bare_cr_becomes_a_blank(self) -> None:
        self.check(b"a\rb\r.\rc\r\r\n", b"a b . c \r\n")

    def test_a_cr_at_the_very_end_is_half_of_the_line_end(self) -> None:
        self.check(b"a\r", b"a\r\n")

    def test_nul_goes_and_may_not_hide_a_line_end(self) -> None:
        self.check(b"a\0b\r\0\n\0", b"ab\r\n")

    def test_only_nuls_are_nothing(self) -> None:
        self.check(b"\0\0", b"")

    def test_pieces_are_not_much_larger_than_64_kib(self) -> None:
        pieces = list(wire.wire_pieces(lambda: (b"x" * 1_000_000,)))
        self.assertLess(max(map(len, pieces)), 70_000)
        self.assertEqual(sum(map(len, pieces)), 1_000_002)

    @settings(deadline=None, max_examples=150)
    @given(cut_bodies())
    def test_the_cut_into_pieces_makes_no_difference(self, pieces: tuple[bytes, ...]) -> None:
        body = b"".join(pieces)
        expected = wire.wire(body)
        self.assertEqual(b"".join(wire.wire_pieces(lambda: pieces)), expected)
        self.assertEqual(wire.examine(lambda: pieces), wire.examine(lambda: (body,)))
        self.assertEqual(wire.examine(lambda: pieces).octets, len(expected))

    @settings(deadline=None, max_examples=150)
    @given(BODIES)
    def test_neither_cr_nor_lf_stands_alone(self, body: bytes) -> None:
        rest = wire.wire(body).replace(b"\r\n", b"")
        self.assertNotIn(b"\r", rest)
        self.assertNotIn(b"\n", rest)
        self.assertNotIn(b"\0", rest)


class Facts(SynchronousTestCase):
    """What `examine` finds."""

    def facts(self, *pieces: bytes) -> wire.Facts:
        return wire.examine(lambda: pieces)

    def test_plain_text_has_nothing_special(self) -> None:
        self.assertEqual(self.facts(b"one\ntwo\n"), wire.Facts(10, False, False, False, False))

    def test_eight_bit(self) -> None:
        self.assertTrue(self.facts(b"a", b"\xe4\n", b"b\n").eight_bit)

    def test_a_line_of_998_octets_is_not_long_but_one_of_999_is(self) -> None:
        for before in (b"", b"x\n", b"x\n" * 3000):
            for after in (b"", b"\n", b"\ny\n", b"\r\n"):
                self.assertFalse(self.facts(before + b"z" * 998 + after).long_line)
                self.assertTrue(self.facts(before + b"z" * 999 + after).long_line)

    def test_a_long_line_over_pieces(self) -> None:
        self.assertTrue(self.facts(b"a\n" + b"z" * 500, b"z" * 499 + b"\n").long_line)
        self.assertFalse(self.facts(b"a\n" + b"z" * 500, b"z" * 498, b"\n", b"y" * 998).long_line)
        self.assertTrue(self.facts(*[b"z"] * 999).long_line)

    def test_cr_and_nul(self) -> None:
        self.assertTrue(self.facts(b"a\r", b"b").bare_cr)
        self.assertFalse(self.facts(b"a\r", b"\nb\r").bare_cr)
        self.assertTrue(self.facts(b"a\0").nul)

    @settings(deadline=None, max_examples=150)
    @given(cut_bodies())
    def test_they_agree_with_a_plain_count(self, pieces: tuple[bytes, ...]) -> None:
        body = b"".join(pieces)
        facts = self.facts(*pieces)
        text = wire.wire(body)
        self.assertEqual(facts.long_line, max(map(len, text.split(b"\r\n"))) > 998)
        self.assertEqual(facts.eight_bit, not body.isascii())
        self.assertEqual(facts.nul, b"\0" in body)
        self.assertEqual(facts.bare_cr, re.search(rb"\r(?!\n|\Z)", body.replace(b"\0", b"")) is not None)


class Dots(SynchronousTestCase):
    """Dots at line starts."""

    def test_they_are_doubled(self) -> None:
        text = b".\r\n..\r\n.a\r\na.\r\n\r\n.\r\n"
        self.assertEqual(b"".join(wire.stuffed([text])), b"..\r\n...\r\n..a\r\na.\r\n\r\n..\r\n")

    def test_a_dot_after_a_blank_that_was_a_cr_is_left_alone(self) -> None:
        self.assertEqual(b"".join(wire.stuffed(wire.wire_pieces(lambda: (b"a\r.\n",)))), b"a .\r\n")

    @settings(deadline=None, max_examples=150)
    @given(BODIES, st.lists(st.integers(0, 60), max_size=6))
    def test_the_cut_into_pieces_makes_no_difference(self, body: bytes, cuts: list[int]) -> None:
        text = wire.wire(body)
        edges = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
        pieces = [text[start:end] for start, end in pairwise(edges)]
        expected = re.sub(rb"(?m)^\.", b"..", text)
        self.assertEqual(b"".join(wire.stuffed(pieces)), expected)


class Gathering(SynchronousTestCase):
    """Joining pieces."""

    def test_small_pieces_become_large_ones(self) -> None:
        pieces = list(wire.gathered([b"x" * 1000] * 200))
        self.assertEqual(sum(map(len, pieces)), 200_000)
        self.assertEqual(len(pieces), 4)

    def test_nothing_gives_nothing(self) -> None:
        self.assertEqual(list(wire.gathered([b""])), [])
