"""Octets that nobody would write, for everything of zsmtp that reads octets of others."""
