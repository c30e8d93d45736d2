"""Servers that lie, stall, shout and hang up: what becomes of mail that meets them."""
