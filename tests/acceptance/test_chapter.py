"""The chapter's story with real processes: parameters are missing, found, and the threads are brought on by hand."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from damocles.testing import farm
from damocles.testing.farm import Farm, cli, wait_until
from damocles.wire import sectors

from . import plan_farms

POREP = "stacked-proof-of-replication-merkletree-poseidon_hasher-8-0-0-sha256_hasher"
LINE = (
    r'#{index}: "{store}"; sector_id=Some\(s-t010000-\d\), paused=true, paused_elapsed=Some\(\d+s\), state=C1Done, '
    r'last_err=Some\("permanent: No cached parameters found for ' + POREP + r"-[0-9a-f]{{64}} "
    r"\[failure finding {folder}/v28-" + POREP + r'-[0-9a-f]{{64}}\.params\]"\)'
)


@contextmanager
def stuck_farm(base: Path) -> Iterator[Farm]:
    """Run a farm whose three threads have paused at C1Done for want of parameters."""
    folder = base / "parameters"
    folder.mkdir()
    with Farm(base, parameters=folder, seal_interval="1h", max_sectors=3) as f:
        f.start_manager()
        f.start_worker()
        wait_until(lambda: all(t.thread_state.state == "Paused" for t in f.all_threads()), "all threads pause")
        yield f


def test_three_threads_stop_for_want_of_parameters(tmp_path):
    """Three threads pause at C1Done, and `list` prints the lines of the chapter."""
    with stuck_farm(tmp_path) as f:
        assert "v28-" in f.log()
        assert "cannot prove sectors of 2KiB" in f.log()
        listed = cli("damocles-worker", "worker", "-c", str(f.config), "list").stdout.splitlines()
        assert len(listed) == 3
        for index, line in enumerate(listed):
            pattern = LINE.format(index=index, store=f.stores[index], folder=re.escape(str(f.parameters)))
            assert re.fullmatch(pattern, line), line


@pytest.mark.params
@pytest.mark.slow
@pytest.mark.timeout(2500)
def test_paused_threads_are_resumed(tmp_path, porep_parameters):
    """`resume` finishes one thread, `resume --state PC1Done` another, `pause` holds the third."""
    with stuck_farm(tmp_path) as f:
        folder = f.parameters
        for path in porep_parameters:
            os.link(path, folder / path.name) if same_disk(path, folder) else shutil.copy(path, folder)
        cli("damocles-worker", "worker", "-c", str(f.config), "resume", "--index", "0")
        wait_until(lambda: f.thread(0).thread_state.state == "Running", "thread 0 proves")
        cli("damocles-worker", "worker", "-c", str(f.config), "resume", "--state", "PC1Done", "--index", "1")
        cli("damocles-worker", "worker", "-c", str(f.config), "resume", "--index", "2")
        wait_until(lambda: f.thread(2).thread_state.state == "Waiting", "thread 2 waits for the slot of C2")
        cli("damocles-worker", "worker", "-c", str(f.config), "pause", "--index", "2")
        held = wait_until(lambda: f.thread(2).thread_state.state == "Paused" and f.thread(2), "thread 2 pauses")
        assert (held.job_state, held.last_error) == ("C1Done", None)

        wait_until(lambda: "Finalized" in f.events(0), "thread 0 finishes", plan_farms.PROVING_SECONDS, every=0.5)
        wait_until(lambda: "Finalized" in f.events(1), "thread 1 finishes", plan_farms.PROVING_SECONDS, every=0.5)
        assert f.thread(2).thread_state.state == "Paused"
        steps = [(entry.prev, entry.event) for entry in f.history(1)]
        assert ("C1Done", "Resume") in steps
        assert steps.count(("PC1Done", "PC2")) == 2
        finished = {entry.sector for i in (0, 1) for entry in f.history(i) if entry.event == "Finalized"}
        on_chain = f.ask_manager("ListSectors", ["offline", 0], list[dict[str, Any]])
        proven = {str(sectors.SectorID(row["ID"]["Miner"], row["ID"]["Number"])) for row in on_chain if row["Proof"]}
        assert finished == proven
        planned = json.loads(cli("damocles-worker", "plan-capacity", "-c", str(f.config), "--json").stdout)
        samples = {step["stage"]: step["samples"] for step in planned["lines"][0]["steps"] if step["stage"]}
        assert {"pc1": 2, "c2": 2}.items() <= samples.items()
        assert planned["sectors_per_day"] > 0
        for name in finished:
            assert (tmp_path / "persist" / "sealed" / str(name)).stat().st_size == 2048


def same_disk(path, folder) -> bool:
    """Return whether a hard link can stand for a copy."""
    return bool(path.stat().st_dev == folder.stat().st_dev)


def test_commands_fail_with_one_clear_line(tmp_path):
    """Unknown index, daemon down and a wrong configuration each give one line on stderr and an exit code."""
    with Farm(tmp_path, parameters=tmp_path, max_sectors=0) as f:
        f.start_manager()
        f.start_worker()
        base = ("damocles-worker", "worker", "-c", str(f.config))
        unknown = cli(*base, "pause", "--index", "9", check=False)
        assert unknown.returncode == 3
        assert "no thread #9; the worker has #0" in unknown.stderr
        foreign = cli(*base, "resume", "--index", "0", "--state", "Unsealed", check=False)
        assert f.worker is not None
        farm.stop(f.worker)
        down = cli(*base, "list", check=False)
        assert down.returncode == 5
        assert "cannot be reached" in down.stderr
        broken = tmp_path / "broken.toml"
        broken.write_text("[worker\n")
        wrong = cli("damocles-worker", "worker", "-c", str(broken), "list", check=False)
        for done in (unknown, foreign, down, wrong):
            assert done.returncode != 0
            assert done.stdout == ""
            assert len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_refused_resume_lists_what_is_possible(tmp_path):
    """A state that the sector cannot be taken up at is refused, nothing changes, and the possible ones are named."""
    with Farm(tmp_path, threads=1, parameters=tmp_path) as f:
        f.start_manager()
        f.start_worker()
        wait_until(lambda: f.thread(0).thread_state.state == "Paused", "the thread pauses for want of parameters")
        before = f.thread(0)
        for target in ("NoSuchState", "Unsealed", "Finished", "Empty", "C2Done", "TreeDBuilt"):
            done = cli("damocles-worker", "worker", "-c", str(f.config), "resume", "-i", "0", "-s", target, check=False)
            assert done.returncode == 1, target
            assert "possible: PieceAdded" not in done.stderr
            assert "PC1Done" in done.stderr
        after = f.thread(0)
        assert (before.job_id, before.job_state, before.last_error) == (after.job_id, after.job_state, after.last_error)
