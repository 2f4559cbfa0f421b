"""Commands of `damocles-worker` alone."""
