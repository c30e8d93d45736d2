"""The files in conf/ are what an operator starts from: the programs they are meant for understand them."""

from __future__ import annotations

import os
import re
import tomllib

from twisted.trial.unittest import SynchronousTestCase

from tests.source import ROOT
from zsmtp.credentials import Credentials, read_secrets
from zsmtp.daemon import config
from zsmtp.net.secretsfile import SecretsFile
from zsmtp.net.tls import ClientContexts
from zsmtp.options import Settings, parse
from zsmtp.smtp.patience import Timeouts
from zsmtp.tlsfile import KEYWORDS as TLS_KEYWORDS
from zsmtp.tlsfile import Level, TlsSettings, read_tls_file

# What the scheduler takes; it refuses to start for any other word.
KEYWORDS = {"command", "expiry", "expiry2", "group", "idlemax", "interval", "maxchannel", "maxring", "maxta"}
KEYWORDS |= {"overfeed", "retries", "user"}

WORD = re.compile(r'(\S+?) *= *("[^"]*"|\S+)|(\S+)')


def clauses(text: str) -> dict[str, dict[str, str]]:
    """Read a scheduler.conf: selector or global parameter, to its attributes."""
    found: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        if not line or line.lstrip().startswith("#"):
            continue
        words = [(match[1] or match[3], (match[2] or "").strip('"')) for match in WORD.finditer(line)]
        if not line[0].isspace():
            name, value = words.pop(0)
            current = found[name] = {"": value} if value else {}
        current.update(words)
    return found


class SchedulerConf(SynchronousTestCase):
    """conf/scheduler.conf names zsmtp, with options that it has."""

    def setUp(self) -> None:
        self.clauses = clauses((ROOT / "conf/scheduler.conf").read_text())

    def settings(self, selector: str) -> Settings:
        words = self.clauses[selector]["command"].replace("$channel", selector.partition("/")[0]).split()
        self.assertEqual(words[0], "zsmtp")
        settings = parse(words[1:], words[0])
        assert isinstance(settings, Settings)
        return settings

    def test_defaults_come_before_the_clauses_that_inherit_them(self) -> None:
        self.assertEqual(
            list(self.clauses), ["PARAMnotifysock", "*/*", "smtp-lmtp/*", "smtp-relay/*", "smtp/*"]
        )

    def test_attributes_are_known_to_the_scheduler(self) -> None:
        used = {name for selector, words in self.clauses.items() if "/" in selector for name in words}
        self.assertEqual(used - KEYWORDS, set())

    def test_smtp_clause_is_understood(self) -> None:
        settings = self.settings("smtp/*")
        self.assertEqual((settings.channel, settings.lmtp), ("smtp", False))
        self.assertEqual(settings.log_path, "${LOGDIR}/zsmtp")

    def test_commands_are_short_enough_for_the_scheduler(self) -> None:
        for words in self.clauses.values():
            self.assertLessEqual(len(words.get("command", "").split()), 40)

    def test_smart_host_clause_is_understood(self) -> None:
        settings = self.settings("smtp-relay/*")
        self.assertEqual((settings.channel, settings.forced), ("smtp-relay", b"smarthost.example.net"))
        self.assertEqual((settings.use_mx, settings.port), (False, 587))
        for path in (settings.auth_path, settings.tls_path):
            assert path is not None
            self.assertTrue((ROOT / "conf" / path.rpartition("/")[2]).exists())

    def test_lmtp_clause_is_understood(self) -> None:
        settings = self.settings("smtp-lmtp/*")
        self.assertEqual((settings.channel, settings.lmtp), ("smtp-lmtp", True))
        self.assertEqual(settings.forced, b"UNIX:/run/dovecot/lmtp")


class TlsConf(SynchronousTestCase):
    """conf/smtp-tls.conf and its mandatory sister are read without a complaint, and are not toothless."""

    def load(self, name: str, change: str = "") -> TlsSettings:
        text = (ROOT / "conf" / name).read_text()
        if change:
            text = re.sub(change, r"\1", text, flags=re.MULTILINE)
        complaints: list[str] = []
        settings = read_tls_file(text.encode(), name, complaints.append)
        self.assertEqual(complaints, [])
        return settings

    def test_sample_asks_for_nothing_and_checks_what_it_can(self) -> None:
        settings = self.load("smtp-tls.conf")
        self.assertEqual((settings.level, settings.is_demanded), (Level.OPPORTUNISTIC, False))
        ClientContexts(settings).prepare()

    def test_mandatory_sample_demands_tls_and_the_right_server(self) -> None:
        settings = self.load("smtp-tls-mandatory.conf")
        self.assertEqual((settings.level, settings.is_demanded), (Level.NAME, True))
        ClientContexts(settings).prepare()

    def test_lines_that_are_commented_out_are_right_too(self) -> None:
        uncommented = r"^#((?:no-|demand-)?tls-)"
        settings = self.load("smtp-tls.conf", uncommented)
        self.assertTrue(settings.is_demanded)
        self.assertEqual(settings.cert_file, "/etc/zmailer/smtp-client-cert.pem")
        settings = self.load("smtp-tls-mandatory.conf", uncommented)
        self.assertEqual(settings.names, ("mail.example.org",))

    def test_page_explains_every_keyword(self) -> None:
        page = (ROOT / "man/zsmtp.8").read_text().replace("\\-", "-")
        for keyword in TLS_KEYWORDS:
            self.assertIn(keyword.name + (f' " {keyword.value}"' if keyword.value else ""), page)


class ZsmtpToml(SynchronousTestCase):
    """conf/zsmtp.toml has every key of the daemon, and its defaults."""

    def setUp(self) -> None:
        self.text = (ROOT / "conf/zsmtp.toml").read_text()

    def with_everything(self) -> str:
        """The sample, all its examples put to use."""
        return re.sub(r'^#(?=[a-z\["])', "", self.text, flags=re.MULTILINE)

    def test_it_is_understood_as_it_is(self) -> None:
        found = config.read(self.text, "zsmtp.toml")
        self.assertEqual(found.postoffice, "/var/spool/postoffice")
        self.assertEqual(found._replace(postoffice=None), config.Configuration(None))
        self.assertEqual(found.channels[0].settings.timeouts, Timeouts())

    def test_it_is_understood_with_every_example(self) -> None:
        found = config.read(self.with_everything(), "zsmtp.toml")
        self.assertEqual([channel.name for channel in found.channels], ["smtp", "lmtp"])
        self.assertTrue(found.channels[1].settings.lmtp)
        self.assertEqual(len(found.routes), 2)

    def test_every_key_is_there(self) -> None:
        tables = tomllib.loads(self.with_everything())
        self.assertEqual(set(tables), {*config.TOP_KEYS, "channels", "routes"})
        self.assertEqual(set(tables["channels"]["smtp"]), set(config.CHANNEL_KEYS))


class SecretsOfAuth(SynchronousTestCase):
    """conf/smtp-auth-secrets.txt has a line of each kind, and nothing that is wrong."""

    def setUp(self) -> None:
        self.text = (ROOT / "conf/smtp-auth-secrets.txt").read_bytes()
        self.secrets = read_secrets(self.text, "smtp-auth-secrets.txt")

    def test_all_lines_are_understood(self) -> None:
        self.assertEqual(self.secrets.problems, ())
        hosts = ["smarthost.example.net", "strict.example.net", "UNIX:/run/cyrus/lmtp", "192.0.2.25"]
        self.assertEqual(list(self.secrets.lines), hosts)

    def test_comments_say_what_the_lines_do(self) -> None:
        found = {}
        for host, (line,) in self.secrets.lines.items():
            assert isinstance(line.found, Credentials)
            self.assertEqual((line.found.user, line.found.secret), (b"myname", b"secret"))
            names = [one.getName() for one in line.found.mechanisms()]
            found[host] = (line.channel, line.found.in_clear, names)
        weak = [b"CRAM-MD5", b"PLAIN", b"LOGIN"]
        self.assertEqual(
            list(found.values()),
            [(None, False, weak), (b"smtp", False, []), (b"smtp-lmtp", False, weak), (b"smtp", True, weak)],
        )

    def test_copy_that_only_we_can_read_is_used(self) -> None:
        path, warned = self.mktemp(), list[str]()
        with open(path, "wb") as file:
            file.write(self.text)
        reader = SecretsFile(path, channel=b"smtp", warn=warned.append, nonce=lambda: b"random")
        os.chmod(path, 0o644)
        self.assertIsNone(reader.look())
        os.chmod(path, 0o600)
        secrets = reader.look()
        assert secrets is not None
        self.assertEqual(list(secrets.lines), list(self.secrets.lines))
        self.assertEqual(len(warned), 1)
