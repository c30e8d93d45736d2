"""Messages handed in by many at once, by programs that are killed, on a full disk, and for real servers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.real.peers import Dovecot, SmtpSink, start
from tests.real.test_daemon import DaemonCase
from tests.source import ROOT
from zsmtp.spool.controlfile import parse
from zsmtp.spool.submit import make_postoffice

PROGRAM = (sys.executable, "-m", "zsmtp.ctl.main", "submit")


class ToServers(DaemonCase):
    """Submitter, daemon, server."""

    def test_message_arrives_as_it_was_routed(self) -> None:
        sink, home = start(self, SmtpSink()), start(self, Dovecot())
        text = self.smtp(sink.port)
        text += f'[channels.lmtp]\nprotocol = "lmtp"\ndestination = "UNIX:{home.socket_path}"\n'
        text += '[routes]\n"home.example" = { channel = "lmtp" }\n'
        daemon = self.daemon(text, hash_levels=1)
        message = (
            b"To: far@away.example\nCc: near@home.example\nBcc: secret@home.example\n"
            b"Subject: both\n\nhello\n..\n.x\n.\nmore\n"
        )
        words = ["--config", str(daemon.configuration), "-t", "-i", "-f", "alice@sender.example"]
        subprocess.run([*PROGRAM, *words], input=message, cwd=ROOT, check=True, timeout=60)
        local = home.await_delivered(2)
        daemon.wait_empty()
        [remote] = sink.delivered()
        self.assertEqual(
            (remote.recipients, remote.sender), ((b"far@away.example",), b"alice@sender.example")
        )
        self.assertEqual(
            {recipient for each in local for recipient in each.recipients},
            {b"near@home.example", b"secret@home.example"},
        )
        for each in [remote, *local]:
            body = each.message.replace(b"\r\n", b"\n").partition(b"\n\n")[2]
            self.assertEqual(body, b"hello\n..\n.x\n.\nmore\n")
            self.assertIn(b"Subject: both", each.message)
            self.assertNotIn(b"Bcc:", each.message)


class SpoolOnDisk(SynchronousTestCase):
    """A spool without a daemon."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="zsmtp-submit.")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.postoffice = self.folder / "office"
        make_postoffice(str(self.postoffice))

    def bodies(self) -> list[bytes]:
        """The body of every message that can be seen; fails for one that is not whole."""
        found = []
        for path in (self.postoffice / "transport").iterdir():
            if path.name.startswith("."):
                continue
            control = parse(path.read_bytes(), path.name)
            self.assertEqual((control.problems, len(control.recipients)), ([], 1))
            assert control.message_name is not None
            message = (self.postoffice / "queue" / control.message_name.decode()).read_bytes()
            assert control.body_offset is not None
            found.append(message[control.body_offset :])
        return found


class ManyAtOnce(SpoolOnDisk):
    """A thousand submitters."""

    def test_nothing_is_lost(self) -> None:
        code = (
            "import sys, zsmtp\n"
            "for number in range(50):\n"
            "    text = b'To: a@b.org\\n\\n%s %d\\n' % (sys.argv[2].encode(), number)\n"
            "    zsmtp.submit(text, sender='', postoffice=sys.argv[1])\n"
        )
        programs = [
            subprocess.Popen([sys.executable, "-c", code, str(self.postoffice), str(number)], cwd=ROOT)
            for number in range(20)
        ]
        self.assertEqual([program.wait(120) for program in programs], [0] * 20)
        expected = [b"%d %d\n" % (who, number) for who in range(20) for number in range(50)]
        self.assertEqual(sorted(self.bodies()), sorted(expected))


class Killed(SpoolOnDisk):
    """kill -9 at any moment."""

    rounds = 40

    def test_either_nothing_or_a_whole_message(self) -> None:
        random = Random(5)
        safe = set()
        # many in one process: starting one takes longer than all that it does with a message
        code = (
            "import os, sys, zsmtp\n"
            "number = 0\n"
            "while True:\n"
            "    body = (b'%s %d\\n' % (sys.argv[2].encode(), number)) * 20000\n"
            "    zsmtp.submit(b'To: a@b.org\\n\\n' + body, sender='', postoffice=sys.argv[1])\n"
            "    os.write(1, b'%s %d\\n' % (sys.argv[2].encode(), number))\n"
            "    number += 1\n"
        )
        for attempt in range(self.rounds):
            program = subprocess.Popen(
                [sys.executable, "-c", code, str(self.postoffice), str(attempt)],
                cwd=ROOT,
                stdout=subprocess.PIPE,
            )
            assert program.stdout is not None
            first = program.stdout.readline()  # it is at work now
            time.sleep(random.random() * 0.02)  # the moment is the point, not that it is the same one
            program.send_signal(signal.SIGKILL)
            told = first + program.stdout.read()
            program.stdout.close()
            self.assertEqual(program.wait(60), -signal.SIGKILL)
            safe.update(told.split(b"\n")[:-1])
        found = set()
        for body in self.bodies():
            first = body.partition(b"\n")[0]
            self.assertEqual(body, (first + b"\n") * 20000)
            found.add(first)
        self.assertEqual(safe - found, set())
        self.assertLessEqual(len(found - safe), self.rounds)
        drafts = [path for top in ("queue", "transport") for path in (self.postoffice / top).glob(".*")]
        self.assertGreater(len(drafts), 0, "no program was killed at work")


class FullDisk(SynchronousTestCase):
    """A file system without room."""

    def test_status_asks_to_try_again_and_nothing_is_left(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root can mount a small file system")
        with tempfile.TemporaryDirectory(prefix="zsmtp-submit.") as folder:
            mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=False)
            if mounted.returncode:
                raise SkipTest("this machine does not allow to mount a tmpfs")
            try:
                make_postoffice(folder)
                words = [*PROGRAM, "--postoffice", folder, "a@b.org"]
                ran = subprocess.run(
                    words, input=b"\n" + b"x\n" * 1_000_000, capture_output=True, cwd=ROOT, timeout=60
                )
                self.assertEqual((ran.returncode, ran.stdout), (os.EX_TEMPFAIL, b""))
                self.assertRegex(ran.stderr, re.compile(rb"\A[^\n]*No space left[^\n]*\n\Z"))
                self.assertEqual([*Path(folder, "queue").iterdir(), *Path(folder, "transport").iterdir()], [])
                ran = subprocess.run(words, input=b"small\n", capture_output=True, cwd=ROOT, timeout=60)
                self.assertEqual((ran.returncode, ran.stderr), (0, b""))
            finally:
                subprocess.run(["umount", folder], check=True)
