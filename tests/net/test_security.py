"""The TLS policy of a process, from its file on the disk: what is used, and what keeps all mail back."""

from __future__ import annotations

import os
import re
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from zsmtp.destination import Family, Hop
from zsmtp.net.security import Security
from zsmtp.net.tls import ClientCreator
from zsmtp.testing.authority import Authority, Credentials
from zsmtp.trouble import Kind, Trouble

HOP = Hop("192.0.2.25", 25, Family.INET, "mx.example", b"dns; mx.example", "MX", "mx.example")


class SecurityTest(SynchronousTestCase):
    """A folder with a configuration and the files that it names."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.file = self.folder / "smtp-tls.conf"
        self.told: list[str] = []
        self.ours = Authority("ours").issue("client.example", for_client=True)
        self.put("cert.pem", self.ours.certificate)
        self.put("key.pem", self.ours.key, 0o600)

    def put(self, name: str, octets: bytes, mode: int = 0o644) -> None:
        """Write a file."""
        (self.folder / name).write_bytes(octets)
        (self.folder / name).chmod(mode)

    def policy(self, *lines: str) -> Security:
        """Make a policy of lines, in which %s stands for the folder."""
        self.file.write_text("".join(line.replace("%s", str(self.folder)) + "\n" for line in lines))
        return Security(str(self.file), warn=self.told.append, now=lambda: 0.0)

    def accept(self, *lines: str) -> ClientCreator:
        """Use a policy that can be used."""
        found = self.policy(*lines).creator_for(HOP)
        assert isinstance(found, ClientCreator), found
        return found

    def refuse(self, *lines: str) -> str:
        """Return what is said of a policy that cannot be used; the log says the same."""
        return self.refused(self.policy(*lines))

    def refused(self, security: Security) -> str:
        """Return why there is no connection to anybody."""
        found = security.creator_for(HOP)
        assert isinstance(found, Trouble), found
        self.assertIs(found.kind, Kind.TLS_UNUSABLE)
        text = found.text.decode()
        self.assertIn(f"{text} -- until then all mail is deferred", self.told)
        return text.replace(str(self.folder), "%s")


class Usable(SecurityTest):
    """Files as they should be."""

    def test_without_a_file_there_is_opportunistic_tls(self) -> None:
        found = Security(None, warn=self.told.append, now=lambda: 0.0).creator_for(HOP)
        assert isinstance(found, ClientCreator)
        self.assertEqual((found.is_demanded, found.distrust, self.told), (False, "", []))

    def test_demand(self) -> None:
        self.assertFalse(self.accept().is_demanded)
        self.assertTrue(self.accept("demand-tls-mode").is_demanded)
        self.assertTrue(self.accept("tls-verify name").is_demanded)

    def test_certificate_and_key(self) -> None:
        self.accept("tls-cert-file %s/cert.pem", "tls-key-file %s/key.pem")
        self.assertEqual(self.told, [])

    def test_certificate_and_key_in_one_file_in_either_order(self) -> None:
        for octets in (self.ours.certificate + self.ours.key, self.ours.key + self.ours.certificate):
            self.put("both.pem", octets, 0o600)
            self.accept("tls-cert-file %s/both.pem")
        self.assertEqual(self.told, [])

    def test_key_as_openssl_ecparam_writes_it(self) -> None:
        key = serialization.load_pem_private_key(self.ours.key, None)
        old = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
        self.put("key.pem", parameters + old, 0o600)
        self.accept("tls-cert-file %s/cert.pem", "tls-key-file %s/key.pem")

    def test_rsa_and_a_second_certificate(self) -> None:
        second = Authority("ours").issue("client.example", key_bits=2048, for_client=True)
        self.put("rsa.pem", second.certificate + second.key, 0o600)
        self.accept("tls-cert-file %s/cert.pem", "tls-key-file %s/key.pem", "tls-dcert-file %s/rsa.pem")

    def test_key_that_everybody_can_read_is_used_and_told_of(self) -> None:
        (self.folder / "key.pem").chmod(0o604)
        self.accept("tls-cert-file %s/cert.pem", "tls-key-file %s/key.pem")
        [told] = self.told
        self.assertIn("smtp-tls.conf:2: tls-key-file: everybody can read the key", told)
        self.assertIn("run `chmod o-r' on it", told)

    def test_authorities(self) -> None:
        self.put("ca.pem", self.ours.authority)
        self.put("9da13359.0", self.ours.authority)
        self.accept("tls-CAfile %s/ca.pem", "tls-CApath %s")
        self.assertEqual(self.told, [])

    def test_folder_of_authorities_that_was_not_prepared(self) -> None:
        self.accept("tls-CApath %s")
        self.assertIn("openssl rehash", self.told[0])

    def test_versions_and_ciphers(self) -> None:
        for line in ("tls-min-protocol TLSv1.3", "tls-min-protocol TLSv1", "tls-cipher-list HIGH:!aNULL"):
            self.accept(line, "tls-ciphersuites TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384")

    def test_context_is_one_for_all_hosts(self) -> None:
        security = self.policy("tls-cert-file %s/cert.pem", "tls-key-file %s/key.pem")
        contexts = set()
        for _ in range(3):
            found = security.creator_for(HOP)
            assert isinstance(found, ClientCreator)
            connection = found.clientConnectionForTLS(None)  # type: ignore[arg-type]
            assert isinstance(connection, SSL.Connection)
            contexts.add(connection.get_context())
        self.assertEqual(len(contexts), 1)

    def test_file_is_not_read_again(self) -> None:
        security = self.policy("demand-tls-mode")
        security.creator_for(HOP)
        self.file.unlink()
        found = security.creator_for(HOP)
        assert isinstance(found, ClientCreator)
        self.assertTrue(found.is_demanded)

    def test_unknown_keyword_is_told_once(self) -> None:
        security = self.policy("fancy-option")
        for _ in range(3):
            self.assertIsInstance(security.creator_for(HOP), ClientCreator)
        self.assertEqual(
            self.told, ["smtp-tls.conf:1: fancy-option: unknown keyword, passed over; remove the line"]
        )


class Unusable(SecurityTest):
    """Faults, each of which keeps all mail back: what is missing may be what protects it."""

    def test_no_file(self) -> None:
        security = self.policy()
        self.file.unlink()
        self.assertEqual(
            self.refused(security),
            "%s/smtp-tls.conf: the TLS configuration cannot be read (No such file or directory); "
            "write a file that can",
        )

    def test_it_is_told_once_and_used_when_it_is_mended(self) -> None:
        security = self.policy("demand-tls")
        for _ in range(3):
            self.refused(security)
        self.assertEqual(len(self.told), 1)
        self.file.write_text("demand-tls-mode\n")
        found = security.creator_for(HOP)
        assert isinstance(found, ClientCreator)
        self.assertTrue(found.is_demanded)

    def test_something_else_than_a_file(self) -> None:
        os.mkfifo(self.folder / "pipe")
        for name, why in (("pipe", "not a regular file"), (".", "not a regular file")):
            said = self.refuse(f"tls-cert-file %s/{name}")
            self.assertIn(why, said)
        security = Security(str(self.folder / "pipe"), warn=self.told.append, now=lambda: 0.0)
        self.assertIn("not a regular file", self.refused(security))

    def test_file_that_is_not_there(self) -> None:
        for keyword in ("tls-cert-file", "tls-CAfile", "tls-CApath", "tls-dcert-file"):
            self.assertEqual(
                self.refuse("", f"{keyword} %s/nothing"),
                f'smtp-tls.conf:2: {keyword}: "%s/nothing" cannot be read (No such file or directory); '
                "write a file that this program may read",
            )
        said = self.refuse("tls-cert-file %s/cert.pem", "tls-key-file %s/nothing")
        self.assertIn("smtp-tls.conf:2: tls-key-file:", said)

    def test_file_that_is_too_large(self) -> None:
        with open(self.folder / "large", "wb") as file:
            file.truncate(1 << 27)
        self.assertIn("more than", self.refuse("tls-CAfile %s/large"))
        self.assertIn("more than", self.refuse("tls-cert-file %s/large"))

    def test_file_without_a_certificate(self) -> None:
        self.put("text", b"hello\n")
        for line in ("tls-cert-file %s/text", "tls-cert-file %s/key.pem"):
            self.assertIn("write a file with a certificate in PEM form", self.refuse(line))
        self.assertIn("write a file with certificates in PEM form", self.refuse("tls-CAfile %s/text"))

    def test_file_without_a_key(self) -> None:
        self.assertEqual(
            self.refuse("tls-cert-file %s/cert.pem"),
            'smtp-tls.conf:1: tls-cert-file: there is no private key in "%s/cert.pem"; '
            "write a file in PEM form",
        )

    def test_key_that_is_broken_is_not_shown(self) -> None:
        lines = self.ours.key.splitlines(keepends=True)
        self.put("key.pem", lines[0] + lines[1][::-1] + b"".join(lines[2:]), 0o600)
        said = self.refuse("tls-cert-file %s/cert.pem", "tls-key-file %s/key.pem")
        self.assertIn("cannot be understood; make a new one", said)
        secret = re.sub(rb"\s", b"", lines[1]).decode()
        self.assertNotIn(secret[:20], said)
        self.assertNotIn(secret[::-1][:20], said)

    def test_key_with_a_passphrase_asks_nobody(self) -> None:
        key = serialization.load_pem_private_key(self.ours.key, None)
        for form in (serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL):
            octets = key.private_bytes(
                serialization.Encoding.PEM, form, serialization.BestAvailableEncryption(b"geheim")
            )
            self.put("key.pem", octets, 0o600)
            said = self.refuse("tls-cert-file %s/cert.pem", "tls-key-file %s/key.pem")
            self.assertIn("has a passphrase", said)

    def test_key_of_another_certificate(self) -> None:
        for other in (self.issue(0), self.issue(2048)):
            self.put("key.pem", other.key, 0o600)
            self.assertEqual(
                self.refuse("tls-cert-file %s/cert.pem", "tls-key-file %s/key.pem"),
                'smtp-tls.conf:2: tls-key-file: the key in "%s/key.pem" is not that of the certificate in '
                '"%s/cert.pem"; write the files of one pair',
            )

    def issue(self, bits: int) -> Credentials:
        """Make another certificate."""
        return Authority("ours").issue("client.example", key_bits=bits)

    def test_ciphers_that_do_not_exist(self) -> None:
        self.assertIn('tls-cipher-list: "nonsense" selects no', self.refuse("tls-cipher-list nonsense"))
        self.assertIn('tls-ciphersuites: "nonsense" selects no', self.refuse("tls-ciphersuites nonsense"))
