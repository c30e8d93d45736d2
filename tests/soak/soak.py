"""The soak: several crews at work at the same time, and what came of it."""

from __future__ import annotations

import json
import selectors
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from tests.real.crashspool import Letter, Office
from tests.soak.crew import CREWS, Crew, tree
from tests.soak.faultserver import FaultServer
from zsmtp.testing.certificate import certificate

__all__ = ["Outcome", "Soak"]

_LOOK_EVERY = 1.0  # seconds between samples
_END_WITHIN = 240.0  # seconds for what is still to be delivered when the time is over
_TURN = 0.05


class Outcome(NamedTuple):
    """What came of a soak."""

    seconds: float
    seed: int
    crews: dict[str, dict[str, Any]]
    problems: list[str]

    def __str__(self) -> str:
        total: Counter[str] = Counter()
        for crew in self.crews.values():
            total.update(crew["counts"])
        lines = [
            f"{self.seconds:.0f} s, seed {self.seed}: {total['recipients']} recipients of "
            f"{total['messages']} messages: {total['delivered']} delivered, "
            f"{total['failed']} refused for good, {total['repeated']} taken again after an answer got lost"
        ]
        for name, crew in self.crews.items():
            faults = ", ".join(f"{count} {fault}" for fault, count in sorted(crew["fired"].items()))
            lines.append(
                f"{name}: {crew['counts'].get('recipients', 0)} recipients in {crew['rounds']} rounds, "
                f"{crew['agents']} agents; {faults}"
            )
            if crew["growth"]:
                lines.append(
                    "    growth after the warm-up: {memory:.0f} KiB by the slope, {medians:.0f} by medians, "
                    "{files} descriptors".format(**crew["growth"])
                    + f"; {crew['memory'] / 1024:.0f} MiB at most"
                )
        end = f"{len(self.problems)} problems" if self.problems else "all accounted for"
        return "\n".join([*lines, *self.problems[:100], end])

    def as_json(self) -> str:
        """Write it for machines."""
        return json.dumps(self._asdict(), indent=1) + "\n"


class Soak:
    """One spool, and for each crew a server and agents."""

    def __init__(
        self,
        directory: Path,
        command: Sequence[str],
        *,
        seed: int,
        names: Sequence[str] = tuple(CREWS),
        lie: str = "",
        tell: Callable[[str], object] = lambda text: None,
    ) -> None:
        """`command` starts an agent, `lie` is one of `LIES`; `tell` hears every minute how it goes."""
        self._seed = seed
        self._tell = tell
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._office = Office(directory / "office", Random(seed))
        self._selector = selectors.DefaultSelector()
        context = certificate().server_context()
        self._crews: list[Crew] = []
        for number, name in enumerate(names):
            post = CREWS[name]
            server = FaultServer(
                self._selector,
                random=Random(seed + number + 1),
                expected=self._office.body,
                path=directory / f"socket{number}" if post.unix else None,
                lmtp=post.is_lmtp,
                extensions=post.extensions,
                context=context if post.tls else None,
                breaks_tls=post.breaks_tls,
                lie=lie,
            )
            crew = Crew(
                name,
                post,
                server,
                self._office,
                command,
                write=self._write,
                is_over=self._over.is_set,
                environment={"PYTHONPATH": tree()},
            )
            self._crews.append(crew)

    def run(self, seconds: float) -> Outcome:
        """Work for so long, then finish without faults, and account."""
        begun = time.monotonic()
        end = begun + seconds
        look_at, tell_at = begun, begun + 60
        for crew in self._crews:
            crew.start()
        while any(crew.is_working for crew in self._crews):
            self._turn()
            now = time.monotonic()
            if now >= look_at:
                look_at = now + _LOOK_EVERY
                for crew in self._crews:
                    crew.look(now - begun)
            if now >= tell_at:
                tell_at = now + 60
                self._tell(str(self._outcome(now - begun)))
            if now >= end and not self._over.is_set():
                self._over.set()
                for crew in self._crews:
                    crew.server.is_hostile = False
            if now >= end + _END_WITHIN:
                break
        outcome = self._outcome(time.monotonic() - begun)
        late = [f"{crew.name}: not at its end" for crew in self._crews if crew.is_working]
        for crew in self._crews:
            crew.server.close()
        self._selector.close()
        return outcome._replace(problems=outcome.problems + late)

    def _turn(self) -> None:
        """Let the servers do what is due."""
        dues = [due for crew in self._crews if (due := crew.server.next_due()) is not None]
        wait = min([_TURN, *(max(0.0, due - time.monotonic()) for due in dues)])
        for key, _ in self._selector.select(wait):
            key.data()
        for crew in self._crews:
            crew.server.send_due()

    def _write(self) -> Letter:
        with self._lock:
            return self._office.write()

    def _outcome(self, seconds: float) -> Outcome:
        crews = {
            crew.name: {
                "rounds": crew.rounds,
                "agents": crew.agents,
                "counts": dict(crew.ledger.counts),
                "fired": dict(crew.server.fired),
                "growth": crew.growth._asdict() if crew.growth else None,
                "memory": max((one.memory for one in crew.samples), default=0),
                "files": max((one.files for one in crew.samples), default=0),
            }
            for crew in self._crews
        }
        return Outcome(seconds, self._seed, crews, [text for crew in self._crews for text in crew.problems])
