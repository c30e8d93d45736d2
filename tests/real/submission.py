"""Dovecot's submission server as a peer: it asks for authentication and relays to Postfix's ``smtp-sink``."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.real.peer import Delivered, Peer, free_port
from tests.real.process import Program
from tests.real.smtp_sink import SmtpSink

__all__ = ["Submission"]


class Submission(Peer):
    """SMTP on a port with STARTTLS and AUTH, for one user.

    With `hashed` the server keeps a hash of the password from which no proof can be checked, and yet offers
    all `mechanisms`.
    """

    def __init__(self, user: str, secret: str, mechanisms: str, *, hashed: bool = False) -> None:
        self._user = user
        self._secret = secret
        self._mechanisms = mechanisms
        self._hashed = hashed
        self._sink = SmtpSink()

    @classmethod
    def missing(cls) -> str | None:
        """Look for the server, its submission part, and root's rights."""
        if not (shutil.which("dovecot") and Path("/usr/lib/dovecot/submission-login").exists()):
            return "Dovecot's submission server is not installed (Debian: dovecot-submissiond)"
        if os.geteuid() != 0:
            return "Dovecot's submission server shuts its parts into folders, for which it must be root"
        return SmtpSink.missing()

    def start(self) -> None:
        """Start both."""
        self._sink.start()
        try:
            super().start()
        except BaseException:
            self._sink.stop()
            raise

    def stop(self) -> None:
        """Stop both."""
        super().stop()
        self._sink.stop()

    def _launch(self, output: Path) -> Program:
        self.port = free_port()
        certificate, key = self.certify("submission.example")
        shutil.chown(self.mail, "mail", "mail")
        secret = f"{{PLAIN}}{self._secret}"
        if self._hashed:
            command = ["doveadm", "pw", "-s", "SHA512-CRYPT", "-p", self._secret]
            secret = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        users = self.folder / "users"
        users.write_text(f"{self._user}:{secret}\n")
        users.chmod(0o644)
        configuration = self.folder / "dovecot.conf"
        configuration.write_text(
            f"""\
base_dir = {self.folder}/run
state_dir = {self.folder}/run
log_path = {self.folder}/log
protocols = submission
hostname = submission.example
ssl = yes
ssl_cert = <{certificate}
ssl_key = <{key}
auth_mechanisms = {self._mechanisms}
auth_failure_delay = 0
first_valid_uid = 1
mail_location = maildir:~
submission_relay_host = 127.0.0.1
submission_relay_port = {self._sink.port}
passdb {{
  driver = passwd-file
  args = {users}
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={self.mail}
}}
service submission-login {{
  inet_listener submission {{
    address = 127.0.0.1
    port = {self.port}
  }}
}}
"""
        )
        return Program(["dovecot", "-F", "-c", str(configuration)], output)

    def log(self) -> str:
        """What Dovecot logged; the mechanism of each login stands there."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def delivered(self) -> list[Delivered]:
        """What the sink got."""
        return self._sink.delivered()

    def _files(self) -> list[Path]:
        return list(self._sink.mail.iterdir())
