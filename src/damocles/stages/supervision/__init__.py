"""The worker's side: start children, watch over them, share out what they may use."""
