"""A name server on loopback that answers, or lies, as a test tells it, over UDP and TCP on one port.

Its messages are made with dnspython, so that zsmtp's own reader is held against somebody else's writer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
from twisted.internet import reactor as the_reactor
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.trial.unittest import TestCase

__all__ = ["Asked", "LyingServer", "Zone", "answer", "many"]

reactor: Any = the_reactor
SOA = "example. 60 IN SOA ns.example. root.example. 1 3600 600 86400 30"


class Asked(NamedTuple):
    """One query as it came."""

    query: dns.message.Message
    octets: bytes
    over_tcp: bool
    address: Any

    @property
    def name(self) -> str:
        """The name asked for, as it was spelled, without the final dot."""
        return self.query.question[0].name.to_text(omit_final_dot=True)

    @property
    def type(self) -> str:
        """The type asked for."""
        return dns.rdatatype.to_text(self.query.question[0].rdtype)

    @property
    def edns(self) -> bool:
        """Whether the query speaks EDNS."""
        return self.query.edns >= 0


def answer(
    asked: Asked, *records: str, code: str = "NOERROR", flags: str = "QR RD RA", authority: str = ""
) -> dns.message.Message:
    """Make a true reply to a query; records are lines of a zone file with all fields."""
    message = dns.message.make_response(asked.query)
    message.flags = dns.flags.from_text(flags)
    message.set_rcode(dns.rcode.from_text(code))
    for text, section in [(record, message.answer) for record in records] + [(authority, message.authority)]:
        if text:
            owner, ttl, _, kind, data = text.split(" ", 4)
            section.append(dns.rrset.from_text(owner, int(ttl), "IN", kind, data))
    return message


def many(asked: Asked, hosts: Iterable[str]) -> bytes:
    """Make a reply with an MX record for each host, in the order of their preferences."""
    records = []
    for preference, host in enumerate(hosts):
        data = preference.to_bytes(2, "big") + dns.name.from_text(host).to_digestable()
        records.append(b"\xc0\x0c\0\x0f\0\1\0\0\1\x2c" + len(data).to_bytes(2, "big") + data)
    end = asked.octets.index(b"\0", 12) + 5
    counts = b"\0\1" + len(records).to_bytes(2, "big") + bytes(4)
    return asked.octets[:2] + b"\x81\x80" + counts + asked.octets[12:end] + b"".join(records)


class Zone:
    """Answers truthfully from records such as "d.example MX 10 mx.example", with aliases followed.

    Names have no final dot, except in data.  A type such as "SERVFAIL", without data, makes that the answer
    for all types of the name.
    """

    def __init__(self, *records: str, ttl: int = 300, flags: str = "QR RD RA") -> None:
        self._records = [tuple(record.split(" ", 2)) for record in records]
        self._ttl = ttl
        self._flags = flags

    def __call__(self, asked: Asked) -> Iterable[bytes]:
        name, found = asked.name.lower(), []
        while True:
            mine = [record for record in self._records if record[0] == name]
            codes = [record[1] for record in mine if len(record) == 2]
            found += self._lines(mine, asked.type)
            aliases = [record[2].removesuffix(".") for record in mine if record[1] == "CNAME"]
            if codes or not aliases:
                break
            found += self._lines(mine, "CNAME")
            name = aliases[0]
        code = codes[0] if codes else "NOERROR" if mine else "NXDOMAIN"
        negative = code in ("NOERROR", "NXDOMAIN") and not self._lines(mine, asked.type)
        authority = SOA if negative else ""
        message = answer(asked, *found, code=code, flags=self._flags, authority=authority)
        return [message.to_wire(max_size=65535)]

    def _lines(self, records: list[tuple[str, ...]], kind: str) -> list[str]:
        return [f"{each[0]}. {self._ttl} IN {kind} {each[2]}" for each in records if each[1] == kind]


class LyingServer:
    """Answers each query with the octets that `script` gives for it: none, one or several messages.

    Over TCP the messages go with their length in front, unless `raw`; then the connection stays open.
    """

    def __init__(self, script: Callable[[Asked], Iterable[bytes]], *, raw: bool = False) -> None:
        self.script = script
        self.raw = raw
        self.asked: list[Asked] = []
        self._connections: list[_Tcp] = []

    def start(self, case: TestCase, *, tcp: bool = True, interface: str = "127.0.0.1") -> tuple[str, int]:
        """Listen until the end of a test; give address and port."""
        for _ in range(20):
            udp = reactor.listenUDP(0, _Udp(self), interface=interface, maxPacketSize=65535)
            port = udp.getHost().port
            try:
                listening = reactor.listenTCP(port, _TcpFactory(self), interface=interface) if tcp else None
                break
            except CannotListenError:
                case.addCleanup(udp.stopListening)
        self._udp = udp
        case.addCleanup(udp.stopListening)
        case.addCleanup(self.hang_up)
        if listening is not None:
            case.addCleanup(listening.stopListening)
        return interface, port

    def send(self, octets: bytes, address: Any) -> None:
        """Send a datagram, now."""
        self._udp.write(octets, address)

    def hang_up(self) -> None:
        """Close all connections."""
        for connection in self._connections:
            connection.hang_up()

    def connected(self, connection: _Tcp) -> None:
        """Note a connection."""
        self._connections.append(connection)

    def replies(self, octets: bytes, address: Any, *, over_tcp: bool) -> Iterable[bytes]:
        """Note a query and give what the script says."""
        asked = Asked(dns.message.from_wire(octets), octets, over_tcp, address)
        self.asked.append(asked)
        return self.script(asked)

    def questions(self) -> list[str]:
        """Give what was asked so far: "d.example MX", with " TCP" behind where it came so."""
        return [f"{each.name.lower()} {each.type}" + " TCP" * each.over_tcp for each in self.asked]


class _Udp(DatagramProtocol):
    noisy = False

    def __init__(self, server: LyingServer) -> None:
        self._server = server

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        assert self.transport is not None
        for reply in self._server.replies(datagram, addr, over_tcp=False):
            self.transport.write(reply, addr)


class _Tcp(Protocol):
    def __init__(self, server: LyingServer) -> None:
        self._server = server
        self._received = b""

    def connectionMade(self) -> None:
        self._server.connected(self)

    def hang_up(self) -> None:
        """Close the connection."""
        assert self.transport is not None
        self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self._received += data
        size = int.from_bytes(self._received[:2], "big")
        if len(self._received) < 2 + size:
            return
        for reply in self._server.replies(self._received[2:], None, over_tcp=True):
            self.transport.write(reply if self._server.raw else len(reply).to_bytes(2, "big") + reply)


class _TcpFactory(Factory):
    noisy = False

    def __init__(self, server: LyingServer) -> None:
        self._server = server

    def buildProtocol(self, addr: Any) -> _Tcp:
        return _Tcp(self._server)
