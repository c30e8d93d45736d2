"""The MIME fields of a message or part: what its content is, and in which encoding it comes.

Reads what is there leniently, since a wrong guess only decides whether the content may be converted; what is
doubtful (two types, two encodings that differ, a boundary given twice) is said to be so and is then not
converted.
Sources: RFC 2045 sections 4 to 6, RFC 2046 section 5.1.1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from zsmtp.message.header import named, value

__all__ = ["IDENTITY", "Content", "content", "first_word", "is_sealed", "with_encoding", "without_comments"]

#: Encodings that encode nothing.
IDENTITY = frozenset((b"7bit", b"8bit", b"binary"))

#: Octets of a field's value that are looked at.
_VALUE_LIMIT = 16384

_COMMENTS = re.compile(rb'[()\\"]')
_SEPARATORS = re.compile(rb'[;"]')
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_TYPE = re.compile(rb"[!-.0-~]+/[!-.0-~]+")
_BOUNDARY = re.compile(rb"[!-~]|[!-~][ -~]{0,198}[!-~]")


class Content(NamedTuple):
    """What the fields say.

    `type` in lower case, empty if there is no Content-Type or none that can be understood; `stated`: there is
    such a field; `encoding` in lower case, `7bit` if none is given; `doubt`: why these fields cannot be
    relied on, or nothing.
    """

    type: bytes
    stated: bool
    encoding: bytes
    boundary: bytes
    doubt: str

    @property
    def is_multipart(self) -> bool:
        """Whether it has parts."""
        return self.type.startswith(b"multipart/")

    @property
    def has_parts(self) -> bool:
        """Whether there are headers inside of it."""
        return self.is_multipart or self.type == b"message/rfc822"


def without_comments(text: bytes) -> bytes:
    """Leave comments out, nested ones too; strings stay.  What is not closed goes on to the end."""
    out: list[bytes] = []
    depth = start = 0
    position = 0
    while (found := _COMMENTS.search(text, position)) is not None:
        at = found.start()
        position = at + 1
        match found[0]:
            case b"\\":
                position += 1
            case b'"' if not depth:
                string = _QUOTED.match(text, at)
                if string is None:
                    break
                position = string.end()
            case b"(":
                if not depth:
                    out.append(text[start:at])
                depth += 1
            case b")" if depth:
                depth -= 1
                start = position
    if not depth:
        out.append(text[start:])
    return b" ".join(out)


def first_word(text: bytes) -> bytes:
    """Give the first word of a field's value in lower case, without comments and quotes."""
    words = without_comments(text[:_VALUE_LIMIT]).split()
    return words[0].strip(b'";').lower() if words else b""


def content(fields: Sequence[bytes]) -> Content:
    """Read the Content-Type and Content-Transfer-Encoding of a header."""
    types = named(fields, b"content-type")
    encodings = {first_word(value(field)) for field in named(fields, b"content-transfer-encoding")}
    doubt = ""
    if len(encodings) > 1:
        doubt = "it has several Content-Transfer-Encoding fields"
    if len({value(field) for field in types}) > 1:
        doubt = "it has several Content-Type fields"
    elif types and len(types[0]) > _VALUE_LIMIT:
        doubt = "its Content-Type field is too long"
    media = boundary = b""
    if types and not doubt:
        first, *parameters = _parts(without_comments(value(types[0])))
        media = first.strip(b" \t").lower()
        boundaries = [_unquoted(said) for title, said in map(_parameter, parameters) if title == b"boundary"]
        if media.startswith(b"multipart/"):
            if len(boundaries) == 1 and _BOUNDARY.fullmatch(boundaries[0]):
                boundary = boundaries[0]
            else:
                doubt = "it has no usable boundary parameter"
        if _TYPE.fullmatch(media) is None:
            media = b""
    return Content(media, bool(types), encodings.pop() if encodings else b"7bit", boundary, doubt)


def is_sealed(media: bytes) -> bool:
    """Tell whether a content of this type is signed or encrypted, so that it must arrive as it is."""
    return media in (b"multipart/signed", b"multipart/encrypted") or media.startswith(b"application/pkcs7-")


def with_encoding(fields: Sequence[bytes], encoding: bytes) -> list[bytes]:
    """Give the fields with this Content-Transfer-Encoding, where they had another or at the end."""
    title = b"content-transfer-encoding"
    out: list[bytes] = []
    done = False
    for field in fields:
        if field[:1] not in b"cC" or field.partition(b":")[0].rstrip(b" \t").lower() != title:
            out.append(field)
        elif not done:
            out.append(field.partition(b":")[0] + b": " + encoding)
            done = True
    if not done:
        out.append(b"Content-Transfer-Encoding: " + encoding)
    return out


def _parts(text: bytes) -> list[bytes]:
    """Cut at the semicolons outside of strings."""
    out: list[bytes] = []
    start = position = 0
    while (found := _SEPARATORS.search(text, position)) is not None:
        position = found.end()
        if found[0] == b";":
            out.append(text[start : found.start()])
            start = position
        else:
            string = _QUOTED.match(text, found.start())
            if string is None:
                break
            position = string.end()
    return [*out, text[start:]]


def _parameter(part: bytes) -> tuple[bytes, bytes]:
    title, _, said = part.partition(b"=")
    return title.strip(b" \t").lower(), said.strip(b" \t")


def _unquoted(said: bytes) -> bytes:
    if len(said) > 1 and said[:1] == said[-1:] == b'"':
        return _ESCAPED.sub(rb"\1", said[1:-1])
    return said
