"""What we measure, and against what. `make bench` prints a table; `--json FILE` keeps the figures.

Every figure is a ratio against a bound or a peer taken in the same run, or a size with the goal beside it. The load of the
machine is printed with them: a figure taken beside a compiler is none.
"""
