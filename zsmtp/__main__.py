"""``zsmtp`` and ``python -m zsmtp``: the transport agent's program, and what it says about itself.

Tells faults of the command line; all else is `zsmtp.agent`, which is imported only when there is work,
because Twisted takes ten times as long to load as a usage error may.

Sources: smtp(8zm), sections SYNOPSIS, OPTIONS (-V) and INTERFACE (exit status); sysexits.h.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence

from zsmtp import __version__
from zsmtp.options import KEYWORDS, OPTIONS, PERIODS, Help, UsageError, Version, parse

__all__ = ["help_text", "main", "usage", "version_text"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the agent with the words `argv` (None: those of the process) and return its exit status."""
    program = os.path.basename(sys.argv[0]) if sys.argv else ""
    if program in ("", "-c", "-m", "__main__.py"):
        program = "zsmtp"
    try:
        order = parse(sys.argv[1:] if argv is None else argv, program)
    except UsageError as fault:
        _say(2, f"{program}: {fault}\n{usage(program)}\n")
        return os.EX_USAGE
    match order:
        case Version():
            _say(2, version_text(order.program))
        case Help():
            _say(1, help_text(order.program))
        case _:
            from zsmtp.assembly import run

            return run(order)
    return os.EX_OK


def _say(descriptor: int, text: str) -> None:
    """Write in one piece; that nobody listens any more is no fault of the command line."""
    try:
        os.write(descriptor, text.encode("utf-8", "backslashreplace"))
    except OSError:
        return


def version_text(program: str) -> str:
    """Make the lines of -V."""
    return (
        f"{program} (zsmtp {__version__}): SMTP and LMTP transport agent for ZMailer's spool\n"
        "Free software under the MIT licence, without any warranty.\n"
    )


def usage(program: str) -> str:
    """Make the usage line, without its end."""
    flags = "".join(option.letter for option in OPTIONS if not option.value)
    values = " ".join(f"[-{option.letter} {option.value}]" for option in OPTIONS if option.value)
    return f"Usage: {program} [-{flags}] {values} [--help] [host]"


def help_text(program: str) -> str:
    """Make the lines of --help, for a terminal of 80 columns."""
    from textwrap import fill

    # NUL holds an option and its value together
    line = re.sub(r"(\[-\S+) ", "\\1\0", usage(program))
    head = fill(line, 79, subsequent_indent=" " * 7, break_on_hyphens=False).replace("\0", " ")
    rows = (
        fill(text, 79, initial_indent=f"{name:<23}  ", subsequent_indent=" " * 25) for name, text in _rows()
    )
    return "\n".join((head, "", _PURPOSE, "", *rows, ""))


_PURPOSE = """\
Delivers messages of ZMailer's spool, whose control files are named on standard
input.  Usually the scheduler starts it, in POSTOFFICE/transport; see zsmtp(8)."""


def _rows() -> Iterator[tuple[str, str]]:
    """Give name and text of each line of the help text."""
    for option in OPTIONS:
        yield f"  -{option.letter} {option.value}", option.text
        if option.letter == "O":
            for keyword in KEYWORDS:
                yield f"     {keyword.name}{'=' if keyword.value else ''}{keyword.value}", keyword.text
        if option.letter == "T":
            for period in PERIODS:
                yield f"     {period.key}=", period.text
    yield "  --help", "print this text and exit"


if __name__ == "__main__":
    sys.exit(main())
