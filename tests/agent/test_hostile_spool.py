"""A spool that is damaged or arranged by an enemy: one warning for each file, and the other mail goes out."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from tests.agent.agents import AgentCase, RawAgent, command
from tests.agent.test_protocol import slow_at_the_dot
from zsmtp.testing import marks
from zsmtp.testing.report import Report, read_line
from zsmtp.testing.scheduler import Job
from zsmtp.testing.server import ScriptedServer
from zsmtp.testing.spool import Addressee, SpooledMail, SpoolMaker
from zsmtp.testing.table import Table


class Damage(NamedTuple):
    """What is done to one mail before it is fed.  `told` is the word of the report; "" for `#resync`."""

    do: Callable[[SpooledMail], None]
    warning: bytes
    told: str = ""


def edit(change: Callable[[bytes], bytes]) -> Callable[[SpooledMail], None]:
    """Return what puts changed octets into the control file."""

    def do(mail: SpooledMail) -> None:
        octets = change(mail.control)
        with open(mail.control_path, "wb") as file:
            file.write(octets)

    return do


def replace(name: str, make: Callable[[str], None]) -> Callable[[SpooledMail], None]:
    """Return what puts something else in the place of the control or message file."""

    def do(mail: SpooledMail) -> None:
        path = getattr(mail, name)
        os.rename(path, path + ".kept")
        make(path)

    return do


def link(path: str) -> None:
    """Make a link to what stood there."""
    os.symlink(os.path.basename(path) + ".kept", path)


def until(*octets: bytes, keep: int = 0) -> Callable[[SpooledMail], None]:
    """Return what cuts the control file off in the record that begins so."""
    return edit(lambda control: control[: control.index(b"\n" + octets[0]) + 1 + keep])


def altered(pattern: bytes, new: bytes) -> Callable[[SpooledMail], None]:
    """Return what replaces something in the control file."""
    return edit(lambda control: re.sub(pattern, new, control))


def garbled(control: bytes) -> bytes:
    """Turn one octet in seven."""
    return bytes(octet ^ 0x20 if place % 7 == 0 else octet for place, octet in enumerate(control))


GONE = rb"cannot be opened: No such file or directory; .*restore the file"
LINK = rb"it is a symbolic link; put the file .*"
ODD = rb"is not a regular file; move it away"
DAMAGES = {
    "empty": Damage(edit(lambda _: b""), rb"the file has only 0 records, it is cut .*; move .*"),
    "cut in a recipient": Damage(until(b"r", keep=30), rb"line \d+: the file ends within this .*; submit .*"),
    "cut in the header": Damage(until(b"m", keep=20), rb":\d+: the header block has no end, .*; move .*"),
    "binary": Damage(edit(lambda _: random.Random(1).randbytes(20_000)), rb":\d+: .*; move .*"),
    "garbled": Damage(edit(garbled), rb":\d+: .*; move .*"),
    "full of short recipients": Damage(
        edit(lambda old: old + b"r\n" * 5000),
        rb"line \d+: the recipient is too short .* \| and \d+ more",
        "ok3",
    ),
    "huge and sparse": Damage(
        lambda mail: os.truncate(mail.control_path, 1 << 30), rb"1073741824 octets.*; move .*"
    ),
    "traversal": Damage(
        altered(rb"\ni \d+\n", b"\ni ../../etc/passwd\n"), rb":2: b'../../etc.* cannot be .*; move .*"
    ),
    "absolute name": Damage(altered(rb"\ni \d+\n", b"\ni /etc/passwd\n"), rb":2: .*; move .*"),
    "unknown format": Damage(altered(rb"0x00000007", b"0x0000000f"), rb":1: .*; move .*"),
    "hidden recipient": Damage(altered(rb"\nr ", b"\n\nr "), rb"line \d+: an empty line hides .*; remove .*"),
    "no body offset": Damage(altered(rb"\no \d+\n", b"\no x\n"), rb"line 3: .* is no number; .*", "deferred"),
    "body behind the end": Damage(
        altered(rb"\no \d+\n", b"\no 99999\n"), rb"begin at 99999; submit .*", "deferred"
    ),
    "FIFO for a control file": Damage(replace("control_path", os.mkfifo), ODD),
    "link for a control file": Damage(replace("control_path", link), LINK),
    "folder for a control file": Damage(
        replace("control_path", os.mkdir), rb"it is a directory; move it away"
    ),
    "control file that vanished": Damage(lambda mail: os.unlink(mail.control_path), GONE),
    "FIFO for a message": Damage(replace("message_path", os.mkfifo), ODD, "deferred"),
    "link for a message": Damage(replace("message_path", link), LINK, "deferred"),
    "folder for a message": Damage(replace("message_path", os.mkdir), ODD, "deferred"),
    "message that is gone": Damage(lambda mail: os.unlink(mail.message_path), GONE, "error2"),
}


class Batch(NamedTuple):
    """What came of a batch in which every other mail is damaged.  The spool goes when this does."""

    spool: SpoolMaker
    damaged: dict[str, SpooledMail]
    good: list[SpooledMail]
    before: dict[str, bytes]
    lines: list[bytes]
    delivered: int

    def about(self, name: str) -> tuple[list[bytes], list[Report], int]:
        """Return comments, reports and the number of `#resync` for a damaged mail."""
        mail = self.damaged[name]
        known = list(map(read_line, self.lines))
        comments = [re.sub(rb"\A# zsmtp:\d+: ", b"", line) for line in self.lines if line.startswith(b"# ")]
        about = rb"(?<!\d)%d(?!\d)" % mail.number
        return (
            [comment for comment in comments if re.search(about, comment)],
            [line for line in known if isinstance(line, Report) and line.number == mail.number],
            self.lines.count(b"#resync " + mail.name.encode()),
        )


@cache
def batch() -> Batch:
    """Feed one agent all damaged mails at once, with a good one after each."""
    spool = SpoolMaker()
    damaged, good, fed = {}, [], b""
    for number, (name, damage) in enumerate(DAMAGES.items(), 7_000_000):
        damaged[name] = mail = spool.add(number=number)
        damage.do(mail)
        good.append(spool.add())
        fed += mail.feed(b"example.net") + good[-1].feed()
    before = {name: content(mail) for name, mail in damaged.items()}
    with ScriptedServer(Table()) as server:
        agent = RawAgent(command("-F", f"[127.0.0.1]:{server.port}"), spool.transport)
        try:
            agent.send(fed)
            lines = agent.until_hungry(1 + fed.count(b"\n")) + agent.rest()
        finally:
            agent.close()
        delivered = len(server.messages)
    return Batch(spool, damaged, good, before, lines, delivered)


def content(mail: SpooledMail) -> bytes:
    """Return what the control file holds, where it is a file of usual size."""
    path = mail.control_path
    if not os.path.isfile(path) or os.path.getsize(path) > 1 << 20:
        return b""
    with open(path, "rb") as file:
        return file.read()


class DamagedMail(AgentCase):
    """Everything in one batch."""

    def test_one_hungry_for_each_order(self) -> None:
        self.assertEqual(batch().lines.count(b"#hungry"), 1 + 2 * len(DAMAGES))

    def test_other_mail_goes_out(self) -> None:
        for mail in batch().good:
            self.assertEqual(set(mail.tags().values()), {b"+"})
        self.assertEqual(batch().delivered, len(batch().good) + 1)

    def test_one_warning_names_file_place_and_remedy(self) -> None:
        for name, damage in DAMAGES.items():
            with self.subTest(name):
                comments, _, _ = batch().about(name)
                self.assertEqual(len(comments), 1, comments)
                self.assertRegex(comments[0], damage.warning)

    def test_there_are_no_other_comments(self) -> None:
        comments = [line for line in batch().lines if line.startswith(b"# ")]
        self.assertEqual(len(comments), len(DAMAGES))

    def test_nobody_is_bounced_but_for_a_message_that_is_gone(self) -> None:
        for name, damage in DAMAGES.items():
            with self.subTest(name):
                _, reports, resyncs = batch().about(name)
                self.assertEqual([report.word for report in reports], [damage.told] if damage.told else [])
                self.assertEqual(resyncs, 0 if damage.told else 1)

    def test_nothing_is_written_to_a_file_that_is_not_understood(self) -> None:
        for name, damage in DAMAGES.items():
            with self.subTest(name):
                now = content(batch().damaged[name])
                if damage.told in ("", "deferred"):
                    self.assertEqual(now, batch().before[name])
                else:
                    self.assertEqual(marks.changes(batch().before[name], now), [])

    def test_nothing_outside_is_read(self) -> None:
        for line in batch().lines:
            self.assertNotIn(b"root:", line)


class ChangedWhileWeHoldIt(AgentCase):
    """Other processes that do not keep to the rules."""

    def interfere(self, act: Callable[[SpooledMail], None]) -> tuple[SpooledMail, list[bytes], int]:
        """Do something to a mail whose recipients we have locked and offered; return what is told."""
        server = self.server(Table({"rcpt": ["250 ok", "hang"]}), Table())
        mail = self.spool.add(recipients=[b"bob@example.net", b"al@example.net"])
        other = self.spool.add()
        agent = self.raw(server=server)
        agent.until_hungry()
        agent.send(mail.feed(b"example.net") + other.feed())
        self.eventually(lambda: bool(server.connections) and server.connections[0].client.count(b"RCPT") == 2)
        act(mail)
        agent.process.send_signal(signal.SIGTERM)
        lines = agent.rest(end_input=False)
        self.assertEqual(agent.process.returncode, 0)
        self.assertEqual(set(other.tags().values()), {b" "})
        return mail, lines, len(server.messages)

    def test_mark_of_somebody_else_is_left_alone(self) -> None:
        def act(mail: SpooledMail) -> None:
            with open(mail.control_path, "r+b") as file:
                file.seek(mail.offsets[0] + 1)
                file.write(b"~   999")
                file.seek(mail.offsets[1] + 1)
                file.write(b"+      ")

        mail, lines, _ = self.interfere(act)
        self.assertEqual(list(mail.tags().values()), [b"~", b"+"])
        self.assertEqual(len([line for line in lines if b"\tdeferred " in line]), 2)

    def test_file_that_was_removed_is_not_made_anew(self) -> None:
        mail, lines, _ = self.interfere(lambda mail: os.unlink(mail.control_path))
        self.assertFalse(os.path.exists(mail.control_path))
        self.assertEqual(len([line for line in lines if b"\tdeferred " in line]), 2)

    def test_file_that_was_cut_does_not_grow(self) -> None:
        mail, lines, _ = self.interfere(lambda mail: os.truncate(mail.control_path, 60))
        self.assertEqual(os.path.getsize(mail.control_path), 60)
        self.assertEqual(len([line for line in lines if b"\tdeferred " in line]), 2)

    def test_delivery_is_told_although_the_mark_is_somebody_elses(self) -> None:
        server = self.server(slow_at_the_dot("250 2.0.0 taken"))
        mail = self.spool.add()
        agent = self.raw(server=server)
        agent.send(mail.feed(b"example.net"))
        self.eventually(lambda: bool(server.messages))
        with open(mail.control_path, "r+b") as file:
            file.seek(mail.offsets[0] + 1)
            file.write(b"~   999")
        _, warning, report, _ = agent.until_hungry(2)
        self.assertRegex(warning, rb"# zsmtp:\d+: %d: recipient at \d+ is no longer ours" % mail.number)
        self.assertIn(b"\tok3 ", report)
        self.assertEqual(mail.recipients()[0].owner, b"   999")


class Unreadable(AgentCase):
    """Files that the agent may not read."""

    def test_unreadable_files_are_told_and_left(self) -> None:
        server = self.server()
        control, message, good = self.spool.add(), self.spool.add(), self.spool.add()
        os.chmod(control.control_path, 0)
        os.chmod(message.message_path, 0)
        agent = RawAgent(self.without_privileges(server), self.spool.transport)
        self.addCleanup(agent.close)
        agent.send(b"".join(mail.feed(b"example.net") for mail in (control, message, good)))
        lines = agent.until_hungry(4)
        comments = [line for line in lines if line.startswith(b"# ")]
        self.assertEqual(len(comments), 2, lines)
        for comment in comments:
            self.assertIn(b"Permission denied; make it accessible for the user that runs this", comment)
        self.assertIn(b"#resync " + control.name.encode(), lines)
        self.assertEqual(len([line for line in lines if b"\tdeferred " in line]), 1)
        self.assertEqual(set(good.tags().values()), {b"+"})
        self.assertEqual((message.now(), agent.rest()), (message.control, []))

    def without_privileges(self, server: ScriptedServer) -> list[str]:
        """Return the command of an agent that modes of files stop, even if it is root."""
        argv = command("-F", f"[127.0.0.1]:{server.port}")
        if os.geteuid() != 0:
            return argv
        probe = subprocess.run([sys.executable, "-c", _DROP], timeout=60, check=False)
        if probe.returncode:
            self.skipTest("root may not give up its privileges here")
        return [sys.executable, "-c", f"{_DROP}; import os; os.execv(sys.argv[1], sys.argv[1:])", *argv]


# CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH leave the bounding set, and with the next execve(2) the process
_DROP = (
    "import ctypes, sys; drop = ctypes.CDLL(None).prctl; "
    "sys.exit(3) if any(drop(24, number, 0, 0, 0) for number in (1, 2)) else None"
)


class ManyAtOnce(AgentCase):
    """What the size of things does."""

    def test_recipients_of_other_hosts_are_not_touched(self) -> None:
        server = self.server()
        hosts = [b"h0.example", b"h1.example", b"h2.example"] * 10
        mail = self.spool.add(recipients=[Addressee(b"u@x.org", host) for host in hosts])
        result = self.scheduler(server=server, jobs=[Job(mail.name, b"h1.example")]).run()
        self.assertEqual(len(result.reports), 10)
        self.assertEqual(list(mail.tags().values()), [b" ", b"+", b" "] * 10)
