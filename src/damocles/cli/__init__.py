"""The command lines of the two programs: one module per group of commands, imported only when its command runs."""
