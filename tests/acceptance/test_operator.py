"""What an operator types first, on real daemons: how things stand, one sector, and what a doctor says."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from damocles.testing import farm


@pytest.fixture(scope="module")
def paused(tmp_path_factory: pytest.TempPathFactory) -> Iterator[farm.Farm]:
    """Yield a farm whose two threads are paused, since there are no parameters."""
    base = tmp_path_factory.mktemp("farm")
    with farm.Farm(base, threads=2, max_sectors=2, parameters=base / "none") as made:
        made.start_manager()
        made.start_worker()
        farm.wait_until(
            lambda: all(thread.thread_state.state == "Paused" for thread in made.all_threads()), "both threads pause"
        )
        yield made


def printed(*command: str, code: int = 0) -> str:
    """Return what a command prints, which ends with a code."""
    done = farm.cli(*command, check=False)
    assert code == done.returncode, done.stdout + done.stderr
    return done.stdout


def test_status_shows_what_needs_a_person(paused: farm.Farm) -> None:
    """The manager is found by its home, without its port: both threads and their common reason, and that the worker lives."""
    told = json.loads(printed("damocles-manager", "status", "--json"))
    assert ({"Paused": 2}, {"live": 1}) == (told["threads"]["doing"], told["workers"])
    (group,) = told["threads"]["paused"]
    assert ("C2 parameters missing (2KiB)", 2) == (group["why"], len(group["threads"]))
    told = json.loads(printed("damocles-worker", "status", "-c", str(paused.config), "--json"))
    assert ({"C1Done": 2}, False) == (told["threads"]["states"], told["drain"]["on"])
    assert "needs a person:" in printed("damocles-worker", "status", "-c", str(paused.config))


def test_a_sector_has_one_story(paused: farm.Farm) -> None:
    """Its thread, its record and each step; its log by its name alone; of one that nobody knows, exit code 3."""
    told = json.loads(printed("damocles-manager", "sector", "s-t010000-1", "--json"))
    assert (["s-t010000-1"], True) == ([one["info"]["job_id"] for one in told["threads"]], told["record"] is not None)
    assert "C1" in [entry["event"] for entry in told["history"]]
    assert "No cached parameters" in printed("damocles-manager", "logs", "s-t010000-1")
    assert "No cached parameters" in printed("damocles-worker", "logs", "s-t010000-1", "-c", str(paused.config))
    printed("damocles-manager", "sector", "s-t010000-9", code=3)
    listed = json.loads(printed("damocles-manager", "sectors", "--state", "C1Done", "--error", "parameters", "--json"))
    assert 2 == len(listed)
    assert [] == json.loads(printed("damocles-manager", "sectors", "--worker", "nobody-*", "--json"))


def test_a_doctor_asks_the_daemons_that_run(paused: farm.Farm) -> None:
    """It looks for parameters where the daemon does, not where this shell does; all else of both is well."""
    told = json.loads(printed("damocles-worker", "doctor", "-c", str(paused.config), "--json", code=1))["findings"]
    wrong = [one for one in told if one["level"] == "wrong"]
    assert [("parameters", True)] == [(one["about"], str(paused.parameters) in one["text"]) for one in wrong], wrong
    levels = {one["about"]: one["level"] for one in told}
    assert ("look", "ok", "ok", "ok") == tuple(levels[about] for about in ("daemon", "clock", "manager", "versions"))
    told = json.loads(printed("damocles-manager", "doctor", "--json"))["findings"]
    assert {"daemon", "workers", "database"} <= {one["about"] for one in told if one["level"] == "ok"}


def test_a_list_can_be_watched_by_a_program(paused: farm.Farm) -> None:
    """Whoever reads gets a line of JSON for each look; where there is no terminal and no JSON it is refused."""
    with (Path(paused.base) / "watched").open("wb+") as out:
        watching = subprocess.Popen(
            [farm.program("damocles-manager"), "workers", "--watch", "--json"], stdout=out, env=paused.env
        )
        try:
            lines = farm.wait_until(
                lambda: (found := Path(out.name).read_text().splitlines())[1:] and found, "two lines", every=0.2
            )
        finally:
            watching.terminate()
            watching.wait(30)
    assert ["test-worker"] == [one["info"]["Name"] for one in json.loads(lines[0])]
    printed("damocles-manager", "workers", "--watch", code=2)
