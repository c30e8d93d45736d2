"""The log of the system: what reaches its daemon, and that nobody waits for it."""

from __future__ import annotations

import os
import socket
import tempfile

from twisted.trial.unittest import SynchronousTestCase

from zsmtp.net.systemlog import SystemLog


class Lines(SynchronousTestCase):
    """A daemon that comes, goes and hangs."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="zsmtp-")
        self.addCleanup(folder.cleanup)
        self.path = os.path.join(folder.name, "log")
        self.now = 1_800_000_000.0
        self.log = SystemLog(self.path, ident=b"smtp[29]", clock=lambda: self.now)
        self.addCleanup(self.log.close)

    def daemon(self) -> socket.socket:
        """Start to listen."""
        daemon = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(daemon.close)
        daemon.bind(self.path)
        daemon.setblocking(False)
        return daemon

    def heard(self, daemon: socket.socket) -> list[bytes]:
        """What the daemon finds in its socket."""
        lines = []
        while True:
            try:
                lines.append(daemon.recv(65536))
            except BlockingIOError:
                return lines

    def test_line_has_facility_priority_and_ident(self) -> None:
        daemon = self.daemon()
        self.log.info(b"S1A: to=<bob@example.net>")
        self.assertEqual(self.heard(daemon), [b"<22>smtp[29]: S1A: to=<bob@example.net>"])

    def test_daemon_that_hangs_holds_nobody_up_and_hears_what_it_missed(self) -> None:
        daemon = self.daemon()
        for _ in range(5000):
            self.log.info(b"x" * 200)
        taken = len(self.heard(daemon))
        self.assertLess(taken, 5000)
        self.log.info(b"next")
        missed = b"<21>smtp[29]: %d lines were not logged" % (5000 - taken)
        self.assertEqual(self.heard(daemon), [missed, b"<22>smtp[29]: next"])
        self.log.info(b"third")
        self.assertEqual(self.heard(daemon), [b"<22>smtp[29]: third"])

    def test_daemon_that_was_started_anew_is_found_after_a_while(self) -> None:
        first = self.daemon()
        self.log.info(b"one")
        first.close()
        os.unlink(self.path)
        self.log.info(b"two")
        self.assertFalse(self.log.is_there)
        self.log.miss()
        self.now += 10
        second = self.daemon()
        self.assertTrue(self.log.is_there)
        self.log.info(b"four")
        self.assertEqual(
            self.heard(second), [b"<21>smtp[29]: 2 lines were not logged", b"<22>smtp[29]: four"]
        )

    def test_daemon_that_is_not_there_is_looked_for_every_ten_seconds(self) -> None:
        tries: list[object] = []
        real = socket.socket

        def make(*words: int) -> socket.socket:
            tries.append(words)
            return real(*words)

        self.patch(socket, "socket", make)
        for seconds in (0, 1, 9, 10, 11, 25, 3):  # at last the clock was set back
            self.now = 1_800_000_000.0 + seconds
            self.log.info(b"x")
        self.assertEqual(len(tries), 4)

    def test_line_that_is_too_long_costs_only_itself(self) -> None:
        daemon = self.daemon()
        self.log.info(b"x" * 10_000_000)
        self.log.info(b"short")
        self.assertEqual(self.heard(daemon)[-1], b"<22>smtp[29]: short")
