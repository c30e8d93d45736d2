"""Plays behaviours to the delivery engine in this process: the real agent, real files, real sockets.

Each behaviour has an agent of its own, with the strict books of a scheduler on its other side; many are
played at the same time, on one spool.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, DeferredList, DeferredSemaphore, ensureDeferred, succeed
from twisted.internet.task import deferLater

from tests.hostile.behaviour import Behaviour, Mail
from tests.hostile.pulse import Pulse
from tests.hostile.witness import Doctor, Receipt, Witness
from zsmtp.agent import Agent
from zsmtp.destination import Family, Hop, Route, RouteRules, Target
from zsmtp.job import Conduct
from zsmtp.message.form import Wishes
from zsmtp.net.approach import Equipment
from zsmtp.net.tls import ClientContexts
from zsmtp.smtp.manner import Esmtp, Manner, Tls
from zsmtp.smtp.patience import Timeouts
from zsmtp.testing import marks
from zsmtp.testing.conversation import Conversation
from zsmtp.testing.feeding import Feeding
from zsmtp.testing.feeding import Job as FedJob
from zsmtp.testing.report import Report, Violation
from zsmtp.testing.server import ScriptedServer
from zsmtp.testing.spool import Addressee, Origin, SpooledMail, SpoolMaker
from zsmtp.trouble import Trouble

__all__ = ["HOST", "Outcome", "Servers", "Told", "account", "play_all", "put"]

HOST = b"example.net"
_AT_ONCE = 48
_UNHURRIED = 20.0
"""seconds for what a behaviour does not mean to let run out"""
_PARTING = 8.0
"""seconds until all connections must be gone; a farewell that is not answered takes 5"""
_LIFE = 25.0

_reactor: Any = installed


class Told(NamedTuple):
    """What was told of one recipient, by the report and by the diagnostic line together."""

    word: str
    status: str
    diagnostic: bytes
    text: bytes

    def __str__(self) -> str:
        return f"{self.word} {self.status}"


class Outcome(NamedTuple):
    """What came of a behaviour: for each message and recipient what was told, and all that was seen.

    `violations` are faults whatever the behaviour was; `seconds` is the time until all was reported.
    """

    told: list[list[Told | None]]
    conversations: list[Conversation]
    receipts: list[Receipt]
    violations: list[str]
    warnings: list[str]
    seconds: float


class Servers:
    """The servers of one behaviour; a context manager."""

    def __init__(
        self, behaviour: Behaviour, doctor: Doctor | None, asked: Callable[[str], None] | None = None
    ) -> None:
        self.witnesses: list[Witness] = []
        self.servers: list[ScriptedServer] = []
        options = behaviour.options
        for number, host in enumerate(behaviour.hosts(), 1):
            witness = Witness(lmtp="lmtp" in options, doctor=doctor, asked=asked)
            self.witnesses.append(witness)
            self.servers.append(
                ScriptedServer(
                    *(witness.watch(played) for played in host),
                    address="::1" if "inet6" in options else f"127.0.0.{number}",
                    path="" if "unix" in options else None,
                    deadline=_LIFE,
                    receive_buffer=4096 if "narrow" in options else None,
                )
            )

    def __enter__(self) -> Servers:
        for server in self.servers:
            server.start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers:
            server.stop()

    @property
    def forced(self) -> bytes:
        """The value of -F for the first of them."""
        server = self.servers[0]
        if server.path is not None:
            return b"UNIX:" + os.fsencode(server.path)
        return (b"[ipv6.%s]:%d" if ":" in server.host else b"[%s]:%d") % (server.host.encode(), server.port)

    @property
    def route(self) -> Route:
        """All of them, as mail exchangers or, where there is one, as what -F names."""
        return Route(tuple(self._hop(number, server) for number, server in enumerate(self.servers, 1)))

    def _hop(self, number: int, server: ScriptedServer) -> Hop:
        if server.path is not None:
            return Hop(server.path, 0, Family.UNIX, server.path, b"", "forced", "")
        family = Family.INET6 if ":" in server.host else Family.INET
        if len(self.servers) == 1:
            remote = b"X-IP-addr; [" + server.host.encode() + b"]"
            return Hop(server.host, server.port, family, server.host, remote, "forced", server.host)
        name = f"mx{number}.example.net"
        return Hop(server.host, server.port, family, name, b"dns; " + name.encode(), "MX", name)

    @property
    def conversations(self) -> list[Conversation]:
        """All connections."""
        return [each for server in self.servers for each in server.connections]

    @property
    def receipts(self) -> list[Receipt]:
        """What the servers answer for."""
        return [each for witness in self.witnesses for each in witness.receipts]


def put(spool: SpoolMaker, mails: Sequence[Mail]) -> list[SpooledMail]:
    """Put the messages of a behaviour into the spool."""
    return [
        spool.add(
            # an agent goes through a file from its end
            recipients=[Addressee(path, HOST, notary=mail.notary) for path in reversed(mail.paths(number))],
            sender=Origin(mail.sender),
            header=mail.header,
            body=mail.body,
        )
        for number, mail in enumerate(mails, 1)
    ]


def account(files: Sequence[SpooledMail], reports: Sequence[Report]) -> list[list[Told | None]]:
    """Bring together what was told of each recipient, in the order in which they are sent."""
    told: list[list[Told | None]] = []
    for file in files:
        mine = {report.offset: report for report in reports if report.number == file.number}
        lines = {line.recipient: line for line in marks.diagnostics(file.now())}
        each: list[Told | None] = []
        for offset in reversed(file.offsets):
            report = mine.get(offset)
            if report is None:
                each.append(None)
                continue
            notary = lines[offset].notary if offset in lines else report.notary
            status, diagnostic = (notary[2].decode("latin-1"), notary[3]) if notary else ("", b"")
            each.append(Told(report.word, status, diagnostic, report.text))
        told.append(each)
    return told


class _Reactor:
    """The agent's own delayed calls, all of which end with it as they would with its process."""

    def __init__(self) -> None:
        self._calls: list[Any] = []

    def callLater(self, seconds: float, function: Any, *arguments: Any) -> Any:
        """See IReactorTime."""
        call = _reactor.callLater(seconds, function, *arguments)
        self._calls = [each for each in self._calls if each.active()] + [call]
        return call

    def end(self) -> None:
        """Forget everything."""
        for call in self._calls:
            if call.active():
                call.cancel()


class _Agent(Agent):
    """An agent whose warnings are kept."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        """See Agent."""
        self.warnings.append(text)


class _Play:
    """One behaviour, played once."""

    def __init__(self, behaviour: Behaviour, doctor: Doctor | None, spool: SpoolMaker, pulse: Pulse) -> None:
        self._behaviour = behaviour
        self._now = pulse.seconds
        self._spool = spool
        self._servers = Servers(behaviour, doctor, self._asked)
        self._reactor = _Reactor()
        self._ended: Deferred[None] = Deferred()
        self._violations: list[str] = []
        self._feeding = Feeding((), read=self._control_file, overfeed=20, heeds_retryat=False)
        self._agent = _Agent(
            self._reactor,
            pid=os.getpid(),
            host=None,
            forced=self._servers_forced,
            write=self._heard,
            ended=self._end,
        )

    # set before the agent looks at it
    _servers_forced = b"[127.0.0.1]"

    async def run(self) -> Outcome:
        """Play it to its end."""
        behaviour, agent = self._behaviour, self._agent
        with self._servers as servers:
            files = put(self._spool, behaviour.mails)
            self._equip()
            begun = self._now()
            waiting = list(zip(files, behaviour.mails, strict=True))
            agent.begin()
            while waiting or not self._is_quiet:
                if waiting and (self._is_idle or not waiting[0][1].pause):
                    file, mail = waiting.pop(0)
                    await deferLater(_reactor, mail.pause, self._feed, file.name)
                    continue
                if self._now() - begun > behaviour.within or self._violations or self._ended.called:
                    break
                await deferLater(_reactor, 0.005)
            seconds = self._now() - begun
            if not self._is_quiet and not self._violations and not self._ended.called:
                self._violations.append(f"not everything was reported in {behaviour.within} seconds")
                agent.stop()
            agent.end_of_orders()
            await self._until(lambda: self._ended.called, "the agent did not end")
            await self._until(
                lambda: all(each.is_finished for each in servers.conversations), "connections are still open"
            )
            self._reactor.end()
            return Outcome(
                account(files, self._feeding.reports),
                servers.conversations,
                servers.receipts,
                self._violations,
                agent.warnings,
                seconds,
            )

    async def _until(self, condition: Callable[[], bool], otherwise: str) -> None:
        until = self._now() + _PARTING
        while not condition():
            if self._now() > until:
                self._violations.append(f"{otherwise} after {_PARTING} seconds")
                return
            await deferLater(_reactor, 0.005)

    @property
    def _is_idle(self) -> bool:
        return self._feeding.is_idle

    @property
    def _is_quiet(self) -> bool:
        return self._feeding.is_idle and len(self._feeding.fed) == len(self._behaviour.mails)

    # The scheduler's side

    def _control_file(self, path: str) -> bytes | None:
        try:
            with open(os.path.join(self._spool.transport, path), "rb") as file:
                return file.read()
        except OSError:
            return None

    def _feed(self, name: str) -> None:
        self._tell(self._feeding.add(FedJob(name, HOST)))

    def _heard(self, octets: bytes) -> None:
        if not octets.endswith(b"\n"):
            self._violations.append(f"a line without an end: {octets[-80:]!r}")
        try:
            for line in octets.split(b"\n")[:-1]:
                self._tell(self._feeding.receive(line))
        except Violation as error:
            self._violations.append(str(error))

    def _tell(self, lines: list[bytes]) -> None:
        if lines:
            self._reactor.callLater(0, self._agent.receive, b"".join(lines))

    def _asked(self, name: str) -> None:
        """A script wants something of the client; called in a thread of its server."""
        if name == "stop":
            _reactor.callFromThread(self._agent.stop)

    def _end(self) -> None:
        self._ended.callback(None)

    # The agent's side

    def _equip(self) -> None:
        options, agent = self._behaviour.options, self._agent
        route = self._servers.route
        contexts = (
            ClientContexts()
        )  # its own: all servers have the same name, and none knows another's sessions

        def find(target: Target, rules: RouteRules) -> Deferred[Route | Trouble]:
            return succeed(route)

        agent.conduct = Conduct(
            channel=b"smtp",
            agent=b"smtp[%d]" % agent.pid,
            wishes=Wishes(received_for=False),
            lmtp="lmtp" in options,
            ignore_ezmlm=False,
            report=agent.report,
            finished=agent.finished,
            warn=agent.warn,
            clock=time.time,
        )
        agent.equipment = Equipment(
            reactor=_reactor,
            manner=_manner(self._behaviour),
            rules=RouteRules,
            find=find,
            context_for=lambda hop: contexts.creator_for(hop.name),
            broken_tls={},
            connections=next((int(one[12:]) for one in options if one.startswith("connections=")), 1),
            one_message="one-message" in options,
            send_buffer=4096 if "narrow" in options else None,
        )


def _manner(behaviour: Behaviour) -> Manner:
    options = behaviour.options
    timeouts = Timeouts(*[_UNHURRIED] * len(Timeouts._fields))._replace(**behaviour.timeouts)
    esmtp = {"helo": Esmtp.NEVER, "if-announced": Esmtp.IF_ANNOUNCED}
    tls = {"tls": Tls.OPPORTUNISTIC, "tls-required": Tls.REQUIRED}
    return Manner(
        name=b"client.example",
        lmtp="lmtp" in options,
        esmtp=next((esmtp[one] for one in options if one in esmtp), Esmtp.ALWAYS),
        tls=next((tls[one] for one in options if one in tls), Tls.NEVER),
        pipelining="no-pipelining" not in options,
        timeouts=timeouts,
    )


async def _play_one(
    behaviour: Behaviour, doctor: Doctor | None, spool: SpoolMaker, pulse: Pulse
) -> Outcome | BaseException:
    await pulse.admit()
    try:
        return await _Play(behaviour, doctor, spool, pulse).run()
    except Exception as error:  # noqa: BLE001  one play that falls through must not end the others
        return error


def play_all(
    pairs: Sequence[tuple[Behaviour, Doctor | None]],
) -> Deferred[dict[str, Outcome | BaseException]]:
    """Play many behaviours, several at a time; the result names each by its title."""
    return ensureDeferred(_play_all(pairs))


async def _play_all(
    pairs: Sequence[tuple[Behaviour, Doctor | None]],
) -> dict[str, Outcome | BaseException]:
    places = DeferredSemaphore(_AT_ONCE)
    # those that wait go first and together: the busy ones must not make them late
    pairs = sorted(pairs, key=lambda pair: not pair[0].timeouts)
    back = os.getcwd()
    pulse = Pulse(_reactor)
    pulse.start()
    with SpoolMaker() as spool:
        os.chdir(spool.transport)  # where an agent works
        try:
            results = await DeferredList(
                [places.run(_play_one, behaviour, doctor, spool, pulse) for behaviour, doctor in pairs]
            )
        finally:
            pulse.stop()
            os.chdir(back)
    gc.collect()  # errors that nobody took are logged now
    return {behaviour.title: result for (behaviour, _), (_, result) in zip(pairs, results, strict=True)}
