"""Commands of `damocles-manager` alone."""
