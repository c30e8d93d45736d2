"""From a control file to what a server is asked: nothing is altered, cut, or added from elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.smtp.sample import Text, play
from zsmtp import plan
from zsmtp.plan import Batch, batches, groups, problem_of, reports_success, select, transaction
from zsmtp.smtp import command
from zsmtp.smtp.transaction import Transaction
from zsmtp.spool.controlfile import parse
from zsmtp.spool.quad import Quad
from zsmtp.spool.records import ControlFile, HeaderBlock, Notify, Recipient, Sender
from zsmtp.testing.spool import Addressee, Group, Origin, control_file

NOW = 1_700_000_000.0


def written(*made: Group) -> ControlFile:
    """A control file with these groups, as the router writes it."""
    return parse(control_file(made, message_name=b"1031", body_offset=10), "1031")


def chosen(*made: Group, host: bytes = b"example.net") -> list[Recipient]:
    """Those of its recipients that are to be tried for the host."""
    return select(written(*made), b"smtp", host)


def users(recipients: Sequence[Recipient]) -> bytes:
    """Their addresses, separated by blanks."""
    return b" ".join(recipient.quad.user for recipient in recipients)


class Selection(SynchronousTestCase):
    """Which recipients a destination has (option -c; spool format C.2)."""

    def test_last_one_first(self) -> None:
        """Section 3.1."""
        self.assertEqual(users(chosen(Group([b"r1", b"r2", b"r3"]))), b"r3 r2 r1")

    def test_host_in_any_case_channel_as_it_stands(self) -> None:
        """Row 119; spool format H.1, row 2."""
        found = chosen(
            Group(
                [
                    Addressee(b"r1", b"EXAMPLE.net"),
                    Addressee(b"r2", b"example.com"),
                    Addressee(b"r3", channel=b"SMTP"),
                    Addressee(b"r4", channel=b"smtpx"),
                ]
            ),
            host=b"Example.NET",
        )
        self.assertEqual(users(found), b"r1")

    def test_only_those_to_do(self) -> None:
        found = chosen(
            Group([Addressee(b"r%d" % place, tag=bytes([tag])) for place, tag in enumerate(b" ~+-")])
        )
        self.assertEqual(users(found), b"r0")

    def test_further_hosts_may_be_admitted(self) -> None:
        """Option -e."""
        made = written(
            Group([Addressee(b"r1"), Addressee(b"r2", b"other.example"), Addressee(b"r3", b"third.example")])
        )
        found = select(made, b"smtp", b"example.net", lambda host: host.startswith(b"other"))
        self.assertEqual(users(found), b"r2 r1")

    def test_recipient_before_any_sender_is_not_forgotten(self) -> None:
        """It cannot be sent, but somebody has to be told."""
        octets = control_file([Group([b"r1"])], message_name=b"1031", body_offset=10)
        start = octets.index(b"e alice")
        octets = octets[:start] + octets[octets.index(b"r ", start) :]
        (found,) = select(parse(octets, "1031"), b"smtp", b"example.net")
        problem = problem_of(found)
        assert problem is not None
        self.assertTrue(problem.status.startswith(b"4"))
        self.assertIn(b"sender", problem.text)


class Grouping(SynchronousTestCase):
    """What may share a transaction (spool format C.3; weakness W37: each group is delivered)."""

    def test_same_sender_and_same_header(self) -> None:
        found = groups(chosen(Group([b"r1", b"r2"]), Group([b"r3"]), Group([b"r4", b"r5"])))
        self.assertEqual([users(group.recipients) for group in found], [b"r5 r4", b"r3", b"r2 r1"])

    def test_other_sender_for_the_same_header(self) -> None:
        found = groups(chosen(Group([b"r1"], header=None), Group([b"r2"], sender=b"owner@example.com")))
        self.assertEqual([users(group.recipients) for group in found], [b"r2", b"r1"])

    def test_nobody(self) -> None:
        self.assertEqual(groups([]), [])


class MailingLists(SynchronousTestCase):
    """EZMLM (section 3.1): who has an own sender has an own transaction."""

    made = Group(
        [Addressee(b"r0", notary=b"EZMLM=-z"), b"r1", b"r2", Addressee(b"r3", notary=b"EZMLM=-y"), b"r4"]
    )

    def batches(self, *, ignore_ezmlm: bool) -> list[tuple[bytes, bytes]]:
        (group,) = groups(chosen(self.made))
        found = batches(group, ignore_ezmlm=ignore_ezmlm)
        return [(users(batch.recipients), batch.extension) for batch in found]

    def test_each_on_its_own(self) -> None:
        """Row 35."""
        self.assertEqual(
            self.batches(ignore_ezmlm=False), [(b"r4", b""), (b"r3", b"-y"), (b"r2 r1", b""), (b"r0", b"-z")]
        )

    def test_the_last_one_is_plain(self) -> None:
        (group,) = groups(chosen(Group([b"r1", Addressee(b"r2", notary=b"EZMLM=-y")])))
        found = batches(group, ignore_ezmlm=False)
        self.assertEqual([users(batch.recipients) for batch in found], [b"r2", b"r1"])

    def test_ignored(self) -> None:
        """Row 36 (option -O ignore-ezmlm)."""
        self.assertEqual(self.batches(ignore_ezmlm=True), [(b"r4 r3 r2 r1 r0", b"")])

    def test_sender_carries_the_extension(self) -> None:
        """Section 2.3."""
        for sender, path in (
            (b"alice@example.com", b"alice-y-S1031AblDAKAA@example.com"),
            (b"alice", b"alice-y-S1031AblDAKAA"),
            (b'"a@b"@example.com', b'"a@b"-y-S1031AblDAKAA@example.com'),
            (b"", b""),
        ):
            control = written(Group([Addressee(b"r1", notary=b"EZMLM=-y")], sender=Origin(sender)))
            (group,) = groups(select(control, b"smtp", b"example.net"))
            (batch,) = batches(group, ignore_ezmlm=False)
            self.assertEqual(made(control, batch).reverse_path, path)

    def test_extension_that_spoils_the_address_is_left_out(self) -> None:
        for extension in (b"> SIZE=1", b"\r\nRSET", b'"', b"y" * 300):
            control = written(Group([b"r1"]))
            batch = Batch(tuple(control.recipients), extension)
            self.assertEqual(made(control, batch).reverse_path, b"alice@example.com")


class Problems(SynchronousTestCase):
    """Recipients that no server can be offered."""

    def problem(self, user: bytes, **facts: object) -> tuple[bytes, bytes] | None:
        recipient = Recipient(
            quad=Quad(b"smtp", b"example.net", user, b"99"),
            sender=Sender(0, Quad(b"local", b"-", b"alice@example.com", b"99")),
            headers=HeaderBlock(),
        )
        for name, value in facts.items():
            setattr(recipient, name, value)
        return problem_of(recipient)

    def test_none(self) -> None:
        """Row 73."""
        for user in (b"r1@example.net", b'"a@b"@x', rb"a\@b", b"plus+tag=x", b"r1", b"a@b" * 50):
            self.assertIsNone(self.problem(user))

    def test_addresses_that_cannot_be_said(self) -> None:
        """Rows 75 and 76; weakness W3: never truncated."""
        for user in (b"", b"<>", b"a b@x", b"a@b>", b"x" * 900, b"\xc3\xa9" * 700, b"a\x01b@x", b"a\xffb@x"):
            found = self.problem(user)
            assert found is not None
            self.assertEqual(found[0], b"5.1.3 (bad destination mailbox address)", user)

    def test_what_the_control_file_said(self) -> None:
        found = self.problem(b"r1", problem="the quad is cut", problem_is_permanent=True)
        self.assertEqual(found, (b"5.1.3 (bad destination mailbox address)", b"the quad is cut"))
        self.assertEqual(self.problem(b"r1", problem="the quad is cut"), (b"4.3.0", b"the quad is cut"))

    def test_sender_that_cannot_be_said(self) -> None:
        found = self.problem(b"r1", sender=Sender(0, Quad(b"local", b"-", b"a b", b"99")))
        assert found is not None
        self.assertEqual(found[0], b"5.1.7 (bad sender's mailbox address syntax)")
        self.assertTrue(found[1].startswith(b"of the sender: "))

    def test_null_sender_needs_no_address(self) -> None:
        """Section 2.3: the channel tells, whatever the user is."""
        self.assertIsNone(self.problem(b"r1", sender=Sender(0, Quad(b"error", b"<>", b"<>", b"0"))))

    def test_no_sender_or_no_header(self) -> None:
        for facts in ({"sender": None}, {"headers": None}):
            found = self.problem(b"r1", **facts)
            assert found is not None
            self.assertEqual(found[0], b"4.3.0")


def made(
    control: ControlFile, batch: Batch | None = None, *, lmtp: bool = False, smtputf8: bool = False
) -> Transaction:
    """The transaction for a batch, or for the only group of a control file."""
    if batch is None:
        (group,) = groups(select(control, b"smtp", b"example.net"))
        (batch,) = batches(group, ignore_ezmlm=False)
    return transaction(
        control,
        batch,
        Text(),
        eight_bit=True,
        smtputf8=smtputf8,
        lmtp=lmtp,
        spool_id="S1031AblDAKAA",
        now=NOW,
    )


class TheTransaction(SynchronousTestCase):
    """What the session is given."""

    def test_everything_is_taken_over(self) -> None:
        """Rows 33 and 34."""
        control = written(Group([Addressee(b"r1"), Addressee(b"r2", ret=b"HDRS", envelope_id=b"QQ314")]))
        found = made(control, smtputf8=True)
        self.assertEqual(
            (found.reverse_path, found.envelope_id, found.ret), (b"alice@example.com", b"QQ314", b"HDRS")
        )
        self.assertEqual([one.path for one in found.recipients], [b"r2", b"r1"])
        self.assertEqual([one.key for one in found.recipients], list(reversed(control.recipients)))
        self.assertEqual((found.eight_bit, found.smtputf8, found.content.size), (True, True, 25))
        self.assertEqual(made(written(Group([b"r1"], sender=b""))).reverse_path, b"")

    def test_values_that_would_add_a_parameter_are_left_out(self) -> None:
        """Section 3.2; weakness W26."""
        for envelope_id, ret in (
            (b"x y=z", b"FOO"),
            (b"x=y", b"full"),
            (b"x" * 101, b""),
            (b"", b"HDRS FULL"),
        ):
            found = made(written(Group([Addressee(b"r1", ret=ret, envelope_id=envelope_id)])))
            self.assertEqual((found.envelope_id, found.ret), (None, None))

    def test_equal_recipients_stay_two(self) -> None:
        """Row 72."""
        self.assertEqual(
            [one.path for one in made(written(Group([b"r1", b"r1"]))).recipients], [b"r1", b"r1"]
        )


class DeliveryReports(SynchronousTestCase):
    """NOTIFY and ORCPT (RFC 3461 section 5.2.1)."""

    def parameters(self, notary: bytes | None, *, lmtp: bool = False) -> bytes:
        (recipient,) = made(written(Group([Addressee(b"r1", notary=notary)])), lmtp=lmtp).recipients
        return recipient.parameters

    def test_nothing_that_did_not_come_with_the_message(self) -> None:
        """Row 74: the original asks for FAILURE where nobody did."""
        self.assertEqual(self.parameters(None), b"")
        self.assertEqual(self.parameters(b"INFROM=rfc822;a"), b"")

    def test_wishes(self) -> None:
        """Row 74."""
        for given_, said in (
            (b"NEVER", b" NOTIFY=NEVER"),
            (b"SUCCESS,FAILURE", b" NOTIFY=SUCCESS,FAILURE"),
            (b"DELAY,FAILURE,SUCCESS", b" NOTIFY=SUCCESS,FAILURE,DELAY"),
            (b"NEVER,SUCCESS", b" NOTIFY=NEVER"),
            (b"TRACE", b""),
            (b"NONSENSE", b""),
        ):
            self.assertEqual(self.parameters(b"NOTIFY=" + given_), said, given_)

    def test_lmtp_server_is_not_asked_for_what_we_say_ourselves(self) -> None:
        """Weakness W25."""
        for given_, said in (
            (b"SUCCESS", b" NOTIFY=NEVER"),
            (b"SUCCESS,TRACE", b" NOTIFY=NEVER"),
            (b"SUCCESS,FAILURE", b" NOTIFY=FAILURE"),
            (b"SUCCESS,DELAY", b" NOTIFY=DELAY"),
            (b"FAILURE", b" NOTIFY=FAILURE"),
            (b"NEVER", b" NOTIFY=NEVER"),
        ):
            self.assertEqual(self.parameters(b"NOTIFY=" + given_, lmtp=True), said, given_)

    def test_original_recipient(self) -> None:
        """Row 73 and section 3.2: as received, never made up."""
        for given_, said in (
            (b"ORCPT=rfc822;plus+2Btag+3Dx", b" ORCPT=rfc822;plus+2Btag+3Dx"),
            (b"INRCPT=rfc822;b@y", b" ORCPT=rfc822;b@y"),
            (b"ORCPT=rfc822;a INRCPT=rfc822;b", b" ORCPT=rfc822;a"),
            (b"ORCPT=bad INRCPT=rfc822;b", b" ORCPT=rfc822;b"),
            (b"ORCPT=x-local;a", b" ORCPT=x-local;a"),
        ):
            self.assertEqual(self.parameters(given_), said, given_)

    def test_original_recipient_that_cannot_be_said(self) -> None:
        """Weakness W4: bounded."""
        for value in (
            b"rfc822",
            b"rfc822;",
            b";a",
            b"rfc 822;a",
            b"rfc822;a=b",
            b"rfc822;" + b"x" * 501,
            b"-;a",
            b"rfc822;\xff",
        ):
            recipient = Recipient(orcpt=value)
            self.assertEqual(plan._parameters(recipient, lmtp=False), b"", value)

    def test_both(self) -> None:
        self.assertEqual(
            self.parameters(b"NOTIFY=FAILURE,DELAY ORCPT=rfc822;a"), b" NOTIFY=FAILURE,DELAY ORCPT=rfc822;a"
        )

    def test_who_tells_of_success(self) -> None:
        """Rows 94 and 95."""
        for notify, by_server, told in (
            (Notify.SUCCESS, False, True),
            (Notify.SUCCESS | Notify.FAILURE, False, True),
            (Notify.SUCCESS, True, False),
            (Notify.FAILURE, False, False),
            (Notify.NEVER, False, False),
            (None, False, False),
        ):
            self.assertIs(reports_success(Recipient(notify=notify), by_server=by_server), told)


class DeliverBy(SynchronousTestCase):
    """RFC 2852."""

    def value(self, *wanted: tuple[int, int] | None) -> bytes | None:
        control = written(Group([b"r%d" % number for number in range(len(wanted))]))
        for recipient, each in zip(control.recipients, wanted, strict=True):
            recipient.deliver_by = each
        return made(control).deliver_by

    def test_seconds_from_now(self) -> None:
        now = int(NOW)
        self.assertEqual(self.value((now + 120, 2)), b"120;R")
        self.assertEqual(self.value((now + 120, 1)), b"120;N")
        self.assertEqual(self.value((now - 120, 1 | 4)), b"-120;NT")
        self.assertEqual(self.value((now + 120, 2), (now + 120, 2)), b"120;R")

    def test_not_where_the_recipients_differ(self) -> None:
        now = int(NOW)
        self.assertIsNone(self.value((now + 120, 2), (now + 121, 2)))
        self.assertIsNone(self.value((now + 120, 2), None))
        self.assertIsNone(self.value(None))

    def test_not_where_it_cannot_be_said(self) -> None:
        self.assertIsNone(self.value((int(NOW) - 1, 2)), "too late: returning is not for the next server")
        self.assertIsNone(self.value((int(NOW) + 10**9, 1)), "nine digits")


class AnyControlFile(SynchronousTestCase):
    """Whatever stands in the file, what goes out is a command line."""

    octets = st.binary(min_size=1, max_size=12).filter(lambda text: b"\n" not in text)

    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(st.tuples(octets, st.one_of(st.none(), octets)), min_size=1, max_size=4),
        octets,
        octets,
        octets,
    )
    def test_no_line_is_more_than_one(
        self,
        recipients: list[tuple[bytes, bytes | None]],
        sender: bytes,
        envelope_id: bytes,
        extension: bytes,
    ) -> None:
        control = ControlFile("1031", 1031, envelope_id=envelope_id, ret=envelope_id)
        block, origin = HeaderBlock(), Sender(0, Quad(b"local", b"-", sender, b"99"))
        offered = [
            one
            for one in (
                Recipient(
                    place,
                    quad=Quad(b"smtp", b"x", user, b"99"),
                    sender=origin,
                    headers=block,
                    orcpt=orcpt,
                    notify=Notify.FAILURE,
                )
                for place, (user, orcpt) in enumerate(recipients)
            )
            if problem_of(one) is None
        ]
        if not offered:
            return
        one = made(control, Batch(tuple(offered), extension))
        self.assertIsNone(command.path_problem(one.reverse_path))
        played = play("+D +P", one)
        self.assertEqual(played.said, ["EHLO", "MAIL", *["RCPT"] * len(offered), "DATA", "."])
        self.assertEqual(set(played.words().split()), {"ok3"})
