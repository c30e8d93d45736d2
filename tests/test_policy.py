"""What replies and troubles mean: every row of the tables in policy."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.smtp.sample import mail, reply, shown
from zsmtp import policy
from zsmtp.policy import (
    Outcome,
    Verdict,
    Word,
    judge,
    judge_problem,
    judge_size,
    judge_trouble,
    means_too_many_recipients,
)
from zsmtp.smtp.transaction import Transaction
from zsmtp.trouble import Kind, Trouble

# kind: (word, status, diagnostic) without a reply; section 9.2 and the companion about finding hosts
TROUBLES = {
    Kind.NO_SUCH_DOMAIN: ("error2", "5.4.4 (DNS lookup report)", "smtp; 500 (why)"),
    Kind.NULL_MX: ("error2", "5.1.10 (recipient address has null MX)", "smtp; 556 (why)"),
    Kind.NO_ADDRESS: ("deferall", "4.4.4 (nameserver data inconsistency)", "smtp; 466 (why)"),
    Kind.DNS_UNAVAILABLE: ("deferall", "4.4.3 (DNS-failure)", "smtp; 466 (why)"),
    Kind.CNAME_LOOP: ("deferall", "4.4.6 (Recursive DNS CNAME)", "smtp; 466 (why)"),
    Kind.BAD_LITERAL: ("error2", "5.1.2 (bad literal IP address)", "smtp; 500 (why)"),
    Kind.BEST_MX_IS_SELF: ("error2", "5.4.6 (we are the best mail exchanger)", "smtp; 500 (why)"),
    Kind.OWN_ADDRESS: ("error2", "5.4.6 (trying to talk with myself!)", "smtp; 500 (why)"),
    Kind.LOOPBACK_ADDRESS: ("error2", "5.4.6 (trying to talk to loopback (=myself)!)", "smtp; 500 (why)"),
    Kind.INVALID_ADDRESS: ("error2", "5.4.6 (trying to use invalid destination address)", "smtp; 500 (why)"),
    Kind.NO_SMTP_SERVICE: (
        "error2",
        "5.4.4 (WKS Checks: no SMTP reception capability registered)",
        "smtp; 550 (why)",
    ),
    Kind.CONNECT_FAILED: ("deferall", "4.4.1 (TCP/IP-connection failure)", "smtp; 500 (why)"),
    Kind.BIND_FAILED: ("retryat +60", "4.3.5 (local address cannot be used)", "smtp; 466 (why)"),
    Kind.GREETING_REFUSED: ("retryat +60", "4.3.2 (greeting refused)", "smtp; 466 (why)"),
    Kind.HELLO_REFUSED: ("retryat +60", "4.5.0 (EHLO refused)", "smtp; 466 (why)"),
    Kind.TLS_REQUIRED: (
        "retryat +60",
        "4.7.3 (Mandated TLS security mode not available)",
        "local; 500 (Remote system doesn't support mandated TLS mode)",
    ),
    Kind.TLS_FAILED: ("retryat +60", "4.7.3 (TLS could not be started)", "smtp; 466 (why)"),
    Kind.TLS_UNTRUSTED: (
        "retryat +60",
        "4.7.5 (certificate of the server is not trusted)",
        "smtp; 466 (why)",
    ),
    Kind.TLS_UNUSABLE: ("retryat +60", "4.3.5 (TLS configuration cannot be used)", "smtp; 466 (why)"),
    Kind.AUTH_FAILED: ("retryat +60", "4.7.8 (authentication failed)", "smtp; 466 (why)"),
    Kind.SECRETS_UNUSABLE: (
        "retryat +60",
        "4.3.5 (secrets for authentication cannot be used)",
        "smtp; 466 (why)",
    ),
    Kind.HUNG_UP: ("retryat +60", "4.4.2 (connection lost)", "smtp; 466 (why)"),
    Kind.TIMED_OUT: ("retryat +60", "4.4.2 (no answer in time)", "smtp; 466 (why)"),
    Kind.WRITE_TIMED_OUT: ("retryat +60", "4.4.2 (timeout on write)", "smtp; 466 (why)"),
    Kind.WRITE_FAILED: ("retryat +60", "4.4.2 (write to server, err)", "smtp; 466 (why)"),
    Kind.PROTOCOL: ("retryat +60", "4.5.0 (generic protocol failure)", "smtp; 466 (why)"),
    Kind.CLOSING: ("retryat +60", "4.3.2 (service closing)", "smtp; 466 (why)"),
    Kind.RESET_REFUSED: ("retryat +60", "4.5.0 (RSET refused)", "smtp; 466 (why)"),
    Kind.CONTENT_UNREADABLE: ("deferred", "4.3.0 (message file cannot be read)", "smtp; 466 (why)"),
    Kind.STOPPED: ("deferred", "4.3.2 (transport agent is stopping)", "smtp; 466 (why)"),
    Kind.INTERNAL: ("retryat +60", "4.3.0 (internal error)", "smtp; 466 (why)"),
}

# code: (outcome, status) at RCPT; section 3.3 with the corrections of 9.5
CODES = {
    "421": ("deferred", "4.0.0"),
    "450": ("deferred", "4.0.0"),
    "451": ("deferred", "4.0.0"),
    "452": ("deferred", "4.0.0"),
    "455": ("deferred", "4.5.4"),
    "499": ("deferred", "4.0.0 (generic temporary failure)"),
    "500": ("error2", "5.5.1"),
    "501": ("error2", "5.5.2"),
    "502": ("error2", "5.5.1"),
    "503": ("deferred", "4.5.0"),
    "504": ("error2", "5.5.4"),
    "550": ("error2", "5.1.1 (bad destination mailbox)"),
    "551": ("error2", "5.1.6 (mailbox has moved)"),
    "552": ("error2", "5.2.3 (Some content related rejection, size ? text ?)"),
    "553": ("error2", "5.1.3 (bad destination mailbox address [syntax])"),
    "554": ("error2", "5.1.1 (No acceptable recipients given)"),
    "555": ("error2", "5.5.4 (invalid parameters)"),
    "571": ("error2", "5.7.1 (Delivery not authorized, message refused)"),
    "599": ("error2", "5.0.0 (generic permanent failure)"),
}


def answered(
    sender: str = "250 a",
    recipient: str = "250 b",
    data: str = "354 c",
    final: str = "",
    *,
    lmtp: bool = False,
    bdat: bool = False,
    sent: bool = True,
    trouble: Trouble | None = None,
) -> Transaction:
    """A transaction with one recipient and these replies; empty: none came."""
    one = mail()
    one.is_lmtp = lmtp
    one.mail_command = b"MAIL From:<a@x.example>"
    one.mail_reply = reply(sender) if sender else None
    (asked,) = one.recipients
    asked.command = b"RCPT To:<r1@y.example>"
    asked.reply = reply(recipient) if recipient else None
    if asked.is_accepted:
        one.accepted.append(asked)
    one.data_command = b"BDAT 25 LAST" if bdat else b"DATA"
    one.data_reply = reply(data) if data and not bdat else None
    one.data_sent = sent
    one.final_reply = reply(final) if final else None
    if lmtp:
        asked.final = one.final_reply
    one.trouble = trouble
    return one


def verdict(one: Transaction, *, record_success: bool = False) -> Verdict:
    """What became of its recipient."""
    return judge(one, one.recipients[0], record_success=record_success)


class Success(SynchronousTestCase):
    """Only a 2yz at the end of the data, from a server that had accepted sender and recipient."""

    def test_nobody_is_to_be_told(self) -> None:
        found = verdict(answered(final="250 2.6.0 queued"))
        self.assertEqual(found[:5], (Outcome.DELIVERED, Word.OK, b"-", b"2.6.0", b"smtp; 250 (queued)"))
        self.assertEqual(
            shown(found.text),
            "⏎<<- MAIL From:<a@x.example>⏎->> 250 a⏎<<- RCPT To:<r1@y.example>⏎->> 250 b"
            "⏎<<- DATA⏎->> 354 c⏎<<- .⏎->> 250 2.6.0 queued",
        )

    def test_sender_wants_to_be_told(self) -> None:
        """Rows 94 and 95."""
        self.assertEqual(
            verdict(answered(final="250 ok"), record_success=True)[1:3], (Word.OK_RECORDED, b"relayed")
        )
        self.assertEqual(
            verdict(answered(final="250 ok", lmtp=True), record_success=True)[1:3],
            (Word.OK_RECORDED, b"delivered"),
        )

    def test_status_of_a_server_that_gives_none(self) -> None:
        found = verdict(answered(final="250 ok (queued)"))
        self.assertEqual((found.status, found.diagnostic), (b"2.0.0", b"smtp; 250 (ok [queued])"))

    def test_code_alone(self) -> None:
        """Section 8.5."""
        self.assertEqual(verdict(answered(final="250")).diagnostic, b"smtp; 250 ")

    def test_anything_less_is_none(self) -> None:
        """Weakness W1; defects 1, 3, 18 and 19 of the stock class."""
        for one in (
            answered(),
            answered(final="354 ok"),
            answered(final="199 ok"),
            answered(final="650 ok"),
            answered(final="250 ok", sent=False),
            answered(sender="", final="250 ok"),
            answered(sender="354 a", final="250 ok"),
            answered(sender="550 a", final="250 ok"),
            answered(recipient="", final="250 ok"),
            answered(recipient="354 b", final="250 ok"),
            answered(recipient="550 b", final="250 ok"),
            answered(data="554 c", final="250 ok"),
        ):
            self.assertIsNot(verdict(one).outcome, Outcome.DELIVERED)

    def test_of_another_recipient_is_none(self) -> None:
        """Defect 19 of the stock class: in LMTP the last reply is not everybody's."""
        one = answered(final="250 ok", lmtp=True)
        one.recipients[0].final = None
        self.assertIs(verdict(one).outcome, Outcome.DEFERRED)

    def test_transaction_without_an_end_is_an_error_of_ours(self) -> None:
        found = verdict(answered(sent=False))
        self.assertEqual((found.word, found.status), (Word.DEFERRED, b"4.3.0 (internal error)"))


class Refusals(SynchronousTestCase):
    """4yz and 5yz, by the step that they answer."""

    def test_every_code_at_rcpt(self) -> None:
        """Table 3.3; weakness W14."""
        for code, (word, status) in CODES.items():
            found = verdict(answered(recipient=f"{code} x", data="", sent=False))
            self.assertEqual((found.word.value.decode(), found.status.decode()), (word, status), code)
            self.assertEqual((found.action, found.diagnostic), (b"failed", f"smtp; {code} (x)".encode()))

    def test_every_code_has_a_row(self) -> None:
        self.assertEqual({str(code) for code in policy._CODES} - set(CODES), set())

    def test_every_code_at_the_end(self) -> None:
        """Row 88: the server has the message and answers for it; 503 too."""
        for code, (_, status) in CODES.items():
            found = verdict(answered(final=f"{code} x"))
            word = Word.DEFERRED_BACK if code < "500" else Word.FAILED
            expected = "5.5.0" if code == "503" else status
            self.assertEqual((found.word, found.status.decode()), (word, expected), code)
            self.assertNotIn("abnormal", shown(found.text))

    def test_every_code_at_the_end_for_one_recipient(self) -> None:
        """Section 6."""
        for code, (word, status) in CODES.items():
            found = verdict(answered(final=f"{code} x", lmtp=True))
            self.assertEqual((found.word.value.decode(), found.status.decode()), (word, status), code)

    def test_every_code_at_data(self) -> None:
        """Rows 77 and 78."""
        for code, (word, status) in CODES.items():
            found = verdict(answered(data=f"{code} x", sent=False))
            self.assertEqual((found.word.value.decode(), found.status.decode()), (word, status), code)
            self.assertNotIn("abnormal", shown(found.text))

    def test_in_the_middle_of_the_message(self) -> None:
        """Row 84."""
        for code, (word, _) in CODES.items():
            for lmtp in (False, True):
                found = verdict(answered(final=f"{code} x", sent=False, lmtp=lmtp))
                self.assertEqual((found.word.value.decode(), found.maybe_delivered), (word, False), code)
                self.assertTrue(shown(found.text).endswith(f"⏎<<- DATA⏎->> 354 c⏎->> {code} x"))

    def test_bdat(self) -> None:
        """Section 5.5."""
        for code, word in (("450", "deferback"), ("503", "deferback"), ("554", "error2")):
            found = verdict(answered(final=f"{code} x", bdat=True))
            self.assertEqual(found.word.value.decode(), word)
            self.assertTrue(shown(found.text).endswith(f"⏎->> 250 b⏎<<- BDAT 25 LAST⏎->> {code} x"))

    def test_sender(self) -> None:
        """Rows 38 to 42: nobody is told that his mailbox does not exist."""
        for code, word, status in (
            ("450", "deferred", "4.0.0"),
            ("452", "deferred", "4.0.0"),
            ("501", "error2", "5.5.2"),
            ("503", "deferred", "4.5.0"),
            ("530", "error2", "5.0.0 (generic permanent failure)"),
            ("550", "error2", "5.7.1 (sender refused)"),
            ("551", "error2", "5.7.1 (sender refused)"),
            ("552", "error2", "5.3.4 (message too big for system)"),
            ("553", "error2", "5.1.7 (bad sender's mailbox address syntax)"),
            ("554", "error2", "5.7.1 (sender refused)"),
        ):
            found = verdict(answered(sender=f"{code} x", recipient="503 need mail", data="503", sent=False))
            self.assertEqual((found.word.value.decode(), found.status.decode()), (word, status), code)
            self.assertEqual(found.diagnostic, f"smtp; {code} (x)".encode())
            self.assertNotIn("abnormal", shown(found.text))

    def test_abnormal_ones_are_marked(self) -> None:
        """Row 55."""
        for code in CODES:
            found = verdict(answered(recipient=f"{code} x", data="", sent=False))
            self.assertIs("abnormal" in shown(found.text), code in ("500", "501", "502", "504", "555"), code)

    def test_server_s_own_status_is_the_better_one(self) -> None:
        """Section 8.5."""
        found = verdict(answered(recipient="550 5.7.26 not (you)", data="", sent=False))
        self.assertEqual((found.status, found.diagnostic), (b"5.7.26", b"smtp; 550 (not [you])"))

    def test_status_agrees_with_the_outcome(self) -> None:
        """A permanent code that is taken for a temporary one."""
        self.assertEqual(verdict(answered(recipient="503 5.5.1 x", data="", sent=False)).status, b"4.5.1")

    def test_last_line_of_many_is_the_diagnostic_and_all_are_text(self) -> None:
        found = verdict(answered(recipient="550-5.1.1 no|550 5.1.1 really not", data="", sent=False))
        self.assertEqual(found.diagnostic, b"smtp; 550 (really not)")
        self.assertTrue(shown(found.text).endswith("⏎->> 550-5.1.1 no⏎->> 550 5.1.1 really not"))


class OneTooMany(SynchronousTestCase):
    """Rows 52 and 53; RFC 5321 section 4.5.3.1.10."""

    def test_what_says_so(self) -> None:
        for text in (
            "452 x",
            "552 x",
            "452 4.5.3 x",
            "552 5.5.3 x",
            "550 5.5.3 x",
            "452 4.0.0 x",
            "552 5.0.0 x",
        ):
            self.assertTrue(means_too_many_recipients(reply(text)), text)

    def test_what_does_not(self) -> None:
        for text in (
            "450 x",
            "550 x",
            "552 5.2.2 mailbox full",
            "452 4.2.2 mailbox full",
            "552 5.3.4 x",
            "421 x",
        ):
            self.assertFalse(means_too_many_recipients(reply(text)), text)

    def refused(self, first: str, second: str) -> list[Verdict]:
        one = mail(2)
        one.mail_reply = reply("250 a")
        for asked, text in zip(one.recipients, (first, second), strict=True):
            asked.command, asked.reply = b"RCPT To:<x>", reply(text)
        return [judge(one, asked) for asked in one.recipients]

    def test_behind_others(self) -> None:
        found = self.refused("250 b", "552 full")[1]
        self.assertEqual((found.word, found.status), (Word.DEFERRED, b"4.5.3 (too many recipients)"))
        found = self.refused("250 b", "550 5.5.3 full")[1]
        self.assertEqual((found.word, found.status), (Word.DEFERRED, b"4.5.3"))

    def test_before_others(self) -> None:
        self.assertIs(self.refused("552 full", "250 b")[0].word, Word.FAILED)

    def test_behind_others_that_were_refused(self) -> None:
        self.assertIs(self.refused("550 no", "552 full")[1].word, Word.FAILED)


class Troubles(SynchronousTestCase):
    """What happens before a transaction, and to it."""

    def test_every_kind(self) -> None:
        """Rows 74 and 75 of the spool format: no other word than those of the table, and a notary in each."""
        self.assertEqual(set(TROUBLES), set(Kind), "one row for each")
        for kind, (word, status, diagnostic) in TROUBLES.items():
            found = judge_trouble(Trouble(kind, b"why"))
            self.assertEqual(
                (found.word.value.decode(), found.status.decode(), found.diagnostic.decode()),
                (word, status, diagnostic),
                kind,
            )
            self.assertEqual(found.action, b"failed")
            self.assertEqual(found.status[:1].decode(), found.outcome.value)
            self.assertFalse(found.maybe_delivered)

    def test_text_is_the_diagnostic_if_nothing_was_said(self) -> None:
        found = judge_trouble(Trouble(Kind.CONNECT_FAILED, b"connect to mx.example [192.0.2.1]: refused"))
        self.assertEqual(found.text, b"smtp; 500 (connect to mx.example [192.0.2.1]: refused)")
        self.assertEqual(
            judge_trouble(Trouble(Kind.TLS_REQUIRED, b"\r<<- EHLO x")).text,
            b"500 (Remote system doesn't support mandated TLS mode)",
        )

    def test_text_is_the_dialogue_if_there_was_one(self) -> None:
        found = judge_trouble(Trouble(Kind.HUNG_UP, b"\r<<- EHLO x\r->> 250-y\rhung up (on us)"))
        self.assertEqual(shown(found.text), "⏎<<- EHLO x⏎->> 250-y⏎hung up (on us)")
        self.assertEqual(found.diagnostic, b"smtp; 466 (hung up [on us])")

    def test_server_s_reason(self) -> None:
        """Rows 6, 7, 101 and 136."""
        for kind, text, status in (
            (Kind.GREETING_REFUSED, "421 busy", b"4.0.0"),
            (Kind.GREETING_REFUSED, "450 4.7.1 greylisted", b"4.7.1"),
            (Kind.GREETING_REFUSED, "499 x", b"4.0.0 (generic temporary failure)"),
            (Kind.GREETING_REFUSED, "554 no", b"4.3.2 (greeting refused)"),
            (Kind.GREETING_REFUSED, "554 5.7.1 no", b"4.7.1"),
            (Kind.HELLO_REFUSED, "550 no", b"4.5.0 (EHLO refused)"),
            (Kind.TLS_FAILED, "454 4.7.0 no", b"4.7.0"),
            (Kind.AUTH_FAILED, "535 5.7.8 no", b"4.7.8"),
            (Kind.CLOSING, "421 4.3.2 bye", b"4.3.2"),
        ):
            found = judge_trouble(Trouble(kind, b"\r->> x", reply(text)))
            self.assertEqual((found.outcome, found.status), (Outcome.DEFERRED, status), text)
            self.assertTrue(found.diagnostic.startswith(b"smtp; " + text[:3].encode()))

    def test_server_that_never_takes_mail(self) -> None:
        """RFC 7504."""
        for kind in (Kind.GREETING_REFUSED, Kind.HELLO_REFUSED):
            found = judge_trouble(Trouble(kind, b"\r->> x", reply("521 never")))
            self.assertEqual((found.outcome, found.word), (Outcome.FAILED, Word.FAILED))
            self.assertEqual(found.status[:1], b"5")
        self.assertIs(judge_trouble(Trouble(Kind.CLOSING, b"x", reply("521 x"))).outcome, Outcome.DEFERRED)

    def test_reply_out_of_place_is_no_reason(self) -> None:
        """Weakness W15: neither its code nor its status are told as if they were."""
        for text in ("250 2.0.0 ok", "354 go", "550 5.1.1 no", "650 x"):
            found = judge_trouble(Trouble(Kind.PROTOCOL, b"out of step", reply(text)))
            self.assertEqual(found.status, b"4.5.0 (generic protocol failure)")
            self.assertEqual(found.diagnostic, b"smtp; 466 (out of step)")

    def test_in_a_transaction(self) -> None:
        """Sections 4.7 and 9.5: `deferred` before the end of the data, `deferback` after it."""
        for kind in Kind:
            trouble = Trouble(kind, b"why")
            before = verdict(answered(sent=False, trouble=trouble))
            self.assertEqual((before.word, before.maybe_delivered), (Word.DEFERRED, False))
            after = verdict(answered(trouble=trouble))
            self.assertEqual((after.word, after.maybe_delivered), (Word.DEFERRED_BACK, True))
            self.assertTrue(shown(after.text).endswith("⏎<<- DATA⏎->> 354 c⏎<<- .⏎why"))
            self.assertEqual(after.status.decode()[1:], TROUBLES[kind][1][1:])
            self.assertEqual((after.outcome, after.status[:1]), (Outcome.DEFERRED, b"4"))

    def test_reply_that_caused_it_is_shown_once(self) -> None:
        one = answered(recipient="421 bye", data="", sent=False)
        one.trouble = Trouble(Kind.CLOSING, b"closing", one.recipients[0].reply)
        self.assertEqual(shown(verdict(one).text).count("421 bye"), 1)
        one = answered(data="", sent=False, trouble=Trouble(Kind.CLOSING, b"closing", reply("421 bye")))
        self.assertTrue(shown(verdict(one).text).endswith("⏎<<- DATA⏎->> 421 bye⏎closing"))

    def test_reply_that_only_looks_like_one_of_the_dialogue(self) -> None:
        one = answered(trouble=Trouble(Kind.PROTOCOL, b"out of step", reply("250 b")))
        self.assertTrue(shown(verdict(one).text).endswith("⏎<<- .⏎->> 250 b⏎out of step"))

    def test_what_was_refused_before_stays_refused(self) -> None:
        one = answered(recipient="550 no", data="", sent=False, trouble=Trouble(Kind.HUNG_UP, b"why"))
        self.assertIs(verdict(one).word, Word.FAILED)
        self.assertNotIn("why", shown(verdict(one).text))

    def test_what_was_delivered_before_stays_delivered(self) -> None:
        """Row 105."""
        one = answered(final="250 ok", lmtp=True, trouble=Trouble(Kind.HUNG_UP, b"why"))
        self.assertIs(verdict(one).word, Word.OK)

    def test_nothing_was_said(self) -> None:
        one = mail()
        one.trouble = Trouble(Kind.HUNG_UP, b"why")
        self.assertEqual(shown(verdict(one).text), "⏎why")


class NotOffered(SynchronousTestCase):
    """Recipients that no server was asked about."""

    def test_too_large(self) -> None:
        """Row 30; weakness W16: the size is exact."""
        found = judge_size(130, 129)
        text = "552 (Current message size 130 exceeds limit given by the remote system: 129)"
        self.assertEqual((found.outcome, found.word), (Outcome.FAILED, Word.FAILED))
        self.assertEqual(found.status, b"5.3.4 (Message size exceeds limit given by remote system)")
        self.assertEqual((found.diagnostic.decode(), shown(found.text)), ("smtp; " + text, "⏎⏎" + text))

    def test_problem(self) -> None:
        found = judge_problem(b"5.1.3 (bad destination mailbox address)", b"it is empty (really)")
        self.assertEqual((found.outcome, found.word), (Outcome.FAILED, Word.FAILED))
        self.assertEqual(found.diagnostic, b"local; 550 (it is empty [really])")
        found = judge_problem(b"4.3.0", b"not now")
        self.assertEqual((found.outcome, found.word), (Outcome.DEFERRED, Word.DEFERRED))
        self.assertEqual((found.diagnostic, found.text), (b"local; 466 (not now)", b"not now"))


lines = st.builds(
    lambda code, text: f"{code:03d} {text}",
    st.one_of(st.sampled_from([250, 354, 421, 450, 503, 550, 552]), st.integers(0, 999)),
    st.sampled_from(["x", "2.0.0 x", "4.5.3 x", "5.1.1 x", ""]),
)
maybe = st.one_of(st.just(""), lines)


class AnyTransaction(SynchronousTestCase):
    """Whatever the replies are."""

    @settings(max_examples=400, deadline=None)
    @given(
        maybe,
        maybe,
        maybe,
        maybe,
        st.booleans(),
        st.booleans(),
        st.booleans(),
        st.one_of(
            st.none(),
            st.builds(
                Trouble,
                st.sampled_from(Kind),
                st.just(b"why"),
                maybe.map(lambda one: reply(one) if one else None),
            ),
        ),
    )
    def test_verdict_holds_together(
        self,
        sender: str,
        recipient: str,
        data: str,
        final: str,
        lmtp: bool,
        bdat: bool,
        sent: bool,
        trouble: Trouble | None,
    ) -> None:
        one = answered(sender, recipient, data, final, lmtp=lmtp, bdat=bdat, sent=sent, trouble=trouble)
        found = verdict(one)
        self.assertEqual(found.status[:1].decode(), found.outcome.value)
        self.assertTrue(found.diagnostic.startswith((b"smtp; ", b"local; ")))
        if found.outcome is Outcome.DELIVERED:
            self.assertEqual((final[0], sender[0], recipient[0], sent), ("2", "2", "2", True))
        if found.outcome is Outcome.FAILED:
            self.assertIn("5", [text[:1] for text in (sender, recipient, data, final)])
        if found.maybe_delivered:
            self.assertTrue(sent)
            self.assertIs(found.outcome, Outcome.DEFERRED)
