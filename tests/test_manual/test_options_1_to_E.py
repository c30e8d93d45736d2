"""smtp(8zm), section OPTIONS, from -1 to -E."""

from __future__ import annotations

from tests.test_manual.manual import MIME_8BIT, MIME_QP, ManualCase
from zsmtp.testing.server import ScriptedServer
from zsmtp.testing.spool import Addressee, SpooledMail
from zsmtp.testing.table import Table

TEXT = "Grüße\n".encode()
ENCODED = b"Gr=C3=BC=C3=9Fe\r\n"
RAW = TEXT.replace(b"\n", b"\r\n")


class Option1(ManualCase):
    """-1: send only one message per connection."""

    def test_reopens_the_connection_for_each_message(self) -> None:
        run = self.carry("-1", mails=[self.mail(), self.mail()])
        self.assertEqual([len(each.messages) for each in run.server.connections], [1, 1])


class Option6(ManualCase):
    """-6: prefer IPv6 type socket and addresses, if available."""

    def first_tried(self, *words: str) -> bytes:
        """The address that is tried first of a host with both."""
        names = self.names("both.example A 127.0.0.1", "both.example AAAA ::1")
        server = self.server(address="::1")
        where = ("-F", "both.example", "-x", "-X", "-p", str(server.port))
        run = self.carry("-d", *names.options, *where, *words, server=server, forced=False)
        self.assertEqual(run.words, ["ok3"])
        return next(one for one in run.result.comments if b"Connecting to" in one)

    def test_prefers_ipv6(self) -> None:
        self.assertIn(b"::1", self.first_tried("-6"))

    def test_else_ipv4_is_tried_first(self) -> None:
        self.assertIn(b"[127.0.0.1|", self.first_tried())


class Option7(ManualCase):
    """-7: forces the channel to be 7-bit."""

    def test_all_8_bit_texts_are_encoded_for_a_server_that_would_take_them(self) -> None:
        mail = self.spool.add(header=MIME_8BIT, body=TEXT)
        run = self.carry("-7", mails=[mail])
        self.assertEqual(self.body(run), ENCODED)
        self.assertNotIn(b"BODY=", run.message.commands[0])

    def test_without_it_they_go_as_they_are(self) -> None:
        run = self.carry(mails=[self.spool.add(header=MIME_8BIT, body=TEXT)])
        self.assertEqual(self.body(run), RAW)
        self.assertIn(b"BODY=8BITMIME", run.message.commands[0])


class Option77(ManualCase):
    """-77: the same as -7, but also blocks all of the extensions from use."""

    def test_same_as_7_without_any_extension(self) -> None:
        mail = self.spool.add(header=MIME_8BIT, body=TEXT)
        run = self.carry("-77", mails=[mail])
        self.assertEqual(self.body(run), ENCODED)
        self.assertEqual(run.commands[0], b"HELO client.example")
        self.assertEqual([line.count(b" ") for line in run.message.commands], [1, 1])
        self.assertIn(b"MAIL From:<alice@example.com>\r\n", run.connection.flights)

    def test_followed_by_8_it_is_transparent_without_any_extension(self) -> None:
        mail = self.spool.add(header=MIME_8BIT, body=TEXT)
        run = self.carry("-77", "-8", mails=[mail])
        self.assertEqual(self.body(run), RAW)
        self.assertEqual(run.commands[0], b"HELO client.example")
        self.assertNotIn(b"BODY=", run.message.commands[0])

    def test_followed_by_8_it_even_decodes_quoted_printable_text(self) -> None:
        mail = self.spool.add(header=MIME_QP, body=ENCODED.replace(b"\r\n", b"\n"))
        run = self.carry("-77", "-8", mails=[mail])
        self.assertEqual(self.body(run), RAW)
        self.assertIn(b"Content-Transfer-Encoding: 8bit\r\n", self.head(run))


class Option8(ManualCase):
    """-8: forces the channel to be 8-bit-clean."""

    def narrow(self) -> ScriptedServer:
        """A server without 8BITMIME."""
        return self.server(Table(announce=["PIPELINING"]))

    def test_8_bit_text_goes_as_it_is_to_a_server_that_did_not_ask_for_it(self) -> None:
        mail = self.spool.add(header=MIME_8BIT, body=TEXT)
        self.assertEqual(self.body(self.carry("-8", mails=[mail], server=self.narrow())), RAW)

    def test_quoted_printable_is_decoded_on_the_way(self) -> None:
        mail = self.spool.add(header=MIME_QP, body=ENCODED.replace(b"\r\n", b"\n"))
        run = self.carry("-8", mails=[mail])
        self.assertEqual(self.body(run), RAW)
        self.assertIn(b"BODY=8BITMIME", run.message.commands[0])


class OptionC(ManualCase):
    """-c channel: which channel name should be keyed on."""

    def test_keys_on_the_channel(self) -> None:
        mail = self.spool.add(
            recipients=[Addressee(b"a@example.net"), Addressee(b"b@example.net", channel=b"smtp-slow")]
        )
        run = self.carry("-c", "smtp-slow", mails=[mail], channel=b"smtp-slow")
        self.assertEqual(run.message.recipients, (b"b@example.net",))
        self.assertEqual(list(mail.tags().values()), [b" ", b"+"])

    def test_default_is_smtp(self) -> None:
        mail = self.spool.add(
            recipients=[Addressee(b"a@example.net"), Addressee(b"b@example.net", channel=b"smtp-slow")]
        )
        self.assertEqual(self.carry(mails=[mail]).message.recipients, (b"a@example.net",))


class OptionD(ManualCase):
    """-d: turns on debugging output."""

    def test_debugging_output_is_for_the_log_of_the_scheduler(self) -> None:
        """Lines of any other form than a report are logged; the stand-in fails at any that is neither."""
        self.assertTrue(any(b"Connecting to" in one for one in self.carry("-d").result.comments))

    def test_without_it_there_is_none(self) -> None:
        self.assertEqual(self.carry().result.comments, [])


class OptionLowE(ManualCase):
    """-e: an MX lookup is done for every address of the channel."""

    def fed(self, mail: SpooledMail, host: bytes, *words: str) -> list[bytes]:
        """Feed by hand, as recipients are told of that the order does not name; give the tags."""
        agent = self.raw(*words)
        agent.until_hungry()
        agent.send(mail.feed(host))
        agent.until_hungry()
        agent.rest()
        return list(mail.tags().values())

    def carried(self, *words: str) -> list[bytes]:
        """The tags of recipients at the host, at the connected machine by its name, and elsewhere."""
        names = self.names("mx.example A 127.0.0.1", "else.example A 127.0.0.1")
        hosts = (b"example.net", b"mx.example", b"else.example")
        mail = self.spool.add(recipients=[Addressee(b"u@" + host, host) for host in hosts])
        where = ("-F", "mx.example", "-x", "-X", "-p", str(self.server().port))
        return self.fed(mail, b"example.net", *names.options, *where, *words)

    def asked(self, *words: str) -> list[str]:
        """Which MX records are looked up for a mail to two hosts, whose server cannot be connected."""
        names = self.names("one.example MX 10 mx.", "two.example MX 10 mx.", "mx A 127.0.0.1")
        users = [Addressee(b"a@one.example", b"one.example"), Addressee(b"b@two.example", b"two.example")]
        self.fed(self.spool.add(recipients=users), b"one.example", *names.options, *words)
        return [one for one in names.asked if one.endswith(" MX")]

    def test_an_mx_lookup_is_done_for_every_address_with_a_matching_channel(self) -> None:
        self.assertIn("two.example MX", self.asked("-e"))
        self.assertNotIn("two.example MX", self.asked())

    def test_whom_the_connected_host_can_serve_is_delivered_too(self) -> None:
        self.assertEqual(self.carried("-e"), [b"+", b"+", b" "])

    def test_default_is_a_textual_comparison(self) -> None:
        self.assertEqual(self.carried(), [b"+", b" ", b" "])


class OptionE(ManualCase):
    """-E: use EHLO only if the banner reports ESMTP."""

    def greeted(self, banner: str, *words: str) -> bytes:
        """The word that answers a banner."""
        run = self.carry(*words, server=self.server(Table({"banner": banner})))
        return run.commands[0].split()[0]

    def test_ehlo_if_the_banner_reports_esmtp(self) -> None:
        self.assertEqual(self.greeted("220 mx.example ESMTP ready", "-E"), b"EHLO")

    def test_helo_if_it_does_not(self) -> None:
        self.assertEqual(self.greeted("220 mx.example ready", "-E"), b"HELO")

    def test_without_it_ehlo_is_tried_with_every_server(self) -> None:
        self.assertEqual(self.greeted("220 mx.example ready"), b"EHLO")
