"""The hosts file and resolv.conf: their forms, their faults, and that a change is noticed."""

from __future__ import annotations

import os
from ipaddress import ip_address
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.net.nameserver import NameServer
from zsmtp.net.systemfiles import ResolvConf, WatchedFile, read_hosts, read_resolv_conf


class TheHostsFile(SynchronousTestCase):
    def test_names_have_the_addresses_of_all_their_lines(self) -> None:
        found = read_hosts(
            b"# comment\n127.0.0.1\tlocalhost  Loop # more\n\n::1 localhost\n127.0.0.1 localhost\n192.0.2.1\n"
        )
        four, six = ip_address("127.0.0.1"), ip_address("::1")
        self.assertEqual(found.addresses, {"localhost": (four, six), "loop": (four,)})

    def test_lines_of_another_form_are_passed_over(self) -> None:
        found = read_hosts(b"300.1.1.1 a\nb c\n1.2.3 d\n\xff\xfe e\n192.0.2.1 \xe5 f\r\n")
        self.assertEqual(found.addresses["f"], (ip_address("192.0.2.1"),))
        self.assertEqual(set(found.addresses) & {"a", "b", "c", "d", "e"}, set())


class ResolvConfIsRead(SynchronousTestCase):
    def test_all_that_is_understood(self) -> None:
        text = (
            b"; comment\n# comment\nnameserver 192.0.2.1\nnameserver ::1 more\nnameserver 192.0.2.1\n"
            b"domain first.example\nsearch a.example B.example.\n"
            b"options timeout:2 attempts:3 ndots:2 rotate edns0\n"
        )
        servers = (NameServer("192.0.2.1"), NameServer("::1"))
        self.assertEqual(read_resolv_conf(text), ResolvConf(servers, 2, 3, ("a.example", "b.example"), 2))

    def test_an_empty_one_means_this_machine(self) -> None:
        self.assertEqual(read_resolv_conf(b""), ResolvConf((NameServer("127.0.0.1"),), 5.0, 2, (), 1))

    def test_what_is_wrong_is_passed_over_and_what_is_excessive_bounded(self) -> None:
        text = b"nameserver ns.example\nnameserver\noptions\nsearch a b..c\xff\n"
        text += b"options timeout:x attempts: ndots:-1 timeout:0\n"
        self.assertEqual(read_resolv_conf(text), ResolvConf(search=("a",)))
        text = b"options timeout:999 attempts:999 ndots:999 timeout:99999\n"
        self.assertEqual(read_resolv_conf(text), ResolvConf(timeout=30, attempts=5, ndots=15))
        text = b"".join(b"nameserver 192.0.2.%d\n" % number for number in range(20))
        self.assertEqual(len(read_resolv_conf(text).servers), 8)

    @settings(deadline=None, max_examples=200)
    @given(st.binary(max_size=200))
    def test_anything(self, text: bytes) -> None:
        read_hosts(text)
        for line in (text, b"nameserver " + text, b"options " + text, b"search " + text):
            self.assertTrue(read_resolv_conf(line).servers)


class TheFileChanges(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.clock = Clock()
        self.reads = 0

    def watch(self) -> WatchedFile[bytes]:
        def read(octets: bytes) -> bytes:
            self.reads += 1
            return octets

        return WatchedFile(str(self.path), read, self.clock.seconds)

    def test_it_is_read_again_but_not_at_once(self) -> None:
        self.path.write_bytes(b"old")
        watched = self.watch()
        self.assertEqual(watched.contents(), b"old")
        self.path.write_bytes(b"newer")
        self.assertEqual(watched.contents(), b"old")
        self.clock.advance(3)
        self.assertEqual(watched.contents(), b"newer")

    def test_without_change_it_is_not_read(self) -> None:
        self.path.write_bytes(b"old")
        watched = self.watch()
        for _ in range(5):
            watched.contents()
            self.clock.advance(3)
        self.assertEqual(self.reads, 2, "once for nothing, once for the file")

    def test_one_that_is_missing_is_empty_and_may_come_and_go(self) -> None:
        watched = self.watch()
        self.assertEqual(watched.contents(), b"")
        for text in (b"here", b""):
            self.clock.advance(3)
            if text:
                self.path.write_bytes(text)
            else:
                self.path.unlink()
            self.assertEqual(watched.contents(), text)

    def test_a_fifo_does_not_stop_the_process(self) -> None:
        os.mkfifo(self.path)
        self.assertEqual(self.watch().contents(), b"")
