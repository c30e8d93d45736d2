"""Sockets, resolving, TLS and connections."""
