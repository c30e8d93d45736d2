"""The public tools for tests, tested."""
