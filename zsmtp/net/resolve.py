"""The resolver: from a `Target` to a `Route`, with a memory.

Answers are kept for as long as their TTL says, between bounds; a question that is already on its way is not
asked a second time; at most so many are on their way at once.  Addresses come from the hosts file before
the DNS, mail exchangers only from the DNS, localhost never from there.  Every wait has a deadline, every
failure is a value.
Does not decide: see `zsmtp.destination`.  Knows DNS servers only through `zsmtp.net.lookup`.
Sources: RFC 5321 section 5.1, RFC 2308 sections 5 and 7.1, RFC 6761 section 6.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address
from random import Random, SystemRandom
from typing import TYPE_CHECKING, Any, TypeAlias

from twisted.internet.defer import CancelledError, Deferred, DeferredList, DeferredSemaphore, succeed
from twisted.logger import Logger

from zsmtp.destination import (
    Address,
    Answer,
    MailExchanger,
    Name,
    Outcome,
    Route,
    RouteRules,
    Target,
    WellKnownServices,
    hosts_to_ask,
    route,
)
from zsmtp.errors import Misuse
from zsmtp.net.dnsmessage import Type
from zsmtp.net.lookup import Lookups
from zsmtp.net.nameserver import NameServer, Reactor
from zsmtp.net.systemfiles import ResolvConf, WatchedFile, read_hosts, read_resolv_conf
from zsmtp.target import numeric
from zsmtp.trouble import Kind, Trouble

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure

__all__ = ["Resolver"]

# Seconds that answers are kept: at most, whatever their TTL.
_LONGEST = 3600.0
_LONGEST_NEGATIVE = 900.0
_UNAVAILABLE_FOR = 20.0  # RFC 2308 7.1: so that a queue of messages does not ask a dead server one by one
_MAXIMUM_KEPT = 20_000  # answers and their values together: some 8 MB at worst
_LOCALHOST = (IPv4Address("127.0.0.1"), IPv6Address("::1"))
_log = Logger()
_Key: TypeAlias = tuple[str, Type]


class Resolver:
    """Finds hosts.  One for a process."""

    def __init__(
        self,
        reactor: Reactor,
        *,
        servers: Sequence[tuple[str, int]] | None = None,
        hosts_file: str = "/etc/hosts",
        resolv_conf: str = "/etc/resolv.conf",
        random: Random | None = None,
        clock: IReactorTime | None = None,
        patience: float = 60.0,
        parallel: int = 256,
    ) -> None:
        """Ask `servers`, numeric addresses with ports, instead of those in `resolv_conf`.

        `patience` is in seconds, for one `find`; `parallel` is the number of look-ups, each with a socket,
        that may be on their way at once.  Raises Misuse if a server is not numeric.
        """
        if not all(numeric(host) for host, _ in servers or ()):
            raise Misuse("the address of a name server must be numeric")
        self._clock: IReactorTime = clock or reactor
        self._random = random or SystemRandom()
        self._patience = patience
        self._hosts = WatchedFile(hosts_file, read_hosts, self._clock.seconds)
        self._resolv_conf = WatchedFile(resolv_conf, read_resolv_conf, self._clock.seconds)
        self._servers = tuple(NameServer(*each) for each in servers or ())
        self._lookups = Lookups(reactor, self._clock, self._random, self._configuration)
        self._cache = _Cache()
        self._running: dict[_Key, _Running] = {}
        self._slots = DeferredSemaphore(parallel)
        self._closed = False

    def find(self, target: Target, rules: RouteRules) -> Deferred[Route | Trouble]:
        """Find the hops that lead to a target.  Fails only if it is cancelled."""
        return Deferred.fromCoroutine(self._find(target, rules)).addErrback(_own_fault)

    def exchangers(self, domain: str) -> Deferred[Answer[MailExchanger]]:
        """Look the MX records of a domain up."""
        return self._look_up((domain, Type.MX))

    def services(self, host: str) -> Deferred[Answer[WellKnownServices]]:
        """Look the WKS records of a host up."""
        return self._look_up((host, Type.WKS))

    def addresses(self, host: str, record_type: Type) -> Deferred[Answer[Address]]:
        """Look the addresses of a host up: Type.A or Type.AAAA."""
        local = self._local_addresses(host)
        if local:
            values = tuple(each for each in local if each.version == (4 if record_type is Type.A else 6))
            return succeed(Answer(Outcome.FOUND if values else Outcome.NO_DATA, values, host))
        return self._look_up((host, record_type))

    def close(self) -> None:
        """End what is on its way: everything asked is answered as unavailable."""
        self._closed = True
        for running in tuple(self._running.values()):
            if running.task is not None:
                running.task.cancel()

    async def _find(self, target: Target, rules: RouteRules) -> Route | Trouble:
        mail: Answer[MailExchanger] | None = None
        addresses: dict[str, list[Answer[Address]]] = {}
        if isinstance(target, Name):
            deadline = self._clock.seconds() + self._patience
            if rules.use_mx and not _is_localhost(target.name):
                mail = await self._in_time(self.exchangers(target.name), deadline)
                addresses = await self._addresses_of(hosts_to_ask(target, mail, rules), rules, deadline)
            else:
                addresses[target.name] = await self._searched(target.name, rules, deadline)
        return route(target, mail, addresses, rules, shuffle=self._random.shuffle)

    async def _searched(self, name: str, rules: RouteRules, deadline: float) -> list[Answer[Address]]:
        """Give the addresses of a name whose MX nobody asks for; a short one may stand for a longer one."""
        configuration = self._configuration()
        short = name.count(".") < configuration.ndots and not self._local_addresses(name)
        longer = [f"{name}.{domain}" for domain in configuration.search] if short else []
        for each in (*longer, name):
            answers = (await self._addresses_of([each], rules, deadline))[each]
            if any(answer.outcome in (Outcome.FOUND, Outcome.UNAVAILABLE) for answer in answers):
                break
        return answers

    async def _addresses_of(
        self, hosts: Iterable[str], rules: RouteRules, deadline: float
    ) -> dict[str, list[Answer[Address]]]:
        types = (Type.A, Type.AAAA) if rules.use_inet6 else (Type.A,)
        answers: dict[str, list[Answer[Address]]] = {host: [] for host in hosts}
        waits = [
            self._in_time(self.addresses(host, record_type), deadline).addCallback(into.append)
            for host, into in answers.items()
            for record_type in types
        ]
        results = await DeferredList(waits, consumeErrors=True)
        if not all(succeeded for succeeded, _ in results):
            raise CancelledError
        return answers

    def _in_time(self, wait: Deferred[Answer[Any]], deadline: float) -> Deferred[Answer[Any]]:
        """Turn a deferred that has not fired at the deadline into an answer of its own."""
        if wait.called:
            return wait
        late: Answer[Any] = Answer(Outcome.UNAVAILABLE, text=f"no answer within {self._patience:.3g} s")
        left = max(0.0, deadline - self._clock.seconds())
        return wait.addTimeout(left, self._clock, lambda *_: late)

    def _configuration(self) -> ResolvConf:
        found = self._resolv_conf.contents()
        return found._replace(servers=self._servers) if self._servers else found

    def _local_addresses(self, host: str) -> tuple[Address, ...]:
        """Give what is known without the DNS: the hosts file, localhost, and a name that is an address."""
        known = self._hosts.contents().addresses.get(host)
        if known is None:
            address = numeric(host)
            known = (address,) if address else _LOCALHOST if _is_localhost(host) else ()
        return known

    def _look_up(self, key: _Key) -> Deferred[Answer[Any]]:
        """Answer from memory, or wait for a look-up that is running, or start one."""
        known = self._cache.get(key, self._clock.seconds())
        if known is not None:
            return succeed(known)
        if self._closed:
            return succeed(_CLOSED)
        running = self._running.get(key)
        if running is not None:
            return running.join()
        running = self._running[key] = _Running()
        waiter = running.join()
        work = Deferred.fromCoroutine(self._work(key))
        running.task = work.addErrback(_no_answer).addCallback(self._finished, key)
        return waiter

    async def _work(self, key: _Key) -> Answer[Any]:
        async with self._slots:
            return await self._lookups.look_up(*key)

    def _finished(self, answer: Answer[Any], key: _Key) -> None:
        self._cache.put(key, answer, self._clock.seconds())
        waiters = self._running.pop(key).waiters
        while waiters:
            waiters.pop(0).callback(answer)


_CLOSED: Answer[Any] = Answer(Outcome.UNAVAILABLE, text="the resolver was closed")


class _Running:
    """A look-up on its way, and those who wait for it."""

    __slots__ = ("task", "waiters")

    def __init__(self) -> None:
        self.task: Deferred[None] | None = None
        self.waiters: list[Deferred[Answer[Any]]] = []

    def join(self) -> Deferred[Answer[Any]]:
        """Wait too; who loses patience leaves the others alone."""
        waiter: Deferred[Answer[Any]] = Deferred(self.waiters.remove)
        self.waiters.append(waiter)
        return waiter


class _Cache:
    """Answers by name and type.  The oldest go first when there is no more room."""

    __slots__ = ("_entries", "_held")

    def __init__(self) -> None:
        self._entries: dict[_Key, tuple[float, Answer[Any]]] = {}
        self._held = 0

    def get(self, key: _Key, now: float) -> Answer[Any] | None:
        until, answer = self._entries.get(key, (0.0, None))
        return answer if now < until else None

    def put(self, key: _Key, answer: Answer[Any], now: float) -> None:
        self._drop(key)
        if answer.outcome is Outcome.UNAVAILABLE:
            life = _UNAVAILABLE_FOR
        else:
            life = min(answer.ttl, _LONGEST if answer.outcome is Outcome.FOUND else _LONGEST_NEGATIVE)
        if life > 0:
            self._entries[key] = (now + life, answer)
            self._held += 1 + len(answer.values)
        while self._held > _MAXIMUM_KEPT:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: _Key) -> None:
        _, answer = self._entries.pop(key, (0.0, None))
        if answer is not None:
            self._held -= 1 + len(answer.values)


def _is_localhost(name: str) -> bool:
    return name == "localhost" or name.endswith(".localhost")


def _no_answer(failure: Failure) -> Answer[Any]:
    if failure.check(CancelledError):
        return _CLOSED
    _log.failure("a look-up failed", failure)
    return Answer(Outcome.UNAVAILABLE, text="an error in zsmtp itself")


def _own_fault(failure: Failure) -> Trouble:
    if failure.check(CancelledError):
        failure.raiseException()
    _log.failure("finding a host failed", failure)
    return Trouble(Kind.INTERNAL, b"an error in zsmtp itself while finding the host")
