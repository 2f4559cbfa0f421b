"""Paused threads and dead workers do not go unnoticed: real daemons, a webhook, and the command line."""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from damocles.rpc.admission import tokens
from damocles.testing import farm
from damocles.testing.farm import Farm, cli, free_port, wait_until
from damocles.testing.webhooks import receiving

RULES = """\
interval = "1s"
lost_after = "8s"
rules.thread-paused.for = "1s"
rules.worker-unreachable.enabled = false
[[webhook]]
url = "{url}"
"""


def alerts(f: Farm, *command: str) -> Any:
    """Run a command of `damocles-manager alerts` and return the JSON that it prints."""
    done = cli("damocles-manager", "alerts", *command, "--json", "--listen", f"127.0.0.1:{f.manager_port}")
    return json.loads(done.stdout)


def firing(f: Farm) -> set[str]:
    """Return which rules fire about what."""
    return {f"{alert['rule']} {alert['subject']}" for alert in alerts(f, "list")["alerts"]}


def steer(f: Farm, *command: str) -> None:
    """Steer threads through the manager."""
    cli("damocles-manager", "util", "worker", *command, "--listen", f"127.0.0.1:{f.manager_port}")


def started(f: Farm, url: str) -> None:
    """Start a manager with short times, and a worker with metrics."""
    (f.base / "manager").mkdir()
    (f.base / "manager" / "alerts.toml").write_text(RULES.format(url=url))
    f.start_manager()
    f.start_worker()


@pytest.mark.timeout(400)
def test_paused_threads_are_told_acknowledged_and_resolved(tmp_path: Path) -> None:
    """Missing parameters and pauses alert within seconds; what is mended is resolved, and everybody hears of it."""
    parameters = tmp_path / "parameters"
    parameters.mkdir()
    with receiving() as receiver, Farm(tmp_path, threads=2, parameters=parameters, max_sectors=1) as f:
        started(f, receiver.url)
        (stuck,) = wait_until(
            lambda: [t.index for t in f.all_threads() if t.thread_state.state == "Paused"],
            "a thread pauses for want of parameters",
            60,
        )
        idle = 1 - stuck
        steer(f, "pause", "test-worker", str(idle), "--reason", "a test")
        expected = {
            "parameters-missing test-worker",
            "thread-paused test-worker #0",
            "thread-paused test-worker #1",
        }
        wait_until(lambda: expected == firing(f), "both pauses and the missing parameters are told")
        listed = {(a["rule"], a.get("index")): a for a in alerts(f, "list")["alerts"]}
        assert "No cached parameters" in listed["parameters-missing", None]["text"]
        assert f"resume test-worker {idle}" in listed["thread-paused", idle]["text"]

        number = listed["thread-paused", idle]["id"]
        acknowledged = alerts(f, "ack", str(number), "--note", "back after lunch")
        assert ("local", "back after lunch") == (acknowledged["acknowledged_by"], acknowledged["note"])
        table = cli("damocles-manager", "alerts", "list", "--listen", f"127.0.0.1:{f.manager_port}").stdout
        assert "local (back after lunch)" in table

        at = ("--listen", f"127.0.0.1:{f.manager_port}")
        for code, said, command in (
            (1, "there is no open alert 999; open ones: ", ("ack", "999")),
            (1, "there is no rule 'nosuch'; there are: thread-paused, ", ("mute", "--rule", "nosuch", "--for", "1h")),
            (2, "pass either the number of an alert or --rule", ("unmute",)),
        ):
            refused = cli("damocles-manager", "alerts", *command, *at, check=False)
            assert (code, "", 1) == (refused.returncode, refused.stdout, len(refused.stderr.splitlines()))
            assert said in refused.stderr

        steer(f, "resume", "test-worker", str(idle))
        wait_until(lambda: f"thread-paused test-worker #{idle}" not in firing(f), "the resumed thread is resolved")
        steer(f, "abort", "test-worker", str(stuck), "--yes")
        wait_until(lambda: not firing(f), "the given-up sector is resolved")
        wait_until(lambda: len(receiver.told()) == 6, "the webhook has heard everything")
        assert {f"{event} {what}" for event in ("firing", "resolved") for what in expected} == set(receiver.told())
        resolved = {a["rule"] for a in alerts(f, "list", "--all")["alerts"] if a["state"] == "resolved"}
        assert {"parameters-missing", "thread-paused"} <= resolved


@pytest.mark.timeout(400)
def test_a_killed_worker_is_late_then_lost(tmp_path: Path) -> None:
    """A worker that is killed with SIGKILL is told as late after some pings, then as lost, and resolved when it is back."""
    with receiving() as receiver, Farm(tmp_path, threads=1, parameters=tmp_path, max_sectors=0) as f:
        started(f, receiver.url)
        pings = 'damocles_manager_api_request_duration_ms_count{api="",endpoint="Venus.WorkerPing"} '
        wait_until(
            lambda: any(line.startswith(pings) and int(line.split()[-1]) >= 5 for line in scraped(f).splitlines()),
            "the manager knows how often the worker pings",
        )
        assert f.worker is not None
        farm.stop(f.worker, kill=True)
        wait_until(lambda: firing(f) == {"worker-late test-worker"}, "it is late")
        wait_until(lambda: firing(f) == {"worker-lost test-worker"}, "it is lost")
        f.start_worker()
        wait_until(lambda: not firing(f), "it is back")
        expected = [
            "firing worker-late test-worker",
            "firing worker-lost test-worker",
            "resolved worker-lost test-worker",
        ]
        wait_until(lambda: len(receiver.told()) == 3, "the webhook has heard everything")
        assert expected == receiver.told()


def scraped(f: Farm) -> str:
    """Read the manager's metrics."""
    token = tokens.read_file(f.base / "manager" / "token")
    answer = httpx2.get(
        f"http://127.0.0.1:{f.manager_port}/metrics", headers={"authorization": f"Bearer {token}"}, timeout=10
    )
    assert answer.status_code == 200
    return answer.text


@pytest.mark.timeout(400)
def test_a_worker_at_work_tells_its_metrics(tmp_path: Path) -> None:
    """With `metrics.enable` any path of the listener answers the original's names and ours, to who has a token."""
    port = free_port()
    with Farm(tmp_path, threads=1, parameters=tmp_path, max_sectors=1) as f:
        f.config.write_text(f.config.read_text() + f'\n[metrics]\nenable = true\nhttp_listen = "127.0.0.1:{port}"\n')
        f.start_manager()
        f.start_worker()
        wait_until(lambda: f.thread(0).thread_state.state == "Paused", "the thread pauses for want of parameters", 60)
        url = f"http://127.0.0.1:{port}/whatever"
        token = {"authorization": f"Bearer {tokens.read_file(tmp_path / 'worker' / 'token')}"}
        assert 401 == httpx2.get(url, timeout=10).status_code
        assert 405 == httpx2.post(url, headers=token, timeout=10).status_code
        text = httpx2.get(url, headers=token, timeout=10).text
        labels = 'worker_name="test-worker",worker_ip="127.0.0.1"'
        for line in (
            f'rpc_call{{{labels},method="allocate_sector"}} 1',
            f'rpc_error{{{labels},method="submit_pre_commit"}} 0',
            f'rpc_timing_count{{{labels},method="assign_ticket"}} 1',
            f"task_threads_pause{{{labels}}} 1",
            f'damocles_worker_threads{{{labels},state="Paused",reason="error"}} 1',
            f'damocles_worker_sectors{{{labels},state="C1Done"}} 1',
            f'damocles_worker_threads_with_error{{{labels},level="permanent"}} 1',
            f'damocles_worker_stage_seconds_count{{{labels},stage="pc1"}} 1',
            f'damocles_worker_stage_failures_total{{{labels},stage="c2"}} 1',
            f'damocles_worker_slots{{{labels},stage="c2"}} 1',
        ):
            assert line in text.splitlines()
        assert "worker_ping" not in text
        assert f'damocles_worker_store_free_bytes{{{labels},kind="persist",store="persist"}} ' in text
