"""The addresses of this machine, so that mail is not sent in a circle.

Read from where Linux shows them, anew each time: an agent lives for days, and addresses come and go.  What
cannot be read counts as nothing: then only names tell that a host is this one.  Source: smtp(8zm), options -x
and -X; ZENV SELFADDRESSES.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import pairwise

__all__ = ["local_addresses", "read_self_addresses"]


def local_addresses(
    *, routes: str = "/proc/net/fib_trie", inet6: str = "/proc/net/if_inet6"
) -> frozenset[IPv4Address | IPv6Address]:
    """Return the addresses of all interfaces."""
    return frozenset(_inet(_lines(routes)) | _inet6(_lines(inet6)))


def read_self_addresses(value: bytes | None) -> frozenset[IPv4Address | IPv6Address]:
    """Read ZENV SELFADDRESSES: addresses with commas between, each with or without brackets and `IPv6`
    tag.
    """
    found: set[IPv4Address | IPv6Address] = set()
    for item in (value or b"").decode("ascii", "replace").split(","):
        text = item.strip().strip("[]")
        if text[:4].lower() == "ipv6":
            text = text[5:]
        try:
            found.add(ip_address(text))
        except ValueError:
            continue  # a host name: that is compared as a name, not here
    return frozenset(found)


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read().splitlines()
    except OSError:
        return []


def _inet(lines: list[str]) -> set[IPv4Address | IPv6Address]:
    """An address stands in the line before `/32 host LOCAL`."""
    found: set[IPv4Address | IPv6Address] = set()
    for before, line in pairwise(lines):
        if "/32 host LOCAL" in line:
            try:
                found.add(IPv4Address(before.split()[-1]))
            except ValueError:
                continue
    return found


def _inet6(lines: list[str]) -> set[IPv4Address | IPv6Address]:
    """An address is the first word, 32 hexadecimal digits."""
    found: set[IPv4Address | IPv6Address] = set()
    for line in lines:
        try:
            found.add(IPv6Address(int(line.split()[0], 16)))
        except (ValueError, IndexError):
            continue
    return found
