"""zsmtpctl demo as its user meets it: in a pipe, in a terminal, interrupted, and when things go wrong."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

DEMO = [sys.executable, "-m", "zsmtp.ctl.main", "demo"]

# An agent that says that it is there, and nothing more.
HANGING = "['sh', '-c', 'echo \\\\#hungry; exec sleep 60']"

# A server that is not to be trusted.
SPOILING = """
import sys
from zsmtp.ctl import demo, demoservers

def store(folder, recipient, octets):
    name = recipient.partition("@")[0]
    if name == "boris":
        octets = octets.replace(b"Sylter", b"Sylver")
    if name == "gerda" and b"Room" in octets:
        recipient = "karl@home.example"
    for _ in range({"emil": 0, "hanna": 2}.get(name, 1)):
        demoservers.store(folder, recipient, octets)

sys.exit(demo.run(store=store, clean=True))
"""

EXPECTED = """\
1 anna@far.example SMTP 1.3 250 2.0.0 stored ok3
2 boris@far.example SMTP 1.3 250 2.0.0 stored ok3
3 clara@far.example SMTP 1.3 250 2.0.0 stored ok3
4 anna@far.example SMTP 1.3 250 2.0.0 stored ok3
4 clara@far.example SMTP 1.3 250 2.0.0 stored ok3
4 gerda@home.example LMTP - 250 2.0.0 stored ok3
4 hanna@home.example LMTP - 250 2.0.0 stored ok3
5 clara@far.example SMTP 1.3 250 2.0.0 stored ok3
5 nobody@far.example SMTP 1.3 550 5.1.1 no mailbox error2
6 dora@far.example SMTP 1.3 451 4.7.1 greylisted deferred
7 emil@far.example SMTP 1.3 250 2.0.0 stored ok3
8 gerda@home.example LMTP - 250 2.0.0 stored ok3
8 karl@home.example LMTP - 452 4.2.2 over quota deferred
"""


def call(arguments: str) -> list[str]:
    """Return the command that calls the function behind the program, with Python's arguments."""
    return [sys.executable, "-c", f"import sys; from zsmtp.ctl.demo import run; sys.exit(run({arguments}))"]


def table(output: str) -> str:
    """Read the table: message, recipient, protocol, TLS, reply and word of each row."""
    rows = []
    number = ""
    for line in output.splitlines():
        if title := re.match(r"([0-9]) \S", line):
            number = title[1]
        elif row := re.fullmatch(r"  (\S+@\S+) +(SMTP|LMTP) \S+ +(\S+) +(\S.*?) +(\w+)", line):
            rows.append(" ".join((number, *row.groups())) + "\n")
    return "".join(rows)


class Demo(SynchronousTestCase):
    """A run, with temporary folders in one of the test's own."""

    def setUp(self) -> None:
        self.temporary = Path(self.mktemp()).resolve()
        self.temporary.mkdir()
        self.environment = {
            **{name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "LC_ALL")},
            "TMPDIR": str(self.temporary),
            "TERM": "xterm",
        }

    def run_demo(self, command: list[str], **environment: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={**self.environment, **environment},
            timeout=100,
        )

    def folder(self) -> Path:
        """The folder that the demo made."""
        [folder] = self.temporary.iterdir()
        return folder


class InAPipe(Demo):
    """What is written can be kept; the files are there to be looked at."""

    def test_everything_arrives_and_stays(self) -> None:
        # A foreign Z-environment must not get into the demo's agents.
        ran = self.run_demo(DEMO, ZCONFIG="/nowhere/zmailer.conf")
        output = ran.stdout.decode("ascii")
        self.assertEqual((ran.returncode, ran.stderr), (0, b""), output)
        self.assertEqual(table(output), EXPECTED)
        self.assertNotRegex(output, r"[\x1b\r]")
        self.assertIn("All well: 10 copies", output)
        folder = self.folder()
        self.assertIn(f"rm -r {folder}\n", output)
        prose = [line for line in output.splitlines() if str(self.temporary) not in line]
        self.assertLess(max(map(len, prose)), 80)
        self.check_mail(folder)
        self.check_marks(folder, output)
        self.assertIn("STARTTLS", (folder / "postoffice/log/smtp").read_text())
        self.assertEqual(list(folder.glob("**/lmtp.sock")), [])

    def check_mail(self, folder: Path) -> None:
        """Every Maildir holds just what was sent to it."""
        copies: dict[str, list[bytes]] = {}
        for line in EXPECTED.splitlines():
            number, address, *_, word = line.split()
            if word == "ok3":
                copies.setdefault(address, []).append((folder / "sent" / number).read_bytes())
        mail = folder / "mail"
        found = {
            maildir.name: sorted(file.read_bytes() for file in maildir.glob("*/*"))
            for maildir in mail.iterdir()
        }
        self.assertTrue(found == {address: sorted(messages) for address, messages in copies.items()})
        self.assertEqual({file.parent.name for file in mail.glob("*/*/*")}, {"new"})

    def check_marks(self, folder: Path, output: str) -> None:
        """The control files have the marks that the table tells of, and one of them is shown as it is."""
        marks = {"ok3": "+", "error2": "-", "deferred": " "}
        expected = []
        for line in EXPECTED.splitlines():
            _, address, *_, word = line.split()
            channel, host = ("smtp" if "far" in address else "lmtp"), address.partition("@")[2]
            expected.append(f"r{marks[word]}          {channel} {host} {address} -2")
        texts = [file.read_text() for file in (folder / "postoffice/transport").iterdir()]
        lines = [line for text in texts for line in text.splitlines() if line.startswith("r")]
        self.assertEqual(sorted(lines), sorted(expected))
        self.assertIn("    after    r-          smtp far.example nobody@far.example -2\n", output)
        self.assertIn("    before   r           smtp far.example nobody@far.example -2\n", output)

    def test_folder_of_the_user_with_a_long_name_is_cleaned_and_left(self) -> None:
        folder = self.temporary / "deep" / ("folder" * 20)
        folder.mkdir(parents=True)
        ran = self.run_demo([*DEMO, "--clean", "--directory", str(folder)])
        self.assertEqual((ran.returncode, ran.stderr), (0, b""))
        self.assertEqual(list(folder.iterdir()), [])
        self.assertIn(b"has been removed", ran.stdout)
        self.assertNotIn(b"Look around", ran.stdout)

    def test_reader_that_goes_away_ends_it_quietly(self) -> None:
        with subprocess.Popen(
            DEMO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environment
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.readline()
            process.stdout.close()
            self.assertEqual(process.stderr.read(), b"")
            process.wait(60)
        self.assertEqual(process.returncode, 128 + signal.SIGPIPE)
        self.assertEqual(list(self.temporary.iterdir()), [])


class Folders(Demo):
    """Folders that are not for us."""

    def check(self, folder: Path, text: str) -> None:
        ran = self.run_demo([*DEMO, "--directory", str(folder)])
        self.assertEqual((ran.returncode, ran.stdout), (os.EX_USAGE, b""))
        self.assertIn(text, ran.stderr.decode())
        self.assertIn(str(folder), ran.stderr.decode())

    def test_one_that_is_in_use(self) -> None:
        (self.temporary / "letter").write_text("dear")
        self.check(self.temporary, "is not empty; name an empty or a new one")
        self.assertEqual((self.folder()).read_text(), "dear")

    def test_one_that_is_a_file(self) -> None:
        (self.temporary / "letter").write_text("dear")
        self.check(self.temporary / "letter", "Not a directory")

    def test_one_that_cannot_be_made(self) -> None:
        self.check(self.temporary / "no" / "where", "No such file")


class Faults(Demo):
    """What a server or an agent does wrong is found out."""

    def failing(self, command: list[str]) -> str:
        """Run the demo, expect it to fail, and return what it wrote."""
        ran = self.run_demo(command)
        output = ran.stdout.decode()
        self.assertEqual((ran.returncode, ran.stderr), (1, b""), output)
        self.assertNotIn("All well", output)
        self.assertIn(f"rm -r {self.folder()}\n", output)
        return output

    def test_server_spoils_loses_doubles_and_misplaces_mail(self) -> None:
        output = self.failing([sys.executable, "-c", SPOILING])
        problems = " ".join(output.partition("had to happen:")[2].split())
        for problem in (
            "message 2 to boris@far.example: what arrived differs from what was sent at octet",
            "message 4 to hanna@home.example: arrived 2 times",
            "message 7 to emil@far.example: did not arrive",
            "message 8 to gerda@home.example: did not arrive",
            "the Maildir of karl@home.example holds the message <demo.8@home.example>, which is not for it",
        ):
            self.assertIn(problem, problems)
        self.assertEqual(problems.count(" - "), 4)
        self.assertEqual(table(output), EXPECTED)

    def test_agent_that_hangs_is_killed(self) -> None:
        output = self.failing(call(f"agent={HANGING}, seconds=2"))
        self.assertRegex(
            output, r"the agent for channel smtp \(process \d+\) was not done within\s+2 seconds"
        )
        self.assertIn("#hungry", output)

    def test_agent_that_fails_to_start_tells_why(self) -> None:
        output = self.failing(call("agent=[sys.executable, '-c', 'import nowhere']"))
        self.assertIn("No module named 'nowhere'", output)

    def test_agent_that_goes_away(self) -> None:
        output = self.failing(call("agent=['sh', '-c', 'exit 3']"))
        self.assertIn("ended with exit status 3 before its work was done", " ".join(output.split()))

    def test_agent_that_is_killed(self) -> None:
        output = self.failing(call("agent=['sh', '-c', 'kill -9 $$']"))
        self.assertIn("was ended by signal 9", " ".join(output.split()))

    def test_agent_that_ends_in_the_wrong_way(self) -> None:
        agent = "[sys.executable, '-c', 'import runpy, sys; runpy.run_module(\"zsmtp\"); sys.exit(5)']"
        self.assertIn("ended with exit status 5", self.failing(call(f"agent={agent}")))


class Signals(Demo):
    """Whoever interrupts finds nothing left."""

    def check(self, number: signal.Signals) -> None:
        with subprocess.Popen(
            call(f"agent={HANGING}"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environment
        ) as process:
            assert process.stdout is not None
            while b"UNIX:" not in process.stdout.readline():
                pass
            process.send_signal(number)
            output, errors = process.communicate(timeout=60)
        self.assertEqual((process.returncode, errors), (128 + number, b""))
        self.assertIn(b"Interrupted.", output)
        self.assertEqual(list(self.temporary.iterdir()), [])

    def test_interrupt(self) -> None:
        self.check(signal.SIGINT)

    def test_termination(self) -> None:
        self.check(signal.SIGTERM)


class InATerminal(Demo):
    """Colour, a live line, and the keyboard."""

    @contextmanager
    def terminal(
        self, command: list[str], **environment: str
    ) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
        """Start a command as the only one in a terminal of 80 columns; give its process and our end."""
        ours, theirs = pty.openpty()
        try:
            with subprocess.Popen(
                command,
                env={**self.environment, "COLUMNS": "80", **environment},
                preexec_fn=lambda: os.login_tty(theirs),
            ) as process:
                os.close(theirs)
                try:
                    yield process, ours
                finally:
                    process.kill()
        finally:
            os.close(ours)

    def read(self, ours: int, until: bytes = b"") -> bytes:
        """Read what comes up to some words, or until the program ends."""
        end = time.monotonic() + 100
        output = b""
        while not until or until not in output:
            ready, _, _ = select.select([ours], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                self.fail(f"nothing more after {output!r}")
            try:
                output += os.read(ours, 65536)
            except OSError:  # as a terminal is read whose last program has gone
                break
        return output

    def test_it_is_pleasant(self) -> None:
        with self.terminal(DEMO, LC_ALL="C.UTF-8") as (process, ours):
            output = self.read(ours).decode()
            self.assertEqual(process.wait(60), 0, output)
        plain = re.sub(r"\x1b\[[0-9;]*m", "", output).replace("\r\n", "\n")
        self.assertIn("\x1b[32m250 2.0.0 stored\x1b[0m", output)
        self.assertRegex(output, r"\rDelivering  [█░]{20}  \d+ of 13 recipients")
        self.assertNotIn("\x1b", plain)
        self.assertEqual(table(plain), EXPECTED)
        self.assertIn("All well", plain)

    def test_control_c_ends_it_without_a_trace(self) -> None:
        with self.terminal(call(f"agent={HANGING}"), NO_COLOR="1", LC_ALL="C") as (process, ours):
            output = self.read(ours, b"Delivering  ....................")
            os.write(ours, b"\x03")
            output += self.read(ours)
            self.assertEqual(process.wait(60), 128 + signal.SIGINT, output)
        self.assertIn(b"Interrupted.", output)
        self.assertNotIn(b"Traceback", output)
        self.assertNotIn(b"\x1b", output)
        self.assertEqual(list(self.temporary.iterdir()), [])
