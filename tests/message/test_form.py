"""Tests of zsmtp.message.form: the decision, and what becomes of a message that needs no conversion."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.message import fitting
from zsmtp.message.form import Ability, Form, Refusal, Wishes, choose
from zsmtp.message.wire import Facts, examine

BLOCK = b"From:\ta@x.test\nSubject: t\n"
ALL = Ability(True, True)
PLAIN = Ability(False, False)
TEXT = b"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"


def chosen(block: bytes, body: bytes, ability: Ability = ALL, wishes: Wishes | None = None) -> Form | Refusal:
    """The decision about a message to one recipient."""
    return choose(
        block,
        lambda: (body,),
        examine(lambda: (body,)),
        ability=ability,
        wishes=wishes or Wishes(),
        recipients=[(b"u@x.test", None)],
    )


def form(block: bytes, body: bytes, ability: Ability = ALL, wishes: Wishes | None = None) -> Form:
    """A decision that must be a form."""
    result = chosen(block, body, ability, wishes)
    assert isinstance(result, Form), result
    return result


def whole(result: Form) -> bytes:
    """All octets, without stuffing."""
    return b"".join(result.pieces(stuffed=False))


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

    def test_a_line_that_tabs_make_too_long_is_folded(self) -> None:
        octets = whole(form(b"X: " + b"a\t" * 400 + b"b\n", b""))
        self.assertEqual(max(map(len, octets.split(b"\r\n"))), 993)

    def test_an_empty_line_in_the_block_does_not_end_the_header(self) -> None:
        for block in (b"A: 1\n\nB: 2\n", b"\nA: 1\nB: 2\n\n"):
            self.assertEqual(whole(form(block, b"x\n")), b"A: 1\r\nB: 2\r\n\r\nx\r\n")

    def test_binarymime_makes_no_difference(self) -> None:
        self.assertEqual(whole(form(BLOCK, b"x\n", Ability(True, False, True))), whole(form(BLOCK, b"x\n")))


class SignedMail(SynchronousTestCase):
    """DKIM and ARC."""

    BLOCK = b"Received: by x; date\nFrom:\ta\nTo:\tb\nDKIM-Signature: h=from;\n\tb=y\n"

    def test_received_and_listed_fields_stay(self) -> None:
        expected = self.BLOCK.replace(b"To:\t", b"To:     ").replace(b"\n", b"\r\n") + b"\r\nx\r\n"
        self.assertEqual(whole(form(self.BLOCK, b"x\n")), expected)
        # The same where something else makes a closer look necessary.
        self.assertEqual(whole(form(self.BLOCK, b"x\0\n")), expected)

    def test_without_tabs_to_expand_nothing_is_touched(self) -> None:
        octets = whole(form(self.BLOCK, b"x\n", wishes=Wishes(expand_tabs=False)))
        self.assertEqual(octets, self.BLOCK.replace(b"\n", b"\r\n") + b"\r\nx\r\n")

    def test_a_field_with_such_a_word_is_no_signature(self) -> None:
        octets = whole(form(b"Received: by x; date\nSubject: arc-light\n", b"x\n"))
        self.assertTrue(octets.startswith(b"Received: by x for <u@x.test>; date\r\n"))

    def test_8_bit_text_in_a_listed_field(self) -> None:
        block = b"Subject: \xc3\xa4\nDKIM-Signature: h=subject; b=y\n"
        result = chosen(block, b"x\n", Ability(True, False))
        assert isinstance(result, Refusal)
        self.assertEqual((result.status, result.temporary), (b"5.6.3", False))
        self.assertIn("subject", result.text)
        self.assertTrue(form(block, b"x\n", ALL).smtputf8)

    def test_8_bit_text_in_another_field(self) -> None:
        block = b"X: \xc3\xa4\nDKIM-Signature: h=subject; b=y\n"
        self.assertIn(b"X: =?utf-8?", whole(form(block, b"x\n", PLAIN)))


class Smtputf8(SynchronousTestCase):
    """Servers that take UTF-8 in header fields."""

    FIELD = "From: Jörg <jörg@x.test>\n".encode()

    def test_the_header_goes_as_it_is(self) -> None:
        result = form(self.FIELD, b"x\n")
        self.assertTrue(result.smtputf8)
        self.assertTrue(result.eight_bit)
        self.assertEqual(whole(result), self.FIELD.replace(b"\n", b"\r\n") + b"\r\nx\r\n")

    def test_a_plain_header_does_not_need_it(self) -> None:
        for block in (BLOCK, b"X: \x01\n"):
            self.assertFalse(form(block, "ä".encode()).smtputf8)

    def test_what_is_not_utf_8_is_encoded(self) -> None:
        result = form(b"X: \xe4\n", b"x\n")
        self.assertFalse(result.smtputf8)
        self.assertIn(b"X: =?unknown-8bit?Q?=E4?=", whole(result))

    def test_malformed_fields_are_not_sent(self) -> None:
        result = form(self.FIELD + "ä: 1\nX: a\x01b\n".encode(), b"x\n")
        self.assertTrue(result.smtputf8)
        self.assertTrue(whole(result).endswith(b"test>\r\nX: a b\r\n\r\nx\r\n"))
        self.assertEqual(len(result.notes), 1)

    def test_an_8_bit_address_needs_it(self) -> None:
        for ability, wishes in (
            (Ability(True, False), Wishes()),
            (PLAIN, Wishes()),
            (ALL, Wishes(seven_bit=True)),
        ):
            result = chosen(self.FIELD, b"x\n", ability, wishes)
            assert isinstance(result, Refusal)
            self.assertEqual((result.status, result.temporary), (b"5.6.7", False))
            self.assertIn("from", result.text)

    def test_other_fields_that_cannot_be_encoded(self) -> None:
        result = chosen(b"Content-Type: text/\xe4\n", b"x\n", PLAIN)
        assert isinstance(result, Refusal)
        self.assertEqual(result.status, b"5.6.3")


class Limits(SynchronousTestCase):
    """What costs too much."""

    def test_a_body_above_the_limit_is_not_converted(self) -> None:
        self.patch(fitting, "CONVERTIBLE", 1000)
        result = chosen(BLOCK, b"\xe4" * 2000 + b"\n", PLAIN)
        assert isinstance(result, Refusal)
        self.assertEqual(result.status, b"5.6.3")
        self.assertIn("larger", result.text)
        body = b"x" * 2000 + b"\n"
        self.assertTrue(whole(form(BLOCK + TEXT, body)).endswith(body[:-1] + b"\r\n"))
        coded = TEXT + b"Content-Transfer-Encoding: quoted-printable\n"
        result = form(coded, b"=41\n" * 300, ALL, Wishes(eight_bit=True))
        self.assertEqual(result.conversion, b"NONE")

    def test_a_large_body_is_converted_in_a_stream(self) -> None:
        line = "zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich\n".encode()
        result = form(BLOCK + TEXT, line * 20_000, PLAIN)
        first = list(result.pieces(stuffed=True))
        self.assertLess(max(map(len, first)), 400_000)
        self.assertEqual(list(result.pieces(stuffed=True)), first)
        octets = whole(result)
        self.assertEqual(len(octets), result.size)
        self.assertEqual(
            email.message_from_bytes(octets, policy=email.policy.default).get_content().replace("\r\n", "\n"),
            line.decode() * 20_000,
        )

    def test_a_header_above_the_limits(self) -> None:
        for block, status in (
            (b"X: " + b"\xe4 " * 100_000, b"5.6.3"),
            (b"X: \x01" + b"a " * 600_000, b"5.3.4"),
        ):
            result = chosen(block, b"x\n")
            assert isinstance(result, Refusal)
            self.assertEqual((result.status, result.temporary), (status, False))

    def test_a_huge_header_that_needs_nothing_goes(self) -> None:
        block = b"X: a\n" * 300_000
        self.assertEqual(form(block, b"x\n").size, len(block) * 6 // 5 + 5)


class Decoding(SynchronousTestCase):
    """Option -8: when it does not apply."""

    def test_prohibited_signed_or_already_8_bit(self) -> None:
        coded = TEXT + b"Content-Transfer-Encoding: quoted-printable\n"
        for block, body in (
            (coded + b"Content-Conversion: prohibited\n", b"=41\n"),
            (coded + b"DKIM-Signature: h=from\n", b"=41\n"),
            (coded, b"=41\xe4\n"),
            (coded + b"Content-Type: text/plain\n", b"=41\n"),
        ):
            result = form(block, body, ALL, Wishes(eight_bit=True))
            self.assertEqual(result.conversion, b"NONE")
            self.assertIn(b"=41", whole(result))

    def test_not_with_option_7_as_well(self) -> None:
        coded = TEXT + b"Content-Transfer-Encoding: quoted-printable\n"
        result = form(coded, b"=41\n", ALL, Wishes(seven_bit=True, eight_bit=True))
        self.assertEqual(result.conversion, b"NONE")


class AnyInput(SynchronousTestCase):
    """Hostile messages."""

    @settings(deadline=None, max_examples=300)
    @given(
        st.lists(
            st.sampled_from(
                [
                    b"Content-Type: multipart/mixed; boundary=b",
                    b"Content-Type: message/rfc822",
                    b"Content-Type: text/plain",
                    b"Content-Transfer-Encoding: 8bit",
                    b"Content-Transfer-Encoding: quoted-printable",
                    b"MIME-Version: 1.0",
                    b"Received: a; b",
                    b"DKIM-Signature: h=from",
                    b"Content-Conversion: forced-qp",
                    b"From: \xe4 <a@b>",
                    b"\n",
                    b"\n",
                    b"\r",
                    b"\t",
                    b" ",
                    b"\xc3\xa4",
                    b"\x01",
                    b"x" * 1000,
                    b":",
                    b'"',
                ]
            )
        ).map(b"".join),
        st.lists(
            st.sampled_from([b"--b", b"--", b"\n", b"\n\n", b"\r", b"\0", b"\xe4", b"=", b"x" * 999, b"A: b"])
        ).map(b"".join),
        st.builds(Ability, st.booleans(), st.booleans()),
        st.builds(
            Wishes,
            seven_bit=st.booleans(),
            eight_bit=st.booleans(),
            raw_headers=st.booleans(),
            default_charset=st.sampled_from([b"ISO-8859-1", b"", b"utf-16", b'"x"']),
            expand_tabs=st.booleans(),
        ),
    )
    def test_it_never_raises_and_keeps_the_rules(
        self, block: bytes, body: bytes, ability: Ability, wishes: Wishes
    ) -> None:
        result = chosen(block, body, ability, wishes)
        if isinstance(result, Refusal):
            return
        octets = whole(result)
        self.assertEqual(len(octets), result.size)
        rest = octets.replace(b"\r\n", b"")
        for octet in (b"\r", b"\n", b"\0"):
            self.assertNotIn(octet, rest)
        head = (b"\r\n" + octets).partition(b"\r\n\r\n")[0]
        if not octets.isascii():
            self.assertTrue(result.eight_bit or wishes.eight_bit or wishes.raw_headers)
        if not head.isascii():
            self.assertTrue(result.smtputf8 or wishes.raw_headers)

    def test_facts_that_were_wrong_do_no_harm(self) -> None:
        """A message file that changed after it was examined."""

        def source() -> Iterable[bytes]:
            return (b"\xe4\r.\0\n",)

        result = choose(
            BLOCK, source, Facts(3, False, False, False, False), ability=ALL, wishes=Wishes(), recipients=[]
        )
        assert isinstance(result, Form)
        self.assertTrue(whole(result).endswith(b"\r\n\r\n\xe4 .\r\n"))
