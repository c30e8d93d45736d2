"""What zsmtp costs, measured against anchors on the same machine in the same minute.

Nothing here is a test and nothing here judges: the programs print medians and ratios.
`python -m benchmarks.drain` empties a spool, `python -m benchmarks.startup` starts and waits.
"""
