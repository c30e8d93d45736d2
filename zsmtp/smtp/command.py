"""The only maker of command lines.

No octet that the server could take for a line end, a parameter or another path passes: what does not fit the
grammar is refused before it is sent.  Source: RFC 5321 section 4.1.2, RFC 3461 section 4, RFC 3030 section 2.
"""

from __future__ import annotations

import re
from typing import Final

from zsmtp.errors import Misuse

__all__ = [
    "DATA",
    "NOOP",
    "QUIT",
    "RSET",
    "STARTTLS",
    "bdat",
    "greeting",
    "is_original_recipient",
    "mail",
    "path_problem",
    "rcpt",
    "response",
    "xtext",
    "xtext_problem",
]

DATA: Final = b"DATA"
NOOP: Final = b"NOOP"
QUIT: Final = b"QUIT"
RSET: Final = b"RSET"
STARTTLS: Final = b"STARTTLS"

ORIGINAL_OCTETS: Final = 500
PATH_OCTETS: Final = 254
"""RFC 5321 4.5.3.1.3: 256 with the brackets.  No limit for the local part: rewritten ones exceed 64."""

_PLAIN_PATH = re.compile(rb"[!#-;=?-\[\]-~]+\Z")
_QUOTED_PATH = re.compile(
    rb'(?:[!#-;=?-\[\]-~\x80-\xff]|\\[ -;=?-~]|"(?:[ !#-\[\]-~\x80-\xff]|\\[ -~])*")+\Z'
)
_XTEXT_TEXT = rb"(?:[!-*,-<>-~]++|\+[0-9A-F]{2})+"
_XTEXT = re.compile(_XTEXT_TEXT + rb"\Z")
_ORIGINAL = re.compile(rb"-*[A-Za-z0-9][A-Za-z0-9-]*;(" + _XTEXT_TEXT + rb")\Z")
_UNSAFE = re.compile(rb"[\x00-\x1f\x7f]")
_XTEXT_ENCODED = re.compile(rb"[^!-*,-<>-~]")
_HOST = re.compile(rb"[A-Za-z0-9_.:\[\]-]{1,255}\Z")


def path_problem(path: bytes) -> str | None:
    """Say why `path` (without angle brackets) cannot be a forward-path or reverse-path, or return None.

    Takes more than the grammar of RFC 5321 where addresses in use do (two dots in a row, no domain), but
    nothing that ends the path early or adds a parameter.  Octets above 127 must be UTF-8 (RFC 6531).
    """
    if _PLAIN_PATH.match(path) and len(path) <= PATH_OCTETS:
        return None
    if not path:
        return "the address is empty"
    if len(path) > PATH_OCTETS:
        return f"the address has {len(path)} octets, more than {PATH_OCTETS}"
    if _UNSAFE.search(path):
        return "the address has a control character"
    if not _QUOTED_PATH.match(path):
        return "the address has a blank, an angle bracket or an open quote outside a quoted string"
    try:
        path.decode()
    except UnicodeDecodeError:
        return "the address has octets that are not UTF-8"
    return None


def xtext(value: bytes) -> bytes:
    """Encode `value` as xtext.  Source: RFC 3461 section 4."""
    return _XTEXT_ENCODED.sub(lambda found: b"+%02X" % found[0][0], value)


def xtext_problem(value: bytes, limit: int) -> str | None:
    """Say why `value` is not xtext of at most `limit` octets, or return None."""
    if len(value) > limit:
        return f"it has {len(value)} octets, more than {limit}"
    if not _XTEXT.match(value):
        return "it is not xtext"
    return None


def is_original_recipient(value: bytes) -> bool:
    """Whether `value` can be that of ORCPT: `type;xtext`, 500 octets of xtext at most.

    Source: RFC 3461 section 4.2.
    """
    found = _ORIGINAL.match(value)
    return found is not None and len(found[1]) <= ORIGINAL_OCTETS


def greeting(verb: bytes, name: bytes) -> bytes:
    """Return EHLO, LHLO or HELO with our name; Misuse if the name is no host name or address literal."""
    if not _HOST.match(name):
        raise Misuse(f"{name!r} cannot be the name of this host")
    return verb + b" " + name


def mail(reverse_path: bytes, parameters: bytes) -> bytes:
    """Return the MAIL command; `parameters` begin with a blank each.  The null reverse-path is `b""`."""
    return _checked(b"MAIL From:<" + reverse_path + b">" + parameters)


def rcpt(forward_path: bytes, parameters: bytes) -> bytes:
    """Return the RCPT command; `parameters` begin with a blank each."""
    return _checked(b"RCPT To:<" + forward_path + b">" + parameters)


def bdat(octets: int, *, last: bool) -> bytes:
    """Return the BDAT command that announces so many octets.  Source: RFC 3030 section 2."""
    return b"BDAT %d LAST" % octets if last else b"BDAT %d" % octets


def response(text: bytes) -> bytes:
    """Return one line of an authentication exchange: base64 or `*`, a mechanism and an initial response."""
    return _checked(text)


def _checked(line: bytes) -> bytes:
    """The last gate, whatever the caller has checked before."""
    if line.isascii() and line.decode("ascii").isprintable():  # nearly always, and at a third of the price
        return line
    if _UNSAFE.search(line):
        raise Misuse("a command line with a control character was about to be sent")
    return line
