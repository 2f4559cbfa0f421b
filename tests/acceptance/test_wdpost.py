"""Window PoSt by real processes: real sectors, real proofs, damaged files, hanging disks, a manager that goes away."""

import contextlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from damocles.stores import identity
from damocles.testing import farm
from damocles.testing.farm import Farm, cli, wait_until
from damocles.wire import wdpost

SECTORS = 4  # two partitions of two
POST_THREAD = SECTORS


def start(f: Farm) -> None:
    """Start a farm whose worker seals `SECTORS` sectors and has a thread for window PoSts beside."""
    config = f.config.read_text().replace("[[attached]]", '[[sealing_thread]]\nplan = "wdpost"\n\n[[attached]]')
    f.config.write_text(config)
    f.start_manager("--block-delay", "1s")  # each epoch has a challenge of its own
    f.start_worker()
    wait_until(
        lambda: all("No cached parameters" in (f.thread(index).last_error or "") for index in range(SECTORS)),
        "all sectors are persisted",
    )


def make(f: Farm) -> list[str]:
    """Let the manager make jobs; return their ids."""
    with f.manager_client() as manager:
        return [job.id for job in manager.call("Damocles.MockWdPoSt", [], returns=list[wdpost.Brief])]


def jobs(f: Farm) -> dict[str, wdpost.Brief]:
    """Return all jobs by id."""
    return {job.id: job for job in f.ask_manager("WdPoStAllJobs", [], wdpost.Listed).jobs}


def finished(f: Farm, *ids: str) -> dict[str, wdpost.Brief]:
    """Wait until jobs are finished, and return all."""

    def found() -> dict[str, wdpost.Brief] | None:
        known = jobs(f)
        return known if all(known[i].state is wdpost.State.FINISHED for i in ids) else None

    done: dict[str, wdpost.Brief] = wait_until(found, "the jobs are finished", 90)
    return done


@pytest.mark.params
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_partitions_are_proved_and_faults_are_named(tmp_path, wdpost_parameters):
    """Whole partitions are proved; a damaged and a hanging sector are named with a reason, and the rest is proved."""
    sealing = 'wdpost_sector_timeout = "1s"\nwdpost_heartbeat_interval = "200ms"'
    with Farm(tmp_path, threads=SECTORS, parameters=wdpost_parameters, sealing=sealing, max_sectors=SECTORS) as f:
        start(f)
        whole = make(f)
        done = finished(f, *whole)
        assert [(2, 0, "", 1)] * 2 == [(done[i].sectors, done[i].faults, done[i].error, done[i].tries) for i in whole]
        wait_until(lambda: f.thread(POST_THREAD).job_id is None, "the thread is free of its job")
        post = f.thread(POST_THREAD)
        assert ("-", "wdpost", None) == (post.location, post.plan, post.job_id)

        sealed = tmp_path / "persist" / "sealed"
        (sealed / "s-t010000-1").write_bytes(bytes(2048))
        (sealed / "s-t010000-4").unlink()
        os.mkfifo(sealed / "s-t010000-4")  # whoever opens it waits for ever
        damaged, hanging = make(f)
        found = finished(f, damaged, hanging)
        assert [1, 1] == [found[i].faults for i in (damaged, hanging)]
        reasons = {
            n: reason for i in (damaged, hanging) for n, reason in (found[i].output or no_output()).reasons.items()
        }
        assert {
            "1": "its files do not match its commitment",
            "4": f"{sealed}/s-t010000-4 or its cache was not read within 1 s",
        } == reasons
        follow = [i for i in found if i not in {*whole, damaged, hanging}]
        rest = finished(f, *follow)
        assert [(1, 0, "")] * 2 == [(rest[i].sectors, rest[i].faults, rest[i].error) for i in follow]

        listed = cli("damocles-manager", "util", "worker", "wdpost", "list", "--listen", f"127.0.0.1:{f.manager_port}")
        lines = listed.stdout.splitlines()
        assert len(lines) == 3, "those that were proved are hidden"
        assert all("Faults(1)" in line for line in lines[1:])


def no_output() -> wdpost.Output:
    """Return what a job without a result has."""
    return wdpost.Output(None, None)


@pytest.mark.params
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_result_waits_for_the_manager(tmp_path, wdpost_parameters):
    """A proof that is made while the manager is dead is delivered when it is back, and costs no second try."""
    sealing = 'wdpost_heartbeat_interval = "200ms"'
    with Farm(tmp_path, threads=SECTORS, parameters=wdpost_parameters, sealing=sealing, max_sectors=SECTORS) as f:
        start(f)
        ids = make(f)
        wait_until(lambda: any(job.state is wdpost.State.RUNNING for job in jobs(f).values()), "a job is lent")
        assert f.manager is not None
        farm.stop(f.manager, kill=True)
        wait_until(lambda: f.thread(POST_THREAD).job_state == "Generated", "the proof is made", 60)
        f.start_manager()
        done = finished(f, *ids)
        assert [("", 1)] * 2 == [(done[i].error, done[i].tries) for i in ids]


@pytest.mark.params
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_unfit_workers_cost_no_window_post(tmp_path, wdpost_parameters):
    """One that lost its mount asks for nothing and shows why; one that does not know leaves its jobs to a healthy one."""
    sealing = 'wdpost_heartbeat_interval = "200ms"'
    with (
        Farm(tmp_path, threads=SECTORS, parameters=wdpost_parameters, sealing=sealing, max_sectors=SECTORS) as f,
        contextlib.ExitStack() as stack,
    ):
        start(f)
        (tmp_path / "nothing").mkdir()
        mount = tmp_path / "mount"
        mount.mkdir()
        identity.Memory(tmp_path / "lost").admit(mount)
        shutil.rmtree(mount)
        mount.mkdir()
        blind = f"""
            [[processors.window_post]]
            bin = "{farm.program("damocles-worker")}"
            args = ["processor", "window_post"]
            envs = {{ FIL_PROOFS_PARAMETER_CACHE = "{tmp_path}/nothing" }}
            """
        for name, persist, more in (("lost", "mount", ""), ("blind", "persist", blind)):
            stack.callback(farm.stop, start_prover(f, name, tmp_path / persist, more))

        for _ in range(3):
            ids = make(f)
            done = finished(f, *ids)
            assert [("", 0, "test-worker")] * 2 == [(done[i].error, done[i].faults, done[i].worker) for i in ids]
        tried = {failure.worker for job in jobs(f).values() for failure in job.failures or ()}
        assert {"blind"} == tried

        errors = {thread["worker"]: thread["info"]["last_error"] for thread in provers(f)}
        assert "is not the store that was there before" in errors["lost"]
        assert "No cached parameters found" in errors["blind"]


def start_prover(f: Farm, name: str, persist: Path, more: str) -> "subprocess.Popen[bytes]":
    """Start another worker of the farm that makes window PoSts, with further lines in its configuration."""
    file = f.base / f"{name}.toml"
    file.write_text(
        f"""
        [worker]
        name = "{name}"
        home = "{f.base}/{name}"
        ping_interval = "1s"
        rpc_server.port = {farm.free_port()}
        [sector_manager]
        rpc_client.addr = "/ip4/127.0.0.1/tcp/{f.manager_port}"
        token_file = "{f.base}/manager/worker-token"
        [sealing]
        allowed_sizes = ["2KiB"]
        recover_interval = "500ms"
        seal_interval = "500ms"
        [[sealing_thread]]
        plan = "wdpost"
        [[attached]]
        name = "persist"
        location = "{persist}"
        {more}
        """
    )
    return f.start(f"{name}.log", {}, "damocles-worker", "daemon", "-c", str(file))


def provers(f: Farm) -> list[dict[str, Any]]:
    """Return the threads for window PoSts, as the manager's command line shows them."""
    at = ("--listen", f"127.0.0.1:{f.manager_port}", "--json")
    shown = cli("damocles-manager", "util", "worker", "info", "--all", "--plan", "wdpost", *at, check=False)
    found: list[dict[str, Any]] = json.loads(shown.stdout)["threads"]
    return found


def test_an_idle_thread_changes_its_plan(tmp_path):
    """A thread with a store that waits for work takes up window PoSts, and sealing again, when its own file says so."""
    with Farm(tmp_path, threads=1, parameters=tmp_path, max_sectors=0, seal_interval="500ms") as f:
        f.start_manager()
        f.start_worker()
        for plan in ("wdpost", "sealer", "wdpost"):
            (f.stores[0] / "config.toml").write_text(f'plan = "{plan}"\n')
            wait_until(lambda: f.thread(0).plan == plan, f"the plan is {plan}")  # noqa: B023
