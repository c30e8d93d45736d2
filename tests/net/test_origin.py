"""Local addresses and ports, with a reactor that only notes what it is asked for.

The same with the kernel is in tests/real/test_origin.py.
"""

from __future__ import annotations

import errno
import os
from ipaddress import ip_address
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.error import ConnectBindError, ConnectError, ConnectionRefusedError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.destination import Answer, Family, Hop, Outcome
from zsmtp.net.devices import Device
from zsmtp.net.dnsmessage import Type
from zsmtp.net.origin import HIGHEST_PORT, LOWEST_PORT, Origin, Ports
from zsmtp.target import local_identity
from zsmtp.trouble import Kind, Trouble

INET = Hop("198.51.100.1", 25, Family.INET, "mx.example", b"dns; mx.example", "MX", "mx.example")
INET6 = INET._replace(address="2001:db8:5::1", family=Family.INET6)
NEAR = INET._replace(address="fe80::5%eth0", family=Family.INET6)
DEVICES = tuple(
    Device(name, label, ip_address(address))
    for name, label, address in (
        ("lo", "lo", "127.0.0.1"),
        ("eth0", "eth0", "192.0.2.1"),
        ("eth0", "eth0:1", "192.0.2.2"),
        ("eth0", "eth0", "fe80::1"),
        ("eth0", "eth0", "2001:db8::1"),
    )
)


class _Reactor(Clock):
    """Answers each attempt with what `errors` says for its local port, or connects."""

    def __init__(self, errors: Any = None) -> None:
        super().__init__()
        self.errors = errors or (lambda _: None)
        self.bound: list[Any] = []

    def connectTCP(
        self, host: str, port: int, factory: Any, timeout: float = 30, bindAddress: Any = None
    ) -> None:
        """Note from where."""
        self.bound.append(bindAddress)
        factory.doStart()
        error = self.errors(bindAddress)
        if error is not None:
            factory.clientConnectionFailed(None, Failure(error))
        else:
            factory.buildProtocol(None).makeConnection(StringTransport())


class OriginTest(SynchronousTestCase):
    """Connects from an identity, given as on the command line."""

    def setUp(self) -> None:
        self.warnings: list[str] = []
        self.answer: Answer[Any] = Answer(Outcome.NO_SUCH_NAME)
        self.asked: list[tuple[str, Type]] = []

    def addresses(self, host: str, kind: Type) -> Deferred[Answer[Any]]:
        """Answer for a host."""
        self.asked.append((host, kind))
        return succeed(self.answer)

    def connect(
        self, identity: str | None, hop: Hop, *, errors: Any = None, start: int | None = None, **more: Any
    ) -> Any:
        """Connect; return the trouble, or the local address and port that were asked for."""
        ports = None if start is None else Ports(start, self.warnings.append)
        place = None if identity is None else local_identity(identity)
        origin = Origin(place, ports, self.addresses, devices=lambda: DEVICES, **more)
        return self.connect_by(origin, hop, errors)

    def connect_by(self, origin: Origin, hop: Hop, errors: Any = None) -> Any:
        """The same with an origin that may have connected before."""
        self.reactor = _Reactor(errors)
        work = origin.connect(self.reactor, hop, Factory.forProtocol(Protocol), seconds=10)
        trouble: Trouble | None = self.successResultOf(ensureDeferred(work))
        return self.reactor.bound[-1] if trouble is None else trouble


class Identity(OriginTest):
    def test_each_form_gives_the_address_of_the_hops_family(self) -> None:
        for identity, hop, bound in (
            (None, INET, None),
            ("any", INET, None),
            ("ANY6", INET6, None),
            ("[192.0.2.7]", INET, ("192.0.2.7", 0)),
            ("[IPv6:2001:db8::7]", INET6, ("2001:db8::7", 0)),
            ("iface:eth0", INET, ("192.0.2.1", 0)),
            ("iface:ETH0:1", INET, ("192.0.2.2", 0)),
            ("iface:eth0", INET6, ("2001:db8::1", 0)),
            ("iface:v6:eth0", INET6, ("2001:db8::1", 0)),
            ("iface:eth0", NEAR, ("fe80::1%eth0", 0)),
        ):
            self.assertEqual(self.connect(identity, hop), bound, identity)

    def test_what_does_not_fit_is_a_trouble_that_heals(self) -> None:
        for identity, hop in (
            ("[192.0.2.7]", INET6),
            ("[ipv6.2001:db8::7]", INET),
            ("iface:v4:eth0", INET6),
            ("iface:eth1", INET),
            ("iface:lo", INET6),
            ("iface:eth0:1", INET6),
            ("gone.example", INET),
        ):
            trouble = self.connect(identity, hop)
            self.assertIs(trouble.kind, Kind.BIND_FAILED)
            self.assertIn(b"connect to mx.example [", trouble.text)
            self.assertTrue(trouble.text.endswith(f" has no {hop.family.value} address".encode()))
            self.assertEqual(self.reactor.bound, [])

    def test_what_does_not_fit_is_the_kernels_choice_where_nobody_is_strict(self) -> None:
        self.assertIsNone(self.connect("[192.0.2.7]", INET6, is_strict=False))

    def test_name_is_looked_up_for_each_connection_in_the_hops_family(self) -> None:
        self.answer = Answer(Outcome.FOUND, (ip_address("192.0.2.7"),))
        self.assertEqual(self.connect("own.example", INET), ("192.0.2.7", 0))
        self.connect("own.example", INET6)
        self.assertEqual(self.asked, [("own.example", Type.A), ("own.example", Type.AAAA)])

    def test_of_several_addresses_the_first_that_is_here_is_used(self) -> None:
        self.answer = Answer(Outcome.FOUND, tuple(map(ip_address, ("192.0.2.7", "192.0.2.8", "192.0.2.9"))))

        def errors(bound: Any) -> Exception | None:
            return ConnectBindError(errno.EADDRNOTAVAIL, "no") if bound[0] == "192.0.2.7" else None

        self.assertEqual(self.connect("own.example", INET, errors=errors), ("192.0.2.8", 0))

    def test_look_up_that_fails_is_a_trouble_even_where_nobody_is_strict(self) -> None:
        self.answer = Answer(Outcome.UNAVAILABLE, text="timed out")
        trouble = self.connect("own.example", INET, is_strict=False)
        self.assertIn(b"the address of own.example cannot be looked up: timed out", trouble.text)

    def test_address_that_cannot_be_used_is_named(self) -> None:
        error = ConnectBindError(errno.EADDRNOTAVAIL, "no")
        trouble = self.connect("[192.0.2.7]", INET, errors=lambda _: error)
        why = os.strerror(errno.EADDRNOTAVAIL).encode()
        self.assertEqual(trouble.kind, Kind.BIND_FAILED)
        self.assertTrue(trouble.text.endswith(b": from 192.0.2.7 port any: " + why), trouble.text)

    def test_no_socket_at_all_is_not_the_addresses_fault(self) -> None:
        error = ConnectBindError(errno.EMFILE, "no")
        self.assertIs(self.connect(None, INET, errors=lambda _: error).kind, Kind.CONNECT_FAILED)


class PrivilegedPorts(OriginTest):
    def busy(self, *free: int, code: int = errno.EADDRINUSE, at_connect: bool = False) -> Any:
        """Errors for all ports but these."""
        kind = ConnectError if at_connect else ConnectBindError
        return lambda bound: None if bound is None or bound[1] in free else kind(code, "no")

    def test_downwards_from_the_start_and_round(self) -> None:
        bound = self.connect(None, INET, start=514, errors=self.busy(1022))
        self.assertEqual(bound, ("0.0.0.0", 1022))
        ports = [port for _, port in self.reactor.bound]
        self.assertEqual(ports, [514, 513, 512, 1023, 1022])

    def test_wildcard_and_address_of_the_family(self) -> None:
        self.assertEqual(self.connect(None, INET6, start=600), ("::", 600))
        self.assertEqual(self.connect("iface:eth0", INET6, start=600), ("2001:db8::1", 600))

    def test_each_is_tried_once_then_mail_is_deferred(self) -> None:
        trouble = self.connect(None, INET, start=600, errors=self.busy())
        self.assertIs(trouble.kind, Kind.BIND_FAILED)
        self.assertIn(b"too many busy ports", trouble.text)
        ports = [port for _, port in self.reactor.bound]
        self.assertEqual(sorted(ports), list(range(LOWEST_PORT, HIGHEST_PORT + 1)))

    def test_port_that_is_only_found_busy_when_connecting_is_passed_over(self) -> None:
        for code in (errno.EADDRINUSE, errno.EADDRNOTAVAIL):
            errors = self.busy(598, code=code, at_connect=True)
            self.assertEqual(self.connect("[192.0.2.7]", INET, start=600, errors=errors)[1], 598)

    def test_address_that_is_not_here_costs_one_try(self) -> None:
        errors = self.busy(code=errno.EADDRNOTAVAIL)
        trouble = self.connect("[192.0.2.7]", INET, start=600, errors=errors)
        self.assertEqual((trouble.kind, len(self.reactor.bound)), (Kind.BIND_FAILED, 1))

    def test_server_that_refuses_costs_one_try(self) -> None:
        trouble = self.connect(
            None, INET, start=600, errors=lambda _: ConnectionRefusedError(errno.ECONNREFUSED)
        )
        self.assertEqual((trouble.kind, len(self.reactor.bound)), (Kind.CONNECT_FAILED, 1))

    def test_connections_take_one_port_after_the_other(self) -> None:
        origin = Origin(None, Ports(513, self.warnings.append), self.addresses)
        self.assertEqual([self.connect_by(origin, INET)[1] for _ in range(3)], [513, 512, 1023])

    def test_without_the_privilege_ordinary_ports_and_one_warning(self) -> None:
        for code in (errno.EACCES, errno.EPERM):
            self.warnings.clear()
            origin = Origin(None, Ports(600, self.warnings.append), self.addresses)
            errors = self.busy(0, code=code)
            for _ in range(2):
                self.assertIsNone(self.connect_by(origin, INET, errors))
            (warning,) = self.warnings
            self.assertIn("ports below 1024 cannot be used", warning)
            self.assertEqual(self.reactor.bound, [None])

    def test_without_the_privilege_the_address_still_counts(self) -> None:
        errors = self.busy(0, code=errno.EACCES)
        self.assertEqual(self.connect("[192.0.2.7]", INET, start=600, errors=errors), ("192.0.2.7", 0))
