"""Kill an agent again and again under load, and account for every recipient.

The loop is the scheduler, the server and the killer in one: it feeds an agent over the scheduler's protocol
without end, kills it (-9) at a random moment, clears its locks as the scheduler does, starts the next one
with what is left, and at the end lets one run to completion.  Then, recipient by recipient:

- *lost*: marked or reported as done but never taken by the server, or still not delivered at the end; -
*lies*: a mark or report of success while the server had not yet answered so; a failure that the server never
gave; a report before its mark, a failure mark without its `d` line, and anything else out of order; -
*repeated*: taken more than once.  Allowed (*excused*) only for the last message of a connection that a kill
cut: there the final reply was outstanding as far as the agent knew, since at most one message may be.

Nothing here depends on time, but for a limit that turns a hang into a failure.

Source: spool specification A.6, C.5, D.4, E.
"""

from __future__ import annotations

import os
import re
import selectors
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.real.crashserver import Server
from tests.real.crashspool import HOST, Addressee, Letter, Office

__all__ = ["WAYS", "Account", "CrashLoop", "Way"]

PATIENCE = 60.0
"""Seconds without any event after which the agent is taken for hung."""

OVERFEED = 60
KILL_WITHIN = 0.2
"""A kill under load comes at most this many seconds after the first job was answered."""

_WORDS = (b"ok", b"ok2", b"ok3", b"error", b"error2", b"deferred", b"deferall", b"deferback", b"retryat")
_REPORT = re.compile(rb"([0-9]+)/([0-9]+)\t([^\t]*)\t([a-z0-9]+)( [^\t]*)?")
_ROOT = Path(__file__).resolve().parent.parent.parent


class Way(NamedTuple):
    """A way of delivering: what the server offers and the agent's options for it."""

    extensions: tuple[bytes, ...]
    unix: bool = False
    lmtp: bool = False
    options: tuple[str, ...] = ()


_COMMON = (b"8BITMIME", b"ENHANCEDSTATUSCODES")
WAYS = {
    "pipelining": Way((b"PIPELINING", *_COMMON)),
    "chunking": Way((b"PIPELINING", b"CHUNKING", *_COMMON)),
    "lmtp": Way((b"PIPELINING", *_COMMON), unix=True, lmtp=True, options=("-M",)),
    "one command at a time": Way(_COMMON),
}


class Account(NamedTuple):
    """The outcome.

    `in_flight` counts the recipients, over all kills, that a kill may have doubled; of those that were
    `repeated`, `answered` had their final reply on its way before the kill.
    """

    rounds: int
    recipients: int
    lost: list[str]
    lies: list[str]
    repeated: int
    answered: int
    unexcused: list[str]
    in_flight: int
    remarks: list[bytes]

    def __str__(self) -> str:
        counts = (
            f"{len(self.lost)} lost, {len(self.lies)} lies, {len(self.unexcused)} repeated without excuse"
        )
        lines = [f"{self.rounds} kills, {self.recipients} recipients: {counts}"]
        lines += [
            f"{self.in_flight} in flight, {self.repeated} of them repeated, {self.answered} answered before"
        ]
        for name, texts in (("lost", self.lost), ("lie", self.lies), ("repeated", self.unexcused)):
            lines += [f"{name}: {text}" for text in texts[:10]]
        if len(lines) > 2:
            lines += [remark.decode("latin-1") for remark in self.remarks[-10:]]
        return "\n".join(lines)


class CrashLoop:
    """One spool, one server, many agents."""

    def __init__(
        self,
        directory: Path,
        way: Way,
        command: Sequence[str],
        *,
        seed: int,
        connections: int = 10,
        load: int = 120,
    ) -> None:
        """`command` starts the agent, without its options.

        `load` messages are written into the spool whenever the agent has nothing to do.
        """
        self._load = load
        self._random = Random(seed)
        self._selector = selectors.DefaultSelector()
        self._office = Office(directory / "office", self._random)
        self._server = Server(
            self._selector,
            path=directory / "socket" if way.unix else None,
            lmtp=way.lmtp,
            extensions=way.extensions,
            random=self._random,
            expected=self._office.body,
        )
        words = [*command, "-c", "smtp", "-h", HOST, *way.options, "-O", f"connections={connections}"]
        self._words = [*words, "-F", self._server.address, HOST]
        self._environment = dict(os.environ, ZCONFIG=str(self._office.zconfig), PYTHONPATH=str(_ROOT))
        self._remarks: list[bytes] = []
        self._lies: list[str] = []
        self._dead: set[int] = set()
        self._open: list[Letter] = []  # not finished
        self._todo: list[Letter] = []  # to be fed in this round
        self._words_of: dict[bytes, bytes] = {}  # the last report about each address
        self._start = 0.5
        self._in_flight = 0
        # the agent that runs now
        self._process: subprocess.Popen[bytes]
        self._socket: socket.socket
        self._tail = b""
        self._lines: list[bytes] = []
        self._ended = False
        self._killed_at: float | None = None

    def run(self, rounds: int) -> Account:
        """Kill `rounds` agents, let one finish, and account."""
        try:
            for number in range(rounds):
                self._round(early=number % 4 == 3)
            self._complete()
            return self._account(rounds)
        finally:
            self._server.close()
            self._selector.close()

    def _round(self, *, early: bool) -> None:
        """One life of an agent that ends by a kill; an early one hits the start and the first job.

        The others hit the load, which comes with the second batch: the first delivery takes its time.
        """
        began = time.monotonic()
        self._spawn()
        killer = threading.Timer(self._random.uniform(0.0, self._start), self._kill) if early else None
        if killer is not None:
            killer.start()
        unanswered = 1
        batch: list[Letter] = []
        while not self._ended:
            unanswered -= self._take_lines(unanswered)
            if unanswered or self._ended:
                self._turn()
                continue
            if not early and batch and killer is None:
                self._start = time.monotonic() - began
                killer = threading.Timer(self._random.uniform(0.0, KILL_WITHIN), self._kill)
                killer.start()
            if not self._todo:
                self._todo = [self._office.write() for _ in range(self._load)]
                self._open += self._todo
            size = OVERFEED + 1 if batch else 1  # as the scheduler does: one job, then batches
            batch, self._todo = self._todo[:size], self._todo[size:]
            unanswered = len(batch)
            self._feed(batch)
        if killer is not None:
            killer.join()
        self._bury()
        if self._process.returncode != -signal.SIGKILL:
            self._lies.append(f"the agent ended by itself with status {self._process.returncode}")

    def _complete(self) -> None:
        """Let an agent deliver what is left, with as many attempts as deferrals may need."""
        for _ in range(6):
            if not self._open:
                return
            self._spawn()
            unanswered = 1
            while unanswered and not self._ended:
                unanswered -= self._take_lines(unanswered)
                if not unanswered and self._todo:
                    unanswered = len(self._todo)
                    self._feed(self._todo)
                    self._todo = []
                if unanswered:
                    self._turn()
            if not self._ended:
                self._socket.shutdown(socket.SHUT_WR)
            while not self._ended:
                self._turn()
            self._bury()
            if self._process.returncode != 0:
                self._lies.append(f"status {self._process.returncode} at the end of input")

    # -- the agent --

    def _spawn(self) -> None:
        self._socket, theirs = socket.socketpair()
        self._tail = b""
        self._lines.clear()
        self._ended = False
        self._killed_at = None
        with theirs:
            end = theirs.fileno()
            self._process = subprocess.Popen(
                self._words,
                stdin=end,
                stdout=end,
                stderr=end,
                cwd=self._office.transport,
                env=self._environment,
            )
        self._selector.register(self._socket, selectors.EVENT_READ, self._hear)

    def _kill(self) -> None:
        """In a thread of its own: the moment must not depend on what our loop does."""
        self._killed_at = time.monotonic()
        os.kill(self._process.pid, signal.SIGKILL)

    def _hear(self) -> None:
        try:
            octets = self._socket.recv(1 << 18)
        except ConnectionError:
            octets = b""
        if not octets:
            self._ended = True
            self._selector.unregister(self._socket)
            self._socket.close()
            return
        *lines, self._tail = (self._tail + octets).split(b"\n")
        self._lines += lines

    def _feed(self, letters: list[Letter]) -> None:
        try:
            self._socket.sendall(b"".join(b"%d\t%s\n" % (letter.number, HOST.encode()) for letter in letters))
        except OSError:
            pass  # it is dead: its end of file comes next

    def _turn(self) -> None:
        """Wait for the next event and act on it."""
        due = self._server.next_due()
        timeout = PATIENCE if due is None else max(0.0, due - time.monotonic())
        events = self._selector.select(timeout)
        if not events and due is None:
            self._process.kill()
            self._process.wait()
            raise TimeoutError(
                f"nothing happened for {PATIENCE} s, the agent hangs; the last lines: {self._lines}"
            )
        for key, _ in events:
            key.data()
        self._server.send_due()

    def _bury(self) -> None:
        """Wait for the process, take what it had still sent, and look at its files."""
        self._process.wait()
        self._dead.add(self._process.pid)
        self._take_lines(1 << 30)
        while self._server.connections:  # the kernel has closed the other ends
            self._turn()
        for connection in self._server.met:
            if self._killed_at is not None and (connection.ended_at or 0.0) >= self._killed_at:
                connection.cut_at = self._killed_at
                self._in_flight += len(connection.taken)
        self._server.met.clear()
        self._todo = self._open = [letter for letter in self._open if self._read_again(letter)]

    # -- the account --

    def _take_lines(self, unanswered: int) -> int:
        """Judge what the agent wrote; how many `#hungry` there were."""
        hungry = 0
        for line in self._lines:
            if line == b"#hungry":
                hungry += 1
            elif line.startswith((b"#resync ", b"# ")):
                self._remarks.append(line)
            elif report := _REPORT.fullmatch(line):
                self._take_report(int(report[1]), int(report[2]), report[4], line)
            else:
                self._lies.append(f"not a line of the protocol: {line!r}")
        self._lines.clear()
        if hungry > unanswered:
            self._lies.append("more #hungry than lines were fed")
        return hungry

    def _take_report(self, number: int, offset: int, word: bytes, line: bytes) -> None:
        letter = self._office.letters.get(number)
        addressee = next((a for a in letter.addressees if a.offset == offset), None) if letter else None
        if addressee is None:
            self._lies.append(f"report about nobody: {line!r}")
            return
        before = self._words_of.get(addressee.address, b"")
        self._words_of[addressee.address] = word
        if before.startswith(b"ok"):
            self._lies.append(f"{addressee.address!r}: reported again after {before!r}: {line!r}")
        if word.startswith(b"ok") and not self._is_answered(addressee):
            self._lies.append(f"{addressee.address!r}: reported before the server had answered: {line!r}")
        elif word.startswith(b"error") and addressee.address not in self._server.refused:
            self._lies.append(f"{addressee.address!r}: reported as failed, not refused: {line!r}")
        elif word not in _WORDS:
            self._lies.append(f"{addressee.address!r}: unknown word: {line!r}")

    def _is_answered(self, addressee: Addressee) -> bool:
        return any(a.answered_at for a in self._server.acceptances.get(addressee.address, ()))

    def _read_again(self, letter: Letter) -> bool:
        """Look at a control file as the scheduler does after a crash; true while something is to be done."""
        marks, problems = self._office.read_again(letter, self._dead)
        self._lies += problems
        to_do = False
        for addressee, mark in marks.items():
            address = addressee.address
            word = self._words_of.get(address, b"")
            if mark == b"+" and not self._is_answered(addressee):
                self._lies.append(f"{address!r}: marked as delivered before the server had answered")
            if mark == b"-" and address not in self._server.refused:
                self._lies.append(f"{address!r}: marked as failed, not refused")
            if word.startswith(b"ok") and mark != b"+":
                self._lies.append(f"{address!r}: reported as {word!r}, but marked {mark!r}")
            if word == b"error2" and not self._office.has_diagnostic(letter, addressee):
                self._lies.append(f"{address!r}: reported as error2 without a d line")
            # a scheduler that has seen the report of a failure does not ask again
            to_do = to_do or (mark == b" " and not word.startswith((b"ok", b"error")))
        return to_do

    def _account(self, rounds: int) -> Account:
        lost: list[str] = []
        unexcused: list[str] = []
        repeated = answered = recipients = 0
        for letter in self._office.letters.values():
            self._read_again(letter)
            for addressee in letter.addressees:
                recipients += 1
                taken = self._server.acceptances.get(addressee.address, [])
                repeated += max(0, len(taken) - 1)
                for acceptance in taken[:-1]:
                    cut_at = acceptance.connection.cut_at or 0.0
                    answered += (acceptance.answered_at or cut_at) < cut_at
                    if not cut_at or acceptance.turn != acceptance.connection.turn:
                        unexcused.append(f"{addressee.address!r}")
                if not taken and not addressee.is_refused:
                    lost.append(
                        f"{addressee.address!r}: {self._words_of.get(addressee.address, b'no report')!r}"
                    )
        lost += [f"message {letter.number} is never finished" for letter in self._open]
        damaged = [f"{address!r} came damaged" for address in self._server.damaged]
        # the files were read more than once
        lies = list(dict.fromkeys(self._lies + damaged))
        return Account(
            rounds, recipients, lost, lies, repeated, answered, unexcused, self._in_flight, self._remarks
        )
