"""Jobs from a spool of the test, and what is told of them."""

from __future__ import annotations

import os
import resource
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from zsmtp.job import Conduct, Job, Settled, open_job
from zsmtp.message.form import Wishes
from zsmtp.policy import Outcome, Verdict, Word
from zsmtp.testing.report import Report, read_line
from zsmtp.testing.spool import SpooledMail, SpoolMaker

NOW = 1_750_000_000.0

DELIVERED = Verdict(Outcome.DELIVERED, Word.OK, b"-", b"2.0.0", b"smtp; 250 (ok)", b"\r<<- .\r->> 250 ok")
RECORDED = DELIVERED._replace(word=Word.OK_RECORDED, action=b"relayed")
FAILED = Verdict(Outcome.FAILED, Word.FAILED, b"failed", b"5.1.1", b"smtp; 550 (no)", b"\r->> 550 no")
DEFERRED = Verdict(Outcome.DEFERRED, Word.DEFERRED, b"failed", b"4.2.1", b"smtp; 450 (no)", b"\r->> 450 no")


class SpooledTest(SynchronousTestCase):
    """Works in the transport directory of a spool of its own.

    `told` are the reports as the scheduler reads them, `finished` the jobs that are done, `warnings` the
    lines for the postmaster.
    """

    def setUp(self) -> None:
        self.spool = SpoolMaker()
        self.addCleanup(self.spool.remove)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.spool.transport)
        self.settled: list[Settled] = []
        self.finished: list[Job] = []
        self.warnings: list[str] = []
        self.conduct = Conduct(
            channel=b"smtp",
            agent=b"smtp[4242]",
            wishes=Wishes(),
            lmtp=False,
            ignore_ezmlm=False,
            report=self.report,
            finished=self.finished.append,
            warn=self.warnings.append,
            clock=lambda: NOW,
        )
        self.descriptors = set(os.listdir("/proc/self/fd"))

    def report(self, settled: Settled) -> None:
        """Note a report."""
        self.settled.append(settled)

    @property
    def told(self) -> list[Report]:
        """The reports, read as strictly as a scheduler."""
        reports = [read_line(settled.line.removesuffix(b"\n")) for settled in self.settled]
        assert all(isinstance(report, Report) for report in reports)
        return reports  # type: ignore[return-value]

    @property
    def words(self) -> list[str]:
        """The words of the reports."""
        return [report.word for report in self.told]

    def open(self, mail: SpooledMail, **changes: Any) -> Job | None:
        """Open a job for example.net."""
        return open_job(mail.name, b"example.net", self.conduct._replace(**changes))

    def opened(self, mail: SpooledMail, **changes: Any) -> Job:
        """The same, where there is something to do."""
        job = self.open(mail, **changes)
        assert job is not None
        return job

    def tags(self, mail: SpooledMail) -> str:
        """The tags of the recipients in file order."""
        return b"".join(mail.tags().values()).decode()

    def expect_closed(self) -> None:
        """No file is left open."""
        self.assertEqual(set(os.listdir("/proc/self/fd")), self.descriptors)

    def fill_disk(self, mail: SpooledMail) -> None:
        """Let no file grow beyond what the control file has, until `empty_disk`."""
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_FSIZE, (hard, hard))
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(mail.now()), hard))

    def empty_disk(self) -> None:
        """Let files grow again."""
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
