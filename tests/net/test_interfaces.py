"""The addresses of this machine, from what Linux and the operator say."""

from __future__ import annotations

from ipaddress import ip_address

from twisted.trial.unittest import SynchronousTestCase

from zsmtp.net.interfaces import local_addresses, read_self_addresses

TRIE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
Local:
     +-- 192.0.2.0/24 2 0 2
        |-- 192.0.2.0
           /24 link UNICAST
        |-- 192.0.2.1
           /32 host LOCAL
        |-- 192.0.2.255
           /32 link BROADCAST
     |-- garbage
        /32 host LOCAL
        |-- 127.0.0.1
           /32 host LOCAL
"""
INET6 = """\
20010db8000000000000000000000001 02 40 00 80     eth0

nonsense here
00000000000000000000000000000001 01 80 10 80       lo
"""


class Local(SynchronousTestCase):
    """What the system shows."""

    def read(self, trie: str | None, inet6: str | None) -> set[str]:
        """Read these files, or missing ones."""
        paths = [self.mktemp(), self.mktemp()]
        for path, text in zip(paths, (trie, inet6), strict=True):
            if text is not None:
                with open(path, "w", encoding="utf-8") as file:
                    file.write(text)
        return {str(each) for each in local_addresses(routes=paths[0], inet6=paths[1])}

    def test_addresses_of_both_families_are_found(self) -> None:
        self.assertEqual(self.read(TRIE, INET6), {"192.0.2.1", "127.0.0.1", "2001:db8::1", "::1"})

    def test_what_cannot_be_read_counts_as_nothing(self) -> None:
        self.assertEqual(self.read(None, INET6), {"2001:db8::1", "::1"})
        self.assertEqual(self.read(TRIE, None), {"192.0.2.1", "127.0.0.1"})
        self.assertEqual(self.read("", "\u00fc\n"), set())

    def test_this_machine_has_itself(self) -> None:
        self.assertIn(ip_address("127.0.0.1"), local_addresses())


class Configured(SynchronousTestCase):
    """ZENV SELFADDRESSES."""

    def test_brackets_and_tags_may_stand_or_not(self) -> None:
        found = read_self_addresses(b"192.0.2.1, [192.0.2.2],[IPv6:2001:db8::1],2001:db8::2,[ipv6.::3]")
        wanted = ("192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "::3")
        self.assertEqual(found, {ip_address(each) for each in wanted})

    def test_names_are_not_addresses(self) -> None:
        self.assertEqual(read_self_addresses(b"mx.example, , [x], \xff"), frozenset())
        self.assertEqual(read_self_addresses(None), frozenset())
