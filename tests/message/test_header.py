"""Tests of zsmtp.message.header."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.message import header
from zsmtp.message.header import Signed

RECEIVED = (
    b"Received: from client.example.test ([192.0.2.7]:4321) by vm.example.test with ESMTP\n"
    b"\tid <S1>; Mon, 1 Jan 2024 10:00:00 +0000"
)


class Fields(SynchronousTestCase):
    """Cutting a block."""

    def test_a_folded_field_stays_whole(self) -> None:
        self.assertEqual(header.split(b"A: 1\n 2\n\t3\nB: 4\n"), [b"A: 1\n 2\n\t3", b"B: 4"])

    def test_an_empty_block_has_none(self) -> None:
        self.assertEqual(header.split(b""), [])

    def test_the_first_line_starts_a_field_even_with_a_blank(self) -> None:
        self.assertEqual(header.split(b" x\nB: 4\n"), [b" x", b"B: 4"])

    def test_names_are_compared_without_case_and_blanks(self) -> None:
        self.assertEqual(header.name(b"Content-TYPE \t: x"), b"content-type")

    def test_what_has_no_colon_in_its_first_line_has_no_name(self) -> None:
        self.assertEqual(header.name(b"nonsense\n a: b"), b"")
        self.assertEqual(header.name(b"nonsense"), b"")

    def test_value_is_unfolded(self) -> None:
        self.assertEqual(header.value(b"A:  x\n\ty  "), b"x\ty")

    def test_named_gives_all_in_order(self) -> None:
        self.assertEqual(header.named([b"A: 1", b"B: 2", b"a: 3"], b"a"), [b"A: 1", b"a: 3"])

    def test_the_end_of_the_first_field(self) -> None:
        self.assertEqual(header.first_end(b"A: 1\n 2\nB: 3\n"), 7)
        self.assertEqual(header.first_end(b"A: 1"), 4)
        self.assertEqual(header.first_end(b"A: 1\n"), 4)


class Signatures(SynchronousTestCase):
    """Which fields are covered."""

    def test_without_one_nothing_is(self) -> None:
        signed = Signed([b"From: a", b"Date: b"])
        self.assertFalse(signed.present)
        self.assertFalse(signed.covers(b"From: a"))

    def test_what_dkim_lists_and_the_signature_itself(self) -> None:
        signed = Signed([b"dkim-signature: v=1; bh=x; h=From:To :\n\tSubject; b=h=y"])
        self.assertTrue(signed.present)
        self.assertFalse(signed.everything)
        for field in (b"FROM: a", b"to: b", b"Subject: c", b"DKIM-Signature: d"):
            self.assertTrue(signed.covers(field))
        self.assertFalse(signed.covers(b"Received: e"))

    def test_what_arc_lists(self) -> None:
        signed = Signed([b"ARC-Seal: i=1; b=x", b"ARC-Message-Signature: i=1; h=from:received; b=x"])
        self.assertTrue(signed.covers(b"Received: a"))
        self.assertTrue(signed.covers(b"ARC-Seal: b"))
        self.assertFalse(signed.covers(b"To: c"))

    def test_a_signature_without_a_list_covers_everything(self) -> None:
        self.assertTrue(Signed([b"DKIM-Signature: nonsense"]).covers(b"X-Any: 1"))

    def test_a_name_that_only_begins_alike_is_no_signature(self) -> None:
        self.assertFalse(Signed([b"DKIM-Signature-Old: h=from", b"Date: x", b""]).present)


class Cleaning(SynchronousTestCase):
    """Line ends of a block."""

    def test_a_clean_block_stays_as_it_is(self) -> None:
        self.assertEqual(header.clean(b"A: 1\n\t2\nB: 3\n"), b"A: 1\n\t2\nB: 3\n")

    def test_cr_lf_is_a_line_end_and_a_lone_cr_a_blank(self) -> None:
        self.assertEqual(header.clean(b"A: a\r\nB: b\rc\nC: d\r"), b"A: a\nB: b c\nC: d\n")

    def test_a_line_of_cr_does_not_end_the_header(self) -> None:
        self.assertEqual(header.clean(b"\r\nA: 1\n\r\r\n\rB: 2\n\r\n\r\n"), b"A: 1\nB: 2\n")

    def test_a_missing_line_end_is_added(self) -> None:
        self.assertEqual(header.clean(b"A: 1"), b"A: 1\n")

    @settings(deadline=None, max_examples=200)
    @given(st.lists(st.sampled_from([b"A:", b" ", b"\n", b"\r", b"x", b"\t"])).map(b"".join))
    def test_no_cr_and_no_empty_line_survive(self, block: bytes) -> None:
        text = header.clean(block)
        self.assertNotIn(b"\r", text)
        self.assertNotIn(b"\n\n", text)
        self.assertFalse(text.startswith(b"\n"))
        self.assertEqual(text[-1:], b"\n" if text else b"")


class Tabs(SynchronousTestCase):
    """RFC822TABS=0."""

    def test_they_become_blanks_counted_anew_in_each_line(self) -> None:
        fields = header.expanded([b"From:\tx", b"Subject: a\n\tb\tc"], Signed([]))
        self.assertEqual(fields, [b"From:   x", b"Subject: a\n        b       c"])

    def test_not_in_fields_that_a_signature_lists(self) -> None:
        fields = [b"From:\tx", b"To:\ty", b"DKIM-Signature: h=from;\n\tb=z"]
        self.assertEqual(header.expanded(fields, Signed(fields)), [fields[0], b"To:     y", fields[2]])


class Folding(SynchronousTestCase):
    """Lines above 998 octets."""

    def test_a_line_is_folded_at_the_last_blank_that_fits(self) -> None:
        field = b"X-Long: " + b" ".join([b"word"] * 400)
        result = header.folded(field)
        self.assertLessEqual(max(map(len, result.split(b"\n"))), 998)
        self.assertEqual(result.replace(b"\n", b""), field)
        self.assertEqual(result.count(b"\n"), 2)

    def test_a_line_without_a_blank_stays(self) -> None:
        field = b"X-Long:\t" + b"x" * 1500
        self.assertEqual(header.folded(field), field)

    def test_only_the_long_line_changes(self) -> None:
        field = b"X: a\n " + b"y" * 600 + b"\t" + b"z" * 600 + b"\n b"
        self.assertEqual(header.folded(field), b"X: a\n " + b"y" * 600 + b"\n\t" + b"z" * 600 + b"\n b")

    def test_blanks_at_the_end_do_not_become_a_line(self) -> None:
        for field in (b"X: a" + b" " * 2000, b"X: " + b"a" * 990 + b" " * 2000, b"X:" + b" " * 2000 + b"a"):
            self.assertEqual(header.folded(field), field)

    def test_many_blanks_stay_together(self) -> None:
        field = b"X: " + b"a" * 900 + b" " * 50 + b"b" * 90
        self.assertEqual(header.folded(field), b"X: " + b"a" * 900 + b"\n" + b" " * 50 + b"b" * 90)

    @settings(deadline=None, max_examples=100)
    @given(st.lists(st.sampled_from([b"a", b" ", b"\t", b"x" * 300, b" " * 400, b"y" * 997])).map(b"".join))
    def test_unfolding_gives_the_field_back(self, text: bytes) -> None:
        result = header.folded(b"X:" + text)
        self.assertEqual(result.replace(b"\n", b""), b"X:" + text)
        for line in result.split(b"\n")[1:]:
            self.assertIn(line[:1], (b" ", b"\t"))
            self.assertTrue(line.strip(b" \t"))


class TheForClause(SynchronousTestCase):
    """Received names the only recipient."""

    def check(
        self, clause: bytes, user: bytes = b"user@sink.example.test", orcpt: bytes | None = None
    ) -> None:
        expected = RECEIVED.replace(b"; Mon", clause + b" Mon" if clause.endswith(b";") else clause + b"Mon")
        self.assertEqual(header.with_for(RECEIVED, user, orcpt), expected)

    def test_it_stands_before_the_date(self) -> None:
        self.check(b" for <user@sink.example.test>;")

    def test_it_is_folded_where_the_line_would_be_too_long(self) -> None:
        user = b"x" * 60 + b"@sink.example.test"
        self.check(b"\n\tfor <" + user + b">;\n\t", user)

    def test_the_date_moves_to_the_next_line_if_only_it_is_too_much(self) -> None:
        field = b"Received: from a.test by b.test with ESMTP id S1;\n\tMon, 1 Jan 2024 10:00:00 +0000"
        self.assertEqual(header.with_for(field, b"u@x.test", None), field.replace(b";", b" for <u@x.test>;"))

    def test_orcpt_is_decoded(self) -> None:
        self.check(b" (ORCPT <rfc822;o+r@x.test>);", orcpt=b"rfc822;o+2Br+40x.test")

    def test_a_field_without_a_date_gets_it_at_the_end(self) -> None:
        self.assertEqual(header.with_for(b"Received: by x", b"u", None), b"Received: by x for <u>")
        self.assertEqual(header.with_for(b"Received: by x;", b"u", None), b"Received: by x for <u>;")

    def test_unsafe_addresses_are_not_written(self) -> None:
        for user in (b"", b"a b@x", b"a@x>", b"<a@x", b"a\n@x", b"\xe4@x", b"a" * 400):
            self.check(b";", user)
        for original in (b"", b"a+20b", b"a+0Ab", b"(x", b"x)", b"+5Cx", b"+3Ex"):
            self.check(b";", orcpt=b"rfc822;" + original if original else b"")

    def test_a_field_that_has_a_clause_or_is_not_received_stays(self) -> None:
        for field in (b"Received: by x for <a@b>; date", b"Received: by x\n\tfor <a@b>; date", b"From: x;y"):
            self.assertEqual(header.with_for(field, b"u@x", None), field)
