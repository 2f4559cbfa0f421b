"""What an operator installs beside the two programs.

Units for systemd, rules and a dashboard for Prometheus and Grafana, configurations to begin with, shell completion and
manual pages. All of it lies in the wheel; `python -m damocles.kit PREFIX` and `make install` put it where a machine looks.
"""
