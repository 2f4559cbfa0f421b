"""A machine's node of a Ray cluster: what belongs to it, where it listens, with which settings it is started. Ray does not run here."""

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from damocles.stages.far import node, starting

START = node.Start(listen="10.0.0.1", token_file=Path("/srv/token"))
# Joins a cluster, so that no port of this machine has to be free.
HERE = node.Start(listen="127.0.0.1", address="127.0.0.1:6379", token_file=Path("/srv/token"))


@pytest.mark.parametrize(
    ("host", "family", "is_open"),
    [("127.0.0.1", socket.AF_INET, False), ("0.0.0.0", socket.AF_INET, True), ("::1", socket.AF_INET6, False)],
)
def test_sockets_are_seen_with_who_reaches_them(host: str, family: socket.AddressFamily, is_open: bool) -> None:
    """A listening socket of a process is found with its address and port, and whether other machines reach it."""
    with socket.create_server((host, 0), family=family) as server:
        port = server.getsockname()[1]
        (found,) = [each for each in node.sockets([os.getpid()]) if each.port == port]
        assert (found.host, found.is_open, found.pid) == (host, is_open, os.getpid())


def test_down_ends_what_has_the_mark_and_nothing_else() -> None:
    """Processes are found by the node's mark, children with sessions of their own too; one that ignores SIGTERM is killed."""
    stubborn = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(1, flush=True)
time.sleep(600)
"""
    groups = [
        subprocess.Popen([sys.executable, "-c", stubborn], env={**os.environ, node.MARK: mark}, stdout=subprocess.PIPE)
        for mark in ("this", "other")
    ]
    try:
        for group in groups:
            assert group.stdout is not None
            assert group.stdout.readline() == b"1\n"
        this, other = (node.processes(mark) for mark in ("this", "other"))
        assert len(this) == len(other) == 2
        assert node.down("this") == 2
        assert not [pid for pid in this if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]
        assert node.processes("other") == other
        assert node.down("this") == 0
    finally:
        node.down("other")
        for group in groups:
            assert group.stdout is not None
            group.stdout.close()
            group.wait()


TRACEBACK = """
import subprocess, sys
subprocess.Popen(["sleep", "600"], start_new_session=True)
print("Traceback (most recent call last):")
print('  File "ray/_private/node.py", line 440, in __init__')
sys.exit({words!r})
"""


@pytest.mark.parametrize(
    ("words", "tries", "told"),
    [
        (
            "Exception: The current node timed out during startup. This could happen",
            3,
            "Ray does not start, 3 times: this machine is too busy now, or the head cannot be reached; nothing of it is left"
            " running, run the command again (The current node timed out during startup. This could happen)",
        ),
        (
            "RuntimeError: Timed out waiting for node info for node_id=1.",
            3,
            "Ray does not start, 3 times: this machine",
        ),
        ("ValueError: no such option", 1, "Ray does not start: no such option"),
    ],
)
def test_a_node_that_does_not_start_is_one_line_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, words: str, tries: int, told: str
) -> None:
    """What is slow is tried again; then the reason is said, without the traceback, and no process of the node is left."""
    tried = tmp_path / "tried"
    code = f"open({str(tried)!r}, 'a').write('x')\n{TRACEBACK.format(words=words)}"
    monkeypatch.setattr(node.Start, "command", lambda _, **__: [sys.executable, "-c", code])
    with pytest.raises(node.Failed) as failure:
        node.up(HERE)
    assert str(failure.value).startswith(told)
    assert "\n" not in str(failure.value)
    assert (tries, []) == (len(tried.read_text()), node.processes(HERE.mark))


def test_a_node_that_does_not_come_up_in_time_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A start that hangs is ended, and counts as slow."""
    monkeypatch.setattr(node, "_START_SECONDS", 0.2)
    monkeypatch.setattr(node.Start, "command", lambda _, **__: ["sleep", "600"])
    with pytest.raises(node.Failed, match=r"Ray does not start, 3 times: .* \(timed out after 0.2s\)"):
        node.up(HERE)
    assert [] == node.processes(HERE.mark)


NODE = """
import subprocess, sys
raylet = "import time; open('/proc/self/comm', 'w').write('raylet'); print(flush=True); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", raylet], start_new_session=True, stdout=subprocess.PIPE).stdout.readline()
"""


def test_who_attends_a_node_is_told_what_of_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node is over as soon as its daemon is; one that has none is over at once."""
    monkeypatch.setattr(node.Start, "command", lambda _, **__: [sys.executable, "-c", NODE])
    try:
        node.up(HERE)
        ended: list[str] = []
        attending = threading.Thread(target=lambda: ended.append(node.attend(HERE.mark)))
        attending.start()
        (raylet,) = node.processes(HERE.mark)
        assert attending.is_alive()
        os.kill(raylet, signal.SIGKILL)
        attending.join(60)
        assert ["raylet"] == ended
        assert "raylet" == node.attend(HERE.mark)
    finally:
        node.down(HERE.mark)


def test_a_token_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    """The token is long, is readable for its owner alone, and stays when there is one."""
    file = tmp_path / "ray" / "token"
    assert node.make_token(file)
    token = file.read_text()
    assert not node.make_token(file)
    assert (file.read_text(), file.stat().st_mode & 0o777, len(token)) == (token, 0o600, 64)


def test_a_node_asks_for_the_token_and_tells_nobody_of_itself() -> None:
    """Authentication is said in words, not left to what Ray finds; usage statistics are off; stages are as urgent as all else."""
    env = START.environment
    assert (env["RAY_AUTH_MODE"], env["RAY_AUTH_TOKEN_PATH"]) == ("token", "/srv/token")
    assert (env["RAY_USAGE_STATS_ENABLED"], env["RAY_worker_niceness"]) == ("0", "0")
    assert env[node.MARK] != node.Start(listen="10.0.0.1").environment[node.MARK]


def test_a_loopback_node_stays_on_it() -> None:
    """Ray takes another address in place of 127.0.0.1, unless this variable is set."""
    loopback = node.Start(listen="127.0.0.1", token_file=None).environment
    assert (loopback["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"], loopback["RAY_AUTH_MODE"]) == ("0", "disabled")
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in START.environment


def test_a_node_is_told_the_ports_of_its_agents() -> None:
    """Ray's daemon would wait for them to choose, and end after 15 seconds, which is too short on a machine that computes."""
    said = dict(each.split("=", 1) for each in START.command() if each.startswith("--") and "-port=" in each)
    own = {said[f"--{name}-port"] for name in ("metrics-export", "dashboard-agent-grpc", "runtime-env-agent")}
    assert 4 == len(own | {said["--dashboard-agent-listen-port"]})
    assert all(0 < int(port) < 1 << 16 for port in own)


def test_the_daemon_is_told_where_the_agent_listens() -> None:
    """Ray tells its daemon three of the four ports; the fourth is added to what is started as the daemon, and to nothing else."""
    begun: list[tuple[list[str], str, bool]] = []

    def start(command: list[str], process_type: str, *, fate_share: bool) -> str:
        begun.append((command, process_type, fate_share))
        return "process"

    given = START.command()
    (port,) = [each.removeprefix(starting.LISTEN_PORT) for each in given if each.startswith(starting.LISTEN_PORT)]
    told = starting.telling(start, "raylet", given)
    assert "process" == told(["raylet/raylet"], "raylet", fate_share=True)
    told(["gcs/gcs_server"], "gcs_server", fate_share=False)
    assert [
        (["raylet/raylet", f"--dashboard_agent_listen_port={port}"], "raylet", True),
        (["gcs/gcs_server"], "gcs_server", False),
    ] == begun


def test_resources_are_said_in_rays_words() -> None:
    """GPUs, cores and memory have options of their own; other names are custom resources."""
    start = node.Start(
        listen="10.0.0.2", address="10.0.0.1:6379", resources={"GPU": 1, "CPU": 4, "memory": 1e9, "big": 2}
    )
    command = start.command()
    assert {"--num-gpus=1", "--num-cpus=4", "--memory=1000000000", '--resources={"big": 2}'} <= set(command)
    assert "--address=10.0.0.1:6379" in command
    assert "--head" not in command
