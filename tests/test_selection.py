"""Option -e, with name servers and mail servers in memory and a spool on disk.

Numbers are rows of the agent specification, section 9.3.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred, succeed

from tests.agent.virtual import VirtualAgent
from tests.spooled import SpooledTest
from zsmtp.destination import Answer, Family, Hop, MailExchanger, Name, Outcome, Route, RouteRules
from zsmtp.selection import MOST_HOSTS, PATIENCE, Selector, other_hosts
from zsmtp.smtp.session import State
from zsmtp.testing.peer import Behaviour
from zsmtp.testing.spool import Addressee, Group, SpooledMail
from zsmtp.testing.table import table
from zsmtp.trouble import Kind, Trouble

GOOD = Name("good.example")


def hop(name: str, number: int) -> Hop:
    """A way to a host."""
    return Hop(f"192.0.2.{number}", 25, Family.INET, name, b"dns; " + name.encode(), "MX", name)


class SelectionTest(SpooledTest):
    """`mx` holds the mail exchangers of each domain; the others have none.  `slow` are never answered."""

    def setUp(self) -> None:
        super().setUp()
        self.mx = {"good.example": ["mx.example"]}
        self.slow: set[str] = set()
        self.asked: list[str] = []
        self.waiting: list[Deferred[Any]] = []
        self.troubles: dict[str, Trouble] = {}

    def agent(self, *behaviours: Behaviour) -> VirtualAgent:
        """Start an agent with -e."""
        agent = VirtualAgent(*(behaviours or (table("+P"),)))
        assert agent.agent.equipment is not None
        agent.agent.equipment = agent.agent.equipment._replace(find=self.find)
        agent.agent.selector = Selector(agent.agent.equipment, b"smtp", self.exchangers, agent.agent.wake)
        return agent

    def find(self, target: Any, rules: RouteRules) -> Deferred[Any]:
        """Resolve to the hosts in `mx`, or to the domain itself."""
        if target.name in self.troubles:
            return succeed(self.troubles[target.name])
        hosts = self.mx.get(target.name) or [target.name]
        return succeed(Route(tuple(hop(host, number) for number, host in enumerate(hosts, 1))))

    def exchangers(self, domain: str) -> Deferred[Any]:
        """Answer with the hosts in `mx`."""
        self.asked.append(domain)
        hosts = self.mx.get(domain, [])
        if domain in self.slow:
            self.waiting.append(Deferred())
            return self.waiting[-1]
        values = tuple(MailExchanger(10, host) for host in hosts)
        return succeed(Answer(Outcome.FOUND if values else Outcome.NO_DATA, values, domain))

    def mail(self, *hosts: str) -> SpooledMail:
        """Put a mail into the spool with one recipient at each host."""
        return self.spool.add(recipients=[Addressee(b"r@" + h.encode(), h.encode()) for h in hosts])

    def deliver(self, agent: VirtualAgent, *mails: SpooledMail) -> list[str]:
        """Feed mails for good.example; return the tags of the recipients."""
        agent.feed(b"".join(mail.feed(b"good.example") for mail in mails))
        return [self.tags(mail) for mail in mails]

    def recipients(self, agent: VirtualAgent) -> list[bytes]:
        """Return whom the servers got mail for."""
        return [one for link in agent.links for m in link.conversation.messages for one in m.recipients]


class Selecting(SelectionTest):
    """Who is taken along."""

    def test_s05_host_with_the_same_mail_exchanger_goes_along(self) -> None:
        self.mx["via.example"] = ["mx.example"]
        mail = self.mail("good.example", "via.example", "other.example")
        agent = self.agent()
        self.assertEqual(self.deliver(agent, mail), ["++ "])
        self.assertEqual(len(agent.links), 1)
        self.assertEqual(self.recipients(agent), [b"r@via.example", b"r@good.example"])
        self.assertEqual([report.word for report in agent.reports], ["ok3", "ok3"])
        self.assertEqual(agent.lines.count(b"#hungry"), 2)

    def test_s05_host_that_is_the_mail_exchanger_of_another(self) -> None:
        del self.mx["good.example"]
        self.mx["viamx.example"] = ["good.example"]
        mail = self.mail("good.example", "viamx.example")
        self.assertEqual(self.deliver(self.agent(), mail), ["++"])

    def test_s07_host_without_mx_that_is_the_connected_machine(self) -> None:
        mail = self.mail("good.example", "mx.example")
        self.assertEqual(self.deliver(self.agent(), mail), ["++"])

    def test_recipients_of_the_host_itself_need_no_look_up(self) -> None:
        agent = self.agent()
        self.assertEqual(self.deliver(agent, self.mail("good.example", "GOOD.example")), ["++"])
        self.assertEqual(self.asked, [])

    def test_file_with_recipients_of_served_hosts_alone_is_delivered(self) -> None:
        self.mx["via.example"] = ["mx.example"]
        self.assertEqual(self.deliver(self.agent(), self.mail("via.example")), ["+"])

    def test_file_without_anybody_served_is_answered_by_resync(self) -> None:
        agent = self.agent()
        mail = self.mail("other.example")
        self.assertEqual(self.deliver(agent, mail), [" "])
        self.assertEqual(agent.lines, [b"#hungry", b"#resync " + mail.name.encode(), b"#hungry"])

    def test_other_channels_literals_and_odd_hosts_are_never_asked_for(self) -> None:
        self.mx["via.example"] = ["mx.example"]
        others = [Addressee(b"r@x", b"via.example", channel=b"local")]
        others += [Addressee(b"r@x", host) for host in (b"[192.0.2.25]", b"UNIX:/run/x", b"a\xffb")]
        mail = self.spool.add(recipients=[Addressee(b"r@good.example", b"good.example"), *others])
        self.assertEqual(self.deliver(self.agent(), mail), ["+    "])
        self.assertEqual(self.asked, [])

    def test_host_that_cannot_be_found_is_left_alone(self) -> None:
        self.mx["gone.example"] = ["mx.example"]
        self.troubles["gone.example"] = Trouble(Kind.BEST_MX_IS_SELF, b"we are its best")
        self.assertEqual(self.deliver(self.agent(), self.mail("good.example", "gone.example")), ["+ "])

    def test_without_a_connection_every_mail_exchanger_must_serve(self) -> None:
        self.mx |= {"good.example": ["mx1.example", "mx2.example"], "via.example": ["mx2.example"]}
        self.mx["both.example"] = ["mx2.example", "mx1.example", "mx3.example"]
        agent = self.agent()
        first = self.mail("good.example", "via.example", "both.example")
        self.assertEqual(self.deliver(agent, first), ["+ +"])

    def test_with_a_connection_that_machine_must_serve(self) -> None:
        self.mx |= {"good.example": ["mx1.example", "mx2.example"], "via.example": ["mx1.example"]}
        agent = self.agent()
        mails = [self.mail("good.example"), self.mail("via.example")]
        self.assertEqual(self.deliver(agent, *mails), ["+", "+"])
        self.assertEqual(len(agent.links), 1)

    def test_destination_that_cannot_be_found_serves_nobody(self) -> None:
        self.mx["via.example"] = ["mx.example"]
        self.troubles["good.example"] = Trouble(Kind.NO_SUCH_DOMAIN, b"no such domain")
        mail = self.mail("good.example", "via.example")
        self.assertEqual(self.deliver(self.agent(), mail), ["- "])

    def test_more_hosts_than_anybody_needs_are_not_asked_for(self) -> None:
        mail = self.mail("good.example", *(f"h{number}.example" for number in range(MOST_HOSTS + 5)))
        self.assertEqual(len(other_hosts(mail.name, b"smtp", b"good.example")), MOST_HOSTS)


class Waiting(SelectionTest):
    """Look-ups that take their time."""

    def setUp(self) -> None:
        super().setUp()
        self.mx |= {"via.example": ["mx.example"], "late.example": ["mx.example"]}
        self.slow.add("late.example")

    def test_nothing_is_locked_or_connected_meanwhile(self) -> None:
        agent = self.agent()
        self.assertEqual(self.deliver(agent, self.mail("good.example", "late.example")), ["  "])
        self.assertEqual((agent.links, agent.lines), ([], [b"#hungry"]))
        self.expect_closed()

    def test_answer_lets_the_order_go_on(self) -> None:
        agent = self.agent()
        mail = self.mail("good.example", "late.example")
        self.deliver(agent, mail)
        agent.advance(PATIENCE - 1)
        self.waiting[0].callback(Answer(Outcome.FOUND, (MailExchanger(10, "mx.example"),), "late.example"))
        agent.settle()
        self.assertEqual(self.tags(mail), "++")

    def test_what_is_not_known_in_time_is_left_to_its_own_turn(self) -> None:
        agent = self.agent()
        mail = self.mail("good.example", "via.example", "late.example")
        self.deliver(agent, mail)
        agent.advance(PATIENCE + 1)
        self.assertEqual(self.tags(mail), "++ ")
        self.assertEqual(agent.lines.count(b"#hungry"), 2)

    def test_orders_behind_wait_and_are_each_answered_once(self) -> None:
        agent = self.agent()
        mails = [
            self.mail("good.example", "late.example"),
            self.mail("good.example"),
            self.mail("other.example"),
        ]
        self.deliver(agent, *mails)
        agent.advance(PATIENCE + 1)
        self.assertEqual([self.tags(mail) for mail in mails], ["+ ", "+", " "])
        self.assertEqual(agent.lines.count(b"#hungry"), 4)
        self.assertEqual(len(agent.reports), 2)

    def test_end_of_orders_waits_for_the_look_ups(self) -> None:
        agent = self.agent()
        mail = self.mail("good.example", "late.example")
        self.deliver(agent, mail)
        agent.agent.end_of_orders()
        agent.settle()
        self.assertEqual(agent.ended, 0)
        agent.advance(PATIENCE + 1)
        self.assertEqual((self.tags(mail), agent.ended), ("+ ", 1))

    def test_stop_does_not(self) -> None:
        agent = self.agent()
        mail = self.mail("good.example", "late.example")
        self.deliver(agent, mail)
        agent.agent.stop()
        agent.settle()
        self.assertEqual((self.tags(mail), agent.ended, agent.links), ("  ", 1, []))
        self.assertEqual(agent.reactor.getDelayedCalls(), [])

    def test_recipient_that_was_taken_meanwhile_is_not_taken_again(self) -> None:
        agent = self.agent()
        mail = self.mail("good.example", "late.example")
        self.deliver(agent, mail)
        with open(mail.control_path, "r+b") as file:
            file.seek(mail.offsets[0] + 1)
            file.write(b"+")
        agent.advance(PATIENCE + 1)
        self.assertEqual(self.recipients(agent), [])

    def test_fault_of_ours_costs_only_the_others(self) -> None:
        agent = self.agent()
        self.exchangers = self.broken  # type: ignore[method-assign]
        assert agent.agent.selector is not None
        agent.agent.selector._exchangers = self.broken
        mail = self.mail("good.example", "via.example")
        self.deliver(agent, mail)
        self.assertEqual(self.tags(mail), "+ ")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def broken(self, domain: str) -> Deferred[Any]:
        """Fail as only a mistake does."""
        raise ZeroDivisionError


class AnotherServer(SelectionTest):
    """The connection that a job finds is not the one that it was selected for."""

    def setUp(self) -> None:
        super().setUp()
        self.mx |= {"good.example": ["mx1.example", "mx2.example"], "via.example": ["mx1.example"]}

    def test_recipients_that_it_does_not_serve_wait_for_their_own_turn(self) -> None:
        agent = self.agent(table("+P"), table("banner 421 busy"), table("+P"))
        first, second = self.mail("good.example"), self.mail("good.example", "via.example")
        self.deliver(agent, first)
        delivery: Any = agent.agent._delivery
        (courier,) = delivery._couriers
        self.assertEqual((courier.hop.name, courier.session.state), ("mx1.example", State.READY))
        with self.breaking(courier):
            self.deliver(agent, second)
        self.assertEqual(self.tags(second), "+ ")
        deferred = next(report for report in agent.reports if report.word == "deferred")
        self.assertIn(b"mx2.example does not serve this host", deferred.text)
        self.assertEqual(self.recipients(agent), [b"r@good.example"] * 2)

    def breaking(self, courier: Any) -> Any:
        """Let the connection be lost when it is to be used."""
        case = self

        class Breaking:
            def __enter__(self) -> None:
                case.patch(courier, "beginTransaction", self.begin)

            def __exit__(self, *_: object) -> None:
                return

            def begin(self, transaction: Any) -> None:
                type(courier).beginTransaction(courier, transaction)
                courier.drop(Trouble(Kind.HUNG_UP, b"gone"))

        return Breaking()

    def test_host_that_has_ceased_to_exist_fails_its_own_recipients_only(self) -> None:
        self.mx["good.example"] = ["mx1.example"]
        agent = self.agent()
        mail = self.mail("good.example", "via.example")
        found = self.find

        def find_once(target: Any, rules: RouteRules) -> Deferred[Any]:
            answer = found(target, rules)
            if target == GOOD:
                self.troubles["good.example"] = Trouble(Kind.NO_SUCH_DOMAIN, b"no such domain")
            return answer

        assert agent.agent.equipment is not None
        assert agent.agent.selector is not None
        agent.agent.selector._equipment = agent.agent.equipment._replace(find=find_once)
        self.assertEqual(self.deliver(agent, mail), ["- "])
        self.assertEqual(sorted(report.word for report in agent.reports), ["deferred", "error2"])


class TheFile(SelectionTest):
    """What is read of a control file."""

    def test_hosts_are_told_once_in_lower_case_and_without_what_is_done(self) -> None:
        done = Addressee(b"r@done", b"done.example", tag=b"+")
        mail = self.spool.add(
            groups=[
                Group([Addressee(b"a@x", b"B.example"), Addressee(b"b@x", b"a.example"), done]),
                Group([Addressee(b"c@x", b"b.EXAMPLE"), Addressee(b"d@x", b"Good.example")]),
            ]
        )
        self.assertEqual(other_hosts(mail.name, b"smtp", b"good.example"), [b"b.example", b"a.example"])
        self.expect_closed()

    def test_file_that_is_of_no_use_has_none(self) -> None:
        self.assertEqual(other_hosts("17", b"smtp", b"good.example"), [])
        os.mkdir("18")
        self.assertEqual(other_hosts("18", b"smtp", b"good.example"), [])
