"""The scheduler's lines, zmailer.conf, the hosts file and resolv.conf, and destinations."""

from __future__ import annotations

import atexit
import os
import tempfile
from pathlib import Path

from tests.fuzz.target import Target
from zsmtp.destination import Literal, Name, Unix, target
from zsmtp.errors import ConfigError
from zsmtp.feed import LINE_OCTETS, PATH_OCTETS, Feed, FeedReader, Note
from zsmtp.net.systemfiles import read_hosts, read_resolv_conf
from zsmtp.spool.zenv import ZEnvironment
from zsmtp.target import host_name
from zsmtp.trouble import Trouble

__all__ = ["DESTINATION", "FEED", "SYSTEM", "ZENV"]


def _check_feed(octets: bytes) -> None:
    """Cut in any way the same orders come, one for each line."""
    whole = FeedReader().receive(octets)
    assert len(whole) == octets.count(b"\n")
    for step in (1, 7):
        reader = FeedReader()
        pieces = [
            order for at in range(0, len(octets), step) for order in reader.receive(octets[at : at + step])
        ]
        assert pieces == whole
        assert len(reader._partial) <= LINE_OCTETS
    for order in whole:
        if isinstance(order, Feed):
            assert 0 < len(order.path) <= PATH_OCTETS
            assert not set(order.path + (order.host or b"")) & set(b"\n\0")
        else:
            assert order in Note


class _File:
    """A file for one content after the other."""

    def __init__(self) -> None:
        self._path = ""

    def holding(self, octets: bytes) -> str:
        """Write it, and give its name."""
        if not self._path:
            handle, self._path = tempfile.mkstemp(prefix="zsmtp-fuzz.")
            os.close(handle)
            atexit.register(os.unlink, self._path)
        Path(self._path).write_bytes(octets)
        return self._path


_file = _File()


def _check_zenv(octets: bytes) -> None:
    try:
        found = ZEnvironment.load(_file.holding(octets))
    except ConfigError as error:
        assert str(error).isprintable()
        return
    for line in octets.split(b"\n"):
        name, equals, _ = line.partition(b"=")
        got = found.get(name.decode("latin-1"))
        assert (got is not None) >= bool(equals)
        assert got is None or b"\n" not in got


def _check_system(octets: bytes) -> None:
    for name, addresses in read_hosts(octets).addresses.items():
        assert name == name.lower()
        assert addresses
    found = read_resolv_conf(octets)
    assert 1 <= len(found.servers) <= 8
    assert 0 < found.timeout <= 30
    assert 1 <= found.attempts <= 5
    assert all(name == host_name(name.encode().split(b".")) for name in found.search)


def _check_destination(octets: bytes) -> None:
    for forced in (False, True):
        match target(octets, forced=forced):
            case Name(name):
                assert name == host_name(name.encode().split(b".")) != ""
            case Literal(_, port, text):
                assert port is None or 1 <= port <= 65535
                assert text.isascii()
                assert text.isprintable()
            case Unix(path):
                assert forced
                assert "\0" not in path
            case Trouble(_, text_of_trouble):
                assert text_of_trouble.decode("ascii").isprintable()


FEED = Target(
    "feed",
    [b"A/1000001\texample.net\n1000002\n#idle\n\n", b"1\tx\n2\ty", b"#x\n1\t\n"],
    [b"\n", b"\t", b"#idle\n", b"#", b"\0", b"\r", b"x" * 5000, b"/", b".."],
    _check_feed,
    longest=100_000,
)
ZENV = Target(
    "zenv",
    [b"# mail\nPOSTOFFICE=/var/spool/postoffice\nSELFADDRESSES=1.2.3.4,[::1]\nA = b\nexport A\n"],
    [b"=", b"\n", b"\0", b"POSTOFFICE=", b" ", b"\xff", b"'"],
    _check_zenv,
)
SYSTEM = Target(
    "system",
    [
        b"127.0.0.1 localhost\n::1 localhost ip6-localhost # x\n192.0.2.1\tMX.Example mx\n",
        b"nameserver 192.0.2.1\nnameserver ::1\nsearch a.example b.example\n"
        b"options timeout:3 attempts:2 ndots:1\n",
    ],
    [
        b"nameserver ",
        b"options ",
        b"timeout:",
        b"search ",
        b"domain ",
        b"#",
        b"\n",
        b"\0",
        b"\xff",
        b"%eth0",
        b"::",
    ],
    _check_system,
)
DESTINATION = Target(
    "destination",
    [
        b"example.net",
        b"[192.0.2.1]:25",
        b"[ipv6.2001:db8::1]:25",
        b"UNIX:/var/run/lmtp",
        b"gr\xc3\xbc\xc3\x9fe.example",
    ],
    [
        b"[",
        b"]",
        b":",
        b".",
        b"ipv6.",
        b"UNIX:/",
        b"\0",
        b"\r\n",
        b"%s",
        b"xn--",
        b"\xc3\xbc",
        b"x" * 64,
        b'"',
    ],
    _check_destination,
    longest=1200,
)
