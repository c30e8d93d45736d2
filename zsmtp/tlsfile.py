"""The TLS configuration file of option -S, smtp-tls.conf: from octets to `TlsSettings`.

One keyword and at most one value a line; further words are ignored, as are empty lines and those that begin
with `#` or `;`.  Upper and lower case of keywords do not differ, the last of several lines counts.  A keyword
that is not known is told and passed over, unless it may be a slip of the pen in one that keeps mail from
going out unprotected: such a file, like one with a wrong value, is not used at all.

Opens nothing: what the paths lead to is the business of `zsmtp.net.tlscontext`.
Sources: smtp(8zm), section SECURE SOCKET LAYER SUPPORT; the original's own parser for further keywords.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import get_close_matches
from enum import Enum
from typing import Any, Final, NamedTuple, TypeAlias

from zsmtp.errors import ConfigError

__all__ = ["KEYWORDS", "LONGEST_FILE", "Level", "TlsKeyword", "TlsSettings", "read_tls_file"]

LONGEST_FILE: Final = 65536
"""octets; a longer file is something else"""
_LONGEST_LINE: Final = 1023
_LONGEST_AGE: Final = 86400
_VERSIONS: Final = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_NAME = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")


class Level(Enum):
    """What is asked of a server's certificate.  Source: RFC 7435, RFC 8314."""

    NONE = "none"
    OPPORTUNISTIC = "opportunistic"
    """checked, and the verdict is shown; nothing depends on it"""
    NAME = "name"
    """no mail unless it is good and names the server"""


class TlsSettings(NamedTuple):
    """What a file says; the defaults are those of an agent without one, but for `level`.

    Paths and names are text as `os.fsdecode` gives it; empty means not given.  `pairs` are certificate and
    key files, with the keyword that a complaint about them names.  `lines` has the line of each keyword.
    """

    path: str = ""
    is_demanded: bool = False
    level: Level = Level.NONE
    names: tuple[str, ...] = ()
    minimum: str = "TLSv1.2"
    ciphers: str = ""
    suites: str = ""
    ca_file: str = ""
    ca_path: str = ""
    cert_file: str = ""
    key_file: str = ""
    second_cert_file: str = ""
    second_key_file: str = ""
    session_seconds: int = 3600
    detail: int = 0
    lines: tuple[tuple[str, int], ...] = ()

    def where(self, keyword: str) -> str:
        """Say where a keyword stands, as complaints begin: `smtp-tls.conf:3: tls-cert-file`."""
        line = dict(self.lines).get(keyword)
        return f"{self.path}:{line}: {keyword}" if line else f"{self.path}: {keyword}"


_Action: TypeAlias = Callable[[TlsSettings, str], TlsSettings]


class TlsKeyword(NamedTuple):
    """One keyword: `value` is the name of its value in the manual page, empty for a switch.

    `is_guard`: it keeps mail back that others would let go.
    """

    name: str
    value: str
    act: _Action
    is_guard: bool = False


class _Wrong(Exception):
    """What is wrong with a value, and what to write."""


def _set(field: str, value: Any = None) -> _Action:
    def act(settings: TlsSettings, given: str) -> TlsSettings:
        fields: dict[str, Any] = {field: given if value is None else value}
        return settings._replace(**fields)

    return act


def _nothing(settings: TlsSettings, _: str) -> TlsSettings:
    return settings


def _level(settings: TlsSettings, value: str) -> TlsSettings:
    try:
        return settings._replace(level=Level(value.lower()))
    except ValueError:
        raise _Wrong(
            f'"{_shown(value, 80)}" is no level; write one of {", ".join(one.value for one in Level)}'
        ) from None


def _name(settings: TlsSettings, value: str) -> TlsSettings:
    if len(value) > 253 or not _NAME.fullmatch(value):
        raise _Wrong(f'"{_shown(value, 80)}" is no host name; write one such as mail.example.org')
    return settings._replace(names=(*settings.names, value.lower()))


def _minimum(settings: TlsSettings, value: str) -> TlsSettings:
    for version in _VERSIONS:
        if value.lower() in (version.lower(), version[4:]):
            return settings._replace(minimum=version)
    raise _Wrong(f'"{_shown(value, 80)}" is no version of TLS; write one of {", ".join(_VERSIONS)}')


def _age(settings: TlsSettings, value: str) -> TlsSettings:
    if not re.fullmatch("[0-9]{1,9}", value):
        remedy = f"write one up to {_LONGEST_AGE}, or 0 for no re-use"
        raise _Wrong(f'"{_shown(value, 80)}" is no number of seconds; {remedy}')
    return settings._replace(session_seconds=min(int(value), _LONGEST_AGE))


def _detail(settings: TlsSettings, value: str) -> TlsSettings:
    if not re.fullmatch("-?[0-9]{1,9}", value):
        raise _Wrong(f'"{_shown(value, 80)}" is no log level; write a number from 0 to 4')
    return settings._replace(detail=min(max(int(value), 0), 4))


KEYWORDS: Final = (
    TlsKeyword("tls-cert-file", "path", _set("cert_file")),
    TlsKeyword("tls-key-file", "path", _set("key_file")),
    TlsKeyword("tls-dcert-file", "path", _set("second_cert_file")),
    TlsKeyword("tls-dkey-file", "path", _set("second_key_file")),
    TlsKeyword("tls-CAfile", "path", _set("ca_file")),
    TlsKeyword("tls-CApath", "path", _set("ca_path")),
    TlsKeyword("tls-verify", "level", _level, is_guard=True),
    TlsKeyword("tls-verify-name", "name", _name, is_guard=True),
    TlsKeyword("tls-min-protocol", "version", _minimum, is_guard=True),
    TlsKeyword("tls-cipher-list", "list", _set("ciphers"), is_guard=True),
    TlsKeyword("tls-ciphersuites", "list", _set("suites"), is_guard=True),
    TlsKeyword("tls-scache-timeout", "seconds", _age),
    TlsKeyword("tls-loglevel", "number", _detail),
    TlsKeyword("demand-tls-mode", "", _set("is_demanded", value=True), is_guard=True),
    # what the original knew and nobody needs
    TlsKeyword("tls-random-source", "", _nothing),
    TlsKeyword("tls-strict-rfc2487", "", _nothing),
    TlsKeyword("tls-use-scache", "", _nothing),
    TlsKeyword("no-tls-readahead", "", _nothing),
)
_BY_NAME: Final = {keyword.name.lower(): keyword for keyword in KEYWORDS}


def read_tls_file(octets: bytes, path: str, warn: Callable[[str], object]) -> TlsSettings:
    """Read a file; `path` is what complaints call it.

    `warn` is called for what is passed over.  Raises ConfigError for what must not be passed over.
    """
    if len(octets) > LONGEST_FILE:
        raise ConfigError(f"{path}: more than {LONGEST_FILE} octets; write the name of a TLS configuration")
    settings = TlsSettings(path, level=Level.OPPORTUNISTIC)
    for number, octets_of_line in enumerate(octets.split(b"\n"), 1):
        words = octets_of_line.decode("utf-8", "surrogateescape").split()
        if not words or words[0][0] in "#;":
            continue
        where = f"{path}:{number}: {_shown(words[0])}"
        if len(octets_of_line) > _LONGEST_LINE:
            raise ConfigError(f"{where}: the line is too long; write at most {_LONGEST_LINE} octets")
        keyword = _BY_NAME.get(words[0].lower())
        if keyword is None:
            _complain(words[0].lower(), where, warn)
            continue
        settings = _applied(settings, keyword, words, where)
        settings = settings._replace(lines=(*settings.lines, (keyword.name, number)))
    return _checked(settings, warn)


def _complain(word: str, where: str, warn: Callable[[str], object]) -> None:
    """Pass over a keyword that is not known, unless it may be one that something depends on."""
    close = get_close_matches(word, _BY_NAME, n=1, cutoff=0.75)
    meant = _BY_NAME[close[0]] if close else None
    if word.startswith(("demand", "mandat", "require")):
        meant = _BY_NAME["demand-tls-mode"]
    if meant is not None and meant.is_guard:
        raise ConfigError(f"{where}: unknown keyword; write {meant.name}, or remove the line")
    advice = f"write {meant.name}, or remove the line" if meant is not None else "remove the line"
    warn(f"{where}: unknown keyword, passed over; {advice}")


def _applied(settings: TlsSettings, keyword: TlsKeyword, words: list[str], where: str) -> TlsSettings:
    if not keyword.value:
        return keyword.act(settings, "")
    if len(words) < 2 or words[1][0] in "#;":
        raise ConfigError(f"{where}: the value is missing; write {keyword.name} and a {keyword.value}")
    if any(char < " " or char == "\x7f" for char in words[1]):
        raise ConfigError(f"{where}: control characters in the value; write it without them")
    try:
        return keyword.act(settings, words[1])
    except _Wrong as error:
        raise ConfigError(f"{where}: {_shown(str(error))}") from None


def _checked(settings: TlsSettings, warn: Callable[[str], object]) -> TlsSettings:
    """Hold the lines against each other."""
    for key, cert in (("tls-key-file", "tls-cert-file"), ("tls-dkey-file", "tls-dcert-file")):
        given = dict(settings.lines)
        if key in given and cert not in given:
            warn(f"{settings.where(key)}: a key without a certificate is not used; write {cert}, too")
    if settings.names and settings.level is not Level.NAME:
        raise ConfigError(
            f"{settings.where('tls-verify-name')}: nothing depends on the name; write tls-verify name, too"
        )
    if settings.level is Level.NAME:
        # whoever insists on the right server does not mean to be content with none at all
        return settings._replace(is_demanded=True)
    return settings


def _shown(text: str, most: int = 250) -> str:
    cut = text if len(text) <= most else text[:most] + "..."
    return "".join(char if char.isprintable() else "?" for char in cut)
