"""The quick way to read a control file says what the careful way says, or nothing."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.errors import SpoolError
from zsmtp.spool.controlfile import ControlFile, parse, read_records
from zsmtp.spool.routine import read_routine

RECORDS = (
    b"@ 0x00000007\n",
    b"i 1031\n",
    b"o 579\n",
    b"l <m1@example.com>\n",
    b"e alice@example.com\n",
    b"s local alice@example.com alice@example.com 99\n",
    b"r           smtp example.net bob@example.net 99\n",
    b"N NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;bob@example.net INRCPT=rfc822;bob@example.net "
    b"INFROM=rfc822;alice@example.com\n",
    b"R HDRS\n",
    b"n QQ314\n",
    b"m\nReceived: from client.example.com\n\tid <S1031AblDAKAA>\nTo: bob@example.net\n\n",
)
ODD = [b"", b" ", b"\n", b"\0", b"-", b"~", b"\x80", b"1", b"=", b'"', b"\t", b"m\n"]
FILE = b"".join(RECORDS)


def without(*kinds: bytes) -> bytes:
    """The example without the records of these types."""
    return b"".join(record for record in RECORDS if record[:1] not in kinds)


class TheRouterSFiles(SynchronousTestCase):
    """What the router writes for nearly all mail is read the quick way."""

    def assertQuick(self, octets: bytes) -> ControlFile:
        quick = read_routine(octets, "N/R/1031")
        assert quick is not None
        self.assertEqual(quick, read_records(octets, "N/R/1031"))
        return quick

    def test_with_all_records(self) -> None:
        control = self.assertQuick(FILE)
        self.assertEqual(control.recipients[0].notary_offset, FILE.index(b"N NOTIFY"))
        self.assertEqual((control.envelope_id, control.ret), (b"QQ314", b"HDRS"))

    def test_without_the_optional_ones(self) -> None:
        for kind in (b"l", b"e", b"N", b"R", b"n"):
            self.assertQuick(without(kind))
        self.assertQuick(without(b"l", b"e", b"N", b"R", b"n"))

    def test_with_a_recipient_that_is_locked_or_done(self) -> None:
        for mark in (b"r~  4242", b"r+      ", b"r-      "):
            self.assertQuick(FILE.replace(b"r       ", mark))

    def test_with_an_empty_header(self) -> None:
        self.assertQuick(without(b"m") + b"m\n\n")

    def test_null_sender(self) -> None:
        self.assertQuick(FILE.replace(b"s local alice@example.com", b"s error alice@example.com"))


class AllOthers(SynchronousTestCase):
    """Whatever is out of the ordinary is left to the careful way."""

    def assertCareful(self, octets: bytes) -> None:
        self.assertIsNone(read_routine(octets, "1031"), octets)

    def test_another_recipient_or_group(self) -> None:
        self.assertCareful(FILE.replace(RECORDS[6], RECORDS[6] * 2))
        self.assertCareful(FILE + RECORDS[5] + RECORDS[6] + RECORDS[10])

    def test_a_diagnostic_behind(self) -> None:
        self.assertCareful(FILE + b"d 160:1:1::1743501600\tx\ty\n")

    def test_cut_anywhere(self) -> None:
        for end in range(len(FILE)):
            self.assertCareful(FILE[:end])

    def test_flaws(self) -> None:
        self.assertCareful(FILE.replace(b"bob@example.net 99", b"- 99"))
        self.assertCareful(FILE.replace(b"bob@example.net 99", b"b" * 513 + b" 99"))
        self.assertCareful(FILE.replace(b"smtp example.net", b"smtp ((a)(b))"))
        self.assertCareful(FILE.replace(b"alice@example.com 99", b"<> 99"))
        self.assertCareful(FILE.replace(b"To: bob", b"To: \0bob"))
        self.assertCareful(FILE.replace(b"i 1031", b"i ../1031"))

    @settings(max_examples=300, deadline=None)
    @given(st.data())
    def test_where_both_read_a_file_they_read_the_same(self, data: st.DataObject) -> None:
        octets = bytearray(FILE)
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(0, len(octets) - 1))
            new = data.draw(st.sampled_from(ODD))
            octets[at : at + data.draw(st.integers(0, 2))] = new
        mutant = bytes(octets)
        quick = read_routine(mutant, "1031")
        if quick is None:
            return
        self.assertEqual(quick, read_records(mutant, "1031"))
        self.assertEqual(quick, parse(mutant, "1031"))

    def test_a_name_that_is_none(self) -> None:
        self.assertRaises(SpoolError, read_routine, FILE, "x")
