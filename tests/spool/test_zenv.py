"""Tests of zsmtp.spool.zenv."""

from __future__ import annotations

import os

from tests.spool.sample import SpoolTest
from zsmtp.errors import ConfigError
from zsmtp.spool.zenv import ZEnvironment

FILE = b"""\
# comment
POSTOFFICE=/var/spool/postoffice
ZCONFIG=\t /etc/zmailer.conf
POSTOFFICE=/elsewhere
EMPTY=
BLANK=  \t
QUOTED="a $B" # c \n INDENTED=1
export EXPORTED=1
SPACED =1
EQUALS=a=b
LAST=no newline"""


class Variables(SpoolTest):
    """The lines of zmailer.conf."""

    def load(self, octets: bytes) -> ZEnvironment:
        return ZEnvironment.load(self.put(octets, "zmailer.conf"))

    def test_values(self) -> None:
        zenv = self.load(FILE)
        expected = {
            "POSTOFFICE": b"/var/spool/postoffice",
            "ZCONFIG": b"/etc/zmailer.conf",
            "EMPTY": b"",
            "BLANK": b"",
            "QUOTED": b'"a $B" # c ',
            "INDENTED": None,
            "EXPORTED": None,
            "SPACED": None,
            "EQUALS": b"a=b",
            "LAST": b"no newline",
            "MISSING": None,
        }
        self.assertEqual({name: zenv.get(name) for name in expected}, expected)

    def test_without_a_file_nothing_is_defined(self) -> None:
        self.assertIsNone(ZEnvironment().get("POSTOFFICE"))

    def test_a_symbolic_link_is_followed(self) -> None:
        path = os.path.join(self.transport, "link")
        os.symlink(self.put(b"A=1\n", "real"), path)
        self.assertEqual(ZEnvironment.load(path).get("A"), b"1")

    def test_what_is_no_file_is_refused(self) -> None:
        fifo = os.path.join(self.transport, "fifo")
        os.mkfifo(fifo)
        for path in (fifo, self.transport, "/nonexistent/zmailer.conf", "a\0b"):
            error = self.assertRaises(ConfigError, ZEnvironment.load, path)
            self.assertIn(";", str(error))

    def test_a_huge_file_is_refused(self) -> None:
        path = self.put(b"", "zmailer.conf")
        os.truncate(path, 1 << 30)
        self.assertIn("name zmailer.conf", str(self.assertRaises(ConfigError, ZEnvironment.load, path)))
