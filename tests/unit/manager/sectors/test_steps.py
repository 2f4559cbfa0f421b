"""Steps inside a transaction: sectors, stores, workers."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Connection, create_engine

from damocles.manager import errors
from damocles.manager.db import tables
from damocles.manager.sectors import ledger, stores
from damocles.wire import commitments, records, seal
from damocles.wire.sectors import SealFamily, SealProof, SectorID, SectorSize

MINER = ledger.Miner(id=10000, proof=SealProof.of(SectorSize.KIB2))
FIRST = SectorID(10000, 1)
SECOND = SectorID(10000, 2)
DISKS = {"big": stores.Usage(100, 0, 100), "small": stores.Usage(100, 50, 50)}


@pytest.fixture
def tx() -> Iterator[Connection]:
    """Return a transaction on a new database in memory."""
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        tables.metadata.create_all(connection)
        yield connection
    engine.dispose()


@pytest.fixture
def declared() -> stores.Stores:
    """Return two declared stores."""
    return stores.Stores({"small": Path("/small"), "big": Path("/big")})


def reserve(tx: Connection, book: stores.Stores, sector: SectorID, size: int, *candidates: str) -> str | None:
    """Return the name of the store where the space was found."""
    found = book.reserve(tx, sector, size, candidates, usage=DISKS, now=0)
    return found.name if found else None


@pytest.mark.parametrize(
    ("spec", "may"),
    [
        (seal.AllocateSectorSpec([], []), True),
        (seal.AllocateSectorSpec([10000], [5, 10, 15]), True),
        (seal.AllocateSectorSpec([777], None), False),
        (seal.AllocateSectorSpec(None, [8]), False),
    ],
)
def test_the_spec_filters_miners(spec: seal.AllocateSectorSpec, *, may: bool) -> None:
    """Empty and null lists allow anything; others must name the miner and its proof."""
    assert may == ledger.may_allocate(MINER, spec)


def test_numbers_end_with_the_limit(tx: Connection) -> None:
    """With a limit the numbers up to it are given out, then none."""
    limited = ledger.Miner(id=10000, proof=MINER.proof, max_number=2)
    given = [ledger.allocate(tx, limited, ledger.Receiver("peer"), 0) for _ in range(3)]
    assert [1, 2, None] == [one.id.number if one else None for one in given]


@pytest.mark.parametrize("sector", [SectorID(10000, 9), SectorID(10000, 2**64 - 1), SectorID(2**64 - 1, 1)])
def test_numbers_that_sql_cannot_hold_are_no_sectors(tx: Connection, sector: SectorID) -> None:
    """Any number of the wire can be asked for; what was never allocated is not found."""
    with pytest.raises(errors.SectorNotFound):
        ledger.load(tx, sector)


def test_jobs_select_records(tx: Connection) -> None:
    """A record belongs to one job class, and to all."""
    for flags in ({}, {"upgraded": True}, {"upgraded": True, "unsealing": True}, {"need_rebuild": True}):
        allocated = ledger.allocate(tx, MINER, ledger.Receiver("peer"), 0)
        assert allocated is not None
        ledger.save(tx, msgspec.structs.replace(ledger.load(tx, allocated.id), **flags), 0)
    listed = {job: [record.id.number for record in ledger.select_all(tx, online=True, job=job)] for job in records.Job}
    assert {
        records.Job.ALL: [1, 2, 3, 4],
        records.Job.SEALING: [1],
        records.Job.SNAPUP: [2],
        records.Job.UNSEAL: [3],
        records.Job.REBUILD: [4],
    } == listed


def test_the_first_end_counts(tx: Connection) -> None:
    """An end that is reported twice is one end, with the first reason."""
    ledger.allocate(tx, MINER, ledger.Receiver("peer"), 0)
    ledger.abort(tx, FIRST, "first", 1)
    ledger.abort(tx, FIRST, "second", 2)
    with pytest.raises(errors.SectorNotFound):
        ledger.finalize(tx, FIRST, 3)
    record = ledger.find(tx, FIRST, online=False)
    assert record is not None
    assert ("first", True) == (record.abort_reason, record.finalized)


def test_a_miner_is_described_as_the_original_does() -> None:
    """The window proof is V1_1 of the sector's size, whatever the family of its seal proof."""
    synthetic = ledger.Miner(id=7, proof=SealProof.of(SectorSize.GIB32, SealFamily.SYNTHETIC))
    assert records.MinerInfo(7, "f07", 32 << 30, 13, 13) == synthetic.info()


def test_space_is_taken_where_most_is_left(tx: Connection, declared: stores.Stores) -> None:
    """Reservations of others count as used, so that sectors spread over the stores."""
    assert "big" == reserve(tx, declared, FIRST, 60)
    assert "small" == reserve(tx, declared, SECOND, 45)
    assert "big" == reserve(tx, declared, SectorID(10000, 3), 40, "big", "small")
    assert None is reserve(tx, declared, SectorID(10000, 4), 10)


def test_the_same_request_gets_the_same_store(tx: Connection, declared: stores.Stores) -> None:
    """A repeated reservation is one; another size takes its place and leaks nothing."""
    assert "big" == reserve(tx, declared, FIRST, 90)
    assert "big" == reserve(tx, declared, FIRST, 90)
    assert "big" == reserve(tx, declared, FIRST, 95)
    details = declared.details(tx, DISKS)
    assert details is not None
    assert {"small": 0, "big": 95} == {store.name: store.reserved_bytes for store in details}


def test_what_does_not_fit_leaves_the_old_reservation(tx: Connection, declared: stores.Stores) -> None:
    """A reservation that no store has room for changes nothing."""
    reserve(tx, declared, FIRST, 60, "big")
    assert None is reserve(tx, declared, FIRST, 2**70, "big")
    assert None is reserve(tx, declared, FIRST, 101, "big")
    assert stores.release(tx, FIRST)
    assert not stores.release(tx, FIRST)


def test_undeclared_names_are_stores_when_none_is_declared(tx: Connection) -> None:
    """Without declared stores the candidate with the least reserved space is taken, and without candidates none."""
    anything = stores.Stores({})
    assert "a" == reserve(tx, anything, FIRST, 60, "a", "b")
    assert "b" == reserve(tx, anything, SECOND, 60, "a", "b")
    assert None is reserve(tx, anything, SECOND, 60)


def test_unknown_names_are_no_stores_beside_declared_ones(tx: Connection, declared: stores.Stores) -> None:
    """With declared stores another name is neither found nor reserved."""
    assert None is declared.basic_info("other")
    assert None is reserve(tx, declared, FIRST, 1, "other")


def test_comm_d_of_zeros() -> None:
    """CommD of an empty sector of 2KiB is the value that the proofs library computes."""
    known = "fc7e928296e516faade986b28f92d44a4f24b935485223376a799027bc18f833"
    assert known == commitments.zero_comm_d(SectorSize.KIB2).hex()
