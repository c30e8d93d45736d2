"""Public tools for tests: scripted servers, in-memory transports, made-up spools, a scheduler's stand-in.

Whoever runs zsmtp can test a set-up with them.  `table` and `dialogue` say what a server does, `server`
does it on a real socket, `memory` and `talk` without one; `spool` makes a POSTOFFICE, octet by octet;
`scheduler` runs an agent as ZMailer's scheduler would and fails at its first mistake.
"""
