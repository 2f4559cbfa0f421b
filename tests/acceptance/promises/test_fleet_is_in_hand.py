"""Whoever steers the fleet gets what he asks for: pauses, aborts, drains, and the jobs of workers that are gone."""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from damocles.testing import farm
from damocles.testing.farm import MINER, Farm, cli, wait_until
from damocles.wire import wdpost
from damocles.wire.sectors import SectorID

from . import stages
from .stages import PATIENCE_SECONDS, Hand


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_pause_comes_at_the_boundary_or_now_or_while_waiting(tmp_path: Path) -> None:
    """A plain pause keeps the running stage's result, `--now` kills it to be done again, and a wait for a slot ends at once."""
    hand = Hand(tmp_path / "hand")
    processors = hand.processors("pc1", limits="pc1 = 1")
    with Farm(tmp_path, threads=2, parameters=tmp_path, max_sectors=2, processors=processors) as f:
        f.start_manager()
        hand.hold("pc1")
        f.start_worker()
        hand.held("pc1", 1)
        (queued,) = wait_until(
            lambda: [t.index for t in f.all_threads() if t.thread_state.state == "Waiting"], "one waits for the slot"
        )
        works = 1 - queued
        wait_until(lambda: f.ask_manager("WorkerPingInfoList", [], list), "the manager knows the worker")

        cli(*stages.ours(f, "pause", "--index", str(queued)))
        stages.wait_for(f, queued, "Paused", "TicketAssigned")
        assert 0 == stages.counts(f, queued, "Failed")["Failed"]

        cli(*stages.ours(f, "pause", "--index", str(works)))
        asked = stages.details(f)[works]
        assert ("Running", True) == (asked.info.thread_state.state, asked.pausing)
        assert ", then pauses" in cli(*stages.ours(f, "list", "--why")).stdout
        taken_back = cli(*stages.util(f, "resume", "test-worker", str(works)))
        assert "goes on; the pending pause is withdrawn" in taken_back.stderr
        assert not stages.details(f)[works].pausing
        cli(*stages.util(f, "pause", "test-worker", str(works)))
        hand.release("pc1")
        stages.wait_for(f, works, "Paused", "PC1Done")
        assert {"PC1": 1, "PC2": 0} == stages.counts(f, works, "PC1", "PC2")

        hand.hold("pc1", "end")
        cli(*stages.ours(f, "resume", "--index", str(queued)))
        pid = hand.held("pc1", 2)
        cli(*stages.ours(f, "pause", "--index", str(queued), "--now"))
        stages.wait_for(f, queued, "Paused", "TicketAssigned")
        assert not stages.is_alive(pid)
        assert {"PC1": 0, "Failed": 0} == stages.counts(f, queued, "PC1", "Failed")
        hand.release("pc1", "end")
        for index in (works, queued):
            cli(*stages.ours(f, "resume", "--index", str(index)))
        for index in (works, queued):
            stages.unproven(f, index)
            assert {"PC1": 1, "PC2": 1} == stages.counts(f, index, "PC1", "PC2")
        assert 3 == len(hand.pids("pc1", "begun"))


def given_up(f: Farm, sector: SectorID) -> str:
    """Return why the manager has given a sector up; nothing if it has not."""
    rows = f.ask_manager("ListSectors", ["offline", 0], list[dict[str, Any]])
    return next((str(row["AbortReason"]) for row in rows if row["ID"]["Number"] == sector.number), "")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_one_abort_ends_the_sector_on_both_sides(tmp_path: Path) -> None:
    """After one command the process is gone, files are in the trash, worker and manager agree; also if that one was away."""
    hand = Hand(tmp_path / "hand")
    processors = hand.processors("pc1").replace("[[processors.pc1]]", "[[processors.pc1]]\nconcurrent = 1")
    options: dict[str, Any] = {"max_sectors": 2, "seal_interval": "1h", "processors": processors + processors}
    with Farm(tmp_path, threads=2, parameters=tmp_path, **options) as f:
        f.start_manager()
        hand.hold("pc1", "end")
        f.start_worker()
        hand.held("pc1", 2)
        wait_until(lambda: f.ask_manager("WorkerPingInfoList", [], list), "the manager knows the worker")
        first, second = stages.details(f)
        assert first.sector is not None
        assert second.sector is not None
        assert first.pid is not None
        assert second.pid is not None
        files = sorted(path.name for path in (f.stores[0] / "data").rglob("*"))
        assert files

        done = cli(*stages.util(f, "abort", "--sector", first.sector, "--yes", "--reason", "bad disk"))
        assert f"aborted {first.sector}; the manager knows" in done.stdout
        assert "bad disk" in given_up(f, SectorID.parse(first.sector))
        assert f.thread(0).job_id is None
        assert not stages.is_alive(first.pid)
        (trash,) = (f.stores[0] / "trash").iterdir()
        assert files == sorted(path.name for path in trash.rglob("*"))
        assert [] == list((f.stores[0] / "data").iterdir())

        assert stages.is_alive(second.pid)
        assert (second.sector, "Running") == (f.thread(1).job_id, f.thread(1).thread_state.state)
        assert f.manager is not None
        farm.stop(f.manager, kill=True)
        told = cli(*stages.ours(f, "abort", "--index", "1", "--yes"))
        assert f"is aborting {second.sector}" in told.stdout
        wait_until(lambda: not stages.is_alive(second.pid or 0), "the process is gone", PATIENCE_SECONDS)
        assert second.sector == f.thread(1).job_id, "nothing is settled before the manager knows"
        f.start_manager()
        wait_until(lambda: f.thread(1).job_id is None, "both agree", PATIENCE_SECONDS)
        assert "aborted by an operator" in given_up(f, SectorID.parse(second.sector))
        assert 1 == len(list((f.stores[1] / "trash").iterdir()))


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_drain_begins_no_sector_and_stops_at_its_deadline(tmp_path: Path) -> None:
    """No sector begins, the countdown is shown, at the deadline the rest pauses at its boundary, a restart changes nothing."""
    hand = Hand(tmp_path / "hand")
    processors = hand.processors("pc1")
    with Farm(
        tmp_path, threads=2, parameters=tmp_path, max_sectors=1, processors=processors, seal_interval="500ms"
    ) as f:
        f.start_manager()
        hand.hold("pc1")
        f.start_worker()
        hand.held("pc1", 1)
        (busy,) = [thread.index for thread in f.all_threads() if thread.job_id is not None]
        wait_until(lambda: f.ask_manager("WorkerPingInfoList", [], list), "the manager knows the worker")
        shown = cli(*stages.util(f, "drain", "test-worker", "--deadline", "1h", "--reason", "new disks")).stdout
        assert shown.startswith("draining (new disks), ")
        assert " to the deadline; 1 in progress: s-t010000-1" in shown
        # The manager has work again, and nobody wants it.
        assert f.manager is not None
        farm.stop(f.manager)
        f.max_sectors = 2
        f.start_manager()
        free = 1 - busy

        def refused() -> bool:
            thread = stages.details(f)[free]
            return thread.waiting is not None and thread.waiting.what == "the end of the drain (new disks)"

        wait_until(refused, "the other thread waits for the end of the drain", PATIENCE_SECONDS)
        assert f.thread(free).job_id is None

        late = cli(*stages.util(f, "drain", "test-worker", "--deadline", "500ms", "--wait"), check=False)
        assert (1, True) == (late.returncode, "the deadline has passed" in late.stderr)
        asked = stages.details(f)[busy]
        assert ("Running", True) == (asked.info.thread_state.state, asked.pausing), "its stage is not lost"
        hand.release("pc1")
        stages.wait_for(f, busy, "Paused", "PC1Done")
        assert f.worker is not None
        farm.stop(f.worker)
        f.start_worker()
        stages.wait_for(f, busy, "Paused", "PC1Done")
        assert cli(*stages.ours(f, "drain")).stdout.startswith("draining")
        assert f.thread(free).job_id is None

        cli(*stages.ours(f, "undrain"))
        wait_until(lambda: f.thread(free).job_id == "s-t010000-2", "the other sector begins", PATIENCE_SECONDS)
        cli(*stages.ours(f, "resume", "--index", str(busy)))
        stages.unproven(f, busy)
        assert {"PC1": 1} == stages.counts(f, busy, "PC1")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_job_of_a_lost_worker_is_seen_and_freed_within_its_lease(tmp_path: Path) -> None:
    """A listing names who has a window PoSt and since when it was heard of; after a kill another worker gets the job."""
    hand = Hand(tmp_path / "hand")
    # The proof too is a program of somebody else: the worker does not ask itself which parameters that needs.
    processors = hand.processors("check_replicas", "window_post")
    sealing = 'wdpost_heartbeat_interval = "500ms"'
    with ExitStack() as stack:
        f = stack.enter_context(
            Farm(
                tmp_path,
                threads=1,
                parameters=tmp_path,
                max_sectors=1,
                seal_interval="500ms",
                processors=processors,
                sealing=sealing,
                name="first",
            )
        )
        text = f.config.read_text()
        f.config.write_text(text.replace("[[attached]]", '[[sealing_thread]]\nplan = "wdpost"\n\n[[attached]]'))
        f.start_manager()
        f.start_worker()
        stages.unproven(f)
        hand.hold("check_replicas")
        with f.manager_client() as manager:
            (job,) = manager.call("Damocles.MockWdPoSt", [], returns=list[wdpost.Brief])
        hand.held("check_replicas", 1)
        at = ("--listen", f"127.0.0.1:{f.manager_port}")
        listed = cli("damocles-manager", "util", "worker", "wdpost", "list", *at).stdout.splitlines()
        assert [job.id, "first", "Running", "1"] == [listed[1].split()[place] for place in (0, 5, 6, 7)]

        there = f.moved(tmp_path / "there", "second")
        text = there.config.read_text()
        there.config.write_text(text.replace(f'location = "{there.stores[0]}"\nplan = "sealer"', 'plan = "wdpost"'))
        there.start_worker()
        stack.callback(lambda: farm.stop(there.worker) if there.worker else None)
        wait_until(lambda: f.ask_manager("WorkerPingInfoList", [], list), "both are there")
        assert f.worker is not None
        farm.stop(f.worker, kill=True)
        died = time.monotonic()
        hand.held("check_replicas", 2)
        assert time.monotonic() - died < 60
        (now,) = f.ask_manager("WdPoStAllJobs", [], wdpost.Listed).jobs
        assert (job.id, "second", wdpost.State.RUNNING, 2) == (now.id, now.worker, now.state, now.tries)
        assert "first is silent" in now.error
        assert MINER == now.input.miner
