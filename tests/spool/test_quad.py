"""Tests of zsmtp.spool.quad."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.spool.quad import LONGEST_USER, Quad, quote, recipient_flaw, sender_flaw, split


def tokens_by_octet(octets: bytes) -> tuple[Quad, bool]:
    """Split as the specification words it, one octet after the other."""
    elements = []
    position = 0
    quoted = False
    for _ in range(3):
        while octets[position : position + 1] in (b" ", b"\t"):
            position += 1
        start = position
        while position < len(octets):
            octet = octets[position : position + 1]
            if octet == b"\\":
                position += 1
            elif octet == b'"':
                quoted = not quoted
            elif octet in (b" ", b"\t") and not quoted:
                break
            position += 1
        elements.append(octets[start:position])
        position += 1
    channel, host, user = elements
    return Quad(channel, host, user, octets[position:].strip(b" \t")), not quoted


class Splitting(SynchronousTestCase):
    """Four elements, quotes and backslashes kept."""

    def test_four_words(self) -> None:
        self.assertEqual(split(b"smtp x.org u@x.org 99"), ((b"smtp", b"x.org", b"u@x.org", b"99"), True))

    def test_row_12_quoted_local_part(self) -> None:
        quad, balanced = split(b'smtp x.org "john doe"@x.org 99')
        self.assertEqual((quad.user, quad.privilege, balanced), (b'"john doe"@x.org', b"99", True))

    def test_row_13_backslash_protects_a_blank(self) -> None:
        self.assertEqual(split(rb"smtp x.org a\ b@x.org 99")[0].user, rb"a\ b@x.org")

    def test_row_14_tabs_separate(self) -> None:
        self.assertEqual(split(b"smtp\tx.org\tu@x.org\t99")[0], (b"smtp", b"x.org", b"u@x.org", b"99"))

    def test_row_15_blanks_before_the_privilege_are_stripped(self) -> None:
        self.assertEqual(split(b"smtp x.org u@x.org  99 ")[0].privilege, b"99")

    def test_row_44_an_open_quote_swallows_the_rest(self) -> None:
        self.assertEqual(split(b'smtp x.org "u@x.org 99'), ((b"smtp", b"x.org", b'"u@x.org 99', b""), False))

    def test_a_backslash_at_the_end_belongs_to_the_address(self) -> None:
        self.assertEqual(split(b"smtp x.org u\\"), ((b"smtp", b"x.org", b"u\\", b""), True))

    def test_missing_elements_are_empty(self) -> None:
        self.assertEqual(split(b"smtp"), ((b"smtp", b"", b"", b""), True))
        self.assertEqual(split(b""), ((b"", b"", b"", b""), True))

    @settings(deadline=None, max_examples=300)
    @given(
        st.lists(st.sampled_from([b" ", b"\t", b'"', b"\\", b"a", b"@", b"9", b"\0", b"\r"])).map(b"".join)
    )
    def test_any_text_is_split_as_octet_by_octet(self, octets: bytes) -> None:
        self.assertEqual(split(octets), tokens_by_octet(octets))

    def test_a_megabyte_of_quotes_is_split_in_linear_time(self) -> None:
        for octets in (b'"a' * 500_001, b'"\\' * 500_000, b"\\" * 1_000_001, b'""' * 500_000 + b'"'):
            self.assertEqual(split(octets)[0].host, b"")


class Quoting(SynchronousTestCase):
    """What the router does before it writes an element."""

    def test_nothing_becomes_a_hyphen(self) -> None:
        self.assertEqual(quote(b""), b"-")

    def test_plain_and_well_quoted_elements_stay(self) -> None:
        for element in (b"u@x.org", b'"john doe"@x.org', rb"a\ b@x", b"-"):
            self.assertEqual(quote(element), element)

    def test_others_are_quoted(self) -> None:
        self.assertEqual(quote(b"john doe"), b'"john doe"')
        self.assertEqual(quote(b'a"b\\'), b'"a\\"b\\\\"')

    @settings(deadline=None, max_examples=200)
    @given(st.binary(max_size=30))
    def test_any_element_stays_in_its_place(self, element: bytes) -> None:
        quad, balanced = split(b"smtp x.org " + quote(element) + b" 99")
        self.assertEqual(
            (quad.channel, quad.user, quad.privilege, balanced), (b"smtp", quote(element), b"99", True)
        )


class Judging(SynchronousTestCase):
    """Permanent is what is wrong with the address itself."""

    def permanence(self, text: bytes) -> bool | None:
        flaw = recipient_flaw(*split(text))
        return None if flaw is None else flaw.permanent

    def test_good_recipients(self) -> None:
        for text in (b"smtp x u 99", b"smtp x u -2", b"smtp x u -", b"local - u 0", b"smtp [192.0.2.1] u 99"):
            self.assertIsNone(self.permanence(text), text)

    def test_permanent_flaws(self) -> None:
        for text in (b'smtp x "u 99', b"smtp x", b"smtp x - 99", b'smtp x "a\rb" 99', b'smtp x "a\tb" 99'):
            self.assertIs(self.permanence(text), True, text)
        for text in (b"smtp x u\0 99", b"smtp\0 x u 99", b"smtp x\0 u 99", b"smtp x u\x7f 99"):
            self.assertIs(self.permanence(text), True, text)
        self.assertIs(self.permanence(b"smtp x " + b"u" * (LONGEST_USER + 1) + b" 99"), True)

    def test_temporary_flaws(self) -> None:
        for text in (
            b"smtp x u",
            b"smtp x john doe@x 99",
            b"smtp x u 99\0",
            b"smtp x u 99\r",
            b"smtp x\r u 99",
        ):
            self.assertIs(self.permanence(text), False, text)
        self.assertIs(self.permanence(b"smtp ((mx1)(mx2)) u 99"), False)

    def test_flaws_of_a_sender_are_temporary(self) -> None:
        self.assertIsNone(sender_flaw(*split(b"local a@b a@b 99")))
        bad = [
            b'smtp h "a 99',
            b"smtp h - 99",
            b"smtp h <> 99",
            b"smtp h",
            b"smtp h a\r 99",
            b"smtp h a b 99",
        ]
        for text in [*bad, b"smtp h " + b"a" * (LONGEST_USER + 1) + b" 99"]:
            flaw = sender_flaw(*split(text))
            assert flaw is not None, text
            self.assertFalse(flaw.permanent)

    def test_the_null_sender_may_look_as_it_likes(self) -> None:
        for text in (b"error <> <> 99", b"error", b'error " \0'):
            self.assertIsNone(sender_flaw(*split(text)))
