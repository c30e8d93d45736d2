"""Tells twistd of the daemon.  Imports nothing of zsmtp: twistd reads this file whenever it is started."""

from twisted.application.service import ServiceMaker

zsmtp = ServiceMaker("zsmtp", "zsmtp.tap", "Deliver the mail of a ZMailer spool by SMTP and LMTP.", "zsmtp")
