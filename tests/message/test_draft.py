"""Tests of zsmtp.message.draft."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator
from email.message import EmailMessage

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.errors import MessageError
from zsmtp.message.draft import HEADER_LIMIT, Origin, author, bounded, completed, read, recipients

ORIGIN = Origin(b"by me; now", b"now", b"<id@me>", b"user@me")


def parted(*pieces: bytes, dot: bool = False) -> tuple[list[bytes], bytes]:
    """Fields and body."""
    draft = read(pieces, dot=dot)
    return draft.fields, b"".join(draft.body)


class Cutting(SynchronousTestCase):
    """Header and body."""

    def test_fields_and_body(self) -> None:
        self.assertEqual(parted(b"A: 1\nB: 2\n 3\n\nbody\n"), ([b"A: 1", b"B: 2\n 3"], b"body\n"))

    def test_cr_lf(self) -> None:
        self.assertEqual(parted(b"A: 1\r\nB: 2\r\n\r\nbody\r\n"), ([b"A: 1", b"B: 2"], b"body\n"))

    def test_no_header(self) -> None:
        self.assertEqual(parted(b"hello world\nA: 1\n"), ([], b"hello world\nA: 1\n"))
        self.assertEqual(parted(b"\nA: 1\n"), ([], b"A: 1\n"))
        self.assertEqual(parted(b" hello\n"), ([], b" hello\n"))

    def test_no_empty_line(self) -> None:
        self.assertEqual(parted(b"A: 1\nhello world\n\nmore\n"), ([b"A: 1"], b"hello world\n\nmore\n"))

    def test_no_body(self) -> None:
        for text in (b"A: 1", b"A: 1\n", b"A: 1\n\n"):
            self.assertEqual(parted(text), ([b"A: 1"], b""))
        self.assertEqual(parted(), ([], b""))

    def test_line_of_a_mailbox_is_left_out(self) -> None:
        self.assertEqual(parted(b"From a@b.org Mon Jan  1 10:00:00 2024\nA: 1\n\nx"), ([b"A: 1"], b"x"))
        self.assertEqual(parted(b"From me to you\n"), ([], b"From me to you\n"))

    def test_nul_and_bare_cr(self) -> None:
        self.assertEqual(parted(b"A: 1\0\r2\n\na\0b\rc\n"), ([b"A: 1 2"], b"ab c\n"))

    def test_endless_first_line_is_text(self) -> None:
        text = b"x" * (3 * HEADER_LIMIT)
        self.assertEqual(parted(text), ([], text))

    def test_header_without_limit_is_refused(self) -> None:
        for text in (b"A: " + b"x" * 2 * HEADER_LIMIT, b"A: 1\n" * HEADER_LIMIT):
            with self.assertRaises(MessageError):
                parted(text)

    def test_body_is_not_held(self) -> None:
        read_so_far = 0

        def pieces() -> Iterator[bytes]:
            nonlocal read_so_far
            yield b"A: 1\n\n"
            for _ in range(100):
                read_so_far += 65536
                yield b"x" * 65536

        draft = read(pieces())
        self.assertLess(read_so_far, 4 * 65536)
        next(draft.body)
        next(draft.body)
        self.assertLess(read_so_far, 6 * 65536)

    @given(st.binary(max_size=60), st.data(), st.booleans())
    @settings(deadline=None, max_examples=300)
    def test_any_split_gives_the_same(self, text: bytes, data: st.DataObject, dot: bool) -> None:
        cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
        pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        self.assertEqual(parted(*pieces, dot=dot), parted(text, dot=dot))

    def test_too_much_is_refused(self) -> None:
        with self.assertRaises(MessageError):
            list(bounded([b"12", b"34"], 3))
        self.assertEqual(list(bounded([b"12", b"3"], 3)), [b"12", b"3"])


class TheDot(SynchronousTestCase):
    """A line with a single dot."""

    def check(self, text: bytes, expected: bytes) -> None:
        for size in (1, 2, 3, 1000):
            pieces = [text[start : start + size] for start in range(0, len(text), size)]
            self.assertEqual(parted(*pieces, dot=True)[1], expected)
        self.assertEqual(parted(text)[1], text.replace(b"\r\n", b"\n").partition(b"\n\n")[2])

    def test_ends_the_message(self) -> None:
        self.check(b"A: 1\n\nx\n.\ny\n", b"x\n")
        self.check(b"A: 1\r\n\r\nx\r\n.\r\ny\r\n", b"x\n")
        self.check(b"A: 1\n\n.\ny\n", b"")
        self.check(b"A: 1\n\nx\n.", b"x\n")

    def test_other_lines_with_dots_do_not(self) -> None:
        self.check(b"A: 1\n\n..\n.x\nx.\n. \ny\n", b"..\n.x\nx.\n. \ny\n")

    def test_in_the_first_line(self) -> None:
        self.assertEqual(parted(b".\nA: 1\n", dot=True), ([], b""))

    def test_in_the_header(self) -> None:
        self.assertEqual(parted(b"A: 1\n.\nB: 1\n\n", dot=True), ([b"A: 1"], b""))


class WhoGetsIt(SynchronousTestCase):
    """Recipients of a header."""

    def test_to_cc_and_bcc(self) -> None:
        fields = [b"From: z@x", b"To: a@x, b@x", b"Cc: c@x", b"BCC: d@x", b"Reply-To: e@x", b"To: f@x"]
        self.assertEqual(recipients(fields), [b"a@x", b"b@x", b"c@x", b"d@x", b"f@x"])

    def test_resent_message_goes_to_those_of_the_newest_block(self) -> None:
        fields = [
            b"Resent-From: me@x",
            b"Resent-To: new@x",
            b"Resent-Bcc: secret@x",
            b"Received: by x",
            b"Resent-From: z@x",
            b"Resent-To: old@x",
            b"To: a@x",
        ]
        self.assertEqual(recipients(fields), [b"new@x", b"secret@x"])
        self.assertEqual(author([b"From: a@x", *fields]), b"me@x")

    def test_second_block_begins_where_a_field_comes_again(self) -> None:
        fields = [b"Resent-From: me@x", b"Resent-To: new@x", b"Resent-From: z@x", b"Resent-To: old@x"]
        self.assertEqual(recipients(fields), [b"new@x"])

    def test_author(self) -> None:
        self.assertEqual(author([b"From: a@x, b@x"]), b"a@x")
        self.assertEqual(author([b"From: a@x, b@x", b"Sender: s@x"]), b"s@x")
        self.assertIsNone(author([b"To: a@x"]))


class Completing(SynchronousTestCase):
    """What is added and taken out."""

    def test_everything_that_is_absent(self) -> None:
        self.assertEqual(
            completed([b"Subject: s"], ORIGIN),
            [b"Received: by me; now", b"Subject: s", b"Date: now", b"Message-ID: <id@me>", b"From: user@me"],
        )

    def test_what_is_there_stays(self) -> None:
        fields = [b"date : then", b"MESSAGE-ID: <x@y>", b"From: a@b"]
        self.assertEqual(completed(fields, ORIGIN)[1:], fields)

    def test_blind_copies_go(self) -> None:
        fields = [b"From: a@b", b"Date: d", b"Bcc: a@x,\n b@x", b"bcc : c@x", b"Message-ID: <m>"]
        self.assertEqual(completed(fields, ORIGIN)[1:], [b"From: a@b", b"Date: d", b"Message-ID: <m>"])

    def test_resent_block(self) -> None:
        fields = [b"X: 1", b"Bcc: q@x", b"Resent-To: a@x", b"Resent-Bcc: b@x", b"Date: d", b"Message-ID: <m>"]
        expected = [
            b"X: 1",
            b"Resent-Date: now",
            b"Resent-Message-ID: <id@me>",
            b"Resent-From: user@me",
            b"Resent-To: a@x",
            b"Date: d",
            b"Message-ID: <m>",
            b"From: user@me",
        ]
        self.assertEqual(completed(fields, ORIGIN)[1:], expected)


NAMES = st.sampled_from(["Subject", "X-One", "To", "Cc", "Bcc", "Comments", "Date", "Message-ID", "From"])
WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12)
TEXT = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
VALUES = st.lists(WORDS, min_size=1, max_size=30).map(" ".join)


class ReadByOthers(SynchronousTestCase):
    """Python's own parser reads the same before and after, but for what is added or taken out."""

    @given(
        st.lists(st.tuples(NAMES, VALUES), max_size=8),
        st.binary(max_size=200),
        st.sampled_from(["\n", "\r\n"]),
    )
    @settings(deadline=None, max_examples=200)
    def test_any_message(self, fields: list[tuple[str, str]], body: bytes, end: str) -> None:
        text = "".join(f"{name}: {value}{end}" for name, value in fields).encode() + end.encode() + body
        before = email.message_from_bytes(text)
        draft = read([text])
        after = email.message_from_bytes(
            b"\n".join(completed(draft.fields, ORIGIN)) + b"\n\n" + b"".join(draft.body)
        )
        added = {"received", "date", "message-id", "from"}
        kept = [(name, value) for name, value in before.items() if name.lower() != "bcc"]
        names = {name.lower() for name, _ in kept}
        self.assertEqual([pair for pair in after.items() if pair[0].lower() not in added - names], kept)
        self.assertLessEqual(added, {name.lower() for name in after})
        expected = body.replace(b"\0", b"")
        if expected.endswith(b"\r"):
            expected += b"\n"
        expected = expected.replace(b"\r\n", b"\n").replace(b"\r", b" ")
        payload = after.get_payload(decode=True)
        self.assertEqual(payload, expected)

    # without NUL, which goes from a text that is not encoded: see `test_any_message`
    @given(st.text(TEXT, max_size=100), st.text("aö漢 \t!", max_size=100), st.binary(max_size=300))
    @settings(deadline=None, max_examples=100)
    def test_mail_with_parts(self, text: str, subject: str, attached: bytes) -> None:
        mail = EmailMessage()
        mail["Subject"], mail["To"] = subject, "bob@example.org"
        mail.set_content(text)
        mail.add_attachment(attached, maintype="application", subtype="octet-stream", filename="x.bin")
        draft = read([mail.as_bytes()])
        whole = b"\n".join(completed(draft.fields, ORIGIN)) + b"\n\n" + b"".join(draft.body)
        after = email.message_from_bytes(whole, policy=email.policy.default)
        self.assertEqual(
            after["Subject"],
            email.message_from_bytes(mail.as_bytes(), policy=email.policy.default)["Subject"],
        )
        shown, file = after.iter_parts()
        self.assertEqual(file.get_content(), attached)
        self.assertEqual(shown.get_content(), next(mail.iter_parts()).get_content())
        self.assertEqual(after.defects, [])
