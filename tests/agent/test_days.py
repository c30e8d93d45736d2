"""Days under the scheduler: a virtual one with all its troubles, and a compressed one of real agents.

Nothing may be lost: at the end each recipient has its mail or its diagnostic, whatever happened on the way.
The scheduler's side (`zsmtp.testing.feeding`) fails at the first line that is out of order, and compares each
report with what stands in the control file.
"""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.python.failure import Failure

from tests.agent.agents import AgentCase
from tests.agent.virtual import VirtualAgent, _Reactor
from zsmtp.destination import Family, Hop, Route, RouteRules
from zsmtp.target import Name
from zsmtp.testing.feeding import Feeding, Job
from zsmtp.testing.memory import Link
from zsmtp.testing.spool import Addressee, SpooledMail
from zsmtp.testing.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from zsmtp.target import Target
    from zsmtp.testing.peer import Behaviour
    from zsmtp.trouble import Trouble

HOUR = 3600.0
INTERVAL = 120.0
RETRIES = (1, 2, 4, 8, 16, 32)
IDLE_MOST = 900.0

Host = "Callable[[float], Behaviour | None]"
"""Who answers a connection at that second of the day; None: nobody listens."""


class Town(_Reactor):
    """A clock, and the hosts of a town, which keep their ways while agents come and go."""

    def __init__(self, hosts: dict[str, Callable[[float], Behaviour | None]]) -> None:
        super().__init__(())
        self.hosts = hosts
        self.alive: list[Link] = []
        self.addresses = {name: f"192.0.2.{number}" for number, name in enumerate(hosts, 1)}

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: object = None
    ) -> None:
        """Connect at once, or be refused."""
        name = next(name for name, address in self.addresses.items() if address == host)
        behaviour = self.hosts[name](self.seconds())
        if behaviour is None:
            self.callLater(0, factory.clientConnectionFailed, None, Failure(Refused()))
        else:
            link = Link(factory.buildProtocol(None), behaviour, clock=self)
            self.links.append(link)
            self.alive.append(link)

    def forget_the_dead(self) -> None:
        """Look no longer at connections that are over."""
        self.alive = [link for link in self.alive if not link.transport.disconnected]


class TownAgent(VirtualAgent):
    """An agent that knows the town."""

    def __init__(self, town: Town) -> None:
        self._town = town
        super().__init__()

    @property
    def links(self) -> list[Link]:
        """The connections that live."""
        return self._town.alive

    def _make_reactor(self, behaviours: tuple[Behaviour, ...]) -> _Reactor:
        return self._town

    def _find(self, target: Target | Trouble, rules: RouteRules) -> Deferred[Route | Trouble]:
        assert isinstance(target, Name)
        name = target.name
        address = self._town.addresses[name]
        return succeed(Route((Hop(address, 25, Family.INET, name, f"dns; {name}".encode(), "MX", name),)))


class Waiting:
    """A mail for one host, as the scheduler sees it."""

    def __init__(self, mail: SpooledMail, host: bytes, due: float) -> None:
        self.mail = mail
        self.host = host
        self.due = due
        self.attempts = 0

    @property
    def is_done(self) -> bool:
        """Whether every recipient has its final mark."""
        return all(tag in (b"+", b"-") for tag in self.mail.tags().values())

    def put_off(self, now: float) -> None:
        """Wait for the next turn, longer each time."""
        self.due = now + RETRIES[min(self.attempts, len(RETRIES) - 1)] * INTERVAL
        self.attempts += 1


class Scheduler:
    """Feeds one agent after the other from minute to minute of the virtual clock."""

    def __init__(self, town: Town, transport: str, overfeed: int) -> None:
        self.town = town
        self.agents = 0
        self.resyncs = 0
        self.waiting: list[Waiting] = []
        self.hosts_in_turn: list[bytes] = []
        self._transport = transport
        self._overfeed = overfeed
        self._fed: list[Waiting] = []
        self._agent: TownAgent | None = None
        self._told = 0
        self._busy_at = 0.0

    def minute(self) -> None:
        """Feed what is due, let a minute pass, and take stock."""
        now = self.town.seconds()
        due = [one for one in self.waiting if one.due <= now and one not in self._fed]
        if due and self._agent is None:
            self._start()
        for one in due:
            self._fed.append(one)
            self._send(self._feeding.add(Job(one.mail.name, one.host)))
        agent = self._agent
        if agent is None:
            self.town.advance(60)
            return
        for _ in range(1 if self._feeding.is_idle else 6):
            agent.advance(60 if self._feeding.is_idle else 10, step=60)
            self._listen()
        self.town.forget_the_dead()
        if self._feeding.is_idle:
            self._take_stock()
            if self._busy_at + IDLE_MOST < self.town.seconds():
                self.end()

    def end(self, octets: bytes = b"\n") -> None:
        """End the agent as the scheduler does with one that has been idle for long."""
        agent, self._agent = self._agent, None
        assert agent is not None
        agent.feed(octets)
        agent.advance(12)
        assert agent.ended == 1, "the agent did not end in time"
        assert agent.agent.exit_status == 0

    @property
    def is_running(self) -> bool:
        """Whether there is an agent."""
        return self._agent is not None

    def _start(self) -> None:
        self._feeding = Feeding([], read=self._read, overfeed=self._overfeed, heeds_retryat=False)
        self._agent = TownAgent(self.town)
        self.agents += 1
        self._told = 0
        self._listen()

    def _send(self, lines: list[bytes]) -> None:
        assert self._agent is not None
        self.hosts_in_turn += [line.split(b"\t")[1] for line in lines if b"\t" in line]
        if lines:
            self._busy_at = self.town.seconds()
            self._agent.feed(b"".join(line if line.endswith(b"\n") else line + b"\n" for line in lines))
            self._listen()

    def _listen(self) -> None:
        agent = self._agent
        assert agent is not None
        while self._told < len(agent.lines):
            line = agent.lines[self._told]
            self._told += 1
            self._send(self._feeding.receive(line))

    def _take_stock(self) -> None:
        self.resyncs += len(self._feeding.resyncs)
        self._feeding.resyncs.clear()
        for one in self._fed:
            if one.is_done:
                self.waiting.remove(one)
            else:
                one.put_off(self.town.seconds())
        self._fed.clear()

    def _read(self, path: str) -> bytes | None:
        try:
            with open(os.path.join(self._transport, path), "rb") as file:
                return file.read()
        except OSError:
            return None


def always(behaviour: Behaviour) -> Callable[[float], Behaviour | None]:
    """A host that never changes."""
    return lambda _: behaviour


def until(hour: float, early: Behaviour | None) -> Callable[[float], Behaviour | None]:
    """A host that is as it should be from that hour on."""
    late = Table()
    return lambda now: early if now < hour * HOUR else late


class VirtualDay(AgentCase):
    """Twenty-four hours in seconds."""

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.spool.transport)

    def test_nothing_is_lost_in_a_day_with_every_trouble(self) -> None:
        chance = random.Random(4)
        town = Town(
            {
                "good.example": always(Table()),
                "down.example": until(6, None),
                "silent.example": until(3, Table({"banner": "hang"})),
                "busy.example": until(9, Table({"banner": "421 4.3.2 busy+X"})),
                "grey.example": always(Table({"rcpt": ["451 4.7.1 later", "250 ok", "250 ok"] * 200})),
                "full.example": until(12, Table({"dot": "452 4.3.1 full"})),
                "strict.example": always(Table({"rcpt": ["250 ok", "550 5.1.1 nobody"] * 300})),
                "rude.example": always(Table({"dot": ["250 ok", "250 ok+X"] * 300})),
                "old.example": always(Table({"ehlo": "502 5.5.1 what"}, announce=[])),
            }
        )
        hosts = [name.encode() for name in town.hosts]
        scheduler = Scheduler(town, self.spool.transport, overfeed=7)
        everybody: list[tuple[Waiting, tuple[bytes, ...]]] = []
        lost_files = 0
        for minute in range(24 * 60):
            while minute < 20 * 60 and chance.random() < (0.6 if minute % 180 < 20 else 0.05):
                host = chance.choice(hosts)
                users = tuple(
                    b"u%d.%d@" % (len(everybody), number) + host for number in range(chance.choice((1, 1, 3)))
                )
                mail = self.spool.add(recipients=[Addressee(user, host) for user in users])
                one = Waiting(mail, host, town.seconds())
                everybody.append((one, users))
                scheduler.waiting.append(one)
                if chance.random() < 0.05:  # somebody else is done with it, and the scheduler does not know
                    lost_files += 1
                    os.unlink(mail.control_path)
                    everybody.pop()
                    scheduler.waiting.remove(one)
                    scheduler.waiting.append(_Gone(mail, host, town.seconds()))
            scheduler.minute()
        self.assertEqual([one.mail.name for one in scheduler.waiting], [])
        if scheduler.is_running:
            scheduler.end()
        self.assertGreater(len(everybody), 150)
        self.assertGreater(scheduler.agents, 3)
        self.assertEqual(scheduler.resyncs, lost_files)
        changes = sum(
            a != b for a, b in zip(scheduler.hosts_in_turn, scheduler.hosts_in_turn[1:], strict=False)
        )
        self.assertGreater(changes, 50)
        self.account(town, everybody)
        self.assertEqual([call for call in town.getDelayedCalls() if call.getTime() < town.seconds()], [])

    def account(self, town: Town, everybody: list[tuple[Waiting, tuple[bytes, ...]]]) -> None:
        """Compare what the hosts have got, one by one, with what the control files say."""
        got = Counter(
            user
            for link in town.links
            for message in link.conversation.messages
            for user in message.recipients
        )
        confirmed = Counter[bytes]()
        for one, users in everybody:
            told = {line.recipient for line in one.mail.diagnostics()}
            for user, offset in zip(users, one.mail.offsets, strict=True):
                tag = one.mail.tags()[offset]
                if tag == b"+":
                    confirmed[user] += 1
                    self.assertGreaterEqual(got[user], 1, f"{user!r} is marked delivered and was not")
                else:
                    self.assertEqual((tag, offset in told), (b"-", True), user)
        self.assertGreater(len(confirmed), 200)
        refused = {user for user in got if user not in confirmed}
        self.assertEqual({user.partition(b"@")[2] for user in refused}, set())
        twice = {user.partition(b"@")[2] for user, times in got.items() if times > 1}
        # a message that was refused for the time being after its end was taken by nobody
        self.assertLessEqual(twice, {b"full.example"})


class _Gone(Waiting):
    """A job whose control file has gone."""

    @property
    def is_done(self) -> bool:
        """The scheduler forgets it at the first #resync."""
        return True


class CompressedDay(AgentCase):
    """Real agents, one after the other, each of which is disturbed in another way."""

    def test_each_ends_in_time_and_nothing_is_lost_or_delivered_twice(self) -> None:
        server = self.server()
        users = [[b"u%d.%d@example.net" % (mail, number) for number in range(5)] for mail in range(90)]
        mails = [self.spool.add(recipients=people) for people in users]
        for disturb in (
            self.slow_shutdown,
            self.end_in_the_middle,
            self.closed_output,
            self.full_pipe,
            self.all_signals,
        ):
            for pipes in (False, True):
                with self.subTest(disturb.__name__, pipes=pipes):
                    disturb(self.next_agent(server, mails, pipes=pipes))
        rest = self.next_agent(server, mails, pipes=False, start=False)
        result = rest.run("eof")
        self.assertEqual(set(result.words.values()), {"ok3"} if result.words else set())
        for mail in mails:
            self.assertEqual(set(mail.tags().values()), {b"+"})
            self.assertEqual(mail.problems(), [])
        got = Counter(
            user for message in server.connections for each in message.messages for user in each.recipients
        )
        self.assertEqual(got, Counter(user for people in users for user in people))

    def next_agent(self, server: Any, mails: list[SpooledMail], *, pipes: bool, start: bool = True) -> Any:
        """Start an agent for what is left, and wait until it is at work."""
        left = [mail for mail in mails if b" " in mail.tags().values()]
        jobs = [Job(mail.name) for mail in left]
        stand_in = self.scheduler(server=server, jobs=jobs, overfeed=5, pipes=pipes)
        if start:
            stand_in.start()
            stand_in.pump(lambda: len(stand_in.feeding.reports) >= 8 or stand_in.feeding.is_idle)
        return stand_in

    def orderly(self, result: Any) -> None:
        """An agent that has ended leaves no lock."""
        self.assertEqual((result.exit_status, result.left_locked), (0, []))

    def slow_shutdown(self, stand_in: Any) -> None:
        """Two empty lines, the end of input, and SIGQUIT, as the scheduler does it."""
        stand_in.send(b"\n\n")
        stand_in.signal(signal.SIGQUIT)
        self.orderly(stand_in.finish("eof"))

    def end_in_the_middle(self, stand_in: Any) -> None:
        """The scheduler dies while it writes a line, and still reads."""
        self.orderly(stand_in.finish("fragment"))

    def closed_output(self, stand_in: Any) -> None:
        """Nobody reads any more."""
        self.orderly(stand_in.finish("close"))

    def full_pipe(self, stand_in: Any) -> None:
        """The scheduler does not read while it tells the agent to end, and goes on later."""
        stand_in.reads = False
        stand_in.signal(signal.SIGTERM)
        stand_in.watch(0.3)
        stand_in.reads = True
        self.orderly(stand_in.finish("wait"))

    def all_signals(self, stand_in: Any) -> None:
        """Every signal that ends an agent, together."""
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGTERM):
            stand_in.signal(number)
        self.orderly(stand_in.finish("wait"))
