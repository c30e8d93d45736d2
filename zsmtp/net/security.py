"""How safe the way to a host must be: the TLS policy of a process, as its -S file has it.

The file is read when the first connection needs it, and as long as it cannot be used again for each further
one; once it could, never more.  Until then nothing is sent to anybody: what would be missing might be the
very line that keeps mail from going out in clear text, and a server that refuses us for a certificate that
could not be read must not make mail bounce.

A policy that depends on the host (DANE, RFC 7672) belongs here: a hop says whether the answers that led to it
are authentic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zsmtp.errors import ConfigError
from zsmtp.net.tls import ClientContexts, ClientCreator
from zsmtp.net.tlscontext import load_settings
from zsmtp.tlsfile import TlsSettings
from zsmtp.trouble import Kind, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable

    from zsmtp.destination import Hop

__all__ = ["Security"]

_MOST_TOLD = 100


class Security:
    """The policy of a process; `path` None: opportunistic TLS and nothing asked of certificates.

    `warn` tells the postmaster what is wrong with the file, each thing once; `now` gives seconds.
    """

    def __init__(self, path: str | None, *, warn: Callable[[str], None], now: Callable[[], float]) -> None:
        self._path = path
        self._warn = warn
        self._now = now
        self._told: set[str] = set()
        self._contexts: ClientContexts | None = None

    def creator_for(self, hop: Hop) -> ClientCreator | Trouble:
        """Return what makes TLS connections to this hop, or why there is to be no connection at all."""
        if self._contexts is None:
            try:
                self._contexts = self._load()
            except ConfigError as error:
                self._tell(f"{error} -- until then all mail is deferred")
                return Trouble(Kind.TLS_UNUSABLE, str(error).encode(errors="replace"))
        return self._contexts.creator_for(hop.name)

    def _load(self) -> ClientContexts:
        settings = TlsSettings() if self._path is None else load_settings(self._path, self._tell)
        contexts = ClientContexts(settings, now=self._now)
        contexts.prepare(self._tell)
        return contexts

    def _tell(self, text: str) -> None:
        if text not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(text)
            self._warn(text)
