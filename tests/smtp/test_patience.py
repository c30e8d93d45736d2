"""Every answer has its time (option -T)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.smtp.sample import mail, open_session, session
from zsmtp.smtp.patience import QUIT_SECONDS, RSET_SECONDS, Awaits, Timeouts, patience

TIMES = Timeouts(connect=1.0, command=2.0, data=3.0, dot=4.0, write=5.0)


class TheTableOfTimes(SynchronousTestCase):
    """Section 8.4 of the dialogue specification."""

    def test_everything_that_is_awaited_has_a_time(self) -> None:
        times = {what: patience(what, TIMES) for what in Awaits}
        long = {what for what, seconds in times.items() if seconds == TIMES.dot}
        self.assertEqual(
            long,
            {Awaits.FINAL, Awaits.RECIPIENT_FINAL, Awaits.CHUNK, Awaits.EMPTY},
            "what takes as long as a dot",
        )
        self.assertEqual(times[Awaits.DATA], TIMES.data)
        self.assertEqual((times[Awaits.RSET], times[Awaits.NOOP]), (RSET_SECONDS, RSET_SECONDS))
        self.assertEqual(times[Awaits.QUIT], QUIT_SECONDS)
        self.assertEqual(
            {times[what] for what in (Awaits.GREETING, Awaits.EHLO, Awaits.MAIL, Awaits.RCPT)}, {2.0}
        )

    def test_the_original_s_defaults(self) -> None:
        self.assertEqual(Timeouts(), (180.0, 300.0, 300.0, 1200.0, 300.0))


class PatienceOfASession(SynchronousTestCase):
    """It is that for the next reply, whatever else was sent."""

    def test_greeting_is_waited_for_from_the_start(self) -> None:
        self.assertEqual(session(timeouts=TIMES).patience, TIMES.command)

    def test_idle_session_waits_for_nothing(self) -> None:
        self.assertIsNone(open_session(timeouts=TIMES).patience)

    def test_each_reply_of_a_group_has_its_own(self) -> None:
        """Section 11: pipelined MAIL and RCPT keep the limit of a command, DATA has its own."""
        talker = open_session("PIPELINING", timeouts=TIMES)
        talker.begin(mail())
        talker.take()
        seen = [talker.patience]
        for line in (b"250 a\r\n", b"250 b\r\n", b"354 c\r\n"):
            talker.receive(line)
            seen.append(talker.patience)
        talker.take()
        seen.append(talker.patience)
        self.assertEqual(seen, [2.0, 2.0, 3.0, None, 4.0])

    def test_answered_tells_when_a_new_time_begins(self) -> None:
        """Weakness W17; defect 12 of the stock class: what is no whole reply extends nothing."""
        talker = session()
        talker.receive(b"220-a\r\n220-b\r\n22")
        self.assertEqual(talker.answered, 0)
        talker.receive(b"0 c\r\n")
        self.assertEqual(talker.answered, 1)
