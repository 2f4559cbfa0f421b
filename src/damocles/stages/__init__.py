"""Run one stage of a sector in a child process that can be killed.

`executor.Stages` is what a worker uses; `runner` is what runs in the child. They speak the line protocol of
`protocol`, and anybody's executable that speaks it can stand in for `runner`.
"""
