"""Tests of zsmtp.message.words."""

from __future__ import annotations

import email.header

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.message import words
from zsmtp.message.words import Charset, Item

UTF_8 = Charset("utf-8", "utf-8")


def said(text: str) -> str:
    """What a reader makes of encoded words."""
    return str(email.header.make_header(email.header.decode_header(text)))


class Reading(SynchronousTestCase):
    """Octets of a field as text."""

    def test_utf_8_comes_first(self) -> None:
        self.assertEqual(words.read("ä".encode(), b"ISO-8859-1"), ("ä", UTF_8))

    def test_then_the_default(self) -> None:
        self.assertEqual(words.read(b"\xe4", b'"ISO-8859-1"'), ("ä", Charset("ISO-8859-1", "ISO-8859-1")))
        self.assertEqual(words.read(b"\xa4", b"ISO-8859-15").text, "€")

    def test_then_octets_of_unknown_meaning(self) -> None:
        unknown = ("ä", Charset("unknown-8bit", "latin-1"))
        for default in (
            b"unknown-8bit",
            b"us-ascii",
            b"no-such-thing",
            b"",
            b"hex",
            b"utf-16",
            b"cp037",
            b"x y",
        ):
            self.assertEqual(words.read(b"\xe4", default), unknown)

    def test_a_stateful_default_is_written_as_utf_8(self) -> None:
        octets = "汉字".encode("gb2312")
        self.assertEqual(words.read(octets, b"gb2312").charset.label, "gb2312")
        self.assertEqual(words.read(b"\xb0a\xe4", b"iso2022_kr").charset.label, "unknown-8bit")
        self.assertEqual(words.read(b"a\x81\x5f", b"shift_jis").text, "a＼")

    def test_jis_without_a_label(self) -> None:
        self.assertEqual(words.read("漢字 x".encode("iso2022_jp"), b"unknown-8bit"), ("漢字 x", UTF_8))
        self.assertEqual(words.read(b"a\x1bb", b"unknown-8bit"), ("a\x1bb", UTF_8))

    def test_labels(self) -> None:
        self.assertEqual(words.charset_label(b' "KOI8-R" '), b"KOI8-R")
        self.assertEqual(words.charset_label(b"a?b"), b"unknown-8bit")
        self.assertEqual(words.charset_label(b"x" * 50), b"unknown-8bit")


class EncodedWords(SynchronousTestCase):
    """Making them."""

    def test_q_or_b_whichever_is_shorter(self) -> None:
        self.assertEqual(words.words("abcdefg ä", UTF_8), ["=?utf-8?Q?abcdefg_=C3=A4?="])
        self.assertEqual(words.words("äöü", UTF_8), ["=?utf-8?B?w6TDtsO8?="])

    def test_a_long_label_still_leaves_room_for_a_character(self) -> None:
        self.assertEqual(len(words.words("äö", Charset("x" * 40, "utf-8"), width=44)), 2)

    @settings(deadline=None, max_examples=200)
    @given(st.text(min_size=1, max_size=120), st.integers(44, 72))
    def test_they_say_the_text_and_no_character_is_split(self, text: str, width: int) -> None:
        made = words.words(text, UTF_8, width=width)
        self.assertEqual("".join(map(said, made)), text)
        self.assertLessEqual(max(map(len, made)), width)


class Sequences(SynchronousTestCase):
    """Words beside words."""

    def items(self, text: str) -> list[Item]:
        return [Item(" ", word, word if words.encodable(word) else None) for word in text.split(" ")]

    def test_plain_words_stay(self) -> None:
        self.assertEqual(words.sequence(self.items("a b"), UTF_8), [(" ", "a"), (" ", "b")])

    def test_neighbours_go_together(self) -> None:
        self.assertEqual(
            words.sequence(self.items("a ä ö b"), UTF_8),
            [(" ", "a"), (" ", "=?utf-8?B?w6Qgw7Y=?="), (" ", "b")],
        )

    def test_blanks_beside_encoded_words_are_not_lost(self) -> None:
        made = words.sequence(self.items("=?utf-8?q?x?= ä =?utf-8?q?y?="), UTF_8)
        self.assertEqual(said("".join(gap + word for gap, word in made)), "x ä y")

    def test_what_needs_encoding(self) -> None:
        for word in ("ä", "a\x01", "\x7f"):
            self.assertTrue(words.encodable(word))
        self.assertFalse(words.encodable("a~!"))


class Lines(SynchronousTestCase):
    """Setting words into lines."""

    def test_lines_break_before_blanks(self) -> None:
        text = words.fill("X:", [(" ", "y" * 30)] * 4)
        self.assertEqual(text, "X: " + "y" * 30 + " " + "y" * 30 + "\n " + "y" * 30 + " " + "y" * 30)

    def test_the_first_word_moves_only_if_that_helps(self) -> None:
        self.assertEqual(words.fill("Subject:", [(" ", "x" * 70)]), "Subject:\n " + "x" * 70)
        self.assertEqual(words.fill("Subject:", [(" ", "x" * 80)]), "Subject: " + "x" * 80)

    def test_an_encoded_word_stands_alone(self) -> None:
        self.assertEqual(
            words.fill("To:", [(" ", "=?x?Q?y?="), ("", "<a>"), ("", ",")]), "To: =?x?Q?y?= <a>,"
        )
        self.assertEqual(words.fill("To:", [(" ", "=?x?Q?y?="), ("", ","), ("", "")]), "To: =?x?Q?y?=,")
