"""Alerts: rules, the board that holds them, and who is notified."""
