"""Hosts are found through name servers that others wrote."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.trial.unittest import TestCase

from tests.real.nameservers import Dnsmasq, SignedZone, Unbound
from zsmtp.destination import Name, Outcome, Route, RouteRules
from zsmtp.net.resolve import Resolver
from zsmtp.trouble import Kind, Trouble

reactor: Any = the_reactor
RECORDS = (
    "mx-host=d.example,a.example,10",
    "mx-host=d.example,b.example,20",
    "host-record=a.example,192.0.2.1,2001:db8::1",
    "host-record=b.example,192.0.2.2",
    "host-record=bare.example,192.0.2.3",
    "mx-host=lonely.example,gone.example,10",
    "cname=alias.example,bare.example",
    "txt-record=text.example,nothing else",
    *(f"mx-host=many.example,m{number:03}.example,{number}" for number in range(150)),
    *(f"host-record=m{number:03}.example,192.0.2.{number}" for number in range(1, 3)),
)


class RealTest(TestCase):
    """Finds names with a resolver of its own, without files of this machine."""

    timeout = 60

    def use(self, *servers: tuple[str, int]) -> None:
        none = str(Path(self.mktemp()))
        self.resolver = Resolver(
            reactor, servers=servers, hosts_file=none, resolv_conf=none, random=Random(1)
        )
        self.addCleanup(self.resolver.close)

    async def found(self, name: str, **rules: Any) -> list[str] | Kind:
        """Give the hops to a name, or the kind of trouble."""
        found = await self.resolver.find(Name(name), RouteRules(**rules))
        if isinstance(found, Trouble):
            return found.kind
        return [f"{hop.name} {hop.address}" for hop in found.hops]

    async def check_all(self) -> None:
        """Compare everything that RECORDS says."""
        a, a6, b = "a.example 192.0.2.1", "a.example 2001:db8::1", "b.example 192.0.2.2"
        self.assertEqual(await self.found("d.example"), [a, a6, b])
        self.assertEqual(await self.found("d.example", prefer_inet6=True), [a6, a, b])
        self.assertEqual(await self.found("bare.example"), ["bare.example 192.0.2.3"])
        self.assertEqual(await self.found("alias.example", use_mx=False), ["alias.example 192.0.2.3"])
        self.assertIs(await self.found("none.example"), Kind.NO_SUCH_DOMAIN)
        self.assertIs(await self.found("none.example", use_mx=False), Kind.NO_SUCH_DOMAIN)
        self.assertIs(await self.found("text.example"), Kind.NO_ADDRESS)
        self.assertIs(await self.found("lonely.example"), Kind.NO_ADDRESS)
        # Too long for UDP.
        self.assertEqual(
            await self.found("many.example"), ["m001.example 192.0.2.1", "m002.example 192.0.2.2"]
        )
        self.assertEqual(len((await self.resolver.exchangers("many.example")).values), 150)


class WithDnsmasq(RealTest):
    async def test_all_records_are_found(self) -> None:
        self.use(Dnsmasq(*RECORDS).start(self))
        await self.check_all()

    async def test_a_server_that_is_not_there_is_passed_over(self) -> None:
        self.use(("127.0.0.1", 1), Dnsmasq(*RECORDS).start(self))
        self.assertEqual(await self.found("bare.example"), ["bare.example 192.0.2.3"])

    async def test_nobody_to_ask_for_a_name_is_temporary(self) -> None:
        """dnsmasq refuses what it has no server for."""
        self.use(Dnsmasq().start(self))
        self.assertIs(await self.found("d.elsewhere.zz"), Kind.DNS_UNAVAILABLE)


class WithUnbound(RealTest):
    async def test_all_records_are_found_behind_it(self) -> None:
        self.use(Unbound(forward={"example": Dnsmasq(*RECORDS).start(self)}).start(self))
        await self.check_all()

    async def test_its_own_data(self) -> None:
        data = ("null.example. MX 0 .", "d.example. MX 5 mail.example.", "mail.example. 60 A 192.0.2.7")
        self.use(Unbound(data).start(self))
        self.assertIs(await self.found("null.example"), Kind.NULL_MX)
        self.assertEqual(await self.found("d.example"), ["mail.example 192.0.2.7"])

    async def test_a_failure_behind_it_is_temporary(self) -> None:
        """dnsmasq refuses, and unbound makes SERVFAIL of it."""
        self.use(Unbound(forward={"refused.zz": Dnsmasq().start(self)}).start(self))
        self.assertIs(await self.found("d.refused.zz"), Kind.DNS_UNAVAILABLE)
        self.assertIn("server failure", (await self.resolver.exchangers("d.refused.zz")).text)

    async def test_authentic_answers_are_told_from_others_and_bogus_ones_are_none(self) -> None:
        records = ("@ MX 10 mx", "mx A 192.0.2.1")
        zones = SignedZone("good.example", records), SignedZone("bogus.example", records, ("0.2.1", "0.2.66"))
        plain = Dnsmasq("mx-host=plain.example,mx.plain.example,1", "host-record=mx.plain.example,192.0.2.5")
        self.use(Unbound(zones=zones, forward={"plain.example": plain.start(self)}).start(self))
        for domain, authentic in (("good.example", True), ("plain.example", False)):
            found = await self.resolver.find(Name(domain), RouteRules())
            assert isinstance(found, Route), found
            self.assertEqual([hop.authentic for hop in found.hops], [authentic])
        # That a name does not exist is signed as well.
        self.assertIs(await self.found("none.good.example"), Kind.NO_SUCH_DOMAIN)
        self.assertIs((await self.resolver.exchangers("none.good.example")).authentic, True)
        self.assertIs(await self.found("bogus.example"), Kind.DNS_UNAVAILABLE)
        self.assertIs((await self.resolver.exchangers("bogus.example")).outcome, Outcome.FOUND)
