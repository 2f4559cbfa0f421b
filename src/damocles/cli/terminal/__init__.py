"""What every command prints with: exit codes, tables, progress."""
