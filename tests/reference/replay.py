"""Plays a recording: the same files, server, command line and feed, but with our agent.

The agent is a child process with three pipes, as the scheduler starts it.  What it did comes back in the form
of a recording, with placeholders where two runs differ.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.reference.recording import Outcome, Recording, SpoolFile
from tests.reference.server import ScriptedServer

__all__ = ["play"]

PATIENCE: Final = 60.0
"""Seconds for which one agent may run."""

_ROOT: Final = Path(__file__).resolve().parents[2]
_ENVIRONMENT: Final = {"DEFCHARSET": "ISO-8859-1", "RFC822TABS": "1", "TA_USE_MMAP": "0"}


def play(recording: Recording, *, more_arguments: Sequence[str] = ()) -> Outcome:
    """Let our agent do what the original was recorded doing, with `more_arguments` behind its own."""
    with tempfile.TemporaryDirectory(prefix="zsmtp-replay.") as folder:
        post_office = Path(folder)
        _make_spool(post_office, recording)
        server = ScriptedServer(recording.server)
        try:
            arguments = [one.replace("@PORT@", str(server.port)) for one in recording.arguments]
            child = _Child(post_office, [*arguments, *more_arguments])
            child.feed(recording.feed)
        finally:
            server.close()
        mask = _Mask(child.pid, post_office, server)
        return Outcome(
            child.status,
            mask.report(child.stdout),
            mask.report(child.stderr),
            server.connections,
            tuple(mask.control(_read(post_office, file)) for file in recording.files),
        )


def _make_spool(post_office: Path, recording: Recording) -> None:
    settings = {**_ENVIRONMENT, **recording.environment}
    lines = [f"{name}={value}\n" for name, value in settings.items()]
    (post_office / "zmailer.conf").write_text("".join(lines))
    for name in ("transport", "queue", "public"):
        (post_office / name).mkdir()
    for file in recording.files:
        (post_office / "transport" / file.name).write_bytes(file.control)
        if file.message is not None:
            (post_office / "queue" / file.name).write_bytes(file.message)


def _read(post_office: Path, file: SpoolFile) -> bytes:
    return (post_office / "transport" / file.name).read_bytes()


class _Child:
    """The agent, and what it wrote."""

    def __init__(self, post_office: Path, arguments: Sequence[str]) -> None:
        self.stdout = self.stderr = b""
        self.status: int | str = ""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "zsmtp", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=post_office / "transport",
            env={**os.environ, "PYTHONPATH": str(_ROOT), "ZCONFIG": str(post_office / "zmailer.conf")},
        )
        self.pid = self._process.pid

    def feed(self, lines: Sequence[bytes]) -> None:
        """Give one line for each `#hungry`, then the end of input, and wait for the agent's."""
        process = self._process
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        guard = threading.Timer(PATIENCE, process.kill)
        guard.start()
        complaints: list[bytes] = []
        listen = process.stderr.read
        reader = threading.Thread(target=lambda: complaints.append(listen()))
        reader.start()
        waiting = list(lines)
        with process.stdout as output, process.stdin as orders, process.stderr:
            for line in output:
                self.stdout += line
                if line == b"#hungry\n" and not orders.closed:
                    if waiting:
                        orders.write(waiting.pop(0))
                        orders.flush()
                    else:
                        orders.close()
            reader.join()
        status = process.wait()
        self.status = status if guard.is_alive() else f"killed after {PATIENCE:.0f} s"
        guard.cancel()
        self.stderr = b"".join(complaints)


class _Mask:
    """Puts placeholders where the agent's own numbers stand, and nowhere else."""

    def __init__(self, pid: int, post_office: Path, server: ScriptedServer) -> None:
        self._post_office = os.fsencode(post_office)
        self._pid = b"%d" % pid
        ports = b"|".join(b"%d" % port for port in server.client_ports) or b"-"
        self._ends = re.compile(rb"\|%d\|127\.0\.0\.1\|(?:%b)\)" % (server.port, ports))

    def report(self, octets: bytes) -> bytes:
        """Mask what was written to the scheduler."""
        octets = self._ends.sub(b"|@PORT@|127.0.0.1|@LPORT@)", octets)
        octets = octets.replace(b"smtp[%b]" % self._pid, b"smtp[@PID@]")
        octets = octets.replace(b"smtp:%b:" % self._pid, b"smtp:@PID@:")
        return octets.replace(self._post_office, b"@PO@")

    def control(self, octets: bytes) -> bytes:
        """Mask a control file."""
        octets = re.sub(rb"(?m)^(d [ -~]*?::)\d{10}\t", rb"\1@TIME@\t", self.report(octets))
        return octets.replace(b"r~%6b" % self._pid, b"r~@PID6@")
