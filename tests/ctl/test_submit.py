"""``zsmtpctl submit``: its command line, and the program."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.source import ROOT
from zsmtp.ctl.submit import IGNORED, Order, _UsageError, parse
from zsmtp.spool.controlfile import Notify
from zsmtp.spool.submit import make_postoffice

TEXT = b"Subject: s\nTo: bob@y.org\n\nhello\n.\nmore\n"


class Words(SynchronousTestCase):
    """Options, as programs write them."""

    def order(self, *words: str) -> Order:
        return parse([*words, "bob@x.org"])

    def test_nothing_but_a_recipient(self) -> None:
        order = self.order()
        self.assertEqual((order.envelope.recipients, order.envelope.sender), ((b"bob@x.org",), None))
        self.assertTrue(order.dot)

    def test_common_lines(self) -> None:
        order = self.order("-t", "-i", "-fAlice <alice@x.org>", "-F", "Alice A.", "a@x.org, root")
        self.assertEqual(order.envelope.recipients, (b"a@x.org", b"root", b"bob@x.org"))
        self.assertEqual((order.envelope.sender, order.envelope.name), (b"alice@x.org", "Alice A."))
        self.assertTrue(order.envelope.from_header)
        self.assertFalse(order.dot)
        self.assertEqual(self.order("-oi", "-f", "").envelope.sender, b"")
        self.assertEqual(self.order("-f", "<>").envelope.sender, b"")
        self.assertEqual(parse(["-ti"]).envelope.recipients, ())

    def test_ways_to_say_that_dots_are_text(self) -> None:
        for words in (["-i"], ["-oi"], ["-o", "i"], ["-O", "IgnoreDots"], ["-OIgnoreDots=True"], ["-I"]):
            self.assertFalse(self.order(*words).dot)
        for words in (["-oem"], ["-odb"], ["-O", "DeliveryMode=b"], ["-O", "IgnoreDots=False"]):
            self.assertTrue(self.order(*words).dot)

    def test_reports(self) -> None:
        envelope = self.order("-N", "failure,delay", "-R", "hdrs", "-V", "a b", "-v").envelope
        self.assertEqual(envelope.notify, Notify.FAILURE | Notify.DELAY)
        self.assertEqual((envelope.ret, envelope.envelope_id), (b"HDRS", b"a+20b"))

    def test_harmless_options_are_passed_over(self) -> None:
        plain = self.order()
        line = "-bm -G -U -n -m -c -x -em -h9 -Ac -B8BITMIME -Ltag -pESMTP -oem -odi"
        self.assertEqual(self.order(*line.split()), plain)
        for letter in IGNORED:
            self.order("-" + letter, *(["x"] if letter in "ABLehp" else []))

    def test_double_hyphen(self) -> None:
        self.assertEqual(parse(["-i", "--", "-f@x.org"]).envelope.recipients, (b"-f@x.org",))

    def refuse(self, why: str, *words: str) -> None:
        with self.assertRaises(_UsageError) as caught:
            parse(words)
        self.assertIn(why, str(caught.exception))
        self.assertNotIn("\n", str(caught.exception))

    def test_what_is_not_understood(self) -> None:
        self.refuse("-k", "-k", "a@b.org")
        self.refuse("-q", "-q")
        self.refuse("-bs is not supported", "-bs")
        self.refuse("-bp is not supported", "-bp")
        self.refuse("--loud", "--loud", "a@b.org")
        self.refuse("-f", "-f")

    def test_options_behind_recipients(self) -> None:
        self.refuse("options come first", "a@b.org", "-t")

    def test_wrong_values(self) -> None:
        self.refuse("NOTIFY", "-N", "sometimes", "a@b.org")
        self.refuse("RET", "-R", "some", "a@b.org")
        self.refuse("identifier", "-V", "", "a@b.org")
        self.refuse("not in ASCII", "-f", "jörg@x.org", "a@b.org")
        self.refuse("not one address", "-f", "a@b.org, b@b.org", "a@b.org")
        self.refuse("one line", "-F", "a\nb", "a@b.org")

    def test_wrong_recipients(self) -> None:
        self.refuse("no recipient is named")
        self.refuse("is empty", "")
        self.refuse("not in ASCII", "jörg@x.org")


class Programs(SynchronousTestCase):
    """Exit status, output, files."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="zsmtp-submit.")
        self.addCleanup(folder.cleanup)
        self.postoffice = Path(folder.name)
        make_postoffice(folder.name)

    def run_program(
        self, *words: str, text: bytes = TEXT, postoffice: str | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "zsmtp.ctl.main", "submit"]
        place = ["--postoffice", postoffice or str(self.postoffice)]
        return subprocess.run(
            [*command, *place, *words], input=text, capture_output=True, cwd=ROOT, timeout=60
        )

    def messages(self) -> list[bytes]:
        return [
            path.read_bytes().partition(b"env-end\n")[2] for path in (self.postoffice / "queue").iterdir()
        ]

    def check(self, status: int, why: str, ran: subprocess.CompletedProcess[bytes]) -> None:
        self.assertEqual((ran.returncode, ran.stdout), (status, b""))
        self.assertIn(why, ran.stderr.decode())
        self.assertEqual(ran.stderr.count(b"\n"), 1)
        self.assertTrue(ran.stderr.startswith(b"zsmtpctl submit: "))
        self.assertEqual(self.messages(), [])

    def test_message_is_stored_without_a_word(self) -> None:
        ran = self.run_program("-t", "-f", "a@x.org")
        self.assertEqual((ran.returncode, ran.stdout, ran.stderr), (0, b"", b""))
        [message] = self.messages()
        self.assertTrue(message.endswith(b"\n\nhello\n"))
        self.assertIn(b"\nFrom: a@x.org\n", message)

    def test_verbose(self) -> None:
        ran = self.run_program("-v", "-i", "-f", "a@x.org", "c@y.org")
        self.assertEqual(ran.returncode, 0)
        self.assertRegex(ran.stdout, rb"\Atransport/\d+: safe in the spool, from <a@x.org>\n  <c@y.org>: ")
        self.assertTrue(self.messages()[0].endswith(b"hello\n.\nmore\n"))

    def test_called_sendmail(self) -> None:
        link = self.postoffice / "sendmail"
        script = self.postoffice / "zsmtpctl"
        script.write_text(
            f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\n"
            "from zsmtp.ctl.main import main\nsys.exit(main())\n"
        )
        script.chmod(0o755)
        link.symlink_to(script)
        configuration = self.postoffice / "zsmtp.toml"
        configuration.write_text(f'postoffice = "{self.postoffice}"\n')
        environment = {**os.environ, "ZSMTP_CONFIG": str(configuration)}
        ran = subprocess.run(
            [link, "-oi", "-t"], input=TEXT, capture_output=True, env=environment, timeout=60
        )
        self.assertEqual((ran.returncode, ran.stdout, ran.stderr), (0, b"", b""))
        self.assertEqual(len(self.messages()), 1)
        ran = subprocess.run([link, "-bs"], input=TEXT, capture_output=True, env=environment, timeout=60)
        self.assertEqual(ran.returncode, os.EX_USAGE)
        self.assertTrue(ran.stderr.startswith(b"sendmail: -bs"))

    def test_statuses(self) -> None:
        self.check(os.EX_USAGE, "no recipient", self.run_program())
        self.check(os.EX_DATAERR, "nobody", self.run_program("-t", text=b"Subject: s\n\nx\n"))
        self.check(os.EX_DATAERR, "not in ASCII", self.run_program("-t", text="To: ö@x.org\n\n".encode()))
        self.check(os.EX_CONFIG, "/nonexistent", self.run_program("a@b.org", postoffice="/nonexistent"))
        self.check(os.EX_CONFIG, "cannot be read", self.run_program("--config", "/nonexistent", "a@b.org"))

    def test_unreadable_input(self) -> None:
        command = [
            sys.executable,
            "-m",
            "zsmtp.ctl.main",
            "submit",
            "--postoffice",
            str(self.postoffice),
            "a@b.org",
        ]
        unreadable = os.open(self.postoffice / "file", os.O_WRONLY | os.O_CREAT)
        self.addCleanup(os.close, unreadable)
        ran = subprocess.run(command, stdin=unreadable, capture_output=True, cwd=ROOT, timeout=60)
        self.check(os.EX_IOERR, "cannot be read", ran)

    def test_user_without_permission(self) -> None:
        if os.geteuid() != 0:
            os.chmod(self.postoffice / "queue", 0o500)
            self.check(os.EX_NOPERM, "Permission denied", self.run_program("a@b.org"))
            return
        code = (
            "import os, sys; os.setgid(65534); os.setuid(65534)\n"
            "from zsmtp.ctl.submit import run; sys.exit(run(sys.argv[1:], 'zsmtpctl submit'))"
        )
        self.postoffice.chmod(0o755)
        source = "import zsmtp.ctl.submit, email.generator, encodings.idna, pwd\n"
        command = [sys.executable, "-c", source + code, "--postoffice", str(self.postoffice), "a@b.org"]
        # nobody cannot write what coverage has measured, and coverage would say so
        environment = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE_")}
        ran = subprocess.run(command, input=TEXT, capture_output=True, cwd=ROOT, env=environment, timeout=60)
        self.check(os.EX_NOPERM, "Permission denied", ran)

    def test_signal_leaves_nothing(self) -> None:
        command = [
            sys.executable,
            "-m",
            "zsmtp.ctl.main",
            "submit",
            "--postoffice",
            str(self.postoffice),
            "a@b.org",
        ]
        program = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
        assert program.stdin is not None and program.stderr is not None
        program.stdin.write(TEXT.replace(b"\n.\n", b"\n") + b"x" * 300_000)
        program.stdin.flush()
        queue = self.postoffice / "queue"
        while not any(path.stat().st_size for path in queue.iterdir()):
            self.assertIsNone(program.poll())
        program.terminate()
        said = program.stderr.read()
        self.assertEqual(program.wait(60), 143)
        program.stdin.close()
        program.stderr.close()
        self.assertIn(b"has not been submitted", said)
        self.assertEqual(list(queue.iterdir()), [])

    def test_help_fits_a_terminal_and_names_every_option(self) -> None:
        ran = self.run_program("--help")
        self.assertEqual((ran.returncode, ran.stderr), (0, b""))
        self.assertLess(max(map(len, ran.stdout.splitlines())), 81 + len("zsmtpctl submit"))
        for word in ["-f", "-F", "-t", "-i", "-oi", "-N", "-R", "-V", "-v", "--config", "--postoffice"]:
            self.assertIn(f" {word}".encode(), ran.stdout)

    def test_page_names_every_option(self) -> None:
        page = (ROOT / "man/zsmtpctl.8").read_text().replace("\\-", "-")
        for word in ["-f", "-F", "-t", "-i", "-oi", "-N", "-R", "-V", "-v", "--config", "--postoffice"]:
            self.assertIn(word, page)
        for letter in IGNORED:
            self.assertRegex(page, rf"-{letter}\b")
