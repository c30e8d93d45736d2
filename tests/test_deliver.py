"""From jobs to reports: hops, sessions, transactions, and the end of each recipient.

The network is in memory, the spool on disk; numbers in comments are rows of the specification.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed

from tests.net.network import REFUSED, SILENT, Network, verbs
from tests.spooled import SpooledTest
from zsmtp import deliver, plan, policy
from zsmtp.deliver import REMEMBERED, Delivery, Equipment
from zsmtp.destination import Family, Hop, Name, Route, RouteRules
from zsmtp.job import Job
from zsmtp.net.approach import TLS_FORGIVEN
from zsmtp.net.courier import Courier
from zsmtp.smtp.patience import Timeouts
from zsmtp.smtp.session import Manner, Tls
from zsmtp.testing.dialogue import Script
from zsmtp.testing.memory import FakeTransport
from zsmtp.testing.peer import Behaviour
from zsmtp.testing.spool import Addressee, Group, SpooledMail
from zsmtp.testing.table import Table
from zsmtp.trouble import Kind, Trouble

ONE, TWO = "192.0.2.1", "192.0.2.2"
EXAMPLE = Name("example.net")
MANNER = Manner(name=b"me.example", timeouts=Timeouts(connect=10, command=20, data=30, dot=40, write=50))
OPENING = "S: 220 mx\nC: EHLO *\nS: 250 mx\n"
ENVELOPE = "C: MAIL *\nS: 250 ok\nC: RCPT *\nS: 250 ok\nC: DATA\nS: 354 go\n"
GROUP = "C: MAIL *\nC: RCPT *\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\n"


def hop(address: str) -> Hop:
    """A way to an address; one with a slash is a UNIX socket."""
    if "/" in address:
        return Hop(address, 0, Family.UNIX, address, b"", "-F", address)
    name = f"mx{address[-1]}.example"
    return Hop(address, 25, Family.INET, name, b"dns; " + name.encode(), "MX 10", name)


class DeliveryTest(SpooledTest):
    """A delivery over a network in memory, from a spool on disk."""

    def setUp(self) -> None:
        super().setUp()
        self.network = Network()
        self.feed: deque[SpooledMail] = deque()
        self.remarks: list[str] = []
        self.found: Any = None  # what the resolver answers, if it is not the route
        self.changes = 0

    def start(self, *hops: str, manner: Manner = MANNER, target: Any = EXAMPLE, **options: Any) -> Delivery:
        """Make the delivery; nothing is fed yet."""
        route = Route(tuple(hop(address) for address in hops or (ONE,)))
        self.lookups = 0

        def find(_: Any, __: Any) -> Deferred[Any]:
            self.lookups += 1
            return succeed(route) if self.found is None else self.found

        equipment = Equipment(
            reactor=self.network,
            manner=manner,
            rules=RouteRules,
            find=find,
            context_for=lambda name: name,
            broken_tls={},
            remark=self.remarks.append,
            **options,
        )
        self.equipment = equipment
        self.is_due = False
        self.delivery = Delivery(
            equipment,
            target,
            source=self.next_job,
            waiting=lambda: len(self.feed),
            changed=self.changed,
        )
        return self.delivery

    def changed(self) -> None:
        """Wake the delivery soon, as an agent does."""
        self.changes += 1
        if not self.is_due:
            self.is_due = True
            self.network.callLater(0, self.wake)

    def wake(self) -> None:
        """Look whether there is something to do."""
        self.is_due = False
        self.delivery.wake()

    def next_job(self) -> Job | None:
        """Open the next file of the feed."""
        while self.feed:
            job = self.open(self.feed.popleft(), lmtp=self.equipment.manner.lmtp)
            if job is not None and not job.is_finished:
                return job
        return None

    def deliver(self, *mails: SpooledMail) -> None:
        """Feed mails, and let everything happen that needs no time."""
        self.feed += mails
        self.delivery.wake()
        self.network.run()

    def mail(self, recipients: int | list[Any] = 1, **options: Any) -> SpooledMail:
        """Put a mail into the spool; its recipients are sent as r0, r1, ..."""
        if isinstance(recipients, int):
            recipients = [b"r%d@example.net" % number for number in reversed(range(recipients))]
        return self.spool.add(recipients=recipients, **options)

    def quick(self, behaviour: Behaviour | str, *mails: SpooledMail, **options: Any) -> None:
        """Deliver to one server."""
        self.network.serve(ONE, behaviour)
        self.start(**options)
        self.deliver(*(mails or (self.mail(),)))

    @property
    def verbs(self) -> list[list[str]]:
        """What was said on each connection, in first words."""
        return self.network.commands

    @property
    def attempted(self) -> list[str]:
        """The addresses that were connected to."""
        return [attempt.address for attempt in self.network.attempts]

    def expect_over(self) -> None:
        """Every mark and report has been made, no file and no timer is left."""
        for mail in self.spool.mails:
            self.assertNotIn("~", self.tags(mail))
            self.assertEqual(mail.problems(), [])
        self.assertEqual(len(self.told), len({(one.number, one.offset) for one in self.told}), "told twice")
        self.assertEqual(len(self.finished), len(set(self.finished)))
        self.expect_closed()
        self.assertTrue(self.delivery.is_quiet)


class Usual(DeliveryTest):
    """Mail that arrives."""

    def test_mail_is_delivered_marked_and_told(self) -> None:
        mail = self.mail(2)
        self.quick("+P", mail)
        self.assertEqual((self.words, self.tags(mail)), (["ok3", "ok3"], "++"))
        (message,) = self.network.conversations[0].messages
        self.assertEqual(message.recipients, (b"r0@example.net", b"r1@example.net"))
        self.assertEqual([one.path for one in self.finished], [mail.name])
        self.expect_over()

    def test_mails_follow_each_other_on_one_connection(self) -> None:
        self.quick("+P", *[self.mail() for _ in range(20)])
        self.assertEqual((self.words, len(self.verbs)), (["ok3"] * 20, 1))
        self.assertNotIn("RSET", self.verbs[0])
        self.assertEqual(self.verbs[0].count("EHLO"), 1)
        self.expect_over()
        self.assertFalse(self.delivery.is_over)
        self.delivery.leave()
        self.network.run()
        self.assertTrue(self.delivery.is_over)
        self.assertEqual(self.verbs[0][-1], "QUIT")
        self.assertEqual(self.network.getDelayedCalls(), [])

    def test_connection_that_stays_open_is_used_again(self) -> None:
        self.quick("", self.mail())
        self.network.pass_time(5)
        self.deliver(self.mail())
        self.assertEqual((self.words, len(self.verbs)), (["ok3", "ok3"], 1))

    def test_groups_of_a_job_are_all_delivered(self) -> None:
        groups = [
            Group([b"a@example.net"], b"one@example.com"),
            Group([b"b@example.net"], b"two@example.com"),
        ]
        self.quick("+P", self.spool.add(groups=groups))  # S03
        self.assertEqual(self.words, ["ok3", "ok3"])
        self.assertEqual(self.verbs[0].count("MAIL"), 2)
        self.expect_over()

    def test_lmtp_over_a_unix_socket(self) -> None:
        self.network.serve("/run/lmtp", "lmtp; +P; . 250, 450 later, 550 5.1.1 no")
        self.start("/run/lmtp", manner=MANNER._replace(lmtp=True))
        mail = self.mail(3)
        self.deliver(mail)  # 103, 109
        self.assertEqual(self.words, ["ok3", "deferred", "error2"])
        self.assertEqual(self.tags(mail), "- +")
        self.assertIn(b"UNIX:/run/lmtp|UNKNOWN-LOCAL-ADDRESS", self.settled[1].line)
        self.expect_over()

    def test_success_is_recorded_where_the_server_does_not_tell_it(self) -> None:
        for caps, word in (("", "ok2"), ("+D", "ok3")):
            self.settled.clear()
            self.quick(caps, self.mail([Addressee(b"bob@example.net", notary=b"NOTIFY=SUCCESS")]))  # 94, 95
            self.assertEqual(self.words, [word])

    def test_nothing_is_opened_for_nothing(self) -> None:
        self.network.serve(ONE, "")
        self.start()
        self.deliver()
        self.assertEqual((self.attempted, self.lookups), ([], 0))
        self.assertTrue(self.delivery.is_over)

    def test_job_that_nobody_can_be_offered_opens_nothing(self) -> None:
        self.quick("", self.mail([b"a" * 300 + b"@example.net"]))
        self.assertEqual((self.words, self.attempted), (["error2"], []))
        self.expect_over()


class Hops(DeliveryTest):
    """The next address, and when there is none left."""

    def test_next_one_is_tried_where_one_is_of_no_use(self) -> None:
        for first in (
            REFUSED,
            "B 421 busy",
            "B 450",
            "B 554 no",
            "B X",
            "B rubbish",
            "B reset",
            "E X; H X",
            "E 554; H 554",
        ):
            self.network = Network()
            self.settled.clear()
            self.network.serve(ONE, first)
            self.network.serve(TWO, "")
            self.start(ONE, TWO)
            self.deliver(self.mail(2))  # 12, 13, N03, N06
            self.assertEqual(self.words, ["ok3", "ok3"], first)
            self.assertEqual((self.attempted[0], self.attempted[-1]), (ONE, TWO))
            self.expect_over()

    def test_address_that_never_answers_costs_the_time_of_conn(self) -> None:
        self.network.serve(ONE, SILENT)
        self.network.serve(TWO, "")
        self.start(ONE, TWO)
        self.deliver(self.mail())  # N02
        self.assertEqual(self.network.attempts[0].seconds, 10)
        self.network.pass_time(9.9)
        self.assertEqual(self.attempted, [ONE])
        self.network.pass_time(0.2)
        self.assertEqual((self.words, self.attempted), (["ok3"], [ONE, TWO]))

    def test_greeting_that_never_comes_costs_the_time_of_cmd(self) -> None:
        self.network.serve(ONE, "B -")
        self.network.serve(TWO, "")
        self.start(ONE, TWO)
        self.deliver(self.mail())
        self.network.pass_time(19)
        self.assertEqual(self.attempted, [ONE])
        self.network.pass_time(2)
        self.assertEqual(self.words, ["ok3"])

    def test_all_refuse_is_the_same_for_every_recipient(self) -> None:
        for first, second, word in (
            (REFUSED, REFUSED, "deferall"),
            ("B 421", "B 421", "retryat"),
            ("B 554", "B 554", "retryat"),
            ("B 521", "B 521", "error2"),
            ("B 521", "B 421", "retryat"),
            ("B 521", REFUSED, "deferall"),
            ("B 421", "B 521", "retryat"),
            ("B X", "B X", "retryat"),
        ):
            self.network = Network()
            self.settled.clear()
            self.network.serve(ONE, first)
            self.network.serve(TWO, second)
            self.start(ONE, TWO)
            mail = self.mail(3)
            self.deliver(mail)  # 7, 14, N01, N05, N08, S04
            self.assertEqual(self.words, [word] * 3, (first, second))
            self.assertEqual(len({(one.text, one.notary[2:]) for one in self.told}), 1)
            self.expect_over()

    def test_refused_connection_is_told_with_name_and_address(self) -> None:
        self.quick(REFUSED)
        (report,) = self.told
        self.assertIn(b"connect to mx1.example [192.0.2.1|25]: Connection refused", report.text)
        self.assertEqual(report.notary[4], b"dns; mx1.example (192.0.2.1|25)")

    def test_silent_greeting_is_told_with_its_time(self) -> None:
        self.quick("B -", self.mail(2))  # 10, N07
        self.network.pass_time(21)
        self.assertEqual(self.words, ["retryat"] * 2)
        self.assertIn(b"Timeout of 20 sec while waiting responses from remote", self.told[0].text)
        self.expect_over()

    def test_refused_opening_is_never_used_again(self) -> None:
        self.network.serve(ONE, "B 554 no", "")
        self.start()
        self.deliver(self.mail(), self.mail())  # 8, N04
        self.assertEqual(self.words, ["retryat", "ok3"])
        self.assertEqual([said[0] for said in self.verbs], ["QUIT", "EHLO"])
        self.expect_over()

    def test_host_that_breaks_every_session_before_it_is_used_is_given_up(self) -> None:
        for caps in (b"250 mx\r\n250 mx\r\n", b"250 mx\r\n421 closing\r\n"):
            self.network = Network()
            self.settled.clear()
            self.quick(Table({"ehlo": caps}), self.mail(2))
            self.assertEqual((self.words, self.attempted), (["retryat"] * 2, [ONE]))
            self.expect_over()

    def test_idle_session_that_breaks_is_nobodys_verdict(self) -> None:
        self.network.serve(ONE, Script(OPENING + "-- wait 3\n-- close"), "")
        self.start(connections=2)
        self.delivery._open()
        self.network.run()
        self.deliver(self.mail())
        self.assertEqual(self.words, ["ok3"])
        self.expect_over()

    def test_target_that_is_a_trouble_is_told_at_once(self) -> None:
        self.start(target=Trouble(Kind.BAD_LITERAL, b"[1.2.3 is no address", remote=b"X-IP-addr; [1.2.3"))
        self.deliver(self.mail(2))
        self.assertEqual((self.words, self.attempted), (["error2", "error2"], []))
        self.expect_over()

    def test_trouble_with_the_name_is_told_to_all(self) -> None:
        self.found = succeed(Trouble(Kind.NO_SUCH_DOMAIN, b"DNS: no such domain: example.net"))
        self.start()
        self.deliver(self.mail(2))
        self.assertEqual((self.words, self.attempted), (["error2", "error2"], []))

    def test_route_without_a_hop_is_no_silence(self) -> None:
        self.found = succeed(Route(()))
        self.start()
        self.deliver(self.mail())
        self.assertEqual(self.words, ["deferall"])

    def test_path_that_no_socket_can_have_is_told_at_once(self) -> None:
        self.start("/run/" + "x" * 200)
        self.deliver(self.mail())
        self.assertEqual(self.words, ["deferall"])
        self.assertIn(b"File name too long", self.told[0].text)


class Manners(DeliveryTest):
    """What a host makes necessary: HELO, or a connection in clear."""

    def test_helo_on_the_same_connection_where_ehlo_is_unknown(self) -> None:
        self.quick("E 500")  # 17
        self.assertEqual((self.words, self.verbs[0][:3]), (["ok3"], ["EHLO", "HELO", "MAIL"]))

    def test_helo_on_a_new_connection_after_a_hang_up_or_a_temporary_refusal(self) -> None:
        for first in ("E 421", "E 451", "E X", "E reset", Table({"ehlo": b"250-x\r\n"})):
            self.network = Network()
            self.settled.clear()
            behaviours = (
                [first] if isinstance(first, str) else [Script("S: 220 mx\nC: EHLO *\nS: 250-x\n-- close")]
            )
            self.network.serve(ONE, *behaviours, "")
            self.start()
            self.deliver(self.mail())  # 18, 19, 20
            self.assertEqual(self.words, ["ok3"], first)
            self.assertEqual([said[0] for said in self.verbs], ["EHLO", "HELO"])
            self.expect_over()

    def test_helo_that_is_refused_too_is_the_end_of_it(self) -> None:
        self.quick("E 502; H 550 no", self.mail(3))  # 21
        self.assertEqual([said[:2] for said in self.verbs], [["EHLO", "HELO"], ["HELO", "QUIT"]])
        self.assertEqual(self.words, ["retryat"] * 3)
        self.assertIn(b"\r<<- HELO me.example\r->> 550 no", self.told[0].text)

    def test_lmtp_has_no_helo(self) -> None:
        for reply in ("500", "421"):
            self.network = Network()
            self.settled.clear()
            self.quick(f"lmtp; L {reply}", manner=MANNER._replace(lmtp=True))  # 110, 111
            self.assertEqual(self.verbs[0], ["LHLO", "QUIT"])
            self.assertEqual((self.words, len(self.verbs)), (["retryat"], 1))

    def test_unix_path_is_the_same_at_the_second_try(self) -> None:
        path = "/run/" + "long" * 20
        self.network.serve(path, "E 421", "")
        self.start(path)
        self.deliver(self.mail())  # N17
        self.assertEqual((self.words, self.attempted), (["ok3"], [path, path]))

    def test_opportunistic_tls_is_used_where_offered(self) -> None:
        self.quick("+T", manner=MANNER._replace(tls=Tls.OPPORTUNISTIC))
        self.assertEqual(self.verbs[0][:4], ["EHLO", "STARTTLS", "EHLO", "MAIL"])
        self.assertEqual(self.network.links[0].transport.tls_contexts, ["mx1.example"])

    def test_failed_tls_is_followed_by_clear_text_and_remembered(self) -> None:
        for failure in ("T 454 no", "T X", "T 220 go", "T -"):
            self.network = Network()
            self.settled.clear()
            silent = Script(
                "S: 220 mx\nC: EHLO *\nS: 250-mx\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\n-- silence"
            )
            first: Any = silent if failure == "T 220 go" else "+T; " + failure
            self.network.serve(ONE, first, "+T")
            self.start(manner=MANNER._replace(tls=Tls.OPPORTUNISTIC), one_message=True)
            self.deliver(self.mail(), self.mail())  # T08
            self.network.pass_time(60)
            self.assertEqual(self.words, ["ok3", "ok3"], failure)
            self.assertEqual(["STARTTLS" in said for said in self.verbs], [True, False, False])
            self.network.pass_time(TLS_FORGIVEN)
            self.deliver(self.mail())
            self.assertIn("STARTTLS", self.verbs[-1])
            self.expect_over()

    def test_memory_of_broken_tls_is_bounded(self) -> None:
        self.network.serve(ONE, "+T; T 454", "+T")
        self.start(manner=MANNER._replace(tls=Tls.OPPORTUNISTIC))
        self.equipment.broken_tls.update(
            {f"host{number}": 1e9 if number else 0.0 for number in range(10_000)}
        )
        self.deliver(self.mail())
        self.assertEqual(len(self.equipment.broken_tls), 10_000)
        self.equipment.broken_tls["another"] = 1e9
        self.delivery.leave()
        self.network.serve(ONE, "+T; T 454", "+T")
        del self.equipment.broken_tls[ONE]
        self.network.run()
        self.deliver(self.mail())
        self.assertEqual(list(self.equipment.broken_tls), [ONE])

    def test_meddling_with_starttls_is_not_rewarded(self) -> None:
        injected = Table({"starttls": b"220 go\r\n250 x\r\n"}, announce=["STARTTLS"])
        self.quick(injected, manner=MANNER._replace(tls=Tls.OPPORTUNISTIC))  # T09, 138
        self.assertEqual((self.words, len(self.verbs)), (["retryat"], 1))

    def test_required_tls_is_never_done_without(self) -> None:
        for server in ("", "E 502", "+T; T 454", "+T; T X", "E X"):
            self.network = Network()
            self.settled.clear()
            self.quick(server, manner=MANNER._replace(tls=Tls.REQUIRED))  # T04, T05, T06
            self.assertEqual((self.words, len(self.verbs)), (["retryat"], 1), server)
            self.assertNotIn("MAIL", self.verbs[0])


class Troubles(DeliveryTest):
    """What a server does to one transaction, and what follows for the others."""

    def test_connection_lost_before_mail_is_answered_is_tried_once_more(self) -> None:
        for caps in ("", "+P;"):
            for reply in ("X", "reset", "421+X", "421"):
                self.network = Network()
                self.settled.clear()
                self.network.serve(ONE, f"{caps} M {reply}", "")
                self.start()
                self.deliver(self.mail(3))  # 44, 46
                self.assertEqual((self.words, len(self.verbs)), (["ok3"] * 3, 2), (caps, reply))
                self.expect_over()

    def test_connection_lost_twice_is_a_deferral(self) -> None:
        self.quick("M X", self.mail(2))  # 45
        self.assertEqual((self.words, len(self.verbs)), (["deferred"] * 2, 2))
        self.assertIn(b"remote hung up on us while 1 responses missing", self.told[0].text)
        self.expect_over()

    def test_mail_that_is_not_answered_is_tried_once_more(self) -> None:
        self.quick("M -")  # 47
        self.network.pass_time(19)
        self.assertEqual(len(self.verbs), 1)
        self.network.pass_time(22)
        self.assertEqual((self.words, len(self.verbs)), (["deferred"], 2))

    def test_server_that_closed_while_idle_is_connected_to_again(self) -> None:
        self.network.serve(
            ONE,
            Script(OPENING + ENVELOPE + "C-data:\nS: 250\n-- wait 5\n-- close"),
            "",
        )
        self.start()
        self.deliver(self.mail())
        self.network.pass_time(10)
        self.deliver(self.mail())  # P18
        self.assertEqual((self.words, len(self.verbs)), (["ok3", "ok3"], 2))

    def test_server_that_refuses_rset_is_connected_to_again(self) -> None:
        self.network.serve(ONE, "S 421+X", "")
        self.start()
        self.deliver(self.mail())
        self.network.pass_time(25)
        self.deliver(self.mail())  # P15
        self.assertEqual((self.words, self.verbs[0][-1]), (["ok3", "ok3"], "RSET"))

    def test_refused_sender_is_not_tried_again(self) -> None:
        for reply, word in (("550 5.7.1 no", "error2"), ("450", "deferred")):
            self.network = Network()
            self.settled.clear()
            self.quick(f"M {reply}", self.mail(3), self.mail())  # 38, 41
            self.assertEqual((self.words, len(self.verbs)), ([word] * 4, 1))
            self.assertEqual(self.verbs[0].count("MAIL"), 2)

    def test_connection_lost_later_is_a_deferral(self) -> None:
        for server, words in (
            ("R 250, X", ["deferred"] * 2),
            ("+P; R 550, X", ["error2", "deferred"]),
            ("D X", ["deferred"] * 2),
            (". X", ["deferback"] * 2),
            (". 421+X", ["deferback"] * 2),
        ):
            self.network = Network()
            self.settled.clear()
            self.quick(server, self.mail(2))  # 67, 68, 80, 91
            self.assertEqual((self.words, len(self.verbs)), (words, 1), server)
            self.expect_over()

    def test_silence_after_the_dot_is_a_deferral_at_its_time(self) -> None:
        self.quick(". -")  # 92
        self.network.pass_time(39)
        self.assertEqual(self.words, [])
        self.network.pass_time(2)
        self.assertEqual(self.words, ["deferback"])
        self.expect_over()

    def test_next_message_goes_over_a_new_connection(self) -> None:
        self.network.serve(ONE, ". X", "")
        self.start()
        self.deliver(self.mail(), self.mail())  # 91
        self.assertEqual((self.words, len(self.verbs)), (["deferback", "ok3"], 2))

    def test_recipient_that_may_heal_ends_the_connection(self) -> None:
        self.quick("+P; R 250, 450, 250", self.mail(3), self.mail(), self.mail())  # 50
        self.assertEqual(self.words, ["deferred", "ok3", "ok3", "ok3", "ok3"])
        self.assertEqual([said.count("MAIL") for said in self.verbs], [1, 2])
        self.assertEqual(self.verbs[0][-1], "QUIT")

    def test_refused_data_is_told_to_those_who_were_accepted(self) -> None:
        self.quick("+P; R 550, 250, 450; D 554 no", self.mail(3))  # 65
        self.assertEqual(self.words, ["error2", "deferred", "error2"])

    def test_message_file_that_shrinks_costs_a_deferral(self) -> None:
        mail = self.mail(body=b"x\n" * 200_000)
        self.network.serve(
            ONE,
            Script(OPENING + "C: MAIL *\nS: 250\nC: RCPT *\nS: 250\nC: DATA\n-- wait 1\nS: 354\n-- silence"),
            "",
        )
        self.start()
        self.network.callLater(0.5, os.truncate, mail.message_path, 1000)
        self.deliver(mail)
        self.assertEqual(self.words, ["deferred"])
        self.assertIn(b"became shorter", self.told[0].text)
        self.expect_over()

    def test_message_that_cannot_be_read_beforehand_costs_a_deferral(self) -> None:
        mail = self.mail()
        self.network.serve(ONE, Script("-- wait 1\n" + OPENING + "C: QUIT"))
        self.start()
        self.network.callLater(0.5, os.truncate, mail.message_path, 10)
        self.deliver(mail)
        self.assertEqual(self.words, ["deferred"])
        self.expect_over()


class TooMany(DeliveryTest):
    """More recipients than a server takes at once."""

    def test_recipients_beyond_the_limit_follow(self) -> None:
        server = Table({}, announce=["PIPELINING", "X-RCPTLIMIT 3"])
        self.quick(server, self.mail(23))  # 70, S09
        self.assertEqual(self.words, ["ok3"] * 23)
        sizes = [len(message.recipients) for message in self.network.conversations[0].messages]
        self.assertEqual((sizes, "RSET" in self.verbs[0], len(self.verbs)), ([10, 10, 3], False, 1))
        self.expect_over()

    def test_hundred_at_a_time_without_a_limit(self) -> None:
        self.quick("+P", self.mail(250))  # S08
        sizes = [len(message.recipients) for message in self.network.conversations[0].messages]
        self.assertEqual((sizes, set(self.words)), ([100, 100, 50], {"ok3"}))

    def test_rest_goes_over_a_new_connection_if_the_first_is_gone(self) -> None:
        limited = ["X-RCPTLIMIT 3"]
        for reply, words in (
            ("450", ["deferred"] + ["ok3"] * 12),
            ("250", ["ok3"] * 13),
        ):
            for end in ("250 ok", "250 ok+X"):
                self.network = Network()
                self.settled.clear()
                first = Table({"rcpt": ["250", "250", "250", reply, "250"], "dot": end}, announce=limited)
                self.network.serve(ONE, first, Table({}, announce=limited))
                self.start()
                self.deliver(self.mail(13))  # 71, W33
                self.assertEqual(sorted(self.words), sorted(words), (reply, end))
                self.expect_over()

    def test_one_too_many_is_sent_in_a_transaction_of_its_own(self) -> None:
        for reply in ("452 too many", "552 too many", "452 4.5.3 too many"):
            for caps in ("", "+P;", "+P +C;"):
                self.network = Network()
                self.settled.clear()
                self.quick(f"{caps} R 250, 250, {reply}, 250", self.mail(3))  # 52, 53
                self.assertEqual(self.words, ["ok3"] * 3, (caps, reply))
                sent = [
                    message.recipients for each in self.network.conversations for message in each.messages
                ]
                self.assertEqual(
                    sent, [(b"r0@example.net", b"r1@example.net"), (b"r2@example.net",)], (caps, reply)
                )
                self.expect_over()

    def test_one_too_many_among_none_is_refused(self) -> None:
        self.quick("R 452", self.mail(2))
        self.assertEqual(self.words, ["deferred"] * 2)
        self.expect_over()

    def test_recipient_is_not_offered_again_once_it_was_told_of(self) -> None:
        for caps in ("", "+P;"):
            self.network = Network()
            self.settled.clear()
            self.quick(f"{caps} R 452 4.2.2 full, 250", self.mail(2))
            self.assertEqual(self.words, ["deferred", "ok3"])
            sent = [message.recipients for each in self.network.conversations for message in each.messages]
            self.assertEqual(sent, [(b"r1@example.net",)])
            self.expect_over()

    def test_first_of_all_may_be_one_too_many_as_well(self) -> None:
        self.quick("+P; R 452, 250", self.mail(2))
        self.assertEqual(self.words, ["ok3", "ok3"])
        self.expect_over()

    def test_one_too_many_is_deferred_if_the_others_are_lost(self) -> None:
        self.quick("+P; R 250, 452; . X", self.mail(2))
        self.assertEqual(sorted(self.words), ["deferback", "deferred"])
        self.expect_over()

    def test_server_that_takes_one_at_a_time_gets_one_at_a_time(self) -> None:
        self.quick("+P; R 250, 452, 452, 452, 250, 452, 452, 250, 452, 250", self.mail(4))
        self.assertEqual((self.words, sum(said.count("DATA") for said in self.verbs)), (["ok3"] * 4, 4))
        self.expect_over()


class Several(DeliveryTest):
    """Several connections, one message on each, and a host that wants no more."""

    def test_connections_share_the_work(self) -> None:
        for address in (ONE,):
            self.network.serve(address, "")
        self.start(connections=3)
        self.deliver(*[self.mail() for _ in range(9)])
        self.assertEqual(self.words, ["ok3"] * 9)
        self.assertLessEqual(len(self.verbs), 3)
        self.assertGreater(len(self.verbs), 1)
        self.expect_over()

    def test_no_more_are_opened_than_there_is_work(self) -> None:
        self.network.serve(ONE, "")
        self.start(connections=10)
        self.deliver(self.mail(), self.mail())
        self.assertEqual(len(self.attempted), 2)

    def test_no_more_are_opened_while_some_are_being_opened(self) -> None:
        self.network.serve(ONE, SILENT)
        self.start(connections=4)
        self.feed += [self.mail(), self.mail()]
        for _ in range(5):
            self.delivery.wake()
        self.assertEqual(len(self.attempted), 2)
        self.network.pass_time(11)
        self.expect_over()

    def test_second_connection_that_is_refused_does_no_harm(self) -> None:
        slow = Script(OPENING + "-- repeat\n" + ENVELOPE + "-- wait 1\nC-data:\nS: 250\n-- end")
        self.network.serve(ONE, slow, REFUSED)
        self.start(connections=2)
        self.deliver(*[self.mail() for _ in range(6)])
        self.network.pass_time(20)
        self.assertEqual(self.words, ["ok3"] * 6)
        # one attempt in five seconds, not one for each message
        self.assertLess(len(self.attempted), 6)
        self.expect_over()

    def test_one_message_for_each_connection(self) -> None:
        self.quick("+P", self.mail(), self.mail(), one_message=True)  # 118, P11
        self.assertEqual([said[-1] for said in self.verbs], ["QUIT", "QUIT"])
        self.assertEqual([said.count("MAIL") for said in self.verbs], [1, 1])
        self.assertTrue(self.delivery.is_over)
        self.assertEqual(self.network.getDelayedCalls(), [])

    def test_parts_of_one_message_share_its_connection(self) -> None:
        server = Table({}, announce=["X-RCPTLIMIT 10"])
        self.quick(server, self.mail(15), one_message=True)
        self.assertEqual([said.count("MAIL") for said in self.verbs], [2])

    def test_server_that_does_not_answer_quit_holds_up_nobody(self) -> None:
        self.quick("Q -", self.mail(), self.mail(), self.mail(), one_message=True)
        self.assertEqual((self.words, self.network.seconds()), (["ok3"] * 3, 0))
        self.network.pass_time(6)
        self.assertTrue(self.delivery.is_over)

    def test_host_that_cannot_be_reached_is_tried_once_for_a_batch(self) -> None:
        self.quick(REFUSED, *[self.mail() for _ in range(151)])  # 104
        self.assertEqual((self.words, self.attempted), (["deferall"] * 151, [ONE]))
        self.assertEqual(len(self.finished), 151)
        self.expect_over()
        self.deliver(self.mail())
        self.assertEqual(self.attempted, [ONE])
        self.network.pass_time(REMEMBERED + 1)
        self.deliver(self.mail())
        self.assertEqual(self.attempted, [ONE, ONE])
        self.expect_over()

    def test_host_is_forgiven_by_a_good_connection(self) -> None:
        self.network.serve(ONE, REFUSED, "")
        self.start()
        self.deliver(self.mail())
        self.network.pass_time(REMEMBERED + 1)
        self.deliver(self.mail(), self.mail())
        self.assertEqual(self.words, ["deferall", "ok3", "ok3"])


class Hanging(DeliveryTest):
    """A host that falls silent costs its timeout once for a batch, not once for each job."""

    def test_those_behind_are_deferred_at_once(self) -> None:
        for server, seconds, first, connections in (
            ("R -", 20, "deferred", 1),
            ("D -", 30, "deferred", 1),
            (". -", 40, "deferback", 1),
            ("+P +C; . -", 40, "deferback", 1),
            ("M -", 40, "deferred", 2),  # it is met once more before it is given up
        ):
            self.network = Network()
            self.settled.clear()
            self.quick(server, *[self.mail() for _ in range(30)])
            self.network.pass_time(seconds - 1)
            self.assertEqual(self.words, [])
            self.network.pass_time(2)
            self.assertEqual((self.words, len(self.verbs)), ([first] + ["retryat"] * 29, connections), server)
            self.assertIn(b"Timeout of ", self.told[-1].text)
            self.expect_over()

    def test_whose_octets_were_sent_is_met_once_more(self) -> None:
        ready = Script(
            "S: 220 mx\nC: EHLO *\nS: 250-mx\nS: 250 PIPELINING\n"
            + GROUP
            + "C-data:\nS: 250 ok\n"
            + GROUP
            + "C-data:\n-- silence"
        )
        self.network.serve(ONE, ready, ". -")
        self.start()
        # the envelope of the third has left behind the end of the second
        self.deliver(*[self.mail() for _ in range(5)])
        self.network.pass_time(41)
        self.assertEqual(self.words, ["ok3", "deferback"])
        self.network.pass_time(41)
        self.assertEqual(self.words, ["ok3", "deferback", "deferback", "retryat", "retryat"])
        self.expect_over()

    def test_host_that_does_not_read_as_well(self) -> None:
        self.network.serve(ONE, Script(OPENING + ENVELOPE.replace("S: 354", "-- stop reading\nS: 354")))
        self.start()
        self.deliver(self.mail(body=b"x\n" * 2_000_000), self.mail())
        self.network.pass_time(60)
        self.assertEqual(self.words, ["deferred", "retryat"])
        self.expect_over()

    def test_host_that_hangs_up_is_tried_again_for_the_next(self) -> None:
        self.network.serve(ONE, ". X", "")
        self.start()
        self.deliver(self.mail(), self.mail())
        self.assertEqual(self.words, ["deferback", "ok3"])

    def test_other_connection_that_works_takes_those_behind(self) -> None:
        slow = Script(OPENING + "-- repeat\n" + ENVELOPE + "C-data:\n-- wait 15\nS: 250\n-- end")
        self.network.serve(ONE, ". -", slow)
        self.start(connections=2)
        self.deliver(*[self.mail() for _ in range(5)])
        self.network.pass_time(100)
        self.assertEqual(self.words, ["ok3", "ok3", "deferback", "ok3", "ok3"])
        self.expect_over()

    def test_is_forgotten_after_a_moment(self) -> None:
        self.network.serve(ONE, ". -", "")
        self.start()
        self.deliver(self.mail(), self.mail())
        self.network.pass_time(41)
        self.network.pass_time(REMEMBERED)
        self.deliver(self.mail())
        self.assertEqual(self.words, ["deferback", "retryat", "ok3"])
        self.expect_over()


class Stopping(DeliveryTest):
    """Told to stop, nothing is lost and nothing is waited for but the reply to a dot."""

    def test_while_a_reply_to_the_envelope_is_awaited(self) -> None:
        mail = self.mail(2)
        self.quick("R -", mail, self.mail())  # P19, 133
        self.assertEqual(len(self.feed), 1, "what cannot be sent yet is not locked")
        self.delivery.stop()
        self.network.run()
        self.assertEqual((self.words, self.tags(mail)), (["deferred"] * 2, "  "))
        self.assertEqual([one.notary[1] for one in self.told], [b"failed"] * 2)
        self.assertTrue(self.delivery.is_over)
        self.assertEqual(self.network.getDelayedCalls(), [])
        self.expect_over()

    def test_while_the_reply_to_the_dot_is_awaited(self) -> None:
        self.network.serve(
            ONE,
            Script(OPENING + ENVELOPE + "C-data:\n-- client stop\n-- wait 9\nS: 250 ok\nC: QUIT\nS: 221"),
        )
        self.start()
        self.feed += [self.mail(), self.mail()]
        self.delivery.wake()
        self.network.advance(0)
        self.network.links[0]._prompts["stop"] = lambda: self.delivery.stop()
        self.network.run()  # P20, 134
        self.assertEqual((self.words, len(self.feed)), (["ok3"], 1))
        self.assertTrue(self.delivery.is_over)

    def test_next_envelope_is_given_up_when_the_dot_is_answered(self) -> None:
        pipelined = (
            "S: 220 mx\nC: EHLO *\nS: 250-mx\nS: 250 PIPELINING\n"
            + GROUP
            + "C-data:\n-- client stop\n-- wait 1\nS: 250 ok\n-- silence"
        )
        self.network.serve(ONE, Script(pipelined))
        self.start()
        self.feed += [self.mail(), self.mail()]
        self.delivery.wake()
        self.network.advance(0)
        self.network.links[0]._prompts["stop"] = lambda: self.delivery.stop()
        self.network.run()
        self.assertEqual(sorted(self.words), ["deferred", "ok3"])
        self.assertTrue(self.delivery.is_over)
        self.expect_over()

    def test_one_too_many_is_not_left_waiting(self) -> None:
        server = Script(
            OPENING
            + ENVELOPE.replace("C: DATA", "C: RCPT *\nS: 452 too many\nC: DATA")
            + "C-data:\n-- client stop\nS: 250 ok\nC: QUIT\nS: 221"
        )
        self.network.serve(ONE, server)
        self.start()
        self.feed += [self.mail(2)]
        self.delivery.wake()
        self.network.advance(0)
        self.network.links[0]._prompts["stop"] = lambda: self.delivery.stop()
        self.network.run()
        self.assertEqual(self.words, ["ok3", "deferred"])
        self.expect_over()

    def test_while_connecting_no_other_hop_is_tried(self) -> None:
        self.network.serve(ONE, SILENT)
        self.network.serve(TWO, "")
        self.start(ONE, TWO)
        self.deliver(self.mail())
        self.delivery.stop()
        self.network.pass_time(60)
        self.assertEqual((self.attempted, self.words), ([ONE], ["deferred"]))
        self.assertTrue(self.delivery.is_over)
        self.expect_over()

    def test_while_a_session_is_being_opened(self) -> None:
        for server in ("B -", "E -"):
            self.network = Network()
            self.settled.clear()
            self.network.serve(ONE, server)
            self.network.serve(TWO, "")
            self.start(ONE, TWO)
            self.deliver(self.mail())
            self.delivery.stop()
            self.network.run()
            self.assertEqual((self.attempted, self.words), ([ONE], ["deferred"]))
            self.assertTrue(self.network.links[0].transport.aborted)
            self.assertEqual(self.network.getDelayedCalls(), [])
            self.assertTrue(self.delivery.is_over)

    def test_while_a_name_is_looked_up(self) -> None:
        self.found = Deferred()
        self.start()
        self.deliver(self.mail())
        self.delivery.stop()
        self.network.run()
        self.assertEqual((self.attempted, self.words), ([], ["deferred"]))
        self.assertTrue(self.delivery.is_over)

    def test_idle_connection_takes_leave(self) -> None:
        self.quick("", self.mail())
        self.delivery.stop()
        self.network.run()
        self.assertEqual((self.verbs[0][-1], self.delivery.is_over), ("QUIT", True))

    def test_nothing_begins_afterwards(self) -> None:
        self.network.serve(ONE, "")
        self.start()
        self.delivery.stop()
        self.deliver(self.mail())
        self.assertEqual((self.attempted, len(self.feed)), ([], 1))


class OurFaults(DeliveryTest):
    """An exception in our own code costs a deferral, not a hang: every locked recipient is told of."""

    def expect_told(self, number: int, errors: int = 1) -> None:
        """So many recipients were deferred, and the fault was logged."""
        self.assertEqual(self.words, [self.words[0]] * number)
        self.assertTrue(all(report.is_deferral for report in self.told))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), errors)
        self.expect_over()

    @staticmethod
    def oops(*_: Any, **__: Any) -> Any:
        """Fail."""
        raise ZeroDivisionError

    def test_in_planning(self) -> None:
        self.patch(plan, "problem_of", self.oops)
        self.quick("", self.mail(3))
        self.expect_told(3)

    def test_in_preparing(self) -> None:
        self.patch(Job, "prepare", self.oops)
        self.quick("", self.mail(3))
        self.expect_told(3)

    def test_in_announcing(self) -> None:
        self.patch(Courier, "beginTransaction", self.oops)
        self.quick("", self.mail(3))
        self.network.pass_time(60)
        self.assertEqual(self.flushLoggedErrors(ZeroDivisionError) != [], True)
        self.expect_over()

    def test_in_judging(self) -> None:
        self.patch(policy, "judge", self.oops)
        self.quick("+P; R 250, 550, 250", self.mail(3))
        self.expect_told(3, errors=3)

    def test_in_resolving(self) -> None:
        self.found = fail(ZeroDivisionError())
        self.start()
        self.deliver(self.mail(3))
        self.expect_told(3)

    def test_in_the_rules(self) -> None:
        self.network.serve(ONE, "")
        self.start()
        self.delivery._equipment = self.equipment._replace(rules=self.oops)
        self.deliver(self.mail(2))
        self.expect_told(2)

    def test_in_setting_up_the_connection(self) -> None:
        class Failing(FakeTransport):
            def getHost(self) -> Any:
                raise ZeroDivisionError

        self.network.transports = Failing
        self.quick("", self.mail(2))
        self.network.pass_time(60)
        self.flushLoggedErrors(ZeroDivisionError)
        self.assertEqual(len(self.told), 2)
        self.expect_over()

    def test_in_handling_an_answer(self) -> None:
        self.patch(deliver, "_is_one_too_many", self.oops)
        self.quick("R 550, 250", self.mail(2))
        self.network.pass_time(100)
        self.flushLoggedErrors(ZeroDivisionError)
        self.expect_over()


class Remarks(DeliveryTest):
    """What a transcript hears of it."""

    def test_connections_and_their_ends_are_told(self) -> None:
        self.network.serve(ONE, REFUSED)
        self.network.serve(TWO, ". X")
        self.start(ONE, TWO)
        self.deliver(self.mail())
        self.assertEqual(
            self.remarks,
            [
                "(Connecting to `mx1.example' [192.0.2.1|25])",
                "mx1.example [192.0.2.1|25]: the connection could not be opened",
                "(Connecting to `mx2.example' [192.0.2.2|25])",
                "closed connection to mx2.example: the server closed the connection",
            ],
        )

    def test_nobody_needs_to_listen(self) -> None:
        self.network.serve(ONE, "")
        self.start()
        self.delivery._equipment = self.equipment._replace(remark=None)
        self.deliver(self.mail())
        self.assertEqual(self.words, ["ok3"])

    def test_first_words_of_a_conversation(self) -> None:
        self.quick("")
        self.assertEqual(verbs(self.network.conversations[0]), ["EHLO", "MAIL", "RCPT", "DATA", "."])
