"""The behaviours of `dialogues/`, theme by theme, against the delivery engine over real sockets."""

from __future__ import annotations

from tests.hostile.suite import HostileCase


class Greeting(HostileCase, dialogues="greeting.txt"):
    """What a server says first."""


class Hello(HostileCase, dialogues="hello.txt"):
    """How it answers EHLO, and what it announces."""


class Envelope(HostileCase, dialogues="envelope.txt"):
    """How it takes sender and recipients."""


class Data(HostileCase, dialogues="data.txt"):
    """How it takes the text, and what it says of it."""


class Chunking(HostileCase, dialogues="chunking.txt"):
    """How it takes the text in chunks."""


class Lmtp(HostileCase, dialogues="lmtp.txt"):
    """What it says to each recipient in LMTP."""


class Life(HostileCase, dialogues="life.txt"):
    """How it bears several messages, pauses and farewells."""


class StartTls(HostileCase, dialogues="tls.txt"):
    """How it begins TLS, or does not."""


class Alerts(HostileCase, dialogues="alerts.txt"):
    """How it ends a session under TLS, or has it ended."""
