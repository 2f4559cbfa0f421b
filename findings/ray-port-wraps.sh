#!/usr/bin/env bash
# One would guess that `ray start` refuses a port that there cannot be. What is: a port above 65535 loses its higher bits on the way to the program that listens, and the head starts all the same, on
# another port (99999 becomes 34463); what the command prints at its end still names 99999, so that no machine can join by the address that it shows.
#
# Why it matters: the head is begun once, and the machines that prove sectors join it by hand or from a unit. A digit too many is seen only there, as a cluster that does not
# answer, while everything on the head says that it runs.
#
# Needs root: the node runs in a network of its own.
set -euo pipefail
if [ "${1:-}" != inside ]; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install -q ray==2.60.0
    unshare -n -p -f --mount-proc --kill-child "$BASH" "$0" inside "$folder"
    exit
fi
folder=$2
ip link set lo up
ip link add one type veth peer name other && ip addr add 10.78.0.1/24 dev one && ip link set one up && ip link set other up
export RAY_AUTH_MODE=disabled RAY_USAGE_STATS_ENABLED=0
found=$(
    "$folder/venv/bin/ray" --version
    code=0
    "$folder/venv/bin/ray" start --head --node-ip-address=10.78.0.1 --port=99999 --num-cpus=1 --include-dashboard=false --no-monitor \
        --include-log-monitor=false --temp-dir="$folder/r" > "$folder/log" 2>&1 || code=$?
    echo "exit code $code"
    grep -oE '10\.78\.0\.1:[0-9]+' "$folder/log" | sort -u | sed 's/^/says /' || true
    python3 - << 'END'
import socket

port = 99999 % 65536
with socket.socket() as probe:
    print("listens on" if probe.connect_ex(("10.78.0.1", port)) == 0 else "nothing listens on", port)
END
)
echo "$found"
[ "$found" = "ray, version 2.60.0
exit code 0
says 10.78.0.1:99999
listens on 34463" ] || { cat "$folder/log"; echo "Ray behaves otherwise now: see what of ours rests on it (cli/of_worker/ray.py)"; exit 1; }
