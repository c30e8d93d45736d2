"""What it costs to start the agent, to ask for its version, and to let it wait.

"hungry" is the CPU from exec to the first `#hungry`, which is when the scheduler can feed it; "version" is
a whole `-V`; "usage" a whole wrong command line.  Memory is what the waiting process holds after it has
answered one `#idle`: RSS, and PSS where shared pages count only in part. The anchors are the bare
interpreter and the interpreter with Twisted's reactor, without which no agent of this kind can start.  All
take turns; the table shows medians, in milliseconds of user and system time.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median

from benchmarks import figures
from benchmarks.agent import Agent

__all__ = ["main"]

_OPTIONS = ("-c", "smtp", "-h", "start.example", "-F", "[127.0.0.1]:9", "start.example")


class Start:
    """One agent command line, started over and over."""

    def __init__(self, command: Sequence[str], directory: Path) -> None:
        self.command = command
        self.directory = directory
        root = str(Path(__file__).resolve().parent.parent)
        zconfig = directory / "zmailer.conf"
        zconfig.write_text(f"POSTOFFICE={directory}\n")
        self.environment = dict(os.environ, ZCONFIG=str(zconfig), PYTHONPATH=root)
        self.memory: dict[str, list[float]] = {"rss": [], "pss": []}

    def hungry(self) -> float:
        """CPU seconds to the first `#hungry`; the memory at rest is noted on the way."""
        words = [*self.command, *_OPTIONS]
        with Agent(words, directory=self.directory, environment=self.environment, silence=30.0) as agent:
            _await_hungry(agent)
            cpu = agent.cpu()
            agent.write(b"#idle\n")
            _await_hungry(agent)
            self.memory["rss"].append(agent.memory("VmRSS"))
            self.memory["pss"].append(_pss(agent.pid))
            agent.finish()
            while not agent.ended:
                agent.read()
            agent.wait()
        return cpu

    def version(self) -> float:
        """CPU seconds of `-V`."""
        return _whole([*self.command, "-V"], self.environment)

    def usage(self) -> float:
        """CPU seconds of a command line that is refused."""
        return _whole([*self.command, "-T", "nonsense", "start.example"], self.environment)


def _await_hungry(agent: Agent) -> None:
    lines: list[bytes] = []
    while b"#hungry" not in lines:
        lines = agent.read()
        if agent.ended:
            raise ChildProcessError("the agent ended before it was #hungry; start it by hand to see why")


def _whole(words: Sequence[str], environment: Mapping[str, str] | None = None) -> float:
    """CPU seconds of a process from start to end; what it says is thrown away."""
    null = subprocess.DEVNULL
    process = subprocess.Popen(words, stdin=null, stdout=null, stderr=null, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


def _pss(pid: int) -> int:
    """The proportional set size in KiB, 0 where the kernel does not tell."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)


def _interpreter() -> float:
    return _whole([sys.executable, "-I", "-c", "pass"])


def _reactor() -> float:
    return _whole([sys.executable, "-I", "-c", "import twisted.internet.reactor"])


def _parser() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.startup", description=__doc__, formatter_class=plain
    )
    add = parser.add_argument
    add("--runs", type=int, metavar="N", help="starts of each kind (default 15)")
    add("--quick", action="store_true", help="5 starts of each kind")
    add("--agent", metavar="COMMAND", help="the agent (default: this Python's -m zsmtp)")
    add("--json", type=Path, metavar="FILE", help="write machine and every run there (seconds, KiB)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    arguments = _parser().parse_args(argv)
    runs = arguments.runs or (5 if arguments.quick else 15)
    command = shlex.split(arguments.agent) if arguments.agent else [sys.executable, "-m", "zsmtp"]
    with tempfile.TemporaryDirectory(prefix="zsmtp-startup.") as directory:
        start = Start(command, Path(directory))
        kinds: dict[str, Callable[[], float]] = {
            "interpreter alone": _interpreter,
            "interpreter and reactor": _reactor,
            "version": start.version,
            "usage": start.usage,
            "hungry": start.hungry,
        }
        cpu: dict[str, list[float]] = {name: [] for name in kinds}
        for turn in range(runs + 1):
            for name, measure in kinds.items():
                seconds = measure()
                if turn > 0:  # the first turn writes byte code and fills the page cache
                    cpu[name].append(seconds)
    reactor = cpu["interpreter and reactor"]
    rows = []
    for name, times in cpu.items():
        ratio = figures.paired(times, reactor)
        rows.append([name, f"{median(times) * 1000:.1f}", f"{ratio:.2f}", f"{figures.spread(times):.0%}"])
    sys.stdout.write(figures.as_table(("start", "CPU ms", "reactor = 1", "spread"), rows))
    rss, pss = (median(start.memory[name]) / 1024 for name in ("rss", "pss"))
    sys.stdout.write(f"memory at rest: {rss:.1f} MiB RSS, {pss:.1f} MiB PSS\n")
    if arguments.json:
        value = {"benchmark": "startup", "machine": figures.machine(), "cpu": cpu, "memory": start.memory}
        arguments.json.write_text(figures.as_json(value))
    return 0


if __name__ == "__main__":
    sys.exit(main())
