"""Commands about sealing threads, alike on a worker and over the whole fleet."""
