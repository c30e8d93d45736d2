"""Errors of our own: the protocol stays whole, nobody is forgotten, and the scheduler does not wait for ever.

The agents here are real ones, made to fail by a few lines that run before them.
"""

from __future__ import annotations

import os
import sys

from tests.agent.agents import AgentCase
from zsmtp.testing.scheduler import Job, Result
from zsmtp.testing.server import ScriptedServer
from zsmtp.testing.spool import SpooledMail
from zsmtp.testing.table import Table

_TAMPER = """
import sys

def spoil(owner, name, when=lambda *a, **k: True, then=None, times=10**9):
    original, left = getattr(owner, name), [times]
    def spoiled(*arguments, **options):
        if left[0] and when(*arguments, **options):
            left[0] -= 1
            if then is None:
                raise RuntimeError("spoiled\\n" + name)
            then()
        return original(*arguments, **options)
    setattr(owner, name, spoiled)
"""


def spoiled(text: str) -> list[str]:
    """Return the command of an agent in which `text` has been executed before it starts."""
    main = "from zsmtp.__main__ import main\nsys.exit(main(sys.argv[1:]))"
    return [sys.executable, "-c", f"{_TAMPER}\n{text}\n{main}", "-h", "client.example"]


def is_lost(mail: SpooledMail) -> bool:
    """Whether an error of ours keeps us from telling anything about this mail."""
    return mail.recipients()[0].user.partition(b"@")[0] in (b"open", b"line")


class Faults(AgentCase):
    """An exception somewhere, and what comes of it (spool format H.4, row 99)."""

    def mails(self, *names: bytes) -> list[SpooledMail]:
        """Put a mail for each of the local parts into the spool."""
        return [self.spool.add(recipients=[name + b"@example.net"]) for name in names]

    def deliver(
        self, text: str, mails: list[SpooledMail], server: ScriptedServer, *, status: int = 0
    ) -> Result:
        """Deliver with a spoiled agent, and check what must be so in any case."""
        stand_in = self.scheduler(
            server=server,
            program=spoiled(text),
            jobs=[Job(mail.name, is_checked=not is_lost(mail)) for mail in mails],
            overfeed=9,
            heeds_retryat=False,
        )
        stand_in.start()
        if status:
            stand_in.watch(0)
            while stand_in._output is not None:
                stand_in._once(0.05)
            result = stand_in.finish("wait")
        else:
            stand_in.pump(lambda: stand_in.feeding.is_idle)
            result = stand_in.finish()
        # the stand-in has read every line, so that nothing but comments, reports and words of command came
        self.assertEqual((result.exit_status, result.left_locked), (status, []))
        told = {report.number for report in result.reports} | {int(path) for path in result.resyncs}
        touched = {mail.number for mail in mails if mail.now() != mail.control and not is_lost(mail)}
        self.assertLessEqual(touched, told)
        for mail in mails:
            self.assertEqual(mail.problems(), [])
        return result

    def test_error_with_one_message_does_not_concern_the_others(self) -> None:
        names = [b"good", b"prepare", b"judge", b"line", b"open", b"plan", b"fine"]
        mails = self.mails(*names)
        result = self.deliver(
            f"""
import zsmtp.agent, zsmtp.job, zsmtp.plan, zsmtp.policy, zsmtp.spool.report
spoil(zsmtp.job.Job, "prepare", lambda job, batch, able: batch.recipients[0].quad.user.startswith(b"prepare"))
spoil(zsmtp.policy, "judge", lambda _, recipient, **k: recipient.path.startswith(b"judge"))
spoil(zsmtp.spool.report, "report_line", lambda number, *_: number == {mails[3].number})
spoil(zsmtp.agent, "open_job", lambda path, *_: path == "{mails[4].number}")
spoil(zsmtp.plan, "problem_of", lambda recipient: recipient.quad.user.startswith(b"plan"))
""",
            mails,
            self.server(),
        )
        words = {report.number: report.word for report in result.reports}
        told = {name: words.get(mail.number) for name, mail in zip(names, mails, strict=True)}
        self.assertEqual(
            told,
            {
                b"good": "ok3",
                b"prepare": "retryat",
                b"judge": "retryat",
                b"line": None,  # delivered and marked, but nobody can say so
                b"open": None,
                b"plan": "retryat",
                b"fine": "ok3",
            },
        )
        self.assertEqual(set(mails[3].tags().values()), {b"+"})
        self.assertEqual(result.resyncs, [mails[4].name.encode()])
        self.assertTrue(all(comment.startswith(b"zsmtp:") for comment in result.comments))

    def test_recipients_that_were_forgotten_are_deferred(self) -> None:
        for place in ("zsmtp.net.courier.Courier.transactionFinished", "zsmtp.job.Job.settle"):
            with self.subTest(place):
                module, owner, name = place.rsplit(".", 2)
                mails = self.mails(b"one", b"two", b"three")
                text = f"""
import {module}
spoil({module}.{owner}, "{name}", times=1)
"""
                result = self.deliver(text, mails, self.server())
                self.assertEqual([report.word for report in result.reports], ["retryat", "ok3", "ok3"])
                self.assertIn(name.encode(), b"".join(result.comments))

    def test_error_that_nobody_caught_ends_the_agent_in_order(self) -> None:
        mails = self.mails(b"one", b"two", b"three")
        text = """
import zsmtp.net.courier
spoil(zsmtp.net.courier.Courier, "dataReceived", lambda _, data: data.startswith(b"354"), times=1)
"""
        server = self.server(Table(announce=[]))
        result = self.deliver(text, mails, server, status=os.EX_SOFTWARE)
        self.assertEqual([report.is_deferral for report in result.reports], [True])
        self.assertIn(b"spoiled", b"".join(result.comments))

    def test_agent_out_of_step_ends_in_order(self) -> None:
        mails = self.mails(b"one")
        text = """
import zsmtp.agent
spoil(zsmtp.agent.Agent, "_turn_to")
"""
        result = self.deliver(text, mails, self.server(), status=os.EX_SOFTWARE)
        self.assertEqual((result.reports, mails[0].now()), ([], mails[0].control))

    def test_orders_that_bring_us_down_end_the_agent_in_order(self) -> None:
        text = """
import zsmtp.feed
spoil(zsmtp.feed.FeedReader, "receive")
"""
        self.deliver(text, self.mails(b"one"), self.server(), status=os.EX_SOFTWARE)

    def test_what_is_printed_becomes_comments(self) -> None:
        mails = self.mails(b"one", b"two")
        result = self.deliver(
            """
import zsmtp.job, warnings
def chat():
    print("one line")
    sys.stderr.write("two\\nlines, the second in ")
    sys.stderr.write("pieces\\n")
    warnings.warn("old \\x1b[31m age")
spoil(zsmtp.job.Job, "settle", then=chat, times=1)
""",
            mails,
            self.server(),
        )
        self.assertEqual([report.word for report in result.reports], ["ok3"] * 2)
        said = [comment.partition(b": ")[2] for comment in result.comments]
        self.assertEqual(said[:3], [b"one line", b"two", b"lines, the second in pieces"])
        self.assertIn(b"UserWarning: old ?[31m age", said[3])


class Starts(AgentCase):
    """An agent that does not come to life."""

    def test_reason_is_one_comment_and_a_status(self) -> None:
        for error, status in (
            ("RuntimeError('no resolver')", os.EX_SOFTWARE),
            ("OSError(24, 'Too many')", os.EX_OSERR),
        ):
            with self.subTest(error):
                program = spoiled(
                    f"""
import zsmtp.net.resolve
def fail(): raise {error}
spoil(zsmtp.net.resolve.Resolver, "__init__", then=fail)
"""
                )
                stand_in = self.scheduler(program=program)
                stand_in.start()
                result = stand_in.finish("wait")
                self.assertEqual(result.exit_status, status)
                (comment,) = result.comments
                self.assertRegex(comment, rb"zsmtp:\d+: cannot start: \w+Error: .*")

    def test_closed_output_is_told_where_it_can_be(self) -> None:
        stand_in = self.scheduler(program=spoiled("import os; os.close(1)"), pipes=True)
        stand_in.start()
        result = stand_in.finish("wait")
        self.assertEqual(result.exit_status, os.EX_OSERR)
        self.assertRegex(result.comments[0], rb"zsmtp:\d+: cannot start: OSError: .*Bad file descriptor")

    def test_wrong_command_line(self) -> None:
        agent = self.raw("-T", "nonsense=1", streams="pipes")
        self.assertEqual(agent.rest(), [])
        self.assertEqual(agent.process.returncode, os.EX_USAGE)
