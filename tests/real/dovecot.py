"""Dovecot's LMTP server as a peer."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
from pathlib import Path

from tests.real.peer import Delivered, Peer, address_in
from tests.real.process import Program

__all__ = ["Dovecot"]


class Dovecot(Peer):
    """Dovecot's LMTP server on a UNIX socket, delivering into one Maildir for each recipient."""

    lmtp = True

    @classmethod
    def missing(cls) -> str | None:
        """Look for the server and its LMTP part."""
        if shutil.which("dovecot") and Path("/usr/lib/dovecot/lmtp").exists():
            return None
        return "Dovecot's LMTP server is not installed (Debian: dovecot-lmtpd)"

    def _launch(self, output: Path) -> Program:
        self.socket_path = self.folder / "lmtp"
        if os.geteuid() == 0:
            owner = pwd.getpwnam("mail")
            users = "default_internal_user = dovecot\ndefault_login_user = dovenull"
        else:
            owner = pwd.getpwuid(os.geteuid())
            users = f"default_internal_user = {owner.pw_name}\ndefault_login_user = {owner.pw_name}"
            # What Dovecot shuts into a folder it would need root for.
            users += f"\ndefault_internal_group = {grp.getgrgid(owner.pw_gid).gr_name}"
            users += "\nservice anvil {\n  chroot =\n}\nservice stats {\n  chroot =\n}"
        os.chown(self.mail, owner.pw_uid, owner.pw_gid)
        configuration = self.folder / "dovecot.conf"
        configuration.write_text(
            f"""\
base_dir = {self.folder}/run
state_dir = {self.folder}/run
log_path = {self.folder}/log
protocols = lmtp
ssl = no
hostname = dovecot.example
{users}
first_valid_uid = 1
auth_username_chars =
mail_location = maildir:~
mail_fsync = never
lmtp_add_received_header = no
lmtp_hdr_delivery_address = none
recipient_delimiter =
protocol lmtp {{
  postmaster_address = postmaster@dovecot.example
}}
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = static
  args = uid={owner.pw_uid} gid={owner.pw_gid} home={self.mail}/%u allow_all_users=yes
}}
service lmtp {{
  unix_listener {self.socket_path} {{
    mode = 0600
  }}
}}
"""
        )
        return Program(["dovecot", "-F", "-c", str(configuration)], output)

    def log(self) -> str:
        """What Dovecot logged."""
        return (self.folder / "log").read_text(errors="replace")

    def delivered(self) -> list[Delivered]:
        """Read the Maildirs; the one field of Dovecot's is Return-Path."""
        found = []
        for path in self._files():
            field, _, message = path.read_bytes().partition(b"\n")
            recipient = os.fsencode(path.parent.parent.name)
            sender = address_in(field.removeprefix(b"Return-Path: "))
            found.append(Delivered(sender, (recipient,), "LMTP", message))
        return found

    def _files(self) -> list[Path]:
        return list(self.mail.glob("*/new/*"))
