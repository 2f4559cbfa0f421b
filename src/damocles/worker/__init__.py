"""The daemon `damocles-worker`: one sealing thread per store, a control API, pings to the manager."""
