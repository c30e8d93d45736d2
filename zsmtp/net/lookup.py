"""One look-up: a name and a type of record, from the question to an `Answer`.

Asks the name servers in turn, again if they were silent, and follows aliases (CNAME) from name to name; only
records that such a chain leads to are believed.  Whatever a server does wrong makes it one that failed:
only two things count as "there is no such thing", a clear NXDOMAIN and a clear empty answer.
Remembers no answers: see `zsmtp.net.resolve`.
Sources: RFC 1034 section 3.6.2, RFC 2308, RFC 8020; resolv.conf(5).
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from zsmtp.destination import ADDRESSES_PER_HOST, Answer, Outcome
from zsmtp.net.dnsmessage import Message, Record, Type, Unreadable, query, read, readable, wire_name
from zsmtp.net.nameserver import NameServer, NoReply, Reactor, ask
from zsmtp.net.systemfiles import ResolvConf

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

__all__ = ["Lookups"]

MAXIMUM_ALIASES = 8
_PATIENCE = 30.0  # seconds for one name and type, with all servers and aliases
_SHUN_FOR = 60.0  # seconds that a silent server is asked last
_NAME_SERVER = 2  # the type NS
_NO_ERROR, _FORMAT_ERROR, _NO_SUCH_NAME, _NOT_IMPLEMENTED, _BAD_VERSION = 0, 1, 3, 4, 16
_CODES = {
    1: "format error (FORMERR)",
    2: "server failure (SERVFAIL)",
    4: "not implemented (NOTIMP)",
    5: "refused (REFUSED)",
}


class Lookups:
    """The name servers of this machine, and what is to be known about asking them."""

    __slots__ = ("_clock", "_configuration", "_random", "_reactor", "_shunned")

    def __init__(
        self, reactor: Reactor, clock: IReactorTime, random: Random, configuration: Callable[[], ResolvConf]
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._random = random
        self._configuration = configuration
        self._shunned: dict[NameServer, float] = {}

    async def look_up(self, name: str, record_type: Type) -> Answer[Any]:
        """Find the records of a name; every failure is an Answer too."""
        deadline = self._clock.seconds() + _PATIENCE
        trail = _Trail(name, record_type)
        while trail.answer is None:
            message = await self._ask_all(trail.name, record_type, deadline)
            if isinstance(message, str):
                return Answer(Outcome.UNAVAILABLE, canonical=readable(trail.name), text=message)
            trail.follow(message)
        return trail.answer

    async def _ask_all(self, name: bytes, record_type: Type, deadline: float) -> Message | str:
        """Give the first usable reply, or what was wrong with each server."""
        configuration = self._configuration()
        failures: dict[NameServer, NoReply] = {}
        for _ in range(configuration.attempts):
            for server in self._in_turn(configuration.servers):
                patience = min(configuration.timeout, deadline - self._clock.seconds())
                if patience <= 0:
                    break
                if server in failures and not failures[server].timed_out:
                    continue  # what it says once it says again
                reply = await self._ask(server, name, record_type, patience)
                if isinstance(reply, Message):
                    self._shunned.pop(server, None)
                    return reply
                failures[server] = reply
                if reply.timed_out:
                    self._shunned[server] = self._clock.seconds() + _SHUN_FOR
        texts = [f"{server}: {failure.text}" for server, failure in failures.items()]
        return "; ".join(texts) or "no time was left to ask for it"

    def _in_turn(self, servers: tuple[NameServer, ...]) -> list[NameServer]:
        now = self._clock.seconds()
        return sorted(servers, key=lambda server: self._shunned.get(server, 0.0) > now)

    async def _ask(
        self, server: NameServer, name: bytes, record_type: Type, patience: float
    ) -> Message | NoReply:
        trusted = server.is_on_this_machine
        for edns in (True, False):
            identity, case = self._random.getrandbits(16), self._random.getrandbits(len(name))
            octets = query(name, record_type, identity, case=case, edns=edns, authentic=trusted)
            reply = await ask(self._reactor, self._clock, server, octets, patience)
            if isinstance(reply, NoReply):
                return reply
            try:
                message = read(reply)
            except Unreadable as error:
                return NoReply(f"its answer cannot be read: {error}")
            # RFC 6891 7: a server that does not know EDNS.
            if not (edns and message.code in (_FORMAT_ERROR, _NOT_IMPLEMENTED, _BAD_VERSION)):
                break
        objection = _objection(message, name, record_type)
        if objection:
            return NoReply(objection)
        return message if trusted else message._replace(authentic=False)


def _objection(message: Message, name: bytes, record_type: Type) -> str:
    """Say why a reply is not an answer; "" if it is one."""
    if message.code not in (_NO_ERROR, _NO_SUCH_NAME):
        return _CODES.get(message.code, f"response code {message.code}")
    if message.truncated:
        return "its answer is cut short even over TCP"
    if message.code == _NO_SUCH_NAME and any(record.type == record_type for record in message.answers):
        return "its answer contradicts itself"
    if message.answers and not any(record.owner == name for record in message.answers):
        return "its answer is about another name"  # not taken for "no such record": mail would go elsewhere
    if not (message.answers or message.authoritative or message.recursion_available):
        return "it does not answer for this name"  # lame: its emptiness is no answer
    if not (message.code or message.answers or message.authoritative) and _refers(message):
        return "it refers to other name servers"
    return ""


def _refers(message: Message) -> bool:
    """Tell a referral from an empty answer.  Source: RFC 2308 section 2.2.1."""
    kinds = {record.type for record in message.authority}
    return _NAME_SERVER in kinds and Type.SOA not in kinds


class _Trail:
    """The way from a name along its aliases, and the answer once it is reached."""

    __slots__ = ("_authentic", "_record_type", "_seen", "_ttl", "answer", "name")

    def __init__(self, name: str, record_type: Type) -> None:
        self.name = wire_name(name)
        self.answer: Answer[Any] | None = None
        self._record_type = record_type
        self._seen = [self.name]
        self._ttl = 0x7FFFFFFF
        self._authentic = True

    def follow(self, message: Message) -> None:
        """Go on with what a reply to a question for `name` says."""
        self._authentic = self._authentic and message.authentic
        start = self.name
        while self.answer is None:
            records = [record for record in message.answers if record.owner == self.name]
            values = [record for record in records if record.type == self._record_type]
            aliases = [record for record in records if record.type == Type.CNAME]
            if values:
                self._arrive(values)
            elif aliases:
                self._step(aliases[0])
            else:
                break
        if self.answer is None:
            holds = [record.value for record in message.authority if record.type == Type.SOA]
            if message.code == _NO_SUCH_NAME or self.name == start or holds:
                # RFC 2308 5: what has no SOA is not to be kept.
                self._ttl = min(self._ttl, holds[0] if holds and isinstance(holds[0], int) else 0)
                missing = message.code == _NO_SUCH_NAME
                self._end(Outcome.NO_SUCH_NAME if missing else Outcome.NO_DATA)

    def _arrive(self, records: list[Record]) -> None:
        values = tuple(record.value for record in records if record.value is not None)
        if self._record_type is not Type.MX:
            values = values[:ADDRESSES_PER_HOST]  # 127 hosts with 4,000 each would be 100 MB
        self._ttl = min(self._ttl, *(record.ttl for record in records))
        if values:
            self._end(Outcome.FOUND, values)
        else:
            self._end(Outcome.UNAVAILABLE, text="its records cannot be read")

    def _step(self, alias: Record) -> None:
        self._ttl = min(self._ttl, alias.ttl)
        if not isinstance(alias.value, bytes):
            self._end(Outcome.UNAVAILABLE, text="its alias cannot be read")
        elif alias.value in self._seen:
            self._end(Outcome.ALIAS_LOOP, text=f"{readable(alias.value)} comes round again")
        elif len(self._seen) > MAXIMUM_ALIASES:
            self._end(Outcome.ALIAS_LOOP, text=f"more than {MAXIMUM_ALIASES} aliases")
        elif readable(alias.value) in ("", "."):
            self._end(Outcome.ALIAS_LOOP, text="the last one is not the name of a host")
        else:
            self._seen.append(alias.value)
            self.name = alias.value

    def _end(self, outcome: Outcome, values: tuple[Any, ...] = (), *, text: str = "") -> None:
        self.answer = Answer(outcome, values, readable(self.name), self._ttl, self._authentic, text)
