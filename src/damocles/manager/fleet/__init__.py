"""The workers as the manager knows them, and what it asks of them all at once."""
