"""Option -T against servers that really stall, each with its smallest value; all wait at the same time.

That each deadline falls to the second is in tests/net/test_sender.py, with a clock of its own.
"""

from __future__ import annotations

import select
import socket
import time

from tests.agent.agents import AgentCase, RawAgent
from zsmtp.testing.dialogue import Script
from zsmtp.testing.server import ScriptedServer
from zsmtp.testing.spool import SpooledMail

HELLO = "S: 220 mx\nC: EHLO *\nS: 250 mx\n"
DATA = HELLO + "C: MAIL *\nS: 250 ok\nC: RCPT *\nS: 250 ok\nC: DATA\n"


class Stalled(AgentCase):
    """One agent for each deadline."""

    def black_hole(self) -> tuple[str, int]:
        """A port whose queue is full: the kernel drops whoever else wants to connect."""
        listening = socket.socket()
        self.addCleanup(listening.close)
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            waiting = socket.socket()
            self.addCleanup(waiting.close)
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        time.sleep(0.2)
        host, port = listening.getsockname()
        return str(host), int(port)

    def silent(self, script: str, **options: object) -> ScriptedServer:
        """A server that stalls at the end of a script."""
        return self.server(Script(script), **options)

    def test_each_fires_at_its_time(self) -> None:
        silent = {
            "cmd": (self.silent("-- silence"), 5, "no answer in time"),
            "data": (self.silent(DATA + "-- silence"), 10, "no answer in time"),
            "dot": (self.silent(DATA + "S: 354 go\nC-data:\n-- silence"), 10, "no answer in time"),
            "tcpw": (
                self.silent(DATA + "S: 354 go\n-- stop reading\n-- silence", receive_buffer=4096),
                10,
                "timeout on write",
            ),
        }
        cases = {key: (one.host, one.port, limit, why) for key, (one, limit, why) in silent.items()}
        cases["conn"] = (*self.black_hole(), 10, "Connection timed out")
        running: dict[str, tuple[RawAgent, float, SpooledMail]] = {}
        for key, (host, port, limit, _) in cases.items():
            body = b"x" * 70 + b"\n"
            mail = self.spool.add(body=body * 100_000 if key == "tcpw" else body)
            agent = self.raw(
                "-O", "no-starttls", "-w", "4096", "-T", f"{key}={limit}", "-F", f"[{host}]:{port}"
            )
            agent.until_hungry()
            agent.send(mail.feed(b"example.net"))
            running[key] = (agent, time.monotonic(), mail)
        took: dict[str, float] = {}
        while len(took) < len(running):
            for key, (agent, since, _) in running.items():
                if key not in took and (agent._unread or select.select([agent._output], [], [], 0.05)[0]):
                    took[key] = time.monotonic() - since
            self.assertLess(time.monotonic() - min(one[1] for one in running.values()), 60)
        for key, (agent, _, mail) in running.items():
            with self.subTest(key):
                limit, why = cases[key][2:]
                report = agent.until_hungry()[0]
                self.assertIn(why.encode(), report)
                self.assertGreaterEqual(took[key], limit - 0.5)
                self.assertLess(took[key], limit + 20)  # a busy machine is slow, never early
                self.assertEqual(set(mail.tags().values()), {b" "})
