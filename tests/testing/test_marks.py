"""Control files are read, and what was done to them is judged, without zsmtp.spool."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zsmtp.testing.marks import changes, diagnostics, fields, recipients, records

FILE = (
    b"@ 0x00000007\ni 1031\no 579\n"
    b"s local alice@example.com alice@example.com 99\n"
    b"r           smtp example.net carol@example.net 99\nN NOTIFY=NEVER\n"
    b'r~  4242    smtp example.net "bob smith"@example.net -2\n'
    b"m\nSubject: hello\n\n"
)
CAROL = FILE.index(b"r  ")
BOB = FILE.index(b"r~")
N_LINE = FILE.index(b"N NOTIFY")
HEADERS = FILE.index(b"m\nSub") + 2
NOTARY = (
    b"carol@example.net\x01failed\x015.1.1\x01smtp; 550 (no)\x01dns; mx.example (192.0.2.25)\x01smtp[4242]"
)


def told(offset: int = CAROL, header: int = HEADERS, line: int = N_LINE, notary: bytes = NOTARY) -> bytes:
    return b"d %d:%d:%d::1743501600\t%s\t\r<<- RCPT\r->> 550 no\n" % (offset, header, line, notary)


def marked(octets: bytes, offset: int, mark: bytes) -> bytes:
    return octets[: offset + 1] + mark + octets[offset + 8 :]


class Reading(SynchronousTestCase):
    """Records, recipients and diagnostics."""

    def test_headers_are_one_record(self) -> None:
        self.assertEqual(records(FILE)[-1], (HEADERS - 2, b"m\nSubject: hello\n"))
        self.assertEqual(
            [text[:1] for _, text in records(FILE)], [b"@", b"i", b"o", b"s", b"r", b"N", b"r", b"m"]
        )

    def test_empty_line_hides_the_record_after_it(self) -> None:
        self.assertEqual(records(b"a\n\nr x\nb\n"), [(0, b"a"), (2, b"\nr x"), (7, b"b")])

    def test_block_without_an_end_takes_the_rest(self) -> None:
        self.assertEqual(records(b"a\nm\nb\nc"), [(0, b"a"), (2, b"m\nb\nc")])

    def test_last_line_may_lack_its_end(self) -> None:
        self.assertEqual(records(b"a\nb"), [(0, b"a"), (2, b"b")])
        self.assertEqual(records(b""), [])

    def test_recipients_have_mark_and_quad(self) -> None:
        carol, bob = recipients(FILE)
        self.assertEqual(
            (carol.offset, carol.tag, carol.owner, carol.host), (CAROL, b" ", b" " * 6, b"example.net")
        )
        self.assertEqual(
            (bob.tag, bob.owner, bob.user, bob.privilege),
            (b"~", b"  4242", b'"bob smith"@example.net', b"-2"),
        )

    def test_incomplete_recipient_has_no_channel(self) -> None:
        for line in (b"r smtp", b"r           smtp host", b'r           smtp host "u 99', b"r"):
            (found,) = recipients(b"s\n" + line + b"\n")
            self.assertEqual((found.offset, found.channel), (2, b""), line)

    def test_diagnostics_are_split(self) -> None:
        (line,) = diagnostics(FILE + told() + b"d garbage\n")
        self.assertEqual(
            (line.recipient, line.header, line.notary_line, line.time), (CAROL, HEADERS, N_LINE, 1743501600)
        )
        self.assertEqual((len(line.notary), line.notary[0], line.tag), (6, b"carol@example.net", b" "))
        self.assertEqual(fields(b"a\x01b"), (b"a", b"b"))


class Judging(SynchronousTestCase):
    """What an agent did to a file."""

    def problem(self, after: bytes, before: bytes = FILE) -> str:
        (problem,) = changes(before, after)
        return problem

    def test_marks_and_diagnostics_are_allowed(self) -> None:
        for mark in (b"~   123", b"+      ", b"-      ", b"       ", b"~999999"):
            self.assertEqual(changes(FILE, marked(FILE, CAROL, mark)), [], mark)
        after = marked(FILE, CAROL, b"-      ") + told() + told(line=-1, header=-1)
        self.assertEqual(changes(FILE, after), [])

    def test_other_marks_are_not(self) -> None:
        for mark in (b"*      ", b"+   123", b"~      ", b" 123   ", b"~12  34"):
            self.assertIn(
                f"the mark of the recipient at {CAROL}", self.problem(marked(FILE, CAROL, mark)), mark
            )

    def test_other_octets_are_not(self) -> None:
        self.assertIn("the octets at 2 changed", self.problem(FILE.replace(b"@ 0x", b"@ 1x")))
        self.assertIn("changed", self.problem(FILE.replace(b"carol", b"mator")))

    def test_short_line_has_no_room_for_a_mark(self) -> None:
        before = b"@ 7\nr smtp\ns\n"
        self.assertIn("changed", self.problem(before.replace(b"r smtp", b"r+smtp"), before))
        before = b"@ 7\nr smt"
        self.assertIn("changed", self.problem(before.replace(b"r smt", b"r+smt"), before))

    def test_file_must_not_shrink(self) -> None:
        self.assertIn("shrank", self.problem(FILE[:-1]))

    def test_line_without_an_end_gets_one_first(self) -> None:
        before = FILE + b"x"
        self.assertEqual(changes(before, before + b"\n" + told()), [])
        self.assertIn("without an end", self.problem(before + told(), before))

    def test_empty_line_at_the_end_would_hide_what_follows_it(self) -> None:
        before = FILE + b"x\n\n"
        self.assertEqual(changes(before, before + b"\n" + told()), [])
        self.assertIn("without an end", self.problem(before + told(), before))

    def test_appended_lines_are_whole(self) -> None:
        self.assertIn("has no line end", self.problem(FILE + told()[:-1]))

    def test_appended_lines_are_diagnostics(self) -> None:
        for line in (b"r x\n", b"d 1\n", told().replace(b"::", b":"), told().replace(b"\t", b" ", 1)):
            self.assertIn("is no diagnostic", self.problem(FILE + line), line)

    def test_diagnostics_name_what_exists(self) -> None:
        self.assertIn("is about no recipient", self.problem(FILE + told(offset=7)))
        self.assertIn("names headers where there are none", self.problem(FILE + told(header=7)))
        self.assertIn("names an N line where there is none", self.problem(FILE + told(line=CAROL)))

    def test_notary_has_six_sub_fields(self) -> None:
        for notary in (b"", NOTARY.rpartition(b"\x01")[0], NOTARY + b"\x01x"):
            self.assertIn("sub-fields, not six", self.problem(FILE + told(notary=notary)), notary)

    def test_control_characters_are_found(self) -> None:
        self.assertIn("control characters", self.problem(FILE + told().replace(b"550 no\n", b"550\0no\n")))
