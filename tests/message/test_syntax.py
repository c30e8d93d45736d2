"""Tests of zsmtp.message.syntax."""

from __future__ import annotations

import email
import email.header
import email.policy
import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.message.header import Signed
from zsmtp.message.syntax import encoded, encoded_fields, well_named


def said(word: str) -> str:
    """What an encoded word stands for."""
    return str(email.header.make_header(email.header.decode_header(word)))


def value(field: bytes | None) -> str:
    """What another program reads in a field."""
    assert field is not None
    [text] = email.message_from_bytes(field + b"\n\n", policy=email.policy.default).values()
    return str(text)


class Encoding(SynchronousTestCase):
    """What all the cases have in common."""

    def check(self, field: str, expected: str) -> None:
        """Compare, with the text of encoded words in ⟦brackets⟧."""
        result = encoded(field.encode(), b"unknown-8bit")
        assert result is not None
        shown = re.sub(r"=\?[^ ]*?\?=", lambda word: f"⟦{said(word[0])}⟧", result.decode("ascii"))
        self.assertEqual(shown, expected)


class FreeText(Encoding):
    """Fields without a syntax."""

    def test_runs_of_words(self) -> None:
        self.check("Subject: plain  äö ü plain", "Subject: plain  ⟦äö ü⟧ plain")

    def test_no_blank_after_the_colon(self) -> None:
        self.check("Subject:ä", "Subject: ⟦ä⟧")

    def test_folded_text_and_blanks_at_the_end(self) -> None:
        self.check("X: a\n\tä  ", "X: a\t⟦ä⟧")

    def test_only_blanks_and_nothing(self) -> None:
        self.check("X:  ", "X:")

    @settings(deadline=None, max_examples=200)
    @given(
        st.lists(
            st.sampled_from(["a", "ä", "漢", " ", '"', "(", "=?utf-8?q?x?=", "\x01", "y" * 40, "😀"]),
            max_size=30,
        )
    )
    def test_words_are_kept(self, parts: list[str]) -> None:
        text = "".join(parts).strip(" ")
        result = encoded(b"X: " + text.encode(), b"unknown-8bit")
        assert result is not None
        self.assertTrue(result.replace(b"\n", b"").decode().isprintable())
        if "=?" not in text:
            self.assertEqual(" ".join(value(result).split(" ")), text)


class Addresses(Encoding):
    """From, To and their like."""

    def test_display_names(self) -> None:
        self.check("From: Jörg <j@x>", "From: ⟦Jörg⟧ <j@x>")
        self.check('From: "Jörg" <j@x>', "From: ⟦Jörg⟧ <j@x>")
        self.check('To: "a \\" ä"<j@x>', 'To: ⟦a " ä⟧ <j@x>')

    def test_words_without_a_blank_between_are_one(self) -> None:
        self.check('To: "a"ä"b"c <j@x>', "To: ⟦aäbc⟧ <j@x>")

    def test_plain_ones_beside_them_stay(self) -> None:
        self.check(
            'To: "a, b" <c@d>, e@f (g), ä <h@[1.2.3.4]>, [x]',
            'To: "a, b" <c@d>, e@f (g), ⟦ä⟧ <h@[1.2.3.4]>, [x]',
        )

    def test_comments(self) -> None:
        self.check("To: j@x (Jörg Müller)", "To: j@x (⟦Jörg Müller⟧)")
        self.check("To: j@x(ä) , b@c", "To: j@x (⟦ä⟧) , b@c")
        self.check("To: j@x (a ä b)", "To: j@x (a ⟦ä⟧ b)")
        self.check("To: (ä) a (b) <j@x>", "To: (⟦ä⟧) a (b) <j@x>")

    def test_nested_comments_and_escapes(self) -> None:
        self.check("To: j@x (a (ä) \\) b)", "To: j@x (⟦a (ä) ) b⟧)")

    def test_groups(self) -> None:
        self.check("To: Empfänger: a@b, c@d;", "To: ⟦Empfänger⟧ : a@b, c@d;")

    def test_words_that_are_no_address(self) -> None:
        self.check("To: undisclosed récipients", "To: undisclosed ⟦récipients⟧")

    def test_an_address_is_never_encoded(self) -> None:
        for field in (
            "To: jörg@x",
            "To: <jörg@x>",
            'To: "jö"@x',
            "Resent-From: a <b@ü.test>",
            "Cc: a@b, ö@c (d)",
        ):
            self.assertIsNone(encoded(field.encode(), b"unknown-8bit"))

    def test_control_characters_become_blanks(self) -> None:
        self.check("To: a\x01b <c@d>", "To: a b <c@d>")

    def test_what_is_not_closed(self) -> None:
        for text in ('"ä', "(ä", "<ä", '"a (ä', "(a (b) ä", '<"ä', "[ä", 'a "b" "ä', "((a) ä"):
            result = encoded(b"To: " + text.encode(), b"unknown-8bit")
            assert result is not None, text
            self.assertTrue(result.isascii())

    def test_blanks_at_the_end_never_become_an_empty_line(self) -> None:
        text = "@).:ä]>\\ä;ä:aä[\\:, ".encode()
        result = encoded(b"To: " + text, b"unknown-8bit")
        assert result is not None
        self.assertTrue(all(line.strip() for line in result.split(b"\n")), result)

    @settings(deadline=None, max_examples=300)
    @given(st.text(alphabet='aä "\\()<>[],;:@.=?\x01', max_size=40))
    def test_any_text_gives_ascii_or_nothing(self, text: str) -> None:
        for title in (b"To: ", b"Content-Type: ", b"Received: ", b"X: "):
            result = encoded(title + text.encode(), b"unknown-8bit")
            if result is not None:
                self.assertTrue(result.replace(b"\n", b"").decode("ascii").isprintable())
                for line in result.split(b"\n")[1:]:
                    self.assertTrue(line[:1] == b" " and line.strip())


class Parameters(Encoding):
    """Content-Type and Content-Disposition."""

    def test_a_name(self) -> None:
        self.check(
            'Content-Type: text/plain; name="ä b.txt"; charset=x',
            "Content-Type: text/plain; name*=utf-8''%C3%A4%20b.txt; charset=x",
        )
        self.check(
            "Content-Disposition: attachment;\n filename=ä.txt",
            "Content-Disposition: attachment; filename*=utf-8''%C3%A4.txt",
        )

    def test_octets_of_unknown_meaning(self) -> None:
        result = encoded(b"Content-Disposition: attachment; filename=\xe4", b"")
        self.assertEqual(result, b"Content-Disposition: attachment; filename*=unknown-8bit''%E4")

    def test_a_long_name_comes_in_sections(self) -> None:
        name = "ä" * 60 + ".txt"
        result = encoded(f'Content-Type: a/b; name="{name}"'.encode(), b"")
        assert result is not None
        self.assertIn(b"name*1*=", result)
        self.assertLessEqual(max(map(len, result.split(b"\n"))), 76)
        message = email.message_from_bytes(result + b"\n\n", policy=email.policy.default)
        self.assertEqual(message["Content-Type"].params["name"], name)

    def test_a_name_in_that_form_with_raw_octets(self) -> None:
        self.check("Content-Type: a/b; name*=utf-8''%C3%A4ö", "Content-Type: a/b; name*=utf-8''%C3%A4%C3%B6")

    def test_comments_with_8_bit_octets_go(self) -> None:
        self.check("Content-Type: a/b (ä); c=d (e)", "Content-Type: a/b ; c=d (e)")

    def test_a_name_of_a_parameter(self) -> None:
        self.check("Content-Type: a/b; ä=c", "Content-Type: a/b; x*=utf-8''c")

    def test_what_cannot_be_encoded(self) -> None:
        for text in ("a/ä", "a/b; boundary=ä", "a/b; charset=ä", "a/b; ä", 'a/b; x="ä'):
            result = encoded(b"Content-Type: " + text.encode(), b"")
            if text.endswith('"ä'):
                self.assertIsNotNone(result)
            else:
                self.assertIsNone(result)


class OtherStructuredFields(Encoding):
    """Received, Date, Message-Id."""

    def test_comments(self) -> None:
        self.check("Received: from x (hä) by y; date", "Received: from x (⟦hä⟧) by y; date")

    def test_otherwise_they_get_another_name(self) -> None:
        self.check("Message-Id: <ä@x>", "Downgraded-Message-Id: ⟦<ä@x>⟧")


class AllFields(SynchronousTestCase):
    """encoded_fields."""

    def test_names(self) -> None:
        for field in (b"\xe4: x", b"a\x01: x", b"none", b": x"):
            self.assertFalse(well_named(field), field)
        self.assertTrue(well_named(b"X-Any : y"))

    def test_only_what_needs_it_changes(self) -> None:
        fields = [b"A:\t1", b"B: \xe4", b"\xe4: 2", b"C: 3\x01"]
        out, notes, bad = encoded_fields(fields, b"ISO-8859-1", Signed([]))
        self.assertEqual(out, [b"A:\t1", b"B: =?ISO-8859-1?Q?=E4?=", b"C: =?utf-8?Q?3=01?="])
        self.assertEqual((len(notes), bad), (1, b""))

    def test_signed_fields(self) -> None:
        signed = Signed([b"DKIM-Signature: h=subject"])
        self.assertEqual(encoded_fields([b"Subject: \x01"], b"", signed)[0], [b"Subject: \x01"])
        self.assertEqual(encoded_fields([b"Subject: \xe4"], b"", signed)[2], b"subject")
        self.assertEqual(encoded_fields([b"X\xe4: 1"], b"", signed)[2], b"(8-bit name)")
        self.assertEqual(encoded_fields([b"X: \xe4"], b"", signed)[0], [b"X: =?unknown-8bit?Q?=E4?="])

    def test_the_field_that_resists_is_named(self) -> None:
        self.assertEqual(encoded_fields([b"To: \xe4@x"], b"", Signed([]))[2], b"to")
