"""Fuzz everything that reads what others wrote, for as long as you like.

Inputs are valid samples with changes; the seed makes them the same again.  The time is shared evenly.  An
input that broke a promise is made small and written to a file; `--input` repeats it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz.content import CONTENT
from tests.fuzz.dns import DNS
from tests.fuzz.files import CHALLENGES, SECRETS, TLS_FILE
from tests.fuzz.harness import fuzz, names
from tests.fuzz.replies import REPLIES
from tests.fuzz.small import DESTINATION, FEED, SYSTEM, ZENV
from tests.fuzz.spool import CONTROL, JOB
from tests.fuzz.target import Target

__all__ = ["TARGETS", "main"]

TARGETS: tuple[Target, ...] = (
    *(CONTROL, JOB, REPLIES, DNS, CONTENT, FEED),
    *(TLS_FILE, SECRETS, CHALLENGES, ZENV, SYSTEM, DESTINATION),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Fuzz; the exit status is 1 if a promise was broken."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("targets", nargs="*", metavar="TARGET", help=f"{names(TARGETS)}; default: all of them")
    add("--minutes", type=float, default=1.0, metavar="N", help="how long in all (default %(default)g)")
    add("--seed", type=int, default=None, metavar="N", help="where chance starts (default: the time)")
    add("--folder", type=Path, default=Path("fuzz-failures"), metavar="PATH", help="for failing inputs")
    add("--input", type=Path, metavar="FILE", help="check this one input for one target")
    arguments = parser.parse_args(argv)
    by_name = {target.name: target for target in TARGETS}
    unknown = [name for name in arguments.targets if name not in by_name]
    if unknown:
        parser.error(f"{unknown[0]}: no such target; there are {names(TARGETS)}")
    chosen = [by_name[name] for name in arguments.targets] or list(TARGETS)
    if arguments.input is not None:
        if len(arguments.targets) != 1:
            parser.error("--input: name the one target that it is for")
        chosen[0].check(arguments.input.read_bytes())
        sys.stdout.write("nothing is wrong with it\n")
        return 0
    seed = int(time.time()) if arguments.seed is None else arguments.seed
    folder = arguments.folder.resolve()
    sys.stdout.write(f"seed {seed}\n")
    share = arguments.minutes * 60 / len(chosen)
    return 1 if sum(_fuzz(target, seed, share, folder) for target in chosen) else 0


def _fuzz(target: Target, seed: int, seconds: float, folder: Path) -> int:
    """Fuzz one target, and tell; the number of failures."""
    back = os.getcwd()
    count, failures = fuzz(target, seed, seconds=seconds)
    os.chdir(back)
    sys.stdout.write(f"{target.name}: {count} inputs, {len(failures)} failures\n")
    for failure in failures:
        path = failure.save(folder)
        sys.stdout.write(
            f"{failure.text}{failure.kind}\nrepeat: python -m tests.fuzz {target.name} --input {path}\n"
        )
    sys.stdout.flush()
    return len(failures)


if __name__ == "__main__":
    sys.exit(main())
