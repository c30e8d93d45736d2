"""From the greeting to the open session: nothing secret goes in clear, nothing is taken for granted."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.smtp.sample import PLAIN, broken, mail, open_session, session, shown
from zsmtp.errors import Misuse
from zsmtp.policy import Outcome, Verdict, judge_trouble
from zsmtp.smtp.event import Broken, ChallengeReceived, Event, Greeted, Left, MechanismsOffered, SecureNow
from zsmtp.smtp.opening import CHALLENGES
from zsmtp.smtp.session import Esmtp, Session, State, Tls
from zsmtp.testing.talk import talk
from zsmtp.trouble import Kind, Trouble


def kinds(events: list[Event]) -> list[type[Event]]:
    """The kinds of events."""
    return [type(event) for event in events]


class OpeningTest(SynchronousTestCase):
    """Sessions that are not opened."""

    def refused(self, dialogue: str, kind: Kind, text: str, **manner: Any) -> Verdict:
        """Play, expect the session to be refused for this reason and with this text; return what it means."""
        talker = session(**manner)
        events = talk(talker, dialogue)
        trouble = broken(events).trouble
        self.assertIs(trouble.kind, kind)
        verdict = judge_trouble(trouble)
        self.assertEqual(shown(verdict.text), text)
        self.assertRaises(Misuse, talker.begin, mail())
        return verdict


class TheGreeting(OpeningTest):
    """The server speaks first."""

    def test_one_line(self) -> None:
        (event,) = talk(session(), PLAIN)
        assert isinstance(event, Greeted)
        self.assertEqual(event.capabilities, session().capabilities)

    def test_many_lines(self) -> None:
        """Row 3."""
        events = talk(session(), "S: 220-a\nS: 220-b\nS: 220 c\nC: EHLO client.example\nS: 250 a")
        self.assertEqual(kinds(events), [Greeted])

    def test_garbage_is_no_greeting(self) -> None:
        """Row 4: the original waits on; we do not talk to what does not speak SMTP."""
        self.refused(
            "S: hello\nS: 220 c",
            Kind.PROTOCOL,
            "⏎<<- (connecting)⏎->> hello⏎not a reply: b'hello'",
        )

    def test_reply_of_another_kind_is_none(self) -> None:
        """Row 5; weakness W1."""
        for line in ("199 x", "354 x", "000 x", "650 x"):
            verdict = self.refused(
                f"S: {line}\nC-close",
                Kind.PROTOCOL,
                f"⏎<<- (connecting)⏎->> {line}⏎the server gave a reply that is not defined for this command",
            )
            self.assertEqual(verdict.status, b"4.5.0 (generic protocol failure)")

    def test_refused_for_now(self) -> None:
        """Row 6; weakness W11: QUIT, and no second use of this connection."""
        verdict = self.refused(
            "S: 421 busy\nC: QUIT\nS: 221 bye\nC-close",
            Kind.GREETING_REFUSED,
            "⏎<<- (connecting)⏎->> 421 busy",
        )
        self.assertEqual((verdict.word.value, verdict.status), (b"retryat +60", b"4.0.0"))
        self.assertEqual(verdict.diagnostic, b"smtp; 421 (busy)")

    def test_refused_with_554(self) -> None:
        """Rows 7, 8 and 14: everybody the same, and for now; another client of ours may be welcome."""
        verdict = self.refused(
            "S: 554 no\nC: QUIT\nS: 221 bye\nC-close",
            Kind.GREETING_REFUSED,
            "⏎<<- (connecting)⏎->> 554 no",
        )
        self.assertEqual(verdict.outcome, Outcome.DEFERRED)
        self.assertEqual(verdict.diagnostic, b"smtp; 554 (no)")
        self.assertEqual(verdict.status, b"4.3.2 (greeting refused)")

    def test_server_that_will_never_take_mail(self) -> None:
        """RFC 7504."""
        verdict = self.refused(
            "S: 521 no mail here\nC: QUIT\nS: 221 bye",
            Kind.GREETING_REFUSED,
            "⏎<<- (connecting)⏎->> 521 no mail here",
        )
        self.assertEqual(verdict.outcome, Outcome.FAILED)

    def test_hang_up(self) -> None:
        """Row 9; weakness W15: the status is our own."""
        verdict = self.refused(
            "-- close", Kind.HUNG_UP, "⏎<<- (null)⏎remote hung up on us while 1 responses missing"
        )
        self.assertEqual(verdict.status, b"4.4.2 (connection lost)")
        self.assertEqual(verdict.diagnostic, b"smtp; 466 (remote hung up on us while 1 responses missing)")

    def test_hang_up_in_the_middle_is_quoted(self) -> None:
        self.refused(
            r"S-raw: 220-a\r\n22" + "\n-- close",
            Kind.HUNG_UP,
            "⏎<<- (connecting)⏎->> 220-a⏎->> 22⏎remote hung up on us while 1 responses missing",
        )

    def test_silence(self) -> None:
        """Row 10."""
        verdict = self.refused(
            "-- client expired",
            Kind.TIMED_OUT,
            "⏎<<- (null)⏎Timeout of 300 sec while waiting responses from remote",
        )
        self.assertEqual(verdict.status, b"4.4.2 (no answer in time)")

    def test_greeted_twice(self) -> None:
        """Row 11; weakness W2: the second greeting would shift all replies."""
        self.refused(
            r"S-raw: 220 a\r\n220 b\r\n" + "\nC-close",
            Kind.PROTOCOL,
            "⏎<<- EHLO client.example⏎->> 220 b⏎the server sent a reply that answers no command",
        )

    def test_server_that_talks_ahead(self) -> None:
        """Defect 5 of the stock class: a whole dialogue in the first packet."""
        talker = session()
        self.assertIsInstance(talker.receive(b"220 a\r\n250 a\r\n250 b\r\n354 c\r\n250 d\r\n")[0], Broken)
        self.assertEqual(talker.take(), b"")


class Hello(OpeningTest):
    """EHLO, LHLO or HELO."""

    def test_only_if_announced(self) -> None:
        """Rows 15 and 16; weakness W27 (option -E)."""
        talk(session(esmtp=Esmtp.IF_ANNOUNCED), "S: 220 x SMTP\nC: HELO client.example\nS: 250 x")
        talk(session(esmtp=Esmtp.IF_ANNOUNCED), "S: 220 x esmtp\nC: EHLO client.example\nS: 250 x")
        talk(session(esmtp=Esmtp.IF_ANNOUNCED), "S: 220-x\nS: 220 Esmtp\nC: EHLO client.example\nS: 250 x")

    def test_never(self) -> None:
        """Row 25 (option -77)."""
        talker = session(esmtp=Esmtp.NEVER)
        talk(talker, "S: 220 x ESMTP\nC: HELO client.example\nS: 250-x\nS: 250 PIPELINING")
        self.assertFalse(talker.capabilities.pipelining)

    def test_not_known(self) -> None:
        """Row 17: HELO on the same connection."""
        events = talk(
            session(), "S: 220 x\nC: EHLO client.example\nS: 500 what\nC: HELO client.example\nS: 250 x"
        )
        self.assertEqual(kinds(events), [Greeted])

    def test_keywords_after_helo_mean_nothing(self) -> None:
        """Row 24."""
        talker = session()
        talk(
            talker,
            """
            S: 220 x
            C: EHLO client.example
            S: 500 what
            C: HELO client.example
            S: 250-x
            S: 250 PIPELINING
            """,
        )
        self.assertFalse(talker.capabilities.pipelining)

    def test_keywords_of_a_refusal_mean_nothing(self) -> None:
        """Section 1.5."""
        talker = session()
        talk(
            talker,
            """
            S: 220 x
            C: EHLO client.example
            S: 500-x
            S: 500 PIPELINING
            C: HELO client.example
            S: 250 x
            """,
        )
        self.assertFalse(talker.capabilities.pipelining)

    def test_helo_is_tried_once(self) -> None:
        """Row 21; defect 8 of the stock class: HELO for ever."""
        verdict = self.refused(
            """
            S: 220 x
            C: EHLO client.example
            S: 502 what
            C: HELO client.example
            S: 550 no
            C: QUIT
            S: 221 bye
            C-close
            """,
            Kind.HELLO_REFUSED,
            "⏎<<- HELO client.example⏎->> 550 no",
        )
        self.assertEqual(verdict.word.value, b"retryat +60")

    def test_refused_for_now(self) -> None:
        """Row 18: whether HELO is tried on a new connection is decided by `ended_in`."""
        talker = session()
        events = talk(talker, "S: 220 x\nC: EHLO client.example\nS: 421 x\nC: QUIT\nS: 221 bye\nC-close")
        self.assertIs(broken(events).trouble.kind, Kind.HELLO_REFUSED)
        self.assertEqual(kinds(events), [Broken, Left])
        self.assertIs(talker.ended_in, State.NEGOTIATING)

    def test_hang_up(self) -> None:
        """Rows 19 and 20: servers that cannot bear EHLO."""
        talker = session()
        events = talk(talker, "S: 220 x\nC: EHLO client.example\nS: 250-x\n-- close")
        self.assertIs(talker.ended_in, State.NEGOTIATING)
        self.assertEqual(
            shown(broken(events).trouble.text),
            "⏎<<- EHLO client.example⏎->> 250-x⏎remote hung up on us while 1 responses missing",
        )

    def test_nobody_falls_back_where_that_is_not_wanted(self) -> None:
        self.refused(
            "S: 220 x\nC: EHLO client.example\nS: 500 x\nC: QUIT\nS: 221 bye",
            Kind.HELLO_REFUSED,
            "⏎<<- EHLO client.example⏎->> 500 x",
            falls_back=False,
        )

    def test_lmtp_has_no_helo(self) -> None:
        """Row 110."""
        self.refused(
            "S: 220 x\nC: LHLO client.example\nS: 500 x\nC: QUIT\nS: 221 bye\nC-close",
            Kind.HELLO_REFUSED,
            "⏎<<- LHLO client.example⏎->> 500 x",
            lmtp=True,
        )

    def test_lmtp_refused_for_now(self) -> None:
        """Row 111."""
        self.refused(
            "S: 220 x\nC: LHLO client.example\nS: 421 x\nC: QUIT\nS: 221 bye\nC-close",
            Kind.HELLO_REFUSED,
            "⏎<<- LHLO client.example⏎->> 421 x",
            lmtp=True,
        )

    def test_lmtp_without_extensions(self) -> None:
        """Row 112: LHLO cannot be avoided, but nothing is made of its answer."""
        for esmtp in (Esmtp.NEVER, Esmtp.IF_ANNOUNCED):
            talker = session(lmtp=True, esmtp=esmtp)
            talk(talker, "S: 220 x\nC: LHLO client.example\nS: 250-x\nS: 250 DSN")
            self.assertIs(talker.capabilities.dsn, esmtp is not Esmtp.NEVER)


TLS = """
    S: 220 mx.example ESMTP
    C: EHLO client.example
    S: 250-mx.example
    S: 250-STARTTLS
    S: 250-AUTH PLAIN
    S: 250 PIPELINING
    C: STARTTLS
"""


class StartTls(OpeningTest):
    """RFC 3207."""

    def test_what_was_learnt_in_clear_is_forgotten(self) -> None:
        """And with fewer extensions after the handshake there are fewer."""
        talker = session(tls=Tls.OPPORTUNISTIC)
        events = talk(talker, TLS + "S: 220 go\n-- starttls\nC: EHLO client.example\nS: 250-x\nS: 250 SIZE 5")
        self.assertEqual(kinds(events), [SecureNow, Greeted])
        self.assertEqual(talker.capabilities, talker.capabilities.__class__(size=5))
        self.assertTrue(talker.is_secure)
        talker.begin(mail())
        self.assertEqual(talker.take(), b"MAIL From:<a@x.example> SIZE=25\r\n", "and so no group")

    def test_offered_again_it_is_not_asked_for_again(self) -> None:
        after = "S: 220 go\n-- starttls\nC: EHLO client.example\nS: 250-x\nS: 250 STARTTLS"
        self.assertEqual(kinds(talk(session(tls=Tls.REQUIRED), TLS + after)), [SecureNow, Greeted])

    def test_never(self) -> None:
        talker = session()
        talk(talker, TLS.replace("C: STARTTLS", ""))
        self.assertFalse(talker.is_secure)

    def test_not_offered_and_not_demanded(self) -> None:
        self.assertEqual(kinds(talk(session(tls=Tls.OPPORTUNISTIC), PLAIN)), [Greeted])

    def test_connection_that_is_secure_from_the_start(self) -> None:
        talker = Session(session(tls=Tls.REQUIRED).manner, is_secure=True)
        self.assertEqual(kinds(talk(talker, PLAIN)), [Greeted])

    def test_demanded_and_not_offered(self) -> None:
        """Row 137; weakness W7."""
        verdict = self.refused(
            PLAIN + "C: QUIT\nS: 221 bye\nC-close",
            Kind.TLS_REQUIRED,
            "500 (Remote system doesn't support mandated TLS mode)",
            tls=Tls.REQUIRED,
        )
        self.assertEqual(verdict.outcome, Outcome.DEFERRED)
        self.assertEqual(verdict.status, b"4.7.3 (Mandated TLS security mode not available)")
        self.assertEqual(verdict.diagnostic, b"local; 500 (Remote system doesn't support mandated TLS mode)")

    def test_demanded_and_extensions_switched_off(self) -> None:
        for server, manner in (
            ("S: 220 x\nC: HELO client.example\nS: 250 x\nC: QUIT", {"esmtp": Esmtp.NEVER}),
            (
                "S: 220 x\nC: LHLO client.example\nS: 250-x\nS: 250 STARTTLS\nC: QUIT",
                {"esmtp": Esmtp.NEVER, "lmtp": True},
            ),
            ("S: 220 x\nC: EHLO *\nS: 500 x\nC: HELO *\nS: 250 x\nC: QUIT", {}),
        ):
            talker = session(tls=Tls.REQUIRED, **manner)
            self.assertIs(broken(talk(talker, server)).trouble.kind, Kind.TLS_REQUIRED)

    def test_refused(self) -> None:
        """Row 136; weakness W7: whether clear text is tried on a new connection is decided elsewhere."""
        verdict = self.refused(
            TLS + "S: 454 4.7.0 not now\nC: QUIT\nS: 221 bye\nC-close",
            Kind.TLS_FAILED,
            "⏎<<- STARTTLS⏎->> 454 4.7.0 not now",
            tls=Tls.REQUIRED,
        )
        self.assertEqual((verdict.word.value, verdict.status), (b"retryat +60", b"4.7.0"))

    def test_starttls_injection(self) -> None:
        """Row 138; defect 4 of the stock class: clear text that would be taken for the first secure reply."""
        for octets in (b"250 x\r\n", b"250-x\r\n250 AUTH PLAIN\r\n", b"250-x", b"2", b"\r\n", b"x"):
            for together in (True, False):
                talker = session(tls=Tls.REQUIRED)
                talk(talker, TLS)
                if together:
                    events = talker.receive(b"220 go\r\n" + octets)
                else:
                    events = talker.receive(b"220 go\r\n") + talker.receive(octets)
                self.assertEqual(kinds(events), [SecureNow, Broken], octets)
                talker.secured()
                self.assertEqual((talker.take(), talker.is_secure), (b"", False))

    def test_octets_behind_the_offer(self) -> None:
        """What comes before STARTTLS was sent cannot be the beginning of its answer."""
        talker = session(tls=Tls.REQUIRED)
        talker.receive(b"220 x\r\n")
        talker.take()
        talker.receive(b"250-x\r\n250 STARTTLS\r\n22")
        self.assertEqual(talker.take(), b"STARTTLS\r\n")
        self.assertEqual(kinds(talker.receive(b"0 go\r\n")), [Broken])

    def test_handshake_that_does_not_end(self) -> None:
        self.refused(
            TLS + "S: 220 go\n-- client expired",
            Kind.TLS_FAILED,
            "⏎<<- STARTTLS⏎Timeout of 300 sec in the TLS handshake",
            tls=Tls.OPPORTUNISTIC,
        )

    def test_no_answer_to_starttls(self) -> None:
        self.refused(
            TLS + "-- client expired",
            Kind.TIMED_OUT,
            "⏎<<- STARTTLS⏎Timeout of 300 sec while waiting responses from remote",
            tls=Tls.OPPORTUNISTIC,
        )

    def test_hello_refused_after_the_handshake_is_not_said_again_in_another_way(self) -> None:
        self.refused(
            TLS + "S: 220 go\n-- starttls\nC: EHLO client.example\nS: 500 x\nC: QUIT\nS: 221 bye",
            Kind.HELLO_REFUSED,
            "⏎<<- EHLO client.example⏎->> 500 x",
            tls=Tls.OPPORTUNISTIC,
        )

    def test_handshake_out_of_turn(self) -> None:
        self.assertRaises(Misuse, session().secured)
        self.assertRaises(Misuse, open_session().secured)
        talker = session(tls=Tls.REQUIRED)
        talk(talker, TLS)
        self.assertRaises(Misuse, talker.secured)


AUTH = """
    S: 220 mx.example ESMTP
    C: EHLO client.example
    S: 250-mx.example
    S: 250 AUTH LOGIN PLAIN
"""
SECRET = b"c2VjcmV0"


class Authentication(OpeningTest):
    """RFC 4954."""

    def asked(self) -> Session:
        """A session that was offered mechanisms."""
        talker = session(authenticate=True)
        (event,) = talk(talker, AUTH)
        self.assertEqual(event, MechanismsOffered((b"LOGIN", b"PLAIN")))
        return talker

    def test_login(self) -> None:
        """Row 100."""
        talker = self.asked()
        talker.authenticate(b"LOGIN")
        self.assertEqual(
            talk(talker, "C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6"), [ChallengeReceived(b"VXNlcm5hbWU6")]
        )
        talker.answer(b"dXNlcg==")
        talk(talker, "C: dXNlcg==\nS: 334 UGFzc3dvcmQ6")
        talker.answer(SECRET)
        events = talk(talker, "C: c2VjcmV0\nS: 235 welcome")
        self.assertEqual(kinds(events), [Greeted])
        self.assertTrue(talker.is_authenticated)

    def test_initial_response(self) -> None:
        talker = self.asked()
        talker.authenticate(b"PLAIN", SECRET)
        self.assertEqual(kinds(talk(talker, "C: AUTH PLAIN c2VjcmV0\nS: 235 ok")), [Greeted])

    def test_empty_initial_response(self) -> None:
        talker = self.asked()
        talker.authenticate(b"EXTERNAL", b"")
        talk(talker, "C: AUTH EXTERNAL =\nS: 235 ok")

    def test_empty_challenge_and_answer(self) -> None:
        talker = self.asked()
        talker.authenticate(b"PLAIN")
        self.assertEqual(talk(talker, "C: AUTH PLAIN\nS: 334"), [ChallengeReceived(b"")])
        talker.answer(b"")
        talk(talker, "C: \nS: 235 ok")

    def test_nothing_suitable(self) -> None:
        """The owner may go on without, where the operator lets it."""
        talker = self.asked()
        talker.refrain()
        self.assertEqual(kinds(talker.poll()), [Greeted])
        self.assertFalse(talker.is_authenticated)

    def test_not_offered(self) -> None:
        self.assertEqual(talk(session(authenticate=True), PLAIN), [MechanismsOffered(())])

    def test_not_offered_after_helo(self) -> None:
        """Weakness W6: a fall-back does not come round the password."""
        events = talk(session(authenticate=True), "S: 220 x\nC: EHLO *\nS: 500 x\nC: HELO *\nS: 250 x")
        self.assertEqual(events, [MechanismsOffered(())])

    def test_what_is_offered_after_the_handshake_counts(self) -> None:
        talker = session(authenticate=True, tls=Tls.OPPORTUNISTIC)
        after = "S: 220 go\n-- starttls\nC: EHLO client.example\nS: 250 x"
        self.assertEqual(talk(talker, TLS + after)[1:], [MechanismsOffered(())])

    def fails(self, line: str, **manner: Any) -> Verdict:
        """Send the secret, get this reply, and see that the secret is nowhere to be read."""
        seen: list[bytes] = []
        talker = session(authenticate=True, **manner)
        talker.witness = lambda kind, text: seen.append(text)
        talk(talker, AUTH.replace("EHLO", "LHLO") if manner else AUTH)
        talker.authenticate(b"LOGIN")
        talk(talker, "C: AUTH LOGIN\nS: 334 x")
        talker.answer(SECRET)
        events = talk(talker, f"C: c2VjcmV0\nS: {line}\nC: QUIT\nS: 221 bye\nC-close")
        trouble = broken(events).trouble
        self.assertIs(trouble.kind, Kind.AUTH_FAILED)
        verdict = judge_trouble(trouble)
        for text in (verdict.text, verdict.diagnostic, repr(events).encode(), *seen):
            self.assertNotIn(SECRET, text)
        self.assertIn(b"***", seen)
        return verdict

    def test_wrong_password(self) -> None:
        """Row 102; weakness W6; defect 17 of the stock class: said once, and no mail without it."""
        verdict = self.fails("535 5.7.8 wrong")
        self.assertEqual(shown(verdict.text), "⏎<<- AUTH LOGIN⏎->> 535 5.7.8 wrong")
        self.assertEqual((verdict.word.value, verdict.status), (b"retryat +60", b"4.7.8"))
        self.assertEqual(verdict.diagnostic, b"smtp; 535 (wrong)")

    def test_wrong_password_in_lmtp(self) -> None:
        """Row 101; weakness W5."""
        self.assertEqual(self.fails("535 bad", lmtp=True).word.value, b"retryat +60")

    def test_server_that_repeats_what_it_did_not_understand(self) -> None:
        """Weakness W5, by way of the server."""
        verdict = self.fails("500 unknown command 'c2VjcmV0'")
        self.assertIn("unknown command '***'", shown(verdict.text))

    def test_server_that_repeats_it_and_hangs_up(self) -> None:
        for octets in (r"500-unknown c2VjcmV0\r\n", r"unknown c2VjcmV0\r\n"):
            talker = self.asked()
            talker.authenticate(b"PLAIN", SECRET)
            events = talk(talker, f"C: AUTH PLAIN *\nS-raw: {octets}\n-- close")
            self.assertNotIn(SECRET, broken(events).trouble.text)

    def test_endless_challenges(self) -> None:
        """Defect 8 of the stock class: 334 for ever."""
        talker = self.asked()
        talker.authenticate(b"LOGIN")
        for _ in range(CHALLENGES):
            talker.take()
            self.assertEqual(kinds(talker.receive(b"334 x\r\n")), [ChallengeReceived])
            talker.answer(b"eHh4")
        talker.take()
        events = talk(talker, "S: 334 x\nC: QUIT\nS: 500 what\nC-close")
        self.assertEqual(kinds(events), [Broken, Left])
        self.assertIn("goes on asking", shown(broken(events).trouble.text))

    def test_challenge_that_cannot_be_answered(self) -> None:
        talker = self.asked()
        talker.authenticate(b"LOGIN")
        talk(talker, "C: AUTH LOGIN\nS: 334 x")
        talker.give_up(b"no such thing")
        events = talk(talker, r"C: \*" + "\nS: 501 cancelled\nC: QUIT\nS: 221 bye")
        trouble = broken(events).trouble
        self.assertIs(trouble.kind, Kind.AUTH_FAILED)
        self.assertEqual(shown(trouble.text), "⏎<<- AUTH LOGIN⏎->> 501 cancelled⏎no such thing")

    def test_exchange_that_was_given_up_cannot_succeed(self) -> None:
        for line in ("235 welcome", "334 go on", "535 no"):
            talker = self.asked()
            talker.authenticate(b"CRAM-MD5", otherwise=(b"PLAIN",))
            talk(talker, "C: AUTH CRAM-MD5\nS: 334 x")
            talker.give_up(b"no such thing")
            events = talk(talker, r"C: \*" + f"\nS: {line}\nC: QUIT\nS: 221 bye")
            self.assertIs(broken(events).trouble.kind, Kind.AUTH_FAILED)
            self.assertFalse(talker.is_authenticated)

    def test_success_before_the_credentials_is_none(self) -> None:
        talker = self.asked()
        talker.authenticate(b"LOGIN", suffices=False)
        events = talk(talker, "C: AUTH LOGIN\nS: 235 welcome\nC: QUIT\nS: 221 bye")
        self.assertIn("does not have yet", shown(broken(events).trouble.text))
        self.assertFalse(talker.is_authenticated)

    def test_success_in_the_middle_is_none(self) -> None:
        talker = self.asked()
        talker.authenticate(b"LOGIN", suffices=False)
        talk(talker, "C: AUTH LOGIN\nS: 334 x")
        talker.answer(b"dXNlcg==", suffices=False)
        events = talk(talker, "C: dXNlcg==\nS: 235 welcome\nC: QUIT\nS: 221 bye")
        self.assertIs(broken(events).trouble.kind, Kind.AUTH_FAILED)

    def test_other_mechanisms_are_offered_once_after_a_refusal(self) -> None:
        talker = self.asked()
        talker.authenticate(b"CRAM-MD5", otherwise=(b"PLAIN", b"LOGIN"))
        talk(talker, "C: AUTH CRAM-MD5\nS: 334 x")
        talker.answer(b"eHh4")
        events = talk(talker, "C: eHh4\nS: 535 no")
        self.assertEqual(events, [MechanismsOffered((b"PLAIN", b"LOGIN"))])
        talker.authenticate(b"PLAIN", SECRET)
        events = talk(talker, "C: AUTH PLAIN c2VjcmV0\nS: 535 5.7.8 no\nC: QUIT\nS: 221 bye")
        self.assertEqual(shown(broken(events).trouble.text), "⏎<<- AUTH PLAIN⏎->> 535 5.7.8 no")

    def test_refusal_for_now_is_no_reason_for_another_mechanism(self) -> None:
        talker = self.asked()
        talker.authenticate(b"CRAM-MD5", otherwise=(b"PLAIN",))
        events = talk(talker, "C: AUTH CRAM-MD5\nS: 454 later\nC: QUIT\nS: 221 bye")
        self.assertEqual(kinds(events), [Broken, Left])

    def test_none_can_be_used(self) -> None:
        talker = self.asked()
        talker.decline(b"none will do")
        (event,) = talker.poll()
        self.assertEqual(event, Broken(Trouble(Kind.AUTH_FAILED, b"none will do")))
        self.assertEqual(kinds(talk(talker, "C: QUIT\nS: 221 bye")), [Left])

    def test_secret_that_the_server_shows_in_another_form(self) -> None:
        talker = self.asked()
        talker.hide([b"geheim", b"67656865696d", b"x"])
        talker.authenticate(b"LOGIN")
        events = talk(talker, "C: AUTH LOGIN\nS: 535 x geheim 67656865696d\nC: QUIT\nS: 221 bye")
        self.assertEqual(shown(broken(events).trouble.text), "⏎<<- AUTH LOGIN⏎->> 535 x *** ***")

    def test_two_challenges_at_once(self) -> None:
        talker = self.asked()
        talker.authenticate(b"LOGIN")
        talker.take()
        self.assertEqual(kinds(talker.receive(b"334 x\r\n334 y\r\n")), [ChallengeReceived, Broken])
        talker.answer(SECRET)
        talker.authenticate(b"PLAIN", SECRET)
        talker.refrain()
        talker.give_up(b"")
        talker.decline(b"")
        self.assertEqual(talker.take(), b"", "nothing is said after the end, and no secret")
        self.assertEqual(talker.poll(), [])

    def test_steps_out_of_turn(self) -> None:
        early, later, done = session(authenticate=True), self.asked(), open_session()
        for talker in (early, done):
            self.assertRaises(Misuse, talker.authenticate, b"PLAIN")
            self.assertRaises(Misuse, talker.refrain)
        for talker in (early, later, done):
            self.assertRaises(Misuse, talker.answer, b"eHh4")
            self.assertRaises(Misuse, talker.give_up, b"")
        for talker in (early, done):
            self.assertRaises(Misuse, talker.decline, b"")
        later.authenticate(b"LOGIN")
        self.assertRaises(Misuse, later.authenticate, b"PLAIN")
        self.assertRaises(Misuse, later.answer, b"eHh4")
        talk(later, "C: AUTH LOGIN\nS: 334 x")
        self.assertRaises(Misuse, later.authenticate, b"PLAIN")
        self.assertRaises(Misuse, later.refrain)
        self.assertRaises(Misuse, later.answer, b"x\r\nRSET")


class TheTranscript(SynchronousTestCase):
    """What a witness is told: lines of both sides, never a secret, never content."""

    def test_all_lines(self) -> None:
        seen: list[tuple[str, bytes]] = []
        talker = session()
        talker.witness = lambda kind, text: seen.append((kind, text))
        talk(
            talker,
            """
            S: 220-a
            S: 220 b
            C: EHLO client.example
            S: 250-x
            S: 250 PIPELINING
            C: MAIL *
            C: RCPT *
            C: DATA
            S: 250 a
            S: 250 b
            S: 354 c
            C-data:
            S: 250 d
            """,
            mail(),
        )
        self.assertEqual(
            seen,
            [
                ("r", b"220-a"),
                ("r", b"220 b"),
                ("w", b"EHLO client.example"),
                ("r", b"250-x"),
                ("r", b"250 PIPELINING"),
                ("w", b"MAIL From:<a@x.example>"),
                ("w", b"RCPT To:<r1@y.example>"),
                ("w", b"DATA"),
                ("r", b"250 a"),
                ("r", b"250 b"),
                ("r", b"354 c"),
                ("w", b"."),
                ("r", b"250 d"),
            ],
        )
