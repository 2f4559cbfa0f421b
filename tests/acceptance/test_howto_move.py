"""The commands of `docs/how-to/move-sectors.md`, section by section, with real workers and managers."""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from damocles.testing.farm import HOME_VARIABLE, Farm, program, wait_until
from damocles.wire.sectors import SectorID

from . import plan_farms
from .plan_farms import SECTOR

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "move-sectors.md"
ORIGINAL = ROOT / "tests" / "golden" / "manager" / "sector-states-original.jsonl"


def commands(title: str) -> Iterator[list[str]]:
    """Yield the commands of a section."""
    section = next(part for part in PAGE.read_text().split("\n## ")[1:] if part.startswith(title))
    for block in re.findall(r"```console\n(.*?)```", section, re.DOTALL):
        yield from (shlex.split(line[2:]) for line in block.splitlines() if line.startswith("$ "))


def run(command: list[str], f: Farm) -> str:
    """Run a command on a machine: in its folder, for its manager."""
    name, *arguments = command
    here = ["--listen", f"127.0.0.1:{f.manager_port}"] if name == "damocles-manager" else []
    env = {**f.env, HOME_VARIABLE: str(f.base / "manager")}
    executable = program(name) if name.startswith("damocles-") else name
    done = subprocess.run(
        [executable, *arguments, *here], cwd=f.base, env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


@contextmanager
def machine(like: Farm, name: str) -> Iterator[Farm]:
    """Yield another machine for the same manager, without a sealing store."""
    other = like.moved(like.base.parent / name, name)
    shutil.rmtree(other.stores[0])
    try:
        yield other
    finally:
        if other.worker is not None:
            plan_farms.stop_worker(other)


def resumed(f: Farm, error: str) -> None:
    """Resume the thread, and wait until it pauses again with an error."""
    paused = f.events(0).count("Failed")
    wait_until(lambda: f.resume(0), "the thread is paused and resumed")
    wait_until(lambda: f.events(0).count("Failed") > paused, "the thread has tried again")
    plan_farms.paused_with(f, error)


@pytest.mark.timeout(400)
def test_the_page_moves_stores_and_states(tmp_path, no_parameters):
    """A store goes on from where it was on two more machines and under another manager, and is refused where it was left."""
    fields: dict[str, Any] = {"threads": 1, "parameters": no_parameters, "max_sectors": 1}
    with Farm(tmp_path / "gpu-1", name="gpu-1", **fields) as old:
        plan_farms.start_manager(old)
        old.start_worker()
        plan_farms.paused_with(old, "No cached parameters")
        plan_farms.stop_worker(old)

        with machine(old, "gpu-2") as second:
            for command in commands("A sealing store"):
                if "daemon" in command:
                    second.start_worker()
                    plan_farms.paused_with(second, "No cached parameters")
                else:
                    said = run(command, old)
            assert "sector_id=Some(s-t010000-1)" in said
            resumed(second, "No cached parameters")
            assert second.events(0).count("PC1") == 1
            plan_farms.stop_worker(second)
            old.start_worker()
            resumed(old, "attempt 1 at s-t010000-1 is over")
            plan_farms.stop_worker(old)

            with machine(old, "gpu-3") as third:
                for command in commands("A sector and its history"):
                    run(command, second)
                assert second.history(0) == third.history(0)
                third.start_worker()
                resumed(third, "No cached parameters")
                assert third.events(0).count("PC1") == 1
                plan_farms.stop_worker(third)
                other_manager(old, third, fields)


def other_manager(old: Farm, worker: Farm, fields: dict[str, Any]) -> None:
    """Move the states, then let the worker go on under the new manager; bring records of the original beside them."""
    (file,) = (command[-1] for command in commands("The states") if "export" in command)
    with Farm(old.base.parent / "new", name="gpu-3", **fields) as new:
        plan_farms.start_manager(new)
        for command in commands("The states"):
            said = run(command, old if "export" in command else new)
            if "export" in command:
                shutil.copy(old.base / file, new.base / file)
        assert "new machine" in said
        before, after = (f.base / file for f in (old, new))
        run(["damocles-manager", "util", "sealer", "export", "--out", "again.jsonl"], new)
        assert before.read_bytes() == after.read_bytes() == (new.base / "again.jsonl").read_bytes()

        shutil.rmtree(new.stores[0])
        worker.stores[0].rename(new.stores[0])
        new.start_worker()
        resumed(new, "No cached parameters")
        assert new.events(0).count("PC1") == 1
        assert "sector claimed" in (new.base / "manager.log").read_text()
        plan_farms.stop_worker(new)

        values = [json.loads(line) for line in ORIGINAL.read_text().splitlines()]
        values = [{**value, "ID": {"Miner": 10000, "Number": 100 + value["ID"]["Number"]}} for value in values]
        (new.base / "original.jsonl").write_text("\n".join(map(json.dumps, values)))
        told = [run(command, new) for command in commands("From the original")]
        assert ["2 would be added, 0 would be replaced, 0 unchanged\n", "2 added, 0 replaced, 0 unchanged\n"] == told
        for value in values:
            sector = SectorID(10000, value["ID"]["Number"])
            assert value == new.ask_manager("FindSectorInAllStates", [sector], dict)
        assert not plan_farms.record(new, SECTOR).finalized
        over = run(["damocles-manager", "util", "sealer", "export", "--state", "offline"], new)
        assert {"normal": "persist"} == json.loads(over)["files"]
