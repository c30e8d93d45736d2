"""DNS messages: what somebody else wrote is read right, and what was written to harm does none."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.destination import MailExchanger, WellKnownServices
from zsmtp.net.dnsmessage import (
    Fit,
    Record,
    Type,
    Unreadable,
    fit,
    is_truncated,
    query,
    read,
    readable,
    wire_name,
)

NAME = wire_name("d.example")
QUERY = query(NAME, Type.MX, 0x1234, case=0)
HEADER = struct.Struct("!HHHHHH")


def reply(*records: str, flags: str = "QR RD RA", code: int = 0, sent: bytes = QUERY) -> bytes:
    """Let dnspython answer a query."""
    message = dns.message.make_response(dns.message.from_wire(sent))
    message.flags = dns.flags.from_text(flags)
    message.set_rcode(dns.rcode.Rcode(code))
    for record in records:
        owner, ttl, kind, data = record.split(" ", 3)
        section = message.authority if kind == "SOA" else message.answer
        section.append(dns.rrset.from_text(owner, int(ttl), "IN", kind, data))
    return message.to_wire(max_size=65535)


def handmade(*records: bytes, answers: int | None = None) -> bytes:
    """Make a reply of records in wire form."""
    count = len(records) if answers is None else answers
    return HEADER.pack(0x1234, 0x8180, 1, count, 0, 0) + QUERY[12:-11] + b"".join(records)


def record(
    data: bytes, kind: int = Type.MX, owner: bytes = b"\xc0\x0c", ttl: int = 300, size: int = -1
) -> bytes:
    """Make a record in wire form; `size` is the length that it claims."""
    return owner + struct.pack("!HHIH", kind, 1, ttl, len(data) if size < 0 else size) + data


class AQueryIsWritten(SynchronousTestCase):
    def test_dnspython_reads_it(self) -> None:
        message = dns.message.from_wire(query(NAME, Type.AAAA, 0xBEEF, authentic=True))
        self.assertEqual(message.id, 0xBEEF)
        self.assertEqual(dns.flags.to_text(message.flags), "RD AD")
        self.assertEqual(message.question[0].to_text(), "d.example. IN AAAA")
        self.assertEqual((message.edns, message.payload), (0, 1232))

    def test_without_edns_and_ad(self) -> None:
        message = dns.message.from_wire(query(NAME, Type.MX, 1, edns=False))
        self.assertEqual((dns.flags.to_text(message.flags), message.edns), ("RD", -1))

    def test_the_case_of_letters_only_follows_the_bits(self) -> None:
        octets = query(wire_name("a1-b_z.example"), Type.MX, 1, case=-1 & 0xFFFFFFFF)
        name = dns.message.from_wire(octets).question[0].name
        self.assertEqual(name.to_text(), "A1-B_Z.EXAMPLE.")
        self.assertIn(b"\x06a1-b_z\x07example\0", query(wire_name("a1-b_z.example"), Type.MX, 1))


class AReplyIsHeldAgainstItsQuery(SynchronousTestCase):
    def test_the_answer_fits(self) -> None:
        self.assertIs(fit(QUERY, reply("d.example. 300 MX 10 mx.example.")), Fit.YES)

    def test_other_identity_question_direction_and_operation_do_not(self) -> None:
        good = reply()
        others = [
            b"\0\0" + good[2:],
            good[:2] + bytes([good[2] & 0x7F]) + good[3:],
            good[:2] + bytes([good[2] | 0x08]) + good[3:],
            good.replace(b"\x01d", b"\x01e"),
            good.replace(b"\x00\x0f\x00\x01", b"\x00\x01\x00\x01"),
            good[:5] + b"\x02" + good[6:],
            good[:12],
            good[:11],
            b"",
            QUERY,
        ]
        self.assertEqual([fit(QUERY, other) for other in others], [Fit.NO] * len(others))

    def test_letters_in_another_case_are_noticed(self) -> None:
        sent = query(NAME, Type.MX, 0x1234, case=-1 & 0xFFFF)
        self.assertIs(fit(sent, reply(sent=sent)), Fit.YES)
        self.assertIs(fit(sent, reply()), Fit.CASE_LOST)

    def test_a_server_that_understood_nothing_may_leave_the_question_out(self) -> None:
        self.assertIs(fit(QUERY, HEADER.pack(0x1234, 0x8181, 0, 0, 0, 0)), Fit.YES)
        self.assertIs(fit(QUERY, HEADER.pack(0x1234, 0x8180, 0, 0, 0, 0)), Fit.NO)

    def test_without_a_question_nobody_says_that_a_name_does_not_exist(self) -> None:
        """The letters' case, which makes forging hard, would not be held against anything."""
        self.assertIs(fit(QUERY, HEADER.pack(0x1234, 0x8183, 0, 0, 0, 0)), Fit.NO)


class AReplyIsRead(SynchronousTestCase):
    def test_records_of_each_type(self) -> None:
        message = read(
            reply(
                "d.example. 300 CNAME E.example.",
                "e.example. 200 MX 10 Mx.Example.",
                "e.example. 200 MX 0 .",
                "e.example. 100 A 192.0.2.1",
                "e.example. 100 AAAA 2001:db8::1",
                "e.example. 100 TXT text",
            )
        )
        other = wire_name("e.example")
        self.assertEqual(
            message.answers,
            (
                Record(NAME, Type.CNAME, 300, other),
                Record(other, Type.MX, 200, MailExchanger(10, "mx.example")),
                Record(other, Type.MX, 200, MailExchanger(0, ".")),
                Record(other, Type.A, 100, IPv4Address("192.0.2.1")),
                Record(other, Type.AAAA, 100, IPv6Address("2001:db8::1")),
                Record(other, 16, 100, None),
            ),
        )

    def test_well_known_services(self) -> None:
        message = read(
            reply(
                "d.example. 300 WKS 192.0.2.1 6 21 25 80",
                "d.example. 300 WKS 192.0.2.1 6 21 80",
                "d.example. 300 WKS 192.0.2.1 6 21",
                "d.example. 300 WKS 192.0.2.1 17 25",
            )
        )
        found = [record.value for record in message.answers]
        self.assertEqual(
            found,
            [
                WellKnownServices(*each)
                for each in ((True, True), (True, False), (True, False), (False, False))
            ],
        )
        (short,) = read(handmade(record(b"\xc0\0\2\1", Type.WKS))).answers
        self.assertIsNone(short.value)

    def test_flags(self) -> None:
        message = read(reply(flags="QR RD"))
        self.assertFalse(message.authoritative or message.recursion_available or message.authentic)
        message = read(reply(flags="QR AA RD RA AD"))
        self.assertTrue(message.authoritative and message.recursion_available and message.authentic)

    def test_a_negative_answer_holds_as_long_as_the_shorter_of_two_times(self) -> None:
        soa = "example. {} SOA ns.example. root.example. 1 3600 600 86400 {}"
        for ttl, minimum in ((60, 30), (30, 60)):
            message = read(reply(soa.format(ttl, minimum), code=3))
            self.assertEqual((message.code, message.authority[0].value), (3, 30))

    def test_codes_beyond_fifteen_come_from_edns(self) -> None:
        self.assertEqual(read(reply(code=16)).code, 16)

    def test_a_ttl_with_the_highest_bit_is_none(self) -> None:
        message = read(handmade(record(b"\xc0\0\2\1", Type.A, ttl=0x80000000)))
        self.assertEqual(message.answers, (Record(NAME, Type.A, 0, IPv4Address("192.0.2.1")),))

    def test_other_classes_are_passed_over(self) -> None:
        good = record(b"\xc0\0\2\1", Type.A)
        chaos = good.replace(b"\x00\x01\x00\x01", b"\x00\x01\x00\x03")
        self.assertEqual(len(read(handmade(chaos, good)).answers), 1)

    def test_other_classes_alone_are_not_an_empty_answer(self) -> None:
        chaos = record(b"\xc0\0\2\1", Type.A).replace(b"\x00\x01\x00\x01", b"\x00\x01\x00\x03")
        with self.assertRaisesRegex(Unreadable, "another class"):
            read(handmade(chaos))

    def test_of_a_truncated_one_only_that_it_is(self) -> None:
        octets = bytearray(handmade(record(b"\xc0\0\2\1", Type.A)))
        octets[2] |= 2
        self.assertTrue(is_truncated(bytes(octets)))
        message = read(bytes(octets[:-9]))
        self.assertEqual((message.truncated, message.answers), (True, ()))
        self.assertFalse(is_truncated(reply()))


class AReplyWasWrittenToHarm(SynchronousTestCase):
    def test_pointer_loops(self) -> None:
        size = len(handmade())
        for data in (b"\xc0" + bytes([size]), b"\xc0\xff", b"\xff\xff", b"\x01a\xc0" + bytes([size])):
            with self.assertRaises(Unreadable):
                read(handmade(record(b"", owner=data)))
        for data in (b"\xc0" + bytes([size + 14]), b"\xff\xff", b"\x01a\xc0" + bytes([size + 14])):
            # In the data it spoils only its own record.
            message = read(handmade(record(b"\0\5" + data)))
            self.assertEqual(message.answers, (Record(NAME, Type.MX, 300, MailExchanger(5, "")),))

    def test_a_long_chain_of_pointers(self) -> None:
        first = len(handmade()) + 11
        chain = b"\xc0\x0c" + b"".join(
            (0xC000 | first + 2 * number).to_bytes(2, "big") for number in range(40)
        )
        octets = handmade(
            record(chain, 16, owner=b"\0"), record(b"\0\5" + (0xC000 | first + 80).to_bytes(2, "big"))
        )
        self.assertEqual(read(octets).answers[1].value, MailExchanger(5, ""))

    def test_names_that_are_too_long(self) -> None:
        long = b"\x3f" + b"a" * 63
        for name in (
            long * 4 + b"\0",
            long * 4 + b"\x2c" + b"a" * 44 + b"\0",
            b"\1a" * 128 + b"\0",
            b"\x40" + b"a" * 64,
        ):
            message = read(handmade(record(b"\0\5" + name)))
            self.assertEqual(message.answers[0].value, MailExchanger(5, ""), name)
        fits = b"\x3f" + b"a" * 63
        name = fits * 3 + b"\x3d" + b"a" * 61 + b"\0"
        self.assertEqual(len(name), 255)
        found = read(handmade(record(b"\0\5" + name))).answers[0].value
        assert isinstance(found, MailExchanger)
        self.assertEqual(len(found.host), 253)

    def test_names_with_anything_in_them(self) -> None:
        """D28: nothing of them is kept."""
        for label in (b"a\r\nb", b"a b", b"a\0b", b"a.b", b"a%sb", b'a"b', b"\xe5"):
            name = bytes([len(label)]) + label + b"\0"
            self.assertEqual(read(handmade(record(b"\0\5" + name))).answers[0].value, MailExchanger(5, ""))

    def test_data_that_does_not_fit_its_type(self) -> None:
        cases = {
            Type.A: [b"", b"\1\2\3", b"\1\2\3\4\5"],
            Type.AAAA: [b"", b"\0" * 15, b"\0" * 17],
            Type.CNAME: [b"", b"\1a", b"\1a\0\0"],
            Type.SOA: [b"", b"\0\0", b"\0\0" + b"\0" * 19, b"\0\0" + b"\0" * 21],
        }
        for kind, data in cases.items():
            for octets in data:
                self.assertIsNone(read(handmade(record(octets, kind))).answers[0].value, (kind, octets))
        for octets in (b"", b"\0", b"\0\5", b"\0\5\1a", b"\0\5\1a\0\0"):
            found = read(handmade(record(octets))).answers[0].value
            assert isinstance(found, MailExchanger)
            self.assertEqual(found.host, "", octets)

    def test_an_alias_may_be_spoiled_too(self) -> None:
        self.assertIsNone(read(handmade(record(b"\xff\xff", Type.CNAME))).answers[0].value)

    def test_counts_and_lengths_beyond_the_end(self) -> None:
        for octets in (
            handmade(answers=1),
            handmade(record(b""), answers=0xFFFF),
            handmade(record(b"\0\5\0", size=400)),
            handmade(record(b"\0\5\0"))[:-5],
            HEADER.pack(1, 0x8180, 9, 0, 0, 0),
            b"",
            b"\0" * 11,
        ):
            with self.assertRaises(Unreadable):
                read(octets)

    def test_64_kib_of_the_worst_kind_take_no_time(self) -> None:
        """dnspython needs 11 s for this."""
        name = b"".join(b"\1" + bytes([97 + number % 26]) for number in range(120)) + b"\0"
        start = HEADER.pack(0x1234, 0x8180, 1, 3400, 0, 0) + name + b"\0\x0f\0\1"
        records = (
            record(struct.pack("!H2sH", number, b"\1a", 0xC00C + 2 * (number % 50))) for number in range(3400)
        )
        message = read(start + b"".join(records))
        self.assertEqual(len(message.answers), 3400)

    @settings(deadline=None, max_examples=300)
    @given(st.binary(max_size=200), st.integers(0, 3), st.integers(0, 3), st.integers(0, 3))
    def test_noise_is_read_or_unreadable(self, noise: bytes, answers: int, authority: int, more: int) -> None:
        octets = HEADER.pack(0x1234, 0x8180, 1, answers, authority, more) + QUERY[12:-11] + noise
        for candidate in (octets, noise):
            fit(QUERY, candidate)
            try:
                message = read(candidate)
            except Unreadable as error:
                self.assertTrue(str(error))
                continue
            for each in (*message.answers, *message.authority):
                self.assertLessEqual(len(each.owner), 255)

    @settings(deadline=None, max_examples=200)
    @given(st.data())
    def test_a_spoiled_octet_breaks_nothing_else(self, data: st.DataObject) -> None:
        octets = bytearray(reply("d.example. 300 MX 10 mx.d.example.", "mx.d.example. 300 A 192.0.2.1"))
        for _ in range(data.draw(st.integers(1, 4))):
            octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
        try:
            read(bytes(octets))
        except Unreadable:
            pass


LABELS = st.lists(st.sampled_from([b"a", b"B-c", b"_d", b"0" * 63, b"xn--e"]), min_size=1, max_size=3)


class SomebodyElseWroteIt(SynchronousTestCase):
    @settings(deadline=None, max_examples=60)
    @given(st.lists(st.tuples(st.integers(0, 65535), LABELS, st.integers(0, 0x7FFFFFFF)), max_size=5))
    def test_each_record_is_read_as_it_was_meant(self, records: list[tuple[int, list[bytes], int]]) -> None:
        message = dns.message.make_response(dns.message.from_wire(QUERY))
        for preference, labels, ttl in records:
            rrset = message.find_rrset(
                message.answer,
                dns.name.from_text("d.example."),
                dns.rdataclass.IN,
                dns.rdatatype.MX,
                create=True,
                force_unique=True,
            )
            name = dns.name.Name([*labels, b""])
            rrset.add(dns.rdata.from_text("IN", "MX", f"{preference} {name.to_text()}"), ttl)
        found = read(message.to_wire(max_size=65535))
        expected = [
            Record(NAME, Type.MX, ttl, MailExchanger(preference, b".".join(labels).decode().lower()))
            for preference, labels, ttl in records
        ]
        self.assertEqual(list(found.answers), expected)

    @settings(deadline=None, max_examples=100)
    @given(LABELS)
    def test_names_go_out_and_come_back(self, labels: list[bytes]) -> None:
        text = b".".join(labels).decode().lower()
        self.assertEqual(wire_name(text), dns.name.from_text(text + ".").to_wire())
        self.assertEqual(readable(wire_name(text)), text)
