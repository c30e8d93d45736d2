"""Tests of zsmtp.message.mime."""

from __future__ import annotations

import email
from email.message import Message

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.message import header
from zsmtp.message.mime import Plan, Way, converted, plan
from zsmtp.message.parts import Unconvertible

MULTIPART = b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n"


class Conversion(SynchronousTestCase):
    """What all the cases have in common."""

    def plan(self, fields: bytes, body: bytes, *, eight_bit: bool = True) -> Plan:
        return plan(header.split(fields), lambda: (body,), eight_bit=eight_bit, default_charset=b"ISO-8859-1")

    def convert(self, fields: bytes, body: bytes, *, eight_bit: bool = True) -> bytes:
        """Header and body, with LF line ends."""
        made = self.plan(fields, body, eight_bit=eight_bit)
        for pieces in ((body,), [body[at : at + 1] for at in range(len(body))]):
            octets = b"".join(converted(lambda pieces=pieces: pieces, made.steps))  # type: ignore[misc]
            self.assertEqual(octets.count(b"\r\n"), octets.count(b"\n"))
            self.assertEqual(octets.count(b"\r\n"), octets.count(b"\r"))
            self.assertNotIn(b"\0", octets)
            if eight_bit:
                self.assertTrue(octets.isascii())
        return b"\n".join([*made.fields, b"", b""]) + octets.replace(b"\r\n", b"\n")

    def refused(self, fields: bytes, body: bytes) -> str:
        error = self.assertRaises(Unconvertible, self.plan, fields, body)
        assert isinstance(error, Unconvertible)
        return str(error)


class Leaves(Conversion):
    """One part, or a message without parts."""

    def test_dense_text_becomes_base64_unless_it_is_short(self) -> None:
        fields = b"Content-Type: text/plain\n"
        self.assertIn(b"quoted-printable", self.convert(fields, b"\xe4\n" * 400))
        result = self.convert(fields, b"\xe4\xf6\xfc\n" * 1000)
        self.assertIn(b"base64", result)
        self.assertEqual(
            email.message_from_bytes(result).get_payload(decode=True), b"\xe4\xf6\xfc\r\n" * 1000
        )

    def test_sparse_text_does_not(self) -> None:
        self.assertIn(
            b"quoted-printable", self.convert(b"Content-Type: text/plain\n", b"\xe4abcdefghijk\n" * 1000)
        )

    def test_binary_keeps_every_octet(self) -> None:
        octets = bytes(range(256)) * 30 + b"\r\n\n\r"
        result = self.convert(b"Content-Type: a/b\nContent-Transfer-Encoding: binary\n", octets)
        self.assertEqual(email.message_from_bytes(result).get_payload(decode=True), octets)

    def test_a_final_cr_of_a_part_is_not_a_line_end(self) -> None:
        result = self.convert(MULTIPART, b"--b\n\na\r\r\n--b--\n", eight_bit=False)
        self.assertIn(b"\na=0D\n--b--\n", result)

    def test_an_encoded_part_with_8_bit_octets(self) -> None:
        for coding in (b"base64", b"quoted-printable", b"x-uuencode"):
            why = self.refused(b"Content-Type: a/b\nContent-Transfer-Encoding: " + coding + b"\n", b"\xe4\n")
            self.assertIn(coding.decode(), why)

    def test_an_encoded_part_with_long_lines_stays(self) -> None:
        made = self.plan(b"Content-Transfer-Encoding: base64\n", b"A" * 1000 + b"\n\0\r.", eight_bit=False)
        self.assertEqual((made.changes, len(made.notes)), (0, 3))

    def test_reports_may_not_be_encoded_but_internationalised_ones_may(self) -> None:
        self.assertIn("delivery-status", self.refused(b"Content-Type: message/delivery-status\n", b"\xe4\n"))
        result = self.convert(b"Content-Type: message/global-delivery-status\n", b"\xe4\n")
        self.assertIn(b"\n\n=E4\n", result)

    def test_a_part_without_a_type_gets_one(self) -> None:
        result = self.convert(MULTIPART, b"--b\n\n\xc3\xa4\n--b--\n")
        self.assertIn(b"quoted-printable\nContent-Type: text/plain; charset=utf-8\n\n=C3=A4\n", result)
        for octets in (b"\xe4", b"\xc3"):
            self.assertIn(
                b"charset=ISO-8859-1\n", self.convert(MULTIPART, b"--b\n\n" + octets + b"\n--b--\n")
            )


class Multiparts(Conversion):
    """Several parts."""

    def test_only_what_needs_it_changes(self) -> None:
        body = (
            b"pre\n--b\nA: 1\n\nplain\n--b\nContent-Type: text/html\n\n\xe4\n\n--b \t\r\n\nend\n--b--\npost\n"
        )
        result = self.convert(MULTIPART, body)
        expected = body.replace(
            b"text/html\n\n\xe4", b"text/html\nContent-Transfer-Encoding: quoted-printable\n\n=E4"
        )
        self.assertEqual(result, MULTIPART + b"\n" + expected.replace(b"\r\n", b"\n"))

    def test_empty_parts_and_no_final_line_end(self) -> None:
        result = self.convert(MULTIPART, b"--b\n\n\n--b\n\n--b\n\n\xe4\n--b--")
        self.assertTrue(result.endswith(b"\n\n=E4\n--b--\n"))

    def test_nested_ones(self) -> None:
        inner = b"Content-Type: multipart/alternative; boundary=c\nContent-Transfer-Encoding: 8bit\n\n"
        body = b"--b\n" + inner + b"--c\n\n\xe4\n--c--\n--b\n" + inner + b"--c\n\na\n--c--\n--b--\n"
        result = self.convert(MULTIPART, body)
        self.assertIn(
            b"boundary=c\nContent-Transfer-Encoding: 7bit\n\n--c\nContent-Transfer-Encoding: quoted", result
        )
        self.assertIn(inner + b"--c\n\na\n", result)  # a label of 8bit on plain text is harmless

    def test_text_beside_the_parts(self) -> None:
        made = self.plan(MULTIPART, b"\xe4\n--b\n\na\n--b--\n\xf6\n")
        self.assertEqual([step.way for step in made.steps].count(Way.ASCII), 2)
        self.assertEqual(len(made.notes), 1)
        self.assertTrue(
            self.convert(MULTIPART, b"\xe4\n--b\n\na\n--b--\n\xf6\n").endswith(b"?\n--b\n\na\n--b--\n?\n")
        )

    def test_headers_of_parts(self) -> None:
        result = self.convert(
            MULTIPART,
            b'--b\nContent-Type: a/b; name="\xe4"\n\xf6: x\nContent-Description: \xfc\n\na\n--b--\n',
        )
        self.assertIn(b"--b\nContent-Type: a/b; name*=ISO-8859-1''%E4\nContent-Description: =?ISO", result)
        self.assertNotIn(b": x\n", result)

    def test_a_long_line_in_the_header_of_a_part_is_folded(self) -> None:
        long = b"X: " + b"word " * 300 + b"end"
        result = self.convert(MULTIPART, b"--b\n" + long + b"\n\na\n--b--\n", eight_bit=False)
        self.assertLessEqual(max(map(len, result.split(b"\n"))), 998)
        self.assertIn(long, result.replace(b"\n ", b" "))

    def test_a_field_of_a_part_that_cannot_be_encoded(self) -> None:
        why = self.refused(MULTIPART, b"--b\nContent-Type: text/\xe4\n\na\n--b--\n")
        self.assertIn("content-type", why)

    def test_sealed_parts(self) -> None:
        for media in (b"multipart/signed; boundary=c", b"application/pkcs7-mime"):
            part = b"--b\nContent-Type: " + media + b"\n\n--c\n\n%b\n--c--\n--b\n\n\xe4\n--b--\n"
            self.assertIn("must not be changed", self.refused(MULTIPART, part % b"\xe4"))
            result = self.convert(MULTIPART, part % b"a")
            self.assertIn(b"--c\n\na\n--c--\n--b\nContent-Transfer-Encoding: quoted-printable", result)

    def test_messages_inside(self) -> None:
        nested = b"From: \xe4 <a@b>\nSubject: x\n\n\xe4\n"
        result = self.convert(MULTIPART, b"--b\nContent-Type: message/rfc822\n\n" + nested + b"\n--b--\n")
        self.assertIn(
            b"message/rfc822\n\nFrom: =?ISO-8859-1?Q?=E4?= <a@b>\nSubject: x\n"
            b"Content-Transfer-Encoding: quoted-printable\nContent-Type: text/plain; charset=ISO-8859-1\n"
            b"MIME-Version: 1.0\n\n=E4\n\n--b--\n",
            result,
        )

    def test_a_digest_consists_of_messages(self) -> None:
        fields = MULTIPART.replace(b"mixed", b"digest")
        result = self.convert(fields, b"--b\n\nSubject: x\n\n\xe4\n--b--\n")
        self.assertIn(b"--b\n\nSubject: x\nContent-Transfer-Encoding: quoted-printable\n", result)

    def test_an_8bit_label_stays_where_8_bit_text_may_stay(self) -> None:
        fields = MULTIPART + b"Content-Transfer-Encoding: 8bit\n"
        body = b"--b\n\n\xe4\n--b\n\n" + b"x" * 999 + b"\n--b--\n"
        result = self.convert(fields, body, eight_bit=False)
        self.assertIn(b"Content-Transfer-Encoding: 8bit\n", result)
        self.assertIn(b"--b\n\n\xe4\n--b\nContent-Transfer-Encoding: quoted-printable\n\nxxx", result)


class WhatIsNotConverted(Conversion):
    """Malformed or excessive."""

    def test_malformed_multiparts(self) -> None:
        for body in (
            b"",
            b"--b\n\n\xe4\n",
            b"\xe4",
            b"--b\nA: 1\n--b--\n",
            b"--b\nA: 1",
            b"--b\n\n\xe4\n--b--x\n",
        ):
            self.refused(MULTIPART, body)

    def test_an_inner_multipart_that_is_not_closed(self) -> None:
        body = b"--b\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\n\xe4\n--b--\n"
        self.assertIn("closing", self.refused(MULTIPART, body))

    def test_a_multipart_that_claims_to_be_encoded(self) -> None:
        self.refused(MULTIPART + b"Content-Transfer-Encoding: base64\n", b"--b\n\n\xe4\n--b--\n")

    def test_doubt(self) -> None:
        self.refused(b"Content-Type: multipart/mixed\n", b"\xe4")
        self.refused(b"Content-Type: text/plain\nContent-Type: text/html\n", b"\xe4")

    def test_too_deep(self) -> None:
        body = b"".join(
            b"--b%d\nContent-Type: multipart/mixed; boundary=b%d\n\n" % (level, level + 1)
            for level in range(2000)
        )
        self.assertIn("deep", self.refused(b"Content-Type: multipart/mixed; boundary=b0\n", body))
        self.assertIn(
            "deep",
            self.refused(b"Content-Type: message/rfc822\n", b"Content-Type: message/rfc822\n\n" * 2000),
        )

    def test_too_many(self) -> None:
        self.assertIn("parts", self.refused(MULTIPART, b"--b\n\n\xe4\n" * 100_000))


LEAVES = st.tuples(
    st.sampled_from(
        [b"", b"Content-Type: text/plain; charset=x\n", b"Content-Transfer-Encoding: 8bit\n", b"X: \xe4\n"]
    ),
    st.lists(
        st.sampled_from([b"a", b"\n", b"\xe4", b".", b" ", b"--", b"x" * 300, b"=", b"\r\n", b"\0"])
    ).map(b"".join),
).map(lambda pair: pair[0] + b"\n" + pair[1])


def _multipart(parts: list[bytes], name: bytes) -> bytes:
    """A header and body with these parts."""
    body = b"".join(b"--" + name + b"\n" + part + b"\n" for part in parts)
    return b"Content-Type: multipart/mixed; boundary=" + name + b"\n\n" + body + b"--" + name + b"--\n"


MESSAGES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(st.lists(inner, min_size=1, max_size=3), st.integers(0, 10**6)).map(
            lambda pair: _multipart(pair[0], b"b%d" % pair[1])
        ),
        inner.map(lambda part: b"Content-Type: message/rfc822\n\n" + part),
    ),
    max_leaves=6,
)


def leaves(message: Message) -> list[bytes]:
    """What the parts say; CR LF and LF are the same, and where no line end came last there may be one."""
    out = []
    for part in message.walk():
        if not part.is_multipart():
            octets = part.get_payload(decode=True)
            assert isinstance(octets, bytes)
            out.append(octets.replace(b"\r\n", b"\n").removesuffix(b"\n"))
    return out


class AnyTree(Conversion):
    """Generated messages."""

    @settings(deadline=None, max_examples=200)
    @given(MESSAGES, st.booleans())
    def test_parts_say_the_same_afterwards(self, message: bytes, eight_bit: bool) -> None:
        head, _, body = (
            message.partition(b"\n\n") if not message.startswith(b"\n") else (b"", b"", message[1:])
        )
        fields = head + b"\n" if head else b""
        try:
            result = self.convert(fields, body, eight_bit=eight_bit)
        except Unconvertible:
            return
        was = leaves(email.message_from_bytes(fields + b"\n" + body))
        now = leaves(email.message_from_bytes(result))
        self.assertEqual(now, was)
