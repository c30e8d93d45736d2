"""The numbered cases of the content specification, and properties of any message.

What the octets must be that go into a session: `Form.pieces`, `Form.size` and what MAIL has to say.  Those
about dialogues (76 to 80) are in `tests.test_content_cases`, which also sees to it that none is missing.
"""

from __future__ import annotations

import email
import email.header
import email.policy
import re
from collections.abc import Sequence
from email.message import EmailMessage

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.errors import Misuse
from zsmtp.message.form import Ability, Form, Refusal, Wishes, choose
from zsmtp.message.wire import examine

RECEIVED = (
    b"Received: from client.example.test ([192.0.2.7]:4321) by vm.example.test with ESMTP\n"
    b"\tid <S1>; Mon, 1 Jan 2024 10:00:00 +0000\n"
)
REST = (
    b"From:\tsender@vm.example.test\n"
    b"To:\tuser@sink.example.test\n"
    b"Subject: test\n"
    b"Date:\tMon, 1 Jan 2024 10:00:00 +0000\n"
    b"Message-Id: <1@vm.example.test>\n"
)
COMMON = RECEIVED + REST
#: The first fields as they arrive for one recipient.
ARRIVED = (RECEIVED.replace(b"<S1>;", b"<S1> for <user@sink.example.test>;") + REST).replace(b"\n", b"\r\n")
MIME = b"MIME-Version: 1.0\nContent-Type: text/plain; charset=ISO-8859-1\n"
T8 = MIME + b"Content-Transfer-Encoding: 8BIT\n"
TQ = MIME + b"Content-Transfer-Encoding: QUOTED-PRINTABLE\n"
TEXT = b"p\xe4iv\xe4\xe4 = x \n.dot\n..two\nFrom here\ntrail \ntab\t\n\nend\n"
TEXT_QP = b"p=E4iv=E4=E4 =3D x=20\r\n=2Edot\r\n=2E.two\r\n=46rom here\r\ntrail=20\r\ntab=09\r\n\r\nend\r\n"
E8 = Ability(eight_bit_mime=True, smtputf8=False)
E7 = Ability(eight_bit_mime=False, smtputf8=False)
EB = Ability(eight_bit_mime=True, smtputf8=False, binary=True)
WISHES = Wishes(default_charset=b"ISO-8859-1", expand_tabs=False)
OPT_7 = WISHES._replace(seven_bit=True)
OPT_8 = WISHES._replace(eight_bit=True)
USER = b"user@sink.example.test"


def chosen(
    fields: bytes,
    body: bytes,
    ability: Ability = E8,
    wishes: Wishes = WISHES,
    recipients: Sequence[tuple[bytes, bytes | None]] = ((USER, None),),
) -> Form | Refusal:
    """Decide about a message, given in one piece."""
    return choose(
        fields,
        lambda: (body,),
        examine(lambda: (body,)),
        ability=ability,
        wishes=wishes,
        recipients=recipients,
    )


class Case(SynchronousTestCase):
    """What the cases have in common."""

    def form(
        self,
        fields: bytes,
        body: bytes,
        ability: Ability = E8,
        wishes: Wishes = WISHES,
        recipients: Sequence[tuple[bytes, bytes | None]] = ((USER, None),),
    ) -> Form:
        """A form; its size and its dots are always looked at."""
        result = chosen(fields, body, ability, wishes, recipients)
        assert isinstance(result, Form), result
        plain = b"".join(result.pieces(stuffed=False))
        self.assertEqual(result.size, len(plain))
        self.assertEqual(b"".join(result.pieces(stuffed=True)), re.sub(rb"(?m)^\.", b"..", plain))
        self.assertNotIn(b"\r", plain.replace(b"\r\n", b""))
        self.assertNotIn(b"\n", plain.replace(b"\r\n", b""))
        self.assertNotIn(b"\0", plain)
        self.assertTrue(plain.endswith(b"\r\n"))
        return result

    def sent(
        self, fields: bytes, body: bytes, ability: Ability = E8, wishes: Wishes = WISHES
    ) -> tuple[bytes, bytes]:
        """What arrives of the fields (after the common ones) and of the body."""
        octets = b"".join(self.form(COMMON + fields, body, ability, wishes).pieces(stuffed=False))
        head, _, text = octets.partition(b"\r\n\r\n")
        head += b"\r\n"
        self.assertEqual(head[: len(ARRIVED)], ARRIVED)
        return head[len(ARRIVED) :], text

    def unchanged(self, fields: bytes, body: bytes, ability: Ability, wishes: Wishes = WISHES) -> None:
        """The message goes as it is."""
        expected = (fields.replace(b"\n", b"\r\n"), body.replace(b"\n", b"\r\n"))
        self.assertEqual(self.sent(fields, body, ability, wishes), expected)
        form = self.form(COMMON + fields, body, ability, wishes)
        self.assertEqual(form.conversion, b"NONE")

    def refused(self, status: bytes, fields: bytes, body: bytes, ability: Ability = E7) -> Refusal:
        """The message does not go to this server."""
        result = chosen(COMMON + fields, body, ability)
        assert isinstance(result, Refusal), result
        self.assertEqual(result.status, status)
        self.assertEqual(result.temporary, status.startswith(b"4"))
        return result

    def parsed(
        self, fields: bytes, body: bytes, ability: Ability = E7, wishes: Wishes = WISHES
    ) -> EmailMessage:
        """The message as another program understands it."""
        octets = b"".join(self.form(COMMON + fields, body, ability, wishes).pieces(stuffed=False))
        return email.message_from_bytes(octets.replace(b"\r\n", b"\n"), policy=email.policy.default)


class TheChoiceOfEncoding(Case):
    """Section 3.1."""

    def test_01_ascii_needs_no_body_parameter(self) -> None:
        self.unchanged(b"", b"hello\n", E8)
        self.assertFalse(self.form(COMMON, b"hello\n").eight_bit)

    def test_02_raw_to_an_8bitmime_server(self) -> None:
        self.unchanged(b"", b"p\xe4iv\xe4\n", E8)
        self.assertTrue(self.form(COMMON, b"p\xe4iv\xe4\n").eight_bit)

    def test_03_without_mime_it_becomes_quoted_printable(self) -> None:
        head, body = self.sent(b"", b"p\xe4iv\xe4\n", E7)
        self.assertEqual(
            head,
            b"Content-Transfer-Encoding: quoted-printable\r\n"
            b"Content-Type: text/plain; charset=ISO-8859-1\r\nMIME-Version: 1.0\r\n",
        )
        self.assertEqual(body, b"p=E4iv=E4\r\n")
        self.assertEqual(self.form(COMMON, b"p\xe4iv\xe4\n", E7).conversion, b"UNKNOWN")

    def test_04_utf_8_is_recognised(self) -> None:
        for charset in (b"UTF-8", b"ISO-8859-1"):
            wishes = WISHES._replace(default_charset=charset)
            head, body = self.sent(b"", "päivää\n".encode(), E7, wishes)
            self.assertIn(b"charset=utf-8\r\n", head)
            self.assertEqual(body, b"p=C3=A4iv=C3=A4=C3=A4\r\n")

    def test_04_unknown_8bit_is_the_default(self) -> None:
        for charset in (b"unknown-8bit", b'"no; charset"'):
            head, _ = self.sent(b"", b"p\xe4\n", E7, WISHES._replace(default_charset=charset))
            self.assertIn(b"charset=unknown-8bit\r\n", head)

    def test_05_option_8_sends_raw_and_says_so(self) -> None:
        self.unchanged(b"", b"p\xe4iv\xe4\n", E7, OPT_8)
        form = self.form(COMMON, b"p\xe4iv\xe4\n", E7, OPT_8)
        self.assertFalse(form.eight_bit)
        self.assertIn("option -8", "".join(form.notes))

    def test_06_option_7_converts_for_any_server(self) -> None:
        self.assertEqual(self.sent(b"", b"p\xe4iv\xe4\n", E8, OPT_7), self.sent(b"", b"p\xe4iv\xe4\n", E7))
        self.assertFalse(self.form(COMMON, b"p\xe4iv\xe4\n", E8, OPT_7).eight_bit)

    def test_07_mime_text_to_an_8bitmime_server(self) -> None:
        self.unchanged(T8, TEXT, E8)
        self.assertTrue(self.form(COMMON + T8, TEXT).eight_bit)

    def test_08_and_09_mime_text_becomes_quoted_printable(self) -> None:
        head, body = self.sent(T8, TEXT, E7)
        self.assertEqual(
            head, (MIME + b"Content-Transfer-Encoding: quoted-printable\n").replace(b"\n", b"\r\n")
        )
        self.assertEqual(body, TEXT_QP)
        self.assertEqual(self.form(COMMON + T8, TEXT, E7).conversion, b"QP")

    def test_10_option_7(self) -> None:
        self.assertEqual(self.sent(T8, TEXT, E8, OPT_7), self.sent(T8, TEXT, E7))

    def test_11_option_8(self) -> None:
        self.unchanged(T8, TEXT, E7, OPT_8)
        self.assertFalse(self.form(COMMON + T8, TEXT, E7, OPT_8).eight_bit)

    def test_12_a_clean_8bit_body_keeps_its_label_where_8_bits_may_go(self) -> None:
        self.unchanged(T8, b"ascii\n", E8)
        self.unchanged(T8, b"ascii\n", E7, OPT_8)

    def test_13_a_clean_8bit_body_is_declared_7bit_where_only_7_may(self) -> None:
        """The manual page goes beyond the row: `down-converting 8BIT to 7BIT or QUOTED-PRINTABLE`."""
        for charset in (b"ISO-8859-1", b"UTF-8"):
            fields = T8.replace(b"ISO-8859-1", charset)
            head, body = self.sent(fields, b"ascii\n", E7)
            self.assertEqual(head, fields.replace(b"8BIT", b"7bit").replace(b"\n", b"\r\n"))
            self.assertEqual(body, b"ascii\r\n")
            self.assertEqual(self.sent(fields, b"ascii\n", E8, OPT_7), (head, body))
        self.unchanged(T8 + b"Content-Conversion: prohibited\n", b"ascii\n", E7)
        self.unchanged(T8.partition(b"\n")[2], b"ascii\n", E7)
        self.unchanged(T8.replace(b"8BIT", b"x-8bit"), b"ascii\n", E7)

    def test_14_without_a_content_type(self) -> None:
        head, body = self.sent(b"MIME-Version: 1.0\nContent-Transfer-Encoding: 8BIT\n", TEXT, E7)
        self.assertEqual(
            head,
            b"MIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\n"
            b"Content-Type: text/plain; charset=ISO-8859-1\r\n",
        )
        self.assertEqual(body, TEXT_QP)

    def test_15_parameters_stay_as_they_are(self) -> None:
        media = (
            b'Content-Type: Text/Plain (c); charset="utf-8";\n\tformat=flowed; name="a b.txt"; delsp=yes\n'
        )
        message = self.parsed(
            b"MIME-Version: 1.0\n" + media + b"Content-Transfer-Encoding: 8bit\n", b"\xc3\xa4\n"
        )
        self.assertEqual(
            dict(message["Content-Type"].params),
            {"charset": "utf-8", "format": "flowed", "name": "a b.txt", "delsp": "yes"},
        )
        self.assertEqual(message.get_content(), "ä\n")

    def test_16_and_17_quoted_printable_is_not_decoded_unasked(self) -> None:
        self.unchanged(TQ, b"p=E4\n", E8)
        self.unchanged(TQ, b"p=E4\n", E7)

    def test_18_and_19_option_8_decodes(self) -> None:
        for ability in (E7, E8):
            head, body = self.sent(TQ, b"p=E4iv=e4\n.dot\nsoft=\nbreak\n=46rom\n", ability, OPT_8)
            self.assertEqual(head, (MIME + b"Content-Transfer-Encoding: 8bit\n").replace(b"\n", b"\r\n"))
            self.assertEqual(body, b"p\xe4iv\xe4\r\n.dot\r\nsoftbreak\r\nFrom\r\n")
            form = self.form(COMMON + TQ, b"p=E4\n", ability, OPT_8)
            self.assertEqual(form.conversion, b"8BIT")
            self.assertEqual(form.eight_bit, ability is E8)
            self.assertEqual(bool(form.notes), ability is E7)

    def test_20_option_7_leaves_quoted_printable_alone(self) -> None:
        self.unchanged(TQ, b"p=E4\n", E8, OPT_7)
        self.assertFalse(self.form(COMMON + TQ, b"p=E4\n", E8, OPT_7).eight_bit)

    def test_21_only_plain_text_is_decoded(self) -> None:
        self.unchanged(TQ.replace(b"plain", b"html"), b"<p>=E4</p>\n", E8, OPT_8)

    def test_22_html_is_encoded(self) -> None:
        fields = T8.replace(b"plain", b"html").replace(b"ISO-8859-1", b"utf-8")
        self.assertEqual(self.sent(fields, "<p>ä</p>\n".encode(), E7)[1], b"<p>=C3=A4</p>\r\n")

    def test_23_and_24_multipart(self) -> None:
        fields = b'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="b1"\n'
        fields += b"Content-Transfer-Encoding: 8bit\n"
        part = b"--b1\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n"
        body = part + "ä.\n.dot\n--b1--\n".encode()
        head, text = self.sent(fields, body, E7)
        self.assertEqual(head, fields.replace(b": 8bit", b": 7bit").replace(b"\n", b"\r\n"))
        expected = part.replace(b": 8bit", b": quoted-printable") + b"=C3=A4.\n=2Edot\n--b1--\n"
        self.assertEqual(text, expected.replace(b"\n", b"\r\n"))
        self.assertEqual(self.form(COMMON + fields, body, E7).conversion, b"MPQP")
        self.unchanged(fields, body, E8)

    def test_23_a_multipart_without_an_encoding_gets_none(self) -> None:
        fields = b'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="b1"\n'
        head, _ = self.sent(fields, b"--b1\n\n\xe4\n--b1--\n", E7)
        self.assertEqual(head, fields.replace(b"\n", b"\r\n"))

    def test_25_mime_text_without_an_encoding(self) -> None:
        head, body = self.sent(MIME, TEXT, E7)
        self.assertEqual(
            head, (MIME + b"Content-Transfer-Encoding: quoted-printable\n").replace(b"\n", b"\r\n")
        )
        self.assertEqual(body, TEXT_QP)

    def test_26_base64_is_left_alone(self) -> None:
        for ability in (E7, E8):
            self.unchanged(MIME + b"Content-Transfer-Encoding: base64\n", b"cOQ=\n", ability)

    def test_27_prohibited(self) -> None:
        fields = T8 + b"Content-Conversion: (c) Prohibited\n"
        self.assertIn("prohibited", self.refused(b"5.6.3", fields, TEXT).text)
        self.unchanged(fields, TEXT, E8)
        self.unchanged(fields, TEXT, E7, OPT_8)

    def test_28_dkim(self) -> None:
        fields = b"DKIM-Signature: v=1; a=rsa-sha256; d=x.test; s=s;\n\th=from:to:subject; bh=x; b=y\n" + T8
        self.assertIn("DKIM", self.refused(b"5.6.3", fields, TEXT).text)
        form = self.form(COMMON + fields, TEXT, E8)
        expected = (COMMON + fields + b"\n" + TEXT).replace(b"\n", b"\r\n")
        self.assertEqual(b"".join(form.pieces(stuffed=False)), expected)
        wishes = WISHES._replace(expand_tabs=True)
        octets = b"".join(self.form(COMMON + fields, b"x\n", E8, wishes).pieces(stuffed=False))
        self.assertIn(b"\r\nFrom:\tsender", octets)
        self.assertIn(b"\r\nDate:   Mon", octets)

    def test_29_forced_qp_holds_for_this_message_only(self) -> None:
        fields = T8 + b"Content-Conversion: forced-qp\n"
        self.assertEqual(self.sent(fields, TEXT, E8)[1], TEXT_QP)
        self.assertFalse(self.form(COMMON + fields, TEXT, E8).eight_bit)
        self.unchanged(T8, TEXT, E8)

    def test_30_option_7_with_html(self) -> None:
        self.assertEqual(self.sent(T8.replace(b"plain", b"html"), TEXT, E8, OPT_7)[1], TEXT_QP)

    def test_31_and_33_doubtful_quoted_printable_is_never_decoded(self) -> None:
        for wishes in (WISHES, OPT_8):
            self.unchanged(TQ.partition(b"\n")[2], b"p=E4\n", E8, wishes)
            self.unchanged(
                b"MIME-Version: 1.0\nContent-Transfer-Encoding: quoted-printable\n", b"p=E4\n", E8, wishes
            )

    def test_32_binary(self) -> None:
        fields = MIME + b"Content-Transfer-Encoding: binary\n"
        message = self.parsed(fields, TEXT)
        self.assertEqual(message.get_content(), TEXT.decode("latin-1"))
        self.assertEqual(message["Content-Transfer-Encoding"], "quoted-printable")
        other = fields.replace(b"text/plain", b"application/x-any")
        octets = b"\0\r\n\n\r\xe4\n\0"
        message = self.parsed(other, octets)
        self.assertEqual(message.get_content(), octets)
        self.assertEqual(message["Content-Transfer-Encoding"], "base64")

    def test_32_binary_goes_as_it_is_where_the_server_takes_that(self) -> None:
        fields = MIME.replace(b"text/plain", b"image/x-any") + b"Content-Transfer-Encoding: binary\n"
        octets = b"\0\r\n.\r\n\n\r\xe4" + b"x" * 2000 + b"."
        form = chosen(COMMON + fields, octets, EB)
        assert isinstance(form, Form)
        whole = b"".join(form.pieces(stuffed=False))
        self.assertEqual(whole, ARRIVED + fields.replace(b"\n", b"\r\n") + b"\r\n" + octets)
        self.assertEqual((form.size, form.binary, form.conversion), (len(whole), True, b"NONE"))
        with self.assertRaises(Misuse):
            form.pieces(stuffed=True)

    def test_32_only_what_says_so_goes_as_binary(self) -> None:
        eight = MIME.replace(b"text/plain", b"image/x-any") + b"Content-Transfer-Encoding: 8bit\n"
        for fields in (MIME + b"Content-Transfer-Encoding: binary\n", eight, MIME):
            self.assertFalse(self.form(COMMON + fields, TEXT, EB).binary)
            self.assertEqual(self.sent(fields, TEXT, EB), self.sent(fields, TEXT, E8))

    def test_32_only_the_binary_parts_of_a_multipart_keep_their_octets(self) -> None:
        fields = b'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="b1"\n'
        fields += b"Content-Transfer-Encoding: binary\n"
        head = b"--b1\nContent-Type: text/plain\nContent-Transfer-Encoding: 8bit\n\n\xe4\n--b1\n"
        head += b"Content-Type: image/x-any\nContent-Transfer-Encoding: binary\n\n"
        octets = b"\0\n\r\xe4"
        form = chosen(COMMON + fields, head + octets + b"\n--b1--\n", EB)
        assert isinstance(form, Form)
        expected = (fields + b"\n" + head).replace(b"\n", b"\r\n") + octets + b"\r\n--b1--\r\n"
        self.assertEqual(b"".join(form.pieces(stuffed=False)), ARRIVED + expected)
        self.assertTrue(form.binary)

    def test_32_option_7_encodes_binary_for_any_server(self) -> None:
        fields = MIME.replace(b"text/plain", b"image/x-any") + b"Content-Transfer-Encoding: binary\n"
        self.assertEqual(self.sent(fields, b"\xe4\n", EB, OPT_7), self.sent(fields, b"\xe4\n", E7))

    def test_34_case_and_comments(self) -> None:
        fields = b"mime-version: 1.0\ncontent-type: TEXT/plain (x)\n"
        fields += b"content-transfer-encoding: (c) quoted-printable\n"
        head, body = self.sent(fields, b"p=E4\n", E8, OPT_8)
        self.assertEqual(body, b"p\xe4\r\n")
        self.assertEqual(
            head, b"mime-version: 1.0\r\ncontent-type: TEXT/plain (x)\r\ncontent-transfer-encoding: 8bit\r\n"
        )

    def test_35_a_stated_charset_is_kept(self) -> None:
        head, body = self.sent(b"Content-Type: text/plain; charset=utf-8\n", "ä\n".encode(), E7)
        self.assertEqual(
            head,
            b"Content-Type: text/plain; charset=utf-8\r\n"
            b"Content-Transfer-Encoding: quoted-printable\r\nMIME-Version: 1.0\r\n",
        )
        self.assertEqual(body, b"=C3=A4\r\n")

    def test_36_content_type_as_the_first_field(self) -> None:
        form = self.form(b"Content-Type: text/plain; charset=utf-8\n" + REST, "ä\n".encode(), E7)
        octets = b"".join(form.pieces(stuffed=False))
        self.assertTrue(octets.startswith(b"Content-Type: text/plain; charset=utf-8\r\nFrom:"))
        self.assertIn(b"MIME-Version: 1.0\r\n\r\n=C3=A4\r\n", octets)

    def test_37_no_blank_after_the_colon(self) -> None:
        fields = MIME + b"Content-Transfer-Encoding:8bit\nX-Next: y\n"
        for body, encoding in ((b"ascii\n", b"7bit"), (b"\xe4\n", b"quoted-printable")):
            head, _ = self.sent(fields, body, E7)
            ending = b"\r\nContent-Transfer-Encoding: " + encoding + b"\r\nX-Next: y\r\n"
            self.assertTrue(head.endswith(ending))

    def test_38_and_39_every_connection_starts_from_the_original(self) -> None:
        first = self.sent(T8, TEXT, E7)
        self.unchanged(T8, TEXT, E8)
        self.assertEqual(self.sent(T8, TEXT, E7), first)

    def test_40_decoding_does_not_depend_on_received(self) -> None:
        octets = b"".join(self.form(REST + TQ, b"p=E4\n", E8, OPT_8).pieces(stuffed=False))
        self.assertTrue(octets.endswith(b"Content-Transfer-Encoding: 8bit\r\n\r\np\xe4\r\n"))


class LinesAndEnds(Case):
    """Section 3.2."""

    def test_41_long_lines_without_mime_pass_and_are_logged(self) -> None:
        body = b"x" * 2500 + b"\n" + b"y" * 999 + b"\n"
        self.unchanged(b"", body, E8)
        self.assertIn("998", "".join(self.form(COMMON, body).notes))

    def test_41_long_lines_with_mime_are_encoded(self) -> None:
        body = b"x" * 2500 + b"\n" + b"y" * 999 + b"\n"
        message = self.parsed(MIME, body, E8)
        self.assertEqual(message.get_content(), body.decode())
        self.assertEqual(message["Content-Transfer-Encoding"], "quoted-printable")

    def test_41_long_lines_in_signed_mail_pass(self) -> None:
        fields = b"DKIM-Signature: h=from\n" + MIME
        form = self.form(COMMON + fields, b"x" * 999 + b"\n")
        self.assertEqual(form.conversion, b"NONE")
        self.assertIn("998", "".join(form.notes))

    def test_42_widths(self) -> None:
        body = b"".join(
            [b"a" * 200, b"\n", b"b\xe4" * 60, b"\n", *(b"c" * n + b"\n" for n in (69, 70, 71, 72))]
        )
        lines = self.sent(T8, body, E7)[1].split(b"\r\n")
        self.assertEqual(lines[:3], [b"a" * 71 + b"=", b"a" * 71 + b"=", b"a" * 58])
        self.assertEqual(lines[3], b"b=E4" * 18 + b"=")
        self.assertEqual(lines[7:], [b"c" * 69, b"c" * 70, b"c" * 71, b"c" * 71 + b"=", b"c", b""])

    def test_43_a_missing_line_end(self) -> None:
        self.assertEqual(self.sent(b"", b"one\ntwo")[1], b"one\r\ntwo\r\n")

    def test_44_a_blank_before_a_missing_line_end(self) -> None:
        self.assertEqual(self.sent(T8, b"t\xe4 ", E7)[1], b"t=E4=20\r\n")

    def test_45_empty_bodies(self) -> None:
        self.assertEqual(self.sent(b"", b"")[1], b"")
        self.assertEqual(self.sent(TQ, b"", E8, OPT_8)[1], b"")

    def test_46_a_file_with_cr_lf(self) -> None:
        form = self.form(COMMON, b"a\r\nb\r\n.\r\n")
        self.assertTrue(b"".join(form.pieces(stuffed=True)).endswith(b"\r\n\r\na\r\nb\r\n..\r\n"))

    def test_47_neither_bare_cr_nor_nul_without_mime(self) -> None:
        form = self.form(COMMON, b"a\rb\r.\rc\0\n")
        self.assertTrue(b"".join(form.pieces(stuffed=True)).endswith(b"\r\n\r\na b . c\r\n"))
        self.assertEqual(len(form.notes), 2)

    def test_48_bare_cr_and_nul_with_mime(self) -> None:
        for ability in (E7, E8):
            self.assertEqual(self.sent(T8, b"a\rb\0d\x7f\x0c\xe4\r\n", ability)[1], b"a=0Db=00d=7F=0C=E4\r\n")

    def test_49_dots(self) -> None:
        form = self.form(COMMON, b".\n..\n.a\na.\n\n.\n")
        self.assertTrue(
            b"".join(form.pieces(stuffed=True)).endswith(b"\r\n\r\n..\r\n...\r\n..a\r\na.\r\n\r\n..\r\n")
        )

    def test_50_dots_and_blanks_in_quoted_printable(self) -> None:
        self.assertEqual(
            self.sent(T8, b".\n..\n.\xe4\n \n.\n", E7)[1], b"=2E\r\n=2E.\r\n=2E=E4\r\n=20\r\n=2E\r\n"
        )

    def test_51_one_very_long_line(self) -> None:
        body = b"x" * 66_000 + b"\xe4\n"
        message = self.parsed(T8, body)
        self.assertEqual(message.get_content(), body.decode("latin-1"))
        self.assertLessEqual(max(map(len, self.sent(T8, body, E7)[1].split(b"\r\n"))), 76)


class Decoding(Case):
    """Section 3.3: option -8."""

    def decoded(self, body: bytes) -> bytes:
        return self.sent(TQ, body, E8, OPT_8)[1]

    def kept(self, body: bytes) -> None:
        self.unchanged(TQ, body, E8, OPT_8)
        self.assertIn("not decoded", "".join(self.form(COMMON + TQ, body, E8, OPT_8).notes))

    def test_52_smuggling_by_a_soft_line_break(self) -> None:
        form = self.form(COMMON + TQ, b"a\n=\n.\nNOOP smuggled\n", E8, OPT_8)
        self.assertTrue(b"".join(form.pieces(stuffed=True)).endswith(b"\r\n\r\na\r\n..\r\nNOOP smuggled\r\n"))

    def test_53_encoded_line_ends(self) -> None:
        self.assertEqual(self.decoded(b"a=0D=0Ab\n"), b"a\r\nb\r\n")
        self.kept(b"a=0D=0Ab=0A.=0Ac\n")
        self.kept(b"a=0Db\n")

    def test_54_malformed_escapes(self) -> None:
        self.assertEqual(self.decoded(b"soft=\nbreak\n"), b"softbreak\r\n")
        self.kept(b"soft=\nbreak\nbad =ZZ =4\n")

    def test_55_dots(self) -> None:
        form = self.form(COMMON + TQ, b"=2E\nx=\n.y\n=2Ez\n", E8, OPT_8)
        self.assertTrue(b"".join(form.pieces(stuffed=True)).endswith(b"\r\n\r\n..\r\nx.y\r\n..z\r\n"))

    def test_56_a_soft_break_at_the_end(self) -> None:
        self.assertEqual(self.decoded(b"abc=\nend="), b"abcend\r\n")


class Headers(Case):
    """Section 3.4."""

    def field(self, octets: bytes, wishes: Wishes = WISHES) -> bytes:
        """One more field, as it arrives."""
        head, _ = self.sent(octets, b"hello\n", E8, wishes)
        return head

    def said(self, octets: bytes, wishes: Wishes = WISHES) -> str:
        """What one more field says in the end."""
        head = self.field(octets, wishes)
        self.assertTrue(head.isascii())
        for line in head.split(b"\r\n"):
            self.assertLessEqual(len(line), 76)
            for word in re.findall(rb"=\?[^ ]*\?=", line):
                self.assertLessEqual(len(word), 75)
        value = head.partition(b":")[2].decode("ascii").replace("\r\n", "").strip()
        return str(email.header.make_header(email.header.decode_header(value)))

    def test_57_runs_of_words(self) -> None:
        self.assertEqual(self.said(b"X-A: \xe4\xf6 \xe5\n"), "äö å")

    def test_58_addresses(self) -> None:
        head = self.field(b'To: "J\xf6rg M" <j@x.test>, =?utf-8?q?ok?= <o@x.test>\n')
        message = email.message_from_bytes(head, policy=email.policy.default)
        self.assertEqual(
            [(each.display_name, each.addr_spec) for each in message["To"].addresses],
            [("Jörg M", "j@x.test"), ("ok", "o@x.test")],
        )
        self.assertIn(b" =?utf-8?q?ok?= <o@x.test>", head)

    def test_59_long_words(self) -> None:
        self.assertEqual(self.said(b"X-L: " + b"\xe4" * 40 + b"\n"), "ä" * 40)
        head = self.field(b"X-L: " + "ä".encode() * 40 + b"\n")
        self.assertIn(b"utf-8", head)
        self.assertEqual(
            self.said(b"X-L: " + "ä".encode() * 40 + b" tail\n\tfold\xc3\xa9d\n"), "ä" * 40 + " tail\tfoldéd"
        )
        for _, word, charset in _words(head):
            self.assertEqual(charset, "utf-8")
            word.decode("utf-8")

    def test_60_option_h(self) -> None:
        wishes = WISHES._replace(raw_headers=True)
        self.assertEqual(self.field(b"X-A: \xe4\n", wishes), b"X-A: \xe4\r\n")
        form = self.form(COMMON + b"X-A: \xe4\n", b"x\n", E8, wishes)
        self.assertTrue(form.eight_bit)
        self.assertFalse(form.smtputf8)

    def test_61_with_any_content_type(self) -> None:
        head, _ = self.sent(b"X-A: \xe4\nMIME-Version: 1.0\nContent-Type: text/html\n", b"x\n")
        self.assertIn(b"=?ISO-8859-1?Q?=E4?=", head)

    def test_62_an_8_bit_name(self) -> None:
        self.assertEqual(self.field(b"X-P: 1\nX-J\xf6: v\n w\nX-Q: 2\n"), b"X-P: 1\r\nX-Q: 2\r\n")
        self.assertIn("left out", "".join(self.form(COMMON + b"X-J\xf6: v\n", b"x\n").notes))
        self.refused(b"5.6.3", b"X-J\xf6: v\nDKIM-Signature: h=from; b=x\n", b"x\n", E8)

    def test_63_utf_8_is_recognised(self) -> None:
        self.assertIn(b"=?utf-8?", self.field("X-U: äöü\n".encode()))
        self.assertEqual(self.said("X-U: äöü\n".encode()), "äöü")

    def test_64_control_characters(self) -> None:
        self.assertEqual(self.said(b"X-C: a\x01b\x7fc\n"), "a\x01b\x7fc")
        self.assertEqual(self.field(b"To: a\x01 <b@x.test>\n"), b"To: a  <b@x.test>\r\n")

    def test_65_cr_at_the_end_of_a_field(self) -> None:
        self.assertEqual(self.field(b"X-A: a\r\nX-B: b\rc\n"), b"X-A: a\r\nX-B: b c\r\n")

    def test_66_nul(self) -> None:
        refusal = self.refused(b"4.6.0", b"X-N: a\0b\nX-After: 1\n", b"x\n", E8)
        self.assertIn(str(len(COMMON) + 6), refusal.text)

    def test_67_tabs(self) -> None:
        octets = b"".join(self.form(COMMON, b"", E8, Wishes()).pieces(stuffed=False))
        self.assertIn(b"\r\nFrom:   sender", octets)
        self.assertIn(b"\r\n        id <S1> for <user@sink.example.test>; Mon, 1 Jan", octets)

    def test_68_a_dot_at_the_start_of_a_field(self) -> None:
        form = self.form(COMMON + b".weird: x\n", b"")
        self.assertIn(b"\r\n..weird: x\r\n", b"".join(form.pieces(stuffed=True)))
        self.assertIn(b"\r\n.weird: x\r\n", b"".join(form.pieces(stuffed=False)))

    def test_69_to_72_the_for_clause(self) -> None:
        def first(
            fields: bytes, recipients: Sequence[tuple[bytes, bytes | None]], wishes: Wishes = WISHES
        ) -> bytes:
            octets = b"".join(self.form(fields, b"", E8, wishes, recipients).pieces(stuffed=False))
            return octets.partition(b"\r\nFrom")[0].replace(b"\r\n", b"\n") + b"\n"

        one: tuple[bytes, bytes | None] = (USER, None)
        self.assertEqual(
            first(COMMON, [one]), RECEIVED.replace(b"<S1>", b"<S1> for <user@sink.example.test>")
        )
        self.assertEqual(first(COMMON, [one, one]), RECEIVED)
        self.assertEqual(
            first(COMMON, [(USER, b"rfc822;o+2Br+40x.test")]),
            RECEIVED.replace(b"<S1>", b"<S1> (ORCPT <rfc822;o+r@x.test>)"),
        )
        self.assertEqual(first(COMMON, [one], WISHES._replace(received_for=False)), RECEIVED)
        self.assertTrue(first(REST, [one]).startswith(b"From:\t"))

    def test_73_long_lines(self) -> None:
        words = b"X-Long: " + b" ".join([b"word"] * 300)
        head = self.field(words + b"\n")
        self.assertLessEqual(max(map(len, head.split(b"\r\n"))), 998)
        self.assertEqual(head.replace(b"\r\n", b""), words)
        whole = b"X-Long:\t" + b"x" * 1500 + b"\n"
        self.assertEqual(self.field(whole), whole.replace(b"\n", b"\r\n"))
        self.assertIn("998", "".join(self.form(COMMON + whole, b"").notes))


class SizeAndChunks(Case):
    """Section 3.5; `form` compares size and octets in every case."""

    def test_74_short_lines(self) -> None:
        body = b"a\n" * 3000
        self.assertEqual(self.form(COMMON, body).size, len(ARRIVED) + 2 + 9000)

    def test_75_size_after_encoding(self) -> None:
        form = self.form(COMMON + T8, b"\xe4" * 60 + b"\n", E7)
        fields = len(ARRIVED) + len(T8) + 3 - len("8BIT") + len("quoted-printable")
        self.assertEqual(form.size, fields + 2 + 60 * 3 + 2 * 3 + 2)

    def test_81_a_count_of_both_conversions(self) -> None:
        body = b"." + b"x" * 60 + b"\xe4\n"
        form = self.form(COMMON + b"X-A: \xe4\n" + T8, body * 2000, E7)
        pieces = list(form.pieces(stuffed=False))
        self.assertEqual(sum(map(len, pieces)), form.size)
        self.assertIn(b"\r\n=2Ex", b"".join(pieces))


TEXTS = st.lists(
    st.sampled_from(
        [
            b"a",
            b".",
            b"From ",
            b" ",
            b"\t",
            b"=",
            b"\n",
            b"\n.\n",
            b"\n--b\n",
            b"\xe4",
            b"\xc3\xa4",
            b"x" * 500,
            b"=E4",
        ]
    ),
    max_size=30,
).map(b"".join)
HEADERS = st.sampled_from(
    [
        b"",
        T8,
        TQ,
        MIME,
        T8.replace(b"plain", b"html"),
        MIME + b"Content-Transfer-Encoding: binary\n",
        b"X-A: \xe4 b\n",
    ]
)
ABILITIES = st.sampled_from([E7, E8, Ability(True, True)])
WISHED = st.sampled_from([WISHES, OPT_7, OPT_8, WISHES._replace(raw_headers=True), Wishes()])
OTHERS = [b"X-One: 1", b"x-two:2", b"X-Three: a\n b", b".x: y", b"X-Four :  c  "]


class AnyMessage(Case):
    """Section 3.6."""

    @settings(deadline=None, max_examples=300)
    @given(HEADERS, TEXTS, ABILITIES, WISHED)
    def test_82_what_is_sent_says_what_was_stored(
        self, fields: bytes, body: bytes, ability: Ability, wishes: Wishes
    ) -> None:
        result = chosen(COMMON + fields, body, ability, wishes)
        if isinstance(result, Refusal):
            self.assertFalse(ability.eight_bit_mime and not wishes.seven_bit)
            return
        stored = b"".join(result.pieces(stuffed=False)).replace(b"\r\n", b"\n")
        message = email.message_from_bytes(stored)
        was_encoded = b"PRINTABLE" in fields
        got = message.get_payload(decode=True)
        assert isinstance(got, bytes)
        whole = (
            # The line end that is added completes a soft line break at the very end.
            email.message_from_bytes(
                COMMON + fields + b"\n" + body + b"\n" * (body[-1:] == b"=")
            ).get_payload(decode=True)
            if was_encoded
            else body
        )
        assert isinstance(whole, bytes)
        if whole and not whole.endswith(b"\n"):
            whole += b"\n"
        if got and not got.endswith(b"\n"):
            got += b"\n"
        if was_encoded and result.conversion == b"8BIT":
            # Blanks before a line end are no text, and this decoder keeps them.
            got, whole = (re.sub(rb"[ \t]+\n", b"\n", each) for each in (got, whole))
        self.assertEqual(got.replace(b"\r\n", b"\n"), whole)

    @settings(deadline=None, max_examples=300)
    @given(HEADERS, st.one_of(TEXTS, st.binary(max_size=60)), ABILITIES, WISHED)
    def test_83_and_84_nothing_ends_the_data_and_sizes_are_exact(
        self, fields: bytes, body: bytes, ability: Ability, wishes: Wishes
    ) -> None:
        result = chosen(COMMON + fields, body, ability, wishes)
        if isinstance(result, Refusal):
            return
        self.form(COMMON + fields, body, ability, wishes)
        octets = b"".join(result.pieces(stuffed=True))
        self.assertNotIn(b"\r\n.\r\n", octets)
        self.assertFalse(octets.startswith(b".\r\n"))
        if not (ability.eight_bit_mime or wishes.eight_bit or wishes.raw_headers):
            self.assertTrue(octets.isascii())
        if not octets.isascii() and ability.eight_bit_mime:
            self.assertTrue(result.eight_bit)

    @settings(deadline=None, max_examples=200)
    @given(st.permutations(OTHERS), HEADERS, TEXTS, ABILITIES, WISHED)
    def test_85_other_fields_arrive_as_they_are(
        self, others: list[bytes], fields: bytes, body: bytes, ability: Ability, wishes: Wishes
    ) -> None:
        block = others[0] + b"\n" + fields + b"\n".join(others[1:]) + b"\n"
        result = chosen(block, body, ability, wishes)
        if isinstance(result, Refusal):
            return
        head = (
            b"".join(result.pieces(stuffed=False)).partition(b"\r\n\r\n")[0].replace(b"\r\n", b"\n") + b"\n"
        )
        places = [head.index(other + b"\n") for other in others]
        self.assertEqual(places, sorted(places))

    @settings(deadline=None, max_examples=100)
    @given(HEADERS, TEXTS, ABILITIES, WISHED)
    def test_86_the_way_makes_no_difference(
        self, fields: bytes, body: bytes, ability: Ability, wishes: Wishes
    ) -> None:
        once, again = (chosen(COMMON + fields, body, ability, wishes) for _ in range(2))
        if isinstance(once, Refusal) or isinstance(again, Refusal):
            self.assertEqual(once, again)
            return
        unstuffed = re.sub(rb"(?m)^\.\.", b".", b"".join(once.pieces(stuffed=True)))
        self.assertEqual(unstuffed, b"".join(again.pieces(stuffed=False)))


def _words(head: bytes) -> list[tuple[bytes, bytes, str]]:
    """The encoded words of a header: the word, its octets, its character set."""
    out = []
    for word in re.findall(rb"=\?[^ ]*?\?[QB]\?[^ ?]*\?=", head):
        [(octets, charset)] = email.header.decode_header(word.decode("ascii"))
        assert isinstance(octets, bytes) and charset is not None
        out.append((word, octets, charset))
    return out
