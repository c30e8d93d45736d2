"""Kill the daemon again and again under load, and account for every recipient and every report.

The loop is submitter, server and killer in one.  At the end a daemon runs until the spool is empty.  Then:

- *lost*: a recipient that the server never took, or a sender who was not told of a refusal;
- *unexcused*: a message or a report that was taken more than once, without a kill that cut the connection
while its
  final reply was outstanding as far as the daemon knew.
"""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import threading
import time
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.real.crashserver import Acceptance, Server
from tests.real.crashspool import HOST, KINDS
from tests.real.daemon import ROOT, TWISTD
from zsmtp.spool.submit import Addressee, make_postoffice, submit

__all__ = ["Account", "DaemonCrashLoop"]

PATIENCE = 60.0
KILL_WITHIN = 0.8
"""A kill comes at most this many seconds after the first message of a round was submitted."""


class Account(NamedTuple):
    """The outcome."""

    rounds: int
    recipients: int
    reports: int
    lost: list[str]
    repeated: int
    unexcused: list[str]
    damaged: list[bytes]
    tail: str

    def __str__(self) -> str:
        counts = f"{self.rounds} kills, {self.recipients} recipients, {self.reports} senders to be told"
        what = (
            f"{len(self.lost)} lost, {self.repeated} repeated, {len(self.unexcused)} of them without excuse"
        )
        return f"{counts}: {what}\n{self.lost[:5]}\n{self.unexcused[:5]}\n{self.damaged[:5]}\n{self.tail}"


class DaemonCrashLoop:
    """One spool, one server, many daemons."""

    def __init__(self, folder: Path, *, seed: int, load: int = 30) -> None:
        self._folder = folder
        self._load = load
        self._random = Random(seed)
        self._office = str(folder / "office")
        make_postoffice(self._office, 1)
        self._bodies: dict[bytes, bytes] = {}
        self._addresses: list[bytes] = []
        self._senders: dict[bytes, bool] = {}  # whether it is to be told of a refusal
        self._selector = selectors.DefaultSelector()
        self._server = Server(
            self._selector,
            path=folder / "socket",
            random=self._random,
            expected=lambda one: self._bodies.get(one, b""),
        )
        self._log = folder / "log"
        (folder / "zsmtp.toml").write_text(
            f'postoffice = "{self._office}"\nhash-levels = 1\nhello-name = "me.example"\n'
            f'[channels.smtp]\ndestination = "{self._server.address}"\nconnections = 3\n'
            'retry = ["1s"]\nfirst-refusal = "1s"\nmaybe-delivered = "1s"\n'
        )
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, rounds: int) -> Account:
        """Kill `rounds` daemons, let one finish, and account."""
        try:
            for _ in range(rounds):
                self._round()
            self._start()
            end = time.monotonic() + PATIENCE
            while self._files() and time.monotonic() < end:
                self._turn(0.05)
            self._end(signal.SIGTERM)
            return self._account(rounds)
        finally:
            if self._process is not None and self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            self._server.close()
            self._selector.close()

    def _round(self) -> None:
        process = self._start()
        killed: list[float] = []

        def kill() -> None:
            killed.append(time.monotonic())
            process.kill()

        killer = threading.Timer(self._random.uniform(0.0, KILL_WITHIN), kill)
        killer.start()
        for _ in range(self._load):
            self._submit()
            self._turn(0.0)
        while process.poll() is None:
            self._turn(0.01)
        killer.join()
        self._bury(killed[0])

    def _bury(self, killed: float) -> None:
        while self._server.connections:  # the kernel has closed the other ends
            self._turn(0.01)
        for connection in self._server.met:
            if (connection.ended_at or 0.0) >= killed:
                connection.cut_at = killed
        self._server.met.clear()

    def _start(self) -> subprocess.Popen[bytes]:
        before = self._read().count("delivering from")
        words = [*TWISTD, "zsmtp", "--config", str(self._folder / "zsmtp.toml")]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
        end = time.monotonic() + PATIENCE
        while self._read().count("delivering from") == before:
            self._turn(0.02)
            if self._process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"the daemon does not start: {self._read()[-2000:]}")
        return self._process

    def _end(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        end = time.monotonic() + PATIENCE
        while self._process.poll() is None and time.monotonic() < end:
            self._turn(0.02)

    def _submit(self) -> None:
        number = len(self._senders)
        sender = b"s-%d@%s" % (number, HOST.encode())
        body = b"message %d\n.\n" % number + b"x" * self._random.choice((10, 10, 10, 100_000)) + b"\n"
        addresses = []
        for index in range(self._random.choice((1, 1, 1, 2, 3))):
            kind = self._random.choice(KINDS).encode()
            addresses.append(b"%s-%d-%d@%s" % (kind, number, index, HOST.encode()))
            self._bodies[addresses[-1]] = body.replace(b"\n", b"\r\n")
        self._addresses += addresses
        self._senders[sender] = any(address.startswith(b"never") for address in addresses)
        submit(
            self._office,
            sender=sender,
            recipients=[Addressee(b"smtp", HOST.encode(), address) for address in addresses],
            message=b"From: %s\nSubject: %d\n\n%s" % (sender, number, body),
            hash_levels=1,
        )

    def _turn(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            key.data()
        self._server.send_due()

    def _read(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def _files(self) -> list[str]:
        """What is left in the spool, but for drafts: a kill may leave one, and they are removed when they
        are old.
        """
        return [
            name
            for _, _, names in os.walk(os.path.join(self._office, "transport"))
            for name in names
            if not re.fullmatch(r"\.[a-z0-9_]{8}", name)
        ]

    def _account(self, rounds: int) -> Account:
        taken = self._server.acceptances
        lost = [f"{one!r}" for one in self._addresses if one not in taken and not one.startswith(b"never")]
        lost += [f"{one!r} was not told" for one, told in self._senders.items() if told and one not in taken]
        lost += [
            f"{one!r} was told without reason"
            for one, told in self._senders.items()
            if one in taken and not told
        ]
        lost += [f"{name} is left in the spool" for name in self._files()]
        before = [acceptance for several in taken.values() for acceptance in several[:-1]]
        unexcused = [f"{one.address!r}" for one in before if not _is_excused(one)]
        damaged = [address for address in self._server.damaged if not address.startswith(b"s-")]
        reports = sum(self._senders.values())
        tail = "\n".join(
            line for line in self._read().splitlines() if "Traceback" in line or "Error" in line
        )[-2000:]
        return Account(rounds, len(self._addresses), reports, lost, len(before), unexcused, damaged, tail)


def _is_excused(acceptance: Acceptance) -> bool:
    """Whether a kill cut the connection behind this message."""
    connection = acceptance.connection
    return connection.cut_at is not None and acceptance.turn == connection.turn
