"""Option -D as a postmaster uses it: rows C23 and C24 of the agent specification, and what became of them."""

from __future__ import annotations

import subprocess
import sys

from tests.agent.agents import AgentCase, measured
from zsmtp.testing.server import ScriptedServer, unused_port
from zsmtp.testing.table import table


class Probe(AgentCase):
    """One run, and what it says on standard error."""

    def probe(self, *words: str) -> tuple[int, str]:
        """Run it; standard output stays empty."""
        done = subprocess.run(
            [sys.executable, "-m", "zsmtp", "-h", "client.example", "-D", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
            cwd=self.spool.transport,
            env={"PATH": "/usr/bin", **measured(), "PYTHONPATH": ":".join(sys.path)},
        )
        self.assertEqual(done.stdout, b"")
        return done.returncode, done.stderr.decode()

    def at(self, server: ScriptedServer) -> tuple[str, str]:
        """The options that lead to a server."""
        return "-F", f"[{server.host}]:{server.port}"

    def test_c23_session_is_shown_and_ended_without_mail(self) -> None:
        server = self.server(table("+P"))
        status, said = self.probe(*self.at(server))
        self.assertEqual(status, 0, said)
        self.assertIn(f"Trying 127.0.0.1 [127.0.0.1|{server.port}] ... connected!\n", said)
        self.assertIn("    <- 220 ", said)
        self.assertIn("    -> EHLO client.example\n", said)
        server.wait_finished()
        self.assertEqual([one.split()[0] for one in server.connections[0].commands], [b"EHLO", b"QUIT"])

    def test_c24_nobody_listens(self) -> None:
        port = unused_port()
        status, said = self.probe("-F", f"[127.0.0.1]:{port}")
        self.assertEqual(status, 75)
        self.assertIn(f"Trying 127.0.0.1 [127.0.0.1|{port}] ... smtp; 500 (connect to ", said)
        self.assertIn("Connection refused", said)

    def test_server_that_refuses_for_now_or_for_ever(self) -> None:
        for reply, wanted in (("421 busy", 75), ("521 no mail here", 69)):
            status, said = self.probe(*self.at(self.server(table(f"banner {reply}"))))
            self.assertEqual(status, wanted)
            self.assertIn(f"    <- {reply}\n", said)

    def test_host_that_cannot_be_a_destination(self) -> None:
        status, said = self.probe("[192.0.2]")
        self.assertEqual(status, 68)
        self.assertIn("bad IP address", said)

    def test_name_server_that_is_not_there(self) -> None:
        status, said = self.probe("-O", "nameserver=127.0.0.1:1", "host.example")
        self.assertEqual(status, 75)
        self.assertIn("No DNS response", said)

    def test_without_a_host_there_is_nothing_to_do(self) -> None:
        status, said = self.probe()
        self.assertEqual(status, 64)
        self.assertIn("-D needs a host to connect to", said.splitlines()[0])
        self.assertTrue(said.splitlines()[1].startswith("Usage: zsmtp "))
