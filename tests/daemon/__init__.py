"""The daemon: pure parts by tables, the whole of it over a network in memory and in virtual time."""
