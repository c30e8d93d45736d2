"""What the kernel says of interfaces, as it was said on some machine, and as it never would be."""

from __future__ import annotations

import struct
from ipaddress import ip_address

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.net.devices import Device, device_addresses, read_dump


def attribute(kind: int, octets: bytes) -> bytes:
    """One attribute, padded."""
    return struct.pack("=HH", 4 + len(octets), kind) + octets + bytes(-len(octets) % 4)


def message(kind: int, body: bytes) -> bytes:
    """One message."""
    return struct.pack("=IHHII", 16 + len(body), kind, 2, 1, 0) + body


def link(index: int, name: bytes, flags: int = 1) -> bytes:
    """An interface."""
    return message(16, struct.pack("=BxHiII", 0, 1, index, flags, 0) + attribute(3, name + b"\0"))


def address(
    index: int, text: str, label: bytes = b"", *, flags: int = 0, other_end: str | None = None
) -> bytes:
    """An address of it."""
    value = ip_address(text)
    family, octets = (2, value.packed) if value.version == 4 else (10, value.packed)
    parts = attribute(1, ip_address(other_end).packed if other_end else octets)
    if value.version == 4:
        parts += attribute(2, octets)
    if label:
        parts += attribute(3, label + b"\0")
    return message(20, struct.pack("=BBBBI", family, 24, flags, 0, index) + parts)


LINKS = link(1, b"lo") + link(2, b"eth0") + link(3, b"down0", 0) + message(3, b"")


class TheKernelAnswers(SynchronousTestCase):
    def read(self, *addresses: bytes) -> list[tuple[str, str, str]]:
        return [(d.name, d.label, str(d.address)) for d in read_dump(LINKS, b"".join(addresses))]

    def test_both_families_with_label_or_name(self) -> None:
        found = self.read(
            address(1, "127.0.0.1", b"lo"), address(2, "192.0.2.1", b"eth0:1"), address(2, "2001:db8::1")
        )
        self.assertEqual(
            found,
            [
                ("lo", "lo", "127.0.0.1"),
                ("eth0", "eth0:1", "192.0.2.1"),
                ("eth0", "eth0", "2001:db8::1"),
            ],
        )

    def test_of_a_tunnel_our_end(self) -> None:
        self.assertEqual(self.read(address(2, "192.0.2.1", other_end="192.0.2.2"))[0][2], "192.0.2.1")

    def test_interfaces_that_are_down_or_unknown_have_none(self) -> None:
        self.assertEqual(self.read(address(3, "192.0.2.1"), address(9, "192.0.2.2")), [])

    def test_addresses_that_cannot_be_used_now_are_left_out(self) -> None:
        for flag in (0x20, 0x40, 0x08):
            self.assertEqual(self.read(address(2, "2001:db8::1", flags=flag)), [])

    def test_this_machine_has_its_loopback(self) -> None:
        self.assertIn(Device("lo", "lo", ip_address("127.0.0.1")), device_addresses())

    @settings(deadline=None, max_examples=60)
    @given(st.binary(max_size=300), st.data())
    def test_anything_else_is_passed_over(self, noise: bytes, data: st.DataObject) -> None:
        read_dump(noise, noise)
        good = bytearray(address(2, "192.0.2.1", b"eth0"))
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
        for device in read_dump(LINKS, bytes(good) + noise):
            self.assertIn(device.name, ("lo", "eth0"))
