"""What stages read and write: replicas, pieces, parents, copies, uploads."""
