"""zsmtp delivers queued mail to the world over SMTP and LMTP.

It is the successor of ZMailer's ``smtp(8zm)`` transport agent: the same options, the same spool, the same
protocol on standard input and output, on one delivery engine written with Twisted.
"""

__version__ = "0.1.0"
__all__ = ["__version__"]
