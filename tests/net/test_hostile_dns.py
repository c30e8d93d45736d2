"""Name servers that mean harm, met by the whole resolver: nothing bounces, and all of it has an end.

The bounds are counted, not timed: queries, records kept, hops.  What a retry could deliver is never failed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.task import Clock

from tests.net.lying import Asked, answer, many
from tests.net.test_resolve import DOMAIN, ResolverTest
from zsmtp.destination import ADDRESSES_PER_HOST, MAXIMUM_HOPS, Outcome, Route, RouteRules
from zsmtp.net.dnsmessage import Type
from zsmtp.net.lookup import MAXIMUM_ALIASES
from zsmtp.policy import Word, judge_trouble
from zsmtp.trouble import Trouble

reactor: Any = the_reactor
Lie = Callable[[Asked], Iterable[bytes]]
QUERIES_PER_NAME = 4
"""With and without EDNS, over UDP and over TCP, at one server and with one attempt."""


def whole(asked: Asked, *records: str, **more: str) -> bytes:
    """Make a true reply."""
    return answer(asked, *records, **more).to_wire(max_size=65535)


def good(asked: Asked) -> bytes:
    """What should have been said."""
    return whole(asked, "d.example. 300 IN MX 10 mx.example.")


def header(asked: Asked, flags: int, *counts: int) -> bytes:
    """Make a header with these flags and counts."""
    return asked.octets[:2] + struct.pack("!HHHHH", flags, *counts)


def other_class(asked: Asked) -> bytes:
    """Give the truth as if it were of class CHAOS, the question apart."""
    octets = good(asked)
    end = octets.index(b"\0", 12) + 5
    return octets[:end] + octets[end:].replace(b"\0\x0f\0\1", b"\0\x0f\0\3", 1)


def other_class_asked(asked: Asked) -> bytes:
    """Repeat the question as one for class CHAOS."""
    return good(asked).replace(b"\0\x0f\0\1", b"\0\x0f\0\3")


def looping(asked: Asked) -> bytes:
    """Let the owner of a record be a pointer to itself."""
    octets = good(asked)
    at = octets.index(b"\xc0\x0c", 12)
    return octets[:at] + b"\xc0" + bytes([at]) + octets[at + 2 :]


def loops_of_aliases(asked: Asked) -> bytes:
    """Send every name to the next one, without end."""
    number = int(asked.name.lower().partition(".")[0].removeprefix("d") or 0) + 1
    return whole(asked, f"{asked.name}. 300 IN CNAME d{number}.example.")


def circle(asked: Asked) -> bytes:
    """Send two names to each other."""
    other = "e.example" if asked.name.lower() == "d.example" else "d.example"
    return whole(asked, f"{asked.name}. 300 IN CNAME {other}.", f"{other}. 300 IN CNAME {asked.name}.")


def referral(asked: Asked) -> bytes:
    """Name other servers in place of an answer."""
    return whole(asked, authority="example. 300 IN NS ns.elsewhere.example.")


LIES: dict[str, Lie] = {
    "silence": lambda asked: [],
    "an identity of its own": lambda asked: [b"\0\0" + good(asked)[2:]],
    "thirty identities": lambda asked: [struct.pack("!H", n) + good(asked)[2:] for n in range(30)],
    "another question": lambda asked: [good(asked).replace(b"\0\x0f", b"\0\1", 1)],
    "a question of another class": lambda asked: [other_class_asked(asked)],
    "records of another class": lambda asked: [other_class(asked)],
    "another name": lambda asked: [whole(asked, "e.example. 300 IN MX 0 evil.example.")],
    "a header that denies the name": lambda asked: [header(asked, 0x8183, 0, 0, 0, 0)],
    "a header that fails": lambda asked: [header(asked, 0x8182, 0, 0, 0, 0)],
    "an empty header": lambda asked: [header(asked, 0x8180, 0, 0, 0, 0)],
    "the query sent back": lambda asked: [asked.octets],
    "a lame denial": lambda asked: [whole(asked, code="NXDOMAIN", flags="QR RD")],
    "a denial with the record": lambda asked: [
        whole(asked, "d.example. 300 IN MX 10 mx.example.", code="NXDOMAIN")
    ],
    "a denial that is cut short": lambda asked: [whole(asked, code="NXDOMAIN", flags="QR TC RD RA")],
    "a referral": lambda asked: [referral(asked)],
    "records that are cut off": lambda asked: [good(asked)[:-3]],
    "more records than there are": lambda asked: [good(asked)[:6] + b"\xff\xff" + good(asked)[8:]],
    "noise": lambda asked: [good(asked)[:12] + bytes(range(256)) * 40],
    "a compression loop": lambda asked: [looping(asked)],
    "aliases without end": lambda asked: [loops_of_aliases(asked)],
    "aliases in a circle": lambda asked: [circle(asked)],
    "no octets": lambda asked: [b""] * 30,
}


class EveryLie(ResolverTest):
    """One test for each lie, told about every name and type."""

    resolv_conf = "options timeout:1 attempts:1"

    async def lie(self, name: str) -> None:
        lie = LIES[name]
        self.serve(lie)
        found = await self.find()
        assert isinstance(found, Trouble), found
        verdict = judge_trouble(found)
        self.assertIs(verdict.word, Word.DEFERRED_ALL, f"{name}: {found}")
        self.assertLessEqual(len(self.server.asked), QUERIES_PER_NAME * (1 + MAXIMUM_ALIASES), name)
        self.assertLess(len(found.text), 1000)


def _test(name: str) -> Callable[[EveryLie], Any]:
    async def test(self: EveryLie) -> None:
        await self.lie(name)

    return test


for _name in LIES:
    setattr(EveryLie, f"test_{_name.replace(' ', '_')}_fails_nobody", _test(_name))


class ItLooksLikeAnEmptyAnswer(ResolverTest):
    async def test_and_is_not_taken_for_one(self) -> None:
        """Mail would go to the address of a domain that has mail exchangers."""
        for lie in (other_class, referral):
            self.serve(lambda asked, lie=lie: [lie(asked)])  # type: ignore[misc]
            found = await self.resolver.exchangers("d.example")
            self.assertIs(found.outcome, Outcome.UNAVAILABLE, lie.__name__)


class TheAnswerIsLate(ResolverTest):
    def test_it_is_not_taken_for_that_to_a_later_question(self) -> None:
        """The socket has gone with the question."""
        clock = Clock()
        self.serve(lambda asked: [], clock=clock, patience=30)
        waiting = self.resolver.find(DOMAIN, RouteRules())
        clock.advance(5)
        self.assertNoResult(waiting)
        self.assertEqual(len([each for each in reactor.getReaders() if each.logPrefix() == "DNS"]), 1)
        clock.advance(5)
        self.assertIsInstance(self.successResultOf(waiting), Trouble)
        self.assertEqual([each for each in reactor.getReaders() if each.logPrefix() == "DNS"], [])


class TheAnswerIsHuge(ResolverTest):
    async def test_five_hundred_mail_exchangers_cost_two_queries_each_of_the_best(self) -> None:
        hosts = [f"m{number:05}.mail.example." for number in range(500)]

        def script(asked: Asked) -> list[bytes]:
            if asked.type == "MX":
                return [many(asked, hosts) if asked.over_tcp else whole(asked, flags="QR TC RD RA")]
            return [whole(asked, f"{asked.name}. 9 IN A 192.0.2.{len(self.server.asked) % 250 + 1}")]

        self.serve(script, parallel=8)
        found = await self.find()
        assert isinstance(found, Route)
        self.assertLessEqual(len(found.hops), MAXIMUM_HOPS)
        self.assertEqual(len(self.server.asked), 2 + 2 * MAXIMUM_HOPS)
        self.assertIn("373 more mail exchangers of d.example", found.skipped)

    async def test_four_thousand_addresses_are_not_kept(self) -> None:
        def script(asked: Asked) -> list[bytes]:
            if not asked.over_tcp:
                return [whole(asked, flags="QR TC RD RA")]
            record = b"\xc0\x0c" + struct.pack("!HHIH4s", Type.A, 1, 2**31 - 1, 4, b"\xc0\0\2\1")
            end = asked.octets.index(b"\0", 12) + 5
            return [header(asked, 0x8180, 1, 4000, 0, 0) + asked.octets[12:end] + record * 4000]

        self.serve(script)
        found = await self.resolver.addresses("d.example", Type.A)
        self.assertEqual((found.outcome, len(found.values)), (Outcome.FOUND, ADDRESSES_PER_HOST))

    async def test_noise_behind_the_answer_over_tcp_is_not_waited_for(self) -> None:
        def script(asked: Asked) -> list[bytes]:
            octets = [good(asked) if asked.type == "MX" else whole(asked, f"{asked.name}. 9 IN A 192.0.2.1")]
            return [*octets, *[bytes(60_000)] * 50] if asked.over_tcp else [whole(asked, flags="QR TC RD RA")]

        self.serve(script)
        self.assertEqual(await self.hops(), ["mx.example 192.0.2.1"])
        self.assertEqual(len(self.server.asked), 6)


class TheTimeToLiveLies(ResolverTest):
    async def kept(self, ttl: int, seconds: float) -> int:
        """Ask twice with `seconds` between; how many queries that were."""
        clock = Clock()
        raw = struct.pack("!I", ttl)
        self.serve(
            lambda asked: [whole(asked, f"{asked.name}. 77 IN A 192.0.2.1").replace(b"\0\0\0\x4d", raw)],
            clock=clock,
        )
        await self.resolver.addresses("d.example", Type.A)
        clock.advance(seconds)
        await self.resolver.addresses("d.example", Type.A)
        return len(self.server.asked)

    async def test_nothing_is_kept_for_longer_than_an_hour(self) -> None:
        self.assertEqual(await self.kept(2**31 - 1, 3599), 1)
        self.assertEqual(await self.kept(2**31 - 1, 3601), 2)

    async def test_two_to_the_31st_and_more_is_none(self) -> None:
        for ttl in (0, 2**31, 2**32 - 1):
            self.assertEqual(await self.kept(ttl, 0), 2, ttl)


class TheMailExchangerHasAName(ResolverTest):
    """D28: names that hold anything."""

    async def test_of_which_nothing_leaves(self) -> None:
        labels = (b"a\0b", b"a\r\nRCPT TO:<x@y>", b"a.b", b"\xff\xfe", b"a b", b"..", b"%s%n", b"\x1b[2J")

        def script(asked: Asked) -> list[bytes]:
            if asked.type != "MX":
                return [whole(asked, f"{asked.name}. 9 IN A 192.0.2.1")]
            names = [bytes([len(label)]) + label + b"\7example\0" for label in labels]
            records = [
                b"\xc0\x0c" + struct.pack("!HHIHH", Type.MX, 1, 9, 2 + len(name), number) + name
                for number, name in enumerate([*names, b"\2mx\7example\0"])
            ]
            end = asked.octets.index(b"\0", 12) + 5
            return [header(asked, 0x8180, 1, len(records), 0, 0) + asked.octets[12:end] + b"".join(records)]

        self.serve(script)
        found = await self.find()
        assert isinstance(found, Route)
        self.assertEqual([hop.name for hop in found.hops], ["mx.example"])
        for line in found.skipped:
            self.assertRegex(line, r"\AMX [0-7] of d\.example: not the name of a host\Z")
        self.assertEqual(len(self.server.asked), 3)
