"""Tests of zsmtp.ctl."""
