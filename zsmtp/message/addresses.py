"""The addresses in what people and programs write: header fields, and words of a command line.

Reads lists of mailboxes and groups, with display names, comments and the obsolete forms that are still seen,
and gives the bare addresses.  What cannot be an address of Internet mail is refused, never mended by a guess:
the wrong recipient is worse than none.  Addresses beyond ASCII are refused by name, since the spool has no
mark that would make an agent ask for SMTPUTF8.
Sources: RFC 5322 sections 3.4 and 4.4; RFC 5321 section 4.1.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from zsmtp.errors import MessageError

__all__ = ["LONGEST", "address", "addresses"]

LONGEST = 320
"""Octets of an address: 64 of the local part, @, 255 of the domain (RFC 5321 section 4.5.3.1)."""

_TOKEN = re.compile(
    rb"""(?P<gap>[ \t\r\n]+)
      | (?P<open>\()
      | (?P<word>"(?:[^"\\]|\\.)*+" | \[(?:[^\[\]\\]|\\.)*+\] | [^ \t\r\n()<>\[\],;:"\\]+)
      | (?P<mark>[<>,;:])
      | (?P<odd>.)""",
    re.VERBOSE | re.DOTALL,
)
_PARENTHESIS = re.compile(rb"\\.|[()]", re.DOTALL)
_LOCAL = re.compile(rb'[!#-\'*+\-./0-9=?A-Z^-~%$&]+|"(?:[ !#-\[\]-~]|\\[ -~])*"')
_DOMAIN = re.compile(rb"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?|\[[!-Z^-~]+\]")
_ENCODED_WORD = re.compile(rb"=\?[^? ]+\?[bBqQ]\?[^? ]*\?=")


def addresses(text: bytes) -> list[bytes]:
    """Give the addresses of a list in their order; text without any gives none.

    An address has the form `local@domain`, or `local` alone.  Raises MessageError.
    """
    found: list[bytes] = []
    words: list[bytes] = []
    is_apart = in_angle = has_angle = False
    for kind, token in _tokens(text):
        if kind == "odd":
            raise _fault(text, f"{_shown(token)} is not closed or has no place there")
        if kind == "gap":
            is_apart = True
            continue
        if kind == "word":
            if has_angle:
                raise _fault(text, "something follows after >; put a comma between addresses")
            if is_apart and words and not _joins(words[-1], token):
                words.append(b" ")
            words.append(token)
        elif token == b"<" and not in_angle and not has_angle:
            words, in_angle = [], True
        elif token == b">" and in_angle:
            in_angle, has_angle = False, True
        elif token == b":" or (in_angle and token == b","):
            # the name of a group, or hosts to go by, which have been obsolete for long (RFC 5322 4.4)
            if has_angle or (in_angle and not (words and words[0].startswith(b"@"))):
                raise _fault(text, f"{_shown(token)} has no place there")
            words = []
        elif token in b",;" and not in_angle:
            if words or has_angle:
                found.append(_checked(b"".join(words), text))
            words, has_angle = [], False
        else:
            raise _fault(text, f"{_shown(token)} has no place there")
        is_apart = False
    if in_angle:
        raise _fault(text, "< is not closed")
    if words or has_angle:
        found.append(_checked(b"".join(words), text))
    return found


def address(text: bytes) -> bytes:
    """Give the one address of a text, empty for the null sender `<>`.  Raises MessageError."""
    if text.strip() in (b"", b"<>"):
        return b""
    found = addresses(text)
    if len(found) != 1:
        raise _fault(text, "this is not one address")
    return found[0]


def _tokens(text: bytes) -> Iterator[tuple[str, bytes]]:
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        assert match is not None and match.lastgroup is not None  # the last alternative takes anything
        kind, end = match.lastgroup, match.end()
        if kind == "open":
            kind, end = "gap", _comment_end(text, position)
        yield kind, text[position:end]
        position = end


def _comment_end(text: bytes, start: int) -> int:
    depth = 0
    for match in _PARENTHESIS.finditer(text, start):
        depth += {b"(": 1, b")": -1}.get(match[0], 0)
        if not depth:
            return match.end()
    raise _fault(text, "( is not closed")


def _joins(before: bytes, after: bytes) -> bool:
    """Whether blanks between two words mean nothing (RFC 5322 4.4: `bob @ example . org`)."""
    return before.endswith((b"@", b".")) or after.startswith((b"@", b"."))


def _checked(found: bytes, text: bytes) -> bytes:
    if not found.isascii() or _ENCODED_WORD.search(found):
        raise _fault(
            text, f"the address {_shown(found)} is not in ASCII, and such addresses are not supported"
        )
    if not found:
        raise _fault(text, "an address is empty")
    if len(found) > LONGEST:
        raise _fault(text, f"an address is longer than {LONGEST} octets")
    local, at, domain = found.rpartition(b"@")
    if not at:
        local, domain = found, b"localhost"
    if _LOCAL.fullmatch(local) is None or _DOMAIN.fullmatch(domain) is None or b".." in domain:
        raise _fault(text, f"{_shown(found)} is no address; write one such as bob@example.org")
    return found


def _fault(text: bytes, why: str) -> MessageError:
    return MessageError(f'"{_shown(text)}": {why}')


def _shown(octets: bytes) -> str:
    text = octets[:100].decode("utf-8", "replace")
    return "".join(char if char.isprintable() else "?" for char in text)
