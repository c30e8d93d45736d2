"""Real counterparts: mail servers that others wrote, each run privately for one test.

A peer lives in a temporary folder, listens on a loopback port or a UNIX socket, and is gone after `stop`.  No
service of the system is touched.  What it accepted comes back as `Delivered` values, in no particular order.

    peer = start(self, SmtpSink(lmtp=True))     # in a test, which is skipped where the program is absent
    deliver_something_with(["zsmtp", *peer.options])
    [mail] = peer.await_delivered(1)

Where the environment variable CI is set, an absent program is a failure.  `.ci/install-peers` installs all of
them.
"""

from __future__ import annotations

from tests.real.aiosmtpd_peer import Aiosmtpd
from tests.real.dovecot import Dovecot
from tests.real.exim import Exim
from tests.real.peer import Delivered, Peer, start
from tests.real.smtp_sink import SmtpSink
from tests.real.submission import Submission

__all__ = ["Aiosmtpd", "Delivered", "Dovecot", "Exim", "Peer", "SmtpSink", "Submission", "start"]
