"""What the manager keeps of sectors: their records, commitments, deals, stores and pieces."""
