"""One SMTP or LMTP conversation, pure: octets in, events and octets out.  No I/O, no clock."""
