"""Tests of the benchmarks: they must count right before anyone believes them."""
