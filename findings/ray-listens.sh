#!/usr/bin/env bash
# One would guess that `ray start --head --node-ip-address=127.0.0.1` makes a node that only this machine reaches. What is: Ray takes the
# address that leads outward in its place, and its head and its daemon listen on every address of the machine. The flag changes what a
# node calls itself, and nothing about where it listens. With RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0, a switch that is
# documented for other systems, it stays on 127.0.0.1.
#
# Why it matters: whoever reaches these ports without a token being asked for can run any program on the machine, and
# next to sealing daemons that is where keys, tokens and sectors are. The way out: the variable for a head that others need not reach; a
# token (RAY_AUTH_MODE=token) and a firewall for one that they do; in any case a look at the sockets.
#
# Needs root: the node runs in a network of its own with a made-up outward address.
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
ip link add outward type veth peer name nowhere
ip addr add 10.9.8.7/24 dev outward
ip link set outward up; ip link set nowhere up
ip route add default dev outward

listening() { # where the head listens, and what it calls itself
    env "$@" PATH="$folder/venv/bin:$PATH" RAY_AUTH_MODE=disabled ray start --head --node-ip-address=127.0.0.1 --port=6390 \
        --include-dashboard=false --disable-usage-stats --temp-dir="$folder/r" > "$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
    echo "calls itself: $(grep -o 'Local node IP: [0-9.]*' "$folder/log" | head -n 1 | cut -d ' ' -f 4)"
    # 18F6 is 6390; twelve bytes of zeros in a row are "every address"
    if grep -qE '^ *[0-9]+: 0{32}:18F6 ' /proc/net/tcp6; then echo "head listens on: every address"; elif grep -qE "0100007F:18F6 " /proc/net/tcp /proc/net/tcp6; then echo "head listens on: 127.0.0.1"; else echo "head listens nowhere"; fi
    pkill -9 -f "$folder/r" || true # of this namespace of processes
    while pgrep -f "$folder/r" > /dev/null; do sleep 0.2; done
    rm -rf "$folder/r"
}
found=$(echo "as it comes"; listening A=b; echo "with the variable"; listening RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0)
echo "$found"
[ "$found" = "as it comes
calls itself: 10.9.8.7
head listens on: every address
with the variable
calls itself: 127.0.0.1
head listens on: 127.0.0.1" ] || { echo "Ray behaves otherwise now: see what of ours rests on it (stages/far/settings.py, confining)"; exit 1; }
