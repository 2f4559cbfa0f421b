"""What was computed stays: after kills, errors, repetitions, and without the manager. Real processes, real proofs."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from damocles.stores import layout
from damocles.testing import farm
from damocles.testing.farm import MINER, Farm, wait_until
from damocles.wire.sectors import SectorID, SectorSize

from .. import plan_farms
from . import blips, stages
from .stages import PATIENCE_SECONDS, Hand

SECTOR = SectorID(MINER, 1)
STAGES = {"tree_d": "TreeD", "pc1": "PC1", "pc2": "PC2", "c1": "C1"}
STATES = {"tree_d": "PieceAdded", "pc1": "TicketAssigned", "pc2": "PC1Done", "c1": "SeedAssigned"}
EVENTS = ("Allocate", "AddPiece", "BuildTreeD", "AssignTicket", "PC1", "PC2", "SubmitPC", "CheckPC", "Persist", "C1")


def is_right(store: Path, folder: Path) -> bool:
    """Whether a store's sector has the commitments that the proofs crate computes when it is called directly."""
    sector = stages.sector_in(store)
    assert sector.ticket is not None
    assert sector.id is not None
    assert sector.pc2out is not None
    found = (sector.pc2out.comm_d, sector.pc2out.comm_r)
    return found == plan_farms.seal_directly(folder, sector.id.number, sector.ticket.ticket)


def stop(f: Farm, *, kill: bool = False) -> None:
    """End the worker; its sector stays as it is."""
    assert f.worker is not None
    farm.stop(f.worker, kill=kill)
    f.worker = None


def lose_manager(f: Farm) -> None:
    """Kill the manager."""
    assert f.manager is not None
    farm.stop(f.manager, kill=True)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_kill_at_every_stage_resumes_at_that_stage(tmp_path: Path) -> None:
    """A worker killed as each stage begins, and as it has done all but answer, does that stage again and no earlier one."""
    hand = Hand(tmp_path / "hand")
    with Farm(tmp_path, threads=1, parameters=tmp_path, max_sectors=1, processors=hand.processors(*STAGES)) as f:
        f.start_manager()
        for stage, shown in STAGES.items():
            for count, where in enumerate(("begin", "end"), start=1):
                hand.hold(stage, where)
                f.start_worker()
                hand.held(stage, count)
                assert (STATES[stage], shown) == (f.thread(0).job_state, f.thread(0).job_stage)
                stop(f, kill=True)
                hand.release(stage, where)
        f.start_worker()
        stages.unproven(f)
        assert dict.fromkeys(EVENTS, 1) == stages.counts(f, 0, *EVENTS)
        assert dict.fromkeys(STAGES, 3) == {stage: len(hand.pids(stage, "begun")) for stage in STAGES}
        assert is_right(f.stores[0], tmp_path / "direct")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_stage_can_be_run_again_on_the_same_files(tmp_path: Path) -> None:
    """Each stage run three times over what the last run left gives the same commitments, files and vanilla proofs."""
    hand = Hand(tmp_path / "hand")
    with Farm(tmp_path, threads=1, parameters=tmp_path, max_sectors=1, processors=hand.processors("pc1")) as f:
        f.start_manager()
        hand.hold("pc1", "end")
        f.start_worker()
        for count, state in enumerate((None, "DealsAcquired", "PieceAdded", "TicketAssigned"), start=1):
            if state is not None:
                assert f.resume(0, state)
            hand.held("pc1", count)
            assert stages.act(f, 0, "pause", now=True).ok
            stages.wait_for(f, 0, "Paused", "TicketAssigned")
        hand.release("pc1", "end")
        assert f.resume(0)
        stages.unproven(f)
        first = stages.sector_in(f.stores[0])
        for state in ("TicketAssigned", "PC1Done", "PC1Done", "PC2Done", "PCLanded", "SeedAssigned", "SeedAssigned"):
            failures = f.events(0).count("Failed")
            assert f.resume(0, state)
            wait_until(lambda: f.events(0).count("Failed") > failures, f"again from {state}", PATIENCE_SECONDS)  # noqa: B023
            again = stages.sector_in(f.stores[0])
            assert (first.pc1out, first.pc2out, first.seed) == (again.pc1out, again.pc2out, again.seed)
            assert first.c1out == again.c1out
        expected = {"AddPiece": 2, "BuildTreeD": 3, "PC1": 2, "PC2": 4, "SubmitPC": 5, "Persist": 6, "C1": 8}
        assert expected == stages.counts(f, 0, *expected)
        assert is_right(f.stores[0], tmp_path / "direct")
        place = layout.Layout(f.stores[0] / "data", SECTOR, SectorSize.KIB2)
        direct = (tmp_path / "direct" / "sealed").read_bytes()
        assert direct == place.sealed_file.read_bytes()
        assert direct == (tmp_path / "persist" / "sealed" / str(SECTOR)).read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_result_made_while_the_manager_is_down_is_delivered_once(tmp_path: Path) -> None:
    """What a stage gives while the manager is dead outlives a kill of the worker too, and is on the chain once."""
    hand = Hand(tmp_path / "hand")
    processors = hand.processors("pc2")
    with Farm(tmp_path, threads=1, parameters=tmp_path, max_sectors=1, processors=processors) as f:
        f.start_manager()
        hand.hold("pc2", "end")
        f.start_worker()
        hand.held("pc2", 1)
        lose_manager(f)
        hand.release("pc2", "end")
        wait_until(
            lambda: "SubmitPreCommit" in (f.thread(0).last_error or ""), "it cannot be delivered", PATIENCE_SECONDS
        )
        assert "PC2Done" == f.thread(0).job_state
        stop(f, kill=True)
        f.start_worker()
        f.start_manager()
        stages.unproven(f)
        assert {"PC2": 1, "SubmitPC": 1} == stages.counts(f, 0, "PC2", "SubmitPC")
        assert 1 == len(hand.pids("pc2", "begun"))
        assert {("pre-commit", "s-t010000-1"): 1} == stages.messages_sent(f)
        assert is_right(f.stores[0], tmp_path / "direct")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_an_error_never_deletes_a_sector(tmp_path: Path) -> None:
    """A stage that fails keeps the sector, every file and the manager's record, until somebody gives it up and says yes."""
    hand = Hand(tmp_path / "hand")
    with Farm(tmp_path, threads=1, parameters=tmp_path, max_sectors=1, processors=hand.processors(*STAGES)) as f:
        f.start_manager()
        for stage in STAGES:
            hand.fail(stage, "Input/output error: /mnt/bad")
        f.start_worker()
        data = f.stores[0] / "data"
        known: set[Path] = set()
        for stage, state in STATES.items():
            stages.wait_for(f, 0, "Paused", state, "permanent: Input/output error: /mnt/bad")
            # A worker that starts again, a second failure: both leave it as it is, too.
            stop(f)
            f.start_worker()
            stages.wait_for(f, 0, "Paused", state, "/mnt/bad")
            failures = f.events(0).count("Failed")
            assert f.resume(0)
            wait_until(lambda: f.events(0).count("Failed") > failures, "it fails again", PATIENCE_SECONDS)  # noqa: B023
            stages.wait_for(f, 0, "Paused", state, "/mnt/bad")
            files = {path for path in data.rglob("*") if not path.is_dir()}
            assert known <= files, "what earlier stages made is there"
            known = files
            assert not (f.stores[0] / "trash").exists()
            assert str(SECTOR) == f.thread(0).job_id
            record = f.ask_manager("FindSector", ["online", SECTOR], dict)
            assert ("", False) == (record["AbortReason"], record["Finalized"])
            hand.mend(stage)
            assert f.resume(0)
        stages.unproven(f)
        unsure = farm.cli(*stages.ours(f, "abort", "--index", "0"), check=False)
        assert (2, True) == (unsure.returncode, "pass --yes to do it" in unsure.stderr)
        assert known <= {path for path in data.rglob("*") if not path.is_dir()}
        assert is_right(f.stores[0], tmp_path / "direct")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_manager_without_its_database_costs_no_sector(tmp_path: Path) -> None:
    """A manager that knows nothing of a sector any more, or is the wrong one, holds it: every file stays."""
    with Farm(tmp_path, threads=1, parameters=tmp_path, max_sectors=1) as f:
        f.start_manager()
        f.start_worker()
        stages.unproven(f)
        files = {path for path in (f.stores[0] / "data").rglob("*") if not path.is_dir()}
        stop(f)
        assert f.manager is not None
        farm.stop(f.manager)
        for path in (tmp_path / "manager").glob("manager.db*"):
            path.unlink()
        f.start_manager()
        f.start_worker()
        stages.unproven(f)
        assert f.resume(0)
        stages.wait_for(f, 0, "Paused", "C1Done", "the manager does not know this sector")
        assert files == {path for path in (f.stores[0] / "data").rglob("*") if not path.is_dir()}
        assert str(SECTOR) == f.thread(0).job_id
        assert f.resume(0)
        stages.wait_for(f, 0, "Paused", "C1Done", "the manager does not know this sector")
        assert not (f.stores[0] / "trash").exists()
        assert is_right(f.stores[0], tmp_path / "direct")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_store_that_is_moved_goes_on_where_it_was(tmp_path: Path) -> None:
    """A half-done sector goes on in another worker; the copy that was left behind is refused and harms nothing."""
    hand = Hand(tmp_path / "hand")
    processors = hand.processors("pc2")
    with ExitStack() as stack:
        f = stack.enter_context(
            Farm(tmp_path, threads=1, parameters=tmp_path, max_sectors=1, processors=processors, name="old")
        )
        f.start_manager()
        hand.hold("pc2", "end")
        f.start_worker()
        hand.held("pc2", 1)
        stop(f, kill=True)
        hand.release("pc2", "end")
        there = f.moved(tmp_path / "there", "new")
        there.start_worker()
        stack.callback(stop, there)
        stages.unproven(there)
        assert dict.fromkeys(EVENTS, 1) == stages.counts(there, 0, *EVENTS)
        assert is_right(there.stores[0], tmp_path / "direct")

        before = stages.sector_in(there.stores[0])
        f.start_worker()
        stages.wait_for(f, 0, "Paused", "PC1Done", "belongs to new")
        left = sorted(path for path in (f.stores[0] / "data").rglob("*"))
        assert left, "and keeps its files until somebody decides"
        assert 1 == stages.counts(f, 0, "PC1")["PC1"]
        assert 0 == stages.counts(f, 0, "PC2")["PC2"]
        assert before == stages.sector_in(there.stores[0])
        reports = stages.rows(f, "SELECT DISTINCT worker FROM sector_events ORDER BY id")
        assert [("old",), ("new",)] == reports[:2]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_network_that_cuts_every_call_kills_no_work(tmp_path: Path) -> None:
    """Each call loses its answer once and is cut off once before it is heard; all is done once nevertheless."""
    hand = Hand(tmp_path / "hand")
    processors = hand.processors(*STAGES)
    with blips.cutting() as line:
        f = Farm(
            tmp_path, threads=2, parameters=tmp_path, max_sectors=2, processors=processors, recover_interval="200ms"
        )
        with f:
            line.to_port = f.manager_port
            text = f.config.read_text()
            # Behind the line the manager has another address than is called: without this no token goes there.
            f.config.write_text("insecure = true\n" + text.replace(f"/tcp/{f.manager_port}", f"/tcp/{line.port}"))
            f.start_manager()
            f.start_worker()
            for index in range(2):
                stages.unproven(f, index)
                assert dict.fromkeys(EVENTS, 1) == stages.counts(f, index, *EVENTS)
                assert is_right(f.stores[index], tmp_path / f"direct{index}")
            assert dict.fromkeys(STAGES, 2) == {stage: len(hand.pids(stage, "begun")) for stage in STAGES}
            assert {"s-t010000-1", "s-t010000-2"} == {thread.job_id for thread in f.all_threads()}
            assert {("pre-commit", f"s-t010000-{n}"): 1 for n in (1, 2)} == stages.messages_sent(f)
            assert {"Allocate", "AssignTicket", "SubmitPreCommit", "WaitSeed"} <= {call.name for call in line.cut}
            assert all(kinds == ["lost", "unheard"] for kinds in line.happened().values()), line.happened()
