"""The agent's protocol with the scheduler, row by row (spool format, section H.4)."""

from __future__ import annotations

import os
import re
import signal

from tests.agent.agents import AgentCase, status_of
from zsmtp.testing.dialogue import Script
from zsmtp.testing.scheduler import Job
from zsmtp.testing.server import unused_port
from zsmtp.testing.spool import Addressee, SpooledMail
from zsmtp.testing.table import Table


def slow_at_the_dot(reply: str) -> Script:
    """Return a server that thinks for a while about a message that it has."""
    return Script(
        f"""
        S: 220 slow.example ESMTP
        C: EHLO *
        S: 250 slow.example
        C: MAIL FROM:<*> ...
        S: 250 sender
        C: RCPT TO:<*> ...
        S: 250 recipient
        C: DATA
        S: 354 go on
        C-data:
        -- wait 0.7
        S: {reply}
        -- silence
        """
    )


def order_of_connections(path: str) -> list[str]:
    """Return when connections were opened and left, as the transcript has it."""
    with open(path, "rb") as file:
        found = re.findall(rb"(?m)^\S+\t(?:\(Connecting to |(QUIT)$)", file.read())
    return ["quit" if quitted else "connect" for quitted in found]


class AtTheStart(AgentCase):
    """Before there is any work."""

    def test_88_the_agent_speaks_first(self) -> None:
        agent = self.raw("peer.example")
        self.assertEqual(agent.until_hungry(), [b"#hungry"])
        self.assertEqual(agent.rest(), [])

    def test_88_remarks_may_come_before(self) -> None:
        agent = self.raw("peer.example", environment={"ZCONFIG": "/nonexistent/zmailer.conf"})
        remark, hungry = agent.until_hungry()
        self.assertEqual(hungry, b"#hungry")
        self.assertIn(b"/nonexistent/zmailer.conf cannot be read", remark)


class OneOrder(AgentCase):
    """What a line comes to."""

    def test_89_order_is_carried_out_and_answered_once(self) -> None:
        server = self.server()
        mail = self.spool.add()
        result = self.scheduler(server=server, jobs=[Job(mail.name)]).run()
        self.assertEqual(result.words, {(mail.number, mail.offsets[0]): "ok3"})
        self.assertEqual(result.output.count(b"#hungry\n"), 3)  # start, job, #idle
        self.assertEqual(len(server.messages), 1)
        server.check()

    def test_90_host_of_the_command_line_serves_a_line_without_one(self) -> None:
        server = self.server()
        mail = self.spool.add()
        stand_in = self.scheduler(
            "example.net", server=server, jobs=[Job(mail.name, None)], host=b"example.net"
        )
        self.assertEqual(list(stand_in.run().words.values()), ["ok3"])

    def test_90_to_97_orders_that_come_to_nothing(self) -> None:
        agent = self.raw()
        self.assertEqual(agent.until_hungry(), [b"#hungry"])
        with self.subTest("90: no host is known"):
            agent.send(b"77\n")
            self.assertEqual(agent.until_hungry(), [b"# smtp needs defined host!", b"#hungry"])
        with self.subTest("91: #idle"):
            agent.send(b"#idle\n")
            self.assertEqual(agent.until_hungry(), [b"#hungry"])
            self.assertTrue(agent.is_silent())
        with self.subTest("96: a word of command from the future"):
            agent.send(b"#foo bar\n")
            self.assertEqual(agent.until_hungry(), [b"#hungry"])
        with self.subTest("97: a control file that is not there"):
            agent.send(b"77\tx.org\n")
            warning, *rest = agent.until_hungry()
            self.assertEqual(rest, [b"#resync 77", b"#hungry"])
            self.assertRegex(warning, rb"# zsmtp:\d+: control file 77 cannot be opened: No such file .*; .*")
        with self.subTest("95: a line of 100 kB"):
            agent.send(b"9" * 100_000 + b"\tx.org\n")
            warning, hungry = agent.until_hungry()
            self.assertRegex(warning, rb"# zsmtp:\d+: an order was passed over: .*; look at the scheduler")
            self.assertEqual(hungry, b"#hungry")
        with self.subTest("95: a host of 60 kB"):
            agent.send(b"77\t" + b"x" * 60_000 + b"\n")
            self.assertEqual(agent.until_hungry()[1:], [b"#resync 77", b"#hungry"])
        with self.subTest("a line with a NUL, a line without a name"):
            agent.send(b"7\x007\tx.org\n\tx.org\n")
            self.assertEqual([line == b"#hungry" for line in agent.until_hungry(2)], [False, True] * 2)
        with self.subTest("94: one octet at a time"):
            for octet in b"78\tx.org\n":
                self.assertTrue(agent.is_silent(0.01))
                agent.send(bytes((octet,)))
            self.assertEqual(agent.until_hungry()[1:], [b"#resync 78", b"#hungry"])
        with self.subTest("93: all at once, in order"):
            agent.send(b"78\tx.org\n79\tx.org\n#idle\n80\ty.org\n")
            self.assertEqual(
                [line for line in agent.until_hungry(4) if not line.startswith(b"# ")],
                [b"#resync 78", b"#hungry", b"#resync 79", b"#hungry", b"#hungry", b"#resync 80", b"#hungry"],
            )
        self.assertTrue(agent.is_silent())
        with self.subTest("92: an empty line"):
            agent.send(b"\n#idle\n")
            self.assertEqual(agent.rest(end_input=False), [])
            self.assertEqual(agent.process.returncode, 0)

    def test_95_a_line_without_end_does_not_fill_memory(self) -> None:
        agent = self.raw("x.org")
        agent.until_hungry()
        before = status_of(agent.process.pid, "VmHWM")
        for _ in range(1024):
            agent.send(b"9" * 65536)
        agent.send(b"\n#idle\n")
        self.assertEqual(len(agent.until_hungry(2)), 3)
        self.assertLess(status_of(agent.process.pid, "VmHWM") - before, 8192)
        self.assertEqual(agent.rest(), [])


class Ends(AgentCase):
    """How the scheduler takes leave."""

    def test_92_every_way_to_end_is_understood(self) -> None:
        server = self.server()
        for end, pipes in (("newline", False), ("newline", True), ("eof", True), ("fragment", False)):
            with self.subTest(end=end, pipes=pipes):
                mail = self.spool.add()
                result = self.scheduler(server=server, jobs=[Job(mail.name)], pipes=pipes).run(end)
                self.assertEqual(list(result.words.values()), ["ok3"])
                self.assertEqual(result.comments, [])
        self.assertTrue(server.wait_finished(4))
        for conversation in server.connections:
            self.assertEqual(conversation.commands[-1], b"QUIT")

    def test_92_what_was_ordered_before_the_end_is_done(self) -> None:
        server = self.server()
        mails = [self.spool.add() for _ in range(3)]
        agent = self.raw(server=server)
        agent.send(b"".join(mail.feed(b"example.net") for mail in mails) + b"4/N/99\tx.o")
        lines = agent.rest()
        self.assertEqual(lines.count(b"#hungry"), 4)
        self.assertEqual(len([line for line in lines if b"\tok3 " in line]), 3)
        self.assertEqual(agent.process.returncode, 0)

    def test_streams_may_be_files(self) -> None:
        server = self.server()
        mail = self.spool.add()
        fed = mail.feed() + b"#idle\n99\n"
        agent = self.raw("example.net", server=server, streams="files", fed=fed)
        lines = agent.rest()
        self.assertEqual(agent.process.returncode, 0)
        self.assertIn(b"\tok3 ", lines[1])
        self.assertEqual(lines[2:4] + lines[5:], [b"#hungry", b"#hungry", b"#resync 99", b"#hungry"])

    def test_standard_error_of_its_own_takes_the_comments(self) -> None:
        agent = self.raw("x.org", streams="pipes")
        agent.until_hungry()
        agent.send(b"77\n")
        self.assertEqual(agent.until_hungry(), [b"#resync 77", b"#hungry"])
        agent.rest()
        self.assertRegex(agent.errors, rb"\A# zsmtp:\d+: control file 77 cannot be opened: [^\n]+\n\Z")


class SeveralOrders(AgentCase):
    """Overfeeding, and what several lines have to do with each other."""

    def mails(self, count: int, host: bytes = b"example.net") -> list[SpooledMail]:
        return [self.spool.add(recipients=[Addressee(b"bob@" + host, host)]) for _ in range(count)]

    def test_93_any_overfeeding(self) -> None:
        for overfeed, count, pipes in ((0, 3, False), (2, 7, True), (150, 153, False), (150, 153, True)):
            with self.subTest(overfeed=overfeed, pipes=pipes):
                server = self.server()
                mails = self.mails(count)
                jobs = [Job(mail.name) for mail in mails]
                result = self.scheduler(server=server, jobs=jobs, overfeed=overfeed, pipes=pipes).run()
                self.assertEqual(result.words, {(mail.number, mail.offsets[0]): "ok3" for mail in mails})
                self.assertEqual(result.output.count(b"#hungry\n"), count + 2)
                self.assertEqual((len(server.connections), len(server.messages)), (1, count))
                server.check()

    def test_jobs_that_were_fed_together_are_pipelined(self) -> None:
        server = self.server()
        result = self.scheduler(
            server=server, jobs=[Job(mail.name) for mail in self.mails(6)], overfeed=4
        ).run()
        self.assertEqual(list(result.words.values()), ["ok3"] * 6)
        together = [flight for flight in server.connections[0].flights if b"\r\n.\r\nMAIL " in flight]
        self.assertEqual(len(together), 4)

    def test_98_connection_is_closed_before_another_host_is_served(self) -> None:
        first, second = self.server(), self.server()
        # the hosts are literals, so that each leads to a server of its own
        hosts = [f"[127.0.0.1]:{server.port}".encode() for server in (first, second)]
        mails = [self.spool.add(recipients=[Addressee(b"bob@x.org", host)]) for host in hosts]
        jobs = [Job(mail.name, host) for mail, host in zip(mails, hosts, strict=True)]
        log = os.path.join(self.spool.postoffice, "transcript")
        result = self.scheduler("-x", "-X", "-l", log, jobs=jobs).run()
        self.assertEqual(list(result.words.values()), ["ok3"] * 2)
        self.assertTrue(first.wait_finished())
        self.assertEqual(first.connections[0].commands[-1], b"QUIT")
        self.assertEqual(order_of_connections(log), ["connect", "quit", "connect", "quit"])

    def test_98_hosts_in_turn_are_served_in_order(self) -> None:
        server = self.server()
        hosts = [b"a.example", b"b.example", b"a.example", b"B.example"]
        mails = [self.mails(1, host.lower())[0] for host in hosts]
        agent = self.raw(server=server)
        agent.until_hungry()
        agent.send(b"".join(mail.feed(host) for mail, host in zip(mails, hosts, strict=True)))
        lines = agent.until_hungry(4)
        self.assertEqual(
            [int(line.partition(b"/")[0]) for line in lines if line != b"#hungry"],
            [mail.number for mail in mails],
        )
        self.assertEqual(agent.rest(), [])
        self.assertTrue(server.wait_finished(4))

    def test_98_hosts_in_turn_that_come_to_nothing(self) -> None:
        agent = self.raw()
        agent.until_hungry()
        agent.send(b"1\ta.example\n2\tb.example\n3\ta.example\n#idle\n")
        lines = [line for line in agent.until_hungry(4) if not line.startswith(b"# ")]
        self.assertEqual(lines[::2], [b"#resync 1", b"#resync 2", b"#resync 3", b"#hungry"])

    def test_91_idle_is_answered_in_its_turn(self) -> None:
        server = self.server(Table({"rcpt": ["250 ok", "hang"]}))
        mails = self.mails(2)
        agent = self.raw(server=server)
        agent.until_hungry()
        agent.send(mails[0].feed(b"example.net") + b"#idle\n" + mails[1].feed(b"example.net") + b"#idle\n")
        report, *rest = agent.until_hungry(2)
        self.assertIn(b"\tok3 ", report)
        self.assertEqual(rest, [b"#hungry", b"#hungry"])
        self.assertTrue(agent.is_silent())
        agent.process.send_signal(signal.SIGTERM)
        self.assertEqual(len(agent.rest(end_input=False)), 2)

    def test_104_hopeless_host_is_told_for_a_whole_batch_at_once(self) -> None:
        mails = self.mails(152)
        stand_in = self.scheduler(
            "-F",
            f"[127.0.0.1]:{unused_port()}",
            jobs=[Job(mail.name) for mail in mails],
            overfeed=150,
            heeds_retryat=False,
        )
        result = stand_in.run()
        self.assertEqual(result.words, {(mail.number, mail.offsets[0]): "deferall" for mail in mails})
        self.assertEqual(result.output.count(b"#hungry\n"), 154)
        self.assertLess(result.events[-1].at - result.events[1].at, 15)


class Trouble(AgentCase):
    """Schedulers that are slow, dead or in a hurry, and servers that talk too much."""

    def test_100_marks_are_set_when_nobody_reads_reports(self) -> None:
        for pipes in (False, True):
            with self.subTest(pipes=pipes):
                self.abandon(pipes=pipes)

    def abandon(self, *, pipes: bool) -> None:
        server = self.server()
        mails = [self.spool.add() for _ in range(4)]
        jobs = [Job(mail.name) for mail in mails]
        stand_in = self.scheduler(server=server, jobs=jobs, overfeed=3, pipes=pipes)
        stand_in.start()
        stand_in.pump(lambda: len(stand_in.feeding.fed) == 4 and not stand_in._unwritten)
        result = stand_in.finish("close")
        self.assertEqual((result.exit_status, result.left_locked), (0, []))
        delivered = len(server.messages)
        tags = [mail.tags()[mail.offsets[0]] for mail in mails]
        self.assertEqual((tags.count(b"+"), tags.count(b" ")), (delivered, 4 - delivered))

    def test_101_a_signal_after_the_dot_waits_for_the_reply(self) -> None:
        server = self.server(slow_at_the_dot("250 2.0.0 taken"))
        mail = self.spool.add()
        stand_in = self.scheduler(server=server, jobs=[Job(mail.name)])
        stand_in.start()
        stand_in.pump(lambda: bool(server.messages))
        stand_in.signal(signal.SIGTERM)
        result = stand_in.finish("wait")
        self.assertEqual((list(result.words.values()), result.exit_status), (["ok3"], 0))
        self.assertEqual(mail.tags()[mail.offsets[0]], b"+")

    def test_102_a_scheduler_that_does_not_read_loses_nothing(self) -> None:
        for pipes in (False, True):
            with self.subTest(pipes=pipes):
                self.keep_waiting(pipes=pipes)

    def keep_waiting(self, *, pipes: bool) -> None:
        server = self.server()
        users = [b"user%02d@example.net" % number for number in range(50)]
        mails = [self.spool.add(recipients=users) for _ in range(51)]
        jobs = [Job(mail.name) for mail in mails]
        stand_in = self.scheduler(server=server, jobs=jobs, overfeed=49, pipes=pipes)
        stand_in.start()
        stand_in.pump(lambda: len(stand_in.feeding.fed) == 51)
        stand_in.reads = False
        stand_in.pump(lambda: not stand_in._unwritten)
        # the agent delivers all that it was fed although its reports are stuck
        self.eventually(lambda: len(server.messages) == 51, "the delivery")
        stand_in.reads = True
        stand_in.pump(lambda: stand_in.feeding.is_idle)
        result = stand_in.finish()
        self.assertEqual((result.exit_status, len(result.reports)), (0, 51 * 50))
        self.assertEqual(set(result.words.values()), {"ok3"})

    def test_103_the_agent_starts_no_other_process(self) -> None:
        server = self.server(Table({"rcpt": "hang"}))
        mail = self.spool.add()
        stand_in = self.scheduler(server=server, jobs=[Job(mail.name)])
        stand_in.start()
        stand_in.pump(lambda: bool(server.connections) and b"RCPT" in server.connections[0].client)
        with open(f"/proc/{stand_in.pid}/task/{stand_in.pid}/children", encoding="ascii") as children:
            self.assertEqual(children.read(), "")
        self.assertEqual(len(os.listdir(f"/proc/{stand_in.pid}/task")), 1)
        stand_in.signal(signal.SIGTERM)
        self.assertEqual(stand_in.finish("wait").exit_status, 0)

    def test_105_a_reply_without_measure_becomes_one_report(self) -> None:
        replies: dict[str, bytes] = {
            "70 kB in many lines": (b"550-" + b"x" * 700 + b"\r\n") * 98 + b"550 end\r\n",
            "one line of 70 kB": b"550 " + b"y" * 70_000 + b"\r\n",
            "controls and 8 bit": b"550-5.1.1 a\tb\x01c\x00d\x1b[2J\xff\xe4\r\n550 5.1.1 (e)\rf\r\n",
        }
        server = self.server(Table({"rcpt": list(replies.values())}))
        mails = [self.spool.add() for _ in replies]
        result = self.scheduler(server=server, jobs=[Job(mail.name) for mail in mails]).run()
        for name, mail, report in zip(replies, mails, result.reports, strict=True):
            with self.subTest(name):  # the stand-in has checked form and length
                self.assertEqual(report.number, mail.number)
                self.assertIn(report.word, ("error2", "deferred"))
                self.assertEqual(mail.problems(), [])
