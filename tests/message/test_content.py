"""Tests of zsmtp.message.content."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.message.content import content, first_word, is_sealed, with_encoding, without_comments


class Comments(SynchronousTestCase):
    """Leaving comments out."""

    def test_they_go_and_words_stay_apart(self) -> None:
        self.assertEqual(without_comments(b"a(b)c").split(), [b"a", b"c"])

    def test_nested_and_escaped_ones(self) -> None:
        self.assertEqual(without_comments(b"a (b (c) \\) d) e").split(), [b"a", b"e"])

    def test_strings_stay(self) -> None:
        self.assertEqual(without_comments(b'"a (b)" (c)').strip(), b'"a (b)"')

    def test_what_is_not_closed_goes_on_to_the_end(self) -> None:
        self.assertEqual(without_comments(b"a (b").strip(), b"a")
        self.assertEqual(without_comments(b'a "b (c)'), b'a "b (c)')
        self.assertEqual(without_comments(b"a) b\\"), b"a) b\\")

    def test_first_word(self) -> None:
        self.assertEqual(first_word(b' (x) "Prohibited"; because'), b"prohibited")
        self.assertEqual(first_word(b" (x)"), b"")

    @settings(deadline=None, max_examples=200)
    @given(st.text(alphabet='ab()\\" ', max_size=30))
    def test_nothing_is_added(self, text: str) -> None:
        left = without_comments(text.encode())
        letters = [octet for octet in left if octet not in b" "]
        position = 0
        for octet in letters:
            position = text.encode().index(octet, position) + 1


class TheFields(SynchronousTestCase):
    """What they say."""

    def test_nothing_said(self) -> None:
        said = content([b"From: x"])
        self.assertEqual((said.type, said.stated, said.encoding, said.doubt), (b"", False, b"7bit", ""))

    def test_type_and_encoding_in_lower_case(self) -> None:
        said = content([b"Content-Type: Text/HTML (c); charset=x", b"content-transfer-ENCODING:8BIT"])
        self.assertEqual(
            (said.type, said.stated, said.encoding, said.doubt), (b"text/html", True, b"8bit", "")
        )
        self.assertFalse(said.is_multipart)
        self.assertFalse(said.has_parts)

    def test_a_type_that_is_none(self) -> None:
        said = content([b"Content-Type: text"])
        self.assertEqual((said.type, said.stated), (b"", True))

    def test_boundaries(self) -> None:
        for parameter, boundary in (
            (b"boundary=abc", b"abc"),
            (b'BOUNDARY = "a;b c"', b"a;b c"),
            (b'x="boundary=no;"; boundary="a\\"b"', b'a"b'),
            (b"charset=x; boundary=(c) abc ; y=z", b"abc"),
        ):
            said = content([b"Content-Type: multipart/mixed; " + parameter])
            self.assertEqual((said.boundary, said.doubt), (boundary, ""))
            self.assertTrue(said.is_multipart)

    def test_no_usable_boundary(self) -> None:
        for parameter in (
            b"",
            b"boundary=",
            b'boundary="a "',
            b"boundary=\xe4",
            b"boundary=a; boundary=b",
            b'x="; boundary=a',
        ):
            self.assertIn("boundary", content([b"Content-Type: multipart/mixed; " + parameter]).doubt)
        self.assertIn("boundary", content([b"Content-Type: multipart/mixed; boundary=" + b"x" * 300]).doubt)

    def test_fields_that_contradict_each_other(self) -> None:
        self.assertIn("several", content([b"Content-Type: text/plain", b"Content-Type: text/html"]).doubt)
        fields = [b"Content-Transfer-Encoding: 8bit", b"Content-Transfer-Encoding: base64"]
        self.assertIn("several", content(fields).doubt)

    def test_fields_that_say_the_same_twice(self) -> None:
        fields = [b"Content-Transfer-Encoding: 8bit", b"Content-Transfer-Encoding: 8BIT"]
        self.assertEqual(content(fields).doubt, "")

    def test_a_very_long_field(self) -> None:
        self.assertIn("too long", content([b"Content-Type: text/plain; x=" + b"y" * 20_000]).doubt)

    def test_what_is_sealed(self) -> None:
        for media in (b"multipart/signed", b"multipart/encrypted", b"application/pkcs7-mime"):
            self.assertTrue(is_sealed(media))
        for media in (b"multipart/mixed", b"application/pgp", b""):
            self.assertFalse(is_sealed(media))


class ANewEncoding(SynchronousTestCase):
    """with_encoding."""

    def test_it_takes_the_place_of_the_old_one(self) -> None:
        fields = [
            b"A: 1",
            b"content-Transfer-encoding:8bit",
            b"Content-Transfer-Encoding: 8bit",
            b"Comment: 2",
            b"",
        ]
        self.assertEqual(
            with_encoding(fields, b"base64"),
            [b"A: 1", b"content-Transfer-encoding: base64", b"Comment: 2", b""],
        )

    def test_or_stands_at_the_end(self) -> None:
        self.assertEqual(with_encoding([b"A: 1"], b"7bit"), [b"A: 1", b"Content-Transfer-Encoding: 7bit"])
