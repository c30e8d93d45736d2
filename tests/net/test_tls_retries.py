"""What is tried once more with a host whose TLS has failed, and what is never tried.

The hosts have addresses of the outside; what is connected to is a scripted server on a loopback port.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.defer import ensureDeferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.threads import deferToThread

from tests.net.test_authentication import Nobody, hop
from tests.net.test_certificates import NAME, CertificateTest, Steady
from zsmtp.credentials import Credentials
from zsmtp.destination import Name, Route, RouteRules
from zsmtp.net.approach import Equipment, Failures, approach
from zsmtp.net.courier import Courier
from zsmtp.smtp.manner import Manner, Tls
from zsmtp.testing.certificate import Peculiarity
from zsmtp.testing.dialogue import Script
from zsmtp.testing.peer import Behaviour
from zsmtp.testing.table import table
from zsmtp.tlsfile import Level
from zsmtp.trouble import Kind

reactor: Any = the_reactor

OFFER = "S: 220 mx\nC: EHLO *\nS: 250-mx\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\n"
GOOD = table("+T +A")
ALERT = Script(OFFER + "C-octets: 10\nS-raw: \\x15\\x03\\x03\\x00\\x02\\x02\\x28\n-- close")
LATE_ALERT = Script(OFFER + "-- starttls\nC: EHLO *\n-- alert")
LATE_CUT = Script(OFFER + "-- starttls\nC: EHLO *\n-- cut")
LATE_RESET = Script(OFFER + "-- starttls\nC: EHLO *\n-- reset")


class RetryTest(CertificateTest):
    """Opens sessions, one after the other, with one server and one policy."""

    server: Steady  # type: ignore[assignment]

    def begin(self, *behaviours: Behaviour, level: Level = Level.OPPORTUNISTIC, **settings: Any) -> None:
        """Run the server, each connection of which goes by its own behaviour."""
        credentials = Peculiarity.GOOD.credentials(NAME)
        self.server = Steady(*behaviours, credentials=credentials)
        self.serve(self.server)
        self.contexts = self.policy(credentials, level, **settings)
        self.remarks: list[str] = []
        self.identity: Credentials | None = None
        self.broken: dict[str, float] = {}

    async def connect(self, _: Any, __: Any, factory: Any, **___: Any) -> None:
        """See Origin."""
        await TCP4ClientEndpoint(reactor, "127.0.0.1", self.server.port).connect(factory)

    async def open(self) -> Courier | Failures:
        """Open a session, and end it if there is one."""
        origin: Any = self
        equipment = Equipment(
            reactor=reactor,
            manner=Manner(name=b"me.example", tls=Tls.OPPORTUNISTIC),
            rules=RouteRules,
            find=lambda *_: succeed(Route((hop(NAME),))),
            context_for=lambda each: self.contexts.creator_for(each.name),
            broken_tls=self.broken,
            remark=self.remark,
            credentials=lambda _: self.identity,
            origin=origin,
        )
        result = await ensureDeferred(approach(equipment, Name("x.example"), Nobody()))
        if isinstance(result, Courier):
            result.leave()
        await deferToThread(self.server.wait_finished)
        return result

    def remark(self, text: str) -> None:
        """What is shown with -d."""
        self.remarks.append(text)

    async def opens(self) -> Courier:
        """Open a session, which must be possible."""
        result = await self.open()
        assert isinstance(result, Courier), result
        return result

    async def fails(self, kind: Kind) -> str:
        """See that no session opens, and that no mail or user was named in clear; return why."""
        result = await self.open()
        assert isinstance(result, list), result
        [(trouble, _)] = result
        self.assertIs(trouble.kind, kind)
        return trouble.text.decode()

    @property
    def versions(self) -> list[str | None]:
        """The version of TLS on each connection."""
        return [connection.tls for connection in self.server.connections]


class Resumption(RetryTest):
    """A server that cannot bear the session that it is offered."""

    async def test_full_handshake_follows_an_alert(self) -> None:
        for settings in ({}, {"level": Level.NAME}, {"is_demanded": True}):
            self.begin(GOOD, ALERT, GOOD, **settings)
            await self.opens()
            self.assertEqual(len(self.contexts.sessions), 1)
            second = await self.opens()
            assert second.tls is not None
            self.assertEqual((second.tls.verified, second.tls.is_resumed), (NAME, False))
            self.assertEqual(self.server.resumed, [False, False])
            self.assertEqual((len(self.server.connections), self.broken), (3, {}))

    async def test_it_is_tried_once_only_where_tls_is_demanded(self) -> None:
        self.begin(GOOD, ALERT, is_demanded=True)
        await self.opens()
        self.assertIn("alert", await self.fails(Kind.TLS_FAILED))
        self.assertEqual(self.versions[1:], [None, None])

    async def test_clear_text_comes_after_both_where_it_may(self) -> None:
        self.begin(GOOD, ALERT, ALERT, GOOD)
        await self.opens()
        self.assertFalse((await self.opens()).session.is_secure)
        self.assertEqual(len(self.server.connections), 4)

    async def test_sessions_that_others_keep_meanwhile_do_not_make_it_endless(self) -> None:
        """Other connections with the host may end well all the time."""
        self.begin(GOOD, ALERT, is_demanded=True)
        await self.opens()
        [kept] = self.contexts.sessions._kept.values()
        self.patch(self.contexts.sessions, "take", lambda _: kept)
        await self.fails(Kind.TLS_FAILED)
        self.assertEqual(len(self.server.connections), 3)

    async def test_alert_behind_the_handshake_of_an_old_session(self) -> None:
        self.begin(GOOD, LATE_ALERT, GOOD, is_demanded=True)
        await self.opens()
        self.assertTrue((await self.opens()).session.is_secure)
        self.assertEqual(self.server.resumed, [False, True, False])

    async def test_first_handshake_that_fails_is_not_repeated(self) -> None:
        self.begin(ALERT, is_demanded=True)
        await self.fails(Kind.TLS_FAILED)
        self.assertEqual(len(self.server.connections), 1)


class LateAlert(RetryTest):
    """An alert in place of the first reply under TLS: what TLS 1.3 has against the client comes that late."""

    async def test_clear_text_follows_where_nobody_demands_more(self) -> None:
        self.begin(LATE_ALERT, GOOD)
        self.assertFalse((await self.opens()).session.is_secure)
        self.assertEqual(self.versions, ["TLSv1.3", None])
        self.assertEqual(list(self.broken), ["192.0.2.25"])

    async def test_never_where_tls_is_demanded(self) -> None:
        for settings in ({"is_demanded": True}, {"level": Level.NAME, "is_demanded": True}):
            self.begin(LATE_ALERT, **settings)
            self.assertIn("TLS, behind the handshake: ", await self.fails(Kind.TLS_FAILED))
            self.assertEqual((self.versions, self.broken), (["TLSv1.3"], {}))

    async def test_never_with_credentials(self) -> None:
        for in_clear in (False, True):
            self.begin(LATE_ALERT)
            self.identity = Credentials(b"user", b"secret", place="secrets:1", in_clear=in_clear)
            self.assertIn("TLS, behind the handshake: ", await self.fails(Kind.TLS_FAILED))
            self.assertEqual((self.versions, self.broken), (["TLSv1.3"], {}))

    async def test_what_anybody_on_the_way_can_do_is_no_alert(self) -> None:
        for behaviour in (LATE_CUT, LATE_RESET):
            self.begin(behaviour)
            await self.fails(Kind.HUNG_UP)
            self.assertEqual((self.versions, self.broken), (["TLSv1.3"], {}))


class Demand(RetryTest):
    """What was remembered of a host never weakens a demand."""

    async def test_host_whose_tls_was_broken_is_met_with_tls(self) -> None:
        for settings in ({"is_demanded": True}, {"level": Level.NAME, "is_demanded": True}):
            self.begin(GOOD, **settings)
            self.broken["192.0.2.25"] = reactor.seconds() + 1000
            self.assertTrue((await self.opens()).session.is_secure)


class Remarks(RetryTest):
    """What -d shows."""

    async def test_one_line_about_each_handshake(self) -> None:
        self.begin(GOOD)
        await self.opens()
        await self.opens()
        shown = [remark for remark in self.remarks if "TLS" in remark]
        cipher = "TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256 bits)"
        first = f"TLS connection established: {cipher}, verified {NAME}"
        self.assertEqual(shown, [first, first + ", session resumed"])
