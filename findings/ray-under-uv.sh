#!/usr/bin/env bash
# One would guess that the command that a program was started with is nobody's business but its own. What is: a driver of Ray that has `uv run`
# anywhere among its ancestors packs the folder that it was started in, and sends it to the cluster; and it asks every node to start its
# workers there with that very command. A node where this cannot be run (no uv, no way to a package index) starts none: the
# driver's tasks are pending, and nothing that it calls says why. With RAY_ENABLE_UV_RUN_RUNTIME_ENV=0 in the driver's environment nothing is sent, and the workers are the
# node's own.
#
# Why it matters: a sealing daemon that is started as `uv run damocles-worker ...`, by hand or in a unit, may stand in a folder with
# gigabytes, or with tokens; and it sends its stages to machines that have no uv: they wait for a machine that seems to be busy.
#
# Needs root: the node runs in a network of its own.
set -euo pipefail
if [ "${1:-}" != inside ]; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/pip" install -q ray==2.60.0 uv==0.9.13
    mkdir "$folder/uv" && mv "$folder"/venv/bin/uv* "$folder/uv" # on the driver's path alone, as on another machine
    unshare -n -p -f --mount-proc --kill-child "$BASH" "$0" inside "$folder"
    exit
fi
folder=$2
ip link set lo up
mkdir "$folder/project" && cd "$folder/project"
cat > driver.py <<'END'
import ray

ray.init(address="127.0.0.1:6390", logging_level="ERROR", log_to_driver=False)
worker = ray.remote(lambda: "done")
try:
    print("task:", ray.get(worker.remote(), timeout=60))
except ray.exceptions.GetTimeoutError:
    print("task: nothing for a minute")
asked = ray.get_runtime_context().runtime_env
print("workers are started with:", asked.get("py_executable", "their own python").split(" --")[0])
print("folder is sent:", asked.get("working_dir", "no").split("_ray_pkg")[0])
END
export RAY_AUTH_MODE=disabled RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 RAY_USAGE_STATS_ENABLED=0 VIRTUAL_ENV="$folder/venv" UV_OFFLINE=1
PATH="$folder/venv/bin:$PATH" ray start --head --node-ip-address=127.0.0.1 --port=6390 --num-cpus=1 \
    --include-dashboard=false --temp-dir="$folder/r" > "$folder/log" 2>&1 || { cat "$folder/log"; exit 1; }
run() { env "$@" PATH="$folder/uv:$PATH" uv run -q --no-project --active sh -c "'$folder/venv/bin/python' driver.py && true"; }
found=$(echo "as it comes"; run A=b; echo "with the variable"; run RAY_ENABLE_UV_RUN_RUNTIME_ENV=0)
echo "$found"
[ "$found" = "as it comes
task: nothing for a minute
workers are started with: uv run -q
folder is sent: gcs://
with the variable
task: done
workers are started with: their own python
folder is sent: no" ] || { echo "Ray behaves otherwise now: see what of ours rests on it (stages/far/settings.py, _OWN_PROGRAMS)"; exit 1; }
