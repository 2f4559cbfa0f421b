"""What operators ask for, without any input or output: which threads are meant, and what would come of it."""
