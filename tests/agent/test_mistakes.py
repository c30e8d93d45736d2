"""Mistakes that hurt a scheduler (spool format, section E.11): the agent makes none of them.

Most rows are read off one eventful run.  Row 21 needs an agent that is killed: see tests/real/test_crash.py.
"""

from __future__ import annotations

import os
import re
import signal
from functools import cache
from typing import NamedTuple

from tests.agent.agents import DEADLINE, AgentCase, command, measured
from tests.agent.virtual import VirtualAgent
from zsmtp.testing import marks
from zsmtp.testing.report import Report
from zsmtp.testing.scheduler import Job, Result, SchedulerStandIn
from zsmtp.testing.server import ScriptedServer
from zsmtp.testing.spool import Addressee, Group, SpooledMail, SpoolMaker
from zsmtp.testing.table import Table

HOSTILE = b"550-5.1.1 a\tb\x01c\x00d\x1b[31m\xff\r\n550 5.1.1 (no)\x0bsuch\x7f user\r\n"
FULLEST = 9_999_999_999
"""a file number that does not fit into 32 bits"""


class Run(NamedTuple):
    """What happened, and to which mail.  The spool goes when this does."""

    spool: SpoolMaker
    result: Result
    mails: dict[str, SpooledMail]
    inodes: dict[str, int]
    delivered: list[bytes]
    pid: int

    def reports(self, *names: str) -> list[Report]:
        """Return the reports on these mails."""
        numbers = [self.mails[name].number for name in names]
        return [report for report in self.result.reports if report.number in numbers]

    @property
    def diagnostics(self) -> list[marks.DiagnosticLine]:
        """Return the `d` lines of all files."""
        return [line for mail in self.mails.values() for line in mail.diagnostics()]


@cache
def eventful() -> Run:
    """Run one agent through everything that can become of a recipient."""
    spool = SpoolMaker(hash_levels=2)
    success = b"NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;carol@example.net"
    mails = {
        "plain": spool.add(number=FULLEST),
        "confirmed": spool.add(recipients=[Addressee(b"carol@example.net", notary=success)]),
        "refused": spool.add(recipients=[b"nobody@example.net"]),
        "cut": spool.add(recipients=[b'a"b@example.net', b"al@example.net"]),
        "greylisted": spool.add(recipients=[b"later@example.net"]),
        "turned away": spool.add(recipients=[b"dan@example.net"]),
        "two groups": spool.add(
            groups=[
                Group([b"eve@example.net", b"fay@example.net"]),
                Group([b"gus@example.net"], b"zoe@x.org"),
            ]
        ),
        "without message": spool.add(recipients=[b"hal@example.net"]),
        "with a folder for a message": spool.add(recipients=[b"ida@example.net"]),
        "for others": spool.add(recipients=[Addressee(b"joe@example.net", channel=b"local")]),
    }
    os.unlink(mails["without message"].message_path)
    os.unlink(mails["with a folder for a message"].message_path)
    os.mkdir(mails["with a folder for a message"].message_path)
    inodes = {name: os.stat(mail.control_path).st_ino for name, mail in mails.items()}
    # in the order of the mails; "without message" and those after it never get this far
    answers = ["250 ok", "250 ok", HOSTILE, "250 ok", "451 4.7.1 later", "250 ok"]
    first = Table({"rcpt": answers}, announce=["PIPELINING"])  # type: ignore[dict-item]
    jobs = [Job(mail.name) for mail in mails.values()] + [Job("N/O/4711")]
    with ScriptedServer(first, Table({"banner": "421 4.3.2 not now+X"}), Table()) as server:
        stand_in = SchedulerStandIn(
            command("-F", f"[127.0.0.1]:{server.port}"),
            spool.postoffice,
            jobs=jobs,
            overfeed=0,
            heeds_retryat=False,
            deadline=DEADLINE,
            environment=measured(),
        )
        try:
            result = stand_in.run(settle=0.3)
        finally:
            stand_in.stop()
        delivered = [each for one in server.connections for mail in one.messages for each in mail.recipients]
    return Run(spool, result, mails, inodes, delivered, stand_in.pid)


class Mistakes(AgentCase):
    """Row by row."""

    def test_the_run_was_eventful(self) -> None:
        words = {name: [report.word for report in eventful().reports(name)] for name in eventful().mails}
        self.assertEqual(
            words,
            {
                "plain": ["ok3"],
                "confirmed": ["ok2"],
                "refused": ["error2"],
                "cut": ["error2", "ok3"],
                "greylisted": ["deferred"],
                "turned away": ["retryat"],
                "two groups": ["ok3"] * 3,
                "without message": ["error2"],
                "with a folder for a message": ["deferred"],
                "for others": [],
            },
        )

    def test_01_hungry_is_said_at_the_start(self) -> None:
        lines = [event for event in eventful().result.events if event.way in "<>"]
        self.assertEqual((lines[0].way, lines[0].octets), ("<", b"#hungry"))

    def test_02_idle_is_answered(self) -> None:
        lines = [event.octets for event in eventful().result.events if event.way in "<>"]
        self.assertEqual(lines[lines.index(b"#idle") + 1], b"#hungry")

    def test_03_nothing_follows_idle_and_its_answer(self) -> None:
        lines = [event.octets for event in eventful().result.events if event.way in "<>"]
        self.assertEqual(lines[lines.index(b"#idle") :], [b"#idle", b"#hungry", b""])

    def test_04_05_one_hungry_for_each_line_and_one_for_the_start(self) -> None:
        # the stand-in has checked, besides, that each comes after the reports of its line
        result = eventful().result
        self.assertEqual(result.output.count(b"#hungry\n"), 1 + len(result.fed) + 1)

    def test_06_no_recipient_stays_locked_or_untold(self) -> None:
        result = eventful().result
        self.assertEqual((result.left_locked, result.unanswered), ([], []))
        self.assertNotIn(b"~", {tag for mail in eventful().mails.values() for tag in mail.tags().values()})

    def test_07_08_tags_and_reports_agree(self) -> None:
        run = eventful()
        final = {"ok3": b"+", "ok2": b"+", "error2": b"-", "deferred": b" ", "retryat": b" "}
        for name, mail in run.mails.items():
            with self.subTest(name):
                told = {report.offset: final[report.word] for report in run.reports(name)}
                self.assertEqual(mail.tags(), dict.fromkeys(mail.offsets, b" ") | told)

    def test_09_success_is_delivery(self) -> None:
        run = eventful()
        users = {line.user for mail in run.mails.values() for line in mail.recipients() if line.tag == b"+"}
        self.assertEqual(users, set(run.delivered))
        self.assertEqual(len(run.delivered), 6)

    def test_10_failures_have_a_diagnostic_line(self) -> None:
        run = eventful()
        failed = [report.offset for report in run.result.reports if report.word in ("error2", "ok2")]
        self.assertEqual(sorted(line.recipient for line in run.diagnostics), sorted(failed))

    def test_11_12_diagnostic_lines_have_six_sub_fields(self) -> None:
        for line in eventful().diagnostics:
            with self.subTest(line.recipient):
                address, action, status, diagnostic, _, agent = line.notary
                self.assertRegex(address, rb".+@example\.net")
                self.assertIn((action, status[:1]), [(b"failed", b"5"), (b"relayed", b"2")])
                self.assertRegex(diagnostic, rb"(smtp|local); \d{3} ")
                self.assertEqual(agent, b"smtp[%d]" % eventful().pid)

    def test_13_deferrals_speak_of_failure(self) -> None:
        deferrals = [report for report in eventful().result.reports if report.is_deferral]
        self.assertEqual(len(deferrals), 3)
        for report in deferrals:
            self.assertEqual(
                (len(report.notary), report.notary[1], report.notary[2][:1]), (6, b"failed", b"4")
            )

    def test_14_nothing_breaks_out_of_its_field(self) -> None:
        (report,) = eventful().reports("refused")
        (line,) = eventful().mails["refused"].diagnostics()
        self.assertIn(b"a b c?d?[31m\xff", report.text)
        self.assertIn(b"[no]?such? user", line.notary[3])
        self.assertEqual(re.findall(rb"[\x00-\x08\x0a-\x0c\x0e-\x1f]", report.text + line.text), [])

    def test_15_reports_name_the_file_and_the_offset(self) -> None:
        (report,) = eventful().reports("plain")
        self.assertEqual((report.number, report.offset), (FULLEST, eventful().mails["plain"].offsets[0]))

    def test_16_retryat_has_its_number(self) -> None:
        (report,) = eventful().reports("turned away")
        self.assertEqual(report.seconds, 60)

    def test_17_every_line_is_whole(self) -> None:
        for event in eventful().result.events:
            if event.way == "<":
                self.assertRegex(event.octets, rb"\A(#|\d+/\d+\t)")

    def test_18_resync_is_said_of_files_that_hold_nothing_for_us(self) -> None:
        run = eventful()
        self.assertEqual(run.result.resyncs, [run.mails["for others"].name.encode(), b"N/O/4711"])

    def test_19_control_files_are_only_marked_and_appended_to(self) -> None:
        for name, mail in eventful().mails.items():
            with self.subTest(name):
                self.assertEqual(mail.problems(), [])
                self.assertEqual(os.stat(mail.control_path).st_ino, eventful().inodes[name])

    def test_20_22_locks_name_the_process_and_end_with_its_work(self) -> None:
        server = self.server(Table({"rcpt": "hang"}))
        first, second = (self.spool.add(recipients=[b"bob@example.net", b"al@example.net"]) for _ in range(2))
        agent = self.raw(server=server)
        agent.send(first.feed(b"example.net") + second.feed(b"other.example"))
        self.eventually(lambda: bool(server.connections) and b"RCPT" in server.connections[0].client)
        for line in first.recipients():
            self.assertEqual((line.tag, line.owner), (b"~", b"%6d" % agent.process.pid))
        agent.process.send_signal(signal.SIGTERM)
        lines = agent.rest(end_input=False)
        self.assertEqual([b"\tdeferred " in line for line in lines], [False, True, True, False])
        self.assertEqual((first.now(), second.now()), (first.control, second.control))

    def test_22_agent_that_is_killed_leaves_what_it_did_not_begin(self) -> None:
        server = self.server(Table({"rcpt": "hang"}))
        mails = [self.spool.add() for _ in range(3)]
        agent = self.raw(server=server)
        agent.send(b"".join(mail.feed(b"example.net") for mail in mails))
        self.eventually(lambda: bool(server.connections) and b"RCPT" in server.connections[0].client)
        agent.close()
        self.assertEqual(mails[0].tags()[mails[0].offsets[0]], b"~")
        self.assertEqual(mails[2].now(), mails[2].control)

    def test_23_no_server_keeps_the_agent_for_ever(self) -> None:
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.spool.transport)
        for stages in ("banner", "ehlo helo", "mail", "rcpt", "data", "dot"):
            with self.subTest(stages):
                agent = VirtualAgent(Table(dict.fromkeys(stages.split(), "hang")))
                agent.feed(self.spool.add().feed(b"example.net"))
                agent.advance(1300, step=20)
                self.assertEqual([report.is_deferral for report in agent.reports], [True])
                self.assertEqual(agent.lines[-1], b"#hungry")
