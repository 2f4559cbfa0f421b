"""What a worker does for each plan, in a module of the plan's name, and what those share."""
