"""Tests of zsmtp.message.transfer."""

from __future__ import annotations

import binascii
import quopri
import re
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.message import transfer
from zsmtp.message.transfer import Undecodable

#: Text with what matters to quoted-printable.
TEXTS = st.lists(
    st.sampled_from(
        [
            b"a",
            b".",
            b"From ",
            b"F",
            b" ",
            b"\t",
            b"=",
            b"\n",
            b"\r\n",
            b"\xe4",
            b"\0",
            b"\r",
            b"x" * 69,
            b"=3D",
        ]
    )
).map(b"".join)
CUTS = st.lists(st.integers(0, 200), max_size=6)


def pieces(octets: bytes, cuts: list[int]) -> list[bytes]:
    """Cut octets into pieces."""
    edges = [0, *sorted(min(cut, len(octets)) for cut in cuts), len(octets)]
    return [octets[start:end] for start, end in pairwise(edges)]


def quoted(octets: bytes) -> bytes:
    """Encode in one piece."""
    return b"".join(transfer.quoted_printable([octets]))


def unquoted(octets: bytes) -> bytes:
    """Decode in one piece."""
    return b"".join(transfer.decoded([octets]))


class LineEnds(SynchronousTestCase):
    """Text before it is encoded."""

    def test_cr_lf_and_a_final_cr_become_lf(self) -> None:
        self.assertEqual(b"".join(transfer.text([b"a\r", b"\nb\rc\r\r", b"\n\0\r"])), b"a\nb\rc\r\n\0\n")

    def test_canonical_text_has_cr_lf(self) -> None:
        self.assertEqual(b"".join(transfer.canonical([b"a\r", b"\nb\rc\n"])), b"a\r\nb\rc\r\n")

    @settings(deadline=None, max_examples=100)
    @given(TEXTS, CUTS)
    def test_the_cut_makes_no_difference(self, octets: bytes, cuts: list[int]) -> None:
        whole = b"".join(transfer.text([octets]))
        self.assertEqual(b"".join(transfer.text(pieces(octets, cuts))), whole)
        self.assertEqual(whole, re.sub(rb"\r\Z", b"\n", octets.replace(b"\r\n", b"\n")))


class QuotedPrintable(SynchronousTestCase):
    """Encoding."""

    def test_what_must_be_encoded_is(self) -> None:
        self.assertEqual(quoted(b"p\xe4iv\xe4\xe4 = x \n"), b"p=E4iv=E4=E4 =3D x=20\r\n")
        self.assertEqual(quoted(b"a\rb\0d\x7f\x0c\xe4\n"), b"a=0Db=00d=7F=0C=E4\r\n")

    def test_dots_and_from_at_line_starts(self) -> None:
        self.assertEqual(
            quoted(b".dot\n..two\nFrom here\nFrozen\na From .\n"),
            b"=2Edot\r\n=2E.two\r\n=46rom here\r\nFrozen\r\na From .\r\n",
        )

    def test_blanks_at_line_ends(self) -> None:
        self.assertEqual(quoted(b"a \nb\t\n \n  \nc "), b"a=20\r\nb=09\r\n=20\r\n =20\r\nc=20")

    def test_lines_of_71_octets_stay_and_longer_ones_break(self) -> None:
        for length in (69, 70, 71):
            self.assertEqual(quoted(b"x" * length + b"\n"), b"x" * length + b"\r\n")
        self.assertEqual(quoted(b"x" * 72 + b"\n"), b"x" * 71 + b"=\r\nx\r\n")
        self.assertEqual(quoted(b"a" * 200), b"=\r\n".join([b"a" * 71, b"a" * 71, b"a" * 58]))

    def test_an_escape_is_never_broken(self) -> None:
        self.assertEqual(
            quoted(b"b\xe4" * 60).split(b"=\r\n"), [b"b=E4" * 18, b"b=E4" * 18, b"b=E4" * 18, b"b=E4" * 6]
        )

    def test_line_starts_after_a_soft_break_count_too(self) -> None:
        self.assertEqual(quoted(b"a" * 71 + b".b\n"), b"a" * 71 + b"=\r\n=2Eb\r\n")
        self.assertEqual(quoted(b"a" * 71 + b"From b\n"), b"a" * 71 + b"=\r\n=46rom b\r\n")

    def test_nothing_gives_nothing(self) -> None:
        self.assertEqual(quoted(b""), b"")

    @settings(deadline=None, max_examples=200)
    @given(TEXTS, CUTS)
    def test_any_decoder_gives_the_text_back(self, octets: bytes, cuts: list[int]) -> None:
        octets = octets.replace(b"\r\n", b"\n")
        encoded = quoted(octets)
        self.assertEqual(b"".join(transfer.quoted_printable(pieces(octets, cuts))), encoded)
        self.assertEqual(quopri.decodestring(encoded.replace(b"\r\n", b"\n")), octets)
        lines = encoded.split(b"\r\n")
        self.assertLessEqual(max(map(len, lines)), 74)
        self.assertTrue(encoded.isascii())
        for line in lines:
            self.assertIsNone(re.match(rb"\.|From |.*[ \t]\Z|.*[\r\n\0]", line), line)


class Base64(SynchronousTestCase):
    """Encoding."""

    def test_lines_have_76_octets(self) -> None:
        encoded = b"".join(transfer.base64([b"x" * 58]))
        self.assertEqual(list(map(len, encoded.split(b"\r\n"))), [76, 4])

    @settings(deadline=None, max_examples=100)
    @given(st.binary(max_size=400), CUTS)
    def test_it_decodes_to_the_same_octets(self, octets: bytes, cuts: list[int]) -> None:
        encoded = b"".join(transfer.base64(pieces(octets, cuts)))
        self.assertEqual(binascii.a2b_base64(encoded), octets)
        self.assertEqual(encoded, b"".join(transfer.base64([octets])))
        self.assertLessEqual(max(map(len, encoded.split(b"\r\n"))), 76)


class Decoding(SynchronousTestCase):
    """Well-formed quoted-printable."""

    def test_escapes_and_soft_breaks(self) -> None:
        octets = b"p=E4iv=e4 =3D=20\nsoft=\nbreak\nlone = \t\n=46rom\n"
        self.assertEqual(unquoted(octets), b"p\xe4iv\xe4 = \nsoftbreak\nlone From\n")

    def test_blanks_before_the_line_end_go(self) -> None:
        self.assertEqual(unquoted(b"a \t\nb=20 \n"), b"a\nb \n")

    def test_a_dot_after_an_empty_soft_line_is_at_a_line_start(self) -> None:
        self.assertEqual(unquoted(b"a\n=\n.\nNOOP smuggled\n"), b"a\n.\nNOOP smuggled\n")

    def test_an_encoded_line_end_is_a_line_end(self) -> None:
        self.assertEqual(unquoted(b"a=0D=0Ab=0d=0A.\n"), b"a\nb\n.\n")

    def test_a_soft_break_at_the_very_end(self) -> None:
        self.assertEqual(unquoted(b"abc=\nend="), b"abcend\n")
        self.assertEqual(unquoted(b"end=\n"), b"end\n")

    def test_nothing_gives_nothing(self) -> None:
        self.assertEqual(unquoted(b""), b"")

    @settings(deadline=None, max_examples=200)
    @given(st.lists(st.sampled_from([b"a", b".", b" ", b"=", b"\n", b"\xe4", b"x" * 69])).map(b"".join), CUTS)
    def test_it_undoes_the_encoding(self, octets: bytes, cuts: list[int]) -> None:
        result = b"".join(transfer.decoded(pieces(quoted(octets), cuts)))
        self.assertEqual(result, octets + b"\n" if octets and not octets.endswith(b"\n") else octets)


class WhatIsBetterLeftEncoded(SynchronousTestCase):
    """Undecodable."""

    def refused(self, octets: bytes) -> None:
        self.assertRaises(Undecodable, unquoted, octets)
        self.assertRaises(
            Undecodable, lambda: list(transfer.decoded([octets[i : i + 1] for i in range(len(octets))]))
        )

    def test_malformed_escapes(self) -> None:
        for octets in (b"bad =ZZ\n", b"=4\n", b"a = b\n", b"=4=\n1\n", b"==\n", b"a==41\n"):
            self.refused(octets)

    def test_line_ends_that_are_none(self) -> None:
        for octets in (b"a=0Ab\n", b"a=0Db\n", b"a=0D=\nb\n", b"=0A=0D\n", b"a=00\n"):
            self.refused(octets)

    def test_a_line_end_in_two_pieces(self) -> None:
        self.assertEqual(unquoted(b"a=0D=\n=0Ab\n"), b"a\nb\n")

    def test_8_bit_octets(self) -> None:
        self.refused(b"a\xe4\n")

    def test_lines_that_are_or_would_be_too_long(self) -> None:
        self.refused(b"x" * 999)
        self.refused(b"x" * 999 + b"\n")
        self.refused(b"x=\n" * 999)
        self.refused(b"x" * 20_000)
        self.refused(b"x=\n" * 20_000)
        self.assertEqual(unquoted(b"=E4=\n" * 998), b"\xe4" * 998 + b"\n")
