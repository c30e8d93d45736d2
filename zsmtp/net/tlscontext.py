"""From `TlsSettings` to the context that all sessions of a policy share; reads the files that they name.

Nothing but regular files is opened, none longer than is sensible, and nobody is asked for a passphrase: an
agent has no terminal, and must not wait.  Every fault is a ConfigError that says where the keyword stands,
what is wrong and what to write.
"""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from weakref import WeakKeyDictionary

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto

from zsmtp.errors import ConfigError
from zsmtp.tlsfile import LONGEST_FILE, Level, TlsSettings, read_tls_file

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Record", "Records", "client_context", "load_settings"]

_LONGEST_KEY: Final = 1 << 20
_LONGEST_STORE: Final = 1 << 26
_VERSIONS: Final = {
    "TLSv1": SSL.TLS1_VERSION,
    "TLSv1.1": SSL.TLS1_1_VERSION,
    "TLSv1.2": SSL.TLS1_2_VERSION,
    "TLSv1.3": SSL.TLS1_3_VERSION,
}
_KEY = re.compile(rb"-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----.*?-----END \1-----", re.DOTALL)
_HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+")
_MOST_DOUBTS: Final = 3
# X509_V_ERR_... of OpenSSL, those that certificates of mail servers meet
_DOUBTS: Final = {
    9: "the certificate is not valid yet",
    10: "the certificate has expired",
    18: "the certificate is signed by itself",
    19: "the certificate's authority is not trusted",
    20: "the certificate's authority is unknown",
    21: "the certificate's authority is unknown",
    23: "the certificate is revoked",
    26: "the certificate is not for servers",
    66: "the certificate's key is too short",
    67: "the key of the certificate's authority is too short",
    68: "the certificate's signature is too weak",
}


class Record:
    """What the verification of one handshake has found.

    `offered` are the doubts of the session that was to be resumed, which is kept `until` then; None where
    none was.
    """

    __slots__ = ("doubts", "is_checked", "offered", "until")

    def __init__(self) -> None:
        self.doubts: list[str] = []
        self.is_checked = False
        self.offered: tuple[str, ...] | None = None
        self.until = 0.0

    @property
    def is_resumed(self) -> bool:
        """Whether the server took the session that it was offered: then it shows no certificate."""
        return self.offered is not None and not self.is_checked

    def doubt(self, number: int) -> None:
        """Note an error of the verification."""
        text = _DOUBTS.get(number, f"verification error {number}")
        if text not in self.doubts and len(self.doubts) < _MOST_DOUBTS:
            self.doubts.append(text)


Records: TypeAlias = WeakKeyDictionary[SSL.Connection, Record]
"""What is found out about each connection; its own application data is Twisted's."""


def load_settings(path: str, warn: Callable[[str], object]) -> TlsSettings:
    """Read a TLS configuration file; raises ConfigError."""
    octets = _read(path, path, LONGEST_FILE, warn)
    return read_tls_file(octets, os.path.basename(path), warn)


def client_context(settings: TlsSettings, records: Records, warn: Callable[[str], object]) -> SSL.Context:
    """Make a context, which is never to be changed; `records` has what its connections write into.

    What OpenSSL finds out about each certificate of the chain is noted there, and ends the handshake only
    where somebody insists on it.  Raises ConfigError.
    """
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(_VERSIONS[settings.minimum])
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)  # ours is bounded, this one would not be
    _choose_ciphers(context, settings)
    _trust(context, settings, warn)
    _identify(context, settings, "tls-cert-file", "tls-key-file", warn)
    _identify(context, settings, "tls-dcert-file", "tls-dkey-file", warn)
    insists = settings.level is Level.NAME

    def verified(connection: SSL.Connection, _: object, number: int, depth: int, is_good: int) -> bool:
        record = records.get(connection)
        if record is not None:
            record.is_checked = True
            if not is_good:
                record.doubt(number)
        return bool(is_good) or not insists

    context.set_verify(SSL.VERIFY_PEER if insists else SSL.VERIFY_NONE, verified)
    return context


def _choose_ciphers(context: SSL.Context, settings: TlsSettings) -> None:
    old = settings.minimum in ("TLSv1", "TLSv1.1")
    # OpenSSL refuses the signatures of these versions at any higher level
    ciphers = settings.ciphers or ("DEFAULT:@SECLEVEL=0" if old else "")
    if ciphers:
        try:
            context.set_cipher_list(_octets(ciphers))
        except SSL.Error:
            raise ConfigError(
                f'{settings.where("tls-cipher-list")}: "{ciphers}" selects no cipher; '
                "write what `openssl ciphers' understands"
            ) from None
    if settings.suites:
        choose: Any = getattr(context, "set_tls13_ciphersuites", None)
        try:
            if choose is None:
                raise ConfigError(
                    f"{settings.where('tls-ciphersuites')}: this pyOpenSSL cannot choose them; "
                    "remove the line or install a newer one"
                )
            choose(_octets(settings.suites))
        except SSL.Error:
            raise ConfigError(
                f'{settings.where("tls-ciphersuites")}: "{settings.suites}" selects no cipher suite; '
                "write names such as TLS_AES_256_GCM_SHA384, joined by colons"
            ) from None


def _trust(context: SSL.Context, settings: TlsSettings, warn: Callable[[str], object]) -> None:
    """Load the authorities; without any in the file, those of the system."""
    if settings.level is Level.NONE:
        return
    if not settings.ca_file and not settings.ca_path:
        context.set_default_verify_paths()
        return
    if settings.ca_file:
        where = settings.where("tls-CAfile")
        _read(settings.ca_file, where, _LONGEST_STORE, warn)
        try:
            context.load_verify_locations(settings.ca_file)
        except SSL.Error as error:
            raise _unusable(where, settings.ca_file, error, "certificates in PEM form") from None
    if settings.ca_path:
        where = settings.where("tls-CApath")
        try:
            names = os.listdir(settings.ca_path)
        except OSError as error:
            raise _unreadable(where, settings.ca_path, error.strerror) from None
        if not any(map(_HASHED.fullmatch, names)):
            warn(
                f'{where}: no certificate will be found in "{settings.ca_path}"; run `openssl rehash\' on it'
            )
        context.load_verify_locations(None, settings.ca_path)


def _identify(
    context: SSL.Context, settings: TlsSettings, cert_word: str, key_word: str, warn: Callable[[str], object]
) -> None:
    """Load our certificate, with its chain, and its key; both may stand in one file."""
    first = cert_word == "tls-cert-file"
    cert_file = settings.cert_file if first else settings.second_cert_file
    if not cert_file:
        return
    key_file = (settings.key_file if first else settings.second_key_file) or cert_file
    where = settings.where(cert_word)
    octets = _read(cert_file, where, _LONGEST_KEY, warn)
    try:
        if not x509.load_pem_x509_certificates(octets):
            raise ValueError("no certificate in it")
        context.use_certificate_chain_file(cert_file)
    except (ValueError, SSL.Error) as error:
        raise _unusable(where, cert_file, error, "a certificate in PEM form") from None
    where = settings.where(key_word if key_file != cert_file else cert_word)
    key = _key(_read(key_file, where, _LONGEST_KEY, warn, is_secret=True), where, key_file)
    try:
        context.use_privatekey(key)
        context.check_privatekey()
    except (SSL.Error, crypto.Error):
        raise ConfigError(
            f'{where}: the key in "{key_file}" is not that of the certificate in "{cert_file}"; '
            "write the files of one pair"
        ) from None


def _key(octets: bytes, where: str, path: str) -> crypto.PKey:
    """Read a private key; what is wrong with it is told without any of it."""
    block = _KEY.search(octets)
    if block is None:
        raise ConfigError(f'{where}: there is no private key in "{path}"; write a file in PEM form')
    if b"ENCRYPTED" in block[1] or b"Proc-Type: 4,ENCRYPTED" in block[0]:
        raise ConfigError(
            f'{where}: the key in "{path}" has a passphrase, and there is nobody to ask for it; '
            "take it away with `openssl pkey'"
        )
    try:
        key: Any = load_pem_private_key(block[0] + b"\n", None)
        return crypto.PKey.from_cryptography_key(key)
    except Exception:  # noqa: BLE001  many kinds, and none of their texts is wanted
        raise ConfigError(
            f'{where}: the private key in "{path}" cannot be understood; make a new one'
        ) from None


def _read(
    path: str, where: str, most: int, warn: Callable[[str], object], *, is_secret: bool = False
) -> bytes:
    """Read a regular file, without waiting for anything."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except (OSError, ValueError) as error:
        raise _unreadable(where, path, getattr(error, "strerror", None) or str(error)) from None
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise _unreadable(where, path, "not a regular file")
        if state.st_size > most:
            raise _unreadable(where, path, f"more than {most} octets")
        if is_secret and state.st_mode & stat.S_IROTH:
            warn(f'{where}: everybody can read the key in "{path}"; run `chmod o-r\' on it')
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(most)
    except OSError as error:
        raise _unreadable(where, path, error.strerror) from None
    finally:
        os.close(descriptor)


def _unreadable(where: str, path: str, why: str | None) -> ConfigError:
    if where == path:
        return ConfigError(f"{path}: the TLS configuration cannot be read ({why}); write a file that can")
    return ConfigError(f'{where}: "{path}" cannot be read ({why}); write a file that this program may read')


def _unusable(where: str, path: str, error: Exception, remedy: str) -> ConfigError:
    said = error.args[0] if error.args else ""
    if isinstance(said, list):
        said = "; ".join(str(part[-1]) for part in said if part)
    why = f" ({str(said)[:200]})" if said else ""
    return ConfigError(f'{where}: "{path}" cannot be used{why}; write a file with {remedy}')


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
