"""A certification authority for tests.

    authority = Authority()
    authority.issue("mx.example", "192.0.2.1").server_context()

Its certificates have the extensions that strict verification asks for: key identifiers, basic constraints,
usages.  Nothing of this is stored, so that nothing expires in the project and nobody trusts it by accident.
Source: RFC 5280 section 4.2.
"""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import tempfile
from typing import NamedTuple, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["ALWAYS", "FUTURE", "PAST", "Authority", "Credentials", "Span"]

Span: TypeAlias = tuple[datetime.datetime, datetime.datetime]


def _january(year: int) -> datetime.datetime:
    return datetime.datetime(year, 1, 1, tzinfo=datetime.UTC)


# Fixed times, so that no clock is asked: far enough from today on either side.
ALWAYS: Span = (_january(2020), _january(2099))
PAST: Span = (_january(2020), _january(2021))
FUTURE: Span = (_january(2098), _january(2099))

_Key: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Credentials(NamedTuple):
    """PEM texts: the server's certificate and key, and the authority's certificate."""

    certificate: bytes
    key: bytes
    authority: bytes

    def server_context(self) -> ssl.SSLContext:
        """Return a context for the server's side of a connection."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_ciphers("DEFAULT:@SECLEVEL=0")  # else OpenSSL would not show a short key
        with tempfile.NamedTemporaryFile() as file:  # the ssl module reads only files
            file.write(self.certificate + self.key)
            file.flush()
            context.load_cert_chain(file.name)
        return context


class Authority:
    """One that signs.  `above` is the authority that signed this one, None for a root."""

    def __init__(self, name: str = "zsmtp test authority", *, above: Authority | None = None) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = _named(name)
        self.above = above
        signer = above or self
        builder = _begun(self._subject, signer._subject, self._key, signer._key, ALWAYS)
        self._certificate = (
            builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(is_authority=True), critical=True)
            .sign(signer._key, hashes.SHA256())
        )

    @property
    def certificate(self) -> bytes:
        """Its own certificate, in PEM form."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def root(self) -> Authority:
        """The authority that others have to trust."""
        return self.above.root if self.above is not None else self

    def issue(
        self,
        *names: str,
        key_bits: int = 0,
        valid: Span = ALWAYS,
        is_named: bool = True,
        is_self_signed: bool = False,
        with_chain: bool = True,
        for_client: bool = False,
    ) -> Credentials:
        """Sign a certificate for host names and addresses.

        `key_bits` makes an RSA key of that length instead of one on an elliptic curve; without `is_named` the
        first name stands in the common name and nowhere else; `is_self_signed` has it signed with its own
        key; `with_chain` adds the certificates between it and the root, which a server then sends.
        """
        key: _Key
        if key_bits:
            key = rsa.generate_private_key(public_exponent=65537, key_size=key_bits)
        else:
            key = ec.generate_private_key(ec.SECP256R1())
        purpose = ExtendedKeyUsageOID.CLIENT_AUTH if for_client else ExtendedKeyUsageOID.SERVER_AUTH
        subject, signing_key = _named(names[0]), key if is_self_signed else self._key
        builder = (
            _begun(subject, subject if is_self_signed else self._subject, key, signing_key, valid)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(is_authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        )
        if is_named:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False
            )
        chain = builder.sign(signing_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        authority: Authority | None = self
        while with_chain and authority is not None and authority.above is not None:
            chain += authority.certificate
            authority = authority.above
        return Credentials(chain, _octets(key), self.root.certificate)


def _begun(
    subject: x509.Name,
    issuer: x509.Name,
    key: _Key,
    signing_key: _Key,
    valid: Span,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid[0])
        .not_valid_after(valid[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()), critical=False
        )
    )


def _usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=False,
        key_encipherment=not is_authority,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _octets(key: _Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
