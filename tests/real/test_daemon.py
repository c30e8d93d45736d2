"""`twistd zsmtp` between submitters and servers that others wrote."""

from __future__ import annotations

import email
import email.policy
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.real.daemon import TWISTD, RunningDaemon
from tests.real.peer import free_port
from tests.real.peers import Aiosmtpd, Dovecot, SmtpSink, start
from zsmtp.spool.submit import Addressee

QUICK = 'retry = ["1s", "2s"]\nfirst-refusal = "1s"\nmaybe-delivered = "2s"\n'


def to(number: int = 0, channel: bytes = b"smtp", host: bytes = b"peer.example") -> Addressee:
    """A recipient."""
    return Addressee(channel, host, b"user%d@%s" % (number, host))


class DaemonCase(SynchronousTestCase):
    """Starts daemons in a folder with a short name."""

    timeout = 120

    def daemon(self, text: str, *, hash_levels: int = 0, starts: bool = True) -> RunningDaemon:
        folder = tempfile.TemporaryDirectory(prefix="zsmtp-daemon.")
        self.addCleanup(folder.cleanup)
        daemon = RunningDaemon(self, Path(folder.name), text, hash_levels=hash_levels)
        if starts:
            daemon.start()
        return daemon

    @staticmethod
    def smtp(port: int | None, more: str = "") -> str:
        """A channel `smtp` that leads to a port."""
        return f'[channels.smtp]\ndestination = "[127.0.0.1]"\nport = {port}\n{QUICK}{more}'


class ToSmtpSink(DaemonCase):
    """SMTP."""

    def test_what_is_submitted_arrives(self) -> None:
        sink = start(self, SmtpSink())
        daemon = self.daemon(self.smtp(sink.port), hash_levels=2)
        for number in range(20):
            daemon.submit(to(number), text=b"message %d\n" % number)
        daemon.wait_empty()
        self.assertEqual(
            sorted(each.message.rpartition(b"\n\n")[2] for each in sink.delivered()),
            sorted(b"message %d\n" % number for number in range(20)),
        )
        self.assertEqual(daemon.statuses(), ["sent"] * 20)

    def test_what_was_there_before_the_start_arrives(self) -> None:
        sink = start(self, SmtpSink())
        daemon = self.daemon(self.smtp(sink.port), hash_levels=1, starts=False)
        for number in range(5):
            daemon.submit(to(number))
        daemon.start()
        daemon.wait_empty()
        self.assertEqual(len(sink.delivered()), 5)

    def test_host_that_is_away_is_tried_until_it_is_back(self) -> None:
        daemon = self.daemon("", starts=False)
        door = daemon.folder / "door"
        daemon.configure(f'[channels.smtp]\ndestination = "UNIX:{door}"\n{QUICK}')
        daemon.start()
        for number in range(3):
            daemon.submit(to(number))
        daemon.wait(lambda: len(daemon.statuses()) >= 2, "two attempts")
        self.assertEqual(set(daemon.statuses()), {"deferred"})
        sink = start(self, SmtpSink(unix=True))
        assert sink.socket_path is not None
        door.symlink_to(sink.socket_path)
        daemon.wait_empty()
        self.assertEqual(len(sink.delivered()), 3)

    def test_daemon_that_was_killed_goes_on(self) -> None:
        sink = start(self, SmtpSink(more=["-w", "1"]))
        daemon = self.daemon(self.smtp(sink.port))
        for number in range(6):
            daemon.submit(to(number))
        daemon.wait(lambda: "status=sent" in daemon.read(), "the first delivery")
        daemon.kill()
        daemon.start()
        daemon.wait_empty(60)
        recipients = {each.recipients for each in sink.delivered()}
        self.assertEqual(len(recipients), 6)
        # the final reply of one message was outstanding: it alone may have been sent again
        self.assertLessEqual(len(sink.delivered()), 7)

    def test_tls_is_demanded_where_the_file_says_so(self) -> None:
        server = start(self, Aiosmtpd())
        daemon = self.daemon("", starts=False)
        (daemon.folder / "tls.conf").write_text(
            f"tls-CAfile {server.folder}/authority.pem\ndemand-tls-mode\n"
        )
        daemon.configure(self.smtp(server.port, f'tls-file = "{daemon.folder}/tls.conf"\n'))
        daemon.start()
        daemon.submit(to())
        daemon.wait_empty()
        self.assertEqual([each.protocol for each in server.delivered()], ["ESMTPS"])

    def test_sigterm_ends_it(self) -> None:
        daemon = self.daemon(self.smtp(free_port()))
        daemon.submit(to())
        daemon.wait(lambda: daemon.statuses() != [], "an attempt")
        daemon.stop()
        self.assertIn("Server Shut Down.", daemon.read())
        self.assertNotIn("Traceback", daemon.read())


class ToDovecot(DaemonCase):
    """LMTP, and reports that come home."""

    def reports(self, *, refuse: list[str], more: str = "") -> tuple[RunningDaemon, Dovecot]:
        home = start(self, Dovecot())
        sink = start(self, SmtpSink(more=refuse))
        text = self.smtp(sink.port, more)
        text += f'[channels.lmtp]\nprotocol = "lmtp"\ndestination = "UNIX:{home.socket_path}"\n'
        text += '[routes]\n"sender.example" = { channel = "lmtp" }\n'
        return self.daemon(text), home

    def test_mail_arrives_in_the_maildir(self) -> None:
        daemon, home = self.reports(refuse=[])
        daemon.submit(to(1, b"lmtp"))
        [mail] = home.await_delivered(1)
        self.assertEqual((mail.recipients, mail.sender), ((b"user1@peer.example",), b"alice@sender.example"))
        daemon.wait_empty()

    def test_refusal_is_reported_into_the_maildir(self) -> None:
        daemon, home = self.reports(refuse=["-f", "RCPT"])
        daemon.submit(to(1), to(2))
        [mail] = home.await_delivered(1)
        daemon.wait_empty()
        self.assertEqual((mail.sender, mail.recipients), (b"", (b"alice@sender.example",)))
        report = email.message_from_bytes(mail.message, policy=email.policy.default)
        self.assertEqual(
            (report.get_content_type(), report.get_param("report-type"), report["Auto-Submitted"]),
            ("multipart/report", "delivery-status", "auto-replied"),
        )
        people, programs, returned = report.iter_parts()
        self.assertEqual(report.defects + people.defects + programs.defects + returned.defects, [])
        self.assertIn("<user1@peer.example>", people.get_content())
        payload: Any = programs.get_payload()
        fields, *recipients = payload
        self.assertEqual(fields["Reporting-MTA"], "dns; me.example")
        self.assertEqual(
            {each["Final-Recipient"] for each in recipients},
            {"rfc822; user1@peer.example", "rfc822; user2@peer.example"},
        )
        self.assertEqual({each["Action"] for each in recipients}, {"failed"})
        self.assertRegex(recipients[0]["Status"], r"^5\.\d+\.\d+$")
        self.assertRegex(recipients[0]["Diagnostic-Code"], r"^smtp; 5\d\d ")
        self.assertIn("Subject: test", returned.get_content())

    def test_message_that_grows_too_old_is_reported(self) -> None:
        daemon, home = self.reports(refuse=["-r", "RCPT"], more='expiry = "3s"\n')
        daemon.submit(to(1))
        [mail] = home.await_delivered(1)
        daemon.wait_empty()
        self.assertIn(b"Status: 4.4.7", mail.message)
        self.assertIn(b"given up after", mail.message)
        self.assertIn("deferred", daemon.statuses())


class Refusals(DaemonCase):
    """It does not start where it would do harm."""

    def refusal(self, daemon: RunningDaemon, *words: str) -> str:
        command = [*TWISTD, "zsmtp", *(words or ("--config", str(daemon.configuration)))]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent.parent)}
        ended = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=60,
            env=environment,
            cwd=daemon.folder,
            check=False,
        )
        self.assertEqual(ended.returncode, 64)
        self.assertRegex(ended.stderr, r"\Atwistd zsmtp: ([^\n]+; [^\n]+\n)+\Z")
        self.assertEqual(ended.stdout, "")
        return ended.stdout + ended.stderr

    def test_second_daemon_on_one_spool(self) -> None:
        daemon = self.daemon("")
        number = (daemon.postoffice / ".pid.zsmtp").read_text().strip()
        self.assertIn(f"a daemon with process number {number} works on", self.refusal(daemon))
        daemon.stop()
        daemon.start()

    def test_scheduler_that_lives(self) -> None:
        daemon = self.daemon("", starts=False)
        (daemon.postoffice / ".pid.scheduler").write_text(f"{os.getpid()}\n")
        self.assertIn("ZMailer's scheduler works on", self.refusal(daemon))

    def test_scheduler_that_has_died_is_no_reason(self) -> None:
        daemon = self.daemon("", starts=False)
        (daemon.postoffice / ".pid.scheduler").write_text("999999\n")
        daemon.start()

    def test_wrong_configuration(self) -> None:
        daemon = self.daemon("[channels.smtp]\nprot = 1\nport = 99999\n", starts=False)
        told = self.refusal(daemon)
        self.assertIn("zsmtp.toml:5: channels.smtp.prot: this key is unknown", told)
        self.assertIn("zsmtp.toml:6: channels.smtp.port: ", told)

    def test_wrong_command_line(self) -> None:
        daemon = self.daemon("", starts=False)
        for words, told in (
            (["--foo"], "option --foo not recognized; twistd zsmtp --help lists the options"),
            (["-p", ".", "more"], '"more" is no option; twistd zsmtp --help lists the options'),
            (["--config", "/nonexistent"], "/nonexistent cannot be read (No such file or directory); "),
        ):
            self.assertIn(told, self.refusal(daemon, *words))

    def test_no_spool(self) -> None:
        daemon = self.daemon("", starts=False)
        self.assertIn("is no directory that can be written to", self.refusal(daemon, "-p", "/nonexistent"))
