"""Tests of zsmtp.spool.controlfile: files as nobody should write.  Rows: specification, H.2."""

from __future__ import annotations

import time

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.spool.sample import BASE, HEAD, HEADER, RECIPIENT, SENDER, only, reading
from zsmtp.errors import SpoolError
from zsmtp.spool import controlfile
from zsmtp.spool.controlfile import ControlFile, Recipient, parse, read_records

FRAGMENTS = [
    b"@ 0x00000007\n", b"i 77\n", b"o 4\n", b"l x\n", b"v x\n", SENDER, RECIPIENT, HEADER, b"X 1 a\n",
    b"T x\n", b"N NOTIFY=NEVER\n", b"N ORCPT=\n", b"R FULL\n", b"n x\n", b"d 1:2:3::4\t\t\n", b"d ", b"m",
    b"M", b"m\n", b"M\n", b"\n", b"\n\n", b"r", b"r ", b"s", b"i", b"o", b"@", b" ", b"~  4242", b"\0",
    b"\r\n", b'"', b"\\", b"99", b"u@x",
]  # fmt: skip
GARBLED = st.lists(st.sampled_from(FRAGMENTS) | st.binary(max_size=6), max_size=25).map(b"".join)


def record_starts(buffer: bytes) -> list[int] | None:
    """The literal algorithm of the specification, B.3; None where an m block has no end."""
    offsets = [0]
    s = 0
    size = len(buffer)
    while s < size:
        if buffer[s] == 0x0A:
            s += 1
            if s < size:
                offsets.append(s)
                if buffer[s] in b"mM":
                    while not (s + 1 < size and buffer[s] == 0x0A and buffer[s + 1] == 0x0A):
                        s += 1
                        if s >= size:
                            return None
        s += 1
    return offsets


class Segmentation(SynchronousTestCase):
    """Records begin exactly where the scheduler sees them begin."""

    def starts(self, octets: bytes) -> list[int] | None:
        seen: list[int] = []

        def note(reader: object, start: int, end: int) -> None:
            seen.append(start)

        self.patch(controlfile, "_RECORDS", dict.fromkeys(range(256), note))
        try:
            read_records(octets, "77")
        except SpoolError as error:
            if "has no end" in str(error):
                return None
        return seen

    @settings(deadline=None, max_examples=300)
    @given(GARBLED.filter(bool))
    @example(b"\n")
    @example(b"\n\n\n")
    @example(b"a\n\nr\nm\n\n")
    @example(b"a\nm\n\n")
    @example(b"a\nm\n")
    @example(b"m\n\nb")
    @example(b"a\n\nm\nb\n\nc\n")
    def test_any_octets_are_cut_as_the_literal_algorithm_cuts(self, octets: bytes) -> None:
        self.assertEqual(self.starts(octets), record_starts(octets))

    def test_the_example_of_the_specification(self) -> None:
        self.assertEqual(self.starts(BASE), [0, 13, 18, 22, 28, 44, 78])


class Robustness(SynchronousTestCase):
    """No octets make the reader fail otherwise than it should."""

    @settings(deadline=None, max_examples=400)
    @given(GARBLED)
    def test_any_octets_are_read_or_refused(self, octets: bytes) -> None:
        try:
            control = parse(octets, "77")
        except SpoolError as error:
            self.assertTrue(str(error).startswith("77:"), str(error))
            self.assertIn(";", str(error))
            self.assertTrue(error.temporary)
            return
        for recipient in control.recipients:
            if recipient.problem is None:
                self.assertIsNotNone(recipient.sender)
                self.assertIsNotNone(recipient.headers)
                self.assertNotIn(b"\r", recipient.quad.user)
                self.assertNotIn(b"\0", recipient.quad.user)
                self.assertNotIn(recipient.quad.user, (b"", b"-"))
            self.assertEqual(octets[recipient.offset : recipient.offset + 2], b"r%c" % recipient.tag)

    @settings(deadline=None, max_examples=100)
    @given(st.integers(0, len(BASE) - 1))
    def test_a_file_cut_anywhere_gives_no_recipient_that_could_be_sent(self, size: int) -> None:
        try:
            control = parse(BASE[:size], "77")
        except SpoolError:
            return
        self.assertEqual([each for each in control.recipients if each.problem is None], [])

    def test_every_problem_names_line_and_remedy(self) -> None:
        control = reading(b"r smtp\n", b'r           smtp x.org "u 99\n', RECIPIENT)
        self.assertEqual([(each.line, each.offset) for each in control.problems], [(6, 44), (7, 51)])
        for problem in control.problems:
            self.assertIn(";", problem.text)

    def test_a_problem_of_a_recipient_names_file_and_line(self) -> None:
        problem = only(reading(b'r           smtp x.org "u 99\n')).problem
        self.assertEqual(problem, "77:6: the quotes of the address are not balanced; correct the address")

    def test_problems_are_bounded(self) -> None:
        control = reading(b"r smtp\n" * 1000)
        self.assertEqual((len(control.problems), control.overlooked), (101, 1000))
        self.assertIn("not listed", control.problems[-1].text)

    def test_records_are_bounded(self) -> None:
        self.patch(controlfile, "_MOST_RECORDS", 1000)
        error = self.assertRaises(SpoolError, reading, b"q\n" * 70_000)
        self.assertIn("or far more records", str(error))

    def test_recipients_are_bounded(self) -> None:
        self.patch(controlfile, "_MOST_RECIPIENTS", 1000)
        error = self.assertRaises(SpoolError, reading, RECIPIENT * 70_000)
        self.assertIn("more than 1000 recipients", str(error))

    def test_bad_recipients_take_linear_time(self) -> None:
        def seconds(count: int) -> float:
            octets = HEAD + SENDER + b'r           smtp x.org "u 99\n' * count + HEADER + RECIPIENT * count
            start = time.process_time()
            parse(octets, "77")
            return time.process_time() - start

        self.assertLess(min(seconds(8_000), seconds(8_000)), 12 * min(seconds(2_000), seconds(2_000)))


class UnusableFiles(SynchronousTestCase):
    """H.2, files that are refused as a whole."""

    def refused(self, octets: bytes) -> str:
        return str(self.assertRaises(SpoolError, parse, octets, "77"))

    def test_row_36_empty_file(self) -> None:
        self.assertIn("77:1: the file has only 0 records", self.refused(b""))

    def test_row_37_turn_file_is_told_apart(self) -> None:
        self.assertTrue(parse(b"T host 1.2.3.4\n", "77").is_turn)
        self.assertIn("only 2 records", self.refused(b"T host\nq\n"))

    def test_row_38_three_records(self) -> None:
        self.assertIn("only 3 records", self.refused(b"i 77\n" + SENDER + RECIPIENT))

    def test_row_39_forty_lines_of_one_octet(self) -> None:
        self.assertIn("does not name its message file", self.refused(b"a\n" * 40))

    def test_row_40_header_without_its_end(self) -> None:
        self.assertIn("77:7: the header block has no end", self.refused(BASE[:-1]))

    def test_row_51_cr_lf_line_ends(self) -> None:
        self.refused(BASE.replace(b"\n", b"\r\n"))

    def test_row_53_no_message_name(self) -> None:
        self.assertIn("does not name its message file", self.refused(BASE.replace(b"i 77", b"q 77")))

    def test_row_54_traversal_in_the_message_name(self) -> None:
        for name in (
            b"../../etc/passwd",
            b"7/8",
            b"",
            b"x",
            b"77\0",
            b"77\0../../etc/passwd",
            b"77 ",
            b"77\r",
        ):
            self.assertIn("77:2: ", self.refused(BASE.replace(b"i 77", b"i " + name)))

    def test_row_59_unknown_format(self) -> None:
        for text in (b"0x0000000f", b"8", b"010", b"-1", b"0x" + b"0" * 20 + b"7", b"9" * 5000):
            self.assertIn("flags that are not known here", self.refused(BASE.replace(b"0x00000007", text)))

    def test_a_file_that_begins_with_a_header(self) -> None:
        self.assertIn("begins with a header block", self.refused(b"m\nTo: u\n\n" + BASE))
        self.assertIn("begins with a header block", self.refused(b"M\nTo: u\n\n" + BASE))

    def test_an_empty_line_before_a_header(self) -> None:
        self.assertIn(
            "hides a header block", self.refused(HEAD + SENDER + RECIPIENT + b"\n" + HEADER + b"\n")
        )


class UnusableRecords(SynchronousTestCase):
    """H.2, records that are refused alone."""

    def assertPermanent(self, recipient: Recipient, text: str) -> None:
        self.assertIn(text, recipient.problem or "")
        self.assertTrue(recipient.problem_is_permanent)

    def assertTemporary(self, recipient: Recipient, text: str) -> None:
        self.assertIn(text, recipient.problem or "")
        self.assertFalse(recipient.problem_is_permanent)

    def assertOverlooked(self, control: ControlFile, count: int, text: str) -> None:
        self.assertEqual(control.overlooked, count)
        self.assertIn(text, control.problems[0].text)

    def test_row_32_address_of_a_megabyte(self) -> None:
        recipient = only(reading(b"r           smtp x.org " + b"u" * 1_000_000 + b" 99\n"))
        self.assertPermanent(recipient, "longer than 512 octets")
        self.assertEqual(len(recipient.quad.user), 1_000_000)

    def test_row_41_file_cut_within_a_recipient(self) -> None:
        control = parse(HEAD + SENDER + RECIPIENT[:-1], "77")
        self.assertEqual(control.recipients, [])
        self.assertOverlooked(control, 1, "the file ends within this recipient")
        self.assertFalse(control.ends_with_newline)

    def test_row_42_short_recipient(self) -> None:
        control = reading(b"r smtp\n")
        self.assertEqual(control.recipients, [])
        self.assertOverlooked(control, 1, "too short")

    def test_a_finished_short_recipient_needs_nobody(self) -> None:
        self.assertEqual(reading(b"r+smtp\n").overlooked, 0)

    def test_row_43_channel_and_host_only(self) -> None:
        self.assertPermanent(
            only(reading(b"r           smtp x.org\n")), "the address of the recipient is empty"
        )
        self.assertPermanent(
            only(reading(b"r           smtp x.org - 99\n")), "the address of the recipient is empty"
        )

    def test_row_44_unbalanced_quote(self) -> None:
        self.assertPermanent(only(reading(b'r           smtp x.org "u@x.org 99\n')), "quotes of the address")

    def test_an_unquoted_blank_never_sends_to_half_the_address(self) -> None:
        self.assertTemporary(only(reading(b"r           smtp x.org john doe@x.org 99\n")), "quote the blanks")

    def test_row_45_recipient_behind_an_empty_line(self) -> None:
        control = reading(b"\n", RECIPIENT, b"N NOTIFY=NEVER\n")
        self.assertEqual(control.recipients, [])
        self.assertOverlooked(control, 1, "an empty line hides the record after it ('r')")
        self.assertEqual(control.problems[0].line, 6)

    def test_a_parameter_of_a_hidden_recipient_goes_to_nobody(self) -> None:
        control = reading(RECIPIENT, b"\n", RECIPIENT, b"N NOTIFY=NEVER ORCPT=rfc822;evil\n")
        self.assertEqual((only(control).notify, only(control).orcpt), (None, None))

    def test_a_hidden_sender_is_not_replaced_by_the_one_before(self) -> None:
        control = reading(RECIPIENT, b"\n" + SENDER, RECIPIENT, SENDER, RECIPIENT)
        first, second, third = control.recipients
        self.assertTemporary(second, "an empty line hides")
        self.assertEqual((first.problem, second.sender, third.problem), (None, None, None))

    def test_other_hidden_records_are_told(self) -> None:
        control = reading(RECIPIENT, b"\nR FULL\n")
        self.assertEqual((control.ret, control.overlooked, len(control.problems)), (None, 0, 1))

    def test_row_46_recipient_before_any_sender(self) -> None:
        self.assertTemporary(only(reading(RECIPIENT, sender=b"")), "no sender stands before the recipient")

    def test_row_47_recipient_after_the_last_header(self) -> None:
        first, second = parse(BASE + RECIPIENT, "77").recipients
        self.assertIsNone(first.problem)
        self.assertTemporary(second, "no header block follows")
        self.assertIsNone(second.headers)

    def test_a_permanent_problem_is_not_replaced_by_the_missing_header(self) -> None:
        control = parse(BASE + b'r           smtp x.org "u 99\n', "77")
        self.assertPermanent(control.recipients[1], "quotes")

    def test_row_48_an_empty_header_is_delivered_as_it_is(self) -> None:
        recipient = only(reading(RECIPIENT, header=b"m\n\n"))
        assert recipient.headers is not None
        self.assertEqual((recipient.headers.octets, recipient.problem), (b"", None))

    def test_row_49_nul_in_the_header_defers_with_its_offset(self) -> None:
        control = parse(HEAD + SENDER + RECIPIENT + b"m\nTo: \0u\n\n" + SENDER + RECIPIENT + HEADER, "77")
        first, second = control.recipients
        self.assertTemporary(first, "77:8: the header holds a NUL at offset 84")
        self.assertIsNone(second.problem)

    def test_row_50_nul_in_a_recipient(self) -> None:
        for text in (
            b"smtp x.org u\0@x.org 99",
            b"smtp x\0.org u 99",
            b"sm\0tp x.org u 99",
            b"smtp x.org \0 99",
        ):
            self.assertPermanent(only(reading(b"r           " + text + b"\n")), "control characters")
        self.assertTemporary(
            only(reading(b"r           smtp x.org u 9\0009\n")), "is not channel, host, user"
        )

    def test_row_52_cr_at_the_end_of_header_lines_is_kept_for_the_message_room(self) -> None:
        recipient = only(reading(RECIPIENT, header=b"m\nTo: u\r\nX: y\n\n"))
        assert recipient.headers is not None
        self.assertEqual((recipient.headers.octets, recipient.problem), (b"To: u\r\nX: y\n", None))

    def test_row_58_body_offset_that_is_none(self) -> None:
        for text in (b"-5", b"", b"x", b"4\0" + b"5", b"9" * 19, b"0x4"[1:]):
            control = parse(BASE.replace(b"o 4", b"o " + text), "77")
            self.assertTemporary(only(control), "77:3: the body offset is no number")
            self.assertIsNone(control.body_offset)

    def test_row_58_body_offset_with_text_behind_it(self) -> None:
        control = parse(BASE.replace(b"o 4", b"o 12abc"), "77")
        self.assertEqual((control.body_offset, only(control).problem, len(control.problems)), (12, None, 1))

    def test_row_58_no_body_offset(self) -> None:
        self.assertTemporary(only(parse(BASE.replace(b"o 4", b"q 4"), "77")), "the file has no body offset")

    def test_a_permanent_problem_is_not_replaced_by_the_missing_offset(self) -> None:
        recipient = only(parse(BASE.replace(b"o 4", b"q 4").replace(b"u@x.org", b'"'), "77"))
        self.assertPermanent(recipient, "quotes")

    def test_row_60_alternatives_are_kept_in_mind(self) -> None:
        control = reading(b"X           1 smtp x.org u 99\n", b"X+          1 smtp x.org u 99\n")
        self.assertEqual(control.recipients, [])
        self.assertOverlooked(control, 1, "alternative recipients")

    def test_row_61_parameters_without_a_recipient(self) -> None:
        control = reading(
            b"N NOTIFY=NEVER\n", RECIPIENT, b"X           1 smtp x.org u 99\n", b"N ORCPT=rfc822;evil\n"
        )
        self.assertEqual((only(control).notify, only(control).orcpt), (None, None))

    def test_row_61_parameters_stay_with_their_recipient(self) -> None:
        other = b"r~  4242    smtp y.org v@y.org 99\n"
        first, second = reading(RECIPIENT, other, b"N ORCPT=rfc822;v@y.org\n").recipients
        self.assertEqual((first.orcpt, second.orcpt), (None, b"rfc822;v@y.org"))

    def test_a_second_parameter_record_is_ignored(self) -> None:
        control = reading(RECIPIENT, b"N NOTIFY=NEVER\n", b"N NOTIFY=SUCCESS\n")
        self.assertEqual((only(control).notify, len(control.problems)), (8, 1))

    def test_row_66_control_characters_in_an_address(self) -> None:
        for octet in (b"\r", b"\t", b"\x01", b"\x7f"):
            text = b'r           smtp x.org "a%bb"@x.org 99\n' % octet
            self.assertPermanent(only(reading(text)), "control characters")

    def test_row_67_a_line_end_in_an_address_is_a_second_recipient(self) -> None:
        self.assertEqual(len(reading(RECIPIENT, b"r           smtp y.org injected 99\n").recipients), 2)

    def test_row_68_list_of_hosts(self) -> None:
        self.assertTemporary(only(reading(b"r           smtp ((mx1)(mx2)) u@x.org 99\n")), "list of hosts")

    def test_bad_senders_defer_their_recipients(self) -> None:
        self.assertIsNone(only(reading(RECIPIENT, sender=b"s local h a@b\n")).problem)
        for text in (b"s smtp h a\rb 99\n", b"s smtp h <> 99\n", b"s\n", b"s local h john doe 99\n"):
            self.assertTemporary(only(reading(RECIPIENT, sender=text)), "77:5: ")
        too_long = b"s smtp h " + b"a" * 513 + b" 99\n"
        self.assertTemporary(only(reading(RECIPIENT, sender=too_long)), "longer than 512 octets")

    def test_a_good_sender_after_a_bad_one(self) -> None:
        first, second = reading(b"s smtp h <> 99\n", RECIPIENT, SENDER, RECIPIENT).recipients
        self.assertEqual((first.problem is None, second.problem is None), (False, True))

    def test_recipients_without_room_for_a_lock(self) -> None:
        control = reading(b"r smtp example.org u@example.org 99\n", b"r      xsmtp x.org u 99\n")
        self.assertEqual(control.recipients, [])
        self.assertOverlooked(control, 2, "no room for a lock")

    def test_unknown_tags_are_kept_in_mind(self) -> None:
        control = reading(b"r?          smtp x.org u@x.org 99\n")
        self.assertEqual(only(control).tag, ord("?"))
        self.assertOverlooked(control, 1, "the tag of the recipient")

    def test_text_behind_the_type_of_a_header(self) -> None:
        self.assertTemporary(only(reading(RECIPIENT, header=b"mx\nTo: u\n\n")), "text follows the m")

    def test_malformed_diagnostics_are_told(self) -> None:
        for line in (b"d 1:2\n", b"d 44:80:-1::7\tno second tab\n", b"d 44:80:-1::7\t\tcut"):
            control = parse(BASE + line, "77")
            self.assertEqual((control.diagnostics, len(control.problems)), ([], 1))

    def test_where_an_appended_record_would_stand(self) -> None:
        self.assertTrue(parse(BASE, "77").ends_with_newline)
        for tail, boundary in ((b"d 1", 102), (b"\n", 102), (b"q\nd", 104), (b"\n\n\n", 104)):
            control = parse(BASE + tail, "77")
            self.assertEqual((control.boundary, control.ends_with_newline), (boundary, False), tail)
        self.assertTrue(parse(BASE + b"\n\n", "77").ends_with_newline)
