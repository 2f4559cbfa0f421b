"""What the manager does for each plan, in a module of the plan's name."""
