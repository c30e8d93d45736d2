"""Twisted around the pure parts: connections, TLS, name look-ups.  Holds no policy."""
