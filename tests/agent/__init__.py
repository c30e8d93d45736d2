"""The agent as the scheduler sees it: a process that is fed and that reports."""
