"""Tests of zsmtp.daemon.watch, with the kernel's own notices."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet import inotify, reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.trial.unittest import TestCase

from zsmtp.daemon import watch
from zsmtp.daemon.watch import Watcher, scan


class WatchTest(TestCase):
    """A folder that stands for transport/."""

    timeout = 30

    def setUp(self) -> None:
        self.folder = os.path.abspath(self.mktemp())
        os.makedirs(os.path.join(self.folder, "A", "B"))
        self.told: list[str] = []
        self.warnings: list[str] = []
        self.scans = 0

    def put(self, name: str) -> None:
        """Write a hidden file and give it its name, as everybody does."""
        hidden = os.path.join(self.folder, ".new")
        with open(hidden, "w"):
            pass
        os.rename(hidden, os.path.join(self.folder, name))

    def start(self, every: float = 1000.0) -> Watcher:
        """Watch."""
        clock: Any = reactor
        watcher = Watcher(
            clock,
            self.folder,
            every=every,
            found=self.told.append,
            scanned=self.scanned,
            warn=self.warnings.append,
        )
        watcher.start()
        self.addCleanup(watcher.stop)
        return watcher

    def scanned(self) -> None:
        self.scans += 1

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something to hold; the test's own limit ends what never does."""
        done: Deferred[None] = Deferred()

        def look() -> None:
            if condition() and not done.called:
                done.callback(None)

        call = LoopingCall(look)
        call.start(0.01)
        try:
            await done
        finally:
            call.stop()


class Scanning(WatchTest):
    """Names that begin with a digit, on two levels of hash directories."""

    def test_what_counts_as_mail(self) -> None:
        for name in ("1", "A/2", "A/B/3", "x4", ".5", "A/.6", "7-etrn"):
            self.put(name)
        for name in ("8", "A/B/C", "AB", "b"):
            os.mkdir(os.path.join(self.folder, name))
        self.put("A/B/C/9")
        self.put("AB/10")
        os.symlink("1", os.path.join(self.folder, "11"))
        self.assertEqual(sorted(scan(self.folder)), ["1", "7-etrn", "A/2", "A/B/3"])

    def test_folder_that_is_gone_is_empty(self) -> None:
        self.assertEqual(list(scan(self.folder, prefix="Z/")), [])


class Watching(WatchTest):
    """Everything is told of, and soon."""

    async def test_what_is_there_already(self) -> None:
        self.put("A/B/1")
        self.start()
        await self.until(lambda: self.told == ["A/B/1"] and self.scans == 1)

    async def test_what_comes_is_told_of_without_a_scan(self) -> None:
        self.start()
        await self.until(lambda: self.scans == 1)
        for name in ("1", "A/2", "A/B/3", "x"):
            self.put(name)
        await self.until(lambda: sorted(self.told) == ["1", "A/2", "A/B/3"])
        self.assertEqual(self.scans, 1)

    async def test_hash_directory_that_is_new(self) -> None:
        self.start()
        await self.until(lambda: self.scans == 1)
        os.makedirs(os.path.join(self.folder, "X", "Y"))
        self.put("X/Y/1")
        await self.until(lambda: "X/Y/1" in self.told)
        self.put("X/Y/2")
        await self.until(lambda: "X/Y/2" in self.told)

    async def test_scan_finds_what_the_kernel_did_not_tell(self) -> None:
        self.patch(watch, "_MASK", 0x8)
        self.start(every=0.05)
        await self.until(lambda: self.scans == 1)
        self.put("1")
        await self.until(lambda: "1" in self.told)

    async def test_without_notices_it_scans(self) -> None:
        def refuse(*_: object) -> None:
            raise OSError(24, "Too many open files")

        self.patch(inotify, "INotify", refuse)
        self.patch(watch, "_WITHOUT_NOTICE", 0.05)
        self.start()
        self.put("1")
        await self.until(lambda: "1" in self.told)
        self.assertIn("max_user_instances", self.warnings[0])
