"""The operator's files for TLS and AUTH, and the challenges of a server that wants a secret."""

from __future__ import annotations

import base64
import re

from tests.fuzz.target import Target
from zsmtp.credentials import Credentials, Secrets, read_secrets
from zsmtp.destination import Family, Hop
from zsmtp.errors import ConfigError
from zsmtp.smtp.sasl import Unanswerable, mechanisms
from zsmtp.tlsfile import Level, TlsSettings, read_tls_file

__all__ = ["CHALLENGES", "SECRETS", "TLS_FILE"]

_USER, _SECRET = b"postmaster-user", b"Zwetschgenknoedel-17"
_WORDS = (base64.b64encode(_USER), base64.b64encode(_SECRET))
_DEMAND = re.compile(rb"(?:\A|\n)[ \t]*demand-tls-mode[ \t]*(?=\n|\Z)", re.IGNORECASE)
_MOST_COMPLAINT = 1000
_CHALLENGES = b"\x1e"


def _is_complaint(text: str) -> None:
    assert text.isprintable(), text
    assert len(text) <= _MOST_COMPLAINT, len(text)


def _check_tls_file(octets: bytes) -> None:
    """Whoever demands TLS gets it, or a complaint."""
    complaints: list[str] = []
    try:
        settings = read_tls_file(octets, "f", complaints.append)
    except ConfigError as error:
        _is_complaint(str(error))
        return
    for complaint in complaints:
        _is_complaint(complaint)
    assert isinstance(settings, TlsSettings)
    assert settings.is_demanded or settings.level is not Level.NAME
    assert settings.is_demanded or not _DEMAND.search(octets)
    assert settings.minimum in ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
    assert 0 <= settings.session_seconds <= 86400
    for text in (settings.ca_file, settings.cert_file, settings.key_file, settings.ciphers, *settings.names):
        assert not set(text) & set("\0\n")


def _hidden(text: str) -> None:
    """No piece of the secret is shown, plain or as base64."""
    for word in (_USER, _SECRET, *_WORDS):
        for at in range(0, len(word) - 8, 4):
            assert word[at : at + 8].decode() not in text, text


def _check_secrets(octets: bytes) -> None:
    found = read_secrets(octets, "f", nonce=lambda: b"0123456789abcdef")
    assert isinstance(found, Secrets)
    for problem in found.problems:
        _is_complaint(problem)
        _hidden(problem)
    _hidden(repr(found))
    for channel in (b"smtp", b"lmtp"):
        for hop in _HOPS:
            one = found.find(channel, hop)
            if isinstance(one, Credentials):
                _hidden(repr(one))
                assert one.user
                assert one.secret
                one.mechanisms()
            elif one is not None:
                _hidden(one)


def _hop(address: str, family: Family, name: str) -> Hop:
    return Hop(address, 25, family, name, b"dns; x", "MX", name)


_HOPS = (
    _hop("192.0.2.1", Family.INET, "mx.example"),
    _hop("2001:db8::1", Family.INET6, "[ipv6.2001:db8::1]"),
    _hop("/run/lmtp", Family.UNIX, "/run/lmtp"),
)


def _check_challenges(octets: bytes) -> None:
    """A server asks what it likes: it is answered, or told nothing more."""
    for mechanism in mechanisms(_USER, nonce=lambda: b"0123456789abcdef", keys={}):
        for challenge in octets.split(_CHALLENGES)[:10]:
            try:
                answer = mechanism.challengeResponse(_SECRET, challenge)
            except Unanswerable as error:
                _is_complaint(str(error))
                _hidden(str(error))
                break
            assert mechanism.tells_secret or _SECRET not in answer
            assert len(answer) <= 4 * (len(challenge) + 200)


_TLS_TOKENS = (
    *(
        b"demand-tls-mode\n",
        b"tls-verify name\n",
        b"tls-verify ",
        b"tls-cert-file ",
        b"tls-key-file /k.pem\n",
    ),
    *(b"tls-CAfile /ca.pem\n", b"tls-min-protocol ", b"TLSv1.2", b"tls-loglevel 1\n", b"tls-cipher-list "),
    *(b"#", b";", b"\t", b"\xff", b"\0", b"\r\n", b"demand", b"-", b"x" * 300),
)
TLS_FILE = Target(
    "tls-file",
    [
        b"# TLS\ndemand-tls-mode\ntls-cert-file /c.pem\ntls-key-file /k.pem\ntls-CAfile /ca.pem\n",
        b"; x\ntls-verify name\ntls-verify-name mx.example\ntls-min-protocol TLSv1.3\n",
        b"tls-loglevel 2 more words\ntls-scache-timeout 600\nnobody-knows this\n",
        b"DEMAND-TLS-MODE\r\n",
    ],
    _TLS_TOKENS,
    _check_tls_file,
)
_LINE = b"smtp mx.example %s %s" % _WORDS
SECRETS = Target(
    "secrets",
    [
        b"# secrets\n" + _LINE + b"\n* [ipv6.2001:db8::1] %s %s cleartext\n" % _WORDS,
        b"lmtp UNIX:/run/lmtp %s %s mechanisms=PLAIN,LOGIN # x\n" % _WORDS,
        _LINE + b" mechanisms=CRAM-MD5\r\n" + _LINE[:-5] + b"\n\xef\xbb\xbf* mx.example a b\n",
    ],
    [
        *(b" ", b"\t", b"\n", b"\r\n", b"#", b"*", *_WORDS, b"=", b"mechanisms=", b"cleartext", b"UNIX:/"),
        *(b"[", b"\0", b"\xff", b"mx.example", b"x" * 9000, b"xn--", b"\xc3\xbc"),
    ],
    _check_secrets,
    longest=20_000,
)
CHALLENGES = Target(
    "challenges",
    [
        b"",
        b"Username:" + _CHALLENGES + b"Password:" + _CHALLENGES + b"more",
        b"<1896.697170952@postoffice.example>" + _CHALLENGES,
        _CHALLENGES + b"r=0123456789abcdefXYZ,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096" + _CHALLENGES + b"v=AAAA",
        _CHALLENGES + b"e=other-error",
    ],
    [
        _CHALLENGES,
        b"r=",
        b",s=",
        b",i=",
        b"i=4096",
        b"=",
        b",",
        b"\0",
        b"m=x,",
        b"<",
        b">",
        b"@",
        b"\xff",
        b"v=",
    ],
    _check_challenges,
    longest=1000,
)
