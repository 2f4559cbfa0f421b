"""The configuration is read again while the manager runs: all of it takes effect, or nothing of it.

    reload = Reload(…)
    await reload.run()     # at SIGHUP, and for `damocles-manager config reload`

`differences` says what would change, `obstacles` what keeps a miner from being removed, `renewal` asks the chain about miners
that are new, and `reload` does it.
"""
