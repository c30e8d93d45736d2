"""From one next hop to another, and what a host makes necessary on the way."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import succeed

from tests.net.network import REFUSED, SILENT, Network
from tests.test_deliver.case import MANNER, ONE, OPENING, TWO, DeliveryTest
from zsmtp.destination import Route
from zsmtp.net.approach import TLS_FORGIVEN
from zsmtp.smtp.session import Tls
from zsmtp.testing.dialogue import Script
from zsmtp.testing.table import Table
from zsmtp.trouble import Kind, Trouble


class Hops(DeliveryTest):
    """The next address, and when there is none left."""

    def test_next_one_is_tried_where_one_is_of_no_use(self) -> None:
        for first in (
            REFUSED,
            "B 421 busy",
            "B 450",
            "B 554 no",
            "B X",
            "B rubbish",
            "B reset",
            "E X; H X",
            "E 554; H 554",
            Table({"ehlo": b"250 mx\r\n250 mx\r\n"}),  # opened and broken in one read
            Table({"ehlo": b"250 mx\r\n421 closing\r\n"}),
        ):
            self.network = Network()
            self.settled.clear()
            self.network.serve(ONE, first)
            self.network.serve(TWO, "")
            self.start(ONE, TWO)
            self.deliver(self.mail(2))  # 12, 13, N03, N06
            self.assertEqual(self.words, ["ok3", "ok3"], first)
            self.assertEqual((self.attempted[0], self.attempted[-1]), (ONE, TWO))
            self.expect_over()

    def test_address_that_never_answers_costs_the_time_of_conn(self) -> None:
        self.network.serve(ONE, SILENT)
        self.network.serve(TWO, "")
        self.start(ONE, TWO)
        self.deliver(self.mail())  # N02
        self.assertEqual(self.network.attempts[0].seconds, 10)
        self.network.pass_time(9.9)
        self.assertEqual(self.attempted, [ONE])
        self.network.pass_time(0.2)
        self.assertEqual((self.words, self.attempted), (["ok3"], [ONE, TWO]))

    def test_greeting_that_never_comes_costs_the_time_of_cmd(self) -> None:
        self.network.serve(ONE, "B -")
        self.network.serve(TWO, "")
        self.start(ONE, TWO)
        self.deliver(self.mail())
        self.network.pass_time(19)
        self.assertEqual(self.attempted, [ONE])
        self.network.pass_time(2)
        self.assertEqual(self.words, ["ok3"])

    def test_all_refuse_is_the_same_for_every_recipient(self) -> None:
        for first, second, word in (
            (REFUSED, REFUSED, "deferall"),
            ("B 421", "B 421", "retryat"),
            ("B 554", "B 554", "retryat"),
            ("B 521", "B 521", "error2"),
            ("B 521", "B 421", "retryat"),
            ("B 521", REFUSED, "deferall"),
            ("B 421", "B 521", "retryat"),
            ("B X", "B X", "retryat"),
        ):
            self.network = Network()
            self.settled.clear()
            self.network.serve(ONE, first)
            self.network.serve(TWO, second)
            self.start(ONE, TWO)
            mail = self.mail(3)
            self.deliver(mail)  # 7, 14, N01, N05, N08, S04
            self.assertEqual(self.words, [word] * 3, (first, second))
            self.assertEqual(len({(one.text, one.notary[2:]) for one in self.told}), 1)
            self.expect_over()

    def test_refused_connection_is_told_with_name_and_address(self) -> None:
        self.quick(REFUSED)
        (report,) = self.told
        self.assertIn(b"connect to mx1.example [192.0.2.1|25]: Connection refused", report.text)
        self.assertEqual(report.notary[4], b"dns; mx1.example (192.0.2.1|25)")

    def test_silent_greeting_is_told_with_its_time(self) -> None:
        self.quick("B -", self.mail(2))  # 10, N07
        self.network.pass_time(21)
        self.assertEqual(self.words, ["retryat"] * 2)
        self.assertIn(b"Timeout of 20 sec while waiting responses from remote", self.told[0].text)
        self.expect_over()

    def test_refused_opening_is_never_used_again(self) -> None:
        self.network.serve(ONE, "B 554 no", "")
        self.start()
        self.deliver(self.mail(), self.mail())  # 8, N04
        self.assertEqual(self.words, ["retryat", "ok3"])
        self.assertEqual([said[0] for said in self.verbs], ["QUIT", "EHLO"])
        self.expect_over()

    def test_host_that_breaks_every_session_before_it_is_used_is_given_up(self) -> None:
        for caps in (b"250 mx\r\n250 mx\r\n", b"250 mx\r\n421 closing\r\n"):
            self.network = Network()
            self.settled.clear()
            self.quick(Table({"ehlo": caps}), self.mail(2))
            self.assertEqual((self.words, self.attempted), (["retryat"] * 2, [ONE]))
            self.expect_over()

    def test_idle_session_that_breaks_is_nobodys_verdict(self) -> None:
        self.network.serve(ONE, Script(OPENING + "-- wait 3\n-- close"), "")
        self.start(connections=2)
        self.delivery._open()
        self.network.run()
        self.deliver(self.mail())
        self.assertEqual(self.words, ["ok3"])
        self.expect_over()

    def test_target_that_is_a_trouble_is_told_at_once(self) -> None:
        self.start(target=Trouble(Kind.BAD_LITERAL, b"[1.2.3 is no address", remote=b"X-IP-addr; [1.2.3"))
        self.deliver(self.mail(2))
        self.assertEqual((self.words, self.attempted), (["error2", "error2"], []))
        self.expect_over()

    def test_trouble_with_the_name_is_told_to_all(self) -> None:
        self.found = succeed(Trouble(Kind.NO_SUCH_DOMAIN, b"DNS: no such domain: example.net"))
        self.start()
        self.deliver(self.mail(2))
        self.assertEqual((self.words, self.attempted), (["error2", "error2"], []))

    def test_route_without_a_hop_is_no_silence(self) -> None:
        self.found = succeed(Route(()))
        self.start()
        self.deliver(self.mail())
        self.assertEqual(self.words, ["deferall"])

    def test_path_that_no_socket_can_have_is_told_at_once(self) -> None:
        self.start("/run/" + "x" * 200)
        self.deliver(self.mail())
        self.assertEqual(self.words, ["deferall"])
        self.assertIn(b"File name too long", self.told[0].text)


class Manners(DeliveryTest):
    """What a host makes necessary: HELO, or a connection in clear."""

    def test_helo_on_the_same_connection_where_ehlo_is_unknown(self) -> None:
        self.quick("E 500")  # 17
        self.assertEqual((self.words, self.verbs[0][:3]), (["ok3"], ["EHLO", "HELO", "MAIL"]))

    def test_helo_on_a_new_connection_after_a_hang_up_or_a_temporary_refusal(self) -> None:
        for first in ("E 421", "E 451", "E X", "E reset", Table({"ehlo": b"250-x\r\n"})):
            self.network = Network()
            self.settled.clear()
            behaviours = (
                [first] if isinstance(first, str) else [Script("S: 220 mx\nC: EHLO *\nS: 250-x\n-- close")]
            )
            self.network.serve(ONE, *behaviours, "")
            self.start()
            self.deliver(self.mail())  # 18, 19, 20
            self.assertEqual(self.words, ["ok3"], first)
            self.assertEqual([said[0] for said in self.verbs], ["EHLO", "HELO"])
            self.expect_over()

    def test_helo_that_is_refused_too_is_the_end_of_it(self) -> None:
        self.quick("E 502; H 550 no", self.mail(3))  # 21
        self.assertEqual([said[:2] for said in self.verbs], [["EHLO", "HELO"], ["HELO", "QUIT"]])
        self.assertEqual(self.words, ["retryat"] * 3)
        self.assertIn(b"\r<<- HELO me.example\r->> 550 no", self.told[0].text)

    def test_lmtp_has_no_helo(self) -> None:
        for reply in ("500", "421"):
            self.network = Network()
            self.settled.clear()
            self.quick(f"lmtp; L {reply}", manner=MANNER._replace(lmtp=True))  # 110, 111
            self.assertEqual(self.verbs[0], ["LHLO", "QUIT"])
            self.assertEqual((self.words, len(self.verbs)), (["retryat"], 1))

    def test_unix_path_is_the_same_at_the_second_try(self) -> None:
        path = "/run/" + "long" * 20
        self.network.serve(path, "E 421", "")
        self.start(path)
        self.deliver(self.mail())  # N17
        self.assertEqual((self.words, self.attempted), (["ok3"], [path, path]))

    def test_opportunistic_tls_is_used_where_offered(self) -> None:
        self.quick("+T", manner=MANNER._replace(tls=Tls.OPPORTUNISTIC))
        self.assertEqual(self.verbs[0][:4], ["EHLO", "STARTTLS", "EHLO", "MAIL"])
        self.assertEqual(self.network.links[0].transport.tls_contexts, ["mx1.example"])

    def test_failed_tls_is_followed_by_clear_text_and_remembered(self) -> None:
        for failure in ("T 454 no", "T X", "T 220 go", "T -"):
            self.network = Network()
            self.settled.clear()
            silent = Script(
                "S: 220 mx\nC: EHLO *\nS: 250-mx\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\n-- silence"
            )
            first: Any = silent if failure == "T 220 go" else "+T; " + failure
            self.network.serve(ONE, first, "+T")
            self.start(manner=MANNER._replace(tls=Tls.OPPORTUNISTIC), one_message=True)
            self.deliver(self.mail(), self.mail())  # T08
            self.network.pass_time(60)
            self.assertEqual(self.words, ["ok3", "ok3"], failure)
            self.assertEqual(["STARTTLS" in said for said in self.verbs], [True, False, False])
            self.network.pass_time(TLS_FORGIVEN)
            self.deliver(self.mail())
            self.assertIn("STARTTLS", self.verbs[-1])
            self.expect_over()

    def test_memory_of_broken_tls_is_bounded(self) -> None:
        self.network.serve(ONE, "+T; T 454", "+T")
        self.start(manner=MANNER._replace(tls=Tls.OPPORTUNISTIC))
        self.equipment.broken_tls.update(
            {f"host{number}": 1e9 if number else 0.0 for number in range(10_000)}
        )
        self.deliver(self.mail())
        self.assertEqual(len(self.equipment.broken_tls), 10_000)
        self.equipment.broken_tls["another"] = 1e9
        self.delivery.leave()
        self.network.serve(ONE, "+T; T 454", "+T")
        del self.equipment.broken_tls[ONE]
        self.network.run()
        self.deliver(self.mail())
        self.assertEqual(list(self.equipment.broken_tls), [ONE])

    def test_meddling_with_starttls_is_not_rewarded(self) -> None:
        injected = Table({"starttls": b"220 go\r\n250 x\r\n"}, announce=["STARTTLS"])
        self.quick(injected, manner=MANNER._replace(tls=Tls.OPPORTUNISTIC))  # T09, 138
        self.assertEqual((self.words, len(self.verbs)), (["retryat"], 1))

    def test_required_tls_is_never_done_without(self) -> None:
        for server in ("", "E 502", "+T; T 454", "+T; T X", "E X"):
            self.network = Network()
            self.settled.clear()
            self.quick(server, manner=MANNER._replace(tls=Tls.REQUIRED))  # T04, T05, T06
            self.assertEqual((self.words, len(self.verbs)), (["retryat"], 1), server)
            self.assertNotIn("MAIL", self.verbs[0])
