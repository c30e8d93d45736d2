"""``zsmtpctl``, the postmaster's tool: its command line.

Each command is a module that is imported only when it is asked for, since Twisted takes long to load.
Exit status 64 for a wrong command line; the rest is each command's own.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from zsmtp import __version__

__all__ = ["main"]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(os.EX_USAGE, f"{self.prog}: {message}; {self.prog} --help tells what there is\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the words `argv` (None: those of the process) name; return its exit status.

    Called under the name `sendmail` it is `zsmtpctl submit`.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    program = os.path.basename(sys.argv[0]) if argv is None else "zsmtpctl"
    # submit has the options of sendmail, which are not of the kind that argparse reads
    if program == "sendmail" or words[:1] == ["submit"]:
        from zsmtp.ctl.submit import run

        return run(words, program) if program == "sendmail" else run(words[1:], "zsmtpctl submit")
    order = _parser().parse_args(words)
    status = order.run(order)
    assert isinstance(status, int)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="zsmtpctl",
        description="The postmaster's tool for zsmtp.",
        epilog="zsmtpctl COMMAND --help tells more about a command, and so does zsmtpctl(8).",
    )
    parser.add_argument("-V", "--version", action="version", version=f"zsmtpctl (zsmtp {__version__})")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_demo(commands)
    commands.add_parser("submit", help="hand a message in for delivery, as sendmail does", add_help=False)
    return parser


def _add_demo(commands: argparse._SubParsersAction[_Parser]) -> None:
    demo = commands.add_parser(
        "demo",
        help="deliver a handful of messages to two servers of its own, and show what became of each",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=_DEMO,
        epilog=_DEMO_END,
    )
    demo.add_argument(
        "--directory",
        metavar="FOLDER",
        help="put everything there; the folder must be empty, or not exist yet "
        "(default: a new one below TMPDIR or /tmp)",
    )
    after = demo.add_mutually_exclusive_group()
    after.add_argument("--keep", action="store_true", help="leave the folder for you to look at: the default")
    after.add_argument("--clean", action="store_true", help="remove the folder if all went well")
    demo.set_defaults(run=_demo)


def _demo(order: argparse.Namespace) -> int:
    from zsmtp.ctl.demo import run

    return run(order.directory, clean=order.clean)


_DEMO = """\
Makes a private spool with a handful of messages, starts an SMTP server with
STARTTLS on a port of the loopback interface and an LMTP server on a UNIX
socket, lets the real agent deliver, and shows what became of every recipient.

Needs no configuration and no rights; nothing leaves this machine, and nothing
is written but in one folder.  This stays, so that you can look at the spool,
the delivered mail and the dialogues.  The last lines of the output say how,
and how to remove it.
"""

_DEMO_END = """\
exit status:
  0    every message arrived once, unchanged and where it belongs, and every
       recipient was marked and reported as it has to be
  1    something else happened, and standard output says what
  64   the command line is wrong, or the folder is in use
  130  interrupted; the folder has been removed
"""

if __name__ == "__main__":
    sys.exit(main())
