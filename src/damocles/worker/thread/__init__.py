"""A sealing thread: its loop around the pure mind of `sealing.shift`, its hands, and what it shows."""
