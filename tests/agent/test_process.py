"""The life of an agent, row by row (agent specification, section 9.2): feed, connections, signals."""

from __future__ import annotations

import os
import signal

from tests.agent.agents import AgentCase, status_of
from tests.agent.test_protocol import order_of_connections, slow_at_the_dot
from tests.agent.virtual import VirtualAgent
from zsmtp.testing.scheduler import Job, Result
from zsmtp.testing.server import ScriptedServer
from zsmtp.testing.spool import Addressee, SpooledMail
from zsmtp.testing.table import Table

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


class Feeding(AgentCase):
    """What single lines do."""

    def test_p01_to_p04_what_ends_an_agent_without_work(self) -> None:
        for row, fed, hungry in (
            ("P01: nothing", b"", 1),
            ("P02: an empty line, and what follows it", b"\n#idle\n", 1),
            ("P03: #idle", b"#idle\n", 2),
            ("P04: a line without end", b"x/y", 1),
        ):
            with self.subTest(row):
                agent = self.raw(streams="files", fed=fed)
                self.assertEqual(agent.rest(), [b"#hungry"] * hungry)
                self.assertEqual(agent.process.returncode, 0)

    def test_p05_p06_p08_p09_host_of_an_earlier_line(self) -> None:
        server = self.server()
        mails = [self.spool.add() for _ in range(3)]
        agent = self.raw(server=server)
        agent.until_hungry()
        with self.subTest("P05: no host at all"):
            agent.send(mails[0].feed())
            self.assertEqual(agent.until_hungry(), [b"# smtp needs defined host!", b"#hungry"])
        with self.subTest("P06: a line without one after a line with one"):
            agent.send(mails[0].feed(b"example.net") + mails[1].feed())
            lines = agent.until_hungry(2)
            self.assertEqual([b"\tok3 " in line for line in lines], [True, False] * 2)
        with self.subTest("P08: a file that is not there"):
            agent.send(b"9\texample.net\n")
            self.assertEqual(agent.until_hungry()[1:], [b"#resync 9", b"#hungry"])
        with self.subTest("P09: an empty host, which is not remembered"):
            agent.send(mails[2].feed(b"") + mails[2].feed())
            resync, hungry, report, _ = agent.until_hungry(2)
            self.assertEqual((resync, hungry), (b"#resync " + mails[2].name.encode(), b"#hungry"))
            self.assertIn(b"\tok3 ", report)
        self.assertEqual(agent.rest(), [])

    def test_p24_line_of_a_mebibyte(self) -> None:
        agent = self.raw("x.org")
        agent.until_hungry()
        before = status_of(agent.process.pid, "VmHWM")
        agent.send(b"9" * (1 << 20) + b"\n")
        self.assertEqual(len(agent.until_hungry()), 2)
        self.assertLess(status_of(agent.process.pid, "VmHWM") - before, 2048)


class Connections(AgentCase):
    """How long a connection is kept."""

    def deliver(self, server: ScriptedServer, hosts: list[bytes], *words: str) -> Result:
        """Put a mail for each of the hosts into the spool and deliver them in one batch."""
        mails = [self.spool.add(recipients=[Addressee(b"bob@x.org", host.lower())]) for host in hosts]
        jobs = [Job(mail.name, host) for mail, host in zip(mails, hosts, strict=True)]
        result = self.scheduler(*words, server=server, jobs=jobs, overfeed=9).run("eof")
        self.assertTrue(server.wait(lambda server: all(each.is_finished for each in server.connections)))
        server.check()
        return result

    def test_p07_p10_two_jobs_share_a_connection(self) -> None:
        server = self.server()
        result = self.deliver(server, [b"h.example"] * 2, "h.example")
        self.assertEqual(list(result.words.values()), ["ok3"] * 2)
        self.assertEqual(result.output.count(b"#hungry\n"), 4)
        (connection,) = server.connections
        verbs = [line.split(b" ")[0].upper() for line in connection.commands]
        self.assertEqual((verbs.count(b"EHLO"), verbs.count(b"RSET"), verbs[-1]), (1, 0, b"QUIT"))

    def test_p11_one_message_for_each_connection(self) -> None:
        server = self.server()
        self.deliver(server, [b"h.example"] * 3, "-1")
        self.assertEqual([len(each.messages) for each in server.connections], [1, 1, 1])
        for each in server.connections:
            self.assertEqual(each.commands[-1], b"QUIT")

    def test_p12_another_host_gets_a_connection_of_its_own(self) -> None:
        log = os.path.join(self.spool.postoffice, "transcript")
        self.deliver(self.server(), [b"h.example", b"k.example"], "-l", log)
        self.assertEqual(order_of_connections(log), ["connect", "quit", "connect", "quit"])

    def test_p13_case_of_the_host_makes_no_difference(self) -> None:
        server = self.server()
        stand_in = self.scheduler(server=server)
        stand_in.start()
        for host in (b"h.example", b"H.EXAMPLE", b"H.example"):
            mail = self.spool.add(recipients=[Addressee(b"bob@x.org", b"h.example")])
            stand_in.add(Job(mail.name, host))
            stand_in.pump(lambda: stand_in.feeding.is_idle)
        self.assertEqual(list(stand_in.finish().words.values()), ["ok3"] * 3)
        self.assertEqual(len(server.connections), 1)

    def test_p18_server_that_left_while_idle_costs_nobody_anything(self) -> None:
        server = self.server(Table({"dot": ["250 ok+X"]}))
        stand_in = self.scheduler(server=server)
        stand_in.start()
        for number in range(1, 4):
            mail = self.spool.add()
            stand_in.add(Job(mail.name))
            stand_in.pump(lambda: stand_in.feeding.is_idle)
            self.assertEqual(mail.tags()[mail.offsets[0]], b"+")
            self.assertTrue(server.wait_finished(number))
        self.assertEqual(list(stand_in.finish().words.values()), ["ok3"] * 3)

    def test_p23_temporary_refusal_of_a_recipient_ends_the_connection(self) -> None:
        server = self.server(Table({"rcpt": ["451 4.2.0 later", "250 ok"]}, announce=[]))
        first = self.spool.add(recipients=[b"bob@example.net", b"carol@example.net"])
        second = self.spool.add()
        jobs = [Job(first.name), Job(second.name)]
        result = self.scheduler(server=server, jobs=jobs, heeds_retryat=False).run()
        self.assertEqual([report.word for report in result.reports], ["deferred", "ok3", "ok3"])
        self.assertEqual([len(each.messages) for each in server.connections], [1, 1])
        self.assertEqual(server.connections[0].commands[-1], b"QUIT")


class Signals(AgentCase):
    """TERM, INT, QUIT and HUP mean the same: end soon, and leave everything in order."""

    def setUp(self) -> None:
        super().setUp()
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
            # a shell that starts tests in the background has these ignored, and agents would do so too
            if signal.getsignal(number) is signal.SIG_IGN:
                self.addCleanup(signal.signal, number, signal.signal(number, signal.SIG_DFL))

    def test_p21_idle_agent_ends_at_once(self) -> None:
        agents = [self.raw() for _ in SIGNALS]
        for agent, number in zip(agents, SIGNALS, strict=True):
            with self.subTest(number.name):
                agent.until_hungry()
                agent.process.send_signal(number)
                self.assertEqual(agent.rest(end_input=False), [])
                self.assertEqual(agent.process.returncode, 0)

    def test_p21_signal_during_the_start_is_obeyed_in_order(self) -> None:
        agent = self.raw()
        # the handlers are there long before the first line
        self.eventually(lambda: _catches(agent.process.pid, signal.SIGQUIT), "the start")
        agent.process.send_signal(signal.SIGQUIT)
        self.assertIn(agent.rest(end_input=False), ([], [b"#hungry"]))
        self.assertEqual(agent.process.returncode, 0)

    def test_p22_what_the_parent_ignores_stays_ignored(self) -> None:
        agent = self.raw(ignored=(signal.SIGINT, signal.SIGHUP))
        agent.until_hungry()
        agent.process.send_signal(signal.SIGINT)
        agent.process.send_signal(signal.SIGHUP)
        agent.send(b"#idle\n")
        self.assertEqual(agent.until_hungry(), [b"#hungry"])
        agent.process.send_signal(signal.SIGTERM)
        self.assertEqual(agent.rest(end_input=False), [])

    def test_p19_while_recipients_are_being_asked(self) -> None:
        server = self.server(Table({"rcpt": "hang"}))
        mail = self.spool.add(recipients=[b"bob@example.net", b"al@example.net"])
        stand_in = self.scheduler(server=server, jobs=[Job(mail.name)])
        stand_in.start()
        stand_in.pump(lambda: bool(server.connections) and b"RCPT" in server.connections[0].client)
        stand_in.signal(signal.SIGTERM)
        result = stand_in.finish("wait")
        self.assertEqual(list(result.words.values()), ["deferred"] * 2)
        told = {report.notary[:2] for report in result.reports}
        self.assertEqual(told, {(b"bob@example.net", b"failed"), (b"al@example.net", b"failed")})
        self.assertEqual((result.exit_status, result.left_locked), (0, []))
        self.assertEqual(set(mail.tags().values()), {b" "})

    def test_what_was_not_begun_is_left_alone(self) -> None:
        server = self.server(Table({"rcpt": ["250 ok", "hang"]}))
        mails = [self.spool.add() for _ in range(5)]
        stand_in = self.scheduler(server=server, jobs=[Job(mail.name) for mail in mails], overfeed=3)
        stand_in.start()
        stand_in.pump(lambda: bool(server.connections) and server.connections[0].client.count(b"RCPT") == 2)
        stand_in.signal(signal.SIGQUIT)
        result = stand_in.finish("wait")
        self.assertEqual((result.exit_status, result.left_locked), (0, []))
        self.assertEqual([mail.tags()[mail.offsets[0]] for mail in mails], [b"+"] + [b" "] * 4)
        self.assertEqual(len(mails) - len(result.unanswered), len(result.reports))
        self.assertEqual([mail.now() for mail in mails[3:]], [mail.control for mail in mails[3:]])

    def test_p20_while_the_reply_to_a_message_is_awaited(self) -> None:
        server = self.server(slow_at_the_dot("250 2.0.0 taken"))
        mail = self.spool.add()
        stand_in = self.scheduler(server=server, jobs=[Job(mail.name)])
        stand_in.start()
        stand_in.pump(lambda: bool(server.messages))
        stand_in.signal(signal.SIGHUP)
        stand_in.signal(signal.SIGTERM)
        result = stand_in.finish("wait")
        self.assertEqual((list(result.words.values()), result.exit_status), (["ok3"], 0))
        self.assertEqual(mail.tags()[mail.offsets[0]], b"+")

    def test_while_a_connection_is_being_opened(self) -> None:
        server = self.server(Table({"banner": "hang"}))
        mail = self.spool.add()
        stand_in = self.scheduler(server=server, jobs=[Job(mail.name)])
        stand_in.start()
        stand_in.pump(lambda: bool(server.connections))
        stand_in.signal(signal.SIGINT)
        result = stand_in.finish("wait")
        # nothing was locked, so nothing need be told
        self.assertIn(list(result.words.values()), ([], ["deferred"]))
        self.assertEqual((result.exit_status, result.left_locked), (0, []))
        self.assertEqual(set(mail.tags().values()), {b" "})


def _catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        caught = next(line.split()[1] for line in file if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (number - 1) & 1)


class InTheCourseOfTime(AgentCase):
    """What takes minutes, with a clock of the test's own."""

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.spool.transport)

    def feed(self, agent: VirtualAgent, host: bytes = b"example.net") -> SpooledMail:
        """Give the agent a mail to deliver."""
        mail = self.spool.add()
        agent.feed(mail.feed(host))
        return mail

    def test_p14_after_a_pause_rset_comes_first(self) -> None:
        agent = VirtualAgent(Table())
        self.feed(agent)
        agent.advance(19)
        self.feed(agent)
        self.assertNotIn(b"RSET", agent.links[0].conversation.commands)
        agent.advance(22)
        self.feed(agent)
        self.assertEqual([report.word for report in agent.reports], ["ok3"] * 3)
        (link,) = agent.links
        self.assertIn(b"RSET\r\nMAIL ", link.conversation.client)
        self.assertEqual(link.conversation.commands.count(b"RSET"), 1)

    def test_p15_server_that_leaves_at_rset_is_met_anew(self) -> None:
        agent = VirtualAgent(Table({"rset": None}), Table())
        self.feed(agent)
        agent.advance(22)
        mail = self.feed(agent)
        self.assertEqual([report.word for report in agent.reports], ["ok3"] * 2)
        self.assertEqual(mail.tags()[mail.offsets[0]], b"+")
        self.assertEqual(len(agent.links), 2)
        self.assertTrue(agent.links[1].conversation.client.startswith(b"EHLO "))

    def test_p16_noop_keeps_an_idle_connection(self) -> None:
        agent = VirtualAgent(Table())
        self.feed(agent)
        agent.advance(170)
        self.assertNotIn(b"NOOP", agent.links[0].conversation.commands)
        agent.advance(15)
        self.assertEqual(agent.links[0].conversation.commands.count(b"NOOP"), 1)
        self.assertEqual(agent.lines[-1], b"#hungry")

    def test_p16_connection_is_given_back_in_the_end(self) -> None:
        agent = VirtualAgent(Table())
        self.feed(agent)
        agent.advance(400, step=5)
        self.assertEqual(agent.links[0].conversation.commands[-1], b"QUIT")
        self.feed(agent)
        self.assertEqual(([report.word for report in agent.reports], len(agent.links)), (["ok3"] * 2, 2))

    def test_p17_server_that_leaves_at_noop_is_met_anew(self) -> None:
        agent = VirtualAgent(Table({"noop": "421 4.4.2 too long+X"}), Table())
        self.feed(agent)
        agent.advance(185)
        self.assertTrue(agent.links[0].transport.disconnected)
        self.feed(agent)
        self.assertEqual(([report.word for report in agent.reports], len(agent.links)), (["ok3"] * 2, 2))

    def test_p20_wait_for_the_reply_to_a_message_has_an_end(self) -> None:
        agent = VirtualAgent(Table({"dot": "hang"}))
        mail = self.feed(agent)
        agent.agent.stop()
        agent.advance(1190, step=10)
        self.assertEqual((agent.reports, agent.ended), ([], 0))
        agent.advance(20)
        self.assertEqual(([report.word for report in agent.reports], agent.ended), (["deferback"], 1))
        self.assertEqual(mail.tags()[mail.offsets[0]], b" ")

    def test_server_that_does_not_answer_quit_holds_nobody_up(self) -> None:
        agent = VirtualAgent(Table({"quit": "hang"}))
        self.feed(agent)
        agent.feed(b"\n")
        agent.advance(12)
        self.assertEqual((agent.ended, agent.agent.exit_status), (1, 0))

    def test_hanging_server_holds_a_batch_up_once(self) -> None:
        agent = VirtualAgent(Table({"banner": "hang"}))
        mails = [self.spool.add() for _ in range(5)]
        agent.feed(b"".join(mail.feed(b"example.net") for mail in mails))
        agent.advance(310, step=10)
        self.assertEqual(len(agent.reports), 5)
        self.assertTrue(all(report.is_deferral for report in agent.reports))
        self.assertEqual(agent.lines.count(b"#hungry"), 6)

    def test_orders_that_wait_are_bounded(self) -> None:
        agent = VirtualAgent(Table({"rcpt": "hang"}))
        self.feed(agent)
        agent.feed(b"7\tother.example\n" * 5000)
        self.assertTrue(agent.held[-1])
        agent.advance(310, step=10)
        self.assertFalse(agent.held[-1])
        self.assertEqual(agent.lines.count(b"#hungry"), 5002)
