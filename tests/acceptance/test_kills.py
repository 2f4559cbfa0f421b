"""Kill -9 around C2, and of the manager at any time; the kill matrix has the rest."""

import signal
from typing import Any

import damocles_proofs as native
import pytest

from damocles.stores import sealing
from damocles.testing import farm
from damocles.testing.farm import MINER, Farm, wait_until
from damocles.wire import codec, sectors


def commitments_of(ticket: bytes, number: int, folder) -> tuple[bytes, bytes]:
    """Seal an empty sector by calling the proofs crate directly, and return CommD and CommR."""
    proof, prover = "StackedDrg2KiBV1_1", sectors.prover_id(MINER)
    staged, sealed, cache = folder / "staged", folder / "sealed", folder / "cache"
    cache.mkdir(parents=True)
    staged.write_bytes(bytes(2048))
    sealed.touch()
    pieces = [native.zero_piece(2032)]
    out1 = native.pc1(proof, str(cache), str(staged), str(sealed), prover, number, ticket, pieces)
    out2 = native.pc2(out1, str(cache), str(sealed))
    return out2.comm_d, out2.comm_r


def sector_of(f: Farm, index: int):
    """Read the sector record of a thread's store; the worker must not be running."""
    with sealing.opened(f.stores[index]) as store:
        return store.journal.load()


@pytest.mark.params
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_worker_killed_in_each_state_from_c2_on_ends_with_one_proof(tmp_path, porep_parameters):
    """Kills around C2, the submission of its proof and the end cost one C2 in all, and one proof lands."""
    points = (
        *("handler.before:C1Done", "journal.after:C2Done", "handler.before:C2Done", "handler.after:C2Done"),
        *("journal.after:ProofSubmitted", "handler.before:ProofSubmitted", "handler.after:ProofSubmitted"),
        "journal.after:Finished",
    )
    with Farm(tmp_path, threads=1, max_sectors=1, seal_interval="1h") as f:
        f.start_manager()
        for point in points:
            f.start_worker(wait=False, DAMOCLES_FAILPOINTS=f"{point}=kill")
            assert f.worker is not None
            assert f.worker.wait(300) == -signal.SIGKILL, f"not killed at {point}\n{f.logs()}"
        f.start_worker()
        wait_until(lambda: "Finalized" in f.events(0), "the sector is finished")
        assert f.events(0).count("C2") == 1
        (row,) = f.ask_manager("ListSectors", ["offline", 0], list[dict[str, Any]])
        assert row["Proof"] is not None
        assert row["AbortReason"] == ""


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
            sector = sector_of(f, index)
            numbers.add(sector.id.number)
            direct = commitments_of(sector.ticket.ticket, sector.id.number, tmp_path / f"direct{index}")
            assert direct == (sector.pc2out.comm_d, sector.pc2out.comm_r)
            row = f.ask_manager("FindSector", ["online", sector.id], dict)
            assert str(sector.ticket.epoch) in str(row["Ticket"]["Epoch"])
        assert len(numbers) == 3


def test_the_zero_sector_has_the_known_comm_d(tmp_path):
    """The direct reference itself is right: CommD of an empty 2KiB sector is the published value."""
    comm_d, _ = commitments_of(b"\1" * 32, 7, tmp_path)
    assert comm_d == codec.Bytes32(bytes.fromhex("fc7e928296e516faade986b28f92d44a4f24b935485223376a799027bc18f833"))
