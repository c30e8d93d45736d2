"""The command line on the wire, row by row (agent specification, section 9.1).

How words are read is tested with `zsmtp.options`.
"""

from __future__ import annotations

import os

from tests.agent.agents import AgentCase
from zsmtp.testing.conversation import Conversation
from zsmtp.testing.scheduler import Job
from zsmtp.testing.table import Table

MIME = b"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: "
EIGHT = MIME + b"8BIT\n", "gr\u00fc\u00dfe\n".encode()
QUOTED = MIME + b"QUOTED-PRINTABLE\n", b"gr=C3=BC=C3=9Fe\n"
RAW, ENCODED = "gr\u00fc\u00dfe".encode(), b"gr=C3=BC=C3=9Fe"


class OnTheWire(AgentCase):
    """What the options make of a session."""

    def talk(
        self, *words: str, mail: tuple[bytes, bytes] = EIGHT, banner: str = "220 mx ESMTP"
    ) -> Conversation:
        """Deliver a mail; return the conversation."""
        server = self.server(Table({"banner": banner}, announce=["8BITMIME", "PIPELINING"]))
        spooled = self.spool.add(header=mail[0] + b"Subject: x\n", body=mail[1])
        where = ("-F", "[127.0.0.1]", "-p", str(server.port))
        result = self.scheduler(*where, *words, jobs=[Job(spooled.name)]).run()
        self.assertEqual(list(result.words.values()), ["ok3"])
        (conversation,) = server.connections
        return conversation

    def test_c14_port(self) -> None:
        self.assertEqual(len(self.talk().messages), 1)

    def test_c16_bundle_of_options(self) -> None:
        log = os.path.join(self.spool.postoffice, "log")
        conversation = self.talk("-8sl", log, mail=QUOTED)
        self.assertIn(RAW, conversation.messages[0].octets)
        with open(log, "rb") as file:
            self.assertIn(b"w\tDATA\n", file.read())

    def test_c19_c20_ehlo_only_where_the_banner_says_esmtp(self) -> None:
        for banner, verb in (("220 mx SMTP", b"HELO"), ("220 mx ESMTP", b"EHLO")):
            conversation = self.talk("-E", banner=banner)
            self.assertEqual({line[:4] for line in conversation.commands} & {b"EHLO", b"HELO"}, {verb})

    def test_c21_c27_no_esmtp_at_all_and_the_width_of_the_channel(self) -> None:
        for row, words, mail, wanted in (
            ("C21: -77", ["-77"], EIGHT, ENCODED),
            ("C21: -77 -8", ["-77", "-8"], QUOTED, RAW),
            ("C21: -8 -77", ["-8", "-77"], EIGHT, ENCODED),
            ("C27: -77 -E", ["-77", "-E"], EIGHT, ENCODED),
        ):
            with self.subTest(row):
                conversation = self.talk(*words, mail=mail)
                self.assertEqual(conversation.commands[0].split()[0], b"HELO")
                self.assertNotIn(b"EHLO", conversation.client)
                self.assertIn(wanted, conversation.messages[0].octets)

    def test_c22_seven_bits_with_esmtp(self) -> None:
        conversation = self.talk("-7")
        self.assertEqual(conversation.commands[0].split()[0], b"EHLO")
        self.assertNotIn(b"BODY=8BITMIME", conversation.client)
        self.assertIn(ENCODED, conversation.messages[0].octets)

    def test_c18_second_host_is_passed_over(self) -> None:
        agent = self.raw("x.example", "y.example")
        agent.until_hungry()
        agent.send(b"9\n")
        self.assertEqual(agent.until_hungry()[1:], [b"#resync 9", b"#hungry"])
        self.assertEqual(agent.rest(), [])
