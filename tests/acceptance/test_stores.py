"""Stores are added to a running worker and released, one at a time, while its other threads seal."""

import json
import os
import subprocess
import sys
from pathlib import Path

from damocles.stores import journal, persist, sealing
from damocles.testing import farm
from damocles.testing.farm import Farm, wait_until

from .test_hot_options import Held


def run(f: Farm, program: str, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run a command about the farm's worker, or by its manager."""
    at = ("-c", str(f.config)) if program == "damocles-worker" else ("--listen", f"127.0.0.1:{f.manager_port}")
    command = [str(Path(sys.executable).with_name(program)), *words, *at]
    return subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, "COLUMNS": "120"})


def stores(f: Farm) -> "dict[str, dict[str, object]]":
    """Return the stores that the worker uses, by their folders' names."""
    listed = json.loads(run(f, "damocles-worker", "store", "list", "--json").stdout)
    return {Path(one["location"]).name: one for one in listed}


def at(f: Farm, index: int, state: str, doing: str = "Paused") -> bool:
    """Whether a thread has come there."""
    found = [one for one in f.all_threads() if one.index == index]
    return [(state, doing)] == [(one.job_state, one.thread_state.state) for one in found]


def test_a_store_leaves_with_its_sector_and_goes_on_elsewhere(tmp_path: Path) -> None:
    """Its stage may end first; nothing of it is lost, a restart does not open it again, and whoever adds it goes on there."""
    (tmp_path / "none").mkdir()
    pc2 = Held(tmp_path, "pc2")
    with Farm(tmp_path, threads=1, parameters=tmp_path / "none", max_sectors=2, processors=pc2.config) as f:
        f.start_manager()
        f.start_worker()
        pc2.wait_for(1)

        # A dry run changes nothing; then the running stage ends, and with it the thread.
        predicted = run(f, "damocles-manager", "util", "worker", "store", "release", f.name, "0", "--dry-run")
        assert (0, True) == (predicted.returncode, "leaves s-t010000-1 in" in predicted.stdout), predicted
        assert "" == stores(f)["store1"]["leaving"]
        asked = run(
            f, "damocles-manager", "util", "worker", "store", "release", f.name, "0", "--reason", "disk wears out"
        )
        assert (0, True) == (asked.returncode, "once its running stage" in asked.stdout), asked
        assert "waits for the end of its stage" == stores(f)["store1"]["leaving"]
        pc2.let_go()
        wait_until(lambda: "store1" not in stores(f), "the store is released")
        assert [] == f.all_threads()
        assert not sealing.is_in_use(f.stores[0])
        assert "PC2Done" == [entry.state for entry in journal.read(f.stores[0])][-1]
        assert any((f.stores[0] / "data").iterdir())
        audited = json.loads(run(f, "damocles-worker", "audit", "list", "--json").stdout)
        assert [("disk wears out", True)] == [(one["reason"], one["ok"]) for one in audited]

        # The worker goes on without threads; a folder that is no store is not made one.
        (tmp_path / "bare").mkdir()
        refused = run(f, "damocles-worker", "store", "add", str(tmp_path / "bare"))
        assert (1, True) == (refused.returncode, "sealing-init" in refused.stderr), refused
        assert [] == list((tmp_path / "bare").iterdir())

        # A restart leaves it alone, though the configuration has it; added, it goes on where it was.
        assert f.worker is not None
        farm.stop(f.worker)
        f.start_worker()
        assert "store1" not in stores(f)
        added = run(f, "damocles-manager", "util", "worker", "store", "add", "test-*", str(f.stores[0]))
        assert (0, True) == (added.returncode, "s-t010000-1 goes on from PC2Done" in added.stdout), added
        number = stores(f)["store1"]["index"]
        assert isinstance(number, int)
        wait_until(lambda: at(f, number, "C1Done"), "the sector goes on")
        assert 1 == pc2.tasks


def test_a_store_is_released_once_its_sector_has_ended(tmp_path: Path) -> None:
    """With `--finish` no other sector begins; a persist store goes when another one can take its files."""
    (tmp_path / "none").mkdir()
    with Farm(tmp_path, threads=1, parameters=tmp_path / "none", max_sectors=2) as f:
        f.start_manager()
        f.start_worker()
        wait_until(lambda: at(f, 0, "C1Done"), "the sector lacks parameters")
        asked = run(f, "damocles-worker", "store", "release", "0", "--finish")
        assert (0, True) == (asked.returncode, "goes on only once somebody resumes it" in asked.stdout), asked
        assert "finishes its sector" == stores(f)["store1"]["leaving"]
        # What is not finished survives a restart.
        assert f.worker is not None
        farm.stop(f.worker)
        f.start_worker()
        wait_until(lambda: at(f, 0, "C1Done"), "the thread has read its journal")
        assert "finishes its sector" == stores(f)["store1"]["leaving"]
        assert 0 == run(f, "damocles-worker", "worker", "abort", "0", "--yes").returncode
        wait_until(lambda: "store1" not in stores(f), "the store is released")
        assert list((f.stores[0] / "trash").iterdir())

        only = run(f, "damocles-worker", "store", "release", "persist")
        assert 0 == only.returncode  # no thread is left that needs it
        wait_until(lambda: "persist" not in stores(f), "the persist store is released")
        persist.init(tmp_path / "p2")
        added = run(f, "damocles-worker", "store", "add", str(tmp_path / "p2"), "--persist", "p2")
        assert (0, True) == (added.returncode, "attached: p2" in added.stdout), added
        sealing.init(tmp_path / "store2")
        assert 0 == run(f, "damocles-worker", "store", "add", str(tmp_path / "store2")).returncode
        number = stores(f)["store2"]["index"]
        assert isinstance(number, int)
        wait_until(lambda: at(f, number, "C1Done"), "another sector is sealed")
        assert list((tmp_path / "p2" / "sealed").iterdir())
        needed = run(f, "damocles-worker", "store", "release", "p2")
        assert (1, True) == (needed.returncode, "add another one first" in needed.stderr), needed
