"""The worker's configuration: read, checked, explained."""
