"""From a target to a route, with a name server that answers as told.  D.. are the specification's rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_address
from pathlib import Path
from random import Random
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.defer import CancelledError, gatherResults
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from tests.net.lying import Asked, LyingServer, Zone, answer, many
from zsmtp.destination import Answer, MailExchanger, Name, Outcome, Route, RouteRules, Target, target
from zsmtp.errors import Misuse
from zsmtp.net.dnsmessage import Type
from zsmtp.net.resolve import Resolver
from zsmtp.trouble import Kind, Trouble

reactor: Any = the_reactor
Script = Callable[[Asked], Iterable[bytes]]
DOMAIN = Name("d.example")
OWN = frozenset({ip_address("192.0.2.9"), ip_address("127.0.0.1"), ip_address("::1")})


def silent(_: Asked) -> list[bytes]:
    """Do not answer."""
    return []


class ResolverTest(TestCase):
    """Finds targets with a name server of its own, an own hosts file, and no resolv.conf."""

    timeout = 20
    hosts = ""
    resolv_conf = ""

    def serve(self, script: Script | str, *more: str, clock: Clock | None = None, **options: Any) -> Resolver:
        """Start a resolver, asking a server that follows a script or has these records."""
        self.server = LyingServer(Zone(script, *more) if isinstance(script, str) else script)
        servers = [self.server.start(self)]
        files = [Path(self.mktemp()), Path(self.mktemp())]
        for path, text in zip(files, (self.hosts, self.resolv_conf), strict=True):
            path.write_text(text)
        names = {"hosts_file": str(files[0]), "resolv_conf": str(files[1])}
        options = {"servers": servers, "random": Random(1), **names, **options}
        self.resolver = Resolver(reactor, clock=clock, **options)
        self.addCleanup(self.resolver.close)
        return self.resolver

    async def find(self, where: Target | bytes = DOMAIN, **rules: Any) -> Route | Trouble:
        """Find a target, or what -F or a host column says."""
        if isinstance(where, bytes):
            read = target(where, forced=True)
            assert not isinstance(read, Trouble), read
            where = read
        rules = {"own_addresses": OWN, "own_names": frozenset({"me.example"}), **rules}
        return await self.resolver.find(where, RouteRules(**rules))

    async def hops(self, where: Target | bytes = DOMAIN, **rules: Any) -> list[str]:
        found = await self.find(where, **rules)
        assert isinstance(found, Route), found
        return [f"{hop.name} {hop.address}" for hop in found.hops]

    async def trouble(self, where: Target | bytes = DOMAIN, **rules: Any) -> Kind:
        found = await self.find(where, **rules)
        assert isinstance(found, Trouble), found
        self.assertTrue(found.text.decode("ascii").isprintable())
        return found.kind

    def assert_asked(self, *questions: str) -> None:
        self.assertEqual(sorted(self.server.questions()), sorted(questions))


class TheTable(ResolverTest):
    """Rows D01 to D32, as far as they are about finding."""

    async def test_d01_nxdomain(self) -> None:
        self.serve("other.example A 192.0.2.1")
        self.assertIs(await self.trouble(), Kind.NO_SUCH_DOMAIN)
        self.assert_asked("d.example MX")

    async def test_d02_d04_d05_failures(self) -> None:
        for code in ("SERVFAIL", "REFUSED", "NOTIMP", "FORMERR", "YXDOMAIN"):
            self.serve(f"d.example {code}")
            self.assertIs(await self.trouble(), Kind.DNS_UNAVAILABLE)

    async def test_d06_no_mx_but_an_address(self) -> None:
        self.serve("d.example A 192.0.2.1", "d.example AAAA 2001:db8::1")
        self.assertEqual(await self.hops(), ["d.example 192.0.2.1", "d.example 2001:db8::1"])
        self.assert_asked("d.example MX", "d.example A", "d.example AAAA")

    async def test_d07_neither(self) -> None:
        self.serve("d.example TXT x")
        self.assertIs(await self.trouble(), Kind.NO_ADDRESS)

    async def test_d08_neither_with_an_underscore(self) -> None:
        self.serve("d_d.example TXT x")
        self.assertIs(await self.trouble(b"d_d.example"), Kind.NO_ADDRESS)

    async def test_d09_no_mx_and_the_address_fails(self) -> None:
        def script(asked: Asked) -> list[bytes]:
            return [answer(asked, code="NOERROR" if asked.type == "MX" else "SERVFAIL").to_wire()]

        self.serve(script)
        self.assertIs(await self.trouble(), Kind.DNS_UNAVAILABLE)

    async def test_d10_null_mx(self) -> None:
        self.serve("d.example MX 0 .", "d.example A 192.0.2.1")
        self.assertIs(await self.trouble(), Kind.NULL_MX)
        self.assert_asked("d.example MX")

    async def test_d11_the_only_mx_has_no_address(self) -> None:
        self.serve("d.example MX 10 gone.example.", "d.example A 192.0.2.1")
        self.assertIs(await self.trouble(), Kind.NO_ADDRESS)

    async def test_d12_d13_an_mx_whose_address_fails(self) -> None:
        records = "d.example MX 10 a.example.", "a.example SERVFAIL"
        self.serve(*records, "d.example MX 20 b.example.", "b.example A 192.0.2.2")
        self.assertEqual(await self.hops(), ["b.example 192.0.2.2"])
        self.serve(*records)
        self.assertIs(await self.trouble(), Kind.DNS_UNAVAILABLE)

    async def test_d14_this_host_is_the_best_mx(self) -> None:
        self.serve(
            "d.example MX 5 here.example.", "here.example A 192.0.2.9", "d.example MX 10 b.example.",
            "b.example A 192.0.2.2", "d.example A 192.0.2.3",
        )  # fmt: skip
        self.assertIs(await self.trouble(), Kind.BEST_MX_IS_SELF)

    async def test_d15_d16_this_host_is_the_second_mx(self) -> None:
        for me in ("me.example A 192.0.2.8", "me.example A 192.0.2.9", "me.example CNAME x.example."):
            self.serve(
                "d.example MX 5 a.example.", "d.example MX 10 me.example.", "d.example MX 20 b.example.",
                "a.example A 192.0.2.1", me, "b.example A 192.0.2.2",
            )  # fmt: skip
            self.assertEqual(await self.hops(), ["a.example 192.0.2.1"])
            self.assert_asked("d.example MX", "a.example A", "a.example AAAA")

    async def test_d17_an_mx_with_a_loopback_address(self) -> None:
        self.serve(
            "d.example MX 5 a.example.", "d.example MX 10 b.example.",
            "a.example A 127.0.0.1", "b.example A 192.0.2.2",
        )  # fmt: skip
        self.assertEqual(await self.hops(), ["b.example 192.0.2.2"])

    async def test_d18_to_d22_addresses_that_are_refused(self) -> None:
        for text, kind in {
            "A 127.0.0.1": Kind.LOOPBACK_ADDRESS,
            "AAAA ::1": Kind.LOOPBACK_ADDRESS,
            "A 192.0.2.9": Kind.OWN_ADDRESS,
            "A 0.0.0.0": Kind.INVALID_ADDRESS,
            "A 224.0.0.5": Kind.INVALID_ADDRESS,
            "AAAA ::": Kind.INVALID_ADDRESS,
            "AAAA ff02::1": Kind.INVALID_ADDRESS,
            "AAAA ::ffff:127.0.0.1": Kind.INVALID_ADDRESS,
        }.items():
            self.serve(f"d.example {text}")
            self.assertIs(await self.trouble(), kind)
            self.serve(f"d.example {text}", "d.example A 192.0.2.1")
            self.assertEqual(await self.hops(), ["d.example 192.0.2.1"])

    async def test_d23_loopback_without_mx_needs_x(self) -> None:
        self.serve("d.example A 127.0.0.1")
        self.assertIs(await self.trouble(use_mx=False), Kind.LOOPBACK_ADDRESS)
        self.assertEqual(await self.hops(use_mx=False, allow_self=True), ["d.example 127.0.0.1"])
        self.assert_asked("d.example A", "d.example AAAA")

    async def test_d24_nxdomain_without_mx(self) -> None:
        self.serve("other.example A 192.0.2.1")
        self.assertIs(await self.trouble(use_mx=False), Kind.NO_SUCH_DOMAIN)

    async def test_d25_an_alias_of_a_domain_with_mx(self) -> None:
        self.serve("d.example CNAME e.example.", "e.example MX 10 a.example.", "a.example A 192.0.2.1")
        self.assertEqual(await self.hops(), ["a.example 192.0.2.1"])

    async def test_d26_aliases_in_a_circle(self) -> None:
        self.serve(lambda asked: [
            answer(asked, "d.example. 9 IN CNAME e.example.", "e.example. 9 IN CNAME d.example.").to_wire()
        ])  # fmt: skip
        self.assertIs(await self.trouble(), Kind.CNAME_LOOP)
        self.assertIs(await self.trouble(use_mx=False), Kind.CNAME_LOOP)

    async def test_d27_records_of_another_owner(self) -> None:
        def script(asked: Asked) -> list[bytes]:
            lines = {
                "MX": ("e.example. 9 IN MX 0 evil.example.", "d.example. 9 IN MX 10 a.example."),
                "A": ("evil.example. 9 IN A 192.0.2.66", "a.example. 9 IN A 192.0.2.1"),
            }
            return [answer(asked, *lines.get(asked.type, ())).to_wire()]

        self.serve(script)
        self.assertEqual(await self.hops(), ["a.example 192.0.2.1"])

    async def test_d28_names_with_control_characters(self) -> None:
        self.serve(
            "d.example MX 5 a\\013\\010b.example.", "d.example MX 6 a\\032b.example.",
            "d.example MX 10 a.example.", "a.example A 192.0.2.1",
        )  # fmt: skip
        found = await self.find()
        assert isinstance(found, Route)
        self.assertEqual([hop.name for hop in found.hops], ["a.example"])
        self.assertTrue(all(line.isprintable() and "\\" not in line for line in found.skipped))

    async def test_d29_five_hundred_mx(self) -> None:
        records = [f"d.example MX {number} m{number}.example." for number in range(500)]
        self.serve(*records, *(f"m{number}.example A 192.0.2.{number % 9}" for number in range(500)))
        self.assertEqual(len(await self.hops()), 9)
        self.assertEqual(len(self.server.asked), 1 + 2 * 127)

    async def test_d30_equal_ones_in_random_order(self) -> None:
        self.serve(
            "d.example MX 10 a.example.", "d.example MX 10 b.example.",
            "a.example A 192.0.2.1", "b.example A 192.0.2.2",
        )  # fmt: skip
        firsts = [(await self.hops())[0] for _ in range(50)]
        self.assertEqual(set(firsts), {"a.example 192.0.2.1", "b.example 192.0.2.2"})
        self.assertEqual(len(self.server.asked), 5, "all but the first from memory")

    async def test_d31_d32_families(self) -> None:
        self.serve(
            "d.example MX 10 a.example.", "d.example MX 20 b.example.", "a.example A 192.0.2.1",
            "b.example A 192.0.2.2", "b.example AAAA 2001:db8::2",
        )  # fmt: skip
        four, six = "b.example 192.0.2.2", "b.example 2001:db8::2"
        self.assertEqual(await self.hops(), ["a.example 192.0.2.1", four, six])
        self.assertEqual(await self.hops(prefer_inet6=True), ["a.example 192.0.2.1", six, four])

    async def test_without_ipv6_nobody_asks_for_it(self) -> None:
        self.serve("d.example A 192.0.2.1")
        self.assertEqual(await self.hops(use_inet6=False), ["d.example 192.0.2.1"])
        self.assert_asked("d.example MX", "d.example A")


class NothingIsAsked(ResolverTest):
    hosts = "192.0.2.1 known.example hub\n2001:db8::1 known.example\n192.0.2.4 four.example\n"

    async def test_for_sockets_literals_and_numbers(self) -> None:
        """D35, and with -x a name that is an address, as the C library takes it."""
        self.serve(silent)
        self.assertEqual(await self.hops(b"UNIX:/run/lmtp"), ["/run/lmtp /run/lmtp"])
        self.assertEqual(await self.hops(b"[192.0.2.7]:26"), ["192.0.2.7 192.0.2.7"])
        self.assertEqual(await self.hops(b"[ipv6.::1]"), ["ipv6.::1 ::1"])
        self.assertEqual(await self.hops(b"192.0.2.7", use_mx=False), ["192.0.2.7 192.0.2.7"])
        self.assert_asked()

    async def test_for_localhost(self) -> None:
        self.serve(silent)
        for name in (b"localhost", b"x.localhost"):
            self.assertIs(await self.trouble(name), Kind.LOOPBACK_ADDRESS)
            self.assertEqual(len(await self.hops(name, allow_self=True)), 2)
        self.assert_asked()

    async def test_d33_for_a_name_of_the_hosts_file_with_x(self) -> None:
        self.serve(silent)
        expected = ["known.example 192.0.2.1", "known.example 2001:db8::1"]
        self.assertEqual(await self.hops(b"known.example", use_mx=False), expected)
        self.assertEqual(await self.hops(b"hub", use_mx=False), ["hub 192.0.2.1"])
        self.assertEqual(await self.hops(b"four.example", use_mx=False), ["four.example 192.0.2.4"])
        self.assert_asked()

    async def test_d33_but_for_its_mx_the_dns_is_asked(self) -> None:
        self.serve("other.example A 192.0.2.1")
        self.assertIs(await self.trouble(b"known.example"), Kind.NO_SUCH_DOMAIN)

    async def test_the_hosts_file_holds_for_mail_exchangers_too(self) -> None:
        self.serve("d.example MX 10 four.example.", "four.example A 192.0.2.66")
        self.assertEqual(await self.hops(), ["four.example 192.0.2.4"])
        self.assert_asked("d.example MX")


class AShortNameIsGivenWithX(ResolverTest):
    resolv_conf = "search a.example b.example\n"

    async def test_it_may_stand_for_one_in_a_search_domain(self) -> None:
        self.serve("hub.b.example A 192.0.2.2")
        self.assertEqual(await self.hops(b"hub", use_mx=False), ["hub 192.0.2.2"])
        found = await self.find(b"hub", use_mx=False)
        assert isinstance(found, Route)
        self.assertEqual(found.hops[0].canonical, "hub.b.example")
        self.assertNotIn("hub A", self.server.questions())

    async def test_it_may_mean_what_it_says(self) -> None:
        self.serve("hub A 192.0.2.2")
        self.assertEqual(await self.hops(b"hub", use_mx=False), ["hub 192.0.2.2"])

    async def test_a_failure_on_the_way_is_not_passed_over(self) -> None:
        self.serve("hub.a.example SERVFAIL", "hub.b.example A 192.0.2.2")
        self.assertIs(await self.trouble(b"hub", use_mx=False), Kind.DNS_UNAVAILABLE)

    async def test_it_may_be_none_of_them(self) -> None:
        self.serve("other.example A 192.0.2.2")
        self.assertIs(await self.trouble(b"hub", use_mx=False), Kind.NO_SUCH_DOMAIN)
        names = ("hub.a.example", "hub.b.example", "hub")
        self.assert_asked(*(f"{name} {kind}" for name in names for kind in ("A", "AAAA")))

    async def test_other_names_are_not_searched_for(self) -> None:
        self.serve("d.example.a.example A 192.0.2.2")
        self.assertIs(await self.trouble(use_mx=False), Kind.NO_SUCH_DOMAIN)
        self.assert_asked("d.example A", "d.example AAAA")

    async def test_with_mx_nothing_is_searched_for(self) -> None:
        self.serve("hub.a.example MX 10 mx.example.")
        self.assertIs(await self.trouble(b"hub"), Kind.NO_SUCH_DOMAIN)
        self.assert_asked("hub MX")


class AnswersAreRemembered(ResolverTest):
    def serve_with_clock(self, ttl: int) -> Clock:
        clock = Clock()
        self.serve(Zone("d.example MX 10 a.example.", ttl=ttl), clock=clock)
        return clock

    async def asked_after(self, clock: Clock, seconds: float) -> int:
        """Look up twice with a pause; give the number of queries."""
        await self.resolver.exchangers("d.example")
        clock.advance(seconds)
        await self.resolver.exchangers("d.example")
        return len(self.server.asked)

    async def test_for_their_time_to_live(self) -> None:
        self.assertEqual(await self.asked_after(self.serve_with_clock(300), 299), 1)
        self.assertEqual(await self.asked_after(self.serve_with_clock(300), 300), 2)

    async def test_not_with_a_time_of_zero(self) -> None:
        self.assertEqual(await self.asked_after(self.serve_with_clock(0), 0), 2)

    async def test_not_for_ever(self) -> None:
        self.assertEqual(await self.asked_after(self.serve_with_clock(0x7FFFFFFF), 3601), 2)

    async def test_that_there_is_nothing_too(self) -> None:
        for seconds, expected in ((29, 1), (30, 2)):
            clock = Clock()
            self.serve("other.example A 192.0.2.1", clock=clock)
            self.assertEqual(await self.asked_after(clock, seconds), expected)

    async def test_a_failure_is_for_a_moment(self) -> None:
        for seconds, expected in ((19, 1), (20, 2)):
            clock = Clock()
            self.serve("d.example SERVFAIL", clock=clock)
            self.assertEqual(await self.asked_after(clock, seconds), expected)

    async def test_within_bounds(self) -> None:
        self.serve(lambda asked: [many(asked, (f"m{number}.example." for number in range(1000)))])
        for number in range(21):
            await self.resolver.exchangers(f"d{number}.example")
        await self.resolver.exchangers("d20.example")
        self.assertEqual(len(self.server.asked), 21)
        await self.resolver.exchangers("d0.example")
        self.assertEqual(len(self.server.asked), 22, "the oldest had to go")


class ManyAskAtOnce(ResolverTest):
    async def test_the_same_question_is_asked_once(self) -> None:
        self.serve("d.example MX 10 a.example.", "a.example A 192.0.2.1")
        found = await gatherResults([self.resolver.find(DOMAIN, RouteRules()) for _ in range(20)])
        self.assertEqual(len(set(found)), 1)
        self.assertEqual(len(self.server.asked), 3)

    async def test_even_with_a_time_of_zero(self) -> None:
        self.serve(Zone("d.example A 192.0.2.1", ttl=0))
        await gatherResults([self.resolver.addresses("d.example", Type.A) for _ in range(20)])
        self.assert_asked("d.example A")

    async def test_who_gives_up_leaves_the_others_alone(self) -> None:
        self.serve("d.example A 192.0.2.1")
        first, second = (self.resolver.addresses("d.example", Type.A) for _ in range(2))
        first.cancel()
        await self.assertFailure(first, CancelledError)
        self.assertIs((await second).outcome, Outcome.FOUND)

    async def test_who_gives_up_when_answered_does_so_safely(self) -> None:
        self.serve("d.example A 192.0.2.1")
        first, second = (self.resolver.addresses("d.example", Type.A) for _ in range(2))
        first.addCallback(lambda _: second.cancel())
        await first
        await self.assertFailure(second, CancelledError)

    async def test_only_so_many_are_on_their_way(self) -> None:
        most, open_now = 0, 0

        def script(asked: Asked) -> list[bytes]:
            nonlocal most, open_now
            open_now += 1
            most = max(most, open_now)
            reactor.callLater(0.005, reply, asked)
            return []

        def reply(asked: Asked) -> None:
            nonlocal open_now
            open_now -= 1
            self.server.send(answer(asked, f"{asked.name}. 9 IN A 192.0.2.1").to_wire(), asked.address)

        self.serve(script, parallel=3)
        waiting = [self.resolver.addresses(f"h{number}.example", Type.A) for number in range(12)]
        found = await gatherResults(waiting)
        self.assertEqual({each.outcome for each in found}, {Outcome.FOUND})
        self.assertEqual(most, 3)


class TimeRunsOut(ResolverTest):
    def test_d03_for_the_mx(self) -> None:
        clock = Clock()
        self.serve(silent, clock=clock)
        waiting = self.resolver.find(DOMAIN, RouteRules())
        clock.advance(5)
        self.assertNoResult(waiting)
        clock.advance(5)
        found = self.successResultOf(waiting)
        assert isinstance(found, Trouble)
        self.assertIs(found.kind, Kind.DNS_UNAVAILABLE)
        self.assertIn(b"no answer within 5 s", found.text)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_for_all_of_it(self) -> None:
        clock = Clock()
        self.serve(silent, clock=clock, patience=3)
        waiting = self.resolver.find(DOMAIN, RouteRules())
        clock.advance(3)
        found = self.successResultOf(waiting)
        assert isinstance(found, Trouble)
        self.assertEqual(found.text, b"No DNS response for the MX of d.example: no answer within 3 s")

    async def test_for_some_addresses_the_others_are_used(self) -> None:
        zone = Zone("d.example MX 10 a.example.", "d.example MX 20 b.example.", "b.example A 192.0.2.2")
        self.serve(lambda asked: [] if asked.name.lower() == "a.example" else zone(asked), patience=0.3)
        found = await self.find()
        assert isinstance(found, Route)
        self.assertEqual([hop.name for hop in found.hops], ["b.example"])
        self.assertIn("a.example: no answer within 0.3 s", found.skipped)


class ItIsEnded(ResolverTest):
    async def test_by_close_everything_is_answered(self) -> None:
        self.serve(silent, parallel=1)
        waiting = [self.resolver.find(Name(f"d{number}.example"), RouteRules()) for number in range(3)]
        self.resolver.close()
        self.resolver.close()
        waiting.append(self.resolver.find(DOMAIN, RouteRules()))
        for found in await gatherResults(waiting):
            assert isinstance(found, Trouble)
            self.assertIs(found.kind, Kind.DNS_UNAVAILABLE)
            self.assertIn(b"the resolver was closed", found.text)

    async def test_by_cancelling_one_find(self) -> None:
        self.serve("d.example MX 10 a.example.", "a.example A 192.0.2.1")
        waiting = self.resolver.find(DOMAIN, RouteRules())
        waiting.cancel()
        await self.assertFailure(waiting, CancelledError)
        self.assertEqual(await self.hops(), ["a.example 192.0.2.1"])

    async def test_by_cancelling_while_addresses_are_looked_up(self) -> None:
        zone = Zone("d.example MX 10 a.example.")
        waiting = None

        def script(asked: Asked) -> Iterable[bytes]:
            if asked.type != "MX":
                assert waiting is not None
                waiting.cancel()
                return []
            return zone(asked)

        self.serve(script)
        waiting = self.resolver.find(DOMAIN, RouteRules())
        await self.assertFailure(waiting, CancelledError)


class ItIsUsedWrongly(ResolverTest):
    async def test_a_name_server_with_a_name(self) -> None:
        with self.assertRaises(Misuse):
            Resolver(reactor, servers=[("localhost", 53)])

    async def test_an_error_of_ours_costs_a_retry(self) -> None:
        def broken(_: object) -> None:
            raise ZeroDivisionError

        random = Random(1)
        random.shuffle = broken  # type: ignore[method-assign, assignment]
        self.serve("d.example A 192.0.2.1", random=random)
        self.assertIs(await self.trouble(), Kind.INTERNAL)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        random.getrandbits = broken  # type: ignore[method-assign, assignment]
        found = await self.resolver.exchangers("other.example")
        self.assertEqual(found, Answer[MailExchanger](Outcome.UNAVAILABLE, text="an error in zsmtp itself"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
