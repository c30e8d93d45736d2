"""Look-ups against a name server that lies, stalls, cuts short and sends in circles."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SkipTest, TestCase

from tests.net.lying import SOA, Asked, LyingServer, Zone, answer, many
from zsmtp.destination import Answer, MailExchanger, Outcome
from zsmtp.net.dnsmessage import Type
from zsmtp.net.lookup import Lookups
from zsmtp.net.nameserver import NameServer
from zsmtp.net.systemfiles import ResolvConf

reactor: Any = the_reactor
Script = Callable[[Asked], Iterable[bytes]]
GOOD = "d.example. 300 IN MX 10 mx.example."


def good(asked: Asked) -> list[bytes]:
    """Answer as a name server should."""
    return [answer(asked, GOOD).to_wire()]


def silent(_: Asked) -> list[bytes]:
    """Do not answer."""
    return []


def failing(code: str, flags: str = "QR RD RA") -> Script:
    """Make a script that always answers with one response code."""
    return lambda asked: [answer(asked, code=code, flags=flags).to_wire()]


class LookupTest(TestCase):
    """Looks the MX of d.example up, at one or several servers that follow scripts."""

    timeout = 20

    def serve(self, *scripts: Script | LyingServer, tcp: bool = True) -> None:
        """Start a server for each script; all are asked, in this order."""
        self.servers = [each if isinstance(each, LyingServer) else LyingServer(each) for each in scripts]
        self.configuration = ResolvConf(
            tuple(NameServer(*each.start(self, tcp=tcp)) for each in self.servers)
        )
        self.lookups = Lookups(reactor, reactor, Random(1), lambda: self.configuration)

    def with_clock(self) -> Clock:
        """Let time pass only as the test says."""
        clock = Clock()
        self.lookups = Lookups(reactor, clock, Random(1), lambda: self.configuration)
        return clock

    def look_up(self, name: str = "d.example", kind: Type = Type.MX) -> Deferred[Answer[Any]]:
        return Deferred.fromCoroutine(self.lookups.look_up(name, kind))

    async def found(self, name: str = "d.example", kind: Type = Type.MX) -> Answer[Any]:
        return await self.look_up(name, kind)

    def asked(self) -> list[list[str]]:
        return [server.questions() for server in self.servers]

    async def assert_found(self) -> None:
        found = await self.found()
        self.assertEqual(
            (found.outcome, found.values), (Outcome.FOUND, (MailExchanger(10, "mx.example"),)), found
        )

    async def assert_unavailable(self, text: str) -> None:
        found = await self.found()
        self.assertEqual((found.outcome, found.values), (Outcome.UNAVAILABLE, ()))
        self.assertIn(text, found.text)


class TheAnswerIsTrue(LookupTest):
    async def test_it_is_found(self) -> None:
        self.serve(good)
        expected = Answer(Outcome.FOUND, (MailExchanger(10, "mx.example"),), "d.example", 300)
        self.assertEqual(await self.found(), expected)
        self.assertEqual(self.asked(), [["d.example MX"]])

    async def test_questions_differ_in_identity_port_and_case(self) -> None:
        self.serve(good)
        for _ in range(8):
            await self.found()
        asked = self.servers[0].asked
        self.assertGreater(len({each.query.id for each in asked}), 6)
        self.assertGreater(len({each.address[1] for each in asked}), 4)
        self.assertGreater(len({each.name for each in asked}), 6)

    async def test_over_ipv6(self) -> None:
        self.serve(good)
        try:
            where = LyingServer(good).start(self, interface="::1")
        except CannotListenError as error:
            raise SkipTest(f"no IPv6 here: {error}") from None
        self.configuration = ResolvConf((NameServer(*where),))
        await self.assert_found()

    async def test_d01_no_such_name_holds_as_long_as_the_zone_says(self) -> None:
        self.serve(Zone("other.example MX 10 mx.example."))
        expected: Answer[Any] = Answer(Outcome.NO_SUCH_NAME, canonical="d.example", ttl=30)
        self.assertEqual(await self.found(), expected)

    async def test_d06_no_such_record(self) -> None:
        self.serve(Zone("d.example A 192.0.2.1"))
        self.assertEqual(await self.found(), Answer(Outcome.NO_DATA, canonical="d.example", ttl=30))

    async def test_a_negative_answer_without_soa_does_not_hold(self) -> None:
        self.serve(failing("NXDOMAIN"))
        self.assertEqual(await self.found(), Answer(Outcome.NO_SUCH_NAME, canonical="d.example", ttl=0))

    async def test_authenticity_is_asked_for_and_believed_of_a_server_on_this_machine(self) -> None:
        self.serve(lambda asked: [answer(asked, GOOD, flags="QR RD RA AD").to_wire()])
        self.assertTrue((await self.found()).authentic)
        self.assertTrue(self.servers[0].asked[0].query.flags & 0x20)
        trusted = {
            "127.0.0.1": True,
            "127.0.0.53": True,
            "::1": True,
            "192.0.2.1": False,
            "fe80::1%lo": False,
        }
        for host, expected in trusted.items():
            self.assertIs(NameServer(host).is_on_this_machine, expected, host)


class TheReplyIsNotTheAnswer(LookupTest):
    def lies_first(self, lie: Callable[[bytes], bytes]) -> Script:
        return lambda asked: [*(lie(octets) for octets in good(asked)), *good(asked)]

    async def test_wrong_identity_question_or_direction_are_passed_over(self) -> None:
        for lie in (
            lambda octets: bytes([octets[0] ^ 1]) + octets[1:],
            lambda octets: octets.replace(b"\x01d", b"\x01e").replace(b"\x01D", b"\x01e"),
            lambda octets: octets[:2] + b"\x01\x00" + octets[4:],
            lambda octets: b"",
            lambda octets: octets[:11],
        ):
            self.serve(self.lies_first(lie))
            await self.assert_found()
            self.assertEqual(self.asked(), [["d.example MX"]])

    async def test_a_reply_from_elsewhere_is_not_seen(self) -> None:
        stranger = reactor.listenUDP(0, DatagramProtocol(), interface="127.0.0.1")
        self.addCleanup(stranger.stopListening)

        def from_both(asked: Asked) -> list[bytes]:
            stranger.write(answer(asked, "d.example. 300 IN MX 0 evil.example.").to_wire(), asked.address)
            reactor.callLater(0.05, self.servers[0].send, good(asked)[0], asked.address)
            return []

        self.serve(from_both)
        await self.assert_found()

    async def test_letters_in_another_case_lead_to_tcp(self) -> None:
        def lowered(asked: Asked) -> list[bytes]:
            return [good(asked)[0].replace(asked.octets[12:23], asked.octets[12:23].lower())]

        self.serve(lowered)
        await self.assert_found()
        self.assertEqual(self.asked(), [["d.example MX", "d.example MX TCP"]])

    async def test_a_flood_of_wrong_identities_leads_to_tcp(self) -> None:
        def flood(asked: Asked) -> list[bytes]:
            [octets] = good(asked)
            wrong = [number.to_bytes(2, "big") + octets[2:] for number in range(30)]
            return [octets] if asked.over_tcp else [each for each in wrong if each[:2] != octets[:2]]

        self.serve(flood)
        await self.assert_found()
        self.assertEqual(self.asked(), [["d.example MX", "d.example MX TCP"]])

    def test_only_other_answers_are_no_answer(self) -> None:
        self.serve(lambda asked: [b"\0\0" + good(asked)[0][2:]])
        clock = self.with_clock()
        waiting = self.look_up()
        for _ in range(2):
            self.assertNoResult(waiting)
            clock.advance(5)
        self.assertIs(self.successResultOf(waiting).outcome, Outcome.UNAVAILABLE)

    async def test_an_answer_about_another_name_only_is_not_taken_for_no_mx(self) -> None:
        self.serve(lambda asked: [answer(asked, "e.example. 300 IN MX 0 evil.example.").to_wire()])
        await self.assert_unavailable("its answer is about another name")

    async def test_d27_records_of_another_owner_are_left_out(self) -> None:
        other = "e.example. 300 IN MX 0 evil.example."
        self.serve(lambda asked: [answer(asked, other, GOOD).to_wire()])
        await self.assert_found()

    async def test_no_such_name_with_records_contradicts_itself(self) -> None:
        self.serve(lambda asked: [answer(asked, GOOD, code="NXDOMAIN").to_wire()])
        await self.assert_unavailable("contradicts itself")

    async def test_a_lame_server_knows_nothing(self) -> None:
        for code in ("NOERROR", "NXDOMAIN"):
            self.serve(failing(code, "QR RD"))
            await self.assert_unavailable("it does not answer for this name")

    async def test_an_authoritative_server_may_be_asked_too(self) -> None:
        self.serve(lambda asked: [answer(asked, code="NXDOMAIN", flags="QR AA RD").to_wire()])
        self.assertIs((await self.found()).outcome, Outcome.NO_SUCH_NAME)

    async def test_what_cannot_be_read_is_no_answer(self) -> None:
        self.serve(lambda asked: [octets[:-3] for octets in good(asked)])
        await self.assert_unavailable("its answer cannot be read: it ends too early")

    async def test_compression_loops(self) -> None:
        def loop(asked: Asked) -> list[bytes]:
            [octets] = good(asked)
            at = octets.index(b"\xc0\x0c", 12)
            return [octets[:at] + b"\xc0" + bytes([at]) + octets[at + 2 :]]

        self.serve(loop)
        await self.assert_unavailable("compressed in a wrong way")

    async def test_addresses_that_are_none_are_no_answer(self) -> None:
        def short(asked: Asked) -> list[bytes]:
            [octets] = [answer(asked, "d.example. 300 IN A 192.0.2.1").to_wire()]
            return [octets.replace(b"\0\4\xc0\0\2\1", b"\0\3\xc0\0\2")]

        self.serve(short)
        found = await self.found(kind=Type.A)
        self.assertEqual((found.outcome, found.text), (Outcome.UNAVAILABLE, "its records cannot be read"))

    async def test_d28_names_of_300_octets_and_with_control_characters_are_left_empty(self) -> None:
        def spoiled(asked: Asked) -> list[bytes]:
            texts = ("10 mx.example.", "20 a\\013\\010b.example.", "30 a\\032b.example.", "40 long.example.")
            message = answer(asked, *(f"d.example. 300 IN MX {text}" for text in texts))
            octets = message.to_wire()
            label = octets.rindex(b"\4long")
            long = b"".join(b"\x3b" + b"x" * 59 for _ in range(5)) + b"\0"
            return [octets[: label - 4] + (2 + len(long)).to_bytes(2, "big") + b"\0\x28" + long + OPT]

        self.serve(spoiled)
        values = (await self.found()).values
        expected = {MailExchanger(10, "mx.example"), *(MailExchanger(each, "") for each in (20, 30, 40))}
        self.assertEqual(set(values), expected)


OPT = b"\0\0\x29\x04\xd0\0\0\0\0\0\0"


class TheAnswerIsLong(LookupTest):
    def long_answer(self, count: int, *, cut: bool = True) -> Script:
        def script(asked: Asked) -> list[bytes]:
            if cut and not asked.over_tcp:
                return [answer(asked, flags="QR TC RD RA").to_wire()]
            return [many(asked, (f"m{number:05}.mail.example." for number in range(count)))]

        return script

    async def test_truncated_over_udp_whole_over_tcp(self) -> None:
        self.serve(self.long_answer(500))
        self.assertEqual(len((await self.found()).values), 500)
        self.assertEqual(self.asked(), [["d.example MX", "d.example MX TCP"]])

    async def test_64_kib(self) -> None:
        self.serve(self.long_answer(1850))
        self.assertEqual(len((await self.found()).values), 1850)

    async def test_a_datagram_larger_than_asked_for(self) -> None:
        self.serve(self.long_answer(500, cut=False))
        self.assertEqual(len((await self.found()).values), 500)
        self.assertEqual(self.asked(), [["d.example MX"]])

    async def test_in_single_octets(self) -> None:
        def drip(asked: Asked) -> list[bytes]:
            [octets] = self.long_answer(3)(asked)
            if not asked.over_tcp:
                return [octets]
            whole = len(octets).to_bytes(2, "big") + octets + b"and more"
            return [bytes([octet]) for octet in whole]

        self.serve(LyingServer(drip, raw=True))
        self.assertEqual(len((await self.found()).values), 3)

    async def test_truncated_over_tcp_too(self) -> None:
        self.serve(lambda asked: [answer(asked, flags="QR TC RD RA").to_wire()])
        await self.assert_unavailable("cut short even over TCP")

    async def test_no_tcp(self) -> None:
        self.serve(self.long_answer(500), tcp=False)
        await self.assert_unavailable("over TCP: ")

    async def test_closed_in_the_middle(self) -> None:
        def cut(asked: Asked) -> list[bytes]:
            if not asked.over_tcp:
                return [answer(asked, flags="QR TC RD RA").to_wire()]
            reactor.callLater(0, self.servers[0].hang_up)
            return [b"\1\0", good(asked)[0]]

        self.serve(LyingServer(cut, raw=True))
        await self.assert_unavailable("closed before the answer was complete")

    async def test_another_question_or_nothing_over_tcp(self) -> None:
        for lie in (lambda octets: b"\0\0" + octets[2:], lambda octets: b""):

            def script(asked: Asked, lie: Callable[[bytes], bytes] = lie) -> list[bytes]:
                [octets] = self.long_answer(1)(asked)
                return [lie(octets) if asked.over_tcp else octets]

            self.serve(script)
            await self.assert_unavailable("an answer to another question")

    async def test_silence_over_tcp(self) -> None:
        self.serve(LyingServer(lambda asked: [] if asked.over_tcp else self.long_answer(1)(asked)))
        self.configuration = self.configuration._replace(timeout=0.2, attempts=1)
        await self.assert_unavailable("no answer within 0.2 s")


class TheServerFails(LookupTest):
    async def test_d02_d04_d05_every_code_is_temporary(self) -> None:
        texts = {
            "SERVFAIL": "server failure",
            "REFUSED": "refused",
            "NOTIMP": "not implemented",
            "YXDOMAIN": "code 6",
        }
        for code, text in texts.items():
            self.serve(failing(code))
            await self.assert_unavailable(text)
            self.assertEqual(len(self.servers[0].asked), 2 if code == "NOTIMP" else 1)

    async def test_d05_format_error_is_asked_again_without_edns(self) -> None:
        self.serve(lambda asked: failing("FORMERR")(asked) if asked.edns else good(asked))
        await self.assert_found()
        self.assertEqual([each.edns for each in self.servers[0].asked], [True, False])

    async def test_a_server_that_understands_no_query(self) -> None:
        self.serve(lambda asked: [asked.octets[:2] + b"\x80\x01" + bytes(8)])
        await self.assert_unavailable("format error")

    async def test_the_next_one_is_asked(self) -> None:
        for code in ("SERVFAIL", "REFUSED"):
            self.serve(failing(code), good)
            await self.assert_found()
            self.assertEqual(self.asked(), [["d.example MX"], ["d.example MX"]])

    async def test_none_is_asked_twice_for_the_same_failure(self) -> None:
        self.serve(failing("SERVFAIL"), failing("REFUSED"))
        await self.assert_unavailable("refused (REFUSED)")
        self.assertEqual(self.asked(), [["d.example MX"], ["d.example MX"]])

    async def test_nobody_listens(self) -> None:
        self.serve(good)
        unused = reactor.listenUDP(0, DatagramProtocol(), interface="127.0.0.1")
        port = unused.getHost().port
        await unused.stopListening()
        dead = NameServer("127.0.0.1", port)
        self.configuration = self.configuration._replace(servers=(dead, *self.configuration.servers))
        await self.assert_found()
        self.configuration = self.configuration._replace(servers=(dead,))
        await self.assert_unavailable("refused")

    async def test_no_socket_can_be_had(self) -> None:
        self.serve(good)
        # The kernel refuses to send to a broadcast address.
        self.configuration = ResolvConf((NameServer("255.255.255.255"),))
        await self.assert_unavailable("255.255.255.255:53: ")


class TheServerIsSilent(LookupTest):
    def test_d03_there_is_an_end(self) -> None:
        self.serve(silent)
        clock = self.with_clock()
        waiting = self.look_up()
        clock.advance(5)
        self.assertNoResult(waiting)
        clock.advance(5)
        found = self.successResultOf(waiting)
        self.assertIs(found.outcome, Outcome.UNAVAILABLE)
        self.assertIn("no answer within 5 s", found.text)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_many_servers_together_have_one_deadline(self) -> None:
        self.serve(*[silent] * 5)
        clock = self.with_clock()
        waiting = self.look_up()
        for _ in range(6):
            self.assertNoResult(waiting)
            clock.advance(5)
        self.assertIs(self.successResultOf(waiting).outcome, Outcome.UNAVAILABLE)

    async def test_the_next_one_is_asked_and_asked_first_from_now_on(self) -> None:
        self.serve(silent, good)
        self.configuration = self.configuration._replace(timeout=0.1)
        await self.assert_found()
        await self.assert_found()
        self.assertEqual([len(each) for each in self.asked()], [1, 2])

    async def test_a_silent_one_is_believed_again_when_it_answers(self) -> None:
        replies = [silent, silent, good, good]
        self.serve(lambda asked: replies.pop(0)(asked))
        self.configuration = self.configuration._replace(timeout=0.1)
        await self.assert_unavailable("no answer within 0.1 s")
        await self.assert_found()
        await self.assert_found()

    def test_giving_up_closes_everything(self) -> None:
        self.serve(silent)
        clock = self.with_clock()
        waiting = self.look_up()
        waiting.cancel()
        self.failureResultOf(waiting)
        self.assertEqual(clock.getDelayedCalls(), [])


class TheNameIsAnAlias(LookupTest):
    def chain(self, length: int) -> list[str]:
        """Make aliases d.example -> a1.example -> ... and an MX at the end."""
        names = ["d.example", *(f"a{number}.example" for number in range(1, length + 1))]
        links = [f"{name} CNAME {names[place + 1]}." for place, name in enumerate(names[:-1])]
        return [*links, f"{names[-1]} MX 10 mx.example."]

    def one_per_answer(self, records: list[str]) -> Script:
        def script(asked: Asked) -> list[bytes]:
            lines = [each.split(" ", 2) for each in records]
            mine = [
                f"{name}. 300 IN {kind} {data}" for name, kind, data in lines if name == asked.name.lower()
            ]
            return [answer(asked, *mine, code="NOERROR" if mine else "NXDOMAIN").to_wire()]

        return script

    async def test_d25_all_in_one_answer(self) -> None:
        self.serve(Zone(*self.chain(1)))
        found = await self.found()
        expected = (Outcome.FOUND, (MailExchanger(10, "mx.example"),), "a1.example")
        self.assertEqual((found.outcome, found.values, found.canonical), expected)

    async def test_d26_one_per_answer_up_to_eight(self) -> None:
        for length in (5, 8):
            self.serve(self.one_per_answer(self.chain(length)))
            found = await self.found()
            self.assertEqual((found.outcome, found.canonical), (Outcome.FOUND, f"a{length}.example"))
            self.assertEqual(len(self.servers[0].asked), length + 1)

    async def test_d26_more_than_eight(self) -> None:
        for script in (self.one_per_answer(self.chain(9)), Zone(*self.chain(9))):
            self.serve(script)
            found = await self.found()
            self.assertEqual((found.outcome, found.text), (Outcome.ALIAS_LOOP, "more than 8 aliases"))

    async def test_d26_a_circle(self) -> None:
        circle = ["d.example CNAME e.example.", "e.example CNAME d.example."]
        whole = [f"{line.replace(' ', '. 300 IN ', 1)}" for line in circle]
        for script in (self.one_per_answer(circle), lambda asked: [answer(asked, *whole).to_wire()]):
            self.serve(script)
            found = await self.found()
            self.assertEqual((found.outcome, found.text), (Outcome.ALIAS_LOOP, "d.example comes round again"))
        self.serve(self.one_per_answer(["d.example CNAME d.example."]))
        self.assertIs((await self.found()).outcome, Outcome.ALIAS_LOOP)

    async def test_to_no_such_name(self) -> None:
        self.serve(Zone("d.example CNAME gone.example."))
        found = await self.found()
        self.assertEqual((found.outcome, found.canonical), (Outcome.NO_SUCH_NAME, "gone.example"))

    async def test_to_a_name_without_such_records(self) -> None:
        self.serve(Zone("d.example CNAME e.example.", "e.example A 192.0.2.1"))
        found = await self.found()
        self.assertEqual((found.outcome, found.canonical, found.ttl), (Outcome.NO_DATA, "e.example", 30))
        self.assertEqual(len(self.servers[0].asked), 1)

    async def test_to_what_is_no_name_of_a_host(self) -> None:
        for target in (".", "a\\032b.example."):
            self.serve(self.one_per_answer([f"d.example CNAME {target}"]))
            self.assertIs((await self.found()).outcome, Outcome.ALIAS_LOOP)

    async def test_to_nowhere_readable(self) -> None:
        def spoiled(asked: Asked) -> list[bytes]:
            [octets] = [answer(asked, "d.example. 300 IN CNAME e.example.").to_wire()]
            return [octets.replace(b"\1e\xc0", b"\1e\xff")]

        self.serve(spoiled)
        found = await self.found()
        self.assertEqual((found.outcome, found.text), (Outcome.UNAVAILABLE, "its alias cannot be read"))

    async def test_the_shortest_time_and_the_weakest_link_count(self) -> None:
        def script(asked: Asked) -> list[bytes]:
            if asked.name.lower() == "d.example":
                line, flags = "d.example. 100 IN CNAME e.example.", "QR RD RA"
            else:
                line, flags = "e.example. 900 IN MX 10 mx.example.", "QR RD RA AD"
            return [answer(asked, line, flags=flags).to_wire()]

        self.serve(script)
        found = await self.found()
        self.assertEqual((found.outcome, found.ttl, found.authentic), (Outcome.FOUND, 100, False))

    async def test_a_failure_on_the_way(self) -> None:
        self.serve(lambda asked: (
            [answer(asked, "d.example. 100 IN CNAME e.example.").to_wire()]
            if asked.name.lower() == "d.example"
            else failing("SERVFAIL")(asked)
        ))  # fmt: skip
        await self.assert_unavailable("server failure")

    async def test_soa_of_the_negative_answer_belongs_to_it(self) -> None:
        self.serve(lambda asked: [answer(asked, code="NXDOMAIN", authority=SOA).to_wire()])
        self.assertEqual((await self.found()).ttl, 30)
