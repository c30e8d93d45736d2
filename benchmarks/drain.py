"""Empty a real spool: how many messages a second, and what one costs.

Makes a private POSTOFFICE of small messages, starts the agent as the scheduler does, feeds it over the
scheduler's protocol, and lets it deliver to a sink of our own on the loopback.  All of it is real and
counted: control and message files, locks, marks, reports.  After every run each message must have arrived
exactly once, each report must be ok and each recipient marked; a run that fails this ends the benchmark
with exit status 1.

Contenders take turns (A B, B A, ...), so that they meet the same machine; the table shows medians and the
median of the ratios of neighbours.  `smtp-source` of Postfix is the physical anchor: a C program that sends
as many octets to the same sink with no spool, no locks and no reports, one command per round trip.  It is
the 1 of the ratios.  `--against` sets another agent beside it, such as an older checkout.

CPU is user and system time by wait4, in microseconds per message, without the start of the agent (the
column "start", in milliseconds).  "sink" is the CPU of the sink, "r/msg" and "w/msg" are its read and write
calls per message.  Where agent and sink together use all cores, the messages per second are those of the
machine.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks import figures, sink
from benchmarks.agent import Agent, drain
from benchmarks.postoffice import PostOffice

__all__ = ["MODES", "Mode", "Run", "main"]


class Mode(NamedTuple):
    """One way of delivering: what the sink announces, over what, and the agent's options for it."""

    announce: str
    unix: bool = False
    lmtp: bool = False
    options: tuple[str, ...] = ()


MODES = {
    "pipelining": Mode("PIPELINING,8BITMIME,SIZE"),
    "chunking": Mode("PIPELINING,CHUNKING,8BITMIME,SIZE"),
    "lmtp": Mode("PIPELINING,8BITMIME,SIZE", unix=True, lmtp=True, options=("-M",)),
    "plain": Mode("8BITMIME,SIZE"),
}


class Run(NamedTuple):
    """One run of one contender: seconds, messages a second, microseconds and system calls per message, KiB.

    `reads` and `writes` are those of the sink: they tell how many packets a message took.
    """

    wall: float
    rate: float
    cpu: float
    start: float
    peak: int
    sink_cpu: float
    sink_reads: float
    sink_writes: float


class Bench:
    """The spool, the sink's program and the settings that all runs share."""

    def __init__(self, directory: Path, arguments: argparse.Namespace) -> None:
        self.directory = directory
        self.arguments = arguments
        self.office = PostOffice(directory / "office", messages=arguments.messages, body=arguments.size)
        self.jobs = self.office.jobs
        self.program = sink.build(directory)
        root = str(Path(__file__).resolve().parent.parent)
        self.environment = dict(os.environ, ZCONFIG=str(self.office.zconfig), PYTHONPATH=root)

    def open_sink(self, mode: Mode) -> sink.Sink:
        """Start a fresh sink for one run."""
        path = self.directory / "sock"
        path.unlink(missing_ok=True)
        return sink.Sink(
            self.program,
            listen=f"unix:{path}" if mode.unix else "127.0.0.1:0",
            lmtp=mode.lmtp,
            announce=mode.announce,
            delay=self.arguments.delay / 1000,
            record=self.directory / "record",
        )

    def run_agent(self, mode: Mode, command: Sequence[str]) -> Run:
        """Drain the spool once; raises Wrong if anything was lost, doubled or misreported."""
        self.office.reset()
        with self.open_sink(mode) as server:
            to = f"UNIX:{self.directory / 'sock'}" if mode.unix else f"[127.0.0.1]:{server.port}"
            words = [*command, "-c", "smtp", "-h", self.office.host, *mode.options]
            words += ["-O", f"connections={self.arguments.connections}", "-F", to]
            words += [*shlex.split(self.arguments.options), self.office.host]
            directory = self.office.transport
            with Agent(words, directory=directory, environment=self.environment) as agent:
                run = drain(agent, self.jobs, overfeed=self.arguments.overfeed)
            counters = server.stop()
        problems = self.office.problems(run.reports, sink.read_record(self.directory / "record"))
        if run.exit_status != 0:
            problems.append(f"exit status {run.exit_status}")
        if problems:
            remarks = [line.decode("latin-1") for line in run.remarks[:10]]
            raise Wrong("\n".join([f"{shlex.join(words)}:", *problems, *remarks]))
        return self._run(run.wall, run.cpu, counters, start=run.start_cpu, peak=run.peak)

    def run_smtp_source(self, mode: Mode) -> Run:
        """Send as many messages of the same size with smtp-source over as many connections."""
        with self.open_sink(mode) as server:
            words = ["smtp-source", "-d", *(["-L"] if mode.lmtp else [])]
            words += ["-s", str(self.arguments.connections), "-m", str(self.arguments.messages)]
            words += ["-l", str(self.arguments.size), "-f", "sender@bench.example", "-t", "u@bench.example"]
            words.append(server.address)
            begin = time.monotonic()
            process = subprocess.Popen(words, env=dict(os.environ, PATH=_path()))
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.monotonic() - begin
            process.returncode = os.waitstatus_to_exitcode(status)
            counters = server.stop()
        if process.returncode != 0 or counters.messages != self.arguments.messages:
            raise Wrong(
                f"{shlex.join(words)}: status {process.returncode}, {counters.messages} messages arrived"
            )
        return self._run(wall, usage.ru_utime + usage.ru_stime, counters)

    def _run(
        self, wall: float, cpu: float, counters: sink.Counters, *, start: float = 0.0, peak: int = 0
    ) -> Run:
        n = self.arguments.messages
        micro = 1e6 / n
        reads, writes = counters.reads / n, counters.writes / n
        return Run(wall, n / wall, cpu * micro, start, peak, counters.cpu * micro, reads, writes)


class Wrong(Exception):
    """A run did not do its work, so its figures mean nothing."""


def _path() -> str:
    """PATH with the place where Debian keeps smtp-source."""
    return os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"


def _compare(bench: Bench, name: str) -> dict[str, list[Run]]:
    """Let the contenders of one mode take turns."""
    mode = MODES[name]
    arguments = bench.arguments
    contenders = ["zsmtp"]
    if arguments.against:
        contenders.append("against")
    if not arguments.no_anchor:
        contenders.append("smtp-source")
    commands = {"zsmtp": shlex.split(arguments.agent), "against": shlex.split(arguments.against or "")}
    runs: dict[str, list[Run]] = {contender: [] for contender in contenders}
    for turn in range(arguments.pairs):
        for contender in contenders if turn % 2 == 0 else reversed(contenders):
            if contender == "smtp-source":
                run = bench.run_smtp_source(mode)
            else:
                run = bench.run_agent(mode, commands[contender])
            runs[contender].append(run)
            sys.stderr.write(f"{name} {turn + 1}/{arguments.pairs} {contender}: {run.rate:.0f}/s\n")
    return runs


_TIMES = ("msg/s", "ratio", "CPU us", "ratio", "spread", "start ms")
_HEAD = ("mode", "contender", *_TIMES, "MiB", "sink us", "r/msg", "w/msg")


def _rows(name: str, runs: dict[str, list[Run]]) -> list[list[str]]:
    """Table lines of one mode."""
    base = next(reversed(runs))
    rows = []
    for contender, ours in runs.items():
        rate = figures.paired([r.rate for r in ours], [r.rate for r in runs[base]])
        cpu = figures.paired([r.cpu for r in ours], [r.cpu for r in runs[base]])
        middle = Run(*(median(column) for column in zip(*ours, strict=True)))
        rows.append(
            [
                name,
                contender,
                f"{middle.rate:.0f}",
                f"{rate:.2f}",
                f"{middle.cpu:.1f}",
                f"{cpu:.2f}",
                f"{figures.spread([r.cpu for r in ours]):.0%}",
                f"{middle.start * 1000:.0f}" if middle.start else "",
                f"{middle.peak / 1024:.0f}" if middle.peak else "",
                f"{middle.sink_cpu:.1f}",
                f"{middle.sink_reads:.2f}",
                f"{middle.sink_writes:.2f}",
            ]
        )
    return rows


def _parser() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.drain", description=__doc__, formatter_class=plain
    )
    add = parser.add_argument
    add("modes", nargs="*", metavar="MODE", help=f"{', '.join(MODES)}; default: pipelining chunking lmtp")
    add("--quick", action="store_true", help="2,000 messages and 3 pairs, for a first look (under a minute)")
    add("--messages", type=int, metavar="N", help="messages in the spool (default 10000)")
    add(
        "--size",
        type=int,
        default=4096,
        metavar="N",
        help="octets of each body as sent (default %(default)s)",
    )
    add("--pairs", type=int, metavar="N", help="runs of each contender (default 5)")
    add(
        "--connections", type=int, default=10, metavar="N", help="connections at a time (default %(default)s)"
    )
    add(
        "--overfeed",
        type=int,
        default=1000,
        metavar="N",
        help="the scheduler's overfeed (default %(default)s)",
    )
    add("--delay", type=float, default=0.0, metavar="MS", help="the sink waits before each reply")
    add("--agent", metavar="COMMAND", help="the agent (default: this Python's -m zsmtp)")
    add("--options", default="", metavar="WORDS", help="more options for the agents, in one word")
    add("--against", metavar="COMMAND", help="another agent beside it, with the same options")
    add("--no-anchor", action="store_true", help="without smtp-source; the last contender is the 1")
    add("--directory", type=Path, metavar="PATH", help="where the spool goes (default: /dev/shm or TMPDIR)")
    add("--json", type=Path, metavar="FILE", help="write settings, machine and every run there")
    return parser


def _settings(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line and fill in what depends on the rest."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    arguments.modes = arguments.modes or ["pipelining", "chunking", "lmtp"]
    unknown = [mode for mode in arguments.modes if mode not in MODES]
    if unknown:
        parser.error(f"{unknown[0]}: no such mode; there are {', '.join(MODES)}")
    arguments.messages = arguments.messages or (2000 if arguments.quick else 10000)
    arguments.pairs = arguments.pairs or (3 if arguments.quick else 5)
    arguments.agent = arguments.agent or shlex.join([sys.executable, "-m", "zsmtp"])
    if arguments.size < 2:
        parser.error("--size: a body has at least 2 octets")
    if not arguments.no_anchor and shutil.which("smtp-source", path=_path()) is None:
        sys.stderr.write("smtp-source is not installed (Debian: postfix): no anchor\n")
        arguments.no_anchor = True
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; exit status 1 if a run was not correct."""
    arguments = _settings(argv)
    shm = Path("/dev/shm")
    place = arguments.directory or (shm if os.access(shm, os.W_OK) else None)
    results: dict[str, dict[str, list[Run]]] = {}
    with tempfile.TemporaryDirectory(prefix="zsmtp-drain.", dir=place) as directory:
        bench = Bench(Path(directory), arguments)
        try:
            for name in arguments.modes:
                results[name] = _compare(bench, name)
        except Wrong as wrong:
            sys.stderr.write(f"not correct, so not measured: {wrong}\n")
            return 1
    sys.stdout.write(
        f"{arguments.messages} messages of {arguments.size} octets, {arguments.connections} connections, "
        f"medians of {arguments.pairs} runs, ratios to the last contender of each mode\n"
    )
    rows = [row for name, runs in results.items() for row in _rows(name, runs)]
    sys.stdout.write(figures.as_table(_HEAD, rows))
    if arguments.json:
        settings = {key: value for key, value in vars(arguments).items() if key not in ("json", "directory")}
        runs = {name: {c: [r._asdict() for r in rs] for c, rs in by.items()} for name, by in results.items()}
        value = {"benchmark": "drain", "machine": figures.machine(), "settings": settings, "runs": runs}
        arguments.json.write_text(figures.as_json(value))
    return 0


if __name__ == "__main__":
    sys.exit(main())
