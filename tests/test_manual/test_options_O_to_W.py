"""smtp(8zm), section OPTIONS, from -O to -W (and -p, which stands in the synopsis only)."""

from __future__ import annotations

import re
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from tests.test_manual.manual import ManualCase, Run
from zsmtp.options import Settings, parse
from zsmtp.smtp.patience import Timeouts
from zsmtp.testing.dialogue import Script
from zsmtp.testing.scheduler import Job
from zsmtp.testing.spool import Addressee


class OptionP(ManualCase):
    """-p remote-port."""

    def test_connects_to_that_port(self) -> None:
        server = self.server()
        run = self.carry("-F", "[127.0.0.1]", "-p", str(server.port), server=server, forced=False)
        self.assertEqual(run.words, ["ok3"])

    def test_name_of_a_service_will_do(self) -> None:
        """Beyond the page: the original took digits alone."""
        settings = parse(["-p", "submission"], "zsmtp")
        assert isinstance(settings, Settings)
        self.assertEqual(settings.port, 587)

    def test_anything_else_is_a_usage_error(self) -> None:
        self.assertIn('-p "99999"', self.refused("-p", "99999"))


class OptionO(ManualCase):
    """-O: generic text-keyword option interface."""

    def senders(self, *words: str) -> list[bytes]:
        """The sender addresses of a list in EZMLM mode."""
        users = [
            Addressee(b"%b@example.net" % name, notary=b"EZMLM=-%b=example.net" % name)
            for name in (b"a", b"b")
        ]
        run = self.carry(*words, mails=[self.spool.add(sender=b"list@example.com", recipients=users)])
        self.assertEqual(run.words, ["ok3", "ok3"])
        return [message.sender for message in run.connection.messages]

    def test_lists_in_ezmlm_mode_have_a_sender_for_each_recipient(self) -> None:
        first, second = self.senders()
        self.assertTrue(first.startswith(b"list-b=example.net-"), first)
        self.assertTrue(second.startswith(b"list-a=example.net-"), second)

    def test_ignore_ezmlm_ignores_that(self) -> None:
        self.assertEqual(self.senders("-O", "ignore-ezmlm"), [b"list@example.com"])

    def test_unknown_keyword_is_a_usage_error_that_lists_the_known_ones(self) -> None:
        self.assertIn("ignore-ezmlm", self.refused("-O", "no-such"))


class OptionCapitalP(ManualCase):
    """-P: disable PIPELINING usage."""

    def test_one_command_at_a_time_to_a_server_that_offers_it(self) -> None:
        flights = self.carry("-P").connection.flights
        self.assertEqual([flight.split(b" ")[0] for flight in flights[1:4]], [b"MAIL", b"RCPT", b"DATA\r\n"])

    def test_without_it_the_commands_go_together(self) -> None:
        flights = self.carry().connection.flights
        self.assertEqual(re.findall(rb"(?m)^(MAIL|RCPT|DATA)\b", flights[1]), [b"MAIL", b"RCPT", b"DATA"])


OPENING = "S: 220 mx\nC: EHLO *\nS: 250 mx\nC: MAIL *\n"
ENVELOPE = OPENING + "S: 250 ok\nC: RCPT *\nS: 250 ok\nC: DATA\n"
STALLS = {
    "mail": OPENING + "-- silence",
    "data": ENVELOPE + "-- silence",
    "dot": ENVELOPE + "S: 354 go\nC-data:\n-- silence",
    "tcpw": ENVELOPE + "S: 354 go\n-- stop reading",
}


class OptionT(ManualCase):
    """-T timeouts, each with a server that stalls at its place; all wait side by side."""

    def stalled(self, stage: str, *words: str) -> tuple[float, Run]:
        """Deliver to a server that stalls; give the seconds that it took."""
        server = self.server(Script(STALLS[stage]), receive_buffer=4096)
        mail = self.spool.add(body=b"x" * 70 + b"\n" if stage != "tcpw" else (b"x" * 70 + b"\n") * 200_000)
        others = [word for name in ("conn", "tcpw", "data", "dot") for word in ("-T", f"{name}=50")]
        began = time.monotonic()
        run = self.carry("-w", "8192", *others, *words, server=server, mails=[mail])
        return time.monotonic() - began, run

    def unconnected(self) -> tuple[float, Run]:
        """Connect to a host that does not answer: its queue of connections is full."""
        with ExitStack() as stack:
            listening = stack.enter_context(socket.socket())
            listening.bind(("127.0.0.1", 0))
            listening.listen(0)
            for _ in range(4):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex(listening.getsockname())
            where = f"[127.0.0.1]:{listening.getsockname()[1]}"
            began = time.monotonic()
            run = self.carry("-F", where, "-T", "50", "-T", "conn=10", server=self.server(), forced=False)
            return time.monotonic() - began, run

    def test_fires_at_its_time_and_defers(self) -> None:
        """conn, cmd, a plain value, data, dot and tcpw."""
        rows = {
            "cmd": ("mail", ("-T", "cmd=5"), 5),
            "plain value": ("mail", ("-T", "5s"), 5),
            "data": ("data", ("-T", "cmd=50", "-T", "data=10"), 10),
            "dot": ("dot", ("-T", "cmd=50", "-T", "dot=10"), 10),
            "tcpw": ("tcpw", ("-T", "cmd=50", "-T", "tcpw=10s"), 10),
        }
        with ThreadPoolExecutor(len(rows) + 1) as pool:
            waiting = {
                name: pool.submit(self.stalled, stage, *words) for name, (stage, words, _) in rows.items()
            }
            waiting["conn"] = pool.submit(self.unconnected)
            for name, future in waiting.items():
                with self.subTest(name):
                    seconds = rows[name][2] if name in rows else 10
                    took, run = future.result()
                    self.assertGreater(took, seconds)
                    self.assertLess(took, 45)
                    self.assertTrue(run.report.is_deferral, run.report)
                    if name in rows:
                        self.assertIn(b"Timeout of %d sec" % seconds, run.report.text)

    def test_intervals_have_units(self) -> None:
        settings = parse(["-T", "conn=1m30s", "-T", "dot=2h", "-T", "7m"], "zsmtp")
        assert isinstance(settings, Settings)
        self.assertEqual(settings.timeouts, Timeouts(connect=90.0, command=420.0, dot=7200.0))

    def test_defaults(self) -> None:
        """conn=3m, tcpw=5m, cmd=5m, dot=20m; the page's 2m for data was 5m in the program, and is."""
        said = {"connect": 3, "write": 5, "command": 5, "data": 5, "dot": 20}
        self.assertEqual(
            Settings().timeouts._asdict(), {name: 60.0 * minutes for name, minutes in said.items()}
        )

    def test_bad_interval_is_a_usage_error(self) -> None:
        self.assertIn("-T data= takes", self.refused("-T", "data=2minutes"))


class OptionV(ManualCase):
    """-V: prints a version message and exits."""

    def test_prints_a_version_message_and_exits(self) -> None:
        ran = self.run_program("-V")
        self.assertEqual((ran.status, ran.output), (0, b""))
        self.assertRegex(ran.errors, rb"zsmtp [0-9]+\.[0-9]+")


class OptionLowW(ManualCase):
    """-w sockwbufsize: sets the local socket write buffer size."""

    def queued(self, *words: str) -> int:
        """How many octets our kernel holds for a server that does not read."""
        server = self.server(Script(STALLS["tcpw"]), receive_buffer=4096)
        mail = self.spool.add(body=(b"x" * 70 + b"\n") * 100_000)
        stand_in = self.scheduler(*words, server=server)
        stand_in.start()
        stand_in.add(Job(mail.name))
        stand_in.pump(lambda: bool(server.connections) and b"DATA\r\n" in server.connections[0].client)
        sizes = [0, -1]
        while len(set(sizes[-3:])) > 1 or not sizes[-1]:  # until it does not grow any more
            time.sleep(0.05)
            sizes.append(_send_queue(server.port))
        stand_in.stop()
        return sizes[-1]

    def test_makes_the_buffer_smaller(self) -> None:
        self.assertLess(self.queued("-w", "2000"), 20_000)

    def test_default_is_the_systems(self) -> None:
        self.assertGreater(self.queued(), 20_000)


class OptionW(ManualCase):
    """-W: turns on the DNS WKS checking."""

    def services(self, *records: str) -> Run:
        """Deliver to a host with these WKS records."""
        names = self.names("hub.example A 127.0.0.1", *(f"hub.example WKS {one}" for one in records))
        server = self.server()
        where = ("-F", "hub.example", "-x", "-X", "-p", str(server.port))
        return self.carry("-W", *names.options, *where, server=server, forced=False)

    def test_delivery_to_a_system_without_smtp_in_its_wks_bits_is_aborted(self) -> None:
        run = self.services("127.0.0.1 6 21 80")
        self.assertEqual((run.report.word, run.server.connections), ("error2", []))

    def test_system_that_has_it_gets_its_mail(self) -> None:
        self.assertEqual(self.services("127.0.0.1 6 21 25").words, ["ok3"])

    def test_system_without_such_records_gets_its_mail(self) -> None:
        """A difference on purpose: nobody has them today, and the original refused everybody."""
        self.assertEqual(self.services().words, ["ok3"])


def _send_queue(port: int) -> int:
    """Octets in the send queue of the connection to that port."""
    wanted = f":{port:04X}"
    with open("/proc/net/tcp", encoding="ascii") as file:
        rows = [line.split() for line in file][1:]
    return max((int(row[4].split(":")[0], 16) for row in rows if row[2].endswith(wanted)), default=0)
