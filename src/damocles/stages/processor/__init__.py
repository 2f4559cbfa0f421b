"""The child's side: what runs in a process of its own."""
