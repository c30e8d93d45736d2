"""The C sink of the benchmarks as a Python object: build it, run it, read its counters.

The sink is compiled when it is needed and lives in a folder of the caller; nothing is installed or kept.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

__all__ = ["Counters", "Sink", "build", "read_record"]

SOURCE = Path(__file__).with_name("sink.c")


class Counters(NamedTuple):
    """What the sink saw since its start.

    `octets` are those of the messages as they came (DATA: with doubled dots, without the final one).
    `lost` counts the connections that ended inside a message, `errors` the 5yz replies, `reads` and
    `writes` the system calls on connections; `cpu` is in seconds.
    """

    connections: int
    messages: int
    recipients: int
    octets: int
    commands: int
    chunks: int
    errors: int
    lost: int
    reads: int
    writes: int
    cpu: float


def build(directory: Path, *, flags: Sequence[str] = ("-O2",)) -> Path:
    """Compile the sink into `directory` and give the program's path.

    Raises FileNotFoundError where there is no `cc`, CalledProcessError where it fails.
    """
    program = directory / "sink"
    subprocess.run(["cc", "-std=gnu11", *flags, "-o", str(program), str(SOURCE)], check=True)
    return program


class Sink:
    """A running sink; a context manager that ends it."""

    def __init__(
        self,
        program: Path,
        *,
        listen: str = "127.0.0.1:0",
        lmtp: bool = False,
        announce: str = "PIPELINING,CHUNKING,8BITMIME,SIZE",
        delay: float = 0.0,
        final_delay: float = 0.0,
        record: Path | None = None,
    ) -> None:
        """Start it.

        `listen` is ADDRESS:PORT (port 0: any) or unix:PATH.  `delay` seconds pass before every reply,
        `final_delay` seconds more before the reply to the end of a message.  `record` is for `read_record`.
        """
        command = [str(program), "--listen", listen, "--announce", announce]
        command += ["--delay", str(delay * 1000), "--final-delay", str(final_delay * 1000)]
        if lmtp:
            command.append("--lmtp")
        if record is not None:
            command += ["--record", str(record)]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        first = self._line().split()
        if len(first) != 2 or first[0] != "listening":
            raise OSError(f"the sink does not listen at {listen}; see its message above")
        self.address = first[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    @property
    def port(self) -> int:
        """The TCP port; of a UNIX socket there is none (ValueError)."""
        return int(self.address.rpartition(":")[2])

    def counters(self) -> Counters:
        """Read the counters of the running sink; its record is flushed first."""
        self._process.send_signal(signal.SIGUSR1)
        return self._counters()

    def stop(self) -> Counters:
        """End it and give the last counters."""
        self._process.send_signal(signal.SIGTERM)
        counters = self._counters()
        self._process.wait()
        return counters

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def _counters(self) -> Counters:
        return Counters(**json.loads(self._line()))


def read_record(path: Path) -> list[tuple[str, int, str]]:
    """Read what arrived, in order: (token, octets, recipient) for each message and recipient."""
    lines = (line.split("\t") for line in path.read_text("latin-1").splitlines())
    return [(token, int(octets), recipient) for token, octets, recipient in lines]
