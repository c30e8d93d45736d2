"""Exim as a peer."""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Sequence
from pathlib import Path

from tests.real.peer import Delivered, Peer, address_in, free_port
from tests.real.process import Program
from zsmtp.testing.authority import Credentials

__all__ = ["Exim"]


class Exim(Peer):
    """Exim: SMTP on a port, with PIPELINING, CHUNKING, STARTTLS, DSN and SMTPUTF8, delivering into one
    Maildir.

    Found through the variable ZSMTP_EXIM, as ``exim4`` on PATH, or where `.ci/install-peers` unpacks it.
    Takes a bare CR for a line end.

    With a `user` it takes mail only from him; of PLAIN, LOGIN and CRAM-MD5 it offers `mechanisms`.
    `credentials` are shown instead of some of its own; `settings` are further lines of its configuration.
    """

    def __init__(
        self,
        user: str = "",
        secret: str = "",
        mechanisms: Sequence[str] = (),
        *,
        credentials: Credentials | None = None,
        settings: str = "",
    ) -> None:
        self._user = user
        self._secret = secret
        self._mechanisms = mechanisms
        self._credentials = credentials
        self._settings = settings

    @classmethod
    def missing(cls) -> str | None:
        """Look for the program, its compiled-in user, and root's rights."""
        if cls._binary() is None:
            return "Exim is not installed (.ci/install-peers unpacks Debian's)"
        if os.geteuid() != 0:
            return "Exim changes its user and can only be started by root"
        return None

    @staticmethod
    def _binary() -> str | None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        unpacked = cache / "zsmtp/exim/usr/sbin/exim4"
        return os.environ.get("ZSMTP_EXIM") or shutil.which("exim4") or shutil.which(str(unpacked))

    def _launch(self, output: Path) -> Program:
        self.port = free_port()
        found = self._binary()
        assert found is not None
        # It starts itself anew as its own user, to whom the cache folder of root is closed.
        binary = self.folder / "exim4"
        shutil.copy(found, binary)
        owner = pwd.getpwnam("Debian-exim")
        files = self.certify("exim.example")
        if self._credentials is not None:
            files[0].write_bytes(self._credentials.certificate)
            files[1].write_bytes(self._credentials.key)
        for folder in ("spool", "log"):
            (self.folder / folder).mkdir(exist_ok=True)
        for path in (*files, self.mail, self.folder / "spool", self.folder / "log"):
            os.chown(path, owner.pw_uid, owner.pw_gid)
        configuration = self.folder / "exim.conf"
        configuration.write_text(
            f"""\
exim_path = {binary}
spool_directory = {self.folder}/spool
log_file_path = {self.folder}/log/%slog
pid_file_path = {self.folder}/spool/pid
keep_environment =
primary_hostname = exim.example
qualify_domain = exim.example
local_interfaces = 127.0.0.1
daemon_smtp_ports = {self.port}
smtp_accept_max = 200
smtp_accept_queue_per_connection = 0
smtp_accept_max_per_connection = 0
recipients_max = 0
message_size_limit = 250M
host_lookup =
rfc1413_hosts =
tls_advertise_hosts = *
tls_certificate = {files[0]}
tls_privatekey = {files[1]}
pipelining_advertise_hosts = *
chunking_advertise_hosts = *
dsn_advertise_hosts = *
smtputf8_advertise_hosts = *
acl_smtp_mail = accept
{self._recipients()}
acl_smtp_data = accept
received_header_text = Received: $received_protocol
deliver_drop_privilege
{self._settings}
begin routers
all:
  driver = accept
  transport = maildir

begin transports
maildir:
  driver = appendfile
  maildir_format
  directory = {self.mail}
  batch_max = 10000
  return_path_add
  envelope_to_add

{self._authenticators()}"""
        )
        configuration.chmod(0o644)
        return Program([str(binary), "-C", str(configuration), "-bdf"], output)

    def _recipients(self) -> str:
        if not self._user:
            return "acl_smtp_rcpt = accept"
        return "acl_smtp_rcpt = ${if def:authenticated_id {accept}{deny}}"

    def _authenticators(self) -> str:
        user, secret = self._user, self._secret
        known = {
            "PLAIN": f"""\
  driver = plaintext
  server_prompts = :
  server_condition = ${{if and{{{{eq{{$auth2}}{{{user}}}}}{{eq{{$auth3}}{{{secret}}}}}}}}}
  server_set_id = $auth2
""",
            "LOGIN": f"""\
  driver = plaintext
  server_prompts = <| Username: | Password:
  server_condition = ${{if and{{{{eq{{$auth1}}{{{user}}}}}{{eq{{$auth2}}{{{secret}}}}}}}}}
  server_set_id = $auth1
""",
            "CRAM-MD5": f"""\
  driver = cram_md5
  server_secret = ${{if eq{{$auth1}}{{{user}}}{{{secret}}}fail}}
  server_set_id = $auth1
""",
        }
        blocks = (f"a{name[0]}:\n{known[name]}  public_name = {name}\n" for name in self._mechanisms)
        return "begin authenticators\n" + "".join(blocks)

    def log(self) -> str:
        """What Exim logged; ``K`` in a line of arrival says that the message came by BDAT."""
        return (self.folder / "log/mainlog").read_text(errors="replace")

    def delivered(self) -> list[Delivered]:
        """Read the Maildir; Exim's fields are Return-path, Envelope-to and Received, the last two folded."""
        return [_exim_mail(path.read_bytes()) for path in self._files()]

    def _files(self) -> list[Path]:
        return list(self.mail.glob("new/*"))


def _exim_mail(octets: bytes) -> Delivered:
    return_path, _, rest = octets.partition(b"\nEnvelope-to: ")
    addresses, _, rest = rest.partition(b"\nReceived: ")
    protocol, _, rest = rest.partition(b";\n")
    _, _, message = rest.partition(b"\n")  # the date
    recipients = tuple(address.strip() for address in addresses.split(b","))
    sender = address_in(return_path.partition(b" ")[2])
    return Delivered(sender, recipients, protocol.decode().upper(), message)
