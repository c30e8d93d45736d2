"""The manual page of smtp(8zm), promise by promise: each test is one, in the page's order and words.

Every test runs the program as the scheduler does, against servers on loopback, with a spool of its own.
Where zsmtp differs on purpose the test says so; the reason is in docs/differences.rst.
"""
