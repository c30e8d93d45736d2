"""Encoded words: text outside of ASCII in header fields.

Knows how octets of a field become text and in which character set that text is written again, makes encoded
words of it without splitting a character, and sets words into lines.  Where such words may stand is the
business of `syntax`.
Source: RFC 2047 sections 2, 4, 5 and 8; RFC 1428 for `unknown-8bit`.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

__all__ = [
    "LINE",
    "WORD",
    "Charset",
    "Item",
    "Text",
    "charset_label",
    "encodable",
    "fill",
    "read",
    "sequence",
    "words",
]

#: Characters of a line, which RFC 2047 section 2 limits to 76.
LINE = 76

#: Characters of an encoded word: 75 are allowed, but ` (` and `),` must fit on its line as well.
WORD = 72

_UTF_8 = "utf-8"
_ASCII = bytes(range(32, 127)) + b"\t\n"
_TOKEN = re.compile(rb"[A-Za-z0-9][A-Za-z0-9!#$%&+^_`{}~.:-]{0,39}")
_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/")
_Q = ["_" if octet == 32 else chr(octet) if octet in _SAFE else f"={octet:02X}" for octet in range(256)]


class Charset(NamedTuple):
    """The name that an encoded word bears, and the codec that makes its octets."""

    label: str
    codec: str

    def octets(self, text: str) -> list[bytes]:
        """Encode each character."""
        return [char.encode(self.codec) for char in text]


class Text(NamedTuple):
    """What a field says, and how to write the parts of it that need encoding."""

    text: str
    charset: Charset


class Item(NamedTuple):
    """A word: the blanks before it, how it is written now, and what it says if it must be encoded."""

    gap: str
    raw: str
    plain: str | None


def charset_label(default: bytes) -> bytes:
    """Give DEFCHARSET without its quotes, or `unknown-8bit` if that is no name of a character set."""
    label = default.strip(b" \t\"'")
    return label if _TOKEN.fullmatch(label) else b"unknown-8bit"


def read(octets: bytes, default: bytes) -> Text:
    """Read octets as UTF-8, else in the default character set, else as octets that nobody knows to read.

    JIS is recognised by its escapes, because it needs no 8-bit octets.
    """
    if octets.isascii() and b"\x1b" in octets:
        jis = _decoded(octets, "iso2022_jp")
        if jis is not None:
            return Text(jis, Charset(_UTF_8, _UTF_8))
    text = _decoded(octets, _UTF_8)
    if text is not None:
        return Text(text, Charset(_UTF_8, _UTF_8))
    label = charset_label(default).decode("ascii")
    if _is_ascii_superset(label):
        text = _decoded(octets, label)
        if text is not None:
            # Stateful character sets cannot be cut between characters, nor can one that does not come back
            # the same.
            same = _again(text, label) == octets
            return Text(text, Charset(label, label) if same else Charset(_UTF_8, _UTF_8))
    return Text(octets.decode("latin-1"), Charset("unknown-8bit", "latin-1"))


def encodable(word: str) -> bool:
    """Tell whether a word cannot stand in a header as it is: beyond ASCII, or with control characters."""
    return not (word.isascii() and word.isprintable())


def sequence(items: Sequence[Item], charset: Charset, *, width: int = WORD) -> list[tuple[str, str]]:
    """Encode the items that need it, neighbours together; give (blanks before, word) pairs for `fill`.

    `width` is the most that an encoded word may have, 76 less what else stands on its line.  A reader drops
    the blanks between encoded words, so that blanks which mean something go into the words.
    """
    out: list[tuple[str, str]] = []
    position = 0
    while position < len(items):
        gap, raw, plain = items[position]
        if plain is None:
            out.append((gap, raw))
            position += 1
            continue
        if out and _is_encoded(out[-1][1]):
            plain = gap + plain
            gap = " "
        run = [plain]
        position += 1
        while position < len(items):
            following = items[position]
            if following.plain is None:
                break
            run += [following.gap, following.plain]
            position += 1
        else:
            out += _spaced(gap, words("".join(run), charset, width=width))
            break
        if _is_encoded(following.raw):
            run.append(following.gap)
        out += _spaced(gap, words("".join(run), charset, width=width))
        out.append((following.gap or " ", following.raw))
        position += 1
    return out


def words(text: str, charset: Charset, *, width: int = WORD) -> list[str]:
    """Make encoded words of a text, B or Q, whichever is shorter, and no character in two of them."""
    chars = charset.octets(text)
    whole = b"".join(chars)
    quoted = sum(len(_Q[octet]) for octet in whole)
    base64 = quoted > (len(whole) + 2) // 3 * 4
    head = f"=?{charset.label}?{'B' if base64 else 'Q'}?"
    room = width - len(head) - 2
    limit = room // 4 * 3 if base64 else room
    out: list[str] = []
    word: list[bytes] = []
    size = 0
    for char in chars:
        cost = len(char) if base64 else sum(len(_Q[octet]) for octet in char)
        if word and size + cost > limit:
            out.append(_word(head, b"".join(word), base64))
            word = []
            size = 0
        word.append(char)
        size += cost
    out.append(_word(head, b"".join(word), base64))
    return out


def fill(head: str, tokens: Iterable[tuple[str, str]]) -> str:
    """Set words after a field's name, with an LF before the blanks where a line would be too long."""
    lines = [head]
    column = len(head)
    for gap, word in tokens:
        if not gap and lines[-1].endswith("?=") and word[:1] not in (",", ";", ""):
            gap = " "  # an encoded word stands alone
        if gap and column + len(gap) + len(word) > LINE and (len(lines) > 1 or len(gap) + len(word) <= LINE):
            lines.append("\n")
            column = 0
        lines += [gap, word]
        column += len(gap) + len(word)
    return "".join(lines)


def _word(head: str, octets: bytes, base64: bool) -> str:
    if base64:
        return head + binascii.b2a_base64(octets, newline=False).decode("ascii") + "?="
    return head + "".join([_Q[octet] for octet in octets]) + "?="


def _spaced(gap: str, encoded: Sequence[str]) -> list[tuple[str, str]]:
    return [(gap or " ", encoded[0]), *((" ", word) for word in encoded[1:])]


def _is_encoded(word: str) -> bool:
    return "=?" in word and "?=" in word


def _decoded(octets: bytes, codec: str) -> str | None:
    try:
        return octets.decode(codec)
    except (UnicodeError, LookupError):
        return None


def _again(text: str, codec: str) -> bytes | None:
    try:
        return b"".join([char.encode(codec) for char in text])
    except UnicodeError:
        return None


@lru_cache(maxsize=16)
def _is_ascii_superset(codec: str) -> bool:
    """Whether the codec exists and leaves ASCII alone: words that are not encoded stay as they were."""
    return _decoded(_ASCII, codec) == _ASCII.decode("ascii")
