"""Tests of zsmtp.spool.controlfile: files as routers write them.  Rows: specification, H.1."""

from __future__ import annotations

import time

from twisted.trial.unittest import SynchronousTestCase

from tests.spool.sample import BASE, HEAD, HEADER, RECIPIENT, SENDER, only, reading
from zsmtp.spool.controlfile import TO_DO, ControlFile, Notify, Sender, parse

EXAMPLE = (
    b"@ 0x00000007\ni 1031\no 579\nl <m1@example.com>\ne alice@example.com\n"
    b"s local alice@example.com alice@example.com 99\n"
    b"r           smtp example.net carol@example.net 99\n"
    b"N NOTIFY=FAILURE,DELAY ORCPT=rfc822;carol@example.net INRCPT=rfc822;carol@example.net "
    b"INFROM=rfc822;alice@example.com\n"
    b"R HDRS\nn QQ314\n"
    b"r           smtp example.net bob@example.net 99\n"
    b"N NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;bob@example.net INRCPT=rfc822;bob@example.net "
    b"INFROM=rfc822;alice@example.com\n"
    b"R HDRS\nn QQ314\n"
    b"m\n"
    b"Received: from client.example.com ([192.0.2.7]) by mta.example.org with ESMTP\n"
    b"\tid <S1031AblDAKAA>; Tue, 1 Apr 2025 13:00:00 +0300\n"
    b"From:\tAlice <alice@example.com>\nTo:\tbob@example.net, carol@example.net\nSubject: hello\n"
    b"Message-Id: <m1@example.com>\nDate:\tTue, 1 Apr 2025 12:00:00 +0200\n\n"
)


def users(control: ControlFile) -> list[bytes]:
    return [recipient.quad.user for recipient in control.recipients]


class WorkedExample(SynchronousTestCase):
    """The file of the specification, B.11."""

    def setUp(self) -> None:
        self.control = parse(EXAMPLE, "N/R/1031")

    def test_message(self) -> None:
        control = self.control
        self.assertEqual((control.name, control.file_id, control.size), ("N/R/1031", 1031, 759))
        self.assertEqual((control.message_name, control.body_offset), (b"1031", 579))
        self.assertEqual(
            (control.log_identity, control.envelope_id, control.ret), (b"<m1@example.com>", b"QQ314", b"HDRS")
        )
        self.assertEqual((control.problems, control.overlooked, control.verbose), ([], 0, None))
        self.assertTrue(control.ends_with_newline)
        self.assertFalse(control.is_turn)

    def test_recipients_in_file_order(self) -> None:
        carol, bob = self.control.recipients
        self.assertEqual(
            (carol.offset, carol.notary_offset, carol.notify), (112, 162, Notify.FAILURE | Notify.DELAY)
        )
        self.assertEqual(
            (bob.offset, bob.notary_offset, bob.notify), (295, 343, Notify.SUCCESS | Notify.FAILURE)
        )
        self.assertEqual(bob.quad, (b"smtp", b"example.net", b"bob@example.net", b"99"))
        self.assertEqual((bob.orcpt, bob.inrcpt), (b"rfc822;bob@example.net", b"rfc822;bob@example.net"))
        self.assertEqual((bob.infrom, bob.ezmlm, bob.deliver_by), (b"rfc822;alice@example.com", None, None))
        self.assertEqual((bob.tag, bob.owner, bob.problem), (TO_DO, b"      ", None))

    def test_they_share_sender_and_header(self) -> None:
        carol, bob = self.control.recipients
        self.assertIs(carol.sender, bob.sender)
        self.assertIs(carol.headers, bob.headers)
        assert bob.sender is not None and bob.headers is not None
        self.assertEqual((bob.sender.offset, bob.sender.is_null, bob.headers.offset), (65, False, 476))
        self.assertTrue(bob.headers.octets.startswith(b"Received: "))
        self.assertTrue(bob.headers.octets.endswith(b"+0200\n"))


class WellFormedFiles(SynchronousTestCase):
    """H.1, as far as reading goes."""

    def test_row_01_base(self) -> None:
        recipient = only(parse(BASE, "77"))
        assert recipient.headers is not None and recipient.sender is not None
        self.assertEqual((recipient.offset, recipient.headers.offset, recipient.notary_offset), (44, 80, -1))
        self.assertEqual(recipient.sender.quad, (b"smtp", b"h", b"a@b", b"99"))
        self.assertIsNone(recipient.notify)
        self.assertEqual(recipient.headers.octets, b"Received: x; y\nTo: u\n")

    def test_row_04_locked_recipients_keep_tag_and_owner(self) -> None:
        recipient = only(reading(b"r~  4242    smtp x.org u@x.org 99\n"))
        self.assertEqual((recipient.tag, recipient.owner), (ord("~"), b"  4242"))

    def test_row_05_finished_recipients_keep_their_tag(self) -> None:
        control = reading(b"r+          smtp x.org a 99\n", b"r-          smtp x.org b 99\n", RECIPIENT)
        self.assertEqual([chr(recipient.tag) for recipient in control.recipients], ["+", "-", " "])
        self.assertEqual(control.overlooked, 0)

    def test_row_06_two_recipients_share_the_header_list(self) -> None:
        first, second = reading(RECIPIENT, RECIPIENT).recipients
        self.assertIs(first.headers, second.headers)

    def test_row_07_recipients_of_several_hosts(self) -> None:
        control = reading(*[b"r           smtp %b u 99\n" % host for host in (b"x.org", b"y.org", b"x.org")])
        self.assertEqual([each.quad.host for each in control.recipients], [b"x.org", b"y.org", b"x.org"])

    def test_row_08_two_groups(self) -> None:
        control = parse(BASE + SENDER + RECIPIENT + b"m\nTo: w\n\n", "77")
        first, second = control.recipients
        self.assertIsNot(first.sender, second.sender)
        self.assertNotEqual(first.sender, second.sender)
        assert first.headers is not None and second.headers is not None
        self.assertEqual(
            (first.headers.octets, second.headers.octets), (b"Received: x; y\nTo: u\n", b"To: w\n")
        )
        self.assertEqual(control.blocks, [first.headers, second.headers])

    def test_row_09_one_header_for_two_senders(self) -> None:
        first, second = reading(RECIPIENT, b"s smtp h c@d 99\n", RECIPIENT).recipients
        self.assertIs(first.headers, second.headers)
        self.assertNotEqual(first.sender, second.sender)

    def test_row_10_the_same_recipient_twice(self) -> None:
        self.assertEqual(users(reading(RECIPIENT, RECIPIENT)), [b"u@x.org"] * 2)

    def test_row_11_null_sender(self) -> None:
        recipient = only(reading(RECIPIENT, sender=b"s error <> <> 99\n"))
        assert recipient.sender is not None
        self.assertTrue(recipient.sender.is_null)
        self.assertIsNone(recipient.problem)
        self.assertFalse(Sender(0, recipient.quad).is_null)

    def test_row_12_quoted_local_part(self) -> None:
        recipient = only(reading(b'r           smtp x.org "john doe"@x.org 99\n'))
        self.assertEqual((recipient.quad.user, recipient.quad.privilege), (b'"john doe"@x.org', b"99"))
        self.assertIsNone(recipient.problem)

    def test_row_13_backslash(self) -> None:
        recipient = only(reading(b"r           smtp x.org a\\ b@x.org 99\n"))
        self.assertEqual((recipient.quad.user, recipient.problem), (b"a\\ b@x.org", None))

    def test_row_14_tabs_between_fields(self) -> None:
        recipient = only(reading(b"r           smtp\tx.org\tu@x.org\t99\n"))
        self.assertEqual((recipient.quad, recipient.problem), ((b"smtp", b"x.org", b"u@x.org", b"99"), None))

    def test_row_15_two_blanks_before_the_privilege(self) -> None:
        recipient = only(reading(b"r           smtp x.org u@x.org  99\n"))
        self.assertEqual((recipient.quad.privilege, recipient.problem), (b"99", None))

    def test_row_16_folded_header(self) -> None:
        header = only(reading(RECIPIENT, header=b"m\nA: b\n\tc\n d\n\n")).headers
        assert header is not None
        self.assertEqual(header.octets, b"A: b\n\tc\n d\n")

    def test_row_17_header_that_starts_with_a_blank_is_kept(self) -> None:
        recipient = only(reading(RECIPIENT, header=b"m\n a\nB: c\n\n"))
        assert recipient.headers is not None
        self.assertEqual((recipient.headers.octets, recipient.problem), (b" a\nB: c\n", None))

    def test_row_18_notify_in_lower_case(self) -> None:
        self.assertEqual(only(reading(RECIPIENT, b"N NOTIFY=never,DELAY\n")).notify, 12)

    def test_row_19_notify_that_nobody_knows(self) -> None:
        recipient = only(reading(RECIPIENT, b"N NOTIFY=BOGUS\n"))
        self.assertEqual(recipient.notify, 0)
        self.assertIsNotNone(recipient.notify)

    def test_notify_ends_at_the_first_unknown_word(self) -> None:
        recipient = only(reading(RECIPIENT, b"N NOTIFY=TRACE,BOGUS,DELAY\n"))
        self.assertEqual(recipient.notify, Notify.TRACE)

    def test_a_later_notify_replaces_an_earlier_one(self) -> None:
        self.assertEqual(only(reading(RECIPIENT, b"N NOTIFY=DELAY NOTIFY=NEVER\n")).notify, Notify.NEVER)

    def test_row_20_unknown_tokens_around_orcpt(self) -> None:
        recipient = only(reading(RECIPIENT, b"N x FOO=1 ORCPT=rfc822;u@x\tBAR ==\n"))
        self.assertEqual((recipient.orcpt, recipient.notify), (b"rfc822;u@x", None))

    def test_row_21_deliver_by(self) -> None:
        self.assertEqual(only(reading(RECIPIENT, b"N BY=-120;RT\n")).deliver_by, (-120, 6))
        self.assertEqual(only(reading(RECIPIENT, b"N by=5;n\n")).deliver_by, (5, 1))
        self.assertEqual(only(reading(RECIPIENT, b"N BY=5;\n")).deliver_by, (5, 0))
        self.assertIsNone(only(reading(RECIPIENT, b"N BY=soon\n")).deliver_by)

    def test_row_22_ezmlm(self) -> None:
        self.assertEqual(only(reading(RECIPIENT, b"N EZMLM=x\n")).ezmlm, b"x")

    def test_row_23_the_last_return_mode_counts(self) -> None:
        self.assertEqual(reading(RECIPIENT, b"R HDRS\nn a\n", RECIPIENT, b"R FULL\nn b\n").ret, b"FULL")

    def test_row_24_diagnostics_are_no_recipients(self) -> None:
        lines = b"d 44:80:-1::1743501600\tu@x\x01failed\t\ttext\rmore\nd+44:80:-1::7\t\t\n"
        control = parse(BASE + lines, "77")
        self.assertEqual((len(control.recipients), control.problems), (1, []))
        first, second = control.diagnostics
        self.assertEqual(first[:6], (102, 0x20, 44, 80, -1, 1743501600))
        self.assertEqual((first.notary, first.text), (b"u@x\x01failed", b"\ttext\rmore"))
        self.assertEqual((second.tag, second.unix_time), (ord("+"), 7))

    def test_row_25_structure_block_is_skipped(self) -> None:
        control = reading(RECIPIENT, b"M\ni 88\nr           smtp x.org evil 99\n\n")
        self.assertEqual((users(control), control.message_name), ([b"u@x.org"], b"77"))

    def test_row_26_unknown_types_are_ignored(self) -> None:
        control = reading(b"q foo\n", b"b x\ne a@b\nx S1\n", RECIPIENT)
        self.assertEqual((users(control), control.problems), ([b"u@x.org"], []))

    def test_row_27_no_format_and_a_prefix_of_twelve(self) -> None:
        control = reading(RECIPIENT, head=b"i 77\no 4\nl <m>\n")
        self.assertEqual((users(control), control.problems), ([b"u@x.org"], []))

    def test_row_28_no_format_and_a_prefix_of_eight(self) -> None:
        control = reading(b"r       smtp x.org u@x.org 99\n", head=b"i 77\no 4\nl <m>\n")
        self.assertEqual((users(control), control.problems), ([b"u@x.org"], []))

    def test_a_delay_slot_may_hold_digits(self) -> None:
        control = reading(b"r       1234smtp x.org u@x.org 99\n", head=b"i 77\no 4\nl <m>\n")
        self.assertEqual((users(control), control.problems), ([b"u@x.org"], []))

    def test_row_29_formats_may_be_octal_and_decimal(self) -> None:
        for text in (b"7", b"07", b"0x7", b" \t0X7 rest", b"+7", b"0", b"", b"x", b"0x"):
            control = reading(RECIPIENT, head=b"@ %b\ni 77\no 4\nl <m>\n" % text)
            self.assertEqual(users(control), [b"u@x.org"], text)

    def test_row_31_a_hundred_thousand_recipients_take_linear_time(self) -> None:
        def seconds(count: int) -> float:
            octets = HEAD + SENDER + RECIPIENT * count + HEADER
            best = 1e9
            for _ in range(2):
                start = time.process_time()
                self.assertEqual(len(parse(octets, "77").recipients), count)
                best = min(best, time.process_time() - start)
            return best

        self.assertLess(seconds(100_000), 10 * seconds(20_000))

    def test_row_33_a_header_line_of_a_megabyte_is_kept(self) -> None:
        header = only(reading(RECIPIENT, header=b"m\nA: " + b"x" * 1_000_000 + b"\n\n")).headers
        assert header is not None
        self.assertEqual(len(header.octets), 1_000_004)

    def test_row_35_path_of_the_session_log(self) -> None:
        self.assertEqual(reading(RECIPIENT, head=HEAD + b"v ../public/v_1\n").verbose, b"../public/v_1")

    def test_fields_default_as_documented(self) -> None:
        control = parse(b"i 77\no 4\n" + SENDER + RECIPIENT + HEADER, "77")
        self.assertEqual((control.log_identity, control.envelope_id, control.ret), (b"none", None, None))

    def test_body_offset_may_stand_between_blanks(self) -> None:
        control = reading(RECIPIENT, head=b"i 77\no  4 \n")
        self.assertEqual((control.body_offset, control.problems), (4, []))

    def test_a_turn_file_names_hosts_only(self) -> None:
        control = parse(b"T x.org 192.0.2.1\n", "9-etrn")
        self.assertEqual((control.is_turn, control.recipients), (True, []))

    def test_values_can_be_keys(self) -> None:
        recipient = only(parse(BASE, "77"))
        assert recipient.headers is not None
        self.assertEqual({recipient: 1, recipient.headers: 2}[recipient], 1)
