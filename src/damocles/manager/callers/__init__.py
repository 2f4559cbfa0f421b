"""Who calls: whose name a worker may use, and whose a sector is."""
