#!/usr/bin/env bash
# One would guess that a node of Ray starts more slowly on a machine that computes, no worse, and that RAY_agent_register_timeout_ms (100 seconds) is the setting for that. What
# is: before it registers with the head, the raylet waits for its agents, programs in Python, to write down the ports that they have chosen, for 15 seconds,
# which no setting changes; then it aborts, and `ray start` fails. Here an agent gets no core for a while (SIGSTOP), on a machine without load. `ray start` has options for all four
# ports, and one would guess that the raylet does not wait then. It does: --dashboard-agent-listen-port reaches the agent alone, though the raylet has an argument
# for it. If that is added to the raylet's own command, the node starts while the agent stands still.
#
# Why it matters: the machines that stages of sectors are sent to compute all day long. After a restart of a node, PC1 and PC2 of other threads have the
# cores, importing the agent takes longer than 15 seconds, and the machine does not come back into the cluster, however often one tries.
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
export RAY_AUTH_MODE=disabled RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 RAY_USAGE_STATS_ENABLED=0

cat > "$folder/told.py" <<'END' # `ray`, whose raylet is told that port, too
import sys

from ray._private import ray_constants, services
from ray.scripts.scripts import main

start = services.start_ray_process


def told(command, kind, *rest, **more):
    more_of_it = ["--dashboard_agent_listen_port=6393"] if kind == ray_constants.PROCESS_TYPE_RAYLET else []
    return start(command + more_of_it, kind, *rest, **more)


services.start_ray_process = told
sys.argv[0] = "ray"
main()
END

starting() { # what becomes of a raylet whose agent stands still from its first moment; "$@": `ray`, and further options of its `start`
    ray=$1; shift
    "$folder/venv/bin/python" "$ray" start --head --node-ip-address=127.0.0.1 --port=6390 --num-cpus=1 --include-dashboard=false \
        --no-monitor --include-log-monitor=false --temp-dir="$folder/r" "$@" > "$folder/log" 2>&1 & started=$!
    until agent=$(pgrep -o -f '^[^ ]*/bin/python[^ ]* .*dashboard/agent.py'); do
        kill -0 $started 2> /dev/null || { cat "$folder/log"; exit 1; } # it has not come that far: the machine is busy with other things
        sleep 0.1
    done
    kill -STOP "$agent"
    for _ in $(seq 25); do pgrep -f '^[^ ]*raylet/raylet ' > /dev/null || break; sleep 1; done
    if pgrep -f '^[^ ]*raylet/raylet ' > /dev/null; then echo "raylet runs"; else
        echo "raylet aborts: $(grep -hoE 'Timed out waiting for file .*/[a-z_]+_port' "$folder/r/session_latest/logs/raylet.err" | head -n 1 | sed 's|/.*/||')"
    fi
    pkill -9 -f "$folder/r" || true # of this namespace of processes
    while pgrep -f "$folder/r" > /dev/null; do sleep 0.2; done
    rm -rf "$folder/r"
}
ports="--metrics-export-port=6391 --dashboard-agent-grpc-port=6392 --dashboard-agent-listen-port=6393 --runtime-env-agent-port=6394"
export RAY_agent_register_timeout_ms=600000
found=$(
    "$folder/venv/bin/ray" --version
    echo "as it comes"; starting "$folder/venv/bin/ray"
    echo "with the ports"; starting "$folder/venv/bin/ray" $ports
    echo "with the ports, and the raylet told"; starting "$folder/told.py" $ports
)
echo "$found"
[ "$found" = "ray, version 2.60.0
as it comes
raylet aborts: Timed out waiting for file metrics_agent_port
with the ports
raylet aborts: Timed out waiting for file dashboard_agent_listen_port
with the ports, and the raylet told
raylet runs" ] || { echo "Ray behaves otherwise now: see what of ours rests on it (stages/far/starting.py)"; exit 1; }
