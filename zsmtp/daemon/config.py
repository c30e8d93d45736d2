"""The daemon's configuration: from the text of a TOML file to values.

Everything is checked before anything begins, and all that is wrong is told at once, each fault with file,
line, key and remedy.  A channel is what the agent's command line is for the agent: its keys are those options
under readable names, read and checked by the very rows of `zsmtp.options`.

Opens no file and asks nobody.  Which program a channel of the spool belongs to is said by its table alone:
recipients of other channels are left to others.
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from zsmtp.daemon.limits import Rate
from zsmtp.daemon.schedule import RetryRules
from zsmtp.errors import ConfigError
from zsmtp.options import PERIODS, Settings, UsageError, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["CHANNEL_KEYS", "TOP_KEYS", "Channel", "Configuration", "Route", "default", "read"]


class Channel(NamedTuple):
    """How mail of one channel is delivered.

    `settings` are the agent's options, with the connections to one destination among them.  `destinations`
    may be served at the same time.
    """

    name: str
    settings: Settings
    retry: RetryRules = RetryRules()
    destinations: int = 100
    rate: Rate | None = None


class Route(NamedTuple):
    """Where mail to a domain goes; `host` None: to the domain itself.  `pattern` is `*`, a name, or `.name`
    for all names below it.
    """

    pattern: str
    channel: str
    host: str | None = None


class Configuration(NamedTuple):
    """Everything that the daemon was told.

    `hello_name` None: the name of this machine.  `postmaster` None: postmaster at that name.
    """

    postoffice: str | None
    hash_levels: int = 0
    hello_name: str | None = None
    postmaster: str | None = None
    return_limit: int = 50_000
    message_limit: int = 100_000_000
    destinations: int = 200
    scan_seconds: float = 60.0
    linger_seconds: float = 5.0
    channels: tuple[Channel, ...] = (Channel("smtp", Settings()),)
    routes: tuple[Route, ...] = ()

    def route(self, address: bytes, *, own: str) -> tuple[bytes, bytes] | None:
        """Return channel and host for `address`, None where no route leads; one without domain is at
        `own`.
        """
        domain = (
            address.rpartition(b"@")[2].decode("utf-8", "replace").lower() if b"@" in address else own.lower()
        )
        for route in sorted(self.routes, key=lambda one: -len(one.pattern)):
            if route.pattern in ("*", domain) or (route.pattern[0] == "." and domain.endswith(route.pattern)):
                return route.channel.encode(), (route.host or domain).encode()
        if any(channel.name == "smtp" for channel in self.channels):
            return b"smtp", domain.encode()
        return None


def default(postoffice: str) -> Configuration:
    """Return what holds without a file: channel `smtp`, by the mail exchangers of each domain."""
    return Configuration(postoffice)


class _Fault(Exception):
    """One wrong value; the text says what is wrong and what to write."""


class _Key(NamedTuple):
    field: str
    check: Callable[[Any], Any]


# -- values


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return "".join(char if char.isprintable() else "?" for char in text[:80])


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise _Fault(f'"{_shown(value)}" is no text; write it in quotation marks')
    return value


def _path(value: Any) -> str:
    text = _text(value)
    if not text.startswith("/"):
        raise _Fault(f'"{text}" is no full path; write one that begins with /')
    return text


def _hello(value: Any) -> str:
    parse(["-h", _text(value)], "zsmtp")  # raises UsageError
    return _text(value)


def _postmaster(value: Any) -> str:
    text = _text(value)
    if not re.fullmatch(r"[!-?A-~]+@[A-Za-z0-9_.\[\]:-]+", text) or "<" in text or ">" in text:
        raise _Fault(f'"{text}" is no mail address; write one such as postmaster@example.org')
    return text


def _number(lowest: int, highest: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
            raise _Fault(f'"{_shown(value)}" is out of range; write a number from {lowest} to {highest}')
        return value

    return check


_UNITS: Final = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def _interval(lowest: float) -> Callable[[Any], float]:
    def check(value: Any) -> float:
        seconds = 0.0
        if isinstance(value, str) and re.fullmatch("(?:[0-9]{1,6}[dhms])+", value):
            seconds = float(
                sum(int(count) * _UNITS[unit] for count, unit in re.findall("([0-9]+)([dhms])", value))
            )
        if not lowest <= seconds <= 60 * 86400:
            raise _Fault(
                f'"{_shown(value)}" is no interval; write {lowest:.0f} s to 60 days, such as "30m" or "1h30m"'
            )
        return seconds

    return check


def _intervals(value: Any) -> tuple[float, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= 100:
        raise _Fault('this is no list of intervals; write one to 100, such as ["30m", "1h", "3h"]')
    return tuple(_interval(1)(each) for each in value)


def _rate(value: Any) -> Rate:
    found = re.fullmatch("([0-9]{1,6})/([0-9a-z]+)", value) if isinstance(value, str) else None
    if found is None or not int(found[1]):
        raise _Fault(f'"{_shown(value)}" is no rate; write messages in a time, such as "100/1m"')
    return Rate(int(found[1]), _interval(1)(found[2]))


def _part(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise _Fault(f'"{_shown(value)}" is out of range; write a number from 0 to 1')
    return float(value)


# -- tables

TOP_KEYS: Final[Mapping[str, _Key]] = {
    "postoffice": _Key("postoffice", _path),
    "hash-levels": _Key("hash_levels", _number(0, 2)),
    "hello-name": _Key("hello_name", _hello),
    "postmaster": _Key("postmaster", _postmaster),
    "return-limit": _Key("return_limit", _number(0, 100_000_000)),
    "message-limit": _Key("message_limit", _number(1, 1 << 40)),
    "destinations": _Key("destinations", _number(1, 10_000)),
    "scan": _Key("scan_seconds", _interval(1)),
    "linger": _Key("linger_seconds", _interval(1)),
}
"""Keys outside of any table; `channels` and `routes` are tables."""

_RETRY_KEYS: Final[Mapping[str, _Key]] = {
    "retry": _Key("intervals", _intervals),
    "first-refusal": _Key("first_refusal", _interval(1)),
    "maybe-delivered": _Key("maybe_delivered", _interval(1)),
    "expiry": _Key("expiry", _interval(1)),
    "jitter": _Key("jitter", _part),
}
_OWN_KEYS: Final[Mapping[str, _Key]] = {
    "destinations": _Key("destinations", _number(1, 10_000)),
    "rate": _Key("rate", _rate),
}

# What takes a value in the agent's command line: the words that make it.
_WORDS: Final[Mapping[str, Callable[[Any], list[str]]]] = {
    "destination": lambda value: ["-F", _text(value)],
    "port": lambda value: ["-p", str(value)],
    "tls-file": lambda value: ["-S", _path(value)],
    "secrets-file": lambda value: ["-A", _path(value)],
    "transcript": lambda value: ["-l", _path(value)],
    "send-buffer": lambda value: ["-w", str(value)],
    "connections": lambda value: ["-O", f"connections={value}"],
    "nameservers": lambda value: [word for each in _texts(value) for word in ("-O", f"nameserver={each}")],
}
# What is on or off there: the words for true and for false.
_SWITCHES: Final[Mapping[str, tuple[list[str], list[str]]]] = {
    "mx": ([], ["-x"]),
    "allow-self": (["-X"], []),
    "prefer-ipv6": (["-6"], []),
    "pipelining": ([], ["-P"]),
    "one-message-per-connection": (["-1"], []),
    "raw-headers": (["-H"], []),
    "seven-bit": (["-7"], []),
    "eight-bit": (["-8"], []),
    "ignore-ezmlm": (["-O", "ignore-ezmlm"], []),
}
# One of several words.
_CHOICES: Final[Mapping[str, Mapping[str, list[str]]]] = {
    "protocol": {"smtp": [], "lmtp": ["-M"]},
    "esmtp": {"always": [], "announced": ["-E"], "never": ["-77"]},
    "tls": {"opportunistic": [], "never": ["-O", "no-starttls"]},
}
CHANNEL_KEYS: Final = frozenset({*_RETRY_KEYS, *_OWN_KEYS, *_WORDS, *_SWITCHES, *_CHOICES, "timeouts"})
"""Keys of the table of a channel; `timeouts` is a table."""


# What the command line says of several options at once, in the words of this file.
_NAMES_OF_OPTIONS: Final[Mapping[str, str]] = {
    "-M (LMTP)": 'protocol = "lmtp"',
    "with -p or -F [address]:port": 'with port, or in destination = "[address]:port"',
    "with -F UNIX:/path": 'with destination = "UNIX:/path"',
    "-O no-starttls": 'tls = "never"',
    "-S": "tls-file",
    "-A": "secrets-file",
}


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list) or not value:
        raise _Fault('this is no list; write one such as ["192.0.2.1"]')
    return [_text(each) for each in value]


def _timeouts(value: Any) -> list[str]:
    known = {period.field: period.key for period in PERIODS}
    if not isinstance(value, dict):
        raise _Fault('this is no table; write one such as { connect = "3m" }')
    for name in value:
        if name not in known:
            raise _Fault(f'"{_shown(name)}" is unknown; known are {", ".join(known)}')
    return [word for name, interval in value.items() for word in ("-T", f"{known[name]}={_text(interval)}")]


def _words(key: str, value: Any) -> list[str]:
    """Turn one key of a channel into words of the agent's command line."""
    if key == "timeouts":
        return _timeouts(value)
    if key in _SWITCHES:
        if not isinstance(value, bool):
            raise _Fault(
                f'"{_shown(value)}" is neither true nor false; write one of them, without quotation marks'
            )
        return _SWITCHES[key][0 if value else 1]
    if key in _CHOICES:
        if not isinstance(value, str) or value not in _CHOICES[key]:
            raise _Fault(f'"{_shown(value)}" is unknown; known are {", ".join(_CHOICES[key])}')
        return _CHOICES[key][value]
    return _WORDS[key](value)


# -- reading


def read(text: str, name: str) -> Configuration:
    """Read the text of the file `name`.  Raises ConfigError with a line for every fault."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        where = f"{name}:{line[1]}" if line else name
        raise ConfigError(f"{where}: this is no TOML: {error}; see https://toml.io for its form") from error
    return _Reader(text, name).read(tables)


class _Reader:
    """Reads one file; collects what is wrong."""

    def __init__(self, text: str, name: str) -> None:
        self._lines = dict(_places(text))
        self._name = name
        self._faults: list[tuple[int, str]] = []

    def read(self, tables: dict[str, Any]) -> Configuration:
        channels = self._channels(tables.pop("channels", None))
        routes = self._routes(tables.pop("routes", {}), {channel.name for channel in channels})
        fields = self._fields((), tables, TOP_KEYS)
        for key in tables.keys() - TOP_KEYS.keys():
            self._unknown((key,), [*TOP_KEYS, "channels", "routes"])
        if self._faults:
            raise ConfigError("\n".join(text for _, text in sorted(self._faults)))
        return Configuration(**{"postoffice": None, **fields}, channels=channels, routes=routes)

    def _channels(self, tables: Any) -> tuple[Channel, ...]:
        if tables is None:
            return (Channel("smtp", Settings()),)
        if not isinstance(tables, dict) or not tables:
            self._fault(("channels",), "this names no channel; write a table such as [channels.smtp]")
            return ()
        return tuple(self._channel(name, table) for name, table in tables.items())

    def _channel(self, name: str, table: Any) -> Channel:
        place = ("channels", name)
        if not isinstance(table, dict):
            self._fault(place, f"this is no table; write [channels.{_shown(name)}]")
            return Channel(name, Settings())
        for key in table.keys() - CHANNEL_KEYS:
            self._unknown((*place, key), sorted(CHANNEL_KEYS))
        words = ["-c", name]
        # esmtp first: what it says of eight bits is overruled by the keys about them
        for key, value in sorted(table.items(), key=lambda item: item[0] != "esmtp"):
            if key in CHANNEL_KEYS - _RETRY_KEYS.keys() - _OWN_KEYS.keys():
                words += self._option((*place, key), value)
        if table.get("seven-bit") is True and table.get("eight-bit") is True:
            self._fault(
                (*place, "eight-bit"), "a channel has seven bits or eight; remove one of the two keys"
            )
        settings = self._settings(place, words)
        rules = RetryRules(**self._fields(place, table, _RETRY_KEYS))
        return Channel(name, settings, rules, **self._fields(place, table, _OWN_KEYS))

    def _option(self, place: tuple[str, ...], value: Any) -> list[str]:
        """Return the words for one key, or none if they would not be understood."""
        try:
            words = _words(place[-1], value)
            # alone, so that a fault can be told with its line; LMTP needs more than itself
            if words != ["-M"]:
                parse(words, "zsmtp")
        except _Fault as fault:
            self._fault(place, str(fault))
        except UsageError as fault:
            self._fault(place, re.sub(r"^-\w (?=\")", "", str(fault)))
        else:
            return words
        return []

    def _settings(self, place: tuple[str, ...], words: list[str]) -> Settings:
        try:
            settings = parse(words, "zsmtp")
        except UsageError as fault:
            text = str(fault)
            for option, key in _NAMES_OF_OPTIONS.items():
                text = text.replace(option, key)
            self._fault(place, text)
            return Settings()
        assert isinstance(settings, Settings)
        return settings

    def _routes(self, tables: Any, channels: set[str]) -> tuple[Route, ...]:
        if not isinstance(tables, dict):
            self._fault(("routes",), "this is no table; write [routes]")
            return ()
        routes = []
        for pattern, value in tables.items():
            place = ("routes", pattern)
            if not re.fullmatch(r"\*|\.?[\w-]+(?:\.[\w-]+)*", pattern):
                self._fault(place, 'this is no domain; write "example.org", ".example.org" or "*"')
            elif not isinstance(value, dict) or value.keys() - {"channel", "host"} or "channel" not in value:
                self._fault(place, 'a route has a channel and maybe a host; write { channel = "smtp" }')
            elif value["channel"] not in channels:
                self._fault(
                    place, f'channel "{_shown(value["channel"])}" has no table; write [channels.NAME]'
                )
            else:
                try:
                    host = _text(value["host"]) if "host" in value else None
                except _Fault as fault:
                    self._fault(place, str(fault))
                else:
                    routes.append(Route(pattern.lower(), value["channel"], host))
        return tuple(routes)

    def _fields(
        self, place: tuple[str, ...], table: dict[str, Any], keys: Mapping[str, _Key]
    ) -> dict[str, Any]:
        fields = {}
        for key, value in table.items():
            if key in keys:
                try:
                    fields[keys[key].field] = keys[key].check(value)
                except _Fault as fault:
                    self._fault((*place, key), str(fault))
                except UsageError as fault:
                    self._fault((*place, key), re.sub(r"^-\w (?=\")", "", str(fault)))
        return fields

    def _unknown(self, place: tuple[str, ...], known: list[str]) -> None:
        self._fault(place, f"this key is unknown; known are {', '.join(known)}")

    def _fault(self, place: tuple[str, ...], text: str) -> None:
        # of a key inside an inline table the line of the table is known
        line = next(
            (self._lines[place[:end]] for end in range(len(place), 0, -1) if place[:end] in self._lines), 0
        )
        where = f"{self._name}:{line}" if line else self._name
        self._faults.append((line, f"{where}: {_shown('.'.join(place))}: {text}"))


_HEADER: Final = re.compile(r"\s*\[\s*([^\[\]#]+?)\s*\]\s*(?:#.*)?")
_ASSIGNMENT: Final = re.compile(
    r"\s*((?:[\w-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*(?:[\w-]+|\"[^\"]*\"|'[^']*'))*)\s*="
)
_NAME: Final = re.compile(r"[\w-]+|\"[^\"]*\"|'[^']*'")


def _places(text: str) -> Iterator[tuple[tuple[str, ...], int]]:
    """Give the line of every table and key; the parser of the standard library does not tell."""
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        header = _HEADER.fullmatch(line)
        if header:
            table = _names(header[1])
            yield table, number
            continue
        key = _ASSIGNMENT.match(line)
        if key:
            yield (*table, *_names(key[1])), number


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip("\"'") for name in _NAME.findall(text))
