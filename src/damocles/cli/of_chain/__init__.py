"""What `damocles-manager util` reads from a chain node: miners, their sectors and deadlines, messages."""
