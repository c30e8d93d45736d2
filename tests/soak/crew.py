"""One agent under the strict stand-in scheduler, fed without end, in a thread of its own.

What is deferred is fed again until it is done.  An agent with a `lifetime` is ended in good order after so
many rounds and another one takes over, as a scheduler's agents come and go.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.real.crashspool import HOST, Letter, Office
from tests.soak.faultserver import FaultServer
from tests.soak.growth import Growth, Sample, growth, sample
from tests.soak.ledger import Ledger
from zsmtp.testing.report import Violation
from zsmtp.testing.scheduler import Job, SchedulerStandIn

__all__ = ["CREWS", "Crew", "Post"]

_WINDOW = 40  # messages that are under way
_OVERFEED = 60
_PATIENCE = 150.0  # seconds without a line, after which the agent is taken for hung
_SHOWN = 12  # lines of what was exchanged before a violation
_PAUSE = 0.1  # seconds between rounds
_TIMEOUTS = ("-T", "conn=10", "-T", "cmd=10", "-T", "data=10", "-T", "dot=15", "-T", "tcpw=10")
_COMMON = (b"8BITMIME", b"ENHANCEDSTATUSCODES")


class Post(NamedTuple):
    """A way of delivering: what the server offers, and the agent's options for it."""

    extensions: tuple[bytes, ...]
    unix: bool = False
    tls: bool = False
    breaks_tls: bool = False
    options: tuple[str, ...] = ()
    lifetime: int | None = None

    @property
    def is_lmtp(self) -> bool:
        """Whether it is LMTP."""
        return "-M" in self.options


CREWS = {
    "pipelining": Post((b"PIPELINING", *_COMMON)),
    "chunking": Post((b"PIPELINING", b"CHUNKING", *_COMMON)),
    "plain": Post(_COMMON),
    "TLS": Post((b"PIPELINING", *_COMMON), tls=True),
    "broken TLS": Post((b"PIPELINING", b"CHUNKING", *_COMMON), tls=True, breaks_tls=True, lifetime=1),
    "LMTP": Post((b"PIPELINING", *_COMMON), unix=True, options=("-M",)),
}


class Crew:
    """One post: its server, its agents one after the other, and the account."""

    def __init__(
        self,
        name: str,
        post: Post,
        server: FaultServer,
        office: Office,
        command: Sequence[str],
        *,
        write: Callable[[], Letter],
        is_over: Callable[[], bool],
        environment: Mapping[str, str],
    ) -> None:
        """`write` makes the next message, `is_over` says that no more are to be made."""
        self.name = name
        self.server = server
        self.ledger = Ledger(name, server)
        self.samples: list[Sample] = []
        self.rounds = 0
        self.agents = 0
        self._post = post
        self._office = office
        words = [*command, "-c", "smtp", "-h", HOST, *_TIMEOUTS, *post.options, "-O", "connections=4"]
        self._words = [*words, "-F", server.address]
        self._write = write
        self._is_over = is_over
        self._environment = environment
        self._open: list[Letter] = []
        self._stand_in: SchedulerStandIn | None = None
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def start(self) -> None:
        """Begin to work, in a thread."""
        self._thread.start()

    @property
    def is_working(self) -> bool:
        """Whether there is still something to do."""
        return self._thread.is_alive()

    def look(self, at: float) -> None:
        """Take a sample of the agent, if it is one that stays."""
        if self._stand_in is not None and self._post.lifetime is None:
            found = sample(self._stand_in.pid, at)
            if found is not None:
                self.samples.append(found)

    @property
    def growth(self) -> Growth | None:
        """How much the agent grew, if it stayed long enough."""
        return growth(self.samples)

    @property
    def problems(self) -> list[str]:
        """All that is wrong, in words."""
        found, grown = self.ledger.problems, self.growth
        if grown is not None and not grown.is_flat:
            found.append(
                f"{self.name}: the agent grows: {grown.memory:.0f} KiB ({grown.medians:.0f} by medians), "
                f"{grown.files} descriptors"
            )
        return found

    def _work(self) -> None:
        try:
            while not (self._is_over() and not self._open):
                self._life()
        except Violation as error:
            first, *rest = str(error).split("\n")
            self.ledger.lies.append("\n".join([f"the scheduler saw: {first}", *rest[-_SHOWN:]]))
        except Exception as error:  # noqa: BLE001  a thread that just ends would be taken for success
            self.ledger.lies.append(f"the harness failed: {error!r}")
        finally:
            if self._stand_in is not None:
                self._stand_in.stop()
                self._stand_in = None
            self.ledger.missing(self._open)

    def _life(self) -> None:
        """One agent, from its start to its end."""
        stand_in = SchedulerStandIn(
            self._words,
            str(self._office.transport.parent),
            overfeed=_OVERFEED,
            environment=self._environment,
            deadline=float("inf"),
            patience=_PATIENCE,
        )
        stand_in.start()
        self.agents += 1
        self._stand_in = stand_in
        stand_in.pump(lambda: stand_in.feeding.is_idle)
        rounds = 0
        while not (self._is_over() and not self._open) and rounds != self._post.lifetime:
            self._round(stand_in)
            rounds += 1
        self._stand_in = None
        result = stand_in.finish()
        if result.exit_status != 0:
            self.ledger.lies.append(f"the agent ended with status {result.exit_status}")

    def _round(self, stand_in: SchedulerStandIn) -> None:
        """Fill the window, feed what is in it, and settle what is done."""
        while len(self._open) < _WINDOW and not self._is_over():
            self._open.append(self._write())
        for letter in self._open:
            stand_in.add(Job(str(letter.number), HOST.encode()))
        stand_in.pump(lambda: stand_in.feeding.is_idle)
        by_place = {(letter.number, one.offset): one for letter in self._open for one in letter.addressees}
        for report in stand_in.feeding.reports:
            self.ledger.told(by_place[report.number, report.offset], report)
        for kept in (stand_in.feeding.reports, stand_in.feeding.fed, stand_in.feeding.unfed, stand_in.events):
            kept.clear()
        self._open = [letter for letter in self._open if not self._is_done(letter)]
        self.rounds += 1
        stand_in.watch(_PAUSE)

    def _is_done(self, letter: Letter) -> bool:
        marks, problems = self._office.read_again(letter, set())
        self.ledger.lies += problems
        if b" " in marks.values():
            return False
        self.ledger.close(letter, marks)
        for folder in (self._office.transport, self._office.transport.parent / "queue"):
            os.unlink(folder / str(letter.number))
        del self._office.letters[letter.number]
        return True


def tree() -> str:
    """Give the folder of the tree under test, for PYTHONPATH."""
    return str(Path(__file__).resolve().parent.parent.parent)


def now() -> float:
    """Give the time of samples."""
    return time.monotonic()
