"""Tests of the delivery of jobs, one module for each kind of situation."""
