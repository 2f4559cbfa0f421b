"""Window PoSt by real processes: real sectors, real proofs, damaged files, hanging disks, a manager that goes away."""

import os

import pytest

from damocles.testing import farm
from damocles.testing.farm import Farm, cli, wait_until
from damocles.wire import wdpost

SECTORS = 4  # two partitions of two
POST_THREAD = SECTORS


def start(f: Farm) -> None:
    """Start a farm whose worker seals `SECTORS` sectors and has a thread for window PoSts beside."""
    config = f.config.read_text().replace("[[attached]]", '[[sealing_thread]]\nplan = "wdpost"\n\n[[attached]]')
    f.config.write_text(config)
    f.start_manager()
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
            "1": "its files do not fit its commitment",
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


def test_an_idle_thread_changes_its_plan(tmp_path):
    """A thread with a store that waits for work takes up window PoSts, and sealing again, when its own file says so."""
    with Farm(tmp_path, threads=1, parameters=tmp_path, max_sectors=0, seal_interval="500ms") as f:
        f.start_manager()
        f.start_worker()
        for plan in ("wdpost", "sealer", "wdpost"):
            (f.stores[0] / "config.toml").write_text(f'plan = "{plan}"\n')
            wait_until(lambda: f.thread(0).plan == plan, f"the plan is {plan}")  # noqa: B023
