"""Tests of zsmtp.daemon.intake."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from twisted.trial.unittest import SynchronousTestCase

from zsmtp.daemon.intake import is_alive, quarantine, read
from zsmtp.daemon.queue import Key
from zsmtp.errors import SpoolError
from zsmtp.testing.spool import Addressee, Group, Origin, SpoolMaker

SMTP = frozenset({b"smtp"})


class IntakeTest(SynchronousTestCase):
    """In the transport directory of a spool."""

    def setUp(self) -> None:
        self.spool = SpoolMaker()
        self.addCleanup(self.spool.remove)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.spool.transport)


class Reading(IntakeTest):
    """What is for us."""

    def test_destinations_in_lower_case_with_their_recipients(self) -> None:
        mail = self.spool.add(
            recipients=[b"a@example.net", Addressee(b"b@x", b"Example.NET"), Addressee(b"c@y", b"y.org")]
        )
        os.utime(mail.message_path, (1000.5, 1000.5))
        found = read(mail.name, SMTP)
        self.assertEqual(dict(found.keys), {Key(b"smtp", b"example.net"): 2, Key(b"smtp", b"y.org"): 1})
        self.assertEqual((found.since, found.sender), (1000.5, b"alice@example.com"))
        self.assertTrue(found.name.startswith("S"))

    def test_done_recipients_are_nobodys(self) -> None:
        mail = self.spool.add(recipients=[Addressee(b"a@x", tag=b"+"), Addressee(b"b@x", tag=b"-")])
        self.assertTrue(read(mail.name, SMTP).is_finished)

    def test_other_channels_are_counted(self) -> None:
        mail = self.spool.add(recipients=[Addressee(b"a@x", channel=b"local")])
        found = read(mail.name, SMTP)
        self.assertEqual((dict(found.others), found.is_finished), ({b"local": 1}, False))

    def test_null_sender(self) -> None:
        mail = self.spool.add(groups=[Group([b"a@x"], Origin(b""))])
        self.assertEqual(read(mail.name, SMTP).sender, b"")

    def test_lock_of_the_dead_is_cleared_and_that_of_the_living_is_not(self) -> None:
        mail = self.spool.add(
            recipients=[
                Addressee(b"a@x", tag=b"~", owner=b"999999"),
                Addressee(b"b@x", tag=b"~", owner=b"     1"),
            ]
        )
        found = read(mail.name, SMTP)
        self.assertEqual((sum(found.keys.values()), found.locked), (1, 1))
        self.assertEqual(list(mail.tags().values()), [b" ", b"~"])

    def test_request_to_deliver_now(self) -> None:
        self.spool.put("5-etrn", b"T Example.NET\nT y.org x\n", None)
        self.assertEqual(read("5-etrn", SMTP).turns, (b"example.net", b"y.org"))


class Refusing(IntakeTest):
    """What nobody can use, and what only waits for better times."""

    def refused(self, name: str) -> SpoolError:
        error = self.assertRaises(SpoolError, read, name, SMTP)
        assert isinstance(error, SpoolError)
        return error

    def test_file_itself_is_of_no_use(self) -> None:
        self.spool.put("1", b"@ 0x0000000f\ni 1\no 2\nr x\ns y\n", b"x")
        self.spool.put("2", b"cut", b"x")
        self.spool.put("3", self.spool.add().control, None)  # its message has another name
        alternatives = self.spool.add().control.replace(b"\nm\n", b"\nX           1 smtp x y 99\nm\n")
        self.spool.put("4", alternatives, b"x" * 500)
        missing = self.spool.add()
        os.unlink(missing.message_path)
        for name in ("1", "2", "4", missing.name):
            self.assertFalse(self.refused(name).temporary, name)

    def test_system_is_in_trouble(self) -> None:
        self.assertTrue(self.refused("404").temporary)
        os.symlink("1", "6")
        self.assertTrue(self.refused("6").temporary)

    def test_quarantine_keeps_everything(self) -> None:
        for _ in range(2):
            self.spool.put("1", b"cut", None)
            quarantine("1")
        self.assertEqual(sorted(os.listdir(".")), ["bad-1", "bad-1.1"])
        os.mkdir("A")
        self.spool.put("2", b"cut", None)
        os.rename("2", "A/2")
        self.assertEqual(quarantine("A/2"), "A/bad-2")
        self.assertRaises(SpoolError, quarantine, "404")


class Living(SynchronousTestCase):
    """A number is not a process."""

    def test_this_one_lives(self) -> None:
        self.assertTrue(is_alive(os.getpid(), time.time()))

    def test_process_that_began_after_the_lock_is_another_one(self) -> None:
        child = subprocess.Popen(
            [sys.executable, "-S", "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE
        )
        try:
            self.assertTrue(is_alive(child.pid, time.time()))
            self.assertFalse(is_alive(child.pid, time.time() - 100))
        finally:
            child.communicate()
        self.assertFalse(is_alive(child.pid, time.time()))
