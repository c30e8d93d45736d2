"""What a postmaster can find out: transcript, debugging output, the sender's own log, the Z-environment."""

from __future__ import annotations

import os
import re
import socket
import time
from functools import cached_property

from tests.agent.agents import DEADLINE, AgentCase
from tests.net.test_proctitle import title_of
from zsmtp.spool.layout import spool_id
from zsmtp.testing.dialogue import Script
from zsmtp.testing.scheduler import Job, Result
from zsmtp.testing.server import unused_port
from zsmtp.testing.spool import Addressee, SpooledMail
from zsmtp.testing.table import Table

STOPS_READING = Script(
    """
    S: 220 mx.example
    C: EHLO *
    S: 250 mx.example
    C: MAIL *
    S: 250 ok
    C: RCPT *
    S: 250 ok
    C: DATA
    -- stop reading
    S: 354 go
    """
)

_LINE = re.compile(rb"(\d{5,})([0-9A-F]{4})-(\d{4})-(\d{4})([wr#])\t([^\n]*)\n")


class Logged(AgentCase):
    """An agent with `-l`."""

    @cached_property
    def path(self) -> str:
        """The transcript."""
        return os.path.join(self.spool.postoffice, "transcript")

    def lines(self) -> list[tuple[bytes, ...]]:
        """Return the fields of all lines of the transcript, each of which must be one."""
        with open(self.path, "rb") as file:
            octets = file.read()
        found = [match.groups() for match in _LINE.finditer(octets)]
        self.assertEqual(b"".join(b"%b%b-%b-%b%b\t%b\n" % line for line in found), octets)
        return found


class Transcripts(Logged):
    """The file of -l."""

    def test_l01_l02_l09_whole_story_of_two_jobs(self) -> None:
        server = self.server()
        mails = [self.spool.add(body=b"SECRET BODY\n") for _ in range(2)]
        jobs = [Job(mail.name) for mail in mails] + [Job("4711")]
        stand_in = self.scheduler("-l", self.path, "-d", "-d", server=server, jobs=jobs, overfeed=9)
        result = stand_in.run("newline")
        lines = self.lines()
        with self.subTest("L01: tags"):
            self.assertEqual({int(line[0]) for line in lines}, {result.pid})
            self.assertEqual([int(line[2]) for line in lines], list(range(len(lines))))
            self.assertEqual(len({line[1] for line in lines}), 1)
        kinds = {kind: [line[5] for line in lines if line[4] == kind] for kind in (b"w", b"r", b"#")}
        with self.subTest("dialogue"):
            self.assertEqual(kinds[b"w"][0], b"EHLO client.example")
            self.assertEqual(kinds[b"w"].count(b"DATA"), 2)
            self.assertEqual(kinds[b"r"][0], b"220 fake.example.test ESMTP fake")
        with self.subTest("L02: no content"):
            self.assertNotIn(b"SECRET", b"".join(line[5] for line in lines))
        with self.subTest("remarks"):
            remarks = b"\n".join(kinds[b"#"])
            name = mails[0].name.encode()
            where = b"[127.0.0.1|%d]" % server.port
            for wanted in (
                rb"\AStart time: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}$",
                b"^jobspec: %b\texample.net$" % name,
                b"^%b: <m1@example.com>$" % name,
                rb"^\(Connecting to `127.0.0.1' " + re.escape(where),
                b"^DIAG: C='smtp' H='example.net' U='bob@example.net' P='99' ID=%b/" % name,
                rb"^c='smtp' h='example.net' #resync 4711$",
                rb"^control file 4711 cannot be opened",
                rb"^\(closed SMTP channel - final close\)\Z",
            ):
                self.assertRegex(remarks, re.compile(wanted, re.MULTILINE))
        with self.subTest("L09: -d -d"):
            for comment in result.comments:
                self.assertRegex(
                    comment, rb"\A(zsmtp:%d: |\(fdcnt=\d+, file:\d+, host:example.net\)\Z)" % result.pid
                )
            self.assertEqual(sum(comment.startswith(b"(fdcnt=") for comment in result.comments), 3)
        with self.subTest("nobody else may read it"):
            self.assertEqual(os.stat(self.path).st_mode & 0o777, 0o640)

    def test_l02_end_of_a_message_and_its_size_are_noted(self) -> None:
        mail = self.spool.add(recipients=[b"a@example.net", b"b@example.net"], body=b"12345\n")
        server = self.server()
        self.scheduler("-l", self.path, server=server, jobs=[Job(mail.name)]).run()
        lines = [line[4:] for line in self.lines()]
        self.assertLess(lines.index((b"w", b"DATA")), lines.index((b"w", b".")))
        (counted,) = [text for kind, text in lines if kind == b"#" and b" bytes, " in text]
        size = len(server.messages[0])
        self.assertRegex(
            counted, rb"\A%d bytes, %d in header, 2 recipients, \d+\.\d{3} secs\Z" % (size, size - 7)
        )

    def test_l02_chunks_are_noted_with_their_sizes(self) -> None:
        server = self.server(Table(announce=["CHUNKING", "PIPELINING"]))
        # the first message of a connection goes by DATA
        mails = [
            self.spool.add(),
            self.spool.add(body=b"x" * 99 + b"\n"),
            self.spool.add(body=b"0123456789\n" * 15_000),
        ]
        self.scheduler("-l", self.path, server=server, jobs=[Job(mail.name) for mail in mails]).run()
        said = [line[5] for line in self.lines() if line[4] == b"w"]
        chunks = [line for line in said if line.startswith(b"BDAT ")]
        self.assertGreater(len(chunks), 3)
        self.assertEqual(
            [line.endswith(b" LAST") for line in chunks], [True, *[False] * (len(chunks) - 2), True]
        )
        self.assertEqual(
            sum(int(line.split()[1]) for line in chunks),
            sum(len(message) for message in server.messages[1:]),
        )

    def test_refused_message_has_no_size(self) -> None:
        mail = self.spool.add()
        server = self.server(Table({"dot": "554 5.7.1 no"}))
        self.scheduler("-l", self.path, server=server, jobs=[Job(mail.name)]).run()
        self.assertNotIn(b" bytes, ", b"\n".join(line[5] for line in self.lines()))

    def test_l04_many_agents_write_whole_lines_into_one_file(self) -> None:
        server = self.server()
        agents = [self.raw("-l", self.path, server=server) for _ in range(4)]
        users = [b"user%03d@example.net" % number for number in range(40)]
        for agent in agents:
            agent.until_hungry()
        for agent in agents:
            mails = [self.spool.add(recipients=users) for _ in range(25)]
            agent.send(b"".join(mail.feed(b"example.net") for mail in mails) + b"\n")
        for agent in agents:
            self.assertEqual(len(agent.rest()), 25 * 41)
        lines = self.lines()  # has found each of them whole
        self.assertEqual({int(line[0]) for line in lines}, {agent.process.pid for agent in agents})
        for agent in agents:
            own = [line for line in lines if int(line[0]) == agent.process.pid]
            self.assertEqual([int(line[2]) for line in own], [number % 10000 for number in range(len(own))])
            said = [line[5].split(b" ")[0] for line in own if line[4] == b"w"]
            self.assertEqual((said.count(b"RCPT"), said.count(b"."), said[-1]), (1000, 25, b"QUIT"))

    def test_rotated_file_is_followed(self) -> None:
        server = self.server()
        stand_in = self.scheduler("-l", self.path, server=server)
        stand_in.start()
        stand_in.add(Job(self.spool.add().name))
        stand_in.pump(lambda: stand_in.feeding.is_idle)
        os.rename(self.path, self.path + ".1")
        began = time.time()
        self.eventually(lambda: int(time.time()) > int(began), "the next second")
        stand_in.add(Job(self.spool.add().name))
        stand_in.pump(lambda: stand_in.feeding.is_idle)
        self.assertEqual(list(stand_in.finish().words.values()), ["ok3"] * 2)
        said = [line[5] for line in self.lines()]
        self.assertIn(b"(closed SMTP channel - final close)", said)
        self.assertIn(b"DATA", said)
        with open(self.path + ".1", "rb") as file:
            self.assertEqual(file.read().count(b"w\tDATA\n"), 1)

    def test_full_disk_costs_one_warning(self) -> None:
        server = self.server()
        jobs = [Job(self.spool.add().name) for _ in range(3)]
        result = self.scheduler("-l", "/dev/full", server=server, jobs=jobs).run()
        self.assertEqual(list(result.words.values()), ["ok3"] * 3)
        (warning,) = result.comments
        self.assertIn(b'logfile "/dev/full": No space left on device', warning)

    def test_l03_server_cannot_write_to_a_terminal(self) -> None:
        server = self.server(Table({"rcpt": b"550 a\x1b[2J\x00b\tc\r\n"}))
        mail = self.spool.add()
        self.scheduler("-l", self.path, server=server, jobs=[Job(mail.name)]).run()
        self.assertIn(rb"550 a\x1b[2J\x00b" + b"\tc", [line[5] for line in self.lines()])

    def test_close_of_a_connection_has_its_reason(self) -> None:
        server = self.server(Table({"rcpt": "421 4.3.2 bye+X"}), Table({"banner": "554 no+X"}))
        first, second = (
            self.spool.add(recipients=[Addressee(b"u@x.org", host)]) for host in (b"a.example", b"b.example")
        )
        jobs = [Job(first.name, b"a.example"), Job(second.name, b"b.example")]
        self.scheduler("-l", self.path, server=server, jobs=jobs).run()
        remarks = [line[5] for line in self.lines() if line[4] == b"#"]
        self.assertTrue(any(b"closed" in remark and b"421" in remark for remark in remarks), remarks)

    def test_c17_transcript_that_cannot_be_opened_is_told(self) -> None:
        server = self.server()
        mail = self.spool.add()
        result = self.scheduler("-l", "/nonexistent/x", server=server, jobs=[Job(mail.name)]).run()
        self.assertRegex(
            result.comments[0], rb'zsmtp:\d+: cannot open logfile "/nonexistent/x"! No such file'
        )
        self.assertEqual([report.word for report in result.reports], ["ok3"])


class Debugging(AgentCase):
    """Option -d."""

    def test_remarks_go_to_the_scheduler_as_comments(self) -> None:
        server = self.server()
        mail = self.spool.add()
        result = self.scheduler("-d", server=server, jobs=[Job(mail.name)]).run()
        said = b"\n".join(result.comments)
        self.assertIn(b"(Connecting to `127.0.0.1'", said)
        self.assertNotIn(b"fdcnt", said)


class Titles(AgentCase):
    """Option -s, seen by ps(1)."""

    def test_l05_progress_is_seen(self) -> None:
        for row, behaviour, wanted in (
            (
                "greeting",
                Table({"banner": "hang"}),
                rb"\[127\.0\.0\.1\|%d\] \[127\.0\.0\.1\] connecting to \[",
            ),
            ("envelope", Table({"rcpt": "hang"}, announce=[]), rb"127\.0\.0\.1\|%d\|127\.0\S* \S+ RCPT wait"),
            ("dot", Table({"dot": "hang"}), rb"127\.0\.0\.1\|%d\|127\.0\S* \S+ DATA-dot wait"),
        ):
            with self.subTest(row):
                server = self.server(behaviour)
                agent = self.raw("-s", server=server)
                agent.until_hungry()
                self.see(agent.process.pid, rb"zsmtp >\[\] \(nil\) #hungry")
                agent.send(self.spool.add(recipients=[b"secret@example.net"]).feed(b"example.net"))
                title = self.see(agent.process.pid, b"zsmtp >" + wanted % server.port)
                self.assertNotIn("secret", title)

    def test_l05_long_message_shows_how_far_it_is(self) -> None:
        server = self.server(STOPS_READING)
        agent = self.raw("-s", "-w", "4096", server=server)
        agent.until_hungry()
        mail = self.spool.add(body=b"0123456789\n" * 2_000_000)
        agent.send(mail.feed(b"example.net"))
        self.see(agent.process.pid, rb"zsmtp >127\S+ \S+ DATA \d+/24\d{6} \(\d+%\)")

    def test_l05_what_comes_after_delivery(self) -> None:
        server = self.server()
        agent = self.raw("-s", server=server)
        agent.until_hungry()
        agent.send(self.spool.add().feed(b"example.net"))
        agent.until_hungry()
        self.see(agent.process.pid, rb"zsmtp >127\S+ \S+ #hungry")
        agent.send(b"#idle\n")
        agent.until_hungry()
        self.see(agent.process.pid, rb"zsmtp >127\S+ \S+ #idle")
        self.assertEqual(agent.rest(), [])
        self.assertEqual(agent.process.returncode, 0)

    def test_l06_without_it_the_title_is_the_command_line(self) -> None:
        server = self.server(Table({"dot": "hang"}))
        agent = self.raw(server=server)
        agent.until_hungry()
        before = title_of(agent.process.pid)
        self.assertIn("zsmtp -h client.example -O syslog=none", before)
        agent.send(self.spool.add().feed(b"example.net"))
        self.assertTrue(server.wait(lambda server: bool(server.messages)))
        self.assertEqual(title_of(agent.process.pid), before)

    def test_l06_without_it_nothing_of_it_is_loaded(self) -> None:
        for option, wanted in (("-s", 2), ("-1", 0)):
            agent = self.raw(option, environment={"PYTHONPROFILEIMPORTTIME": "1"}, streams="pipes")
            agent.rest()
            self.assertEqual(len(re.findall(rb"zsmtp\.net\.(?:progress|proctitle)\n", agent.errors)), wanted)

    def see(self, pid: int, wanted: bytes) -> str:
        """Wait until ps shows something."""
        pattern = re.compile(wanted.decode())
        self.eventually(lambda: pattern.match(title_of(pid)), wanted.decode())
        return title_of(pid)


class Verbosity(Logged):
    """Option -v."""

    def test_route_is_shown_before_it_is_tried(self) -> None:
        server = self.server()
        for option, times in (("-v", 1), ("-1", 0)):
            with self.subTest(option):
                mail = self.spool.add()
                self.scheduler(option, "-l", self.path, server=server, jobs=[Job(mail.name)]).run()
                said = [line[5] for line in self.lines() if line[5].startswith(b"route: ")]
                self.assertEqual(said, [b"route: 127.0.0.1 [127.0.0.1|%d]" % server.port] * times)
                os.unlink(self.path)


class Replies(Logged):
    """What a server may say at length, and what is none of its business."""

    def test_l07_reply_of_a_hundred_lines_is_one_report(self) -> None:
        lines = b"".join(b"250-" + b"x" * 490 + b"\r\n" for _ in range(99)) + b"250 end\r\n"
        server = self.server(Table({"dot": [lines]}))
        mails = [self.spool.add(), self.spool.add()]
        jobs = [Job(mail.name) for mail in mails]
        result = self.scheduler("-s", "-l", self.path, server=server, jobs=jobs).run()
        self.assertEqual([report.word for report in result.reports], ["ok3", "ok3"])
        self.assertLessEqual(max(map(len, result.output.splitlines())), 8192)
        self.assertEqual(sum(line[5] == b"250 end" for line in self.lines()), 2)

    def test_l10_domain_of_a_recipient_is_not_looked_up(self) -> None:
        """Weakness W31: no look-up in a transaction, and none whose text hides what the server said."""
        server = self.server()
        mail = self.spool.add(recipients=[b"bob@no-such-domain.invalid"])
        nowhere = f"nameserver=127.0.0.1:{unused_port()}"
        result = self.scheduler("-O", nowhere, "-d", server=server, jobs=[Job(mail.name)]).run()
        (report,) = result.reports
        self.assertEqual(report.word, "ok3")
        self.assertNotRegex(report.text.lower(), b"dns|unknown|name server|nxdomain")
        self.assertIn(b"RCPT To:<bob@no-such-domain.invalid>", server.connections[0].client)


class SystemLog(AgentCase):
    """What the log daemon gets."""

    def setUp(self) -> None:
        super().setUp()
        self.path = os.path.join(self.spool.postoffice, "log")
        self.daemon = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(self.daemon.close)
        self.daemon.bind(self.path)
        self.daemon.settimeout(DEADLINE)

    def deliver(self, flags: str | None) -> tuple[list[bytes], Result, list[SpooledMail]]:
        """Deliver two mails to three recipients under these flags; return what was logged."""
        server = self.server(
            Table({"rcpt": ["250 ok", "550-5.1.1 no\r\n550 5.1.1 such user", "450 4.2.0 later"]})
        )
        mails = [
            self.spool.add(recipients=[b"bob@example.net", b"al@example.net"]),
            self.spool.add(recipients=[b"eve@example.net"]),
        ]
        with open(self.spool.zconfig, "w", encoding="ascii") as file:
            file.write("" if flags is None else f"SYSLOGFLG={flags}\n")
        jobs = [Job(mail.name) for mail in mails]
        result = self.scheduler("-O", f"syslog={self.path}", server=server, jobs=jobs).run()
        self.daemon.setblocking(False)
        lines = []
        try:
            while True:
                lines.append(self.daemon.recv(65536))
        except BlockingIOError:
            return lines, result, mails

    def test_l08_one_line_for_each_recipient(self) -> None:
        lines, result, mails = self.deliver(None)
        self.assertEqual(len(lines), 3)
        relay = rb"relay=\[127\.0\.0\.1\] \(\[127\.0\.0\.1\|\d+\|127\.0\.0\.1\|\d+\]\)"
        users = dict(zip(mails[0].offsets, (b"bob", b"al"), strict=True))
        files = {mail.number: os.stat(mail.message_path) for mail in mails}
        self.assertEqual(sorted(result.words.values()), ["deferred", "error2", "ok3"])
        for line, report in zip(lines, result.reports, strict=True):
            status = files[report.number]
            name = spool_id(status.st_ino, status.st_mtime_ns).encode()
            user = b"eve" if report.number == mails[1].number else users[report.offset]
            said = re.escape(report.text.rpartition(b"\r")[2])
            self.assertRegex(said, rb"\d\d\d\\ ")
            self.assertRegex(
                line,
                rb"\A<22>smtp\[%d\]: %b: to=<%b@example\.net>, delay=\d\d:\d\d:\d\d, xdelay=00:00:\d\d, "
                rb"mailer=smtp, %b, stat=%b %b cvt=NONE\Z"
                % (result.pid, name, user, relay, report.word.encode(), said),
            )

    def test_l08_items_may_be_tabulated(self) -> None:
        lines, _, _ = self.deliver("Rt")
        self.assertEqual([line.count(b"\t") for line in lines], [7, 7, 7])

    def test_l08_flags_without_the_letter_mean_silence(self) -> None:
        lines, result, _ = self.deliver("RC")
        self.assertEqual((lines, len(result.reports)), ([], 3))


class Environment(AgentCase):
    """zmailer.conf, where ZCONFIG names it."""

    def deliver(self, environment: dict[str, str]) -> tuple[list[bytes], bytes]:
        """Deliver a mail; return the agent's comments and what the server got."""
        server = self.server()
        mail = self.spool.add(header=b"Received: from a\n\tby b; now\nSubject: x\n")
        agent = self.raw("example.net", server=server, environment=environment)
        agent.send(mail.feed())
        lines = agent.until_hungry(2)
        self.assertEqual(agent.rest(), [])
        self.assertEqual(set(mail.tags().values()), {b"+"})
        return [line for line in lines if line.startswith(b"# ")], server.messages[0]

    def test_c25_missing_file_is_one_comment(self) -> None:
        comments, _ = self.deliver({"ZCONFIG": "/nonexistent/zmailer.conf"})
        self.assertEqual(len(comments), 1)
        self.assertRegex(
            comments[0],
            rb"# zsmtp:\d+: ZCONFIG: /nonexistent/zmailer.conf cannot be read: No such file .*; .*",
        )

    def test_c25_without_zconfig_everything_has_a_default(self) -> None:
        comments, message = self.deliver({})
        self.assertEqual(comments, [])
        self.assertIn(b"for <bob@example.net>", message)

    def test_variables_are_heeded(self) -> None:
        path = os.path.join(self.spool.postoffice, "conf")
        with open(path, "w", encoding="ascii") as file:
            file.write("NORECEIVEDFORCLAUSE=yes\nRFC822TABS=1\n")
        comments, message = self.deliver({"ZCONFIG": path})
        self.assertEqual(comments, [])
        self.assertNotIn(b"for <", message)
        self.assertIn(b"\tby b", message)


class SendersLog(AgentCase):
    """The file that a `v` record names."""

    def test_35_sender_can_watch_the_delivery(self) -> None:
        server = self.server(Table({"rcpt": ["250 ok", "550 5.1.1 no", "250 ok"]}))
        own, foreign = (os.path.join(self.spool.postoffice, "public", name) for name in ("v_1", "v_2"))
        for path in (own, foreign):
            with open(path, "wb") as file:
                file.write(b"begin\n")
        os.chmod(foreign, 0o444)
        absent = os.path.join(self.spool.postoffice, "public", "v_3")
        mails = [
            self.spool.add(recipients=[b"bob@example.net", b"al@example.net"], verbose=b"../public/v_1"),
            self.spool.add(verbose=os.fsencode(absent)),
            self.spool.add(verbose=b"../public/v_2"),
        ]
        result = self.scheduler(server=server, jobs=[Job(mail.name) for mail in mails]).run()
        self.assertEqual([report.word for report in result.reports], ["error2", "ok3", "ok3", "ok3"])
        with open(own, "rb") as file:
            begin, *lines = file.read().splitlines()
        self.assertEqual((begin, len(lines)), (b"begin", 2))
        for line, offset, word in zip(lines, mails[0].offsets, (b"error2", b"ok3"), strict=True):
            about = b"ID=%d/%d L=0 -- stat='%b'" % (mails[0].number, offset, word)
            self.assertRegex(line, b"\\ADIAG: C='smtp' H='example.net' U='.*%b notary='.*MSG='.*'\\Z" % about)
        self.assertFalse(os.path.exists(absent))
        with open(foreign, "rb") as file:
            self.assertEqual(file.read(), b"begin\n")
        self.assertEqual(result.comments, [])
