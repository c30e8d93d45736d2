"""Header fields with text outside of ASCII, encoded by their syntax.

Free text: runs of words.  Addresses: display names and comments, never an address itself.  Parameters of
Content-Type and Content-Disposition: by RFC 2231.  Other structured fields: comments; if that is not enough
the field goes on as free text under the name `Downgraded-...`, since a date or a message identifier that was
encoded would be no such thing any more.  Control characters are encoded where free text is, and become blanks
elsewhere.
Sources: RFC 2047 section 5, RFC 2231, RFC 6532 section 3.2; RFC 6857 section 3.1.10 for `Downgraded-`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from zsmtp.message.header import ORDINARY, Signed, name
from zsmtp.message.words import LINE, WORD, Charset, Item, encodable, fill, read, sequence, words

__all__ = ["ADDRESSES", "encoded", "encoded_fields", "well_named"]

#: Fields whose value is a list of addresses.
ADDRESSES = frozenset(
    (b"resent-" if resent else b"") + each
    for resent in (False, True)
    for each in (b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc")
) | {
    b"apparently-to",
    b"disposition-notification-to",
    b"errors-to",
    b"mail-followup-to",
    b"return-receipt-to",
}

_PARAMETERS = frozenset((b"content-type", b"content-disposition"))

_STRUCTURED = frozenset(
    (
        b"arc-authentication-results",
        b"arc-message-signature",
        b"arc-seal",
        b"authentication-results",
        b"content-id",
        b"content-transfer-encoding",
        b"date",
        b"dkim-signature",
        b"in-reply-to",
        b"message-id",
        b"mime-version",
        b"received",
        b"references",
        b"resent-date",
        b"resent-message-id",
        b"return-path",
    )
)

_WORDS = re.compile(
    r"([ \t]*)([^ \t]+)"
)  # only for text that does not end with blanks, or it takes square time
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_TOKENS = re.compile(
    r"""(?P<gap>[ \t]+)
      | (?P<quote>")
      | (?P<comment>\()
      | (?P<angle><(?:[^<>"]|"(?:[^"\\]|\\.)*+")*+>)
      | (?P<mark>[,;:])
      | (?P<atom>\[[^\[\]]*+\] | [^ \t"(\[<,;:]+ | .)""",
    re.VERBOSE | re.DOTALL,
)
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_PARAMETER = re.compile(r"([ \t]*)([^ \t=*]+)((?:\*[0-9]+)?\*?)[ \t]*=[ \t]*(.*)", re.DOTALL)
_PARENTHESES = re.compile(r"[()\\]")
_ATTRIBUTE_CHARS = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$&+-.^_`{|}~")

Token = tuple[str, str]


def well_named(field: bytes) -> bool:
    """Tell whether a field has a name, and one in printable ASCII."""
    title = name(field)
    return bool(title) and not encodable(title.decode("latin-1"))


def _unquoted(text: str) -> str:
    """What a quoted string says."""
    return _ESCAPED.sub(r"\1", text[1:-1])


def encoded(field: bytes, default_charset: bytes) -> bytes | None:
    """Bring a (well-named) field into ASCII; None if an address or the like would have to change."""
    head, _, rest = field.partition(b":")
    title = name(field)
    text, charset = read(rest.replace(b"\n", b""), default_charset)
    start = head.decode("ascii") + ":"
    tokens: list[Token] | None
    if title in ADDRESSES:
        tokens = _addresses(_CONTROLS.sub(" ", text), charset)
        if tokens is None:
            return None
    elif title in _PARAMETERS:
        tokens = _parameters(_CONTROLS.sub(" ", text), charset)
        if tokens is None:
            return None
    elif title in _STRUCTURED:
        tokens = _comments(_CONTROLS.sub(" ", text), charset)
        if tokens is None:
            start = "Downgraded-" + start
            tokens = _free_text(text, charset, start)
    else:
        tokens = _free_text(text, charset, start)
    while tokens and not tokens[-1][1]:  # blanks at the end might make a line of their own: an empty one
        tokens.pop()
    return fill(start, tokens).encode("ascii")


def encoded_fields(
    fields: Sequence[bytes], default_charset: bytes, signed: Signed
) -> tuple[list[bytes], list[str], bytes]:
    """Bring fields into printable ASCII; give them, things to log, and the name of one that resists.

    Of the fields that a signature covers those with 8-bit octets cannot, and the others stay as they are.  A
    field without a proper name is left out.
    """
    out: list[bytes] = []
    notes: list[str] = []
    for field in fields:
        if not field.translate(None, ORDINARY):
            out.append(field)
        elif signed.covers(field):
            if not field.isascii():
                return [], [], name(field) or b"(none)"
            out.append(field)
        elif not well_named(field):
            if signed.present:
                return [], [], b"(8-bit name)"
            notes.append("a header field whose name is not in ASCII was left out")
        else:
            new = encoded(field, default_charset)
            if new is None:
                return [], [], name(field)
            out.append(new)
    return out, notes, b""


def _free_text(text: str, charset: Charset, start: str) -> list[Token]:
    # The first word shall fit beside the field's name.
    width = max(min(WORD, LINE - 1 - len(start)), 44)
    return sequence([_item(gap, word) for gap, word in _words(text)], charset, width=width)


def _words(text: str) -> list[tuple[str, str]]:
    return _WORDS.findall(text.rstrip(" \t"))


def _item(gap: str, word: str) -> Item:
    return Item(gap, word, word if encodable(word) else None)


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    """Cut the value of a structured field into (kind, text)."""
    position = 0
    comments = quotes = True
    while position < len(text):
        found = _TOKENS.match(text, position)
        assert found is not None and found.lastgroup is not None  # the last alternative takes anything
        kind = found.lastgroup
        end = found.end()
        # A comment or string that is never closed is none; nor is one looked for again, as that would take
        # square time.
        if kind == "comment":
            close = _comment_end(text, position) if comments else 0
            comments = close > 0
            kind, end = ("comment", close) if comments else ("atom", end)
        elif kind == "quote":
            string = _QUOTED.match(text, position) if quotes else None
            quotes = string is not None
            kind, end = ("quoted", string.end()) if string is not None else ("atom", end)
        yield kind, text[position:end]
        position = end


def _comment_end(text: str, start: int) -> int:
    """The offset after the parenthesis that closes the comment which starts here; 0 if there is none."""
    depth = 0
    escaped = -1
    for found in _PARENTHESES.finditer(text, start):
        at = found.start()
        if at == escaped:
            continue
        match found[0]:
            case "\\":
                escaped = at + 1
            case "(":
                depth += 1
            case _:
                depth -= 1
                if not depth:
                    return at + 1
    return 0


def _comment(gap: str, text: str, charset: Charset) -> list[Token]:
    """A comment, with what it says encoded if need be."""
    if not encodable(text):
        return [(gap, text)]
    inner = text[1:-1]
    if _PARENTHESES.search(inner):
        said = [("", word) for word in words(_ESCAPED.sub(r"\1", inner), charset)]
    else:
        said = sequence([_item(before, word) for before, word in _words(inner)], charset)
    out = [(" " if before or number else "", word) for number, (before, word) in enumerate(said)]
    out[0] = (gap or " ", "(" + out[0][1])
    out[-1] = (out[-1][0], out[-1][1] + ")")
    return out


def _phrase(parts: Sequence[tuple[str, str, str]], charset: Charset) -> list[Token]:
    """Words, quoted strings and comments, (kind, blanks before, text) each; what needs it is encoded."""
    out: list[Token] = []
    items: list[Item] = []
    word: list[tuple[str, str, str]] = []
    for part in [*parts, ("end", " ", "")]:
        kind, gap, text = part
        if word and (gap or kind == "comment"):  # what has no blanks in between is one word
            items.append(_joined(word))
            word = []
        if kind == "comment":
            out += sequence(items, charset)
            items = []
            out += _comment(gap, text, charset)
        elif kind != "end":
            word.append(part)
    return out + sequence(items, charset)


def _joined(parts: Sequence[tuple[str, str, str]]) -> Item:
    """One word from atoms and quoted strings."""
    raw = "".join([text for _, _, text in parts])
    plain = None
    if encodable(raw):
        plain = "".join([_unquoted(text) if kind == "quoted" else text for kind, _, text in parts])
    return Item(parts[0][1], raw, plain)


def _addresses(text: str, charset: Charset) -> list[Token] | None:
    """A list of mailboxes and groups."""
    out: list[Token] = []
    parts: list[tuple[str, str, str]] = []
    gap = ""
    for kind, token in [*_tokens(text), ("mark", "")]:
        if kind == "gap":
            gap += token
            continue
        if kind == "angle":
            if encodable(token):
                return None
            out += _phrase(parts, charset)
            out.append((gap, token))
            parts = []
        elif kind == "mark":
            if token != ":" and _is_address(parts):
                return None
            out += _phrase(parts, charset)
            out.append((gap, token))
            parts = []
        else:
            parts.append((kind, gap, token))
        gap = ""
    return out


def _is_address(parts: Sequence[tuple[str, str, str]]) -> bool:
    """Whether these words are an address, without <>, that has something beyond ASCII in it."""
    said = [text for kind, _, text in parts if kind != "comment"]
    return any("@" in text for text in said) and any(encodable(text) for text in said)


def _comments(text: str, charset: Charset) -> list[Token] | None:
    """A structured field in which only comments may be encoded."""
    out: list[Token] = []
    gap = ""
    for kind, token in _tokens(text):
        if kind == "gap":
            gap += token
            continue
        if kind == "comment":
            out += _comment(gap, token, charset)
        elif encodable(token):
            return None
        else:
            out.append((gap, token))
        gap = ""
    return out


def _parameters(text: str, charset: Charset) -> list[Token] | None:
    """A type and its parameters."""
    out: list[Token] = []
    parts: list[list[str]] = [[]]
    for kind, token in _tokens(text):
        if token == ";":
            parts.append([])
        elif kind != "comment" or not encodable(token):
            parts[-1].append(token)
    for number, tokens in enumerate(parts):
        part = "".join(tokens)
        end = ";" if number < len(parts) - 1 else ""
        if encodable(part):
            found = _PARAMETER.fullmatch(part)
            if not number or found is None or found[2].lower() in ("boundary", "charset"):
                return None
            out += _extended(found[2], found[3], found[4].strip(" \t"), charset, end)
        else:
            stripped = part.lstrip(" \t")
            out.append((part[: len(part) - len(stripped)], stripped + end))
    return out


def _extended(title: str, star: str, value: str, charset: Charset, end: str) -> list[Token]:
    """A parameter in the form of RFC 2231, in sections if it is long."""
    said = _unquoted(value) if len(value) > 1 and value[0] == value[-1] == '"' else value
    if encodable(title + star):
        title = "".join(char for char in title if not encodable(char)) or "x"
    if star.endswith("*"):  # it has this form already, but with raw octets in it
        raw = "".join(
            _percent(octets) if not octets.isascii() else octets.decode() for octets in charset.octets(said)
        )
        return [(" ", f"{title}{star}={raw}{end}")]
    octets = b"".join(charset.octets(said))
    out: list[Token] = []
    section = f"{charset.label}''"
    for octet in octets:
        piece = chr(octet) if octet in _ATTRIBUTE_CHARS else f"%{octet:02X}"
        if len(section) + len(piece) + len(title) > LINE - 12:
            out.append((" ", f"{title}*{len(out)}*={section};"))
            section = ""
        section += piece
    out.append((" ", f"{title}*{len(out)}*={section}{end}" if out else f"{title}*={section}{end}"))
    return out


def _percent(octets: bytes) -> str:
    return "".join(f"%{octet:02X}" for octet in octets)
