"""What the DNS said, and where mail goes then.  D.. are the rows of the specification's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.destination import (
    MAXIMUM_HOPS,
    Address,
    Answer,
    Family,
    Hop,
    MailExchanger,
    Name,
    Outcome,
    Route,
    RouteRules,
    Unix,
    hosts_to_ask,
    route,
    target,
)
from zsmtp.trouble import Kind, Trouble

DOMAIN = Name("d.example")
NO_MX: Answer[MailExchanger] = Answer(Outcome.NO_DATA, canonical="d.example")
Said = Mapping[str, str | Outcome | Sequence[Answer[Address]]]


def mx(*records: str) -> Answer[MailExchanger]:
    """Make an answer of texts such as "10 mx.example"."""
    pairs = (record.partition(" ") for record in records)
    values = tuple(MailExchanger(int(preference), host) for preference, _, host in pairs)
    return Answer(Outcome.FOUND, values, "d.example", 300)


def addresses(*texts: str, canonical: str = "", authentic: bool = False) -> tuple[Answer[Address], ...]:
    """Make the answers for A and AAAA."""
    found: list[Answer[Address]] = []
    for version in (4, 6):
        values = tuple(each for each in map(ip_address, texts) if each.version == version)
        outcome = Outcome.FOUND if values else Outcome.NO_DATA
        found.append(Answer(outcome, values, canonical, 300, authentic))
    return tuple(found)


def not_shuffled(_: list[Any]) -> None:
    """Leave the order as it is."""


class RouteTest(SynchronousTestCase):
    """Finds a route for d.example."""

    def route(
        self,
        mail: Answer[MailExchanger] | None,
        said: Said,
        shuffle: Any = not_shuffled,
        rules: RouteRules | None = None,
        **options: Any,
    ) -> Route | Trouble:
        answers: dict[str, Sequence[Answer[Address]]] = {}
        for host, what in said.items():
            if isinstance(what, str):
                answers[host] = addresses(*what.split())
            elif isinstance(what, Outcome):
                answers[host] = [Answer(what, text=what.value)] * 2
            else:
                answers[host] = what
        rules = rules or RouteRules(**options)
        wanted = hosts_to_ask(DOMAIN, mail, rules)
        self.assertEqual(set(wanted) - set(answers), set(), "the test says nothing of these hosts")
        return route(DOMAIN, mail, {host: answers[host] for host in wanted}, rules, shuffle=shuffle)

    def hops(self, mail: Answer[MailExchanger] | None, said: Said, **options: Any) -> list[str]:
        """Give the hops as texts, after a look at each reason."""
        found = self.route(mail, said, **options)
        assert isinstance(found, Route), found
        for hop in found.hops:
            self.assertEqual(hop.remote, b"dns; " + hop.name.encode())
            self.assertIn("d.example", hop.reason)
        return [f"{hop.name} {hop.address}" for hop in found.hops]

    def skipped(self, mail: Answer[MailExchanger] | None, said: Said, **options: Any) -> tuple[str, ...]:
        found = self.route(mail, said, **options)
        assert isinstance(found, Route), found
        return found.skipped

    def trouble(self, mail: Answer[MailExchanger] | None, said: Said, **options: Any) -> tuple[Kind, str]:
        found = self.route(mail, said, **options)
        assert isinstance(found, Trouble), found
        return found.kind, found.text.decode("ascii")


class TheDomainCannotBeUsed(RouteTest):
    def test_d01_no_such_domain(self) -> None:
        answer: Answer[MailExchanger] = Answer(Outcome.NO_SUCH_NAME, canonical="d.example")
        expected = (Kind.NO_SUCH_DOMAIN, "DNS: no such domain: d.example")
        self.assertEqual(self.trouble(answer, {}), expected)

    def test_an_alias_of_no_such_domain_names_both(self) -> None:
        answer: Answer[MailExchanger] = Answer(Outcome.NO_SUCH_NAME, canonical="gone.example")
        text = "DNS: no such domain: gone.example, which d.example is an alias of"
        self.assertEqual(self.trouble(answer, {}), (Kind.NO_SUCH_DOMAIN, text))

    def test_d02_no_usable_answer(self) -> None:
        answer: Answer[MailExchanger] = Answer(Outcome.UNAVAILABLE, text="192.0.2.53:53: server failure")
        text = "No DNS response for the MX of d.example: 192.0.2.53:53: server failure"
        self.assertEqual(self.trouble(answer, {}), (Kind.DNS_UNAVAILABLE, text))

    def test_d10_null_mx(self) -> None:
        kind, text = self.trouble(mx("0 ."), {})
        self.assertEqual((kind, text), (Kind.NULL_MX, "DNS: d.example accepts no mail (null MX, RFC 7505)"))

    def test_d26_aliases_that_lead_nowhere(self) -> None:
        answer: Answer[MailExchanger] = Answer(Outcome.ALIAS_LOOP, text="a.example comes round again")
        self.assertIs(self.trouble(answer, {})[0], Kind.CNAME_LOOP)


class TheDomainHasNoMx(RouteTest):
    def test_d06_its_address_is_used(self) -> None:
        [hop] = self.route_of(self.route(NO_MX, {"d.example": "192.0.2.1"}, port=2525))
        reason = "address of d.example, which has no MX"
        expected = Hop("192.0.2.1", 2525, Family.INET, "d.example", b"dns; d.example", reason, "d.example")
        self.assertEqual(hop, expected)

    def route_of(self, found: Route | Trouble) -> tuple[Hop, ...]:
        assert isinstance(found, Route)
        self.assertEqual(found.skipped, ())
        return found.hops

    def test_d07_no_address_either(self) -> None:
        kind, text = self.trouble(NO_MX, {"d.example": ""})
        self.assertIs(kind, Kind.NO_ADDRESS)
        self.assertIn("d.example, which has no MX", text)

    def test_a_name_that_exists_for_mx_only_is_a_contradiction_and_may_heal(self) -> None:
        self.assertIs(self.trouble(NO_MX, {"d.example": Outcome.NO_SUCH_NAME})[0], Kind.NO_ADDRESS)

    def test_d09_address_not_to_be_had_now(self) -> None:
        self.assertIs(self.trouble(NO_MX, {"d.example": Outcome.UNAVAILABLE})[0], Kind.DNS_UNAVAILABLE)

    def test_one_family_not_to_be_had_now_may_be_the_one_that_has_the_address(self) -> None:
        no_a = [Answer[Address](Outcome.NO_DATA), Answer[Address](Outcome.UNAVAILABLE, text="timed out")]
        self.assertIs(self.trouble(NO_MX, {"d.example": no_a})[0], Kind.DNS_UNAVAILABLE)

    def test_one_family_is_enough(self) -> None:
        answers = [addresses("192.0.2.1")[0], Answer[Address](Outcome.UNAVAILABLE, text="timed out")]
        self.assertEqual(self.hops(NO_MX, {"d.example": answers}), ["d.example 192.0.2.1"])

    def test_address_with_aliases_that_lead_nowhere(self) -> None:
        self.assertIs(self.trouble(NO_MX, {"d.example": Outcome.ALIAS_LOOP})[0], Kind.CNAME_LOOP)

    def test_own_name_alone_does_not_make_it_this_host(self) -> None:
        """-h may be the name of the domain: only an address is proof."""
        rules = {"own_names": frozenset({"d.example"})}
        self.assertEqual(self.hops(NO_MX, {"d.example": "192.0.2.1"}, **rules), ["d.example 192.0.2.1"])


class AnAddressIsNoPlaceForMail(RouteTest):
    def test_d18_loopback(self) -> None:
        for text in ("127.0.0.1", "127.8.9.10", "::1"):
            kind, why = self.trouble(NO_MX, {"d.example": text})
            self.assertIs(kind, Kind.LOOPBACK_ADDRESS)
            self.assertEqual(
                why,
                f"Trying to talk to loopback (=myself)! d.example (d.example [{text}]: a loopback address)",
            )

    def test_d19_own_address(self) -> None:
        own = frozenset({ip_address("192.0.2.9"), ip_address("2001:db8::9")})
        for text in ("192.0.2.9", "2001:db8::9"):
            self.assertIs(self.trouble(NO_MX, {"d.example": text}, own_addresses=own)[0], Kind.OWN_ADDRESS)

    def test_d20_d21_any_multicast_and_ipv4_in_disguise(self) -> None:
        texts = (
            "0.0.0.0 0.1.2.3 224.0.0.5 255.255.255.255 :: ff02::1 ::ffff:127.0.0.1 ::ffff:192.0.2.1 "
            "::192.0.2.1 2002:7f00:1:: 2002:e000:5:: 2002::1"
        )
        for text in texts.split():
            for allow_self in (False, True):
                found = self.trouble(NO_MX, {"d.example": text}, allow_self=allow_self, use_mx=False)
                self.assertIs(found[0], Kind.INVALID_ADDRESS, text)

    def test_ordinary_addresses_pass(self) -> None:
        texts = "10.0.0.1 192.168.1.1 100.64.0.1 169.254.1.1 223.255.255.254 fd00::1 2002:c000:201::"
        self.assertEqual(len(self.hops(NO_MX, {"d.example": texts})), 7)

    def test_d22_another_address_of_the_name_is_used(self) -> None:
        own = frozenset({ip_address("192.0.2.9")})
        said = {"d.example": "192.0.2.9 192.0.2.1"}
        self.assertEqual(self.hops(NO_MX, said, own_addresses=own), ["d.example 192.0.2.1"])
        reason = ("d.example [192.0.2.9]: an address of this machine",)
        self.assertEqual(self.skipped(NO_MX, said, own_addresses=own), reason)

    def test_with_one_that_may_come_back_nothing_is_final(self) -> None:
        answers = [addresses("127.0.0.1")[0], Answer[Address](Outcome.UNAVAILABLE, text="timed out")]
        self.assertIs(self.trouble(NO_MX, {"d.example": answers})[0], Kind.DNS_UNAVAILABLE)


class AnAnswerIsMissing(RouteTest):
    def test_that_is_not_taken_for_no_address(self) -> None:
        self.assertIs(self.trouble(NO_MX, {"d.example": ()})[0], Kind.DNS_UNAVAILABLE)


class NobodyAskedForMx(RouteTest):
    def test_the_address_is_used(self) -> None:
        self.assertEqual(self.hops(None, {"d.example": "192.0.2.1"}), ["d.example 192.0.2.1"])

    def test_d24_no_such_name(self) -> None:
        kind, text = self.trouble(None, {"d.example": Outcome.NO_SUCH_NAME})
        self.assertIs(kind, Kind.NO_SUCH_DOMAIN)
        self.assertIn("MX usage forbidden, no address in the DNS: d.example", text)

    def test_no_address_may_heal(self) -> None:
        self.assertIs(self.trouble(None, {"d.example": ""})[0], Kind.NO_ADDRESS)
        contradiction = [Answer[Address](Outcome.NO_DATA), Answer[Address](Outcome.NO_SUCH_NAME)]
        self.assertIs(self.trouble(None, {"d.example": contradiction})[0], Kind.NO_ADDRESS)

    def test_d23_loopback_and_own_addresses_need_x(self) -> None:
        own = frozenset({ip_address("192.0.2.9")})
        for text in ("127.0.0.1", "192.0.2.9", "::1"):
            self.assertIsInstance(self.route(None, {"d.example": text}, own_addresses=own), Trouble)
            found = self.hops(None, {"d.example": text}, own_addresses=own, allow_self=True)
            self.assertEqual(found, [f"d.example {text}"])


class TheDomainHasMailExchangers(RouteTest):
    def test_they_are_tried_by_preference(self) -> None:
        said = {"a.example": "192.0.2.1", "b.example": "192.0.2.2", "c.example": "192.0.2.3"}
        found = self.hops(mx("30 c.example", "10 b.example", "20 a.example"), said)
        self.assertEqual(found, ["b.example 192.0.2.2", "a.example 192.0.2.1", "c.example 192.0.2.3"])

    def test_d11_none_has_an_address(self) -> None:
        said: Said = {"a.example": "", "b.example": Outcome.NO_SUCH_NAME}
        kind, text = self.trouble(mx("10 a.example", "20 b.example"), said)
        self.assertIs(kind, Kind.NO_ADDRESS)
        self.assertIn("a.example: no address; b.example: no such name", text)

    def test_d12_one_that_cannot_be_asked_for_is_left_out(self) -> None:
        said: Said = {"a.example": Outcome.UNAVAILABLE, "b.example": "192.0.2.2"}
        answer = mx("10 a.example", "20 b.example")
        self.assertEqual(self.hops(answer, said), ["b.example 192.0.2.2"])
        self.assertIn("a.example: no usable answer", self.skipped(answer, said))

    def test_d13_the_only_one_cannot_be_asked_for(self) -> None:
        said: Said = {"a.example": Outcome.UNAVAILABLE, "b.example": "127.0.0.1"}
        kind, text = self.trouble(mx("10 a.example", "20 b.example"), said)
        self.assertIs(kind, Kind.DNS_UNAVAILABLE)
        self.assertIn("a.example: no usable answer; b.example [127.0.0.1]: a loopback address", text)

    def test_d17_one_with_a_loopback_address_is_left_out_and_is_not_this_host(self) -> None:
        said = {"a.example": "127.0.0.1", "b.example": "192.0.2.2"}
        answer, own = mx("5 a.example", "10 b.example"), frozenset({ip_address("127.0.0.1")})
        self.assertEqual(self.hops(answer, said, own_addresses=own), ["b.example 192.0.2.2"])
        self.assertIs(self.trouble(mx("5 a.example"), said)[0], Kind.LOOPBACK_ADDRESS)

    def test_null_mx_beside_others_is_left_out(self) -> None:
        self.assertEqual(
            self.hops(mx("0 .", "10 a.example"), {"a.example": "192.0.2.1"}), ["a.example 192.0.2.1"]
        )

    def test_d28_names_that_are_none_are_left_out(self) -> None:
        answer, said = mx("5 ", "6 192.0.2.7", "10 a.example"), {"a.example": "192.0.2.1"}
        self.assertEqual(self.hops(answer, said), ["a.example 192.0.2.1"])
        reasons = ("MX 5 of d.example: not the name of a host", "MX 6 of d.example: not the name of a host")
        self.assertEqual(self.skipped(answer, said), reasons)

    def test_names_that_are_none_alone_do_not_make_it_a_domain_without_mx(self) -> None:
        self.assertIs(self.trouble(mx("5 ", "6 192.0.2.7"), {})[0], Kind.NO_ADDRESS)

    def test_d29_five_hundred_are_bounded(self) -> None:
        answer = mx(*(f"{number} m{number}.example" for number in range(500)))
        said = {f"m{number}.example": f"192.0.2.{number}" for number in range(127)}
        hops = self.hops(answer, said)
        self.assertEqual((len(hops), hops[0]), (127, "m0.example 192.0.2.0"))
        self.assertEqual(self.skipped(answer, said), ("373 more mail exchangers of d.example",))

    def test_one_with_hundreds_of_addresses_leaves_room_for_others(self) -> None:
        said = {f"m{host}.example": " ".join(f"10.{host}.{n}.1" for n in range(200)) for host in range(10)}
        answer = mx(*(f"{host} m{host}.example" for host in range(10)))
        hops = self.hops(answer, said)
        self.assertEqual(len(hops), MAXIMUM_HOPS)
        self.assertEqual({hop.split()[0] for hop in hops}, {f"m{host}.example" for host in range(4)})
        self.assertIn("193 more addresses", self.skipped(answer, said))

    def test_a_host_or_an_address_that_comes_twice_is_tried_once(self) -> None:
        answer = mx("10 a.example", "20 a.example", "20 b.example", "30 c.example")
        said = {"a.example": "192.0.2.1", "b.example": "192.0.2.1", "c.example": "192.0.2.3"}
        self.assertEqual(self.hops(answer, said), ["a.example 192.0.2.1", "c.example 192.0.2.3"])

    def test_the_name_behind_an_alias_and_authenticity_are_kept(self) -> None:
        answer = mx("10 a.example")._replace(authentic=True)
        for authentic in (True, False):
            said = {"a.example": addresses("192.0.2.1", canonical="real.example", authentic=authentic)}
            found = self.route(answer, said)
            assert isinstance(found, Route)
            [hop] = found.hops
            self.assertEqual(
                (hop.name, hop.canonical, hop.authentic), ("a.example", "real.example", authentic)
            )
        found = self.route(mx("10 a.example"), {"a.example": addresses("192.0.2.1", authentic=True)})
        assert isinstance(found, Route)
        self.assertFalse(found.hops[0].authentic)

    def test_a_long_list_of_failures_makes_a_short_text(self) -> None:
        said: Said = {f"m{number}.example": "" for number in range(100)}
        _, text = self.trouble(mx(*(f"10 {host}" for host in said)), said)
        self.assertTrue(text.endswith("m4.example: no address; and 95 more)"), text)


class ThisHostIsAMailExchanger(RouteTest):
    own = frozenset({ip_address("192.0.2.9")})

    def setUp(self) -> None:
        self.said: Said = {
            "good.example": "192.0.2.1",
            "me.example": "192.0.2.9",
            "good2.example": "192.0.2.2",
            "equal.example": "192.0.2.3",
            "alias.example": addresses("192.0.2.8", canonical="own.example"),
        }

    def test_d14_the_best_one_by_address(self) -> None:
        found = self.trouble(mx("5 me.example", "10 good.example"), self.said, own_addresses=self.own)
        text = "configuration inconsistency, we are lowest MX, but d.example is not our local domain!"
        self.assertEqual(found, (Kind.BEST_MX_IS_SELF, f"{text} (me.example)"))

    def test_d15_others_that_are_not_better_are_never_tried(self) -> None:
        answer = mx("5 good.example", "10 me.example", "10 equal.example", "20 good2.example")
        found = self.hops(answer, self.said, own_addresses=self.own)
        self.assertEqual(found, ["good.example 192.0.2.1"])
        expected = (
            "me.example: MX 10 of d.example, and this host is MX 10 of d.example",
            "equal.example: MX 10 of d.example, and this host is MX 10 of d.example",
            "good2.example: MX 20 of d.example, and this host is MX 10 of d.example",
        )
        self.assertEqual(self.skipped(answer, self.said, own_addresses=self.own), expected)

    def test_d16_by_name_without_case_and_final_dot(self) -> None:
        names = frozenset({"Me.Example."})
        answer = mx("5 good.example", "10 me.example", "20 good2.example")
        self.assertEqual(self.hops(answer, self.said, own_names=names), ["good.example 192.0.2.1"])
        self.assertEqual(hosts_to_ask(DOMAIN, answer, RouteRules(own_names=names)), ("good.example",))
        self.assertIs(
            self.trouble(mx("5 me.example", "10 x.example"), {}, own_names=names)[0], Kind.BEST_MX_IS_SELF
        )

    def test_by_the_name_behind_an_alias(self) -> None:
        answer, names = mx("5 alias.example", "10 good.example"), frozenset({"own.example"})
        self.assertIs(self.trouble(answer, self.said, own_names=names)[0], Kind.BEST_MX_IS_SELF)

    def test_better_ones_that_cannot_be_found_now_may_be_found_later(self) -> None:
        said: Said = {**self.said, "good.example": Outcome.UNAVAILABLE, "none.example": ""}
        answer = mx("5 good.example", "10 me.example")
        self.assertIs(self.trouble(answer, said, own_addresses=self.own)[0], Kind.DNS_UNAVAILABLE)
        answer = mx("5 none.example", "10 me.example")
        self.assertIs(self.trouble(answer, said, own_addresses=self.own)[0], Kind.NO_ADDRESS)
        answer = mx("5 ", "10 me.example")
        self.assertIs(self.trouble(answer, {}, own_names=frozenset({"me.example"}))[0], Kind.NO_ADDRESS)

    def test_self_is_allowed(self) -> None:
        rules = {"own_addresses": self.own, "own_names": frozenset({"me.example"}), "allow_self": True}
        answer = mx("5 me.example", "10 good.example")
        expected = ["me.example 192.0.2.9", "good.example 192.0.2.1"]
        self.assertEqual(self.hops(answer, self.said, **rules), expected)


class SeveralHopsAreEqual(RouteTest):
    def setUp(self) -> None:
        self.said: Said = {
            "four.example": "192.0.2.1",
            "six.example": "2001:db8::1",
            "both.example": "192.0.2.2 2001:db8::2",
        }

    def test_d30_each_host_comes_first_as_often(self) -> None:
        random, firsts = Random(7), {"a.example": 0, "b.example": 0, "c.example": 0}
        said = {host: f"192.0.2.{number}" for number, host in enumerate(firsts)}
        said["c.example"] += " 192.0.2.7 192.0.2.8 192.0.2.9"
        for _ in range(300):
            hops = self.hops(mx(*(f"10 {host}" for host in firsts)), said, shuffle=random.shuffle)
            firsts[hops[0].split()[0]] += 1
        self.assertTrue(all(70 < count < 130 for count in firsts.values()), firsts)

    def test_addresses_of_one_host_are_shuffled_too(self) -> None:
        random, firsts = Random(7), set()
        for _ in range(50):
            firsts.add(self.hops(NO_MX, {"d.example": "192.0.2.1 192.0.2.2"}, shuffle=random.shuffle)[0])
        self.assertEqual(firsts, {"d.example 192.0.2.1", "d.example 192.0.2.2"})

    def test_d31_preference_comes_before_family(self) -> None:
        answer = mx("10 four.example", "20 six.example", "20 both.example")
        for prefer in (False, True):
            for seed in range(10):
                hops = self.hops(answer, self.said, prefer_inet6=prefer, shuffle=Random(seed).shuffle)
                self.assertEqual(hops[0], "four.example 192.0.2.1")
                is_six = [":" in hop for hop in hops[1:]]
                self.assertEqual(is_six, [True, True, False] if prefer else [False, True, True])

    def test_d32_family_within_one_host(self) -> None:
        answer, four, six = mx("10 both.example"), "both.example 192.0.2.2", "both.example 2001:db8::2"
        self.assertEqual(self.hops(answer, self.said), [four, six])
        self.assertEqual(self.hops(answer, self.said, prefer_inet6=True), [six, four])
        direct = {"d.example": "192.0.2.2 2001:db8::2"}
        self.assertEqual(self.hops(None, direct, prefer_inet6=True)[0], "d.example 2001:db8::2")


class TheTargetIsNoName(SynchronousTestCase):
    rules = RouteRules(port=99, own_addresses=frozenset({ip_address("192.0.2.9")}))

    def route(self, text: bytes, *, forced: bool = True, rules: RouteRules | None = None) -> Route | Trouble:
        found = target(text, forced=forced)
        assert not isinstance(found, Trouble)
        return route(found, None, {}, rules or self.rules, shuffle=not_shuffled)

    def test_a_socket(self) -> None:
        expected = Hop("/run/lmtp", 0, Family.UNIX, "/run/lmtp", b"", "UNIX socket", "/run/lmtp")
        self.assertEqual(
            route(Unix("/run/lmtp"), None, {}, self.rules, shuffle=not_shuffled), Route((expected,))
        )

    def test_d35_a_literal_with_and_without_port(self) -> None:
        remote = b"X-IP-addr; [10.8.0.4]"
        hop = Hop("10.8.0.4", 25, Family.INET, "10.8.0.4", remote, "address literal", "10.8.0.4")
        self.assertEqual(self.route(b"[10.8.0.4]:25"), Route((hop,)))
        self.assertEqual(self.route(b"[10.8.0.4]"), Route((hop._replace(port=99),)))

    def test_d35_an_ipv6_literal(self) -> None:
        remote = b"X-IP-addr; [IPv6:::1]"
        hop = Hop("::1", 99, Family.INET6, "IPv6:::1", remote, "address literal", "IPv6:::1")
        self.assertEqual(self.route(b"[IPv6:::1]"), Route((hop,)))

    def test_from_a_host_column_it_may_not_be_this_machine(self) -> None:
        for text, kind in ((b"[127.0.0.1]", Kind.LOOPBACK_ADDRESS), (b"[192.0.2.9]", Kind.OWN_ADDRESS)):
            found = self.route(text, forced=False)
            assert isinstance(found, Trouble)
            self.assertIs(found.kind, kind)
            self.assertIsInstance(self.route(text, forced=True), Route)
            allowed = self.rules._replace(allow_self=True)
            self.assertIsInstance(self.route(text, forced=False, rules=allowed), Route)

    def test_what_is_no_address_of_a_host_is_refused_even_from_the_postmaster(self) -> None:
        for text in (
            b"[0.0.0.0]",
            b"[ipv6.::]",
            b"[224.0.0.5]",
            b"[ipv6.ff02::1]",
            b"[ipv6.::ffff:127.0.0.1]",
        ):
            found = self.route(text)
            assert isinstance(found, Trouble)
            self.assertIs(found.kind, Kind.INVALID_ADDRESS)


HOSTS = ("a.example", "b.example", "me.example", "", ".", "192.0.2.7")
ADDRESSES = (
    "192.0.2.1", "192.0.2.2", "192.0.2.9", "127.0.0.1", "0.0.0.0", "2001:db8::1", "::1", "::ffff:10.0.0.1",
)  # fmt: skip


def said_of_addresses(*texts: str) -> st.SearchStrategy[Answer[Address]]:
    """Give any answer of a server, with some of these addresses."""
    values = st.lists(st.sampled_from([ip_address(text) for text in texts]), min_size=1, max_size=4)
    return st.builds(
        lambda outcome, found: Answer[Address](outcome, tuple(found) if outcome is Outcome.FOUND else ()),
        st.sampled_from(Outcome),
        values,
    )


exchangers = st.lists(
    st.builds(MailExchanger, st.integers(0, 3), st.sampled_from(HOSTS)), min_size=1, max_size=6
)
anything_said = st.dictionaries(st.sampled_from(HOSTS), st.lists(said_of_addresses(*ADDRESSES), max_size=2))


class AnythingIsAnswered(SynchronousTestCase):
    rules = RouteRules(
        own_addresses=frozenset({ip_address("192.0.2.9")}), own_names=frozenset({"me.example"})
    )

    @settings(deadline=None, max_examples=200)
    @given(exchangers, anything_said, st.booleans())
    def test_no_hop_leads_home_and_the_order_is_that_of_the_preferences(
        self, records: list[MailExchanger], said: dict[str, list[Answer[Address]]], prefer_inet6: bool
    ) -> None:
        mail = Answer(Outcome.FOUND, tuple(records), "d.example")
        rules = self.rules._replace(prefer_inet6=prefer_inet6)
        found = route(DOMAIN, mail, said, rules, shuffle=Random(1).shuffle)
        lowest = {host: min(each.preference for each in records if each.host == host) for _, host in records}
        if isinstance(found, Route):
            self.assertLessEqual(
                {hop.address for hop in found.hops}, {"192.0.2.1", "192.0.2.2", "2001:db8::1"}
            )
            order = [lowest[hop.name] for hop in found.hops]
            self.assertEqual(order, sorted(order))
            self.assertLess(order[-1], lowest.get("me.example", 99))

    @settings(deadline=None, max_examples=200)
    @given(
        st.lists(said_of_addresses("192.0.2.1", "127.0.0.1", "0.0.0.0"), min_size=2, max_size=2),
        st.booleans(),
    )
    def test_nothing_is_final_that_an_answer_yet_to_come_may_heal(
        self, said: list[Answer[Address]], with_mx: bool
    ) -> None:
        mail = mx("10 a.example") if with_mx else NO_MX
        [host] = hosts_to_ask(DOMAIN, mail, self.rules)
        found = route(DOMAIN, mail, {host: said}, self.rules, shuffle=not_shuffled)
        final = isinstance(found, Trouble) and found.kind in {Kind.LOOPBACK_ADDRESS, Kind.INVALID_ADDRESS}
        if final or isinstance(found, Route):
            self.assertTrue(any(answer.values for answer in said))
        if final:
            self.assertNotIn(Outcome.UNAVAILABLE, {answer.outcome for answer in said})
