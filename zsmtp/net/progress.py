"""What an agent is at, as ps(1) shows it (option -s).

A title is `zsmtp >[ADDRESS] HOST WHAT` while there is no connection and `zsmtp >ADDRESS HOST WHAT` on one.
Of what is said only our own commands, sizes and the codes of replies are shown: neither addresses of people,
nor secrets, nor anything that a server chooses the words of.  The last thing of a turn of the reactor is
shown; that nobody looks costs one system call.  Source: smtp(8zm), option -s.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from zsmtp.trouble import Peer

__all__ = ["Progress"]

_LONGEST: Final = 30
"""octets of an address and of a host; more hides what comes behind on a terminal"""

_WAITS: Final = {
    b"DATA": b"DATA-flush (wait)",
    b".": b"DATA-dot wait",
    b"NOOP": b"#idle NOOP",
}
_VERBS: Final = frozenset(
    (b"EHLO", b"HELO", b"LHLO", b"STARTTLS", b"AUTH", b"RSET", b"MAIL", b"RCPT", b"QUIT")
)
_ANSWERED: Final = {b".": b"DATA-dot; rc=", b"BDAT": b"BDAT; rc=", b"RSET": b"RSET rc="}


class Progress:
    """The title of one process.

    `show` sets it, `later` calls a function when this turn of the reactor is over.
    """

    def __init__(self, show: Callable[[bytes], None], later: Callable[[Callable[[], None]], object]) -> None:
        self._show = show
        self._later = later
        self._where = b"[] (nil)"
        self._title = b""
        self._shown = b""
        self._is_due = False

    def say(self, what: bytes) -> None:
        """Show what we are at, where we are."""
        self._title = b"zsmtp >%b %b" % (self._where, what)
        if not self._is_due:
            self._is_due = True
            self._later(self._flush)

    def parted(self, host: bytes) -> None:
        """The destination is another one: nothing is connected any more."""
        self._where = b"[] " + _clean(host)
        self.say(b"NewDomain: " + _clean(host))

    def looking_up(self, host: bytes, *, use_mx: bool) -> None:
        """The name servers are being asked."""
        self._where = b"[] " + _clean(host)
        self.say((b"MX-lookup: " if use_mx else b"lookup: ") + _clean(host))

    def connecting(self, peer: Peer) -> None:
        """A connection is being opened."""
        self._where = b"[%b] %b" % (_clean(peer.address), _clean(_name(peer)))
        self.say(b"connecting to [" + _clean(peer.address) + b"]")

    def failed(self, why: str) -> None:
        """There is no session with this host; `why` is one of our own words."""
        self.say(why.encode("ascii", "replace"))

    def witness(self, peer: Peer) -> Callable[[str, bytes], None]:
        """Return what shows the progress of one connection."""
        where = b"%b %b" % (_clean(peer.address), _clean(_name(peer)))
        verb = progress = b""

        def heard(kind: str, text: bytes) -> None:
            nonlocal verb, progress
            self._where = where
            if kind == "w":
                verb = text.split(b" ", 1)[0]
                if verb == b"BDAT":
                    self.say(b"BDAT " + progress if progress else text + b" wait")
                elif verb in _VERBS or verb in _WAITS:
                    self.say(_WAITS.get(verb) or verb + b" wait")
                progress = b""
            elif kind == "p":
                progress = _share(text)
                self.say(b"DATA " + progress)
            elif verb in _ANSWERED and text[3:4] != b"-":
                self.say(_ANSWERED[verb] + text[:3])

        return heard

    def _flush(self) -> None:
        self._is_due = False
        if self._title != self._shown:
            self._shown = self._title
            try:
                self._show(self._title)
            except OSError:
                pass  # a title is nothing to lose mail for


def _share(text: bytes) -> bytes:
    """Add to `DONE/ALL` how much that is."""
    done, all_of_it = map(int, text.split(b"/"))
    return b"%b (%d%%)" % (text, done * 100 // max(all_of_it, 1))


def _name(peer: Peer) -> bytes:
    """The host in `dns; mx.example`."""
    return peer.remote.rpartition(b"; ")[2]


def _clean(text: bytes) -> bytes:
    return re.sub(rb"[^!-~]", b"?", text[:_LONGEST])
