"""``zsmtpctl submit``, also called ``sendmail``: hand a message in from standard input.

Understands the options of sendmail that programs use.  Of the others those are passed over that change
nothing in how mail is handed in here; the rest is refused, since whoever relies on it would be misled.
`zsmtp.submission` does the work.  Exit status 0 is given when the message is safe on disk, and never before.

Sources: sendmail(8), its options as Sendmail and Postfix have them; sysexits.h.
"""

from __future__ import annotations

import errno
import getopt
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Final, NamedTuple, NoReturn

from zsmtp.errors import ConfigError, MessageError, SpoolError
from zsmtp.message.addresses import address, addresses
from zsmtp.submission import (
    Accepted,
    Envelope,
    accept,
    find_office,
    read_envelope_id,
    read_notify,
    read_ret,
)

__all__ = ["IGNORED", "Order", "parse", "run"]

IGNORED: Final = "ABGLUcehmnpx"
"""Letters of options that are passed over; `o` and `O` are but for those about dots."""

_SHORT: Final = "A:B:F:GIL:N:O:R:UV:b:ce:f:h:imno:p:r:tvx"
_LONG: Final = ["config=", "postoffice=", "help"]
_PIECE: Final = 65536


class Order(NamedTuple):
    """What a command line asks for."""

    envelope: Envelope
    postoffice: str | None = None
    config: str | None = None
    dot: bool = True
    verbose: bool = False
    help: bool = False


class _UsageError(Exception):
    """A command line that is not understood; the text says why."""


class _Interrupted(BaseException):
    """A signal asks for the end."""


def run(words: Sequence[str], program: str) -> int:
    """Hand in the message of standard input as `words` say; return the exit status."""
    try:
        order = parse(words)
    except _UsageError as error:
        return _fail(program, f"{error}; {program} --help tells what there is", os.EX_USAGE)
    if order.help:
        _say(1, f"Usage: {program} {_HELP}")
        return os.EX_OK
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        office = find_office(order.postoffice, order.config)
        accepted = accept(_standard_input(), order.envelope, office, dot=order.dot)
    except ConfigError as error:
        return _fail(program, error, os.EX_CONFIG)
    except MessageError as error:
        is_unread = isinstance(error.__cause__, OSError)
        return _fail(program, error, os.EX_IOERR if is_unread else os.EX_DATAERR)
    except SpoolError as error:
        return _fail(program, error, _status(error.__cause__))
    except OSError as error:
        return _fail(program, error, os.EX_TEMPFAIL)
    except _Interrupted as error:
        return _fail(program, "interrupted; the message has not been submitted", 128 + error.args[0])
    if order.verbose:
        _say(1, _told(accepted))
    return os.EX_OK


def parse(words: Sequence[str]) -> Order:
    """Read a command line.  Raises _UsageError."""
    try:
        options, rest = getopt.getopt(list(words), _SHORT, _LONG)
        order = Order(Envelope())
        for name, value in options:
            order = _with(order, name, value)
        is_sure = "--" in words[: len(words) - len(rest)]
        return order if order.help else _with_recipients(order, rest, is_sure)
    except getopt.GetoptError as error:
        raise _UsageError(str(error)) from error
    except MessageError as error:
        raise _UsageError(str(error)) from error


def _with(order: Order, name: str, value: str) -> Order:
    envelope = order.envelope
    match name:
        case "-f" | "-r":
            envelope = envelope._replace(sender=address(os.fsencode(value)))
        case "-F":
            if not value.isprintable():
                raise _UsageError("-F: a name is one line of printable characters")
            envelope = envelope._replace(name=value)
        case "-N":
            envelope = envelope._replace(notify=read_notify(value))
        case "-R":
            envelope = envelope._replace(ret=read_ret(value))
        case "-V":
            envelope = envelope._replace(envelope_id=read_envelope_id(value))
        case "-t":
            envelope = envelope._replace(from_header=True)
        case "-i" | "-I":
            return order._replace(dot=False)
        case "-o" | "-O":
            long_form = value.lower().replace(" ", "")
            ignores = value == "i" if name == "-o" else long_form in ("ignoredots", "ignoredots=true")
            return order._replace(dot=order.dot and not ignores)
        case "-b" if value != "m":
            raise _UsageError(f"-b{value} is not supported: mail is handed in here, and nothing else is done")
        case "-v":
            return order._replace(verbose=True)
        case "--config":
            return order._replace(config=value)
        case "--postoffice":
            return order._replace(postoffice=value)
        case "--help":
            return order._replace(help=True)
    return order._replace(envelope=envelope)


def _with_recipients(order: Order, rest: Sequence[str], is_sure: bool) -> Order:
    found: list[bytes] = []
    for word in rest:
        if word.startswith("-") and not is_sure:
            raise _UsageError(
                f"{word[:60]!a} stands behind a recipient; options come first, and -- in front of an address "
                "that begins with a hyphen"
            )
        here = addresses(os.fsencode(word))
        if not here:
            raise _UsageError("a recipient is empty")
        found += here
    if not found and not order.envelope.from_header:
        raise _UsageError("no recipient is named; write one, or -t for those in the header")
    return order._replace(envelope=order.envelope._replace(recipients=tuple(found)))


def _standard_input() -> Iterator[bytes]:
    while piece := os.read(0, _PIECE):
        yield piece


def _status(cause: BaseException | None) -> int:
    """Tell what the caller can do about a failure to write: wait, unless the system will never allow it."""
    match getattr(cause, "errno", None):
        case errno.EACCES | errno.EPERM:
            return os.EX_NOPERM
        case errno.ENOENT | errno.ENOTDIR:
            return os.EX_CONFIG
    return os.EX_TEMPFAIL


def _told(accepted: Accepted) -> str:
    lines = [f"transport/{accepted.path}: safe in the spool, from <{accepted.sender.decode('ascii')}>"]
    lines += [
        f"  <{to.user.decode('ascii')}>: channel {to.channel.decode()}, host {to.host.decode()}"
        for to in accepted.recipients
    ]
    return "\n".join(lines) + "\n"


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise _Interrupted(number)


def _fail(program: str, what: object, status: int) -> int:
    _say(2, "".join(f"{program}: {line}\n" for line in str(what).splitlines()))
    return status


def _say(descriptor: int, text: str) -> None:
    """Write in one piece; that nobody listens changes nothing in what was done."""
    try:
        os.write(descriptor, text.encode("utf-8", "backslashreplace"))
    except OSError:
        return


_HELP: Final = f"""\
[OPTION...] [--] [RECIPIENT...] <MESSAGE

Hands the message on standard input in for delivery.  Exit status 0 says that it
is on disk and survives a power cut.

  --postoffice DIR  the spool
  --config FILE     the daemon's zsmtp.toml: spool, routes, limits (default: what
                    ZSMTP_CONFIG names, or /etc/zsmtp.toml)
  -f SENDER         who is told of failures (default: the user at this machine);
                    <> for nobody; -r is the same
  -F NAME           the author's name, should the message have no From
  -t                send to the addresses of To, Cc and Bcc too
  -i, -oi           a line with a single dot does not end the message
  -N NOTIFY         never, or a list of success, failure, delay
  -R full|hdrs      what a report of failure shall hold of the message
  -V ENVID          identifier of the envelope, for reports
  -v                tell where the message lies, and how recipients are routed
  --help            print this text and exit

Passed over: {" ".join("-" + letter for letter in IGNORED)} -bm, and -o and -O but for dots.

exit status (sysexits.h):
  0 submitted; 64 wrong command line; 65 wrong message or address;
  74 message cannot be read; 75 try again, for instance when the disk is full;
  77 no permission to write to the spool; 78 wrong configuration, or no spool;
  129, 130, 143 ended by a signal.  Unless it is 0, nothing has been submitted.
"""

if __name__ == "__main__":
    sys.exit(run(sys.argv[1:], "sendmail"))
