"""One module for each plan: its table of states, events and edges, and what else must be known of it."""
