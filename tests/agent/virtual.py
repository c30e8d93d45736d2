"""An agent in this process, with virtual time and scripted servers in memory, for what takes minutes.

agent = VirtualAgent(self.spool, table("+P"))
agent.feed(mail.feed(b"example.net"))
agent.advance(185)
agent.links[0].conversation.commands
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from zsmtp.agent import Agent
from zsmtp.deliver import Equipment
from zsmtp.destination import Family, Hop, Route, RouteRules
from zsmtp.job import Conduct
from zsmtp.message.form import Wishes
from zsmtp.smtp.manner import Manner, Tls
from zsmtp.testing.memory import Link
from zsmtp.testing.report import Report, read_line

if TYPE_CHECKING:
    from zsmtp.target import Target
    from zsmtp.testing.peer import Behaviour
    from zsmtp.trouble import Trouble

__all__ = ["VirtualAgent"]

HOP = Hop("192.0.2.25", 25, Family.INET, "mx.example", b"dns; mx.example", "MX", "mx.example")


class _Reactor(Clock):
    """Time, and connections to servers in memory: the next behaviour serves the next connection."""

    def __init__(self, behaviours: tuple[Behaviour, ...]) -> None:
        super().__init__()
        self.behaviours = behaviours
        self.links: list[Link] = []

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: object = None
    ) -> None:
        """Connect at once."""
        behaviour = self.behaviours[min(len(self.links), len(self.behaviours) - 1)]
        self.links.append(Link(factory.buildProtocol(None), behaviour, clock=self))


class VirtualAgent:
    """One agent; `lines` is what it has told, `ended` is true at its end.

    The process must be in the spool's `transport`.
    """

    def __init__(self, *behaviours: Behaviour, **options: Any) -> None:
        self.reactor = self._make_reactor(behaviours)
        self.lines: list[bytes] = []
        self.held: list[bool] = []
        self.ended = 0
        self.agent = Agent(
            self.reactor,
            pid=os.getpid(),
            host=None,
            forced=None,
            write=self._told,
            ended=self._end,
            hold=self.held.append,
            **options,
        )
        self.agent.conduct = Conduct(
            channel=b"smtp",
            agent=b"smtp[%d]" % os.getpid(),
            wishes=Wishes(),
            lmtp=False,
            ignore_ezmlm=False,
            report=self.agent.report,
            finished=self.agent.finished,
            warn=self.agent.warn,
            clock=lambda: 1743501600.0 + self.reactor.seconds(),
        )
        self.agent.equipment = Equipment(
            reactor=self.reactor,
            manner=Manner(name=b"client.example", tls=Tls.NEVER),
            rules=RouteRules,
            find=self._find,
            context_for=lambda _: None,
            broken_tls={},
            remark=self.agent.remark if self.agent.remarks else None,
        )
        self.agent.begin()
        self.settle()

    @property
    def links(self) -> list[Link]:
        """The connections."""
        return self.reactor.links

    @property
    def reports(self) -> list[Report]:
        """The reports so far."""
        return [line for line in map(read_line, self.lines) if isinstance(line, Report)]

    def feed(self, octets: bytes) -> None:
        """Send octets, and let follow what follows without time passing."""
        self.agent.receive(octets)
        self.settle()

    def settle(self) -> None:
        """Let everything happen that takes no time."""
        before = None
        while before != (before := self._state()):
            self.reactor.advance(0)
            for link in self.links:
                link.run()

    def advance(self, seconds: float, step: float = 1.0) -> None:
        """Let time pass."""
        while seconds > 0:
            self.reactor.advance(min(step, seconds))
            seconds -= step
            self.settle()

    def _state(self) -> tuple[int, ...]:
        return (
            len(self.lines),
            self.ended,
            len(self.links),
            sum(call.getTime() <= self.reactor.seconds() for call in self.reactor.getDelayedCalls()),
            *(len(link.conversation.pieces) for link in self.links),
        )

    def _make_reactor(self, behaviours: tuple[Behaviour, ...]) -> _Reactor:
        """Return the reactor of this agent."""
        return _Reactor(behaviours)

    def _find(self, target: Target | Trouble, rules: RouteRules) -> Deferred[Route | Trouble]:
        return succeed(Route((HOP,)))

    def _told(self, octets: bytes) -> None:
        assert octets.endswith(b"\n"), octets
        self.lines += octets.split(b"\n")[:-1]

    def _end(self) -> None:
        self.ended += 1
