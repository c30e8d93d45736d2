"""A certificate for tests, made at run time: an authority and a server signed by it.

Nothing of this is stored in the project, so that nothing expires and nobody trusts it by accident.
"""

from __future__ import annotations

import datetime
import functools
import ipaddress
import ssl
import tempfile
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["Credentials", "certificate"]

# A fixed span, so that no clock is asked: far enough on both sides for any test.
_FROM = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
_UNTIL = datetime.datetime(2099, 1, 1, tzinfo=datetime.UTC)


class Credentials(NamedTuple):
    """PEM texts: the server's certificate and key, and the authority's certificate."""

    certificate: bytes
    key: bytes
    authority: bytes

    def server_context(self) -> ssl.SSLContext:
        """Return a context for the server's side of a connection."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile() as file:  # the ssl module reads only files
            file.write(self.certificate + self.key)
            file.flush()
            context.load_cert_chain(file.name)
        return context


@functools.cache
def certificate(*names: str) -> Credentials:
    """Make a certificate for host names and addresses; without any: mx.example, localhost and loopback.

    The same names give the same certificate for as long as the process lives.
    """
    wanted = names or ("mx.example", "fake.example.test", "localhost", "127.0.0.1", "::1")
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "zsmtp test authority")])
    authority = (
        _builder(authority_name, authority_name, authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, wanted[0])])
    server = (
        _builder(name, authority_name, key)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in wanted]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    return Credentials(
        server.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        authority.public_bytes(serialization.Encoding.PEM),
    )


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_FROM)
        .not_valid_after(_UNTIL)
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
