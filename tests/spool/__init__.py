"""Tests of zsmtp.spool."""
