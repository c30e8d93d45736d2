"""Tests of zsmtp.daemon.config."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zsmtp.daemon.config import CHANNEL_KEYS, TOP_KEYS, Configuration, default, read
from zsmtp.daemon.limits import Rate
from zsmtp.errors import ConfigError
from zsmtp.options import Settings
from zsmtp.smtp.manner import Esmtp
from zsmtp.smtp.patience import Timeouts


def channel(text: str) -> Settings:
    """The settings of the one channel."""
    return read(f"[channels.smtp]\n{text}", "z.toml").channels[0].settings


class Values(SynchronousTestCase):
    """What is written is what holds."""

    def test_nothing_is_a_configuration(self) -> None:
        self.assertEqual(read("", "z.toml"), Configuration(None))
        self.assertEqual(default("/x"), Configuration("/x"))

    def test_options_of_the_agent(self) -> None:
        found = channel(
            'destination = "[192.0.2.1]"\nport = 587\nmx = false\nallow-self = true\nprefer-ipv6 = true\n'
            'tls = "never"\nesmtp = "announced"\npipelining = false\n'
            'connections = 7\nnameservers = ["192.0.2.53"]\n'
            'timeouts = { connect = "10s", dot = "1h" }\nsecrets-file = "/s"\n'
        )
        self.assertEqual(
            (found.forced, found.port, found.use_mx, found.allow_self), (b"[192.0.2.1]", 587, False, True)
        )
        self.assertEqual(
            (found.opportunistic_tls, found.esmtp, found.pipelining), (False, Esmtp.IF_ANNOUNCED, False)
        )
        self.assertEqual((found.connections, found.nameservers), (7, (("192.0.2.53", 53),)))
        self.assertEqual(found.timeouts, Timeouts(connect=10.0, dot=3600.0))
        self.assertEqual((found.auth_path, found.channel), ("/s", "smtp"))
        self.assertEqual(channel('tls-file = "/t"').tls_path, "/t")

    def test_eight_bits_do_not_depend_on_the_order_of_keys(self) -> None:
        for text in ('esmtp = "never"\neight-bit = true\n', 'eight-bit = true\nesmtp = "never"\n'):
            found = channel(text)
            self.assertEqual((found.esmtp, found.eight_bit, found.seven_bit), (Esmtp.NEVER, True, 0))
        self.assertEqual(channel('esmtp = "never"').eight_bit, False)

    def test_rules(self) -> None:
        text = '[channels.x]\nretry = ["1m", "1h30m"]\nexpiry = "2d"\njitter = 0\n'
        text += 'rate = "10/1m"\ndestinations = 3\n'
        [found] = read(text, "z.toml").channels
        self.assertEqual(
            (found.retry.intervals, found.retry.expiry, found.retry.jitter), ((60.0, 5400.0), 172800.0, 0.0)
        )
        self.assertEqual((found.rate, found.destinations, found.name), (Rate(10, 60.0), 3, "x"))


class Routes(SynchronousTestCase):
    """Where reports go."""

    def setUp(self) -> None:
        self.configuration = read(
            "[channels.smtp]\n[channels.lmtp]\n"
            '[routes]\n"home.example" = { channel = "lmtp" }\n'
            '".example" = { channel = "smtp", host = "hub" }\n',
            "z.toml",
        )

    def test_longest_name_wins(self) -> None:
        for address, route in (
            (b"a@home.example", (b"lmtp", b"home.example")),
            (b"a@HOME.example", (b"lmtp", b"home.example")),
            (b"a@b.home.example", (b"smtp", b"hub")),
            (b"a@elsewhere.org", (b"smtp", b"elsewhere.org")),
            (b'"x@y"@home.example', (b"lmtp", b"home.example")),
            (b"root", (b"smtp", b"me.org")),
        ):
            self.assertEqual(self.configuration.route(address, own="me.org"), route)

    def test_without_a_channel_smtp_there_may_be_none(self) -> None:
        self.assertIsNone(read("[channels.x]\n", "z.toml").route(b"a@b", own="me"))


class Faults(SynchronousTestCase):
    """Every fault is told with its line and what to write."""

    def fault(self, text: str) -> str:
        return str(self.assertRaises(ConfigError, read, text, "z.toml"))

    def test_line_and_key(self) -> None:
        self.assertEqual(
            self.fault('# x\n\n[channels.smtp]\nport = "none of these"\n').partition("; write")[0],
            'z.toml:4: channels.smtp.port: "none of these" is no port',
        )

    def test_all_of_them_at_once_in_order(self) -> None:
        text = 'hash-levels = 9\nwhat = 1\n[channels.smtp]\nexpiry = "soon"\nlocal = 1\n[routes]\n"x y" = 1\n'
        lines = self.fault(text).splitlines()
        self.assertEqual(
            [line.split(": ")[0] for line in lines],
            ["z.toml:1", "z.toml:2", "z.toml:4", "z.toml:5", "z.toml:7"],
        )

    def test_fault_in_an_inline_table_names_its_line(self) -> None:
        found = self.fault('[channels.smtp]\ntimeouts = { connect = "1" }\n')
        self.assertTrue(found.startswith("z.toml:2: channels.smtp.timeouts: "), found)

    def test_no_toml(self) -> None:
        self.assertTrue(self.fault("a = 1\nb = \n").startswith("z.toml:2: this is no TOML"))

    def test_lmtp_on_port_25(self) -> None:
        told = self.fault('[channels.lmtp]\nprotocol = "lmtp"\n')
        self.assertIn('protocol = "lmtp" is not allowed on port 25; give another port with port', told)

    def test_keys_that_contradict_each_other(self) -> None:
        told = self.fault('[channels.smtp]\ntls = "never"\ntls-file = "/t"\n')
        self.assertIn('channels.smtp: tls = "never" leaves nothing to do for tls-file', told)
        told = self.fault("[channels.smtp]\nseven-bit = true\neight-bit = true\n")
        self.assertIn("z.toml:3: channels.smtp.eight-bit: ", told)

    def test_values_of_the_wrong_kind(self) -> None:
        for key in TOP_KEYS:
            self.assertIn(f"z.toml:1: {key}: ", self.fault(f"{key} = [[1]]\n"))
        for key in CHANNEL_KEYS:
            for value in ("[[1]]", "-1", '"\\u0000"', "{ x = 1 }"):
                if key == "jitter" and value == "-1":
                    continue
                self.assertIn(
                    f"z.toml:2: channels.smtp.{key}: ", self.fault(f"[channels.smtp]\n{key} = {value}\n")
                )

    def test_structure(self) -> None:
        for text, told in (
            ("channels = 1", "write a table such as [channels.smtp]"),
            ("[channels]\nsmtp = 1", "write [channels.smtp]"),
            ('[routes]\n"*" = 1', "a route has a channel"),
            ('[routes]\n"*" = { channel = "x" }', 'channel "x" has no table'),
            ("routes = 1", "write [routes]"),
            ('[channels."a b"]', "is no channel"),
        ):
            self.assertIn(told, self.fault(text), text)

    def test_relative_path(self) -> None:
        self.assertIn("is no full path", self.fault('postoffice = "spool"'))
