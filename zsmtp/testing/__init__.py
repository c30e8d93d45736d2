"""Public tools for tests: scripted servers, in-memory transports, spools made to order."""
