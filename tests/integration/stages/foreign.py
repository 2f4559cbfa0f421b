"""A processor as somebody else would write it: a script that knows the original's protocol, and how to misbehave.

Usage: foreign.py STAGE [--threads] [--knows-extensions]. A task is `{"do": …}` with the arguments of that deed.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

write_lock = threading.Lock()


def put(line: str) -> None:
    """Write a line whole."""
    with write_lock:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def work(request: dict[str, Any]) -> None:
    """Do one task."""
    number, task = request["id"], request["task"]
    output: object = True
    match task["do"]:
        case "echo":
            output = task["value"]
        case "env":
            output = dict(os.environ)
        case "seen":
            output = request
        case "pid":
            output = os.getpid()
        case "big":
            output = "x" * task["bytes"]
        case "wait":
            Path(task["started"]).touch()
            while not Path(task["until"]).exists():
                time.sleep(0.01)
        case "elsewhere":
            put(json.dumps({"id": number, "at": {"host": "gpu1", "pid": 4711}}))
            put(json.dumps({"id": number, "log": "hot today"}))
            put(json.dumps({"id": number, "err_msg": "gpu1 is lost", "output": None, "lost": True}))
            return
        case "chat":
            put("loading the kernel: 50%")
            put('{"level":"info","message":"fast"}')
        case "garble":
            put(f'{{"id":{number},"err_msg":null,"outp')
            return
        case "misname":
            number += 1000
        case "fail":
            put(json.dumps({"id": number, "err_msg": task["text"], "output": None}))
            return
        case "null":
            output = None
        case "complain":
            sys.stderr.write(task["text"] + "\n")
            sys.stderr.flush()
        case "exit":
            sys.stderr.write("out of luck\n")
            sys.stderr.flush()
            os._exit(task["code"])
        case "close":
            os.close(1)
            time.sleep(1000)
        case "stubborn":
            # Ignores SIGTERM and has a grandchild that holds the pipes.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            grandchild = subprocess.Popen(["sleep", "1000"])
            Path(task["started"] + ".part").write_text(f"{os.getpid()} {grandchild.pid}")
            Path(task["started"] + ".part").rename(task["started"])
            time.sleep(1000)
    put(json.dumps({"id": number, "err_msg": None, "output": output}))


def main() -> None:
    """Serve until stdin ends."""
    stage, options = sys.argv[1], sys.argv[2:]
    if ready := os.environ.get("FIRST_LINE"):
        stage = ready
    if (crashes := os.environ.get("CRASH_WHILE")) and Path(crashes).exists():
        sys.stderr.write("no GPU here\n")
        sys.exit(3)
    put(f"{stage} processor ready")
    if code := os.environ.get("EXIT_WHEN_READY"):
        os._exit(int(code))
    for line in sys.stdin:
        request = json.loads(line)
        if request.get("cancel"):
            put(json.dumps({"id": request["id"], "err_msg": "cancelled", "output": None}))
            continue
        if "--knows-extensions" in options:
            put(json.dumps({"id": request["id"], "progress": {"done": 1, "total": 2}}))
            put(json.dumps({"id": request["id"], "log": "half way"}))
        if "--threads" in options:
            threading.Thread(target=work, args=(request,), daemon=True).start()
        else:
            work(request)


main()
