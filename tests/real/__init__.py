"""Tests against real servers: programs that others wrote, started privately and killed at the end."""
