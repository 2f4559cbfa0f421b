"""Sectors with deals, by real processes: pieces from folders and from the manager, up to the proof's own inputs."""

import json
import shutil
from pathlib import Path

import pytest

from damocles.testing.farm import Farm, cli, wait_until
from damocles.wire import commitments, seal


@pytest.fixture
def market(tmp_path: Path) -> Path:
    """Return a folder with three deals for two sectors of 2KiB, the last one a direct onboarding."""
    folder = tmp_path / "deals"
    for name, length, options in (("a", 900, ()), ("b", 500, ()), ("c", 1100, ("--ddo",))):
        file = tmp_path / name
        file.write_bytes(bytes((ord(name) + i) % 251 for i in range(length)))
        cli("damocles-manager", "mock-deals", str(folder), str(file), *options)
    return folder


def staged_bytes(f: Farm, index: int) -> bytes:
    """Return the staged file of a thread."""
    (staged,) = (f.stores[index] / "data" / "unsealed").iterdir()
    return staged.read_bytes()


def to_c1(f: Farm, index: int) -> None:
    """Wait until a thread has brought its sector as far as it goes without parameters."""
    wait_until(
        lambda: f.thread(index).job_state == "C1Done" and "No cached parameters" in (f.thread(index).last_error or ""),
        f"thread {index} reaches C1Done",
    )


def test_deals_are_sealed_from_the_manager_s_piece_store(tmp_path, market):
    """Pieces fill the sectors with fillers behind them; the chain takes CommD, which it computes from the deals."""
    sealing = "enable_deals = true\ndisable_cc = true\nmax_deals = 2"
    with Farm(tmp_path, threads=2, parameters=tmp_path, sealing=sealing, seal_interval="1h") as f:
        f.start_manager("--deals", str(market))
        f.start_worker()
        to_c1(f, 0)
        to_c1(f, 1)
        given = {}
        for index in (0, 1):
            sector = f.ask_manager("FindSector", ["online", id_of(f, index)], dict)
            pieces = f.ask_manager(
                "AcquireDeals", [id_of(f, index), seal.AcquireDealsSpec()], list[seal.SectorPiece]
            )
            names = [(p.deal.deal_id, p.deal.allocation_id, p.piece.size_bytes) for p in pieces]
            given[frozenset(names)] = index
            comm_d = commitments.comm_d(
                [(p.piece.size_bytes, commitments.commitment_of(p.piece.cid)) for p in pieces], 2048
            )
            assert commitments.unsealed_cid(comm_d) == sector["Pre"]["CommD"]["/"]
        assert {frozenset({(1, 0, 1024), (2, 0, 512), (0, 0, 512)}), frozenset({(0, 3, 2048)})} == set(given)
        with_ddo = given[frozenset({(0, 3, 2048)})]
        assert (tmp_path / "c").read_bytes()[:31] == staged_bytes(f, with_ddo)[:31]
        assert "GET /piecestore" not in f.log()


def id_of(f: Farm, index: int):
    """Return the wire form of a thread's sector id."""
    _, miner, number = (f.thread(index).job_id or "").split("-")
    return {"Miner": int(miner[2:]), "Number": int(number)}


def test_a_local_piece_wins_and_a_wrong_one_is_refused(tmp_path, market):
    """A folder of this machine comes before the manager; a payload that is not the deal's pauses the thread."""
    local = tmp_path / "local"
    local.mkdir()
    first = json.loads((market / "deals.json").read_text())[0]["PieceCID"]
    (local / first).write_bytes(bytes(900))
    config = f'enable_deals = true\nmax_deals = 1\n\n[processors]\n\n[worker.local]\n'
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
        assert (tmp_path / "a").read_bytes()[:31] == staged_bytes(f, 0)[:31]
    assert config
