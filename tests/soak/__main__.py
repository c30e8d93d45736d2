"""Deliver through faults for as long as you like, and account for every recipient.

Several agents deliver at the same time from one spool: SMTP with pipelining, with chunking, one command at a
time, over TLS, with broken TLS, and LMTP on a UNIX socket.  Their servers refuse (4yz and 5yz), stall, drop,
reset, drip, send noise and replies too many, and fail handshakes.  What is deferred is fed again.

The exit status is 0 only if every recipient was delivered as often as final replies allow or refused for
good, if no agent told a lie, and if none grew in memory or open files.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.soak.crew import CREWS
from tests.soak.faultserver import LIES
from tests.soak.soak import Soak

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a soak."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("crews", nargs="*", metavar="CREW", help=f"{', '.join(CREWS)}; default: all of them")
    add("--minutes", type=float, default=30.0, metavar="N", help="how long (default %(default)g)")
    add(
        "--seed",
        type=int,
        default=int(time.time()),
        metavar="N",
        help="where chance starts (default: the time)",
    )
    add("--agent", metavar="COMMAND", help="the agent (default: this Python's -m zsmtp)")
    add("--lie", default="", choices=LIES, help="let the servers' books be false, to see that it is found")
    add("--json", type=Path, metavar="FILE", help="write all figures there")
    arguments = parser.parse_args(argv)
    unknown = [name for name in arguments.crews if name not in CREWS]
    if unknown:
        parser.error(f"{unknown[0]}: no such crew; there are {', '.join(CREWS)}")
    with tempfile.TemporaryDirectory(prefix="zsmtp-soak.") as directory:
        soak = Soak(
            Path(directory),
            shlex.split(arguments.agent) if arguments.agent else [sys.executable, "-m", "zsmtp"],
            seed=arguments.seed,
            names=arguments.crews or tuple(CREWS),
            lie=arguments.lie,
            tell=lambda text: sys.stderr.write(f"{text}\n\n"),
        )
        outcome = soak.run(arguments.minutes * 60)
    sys.stdout.write(f"{outcome}\n")
    if arguments.json:
        arguments.json.write_text(outcome.as_json())
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())
