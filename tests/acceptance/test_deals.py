"""Sectors with deals, by real processes: pieces from folders and from the manager, messages that fail, synthetic PoRep."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from damocles.testing.farm import Farm, cli, wait_until
from damocles.wire import commitments, control, records, seal, sectors

from . import plan_farms


@pytest.fixture
def market(tmp_path: Path) -> Path:
    """Return a folder with three deals for two sectors of 2KiB, the last one a direct onboarding."""
    folder = tmp_path / "deals"
    for name, length, options in (("a", 900, ()), ("b", 500, ()), ("c", 1100, ("--ddo",))):
        file = tmp_path / name
        file.write_bytes(bytes((ord(name) + i) % 251 for i in range(length)))
        cli("damocles-manager", "mock-deals", str(folder), str(file), *options)
    return folder


def staged(f: Farm, index: int) -> bytes:
    """Return the first bytes of a thread's staged file, which no padding has touched yet."""
    (file,) = (f.stores[index] / "data" / "unsealed").iterdir()
    return file.read_bytes()[:31]


def to_c1(f: Farm, index: int) -> sectors.SectorID:
    """Wait until a thread has brought its sector as far as it goes without parameters; return the sector."""
    wait_until(
        lambda: f.thread(index).job_state == "C1Done" and "No cached parameters" in (f.thread(index).last_error or ""),
        f"thread {index} reaches C1Done",
        60,
    )
    return sectors.SectorID.parse(f.thread(index).job_id or "")


def deals_of(f: Farm, sector: sectors.SectorID) -> list[seal.SectorPiece]:
    """Return the pieces of a sector."""
    given: list[seal.SectorPiece] = f.ask_manager(
        "AcquireDeals", [sector, seal.AcquireDealsSpec()], list[seal.SectorPiece]
    )
    return given


def waits_for(f: Farm, index: int) -> str:
    """Return what a thread waits for."""
    with f.worker_client() as worker:
        waiting = worker.call("Damocles.Threads", [], returns=list[control.ThreadDetail])[index].waiting
    return waiting.what if waiting else ""


def test_deals_are_sealed_from_the_manager_s_piece_store(tmp_path, market):
    """Pieces fill the sectors; the chain computes CommD from the deals; where no deal is left, a thread waits for one."""
    sealing = "enable_deals = true\ndisable_cc = true\nmax_deals = 2"
    with Farm(tmp_path, threads=3, parameters=tmp_path, sealing=sealing, seal_interval="500ms") as f:
        f.start_manager("--deals", str(market))
        f.start_worker()
        idle = wait_until(
            lambda: [i for i in range(3) if waits_for(f, i) == "deals (disable_cc): none is free"],
            "a thread waits for deals",
        )[0]
        busy = [index for index in range(3) if index != idle]
        given = {}
        for index in busy:
            sector = to_c1(f, index)
            pieces = deals_of(f, sector)
            given[frozenset((p.deal.deal_id, p.deal.allocation_id, p.piece.size_bytes) for p in pieces)] = index
            known = [(p.piece.size_bytes, commitments.commitment_of(p.piece.cid)) for p in pieces]
            record = f.ask_manager("FindSector", ["online", sector], records.SectorState)
            assert commitments.unsealed_cid(commitments.comm_d(known, 2048)) == record.pre_commit.comm_d
        builtin, direct = frozenset({(1, 0, 1024), (2, 0, 512), (0, 0, 512)}), frozenset({(0, 3, 2048)})
        assert {builtin, direct} == set(given)
        assert (tmp_path / "a").read_bytes()[:31] == staged(f, given[builtin])
        assert (tmp_path / "c").read_bytes()[:31] == staged(f, given[direct])

        late = tmp_path / "late"
        late.write_bytes(b"l" * 2000)
        cli("damocles-manager", "mock-deals", str(market), str(late))
        to_c1(f, idle)
        assert late.read_bytes()[:31] == staged(f, idle)


def test_a_local_piece_wins_and_a_wrong_one_is_refused(tmp_path, market):
    """A folder of this machine comes before the manager; a payload that is not the deal's pauses the thread."""
    local = tmp_path / "local"
    local.mkdir()
    first = json.loads((market / "deals.json").read_text())[0]["PieceCID"]
    (local / first).write_bytes(bytes(900))
    with Farm(tmp_path, threads=1, parameters=tmp_path, sealing="enable_deals = true\nmax_deals = 1") as f:
        text = f.config.read_text().replace("[worker]\n", f'[worker]\nlocal_pieces_dirs = ["{local}"]\n')
        f.config.write_text(text)
        f.start_manager("--deals", str(market))
        f.start_worker()
        refused = wait_until(lambda: f.thread(0).last_error, "the thread pauses")
        zeros = commitments.unsealed_cid(commitments.zero_comm_d(1024))
        assert f"piece 0 (deal 1) has the commitment {zeros}, its deal says {first}" in refused
        assert refused.startswith("permanent: ")
        shutil.copy(market / f"{first}.car", local / first)
        assert f.resume(0)
        to_c1(f, 0)
        assert (tmp_path / "a").read_bytes()[:31] == staged(f, 0)


@pytest.mark.params
@pytest.mark.slow
@pytest.mark.timeout(2500)
def test_a_synthetic_sector_with_deals_comes_through_failing_messages(tmp_path, market, porep_parameters):
    """Pre-commit and proof fail once each and are sent again; PC2 is verified; layers give way to synthetic proofs."""
    sealing = "enable_deals = true\nverify_after_pc2 = true"
    with Farm(tmp_path, threads=1, sealing=sealing, seal_interval="1h", max_sectors=1) as f:
        f.start_manager("--deals", str(market), "--synthetic", "--fail-messages", "1")
        f.start_worker()
        wait_until(lambda: "SyntheticPoRep" in f.events(0), "synthetic proofs are made")
        assert [] == list((f.stores[0] / "data" / "cache").rglob("sc-02-data-layer-*"))
        wait_until(lambda: "Finalized" in f.events(0), "the sector is proven", plan_farms.PROVING_SECONDS, every=0.5)
        seen = f.events(0)
        for kind, twice in (("ReSubmitPC", "SubmitPC"), ("ReSubmitProof", "SubmitProof")):
            assert (1, 2) == (seen.count(kind), seen.count(twice))
        assert 1 == seen.count("C2"), "the proof itself is not made again"
        (row,) = f.ask_manager("ListSectors", ["offline", 0], list[dict[str, Any]])
        assert row["Proof"] is not None
        assert ["sealed", "cache"] == [name for name in ("sealed", "cache") if (tmp_path / "persist" / name).is_dir()]
