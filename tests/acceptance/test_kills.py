"""Kill -9 around C2, and of the manager at any time; the kill matrix has the rest."""

import shutil
from typing import Any

import pytest

from damocles.testing import farm
from damocles.testing.farm import Farm, wait_until
from damocles.wire import codec

from . import plan_farms


@pytest.mark.params
@pytest.mark.slow
@pytest.mark.timeout(2500)
def test_a_worker_killed_in_each_state_from_c2_on_ends_with_one_proof(tmp_path, proof_made):
    """Kills around C2 (three, when the proof was made), its submission and the end cost one C2 in all; one proof lands."""
    points = (
        "handler.after:C2Done",
        *("journal.after:ProofSubmitted", "handler.before:ProofSubmitted", "handler.after:ProofSubmitted"),
        "journal.after:Finished",
    )
    with plan_farms.going_on(proof_made, tmp_path, "sealer", with_store=True, max_sectors=1, seal_interval="1h") as f:
        for point in points:
            plan_farms.killed_at(f, point)
        f.start_worker()
        wait_until(lambda: "Finalized" in f.events(0), "the sector is finished")
        assert f.events(0).count("C2") == 1
        assert f.events(0).count("Restart") == 3 + len(points)
        (row,) = f.ask_manager("ListSectors", ["offline", 0], list[dict[str, Any]])
        assert row["Proof"] is not None
        assert row["AbortReason"] == ""


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_store_that_is_moved_goes_on_from_every_state(tmp_path, no_parameters):
    """A half-sealed sector goes on at another path when the old one is gone, and no stage is done twice."""
    with Farm(tmp_path / "home", threads=1, parameters=no_parameters, max_sectors=1, recover_interval="200ms") as first:
        plan_farms.start_manager(first)
        here = first
        try:
            for number, state in enumerate(("TicketAssigned", "PC1Done", "PC2Done", "SeedAssigned")):
                plan_farms.killed_at(here, f"journal.after:{state}")
                there = here.moved(tmp_path / f"other{number}", f"other{number}")
                shutil.rmtree(here.stores[0])
                here = there
            here.start_worker()
            plan_farms.paused_with(here, "No cached parameters")
        finally:
            if here.worker is not None:
                farm.stop(here.worker)
        assert [1, 1, 1] == [here.events(0).count(name) for name in ("PC1", "PC2", "C1")]


@pytest.mark.slow
def test_a_manager_killed_at_any_time_loses_nothing(tmp_path):
    """While the manager is killed and restarted again and again, sectors still come to C1Done with the right commitments."""
    with Farm(tmp_path, threads=3, parameters=tmp_path, max_sectors=3) as f:
        f.start_manager()
        f.start_worker()
        for _ in range(4):
            assert f.manager is not None
            farm.stop(f.manager, kill=True)
            f.start_manager()
        wait_until(
            lambda: all(
                t.job_state == "C1Done" and "No cached parameters" in (t.last_error or "") for t in f.all_threads()
            ),
            "all threads reach C1Done",
            60,
        )
        assert f.worker is not None
        farm.stop(f.worker)
        numbers = set()
        for index in range(3):
            sector = plan_farms.sector_of(f, index)
            numbers.add(sector.id.number)
            direct = plan_farms.seal_directly(tmp_path / f"direct{index}", sector.id.number, sector.ticket.ticket)
            assert direct == (sector.pc2out.comm_d, sector.pc2out.comm_r)
            row = f.ask_manager("FindSector", ["online", sector.id], dict)
            assert str(sector.ticket.epoch) in str(row["Ticket"]["Epoch"])
        assert len(numbers) == 3


def test_the_zero_sector_has_the_known_comm_d(tmp_path):
    """The direct reference itself is right: CommD of an empty 2KiB sector is the published value."""
    comm_d, _ = plan_farms.seal_directly(tmp_path, 7, b"\1" * 32)
    assert comm_d == codec.Bytes32(bytes.fromhex("fc7e928296e516faade986b28f92d44a4f24b935485223376a799027bc18f833"))
