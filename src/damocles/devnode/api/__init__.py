"""The devnode's API: that of Lotus as far as a sealing manager needs it, and `Damocles.Devnode…` to make trouble."""
