"""Tests of zsmtp.message."""
