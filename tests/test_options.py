"""The command line: words, values, faults, what the program says about itself, and the manual page.

The cases C01 to C27 are those of the specification of the agent, section 9.1, as far as they concern
the command line; what follows on the wire is tested with the agent.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from unittest import SkipTest, mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

import zsmtp
from zsmtp.__main__ import help_text, main, usage, version_text
from zsmtp.errors import ZsmtpError
from zsmtp.options import (
    KEYWORDS,
    OPTIONS,
    PERIODS,
    Help,
    Settings,
    UsageError,
    Version,
    parse,
)
from zsmtp.smtp.manner import Esmtp
from zsmtp.smtp.patience import Timeouts
from zsmtp.spool.zenv import VARIABLES

ROOT = Path(zsmtp.__file__).resolve().parent.parent
MANUAL = ROOT / "man" / "zsmtp.8"


class OptionsTestCase(SynchronousTestCase):
    def read(self, *words: str) -> Settings:
        """Parse words that are in order."""
        order = parse(words, "zsmtp")
        assert isinstance(order, Settings), order
        return order

    def refuse(self, *words: str) -> str:
        """Parse words that are not in order, and give the complaint."""
        text = str(self.assertRaises(UsageError, parse, words, "zsmtp"))
        self.assertTrue(text.isprintable(), repr(text))
        return text


def zsmtp_process(*words: str, flags: Sequence[str] = ()) -> subprocess.CompletedProcess[bytes]:
    """Run the program with nothing to read, and without what a measurement of coverage loads into it."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    return subprocess.run(
        [sys.executable, *flags, "-m", "zsmtp", *words],
        input=b"",
        capture_output=True,
        timeout=60,
        env={**environment, "PYTHONPATH": str(ROOT)},
        check=False,
    )


class TheCasesOfTheSpecification(OptionsTestCase):
    def test_c01_version(self) -> None:
        self.assertEqual(parse(["-V"], "zsmtp"), Version("zsmtp"))

    def test_c02_unknown_option(self) -> None:
        self.assertEqual(self.refuse("-z"), "invalid option -- 'z'; --help lists the known ones")

    def test_c03_missing_value(self) -> None:
        self.assertEqual(self.refuse("-c"), "option requires an argument -- 'c'; write -c channel")

    def test_c04_timeouts_below_the_minimum(self) -> None:
        for word, complaint in (
            ("conn=9", "bad tcp connection timeout: 9; -T conn= takes 10 seconds to 7 days"),
            ("data=9", "bad data timeout: 9; -T data= takes 10 seconds to 7 days"),
            ("dot=9", "bad data-dot-reply timeout: 9; -T dot= takes 10 seconds to 7 days"),
            ("tcpw=9", "bad tcp-write timeout: 9; -T tcpw= takes 10 seconds to 7 days"),
            ("cmd=4", "bad general cmd timeout: 4; -T cmd= takes 5 seconds to 7 days"),
        ):
            self.assertEqual(self.refuse("-T", word), complaint + ", such as 90, 5m or 1m30s")

    def test_c05_timeouts_at_the_minimum(self) -> None:
        self.assertEqual(self.read("-T", "conn=10").timeouts.connect, 10)
        self.assertEqual(self.read("-T", "5").timeouts.command, 5)

    def test_c06_an_interval_ends_with_its_word(self) -> None:
        order = self.read("-T", "5m", "10.0.0.1")
        self.assertEqual((order.timeouts.command, order.host), (300, "10.0.0.1"))

    def test_c07_an_interval_of_two_units(self) -> None:
        self.assertEqual(self.read("-T", "1m30s").timeouts.command, 90)

    def test_c08_names_of_timeouts_in_capitals(self) -> None:
        self.assertEqual(self.read("-T", "CONN=1h").timeouts.connect, 3600)

    def test_c09_junk_in_an_interval(self) -> None:
        self.assertIn("bad general cmd timeout: 5x; -T cmd= takes", self.refuse("-T", "5x"))
        complaint = self.refuse("-T", "foo=9")
        self.assertIn("bad general cmd timeout: foo=9; -T cmd= takes", complaint)
        self.assertIn("known names are conn= tcpw= cmd= data= dot=", complaint)

    def test_c10_keywords(self) -> None:
        self.assertTrue(self.read("-O", "IGNORE-EZMLM").ignore_ezmlm)
        self.assertEqual(
            self.refuse("-O", "nope"),
            '-O "nope" is unknown; '
            "known are ignore-ezmlm, connections=N, no-starttls, nameserver=ADDRESS, syslog=SOCKET",
        )

    def test_c11_lmtp_on_the_smtp_port(self) -> None:
        self.assertEqual(
            self.refuse("-M"),
            "-M (LMTP) is not allowed on port 25; "
            "give another port with -p or -F [address]:port, or a socket with -F UNIX:/path",
        )

    def test_c12_lmtp_elsewhere(self) -> None:
        self.assertEqual((self.read("-M", "-p", "24").lmtp, self.read("-M", "-p", "24").port), (True, 24))
        self.assertEqual(self.read("-M", "-F", "UNIX:/x").forced, b"UNIX:/x")
        self.assertIn('-F "unix:/x" is no destination', self.refuse("-M", "-F", "unix:/x"))

    def test_c13_lmtp_on_port_25_of_an_address(self) -> None:
        self.assertIn(
            "-M (LMTP) is not allowed on port 25", self.refuse("-M", "-p", "25", "-F", "[127.0.0.1]")
        )

    def test_c14_port_number(self) -> None:
        self.assertEqual(self.read("-p", "2525").port, 2525)

    def test_c15_port_name(self) -> None:
        self.assertEqual(self.read("-p", "smtp").port, 25)

    def test_c16_a_bundle_with_a_value(self) -> None:
        order = self.read("-81l", "file")
        self.assertEqual(
            (order.eight_bit, order.one_message_per_connection, order.log_path), (True, True, "file")
        )
        order = self.read("-8sl", "file")
        self.assertEqual((order.eight_bit, order.titles, order.log_path), (True, True, "file"))

    def test_c17_a_transcript_that_cannot_be_opened_is_no_usage_error(self) -> None:
        self.assertEqual(self.read("-l", "/nonexistent/x").log_path, "/nonexistent/x")

    def test_c18_a_second_host_is_ignored(self) -> None:
        self.assertEqual(self.read("one.example", "two.example").host, "one.example")

    def test_c19_c20_ehlo_if_announced(self) -> None:
        self.assertIs(self.read("-E").esmtp, Esmtp.IF_ANNOUNCED)

    def test_c21_width_of_the_channel_without_esmtp(self) -> None:
        for words, wide in ((["-77"], False), (["-77", "-8"], True), (["-8", "-77"], False)):
            order = self.read(*words)
            self.assertEqual(
                (order.esmtp, order.eight_bit, order.seven_bit > 0), (Esmtp.NEVER, wide, not wide)
            )

    def test_c22_seven_bits_with_esmtp(self) -> None:
        order = self.read("-7")
        self.assertEqual((order.esmtp, order.eight_bit, order.seven_bit), (Esmtp.ALWAYS, False, 1))

    def test_c23_c24_the_probe_needs_a_host(self) -> None:
        self.assertTrue(self.read("-D", "host.example").probe)
        self.assertTrue(self.read("-D", "-F", "[192.0.2.1]").probe)
        self.assertEqual(self.refuse("-D"), "-D needs a host to connect to; write it behind the options")

    def test_c25_zconfig_is_not_the_command_lines_business(self) -> None:
        self.patch(os, "environ", {"ZCONFIG": "/nonexistent/zmailer.conf"})
        self.assertEqual(self.read("host.example"), Settings(host="host.example"))

    def test_c26_a_local_address(self) -> None:
        self.assertEqual(self.read("-L", "[192.0.2.1]").local_identity, "[192.0.2.1]")

    def test_c27_ehlo_if_announced_does_not_undo_the_lock(self) -> None:
        for words in (["-77", "-E"], ["-E", "-77"], ["-7", "-E", "-7"], ["-77E8"]):
            self.assertIs(self.read(*words).esmtp, Esmtp.NEVER)


class Defaults(OptionsTestCase):
    def test_no_words_give_the_defaults_of_the_manual_page(self) -> None:
        self.assertEqual(self.read(), Settings())
        self.assertEqual(
            Settings(),
            Settings(
                host=None,
                channel="smtp",
                forced=None,
                port=25,
                lmtp=False,
                hello_name=None,
                log_path=None,
                timeouts=Timeouts(connect=180, command=300, data=300, dot=1200, write=300),
                pipelining=True,
                one_message_per_connection=False,
                debug=0,
                verbose=0,
                probe=False,
                use_mx=True,
                allow_self=False,
                match_mx=False,
                seven_bit=0,
                eight_bit=False,
                esmtp=Esmtp.ALWAYS,
                raw_headers=False,
                prefer_inet6=False,
                local_identity=None,
                privileged_port=False,
                send_buffer=None,
                wks=False,
                titles=False,
                auth_path=None,
                tls_path=None,
                ignore_ezmlm=False,
                connections=1,
                opportunistic_tls=True,
                nameservers=(),
            ),
        )

    def test_an_empty_host_is_none(self) -> None:
        self.assertEqual(self.read("", "later.example").host, "later.example")


class Words(OptionsTestCase):
    def test_a_value_may_be_attached(self) -> None:
        self.assertEqual(self.read("-clocal", "-p24").channel, "local")

    def test_a_value_may_look_like_an_option(self) -> None:
        self.assertEqual(
            self.read("-c", "-x", "-l", "--help", "-Z", "-V"), Settings(channel="-x", log_path="--help")
        )

    def test_options_behind_the_host_count(self) -> None:
        order = self.read("host.example", "-x", "-p", "26")
        self.assertEqual((order.host, order.use_mx, order.port), ("host.example", False, 26))

    def test_two_dashes_end_the_options(self) -> None:
        self.assertEqual(self.read("-P", "--", "-x"), Settings(pipelining=False, host="-x"))

    def test_two_dashes_may_be_a_value(self) -> None:
        self.assertEqual(self.read("-c", "--", "-P"), Settings(channel="--", pipelining=False))

    def test_one_dash_is_a_host(self) -> None:
        self.assertEqual(self.read("-").host, "-")

    def test_the_last_value_wins(self) -> None:
        self.assertEqual(self.read("-c", "a", "-p", "24", "-c", "b", "-p", "26").channel, "b")

    def test_the_word_of_a_bundle_ends_with_a_value(self) -> None:
        self.assertEqual(self.read("-Pcx").channel, "x")

    def test_an_unknown_letter_in_a_bundle_is_named(self) -> None:
        self.assertIn("invalid option -- 'q'", self.refuse("-8q1"))

    def test_an_unknown_long_option_is_named(self) -> None:
        self.assertEqual(
            self.refuse("--channel=smtp"), "unrecognized option '--channel=smtp'; --help lists the known ones"
        )

    def test_the_first_fault_is_told(self) -> None:
        self.assertIn("-p", self.refuse("-p", "x y", "-w", "huge"))

    def test_the_version_wins_over_faults(self) -> None:
        for words in (["-z", "-V"], ["-MV"], ["-A", "x", "-V", "-p"]):
            self.assertEqual(parse(words, "agent"), Version("agent"))

    def test_help_wins_over_faults(self) -> None:
        self.assertEqual(parse(["-p", "0", "--help"], "agent"), Help("agent"))

    def test_control_characters_never_reach_the_complaint(self) -> None:
        self.assertEqual(
            self.refuse("-O", "x\n#hungry"),
            '-O "x\\n#hungry" is unknown; '
            "known are ignore-ezmlm, connections=N, no-starttls, nameserver=ADDRESS, syslog=SOCKET",
        )
        self.assertIn("'\\x1b'", self.refuse("-\x1b"))
        self.assertIn('"\\udcff"', self.refuse("-p", "\udcff"))

    def test_a_long_value_is_cut_in_the_complaint(self) -> None:
        self.assertLess(len(self.refuse("-O", "x" * 10000)), 250)

    @settings(deadline=None, max_examples=150)
    @given(
        st.lists(
            st.one_of(
                st.text(max_size=8),
                st.sampled_from([f"-{option.letter}" for option in OPTIONS]),
                st.text("-0123456789:.[]=/UNIXipv6dhmsTOpFLw", max_size=12),
            ),
            max_size=6,
        )
    )
    def test_any_words_give_settings_or_a_complaint_of_one_line(self, words: list[str]) -> None:
        try:
            parse(words, "zsmtp")
        except UsageError as fault:
            assert str(fault).isprintable(), repr(str(fault))

    def test_a_usage_error_is_one_of_ours(self) -> None:
        self.assertTrue(issubclass(UsageError, ZsmtpError))


class Flags(OptionsTestCase):
    def test_each_flag_changes_one_thing(self) -> None:
        for letter, expected in (
            ("1", Settings(one_message_per_connection=True)),
            ("6", Settings(prefer_inet6=True)),
            ("7", Settings(seven_bit=1)),
            ("8", Settings(eight_bit=True)),
            ("d", Settings(debug=1)),
            ("E", Settings(esmtp=Esmtp.IF_ANNOUNCED)),
            ("H", Settings(raw_headers=True)),
            ("P", Settings(pipelining=False)),
            ("v", Settings(verbose=1)),
            ("x", Settings(use_mx=False)),
        ):
            self.assertEqual(self.read("-" + letter), expected)

    def test_debugging_and_verbosity_count(self) -> None:
        self.assertEqual(self.read("-dvd", "-d"), Settings(debug=3, verbose=1))

    def test_ipv6_preferred_twice_is_still_preferred(self) -> None:
        self.assertTrue(self.read("-66").prefer_inet6)

    def test_own_addresses_need_both_options_in_any_order(self) -> None:
        self.assertFalse(self.read("-X").allow_self)
        self.assertFalse(self.read("-x").allow_self)
        self.assertTrue(self.read("-xX").allow_self)
        self.assertTrue(self.read("-X", "host.example", "-x").allow_self)

    def test_a_bundle_of_77_and_8_is_wide_and_without_esmtp(self) -> None:
        self.assertEqual(self.read("-778"), Settings(esmtp=Esmtp.NEVER, eight_bit=True))

    def test_the_last_width_wins(self) -> None:
        self.assertEqual(self.read("-78"), Settings(eight_bit=True))
        self.assertEqual(self.read("-87"), Settings(seven_bit=1))

    def test_room_for_the_title_is_ignored(self) -> None:
        self.assertEqual(self.read("-Z", "xxxxxxxx"), Settings())

    def test_what_a_bundle_and_words_behind_it_ask_for(self) -> None:
        words = ("-DersW", "-A", "a", "-S", "s", "-L", "iface:eth0", "host")
        self.assertEqual(
            self.read(*words),
            Settings(
                host="host",
                probe=True,
                match_mx=True,
                privileged_port=True,
                titles=True,
                wks=True,
                auth_path="a",
                tls_path="s",
                local_identity="iface:eth0",
            ),
        )


class Values(OptionsTestCase):
    def test_a_channel_is_one_word(self) -> None:
        for value in ("", "a b", "a\tb"):
            self.assertIn("is no channel; write one word", self.refuse("-c", value))

    def test_a_hello_name_cannot_inject_commands(self) -> None:
        self.assertEqual(self.read("-h", "mail.example.org").hello_name, "mail.example.org")
        self.assertEqual(self.read("-h", "[IPv6:2001:db8::1]").hello_name, "[IPv6:2001:db8::1]")
        for value in ("", "a b", "a\r\nRSET", "a\0", "h\xf6st", "a" * 256, "foo/bar", "a@b", "<a>"):
            self.assertIn("is no host name; write one such as", self.refuse("-h", value))

    def test_a_path_is_not_empty(self) -> None:
        for letter in "lAS":
            self.assertIn(f'-{letter} "" is no usable path', self.refuse("-" + letter, ""))
        self.assertIn("is no usable path", self.refuse("-l", "/tmp/x\ny"))

    def test_every_form_of_a_forced_destination(self) -> None:
        for value, forced in (
            ("UNIX:/run/a socket", b"UNIX:/run/a socket"),
            ("UNIX:/run/\udcff", b"UNIX:/run/\xff"),
            ("[1.2.3.4]", b"[1.2.3.4]"),
            ("[1.2.3.4]:2525", b"[1.2.3.4]:2525"),
            ("[ipv6.2001:db8::1]", b"[ipv6.2001:db8::1]"),
            ("[IPv6:2001:db8::1]:26", b"[IPv6:2001:db8::1]:26"),
            ('"[1.2.3.4]"', b'"[1.2.3.4]"'),
            ("1.2.3.4", b"[1.2.3.4]"),
            ("2001:db8::1", b"[2001:db8::1]"),
            ("some.host.example", b"some.host.example"),
            ("m\xfcller.example", "m\xfcller.example".encode()),
            ("localhost", b"localhost"),
        ):
            self.assertEqual(self.read("-F", value).forced, forced)

    def test_a_malformed_destination_does_not_get_as_far_as_bouncing_mail(self) -> None:
        for value in (
            "",
            "unix:/x",
            "UNIX:x",
            "UNIX:/x\ny",
            "[1.2.3]",
            "[host.example]",
            "[1.2.3.4]:0",
            "[1.2.3.4]:65536",
            "[1.2.3.4]:",
            "[1.2.3.4]24",
            "[ipv6.1.2.3.4]",
            "[ipv6.fe80::1%\n]",
            "host.example:25",
            "2001:db8::1::2",
            "a host",
            "host\n",
            "UNIX:/" + "x" * 107,
        ):
            self.assertIn("is no destination; write UNIX:/path", self.refuse("-F", value))

    def test_every_form_of_a_local_identity(self) -> None:
        for value in (
            "iface:eth0",
            "IFACE:v6:eth0:1",
            "[1.2.3.4]",
            "[IPv6.2001:db8::1]",
            "any6",
            "host.example",
        ):
            self.assertEqual(self.read("-L", value).local_identity, value)
        for value in ("", "iface:", "[1.2.3.4]:25", "[1.2.3]", "1:2", "a b"):
            self.assertIn("is no local identity; write iface:eth0", self.refuse("-L", value))

    def test_ports_by_name(self) -> None:
        for name, port in (("SMTP", 25), ("submission", 587), ("smtps", 465), ("lmtp", 24)):
            self.assertEqual(self.read("-p", name).port, port)

    def test_ports_by_name_of_the_system(self) -> None:
        import socket

        self.patch(socket, "getservbyname", lambda name, protocol: {"http": 80}[name])
        self.assertEqual(self.read("-p", "http").port, 80)

    def test_what_is_no_port(self) -> None:
        for value in (
            "",
            "0",
            "-1",
            "65536",
            "70000",
            "25x",
            " 25",
            "\u0662\u0665",
            "no-such-service",
            "a b",
        ):
            self.assertIn("is no port; write a number from 1 to 65535", self.refuse("-p", value))

    def test_lmtp_counts_the_port_of_an_address(self) -> None:
        self.assertTrue(self.read("-M", "-F", "[1.2.3.4]:24").lmtp)
        self.assertIn("-M (LMTP)", self.refuse("-M", "-p", "24", "-F", "[1.2.3.4]:25"))
        self.assertIn("-M (LMTP)", self.refuse("-M", "-F", "UNIX.example"))

    def test_send_buffer(self) -> None:
        self.assertEqual(self.read("-w", "2000").send_buffer, 2000)
        self.assertIsNone(self.read("-w", "0").send_buffer)
        for value in ("", "-1", "2k", "2147483648", "9" * 100):
            self.assertIn("is no buffer size; write a number of octets", self.refuse("-w", value))

    def test_every_timeout_has_its_name(self) -> None:
        order = self.read(
            "-T", "conn=1m", "-T", "tcpw=2m", "-T", "cmd=3m", "-T", "data=4m", "-T", "dot=1h1m1"
        )
        self.assertEqual(order.timeouts, Timeouts(connect=60, write=120, command=180, data=240, dot=3661))

    def test_intervals(self) -> None:
        for text, seconds in (
            ("5", 5),
            ("90s", 90),
            ("1d", 86400),
            ("1h2m3s", 3723),
            ("1m30", 90),
            ("7d", 604800),
        ):
            self.assertEqual(self.read("-T", text).timeouts.command, seconds)

    def test_what_is_no_interval(self) -> None:
        for text in ("", "0", "-5", "5M", "5 m", "m", "5.5", "7d1", "1e9", "9" * 5000, "5m=", "conn=", "=9"):
            self.assertIn("timeout: ", self.refuse("-T", text))

    def test_keywords_with_and_without_values(self) -> None:
        self.assertEqual(self.read("-O", "Connections=100").connections, 100)
        self.assertFalse(self.read("-O", "no-starttls").opportunistic_tls)
        for text in ("connections", "connections=0", "connections=101", "connections=x"):
            self.assertIn("write one from 1 to 100", self.refuse("-O", text))
        self.assertEqual(
            self.refuse("-O", "no-starttls=1"), "-O no-starttls takes no value; write it without =1"
        )

    def test_no_tls_and_its_configuration_exclude_each_other(self) -> None:
        self.assertEqual(self.read("-S", "/etc/tls.conf").tls_path, "/etc/tls.conf")
        for words in (("-S", "x", "-O", "no-starttls"), ("-O", "no-starttls", "-S", "x")):
            self.assertIn("leaves nothing to do for -S", self.refuse(*words))

    def test_name_servers_in_their_order(self) -> None:
        words = ["127.0.0.1", "127.0.0.1:5353", "[::1]:5353", "::1", "[192.0.2.1]"]
        self.assertEqual(
            self.read(*(word for server in words for word in ("-O", "nameserver=" + server))).nameservers,
            (("127.0.0.1", 53), ("127.0.0.1", 5353), ("::1", 5353), ("::1", 53), ("192.0.2.1", 53)),
        )

    def test_what_is_no_name_server(self) -> None:
        for text in (
            "",
            "dns.example",
            "127.0.0.1:0",
            "127.0.0.1:65536",
            "[::1",
            "::1]:53",
            "1.2.3:53",
            "[]:53",
        ):
            self.assertIn("is no name server; write 192.0.2.1", self.refuse("-O", "nameserver=" + text))


class TheProgram(SynchronousTestCase):
    def setUp(self) -> None:
        self.written: list[tuple[int, str]] = []
        self.patch(os, "write", lambda number, octets: self.written.append((number, octets.decode())))

    def test_a_usage_error_goes_to_standard_error_with_the_usage_line(self) -> None:
        self.patch(sys, "argv", ["/usr/lib/zmailer/ta/smtp"])
        self.assertEqual(main(["-z"]), 64)
        self.assertEqual(
            self.written,
            [(2, f"smtp: invalid option -- 'z'; --help lists the known ones\n{usage('smtp')}\n")],
        )

    def test_the_version_goes_to_standard_error(self) -> None:
        self.patch(sys, "argv", ["zsmtp", "-V"])
        self.assertEqual((main(), self.written), (0, [(2, version_text("zsmtp"))]))

    def test_help_goes_to_standard_output(self) -> None:
        self.patch(sys, "argv", ["/usr/lib/python3/zsmtp/__main__.py", "--help"])
        self.assertEqual((main(), self.written), (0, [(1, help_text("zsmtp"))]))

    def test_a_closed_standard_error_does_not_change_the_exit_status(self) -> None:
        def write(number: int, octets: bytes) -> int:
            raise BrokenPipeError

        self.patch(os, "write", write)
        self.assertEqual(main(["-z"]), 64)

    def test_work_is_the_agents(self) -> None:
        orders: list[Settings] = []

        def run(order: Settings) -> int:
            orders.append(order)
            return 71

        assembly = types.ModuleType("zsmtp.assembly")
        assembly.__dict__["run"] = run
        with mock.patch.dict(sys.modules, {"zsmtp.assembly": assembly}):
            self.assertEqual((main(["-x", "host.example"]), self.written), (71, []))
        self.assertEqual(orders, [Settings(use_mx=False, host="host.example")])


class WhatTheProgramSays(SynchronousTestCase):
    def test_the_usage_line_names_every_option(self) -> None:
        line = usage("zsmtp")
        flags = "".join(option.letter for option in OPTIONS if not option.value)
        self.assertTrue(line.startswith(f"Usage: zsmtp [-{flags}] ["))
        self.assertTrue(line.endswith(" [--help] [host]"))
        for option in OPTIONS:
            if option.value:
                self.assertIn(f"[-{option.letter} {option.value}]", line)

    def test_help_describes_every_option_in_80_columns(self) -> None:
        text = help_text("zsmtp")
        self.assertLess(max(map(len, text.splitlines())), 80)
        self.assertNotIn("\0", text)
        flat = " ".join(text.split())
        for option in OPTIONS:
            self.assertIn(f"-{option.letter} {option.value}".strip() + f" {option.text} ", flat + " ")
        for keyword in KEYWORDS:
            self.assertIn(keyword.text, flat)
        for period in PERIODS:
            self.assertIn(f" {period.key}= {period.text} ", flat)

    def test_the_version_names_program_version_and_licence(self) -> None:
        self.assertIn(f"smtp (zsmtp {zsmtp.__version__}): ", version_text("smtp"))
        self.assertIn("MIT licence", version_text("smtp"))


class TheTables(SynchronousTestCase):
    def test_every_option_of_the_original_has_one_row(self) -> None:
        letters = [option.letter for option in OPTIONS]
        self.assertEqual(sorted(letters), sorted("ACdehlprsvwxXDEFLHMOPSTVWZ1678".replace("C", "c")))

    def test_the_same_options_as_in_the_original_take_a_value(self) -> None:
        self.assertEqual({option.letter for option in OPTIONS if option.value}, set("AcFhlLOpSTwZ"))

    def test_the_defaults_that_the_table_tells_are_those_of_the_settings(self) -> None:
        units = {"conn": "3m", "tcpw": "5m", "cmd": "5m", "data": "5m", "dot": "20m"}
        for period in PERIODS:
            self.assertIn(f"(default {units[period.key]})", period.text)
            self.assertEqual(int(units[period.key][:-1]) * 60, getattr(Timeouts(), period.field))


class TheManualPage(SynchronousTestCase):
    def setUp(self) -> None:
        if not MANUAL.exists():
            raise SkipTest("man/zsmtp.8 is not beside the package")
        self.text = MANUAL.read_text("ascii")
        self.sections = dict(re.findall(r"^\.SH (.+)\n((?:(?!\.SH).*\n)*)", self.text, re.MULTILINE))
        # head and body of each entry of OPTIONS that is an option
        self.entries = dict(
            re.findall(
                r"^\.TP\n\.BI? ((?:\\-)+.*)\n((?:(?!\.TP\n\.BI? \\-).*\n)*)",
                self.sections["OPTIONS"],
                re.MULTILINE,
            )
        )

    def test_it_has_the_sections_of_the_original(self) -> None:
        self.assertEqual(
            list(self.sections),
            [
                "NAME",
                "SYNOPSIS",
                "DESCRIPTION",
                "OPTIONS",
                "INTERFACE",
                "EXTENDED SMTP",
                "SECURE SOCKET LAYER SUPPORT",
                "SMTP-AUTH AND SMTP-AUTH-SECRETS.TXT FILE",
                "DIFFERENCES",
                "ENVIRONMENT VARIABLES",
                "Z-ENVIRONMENT VARIABLES",
                "FILES",
                "EXIT STATUS",
                "SEE ALSO",
            ],
        )

    def test_options_of_page_and_table_are_the_same_in_the_same_order(self) -> None:
        heads = [f'\\-{o.letter} " {o.value}"' if o.value else f"\\-{o.letter}" for o in OPTIONS]
        self.assertEqual(list(self.entries), [*heads, "\\-\\-help"])

    def test_the_synopsis_has_all_options(self) -> None:
        flags = "".join(option.letter for option in OPTIONS if not option.value)
        self.assertIn(f"[ \\-{flags} ]", self.sections["SYNOPSIS"])
        self.assertEqual(
            re.findall(r"\.RB \[ \\-(\w)\n\.IR (\S+) \]", self.sections["SYNOPSIS"]),
            [(option.letter, option.value) for option in OPTIONS if option.value],
        )

    def test_it_puts_no_option_off(self) -> None:
        self.assertNotIn("supported yet", " ".join(self.text.split()))

    def test_keywords_of_page_and_table_are_the_same(self) -> None:
        body = next(body for head, body in self.entries.items() if head.startswith("\\-O"))
        heads = re.findall(r"^\.TP\n\.BI? (\S+)", body, re.MULTILINE)
        self.assertEqual(
            [head.replace("\\-", "-") for head in heads],
            [keyword.name + ("=" if keyword.value else "") for keyword in KEYWORDS],
        )

    def test_timeouts_of_page_and_table_are_the_same(self) -> None:
        body = next(body for head, body in self.entries.items() if head.startswith("\\-T"))
        entries = re.findall(r"^\.TP\n\.BI (\w+)= interval\n((?:(?!\.TP).*\n)*)", body, re.MULTILINE)
        self.assertEqual([key for key, _ in entries], [period.key for period in PERIODS])
        for (_, text), period in zip(entries, PERIODS, strict=True):
            minutes = getattr(Timeouts(), period.field) / 60
            self.assertIn(f"Default {minutes:g} minutes, at least {period.minimum} seconds.", text)

    def test_it_builds_without_warnings(self) -> None:
        for command in (["groff", "-man", "-ww", "-z"], ["man", "--warnings", "-E", "ascii", "-l"]):
            if not shutil.which(command[0]):
                raise SkipTest(f"{command[0]} is not installed")
            done = subprocess.run([*command, str(MANUAL)], capture_output=True, timeout=60, check=False)
            self.assertEqual((done.returncode, done.stderr), (0, b""))


class TheProcess(SynchronousTestCase):
    def test_version(self) -> None:
        done = zsmtp_process("-V")
        self.assertEqual((done.returncode, done.stdout), (0, b""))
        self.assertEqual(done.stderr.decode(), version_text("zsmtp"))

    def test_help(self) -> None:
        done = zsmtp_process("--help")
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertEqual(done.stdout.decode(), help_text("zsmtp"))

    def test_a_usage_error_ends_before_the_first_hungry(self) -> None:
        for words in (["-z"], ["-c"], ["-M"], ["-T", "conn=9"], ["-O", "nope"], ["-S", ""]):
            done = zsmtp_process(*words)
            self.assertEqual((done.returncode, done.stdout), (64, b""))
            first, second = done.stderr.decode().splitlines()
            self.assertTrue(first.startswith("zsmtp: "))
            self.assertEqual(second, usage("zsmtp"))

    def test_version_and_usage_errors_import_nothing_heavy(self) -> None:
        for words in (["-V"], ["-z"], ["-T", "5x"], ["-p", "0"]):
            trace = zsmtp_process(*words, flags=["-X", "importtime"]).stderr.decode()
            loaded = {line.split("|")[-1].strip() for line in trace.splitlines() if "import time:" in line}
            self.assertIn("zsmtp.options", loaded)
            heavy = (
                "twisted",
                "zope",
                "socket",
                "OpenSSL",
                "dns",
                "dataclasses",
                "inspect",
                "asyncio",
                "zsmtp.agent",
            )
            self.assertEqual([name for name in heavy if name in loaded], [])


class TheZEnvironment(SynchronousTestCase):
    """Every variable that the original read is heeded or said to be ignored, in one table and in the page."""

    # the specification of the spool, F.2
    READ_BY_THE_ORIGINAL = (
        "BINDADDR DEFCHARSET NOBODY NORECEIVEDFORCLAUSE ORGDOMAIN POSTOFFICE RFC822TABS SELFADDRESSES "
        "SNMPSHAREDFILE SYSLOGFLG TALOCKMODE TA_USE_MMAP"
    )
    OURS = ("NAMESERVERS",)

    def setUp(self) -> None:
        if not MANUAL.exists():
            raise SkipTest("man/zsmtp.8 is not beside the package")
        text = MANUAL.read_text("ascii").replace("\\-", "-")
        section = text[text.index(".SH Z-ENVIRONMENT") :]
        section = section[: section.index(".SH FILES")]
        heeded, _, ignored = section.partition("are ignored, for these reasons:")
        self.heeded = set(re.findall(r"^\.TP\n\.B ([A-Z0-9_]+)$", heeded, re.MULTILINE))
        self.ignored = dict(re.findall(r"^\.TP\n\.B ([A-Z0-9_]+)\n(.*)$", ignored, re.MULTILINE))

    def test_every_variable_has_a_row(self) -> None:
        names = [*self.READ_BY_THE_ORIGINAL.split(), *self.OURS]
        self.assertEqual(sorted(row.name for row in VARIABLES), sorted(names))

    def test_the_page_says_what_the_table_says(self) -> None:
        self.assertEqual(self.heeded, {row.name for row in VARIABLES if not row.ignored})
        self.assertEqual(self.ignored, {row.name: row.ignored for row in VARIABLES if row.ignored})

    def test_what_is_heeded_is_read_and_nothing_else_is(self) -> None:
        source = "".join(path.read_text("utf-8") for path in (ROOT / "zsmtp").glob("*.py"))
        read = set(re.findall(r'environment\.get\("([A-Z0-9_]+)"\)', source))
        self.assertEqual(read, {row.name for row in VARIABLES if not row.ignored})
