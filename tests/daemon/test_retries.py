"""What is tried when, over days that pass in milliseconds."""

from __future__ import annotations

import os
from itertools import pairwise

from tests.daemon.virtual import DAY, HOUR, MINUTE, ONE, DaemonTest
from tests.net.network import REFUSED, SILENT
from zsmtp.daemon.schedule import Reason
from zsmtp.testing.spool import Addressee

TWO = "192.0.2.2"


class FirstDelivery(DaemonTest):
    """A message that is taken at once leaves nothing behind."""

    def test_it_is_delivered_and_removed(self) -> None:
        self.network.serve(ONE, "")
        mail = self.submit()
        self.assertEqual((self.statuses, self.spooled), (["sent"], []))
        self.assertFalse(os.path.exists(mail.message_path))
        self.assertEqual(len(self.queue), 0)
        self.assertEqual(self.received()["Subject"], "test")

    def test_nothing_of_it_is_written_into_the_journal(self) -> None:
        self.network.serve(ONE, "")
        self.submit()
        self.journal.flush()
        self.assertEqual((self.journal.load(), self.journal._known), ({}, set()))

    def test_it_is_told_in_the_words_of_postfix(self) -> None:
        self.network.serve(ONE, "")
        self.submit(age=3)
        came, sent, removed = self.lines
        self.assertRegex(came, r"^S\d+\w+: from=<alice@example.com>, size=\d+, nrcpt=1 \(queue active\)$")
        self.assertRegex(
            sent,
            r"^S\d+\w+: to=<bob@example.net>, relay=mx.example\[192.0.2.1\]:25, delay=3, delays=3/0/0/0, "
            r"dsn=2.6.0, status=sent \(250 message accepted id=FAKE1\)$",
        )
        self.assertEqual(removed, sent.partition(":")[0] + ": removed")

    def test_connection_is_kept_for_a_moment_and_used_again(self) -> None:
        self.network.serve(ONE, "")
        self.submit()
        self.network.pass_time(2)
        self.submit()
        self.assertEqual(len(self.network.attempts), 1)
        self.network.pass_time(10)
        self.assertEqual((len(self.dispatcher), self.network.commands[0][-1]), (0, "QUIT"))
        self.assertEqual(self.network.getDelayedCalls(), [])

    def test_recipients_at_two_destinations_are_two_jobs_of_one_file(self) -> None:
        self.network.serve(ONE, "")
        self.network.serve(TWO, REFUSED)
        self.addresses["example.org"] = TWO
        self.submit(b"bob@example.net", Addressee(b"dave@example.org", b"Example.ORG"))
        self.assertEqual((sorted(self.statuses), len(self.spooled)), (["deferred", "sent"], 1))
        self.network.serve(TWO, "")
        self.network.pass_time(HOUR)
        self.assertEqual((self.statuses[-1], self.spooled), ("sent", []))


class Refusals(DaemonTest):
    """What a server says of a message makes this message wait, and no other."""

    def test_greylisted_message_is_tried_again_soon(self) -> None:
        self.network.serve(ONE, "R 450 4.7.1 greylisted, 250")
        self.submit()
        self.assertEqual(self.statuses, ["deferred"])
        self.network.pass_time(5 * MINUTE - 1)
        self.assertEqual(self.statuses, ["deferred"])
        self.network.pass_time(2)
        self.assertEqual((self.statuses, self.spooled), (["deferred", "sent"], []))

    def test_other_messages_do_not_wait(self) -> None:
        self.network.serve(ONE, "R 450, 250")
        self.submit()
        self.submit()
        self.assertEqual(self.statuses, ["deferred", "sent"])

    def test_intervals_grow_as_the_list_says_and_the_last_repeats(self) -> None:
        self.network.serve(ONE, "R 450")
        self.submit()
        times = [0.0]
        for _ in range(12 * 60):
            before = len(self.statuses)
            self.network.pass_time(MINUTE)
            times += [self.network.seconds()] * (len(self.statuses) - before)
        gaps = [round((after - before) / MINUTE) for before, after in pairwise(times)]
        self.assertEqual(gaps, [5, 30, 60, 180, 180, 180])

    def test_jitter_is_added(self) -> None:
        self.text = self.text.replace("jitter = 0", "jitter = 0.5")
        self.start()
        self.drawn = 1.0
        self.network.serve(ONE, "R 450")
        self.submit()
        self.assertEqual(self.queue.next_due(), 5 * MINUTE * 1.5)

    def test_refused_recipient_is_reported_and_the_accepted_one_not(self) -> None:
        self.network.serve(ONE, "R 550 5.1.1 no such user, 250")
        self.submit(b"carol@example.net", b"bob@example.net")
        self.assertEqual(sorted(self.statuses), ["bounced", "sent"])
        self.scan()
        report = self.received()
        self.assertEqual((report["To"], report.get_content_type()), ("alice@example.com", "multipart/report"))
        self.assertEqual(self.spooled, [])

    def test_maybe_delivered_waits_longer_and_is_named(self) -> None:
        self.network.serve(ONE, ". X, 250")
        self.submit()
        [destination] = self.queue
        entry = destination.jobs[0]
        self.assertEqual((entry.decision.reason, entry.maybe_delivered), (Reason.MAYBE_DELIVERED, True))
        self.assertRegex(self.lines[-1], r"status=deferred \(maybe delivered: ")
        self.network.pass_time(2 * HOUR - 1)
        self.assertEqual(self.statuses, ["deferred"])
        self.network.pass_time(2)
        self.assertEqual(self.statuses, ["deferred", "sent"])


class Outage(DaemonTest):
    """A host that cannot be reached costs one attempt for each interval."""

    def test_one_attempt_for_each_interval_whatever_waits(self) -> None:
        self.network.serve(ONE, REFUSED)
        for _ in range(100):
            self.mail()
        self.scan()
        self.assertEqual(len(self.network.attempts), 1)
        self.network.pass_time(30 * MINUTE + 1)
        self.assertEqual(len(self.network.attempts), 2)
        self.network.pass_time(HOUR + 1)
        self.assertEqual(len(self.network.attempts), 3)
        self.assertEqual(len(self.spooled), 100)
        self.assertIn(
            "destination smtp/example.net: no session with any host: wait 3600 s", "\n".join(self.lines)
        )

    def test_everything_is_delivered_when_it_is_back(self) -> None:
        self.network.serve(ONE, REFUSED)
        for _ in range(50):
            self.mail()
        self.scan()
        self.network.serve(ONE, "")
        self.network.pass_time(31 * MINUTE)
        self.assertEqual((self.statuses.count("sent"), self.spooled), (50, []))

    def test_new_message_for_a_dead_host_waits_with_the_others(self) -> None:
        self.network.serve(ONE, REFUSED)
        self.submit()
        self.network.pass_time(MINUTE)
        self.submit()
        self.assertEqual(len(self.network.attempts), 1)

    def test_other_destinations_are_not_held_up(self) -> None:
        self.addresses["example.org"] = TWO
        self.network.serve(ONE, SILENT)
        self.network.serve(TWO, "")
        self.submit()
        self.submit(Addressee(b"dave@example.org", b"example.org"))
        self.assertEqual(self.statuses, ["sent"])

    def test_etrn_tries_at_once(self) -> None:
        self.network.serve(ONE, REFUSED)
        self.submit()
        self.network.serve(ONE, "")
        with open("77-etrn", "wb") as file:
            file.write(b"T example.net\n")
        self.scan()
        self.assertEqual((self.statuses, self.spooled), (["deferred", "sent"], []))

    def test_rules_survive_a_restart(self) -> None:
        self.network.serve(ONE, REFUSED)
        self.submit()
        self.network.pass_time(10 * MINUTE)
        self.restart()
        self.assertEqual(len(self.network.attempts), 1)
        self.network.pass_time(20 * MINUTE + 1)
        self.assertEqual(len(self.network.attempts), 2)
        [destination] = self.queue
        self.assertEqual(destination.failures, 2)

    def test_without_the_journal_everything_is_tried_once(self) -> None:
        self.network.serve(ONE, REFUSED)
        self.submit()
        self.journal.close()
        os.unlink(os.path.join(self.spool.postoffice, "journal"))
        self.restart()
        self.assertEqual(len(self.network.attempts), 2)


class Memory(DaemonTest):
    """Attempts and waits of a message survive a restart."""

    def test_wait_goes_on(self) -> None:
        self.network.serve(ONE, "R 450, 450, 250")
        self.submit()
        self.network.pass_time(6 * MINUTE)
        self.restart()
        [destination] = self.queue
        entry = destination.jobs[0]
        self.assertEqual((entry.attempts, entry.decision.reason), (2, Reason.RESUMED))
        self.network.pass_time(28 * MINUTE)
        self.assertEqual(self.statuses, ["deferred"] * 2)
        self.network.pass_time(2 * MINUTE)
        self.assertEqual(self.statuses, ["deferred", "deferred", "sent"])

    def test_maybe_delivered_is_remembered(self) -> None:
        self.network.serve(ONE, ". X")
        self.submit()
        self.restart()
        [destination] = self.queue
        self.assertTrue(destination.jobs[0].maybe_delivered)

    def test_nothing_is_left_of_what_was_delivered_later(self) -> None:
        self.network.serve(ONE, "R 450, 250")
        self.submit()
        self.journal.flush()
        self.network.pass_time(6 * MINUTE)
        self.journal.flush()
        self.journal.load()
        self.assertEqual(self.journal._known, set())


class TooOld(DaemonTest):
    """After five days the sender is told, with the reason."""

    def test_refused_message_is_given_up_at_the_end_of_its_time(self) -> None:
        self.network.serve(ONE, "R 450 4.2.1 come again; . 250")
        self.submit(age=5 * DAY - HOUR)
        self.network.pass_time(50 * MINUTE)
        self.assertEqual(set(self.statuses), {"deferred"})
        self.network.serve(ONE, "R 450 4.2.1 come again, 250")
        self.network.pass_time(11 * MINUTE)
        self.assertEqual(self.statuses[-1], "bounced")
        self.assertIn("dsn=4.4.7", self.lines[-2])

    def test_unreachable_host_gives_up_all_that_is_old_and_only_that(self) -> None:
        self.network.serve(ONE, REFUSED)
        for _ in range(3):
            self.mail(age=6 * DAY, sender=b"old@sender.example")
        self.mail()
        self.addresses["sender.example"] = TWO
        self.network.serve(TWO, "")
        self.scan()
        self.scan()
        self.assertEqual(self.statuses.count("bounced"), 3)
        self.assertEqual(len(self.spooled), 1)
        report = self.received()
        self.assertEqual(report["To"], "old@sender.example")
        text = next(report.iter_parts()).get_content()
        self.assertRegex(text, r"given up after 6 days 0 hours; the problem was:")
        self.assertRegex(text, r"connect to mx.example .*: Connection\s+refused")

    def test_old_message_that_is_taken_is_delivered(self) -> None:
        self.network.serve(ONE, "")
        self.submit(age=30 * DAY)
        self.assertEqual((self.statuses, self.spooled), (["sent"], []))

    def test_message_from_the_future_is_no_trouble(self) -> None:
        self.network.serve(ONE, "R 450, 250")
        self.submit(age=-DAY)
        self.network.pass_time(6 * MINUTE)
        self.assertEqual(self.statuses, ["deferred", "sent"])


class Limits(DaemonTest):
    """Limits make wait, and never for ever."""

    def test_destinations_beyond_the_limit_follow(self) -> None:
        self.text = "destinations = 2\n" + self.text
        self.start()
        self.network.serve(ONE, "")
        for number in range(7):
            self.mail(Addressee(b"u@d%d.example" % number, b"d%d.example" % number))
        self.scan()
        self.network.pass_time(120)
        self.assertEqual((self.statuses, self.spooled), (["sent"] * 7, []))
        self.assertEqual(len(self.dispatcher), 0)

    def test_rate_is_held_and_everything_arrives(self) -> None:
        self.text += 'rate = "2/1m"\n'
        self.start()
        self.network.serve(ONE, "")
        for _ in range(6):
            self.mail()
        self.scan()
        self.assertEqual(len(self.statuses), 2)
        self.network.pass_time(MINUTE + 1)
        self.assertEqual(len(self.statuses), 4)
        self.network.pass_time(MINUTE + 1)
        self.assertEqual((self.statuses, self.spooled), (["sent"] * 6, []))

    def test_connections_that_are_not_needed_any_more_are_given_back(self) -> None:
        self.text += "connections = 3\n"
        self.start()
        self.network.serve(ONE, "", "B -")  # the second and third are never greeted
        for _ in range(3):
            self.mail()
        self.scan()
        self.assertEqual((self.statuses, len(self.network.links)), (["sent"] * 3, 3))
        self.network.pass_time(15)
        self.assertTrue(all(link.transport.disconnected for link in self.network.links))
        self.assertEqual(len(self.dispatcher), 0)
        self.submit()
        self.assertEqual(self.statuses[3:], [])
        self.network.serve(ONE, "")
        self.network.pass_time(2 * HOUR)
        self.assertEqual((self.statuses[-1], self.spooled), ("sent", []))


class LeftAlone(DaemonTest):
    """What is not ours stays as it is."""

    def test_channel_that_is_not_configured(self) -> None:
        self.network.serve(ONE, "")
        mail = self.submit(b"bob@example.net", Addressee(b"x@y", b"-", b"local"))
        self.assertEqual((self.statuses, self.spooled), (["sent"], [mail.name]))
        self.assertEqual(set(mail.tags().values()), {b"+", b" "})
        self.assertIn("channel local is not configured", self.warnings[0])

    def test_it_is_finished_when_the_other_program_has_done_its_part(self) -> None:
        self.network.serve(ONE, "")
        mail = self.submit(b"bob@example.net", Addressee(b"x@y", b"-", b"local"))
        offset = mail.offsets[1]
        with open(mail.control_path, "r+b") as file:
            file.seek(offset + 1)
            file.write(b"+")
        os.utime(mail.control_path, (self.clock() - 60, self.clock() - 60))
        self.scan()
        self.assertEqual(self.spooled, [])

    def test_recipient_locked_by_a_living_process(self) -> None:
        self.network.serve(ONE, "")
        self.submit(Addressee(b"bob@example.net", tag=b"~", owner=b"     1"))
        self.assertEqual(self.statuses, [])
        self.assertEqual(len(self.spooled), 1)

    def test_recipient_locked_by_a_dead_process_is_delivered(self) -> None:
        self.network.serve(ONE, "")
        self.submit(Addressee(b"bob@example.net", tag=b"~", owner=b"999999"))
        self.assertEqual((self.statuses, self.spooled), (["sent"], []))

    def test_file_that_nobody_can_read_is_put_aside(self) -> None:
        with open("12345", "wb") as file:
            file.write(b"@ 0x0000000f\ni 1\no 2\nx\nx\n")
        self.scan()
        self.assertEqual((self.spooled, os.path.exists("bad-12345")), ([], True))
        self.assertIn("ALERT", self.warnings[0])

    def test_file_without_its_message_is_put_aside(self) -> None:
        mail = self.mail()
        os.unlink(mail.message_path)
        self.scan()
        self.assertEqual((self.spooled, self.statuses), ([], []))
        self.assertTrue(os.path.exists(f"bad-{mail.name}"))


class Stopping(DaemonTest):
    """Told to stop, nothing is lost, and nothing counts that was not tried."""

    def test_what_is_under_way_is_free_again(self) -> None:
        self.network.serve(ONE, "R -")
        mail = self.submit()
        ended: list[None] = []
        self.dispatcher.stop().addCallback(ended.append)
        self.network.run()
        self.assertEqual((ended, set(mail.tags().values())), ([None], {b" "}))
        self.journal.flush()
        self.journal.load()
        self.assertEqual(self.journal._known, set())
        self.assertEqual(self.network.getDelayedCalls(), [])

    def test_reply_to_a_complete_message_is_waited_for(self) -> None:
        self.network.serve(ONE, ". -")
        self.submit()
        ended: list[None] = []
        self.dispatcher.stop().addCallback(ended.append)
        self.network.run()
        self.assertEqual(ended, [])
        self.network.pass_time(61)
        self.assertEqual(ended, [None])
