"""How well this process gets on: so that a busy machine is not mistaken for a slow agent.

Everything here runs in one process, servers included, on a machine that may have other work.  What is late
because the reactor was kept from working is no fault of the agent, and new work is begun only when the work
at hand gets on.
"""

from __future__ import annotations

import time
from typing import Any

from twisted.internet.defer import DeferredLock
from twisted.internet.task import deferLater

__all__ = ["Pulse"]

_BEAT = 0.02
_LATE = 0.06


class Pulse:
    """Measures by how much the reactor is late, from `start` to `stop`."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._call: Any = None
        self._due = 0.0
        self._lost = 0.0
        self._late_by = 0.0
        self._admission = DeferredLock()

    def start(self) -> None:
        """Begin to measure."""
        self._due = time.monotonic() + _BEAT
        self._call = self._reactor.callLater(_BEAT, self._beat)

    def stop(self) -> None:
        """Measure no more."""
        self._call.cancel()

    def seconds(self) -> float:
        """Return seconds from an arbitrary moment on, without those for which the reactor was held up."""
        return time.monotonic() - self._lost

    async def admit(self) -> None:
        """Wait until there is room for more work."""
        await self._admission.acquire()
        try:
            await deferLater(self._reactor, _BEAT / 4)
            while self._late_by > _LATE:
                await deferLater(self._reactor, _BEAT)
        finally:
            self._admission.release()

    def _beat(self) -> None:
        now = time.monotonic()
        self._late_by = max(0.0, now - self._due)
        self._lost += self._late_by
        self.start()
