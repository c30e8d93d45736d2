"""Authentication on the way to an open session: with what, where, and what a hostile server gains by it.

Everything that a session shows (transcript, report, exception, repr) is searched for the secret.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.mail.interfaces import IClientAuthentication
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.net.network import REFUSED, Network
from zsmtp.credentials import Credentials, read_secrets
from zsmtp.destination import Family, Hop, Name, Route, RouteRules
from zsmtp.net.approach import Equipment, Failures, approach
from zsmtp.net.courier import Courier
from zsmtp.policy import Outcome, judge_trouble
from zsmtp.smtp.manner import Manner, Tls
from zsmtp.smtp.opening import CHALLENGES
from zsmtp.testing.dialogue import Script
from zsmtp.testing.peer import Behaviour
from zsmtp.testing.table import Table
from zsmtp.trouble import Kind, Peer, Trouble

SECRET = b"Sesam, oeffne dich"
CODED = base64.b64encode(SECRET).decode()
PROOF = base64.b64encode(b"\0user\0" + SECRET).decode()
ALL = "AUTH SCRAM-SHA-256 CRAM-MD5 PLAIN LOGIN"
SHOWS = [
    SECRET, CODED.encode(), PROOF.encode(), SECRET.hex().encode(), SECRET.hex().upper().encode()
]  # fmt: skip


def coded(text: bytes) -> str:
    """Base64, as a challenge has it."""
    return base64.b64encode(text).decode()


def hop(name: str = "mx.example", address: str = "192.0.2.25") -> Hop:
    """A mail exchanger."""
    return Hop(address, 25, Family.INET, name, b"dns; " + name.encode(), "MX 10", name)


PATH = Hop("/run/lmtp", 0, Family.UNIX, "/run/lmtp", b"", "-F", "/run/lmtp")
LOCAL = hop("localhost", "127.0.0.1")


class Nobody:
    """An employer that has no mail."""

    def next_for(self, courier: Courier) -> None:
        """See Employer."""

    def answered(self, *_: object) -> None:
        """See Employer."""

    finished = closed = answered


class AuthenticationTest(SynchronousTestCase):
    """One approach over memory; everything that was shown is searched for the secret at the end."""

    def approach(
        self,
        *behaviours: Behaviour | str,
        hops: tuple[Hop, ...] = (hop(),),
        words: str = "",
        **manner: Any,
    ) -> Courier | Failures:
        """Try the hops, each served by its behaviour, and return what came of it."""
        self.network = Network()
        self.warned: list[str] = []
        self.seen: list[bytes] = []
        lines = [f"* {each.name if each is not PATH else 'UNIX:/run/lmtp'}" for each in hops]
        text = "".join(f"{line} {coded(b'user')} {CODED} {words}\n" for line in lines)
        secrets = read_secrets(text.encode(), "secrets", nonce=lambda: b"clientnonce")
        self.assertEqual(secrets.problems, ())
        if len(hops) == 1:
            self.network.serve(hops[0].address, *behaviours)
        else:
            for each, behaviour in zip(hops, behaviours, strict=True):
                self.network.serve(each.address, behaviour)

        def find(*_: object) -> Deferred[Route | Trouble]:
            return succeed(Route(hops))

        def witness(_: Peer) -> Any:
            return lambda kind, line: self.seen.append(line)

        self.equipment = Equipment(
            reactor=self.network,
            manner=Manner(name=b"me.example", **{"tls": Tls.OPPORTUNISTIC, **manner}),
            rules=RouteRules,
            find=find,
            context_for=lambda *_: object(),
            broken_tls={},
            credentials=lambda each: secrets.find(b"smtp", each),  # type: ignore[arg-type,return-value]
            remark=self.warned.append,
            warn=self.warned.append,
            witness=witness,
        )
        return self.again()

    def again(self) -> Courier | Failures:
        """Try once more."""
        found: list[Any] = []
        ensureDeferred(approach(self.equipment, Name("x.example"), Nobody())).addBoth(found.append)
        self.network.run()
        self.network.pass_time(400)
        (result,) = found
        assert isinstance(result, (Courier, list)), result
        self.search(result)
        return result

    def search(self, result: Courier | Failures) -> None:
        """Fail if anything shows a secret."""
        shown = [repr(result).encode(), repr(self.equipment).encode(), *self.seen]
        shown += [warning.encode() for warning in self.warned]
        if isinstance(result, list):
            for trouble, _ in result:
                verdict = judge_trouble(trouble)
                shown += [repr(trouble).encode(), *map(bytes, verdict[3:6])]
        else:
            shown += [repr(result.session).encode(), repr(result.credentials).encode()]
        for text in shown:
            for form in SHOWS:
                self.assertNotIn(form, text)

    def opens(self, *behaviours: Behaviour | str, **options: Any) -> list[str]:
        """See that a session opens, authenticated; return what the client said, without EHLO and STARTTLS."""
        result = self.approach(*behaviours, **options)
        assert isinstance(result, Courier), (result, self.network.conversations)
        self.assertTrue(result.session.is_authenticated)
        self.assertEqual([one for one in self.warned if "mail waits" in one], [])
        return self.said()

    def fails(self, *behaviours: Behaviour | str, **options: Any) -> str:
        """See that no session opens, no mail is sent and nobody bounces; return what the postmaster reads."""
        result = self.approach(*behaviours, **options)
        assert isinstance(result, list), result
        trouble, _ = result[-1]
        self.assertIs(trouble.kind, Kind.AUTH_FAILED)
        verdict = judge_trouble(trouble)
        self.assertEqual((verdict.outcome, verdict.word.value), (Outcome.DEFERRED, b"retryat +60"))
        self.assertTrue(verdict.status.startswith(b"4."), verdict.status)
        self.assertNotIn("MAIL", [line[:4] for line in self.said()])
        self.assertTrue(any(one.startswith("secrets:") for one in self.warned), self.warned)
        return verdict.text.decode().replace("\r", "|")

    def said(self) -> list[str]:
        """What the client said on all connections, but for EHLO, STARTTLS and QUIT."""
        return [
            line.decode()
            for conversation in self.network.conversations
            for line in conversation.commands
            if line[:4] not in (b"EHLO", b"LHLO", b"STAR", b"QUIT", b"NOOP")
        ]

    @property
    def secret_was_told(self) -> bool:
        """Whether any server has heard the secret."""
        heard = b"".join(conversation.client for conversation in self.network.conversations)
        return CODED.encode() in heard or PROOF.encode() in heard


def scram(sign: bool = True) -> Script:
    """A server with SCRAM-SHA-256; one that does not `sign` makes the signature up."""
    first = f"n=user,r=clientnonce,r=clientnonceserver,s={coded(b'salt')},i=4096,c=biws,r=clientnonceserver"
    salted = hashlib.pbkdf2_hmac("sha256", SECRET, b"salt", 4096)
    key = hmac.digest(salted, b"Server Key", "sha256")
    signature = hmac.digest(key if sign else b"guess", first.encode(), "sha256")
    return Script(
        f"""
        S: 220 mx
        C: EHLO *
        S: 250-mx
        S: 250 STARTTLS
        C: STARTTLS
        S: 220 go
        -- starttls
        C: EHLO *
        S: 250-mx
        S: 250 {ALL}
        C: AUTH SCRAM-SHA-256
        S: 334
        C: {coded(b"n,,n=user,r=clientnonce")}
        S: 334 {coded(f"r=clientnonceserver,s={coded(b'salt')},i=4096".encode())}
        C: *
        S: 334 {coded(b"v=" + base64.b64encode(signature))}
        C: *
        S: 235 welcome
        -- silence
        """
    )


class Mechanisms(AuthenticationTest):
    """Which of them, and how."""

    def test_a01_login_as_on_the_page(self) -> None:
        server = Table(
            {"auth": ["334 VXNlcm5hbWU6", "334 Uc2VjcmV0", "235 ok"]}, announce=["STARTTLS", "AUTH LOGIN"]
        )
        self.assertEqual(self.opens(server), ["AUTH LOGIN", coded(b"user"), CODED])

    def test_a04_equals_sign_in_the_announcement(self) -> None:
        server = Table({"auth": ["334 x", "334 x", "235 ok"]}, announce=["STARTTLS", "AUTH=LOGIN"])
        self.assertEqual(self.opens(server)[0], "AUTH LOGIN")

    def test_plain(self) -> None:
        server = Table({"auth": ["334 ", "235 ok"]}, announce=["STARTTLS", "AUTH LOGIN PLAIN"])
        self.assertEqual(self.opens(server), ["AUTH PLAIN", PROOF])

    def test_a05_cram_md5_where_there_is_nothing_else(self) -> None:
        server = Table(
            {"auth": [f"334 {coded(b'<1@mx>')}", "235 ok"]}, announce=["STARTTLS", "AUTH CRAM-MD5"]
        )
        digest = hmac.new(SECRET, b"<1@mx>", hashlib.md5).hexdigest().encode()
        self.assertEqual(self.opens(server), ["AUTH CRAM-MD5", coded(b"user " + digest)])
        self.assertFalse(self.secret_was_told)

    def test_scram_comes_before_all_others(self) -> None:
        self.opens(scram())
        self.assertFalse(self.secret_was_told)

    def test_line_may_limit_them(self) -> None:
        server = Table({"auth": ["334 x", "334 x", "235 ok"]}, announce=["STARTTLS", ALL])
        self.assertEqual(self.opens(server, words="mechanisms=LOGIN")[0], "AUTH LOGIN")

    def test_refused_proof_lets_the_secret_follow_where_nobody_listens(self) -> None:
        answers = [f"334 {coded(b'<1@mx>')}", "535 no", "334 ", "235 ok"]
        server = Table({"auth": answers}, announce=["STARTTLS", "AUTH CRAM-MD5 PLAIN LOGIN"])
        self.assertEqual(self.opens(server)[2:], ["AUTH PLAIN", PROOF])

    def test_refused_secret_is_not_said_again(self) -> None:
        server = Table({"auth": ["334 ", "535 5.7.8 no"]}, announce=["STARTTLS", "AUTH PLAIN LOGIN"])
        text = self.fails(server)
        self.assertEqual(self.said(), ["AUTH PLAIN", PROOF])
        self.assertEqual(text, "|<<- AUTH PLAIN|->> 535 5.7.8 no|(authentication with mx.example)")
        self.assertIn(
            "secrets:1: mail waits: <<- AUTH PLAIN | ->> 535 5.7.8 no | (authentication with mx.example)",
            self.warned,
        )

    def test_third_attempt_is_not_made(self) -> None:
        answers = [f"334 {coded(b'<1@mx>')}", "535 no", "334 ", "535 no"]
        self.fails(Table({"auth": answers}, announce=["STARTTLS", "AUTH CRAM-MD5 PLAIN LOGIN"]))
        self.assertEqual(
            [line for line in self.said() if line[:4] == "AUTH"], ["AUTH CRAM-MD5", "AUTH PLAIN"]
        )


class Nothing(AuthenticationTest):
    """No authentication, no mail."""

    def test_not_offered(self) -> None:
        self.assertIn("authentication with mx.example: the server offers no authentication", self.fails("+T"))

    def test_none_of_the_mechanisms(self) -> None:
        text = self.fails(Table({}, announce=["STARTTLS", "AUTH GSSAPI NTLM XOAUTH2"]))
        self.assertIn("offers AUTH GSSAPI NTLM XOAUTH2, of which none can be used here [SCRAM", text)

    def test_none_of_those_that_the_line_allows(self) -> None:
        text = self.fails(
            Table({}, announce=["STARTTLS", "AUTH PLAIN LOGIN"]), words="mechanisms=SCRAM-SHA-256"
        )
        self.assertIn("none can be used here [SCRAM-SHA-256]", text)
        self.assertFalse(self.secret_was_told)

    def test_server_that_knows_no_ehlo(self) -> None:
        self.fails("E 502; H 250", words="cleartext")

    def test_server_that_hangs_up_on_ehlo_is_not_met_with_helo(self) -> None:
        result = self.approach("E 421+X", words="cleartext")
        assert isinstance(result, list)
        self.assertEqual(len(self.network.links), 1)

    def test_a02_refused(self) -> None:
        for line in (
            "535 5.7.8 no",
            "454 4.7.0 later",
            "432 4.7.12 change it",
            "504 what",
            "501 what",
            "538 tls",
        ):
            self.fails(Table({"auth": ["334 ", line]}, announce=["STARTTLS", "AUTH PLAIN"]))

    def test_a03_refused_in_lmtp(self) -> None:
        self.fails(
            Table({"auth": ["334 ", "535 no"]}, announce=["AUTH PLAIN"], lmtp=True), hops=(PATH,), lmtp=True
        )

    def test_other_mail_exchanger_is_tried(self) -> None:
        second = hop("mx2.example", "192.0.2.26")
        said = self.approach(
            Table({"auth": ["334 ", "535 no"]}, announce=["STARTTLS", "AUTH PLAIN"]),
            Table({"auth": ["334 ", "235 ok"]}, announce=["STARTTLS", "AUTH PLAIN"]),
            hops=(hop(), second),
        )
        assert isinstance(said, Courier)
        self.assertEqual((said.hop, said.session.is_authenticated), (second, True))

    def test_unusable_secrets_open_no_connection(self) -> None:
        self.approach(REFUSED)
        trouble = Trouble(Kind.SECRETS_UNUSABLE, b"no")
        self.equipment = self.equipment._replace(credentials=lambda _: trouble)
        attempts = len(self.network.attempts)
        result = self.again()
        assert isinstance(result, list)
        self.assertEqual(([one for one, _ in result], len(self.network.attempts)), ([trouble], attempts))


class InClear(AuthenticationTest):
    """Without TLS."""

    def test_nothing_is_said(self) -> None:
        for mechanism in ("PLAIN LOGIN", "CRAM-MD5", "SCRAM-SHA-256"):
            text = self.fails(Table({}, announce=[f"AUTH {mechanism}"]))
            self.assertIn("not encrypted, and credentials are not sent in clear", text)
            self.assertEqual(self.said(), [])

    def test_unless_the_line_allows_it(self) -> None:
        server = Table({"auth": ["334 ", "235 ok"]}, announce=["AUTH PLAIN"])
        self.assertEqual(self.opens(server, words="cleartext"), ["AUTH PLAIN", PROOF])

    def test_and_then_that_which_tells_least_alone(self) -> None:
        answers = [f"334 {coded(b'<1@mx>')}", "535 no"]
        self.fails(Table({"auth": answers}, announce=["AUTH CRAM-MD5 PLAIN"]), words="cleartext")
        self.assertFalse(self.secret_was_told)

    def test_tls_is_preferred_all_the_same(self) -> None:
        server = Table({"auth": ["334 ", "235 ok"]}, announce=["STARTTLS", "AUTH PLAIN"])
        self.opens(server, words="cleartext")
        self.assertTrue(self.network.links[0].conversation.tls)

    def test_this_machine_is_safe(self) -> None:
        for where in (PATH, LOCAL):
            server = Table({"auth": ["334 ", "235 ok"]}, announce=["AUTH PLAIN"])
            self.assertEqual(self.opens(server, hops=(where,)), ["AUTH PLAIN", PROOF])


class Downgrade(AuthenticationTest):
    """Somebody on the way who wants the secret, or the mail without it."""

    def test_a11_what_was_offered_before_tls_is_forgotten(self) -> None:
        server = Script(
            """
            S: 220 mx
            C: EHLO *
            S: 250-mx
            S: 250-STARTTLS
            S: 250 AUTH PLAIN
            C: STARTTLS
            S: 220 go
            -- starttls
            C: EHLO *
            S: 250 mx
            C: QUIT
            S: 221 bye
            """
        )
        self.assertIn("offers no authentication", self.fails(server))

    def test_stripped_starttls_gains_nothing(self) -> None:
        self.fails(Table({"auth": ["334 ", "235 ok"]}, announce=["AUTH PLAIN"]))
        self.assertEqual(self.said(), [])

    def test_refused_starttls_gains_nothing(self) -> None:
        server = Table({"starttls": "454 no"}, announce=["STARTTLS", "AUTH PLAIN"])
        for words in ("", "cleartext"):
            result = self.approach(server, words=words)
            assert isinstance(result, list)
            self.assertIs(result[0][0].kind, Kind.TLS_FAILED)
            self.assertEqual((len(self.network.links), self.said()), (1, []))

    def test_broken_handshake_is_not_remembered_for_others(self) -> None:
        """Once broken, TLS is not passed over for an hour: this hour would be the attacker's."""
        self.approach(Table({"starttls": "454 no"}, announce=["STARTTLS", "AUTH PLAIN"]), words="cleartext")
        self.assertEqual(self.equipment.broken_tls, {})
        self.equipment.broken_tls["192.0.2.25"] = self.network.seconds() + 1000
        self.network.serve(
            "192.0.2.25", Table({"auth": ["334 ", "235 ok"]}, announce=["STARTTLS", "AUTH PLAIN"])
        )
        result = self.again()
        assert isinstance(result, Courier)
        self.assertTrue(result.session.is_secure)

    def test_this_machine_may_be_met_in_clear_after_that(self) -> None:
        broken = Table({"starttls": "454 no"}, announce=["STARTTLS", "AUTH PLAIN"])
        good = Table({"auth": ["334 ", "235 ok"]}, announce=["STARTTLS", "AUTH PLAIN"])
        self.opens(broken, good, hops=(LOCAL,))

    def test_tls_that_options_switch_off(self) -> None:
        self.fails(Table({"auth": ["334 ", "235 ok"]}, announce=["STARTTLS", "AUTH PLAIN"]), tls=Tls.NEVER)
        self.assertEqual(self.said(), [])

    def test_octets_behind_the_reply_to_starttls(self) -> None:
        injected = b"220 go\r\n250-mx\r\n250 AUTH PLAIN\r\n"
        result = self.approach(Table({"starttls": injected}, announce=["STARTTLS", "AUTH PLAIN"]))
        assert isinstance(result, list)
        self.assertEqual(self.said(), [])


class HostileServers(AuthenticationTest):
    """What a server may say in the exchange."""

    def exchange(self, mechanism: str, *answers: str | bytes) -> str:
        """See that the exchange fails; return what the postmaster reads."""
        return self.fails(Table({"auth": list(answers)}, announce=["STARTTLS", f"AUTH {mechanism}"]))

    def test_signature_that_is_made_up(self) -> None:
        self.assertIn("the server's signature is false", self.fails(scram(sign=False)))
        self.assertFalse(self.secret_was_told, "and nothing weaker is tried")

    def test_challenges_without_end(self) -> None:
        for mechanism in ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"):
            self.exchange(mechanism, f"334 {coded(b'x')}")
            self.assertLessEqual(len(self.said()), CHALLENGES)

    def test_challenges_that_are_not_base64(self) -> None:
        for mechanism in ("PLAIN", "CRAM-MD5", "SCRAM-SHA-256"):
            for challenge in ("334 !!!", "334 abc", "334 =", "334 \xff", b"334 \x00\x01\r\n"):
                text = self.exchange(mechanism, challenge, "501 cancelled")
                self.assertIn("the server's challenge is no base64", text)
                self.assertEqual(self.said()[1:], ["*"])

    def test_success_before_the_credentials(self) -> None:
        for mechanism in ("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256"):
            self.assertIn("credentials that it does not have yet", self.exchange(mechanism, "235 welcome"))
            self.assertFalse(self.secret_was_told)

    def test_success_without_the_signature(self) -> None:
        first = coded(f"r=clientnonceserver,s={coded(b'salt')},i=4096".encode())
        self.exchange("SCRAM-SHA-256", "334 ", f"334 {first}", "235 welcome")
        self.assertFalse(self.secret_was_told)

    def test_success_after_we_gave_up(self) -> None:
        for answer in ("235 welcome", "334 ", "250 ok"):
            self.exchange("CRAM-MD5", "334 !", answer)

    def test_secret_is_shown_in_no_form(self) -> None:
        for form in (SECRET.decode(), CODED, PROOF, SECRET.hex(), SECRET.hex().upper()):
            text = self.exchange("PLAIN", "334 ", f"535 no user has the password {form}, go away")
            self.assertIn("***, go away", text)

    def test_names_of_mechanisms_that_do_not_fit_into_a_report(self) -> None:
        names = " ".join(f"X-{'A' * 300}{number}" for number in range(5))
        text = self.fails(Table({}, announce=["STARTTLS", f"AUTH {names}"]))
        self.assertLess(len(text), 1000)

    def test_injected_commands_cannot_ride_on_a_challenge(self) -> None:
        self.exchange("CRAM-MD5", f"334 {coded(b'x' + bytes([13, 10]) + b'RSET')}", "535 no")
        for line in self.said():
            self.assertNotIn("RSET", line)

    def test_iterations_that_would_keep_us_busy(self) -> None:
        first = coded(f"r=clientnonceserver,s={coded(b'salt')},i=999999999".encode())
        text = self.exchange("SCRAM-SHA-256", "334 ", f"334 {first}", "501 cancelled")
        self.assertIn("999999999 iterations", text)

    def test_silence(self) -> None:
        result = self.approach(Table({"auth": ["334 ", "-"]}, announce=["STARTTLS", "AUTH PLAIN"]))
        assert isinstance(result, list)
        self.assertIs(result[0][0].kind, Kind.TIMED_OUT)

    def test_end_of_the_connection_in_the_middle(self) -> None:
        result = self.approach(Table({"auth": ["334 +X"]}, announce=["STARTTLS", "AUTH PLAIN"]))
        assert isinstance(result, list)
        self.assertIs(result[0][0].kind, Kind.HUNG_UP)


@implementer(IClientAuthentication)
class Foreign:
    """A mechanism that knows no more than Twisted's interface, and fails in the worst way."""

    def getName(self) -> bytes:
        """See IClientAuthentication."""
        return b"X-FOREIGN"

    def challengeResponse(self, secret: bytes, chal: bytes) -> bytes:
        """See IClientAuthentication."""
        if chal == b"fail":
            raise RuntimeError(f"cannot encrypt {secret!r}")
        return b"answer to " + chal


class Registry(AuthenticationTest):
    """Mechanisms of others, by Twisted's interface."""

    def meet(self, *answers: str) -> Courier | Failures:
        """Have the foreign mechanism registered, as an owner would do it."""
        self.patch(Credentials, "mechanisms", lambda _: [Foreign()])
        return self.approach(Table({"auth": list(answers)}, announce=["STARTTLS", "AUTH X-FOREIGN"]))

    def test_mechanism_of_others_is_used(self) -> None:
        self.assertIsInstance(self.meet(f"334 {coded(b'1')}", f"334 {coded(b'2')}", "235 ok"), Courier)
        self.assertEqual(self.said(), ["AUTH X-FOREIGN", coded(b"answer to 1"), coded(b"answer to 2")])

    def test_its_errors_may_quote_the_secret_and_are_not_shown(self) -> None:
        result = self.meet(f"334 {coded(b'fail')}", "501 cancelled")
        assert isinstance(result, list)
        self.assertIn(b"the server's challenge has no answer", result[0][0].text)
        self.assertEqual((self.said(), self.flushLoggedErrors()), (["AUTH X-FOREIGN", "*"], []))

    def test_credentials_are_all_that_is_needed(self) -> None:
        credentials = Credentials(b"u", b"s", place="x:1")
        courier = Courier(Nobody(), hop(), Manner(), clock=Network(), credentials=credentials)
        self.assertEqual(courier.requireAuthentication, True)
        self.assertEqual((courier.isPrivate, courier.usesSecretsInClear), (False, False))
