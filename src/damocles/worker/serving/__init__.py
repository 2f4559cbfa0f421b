"""What a worker serves to operators and managers: control, audit, logs, metrics."""
