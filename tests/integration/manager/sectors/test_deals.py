"""Deals of the mock market, over the API and from a folder."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from damocles.cli import manager as cli
from damocles.manager.sectors import deals
from damocles.rpc import errors as rpc_errors
from damocles.stores import layout
from damocles.wire import commitments, records, seal, wdpost
from damocles.wire.sectors import SectorID, SectorSize

from ..conftest import Clock, Manager, RecordedVerifier, Start
from ..proven import COMM_R

FIRST, SECOND = SectorID(10000, 1), SectorID(10000, 2)


def cid(seed: int) -> str:
    """Return the CID of some piece."""
    return str(commitments.unsealed_cid(bytes([seed]) * 32))


@pytest.fixture
def market(tmp_path: Path) -> Path:
    """Return a folder with three offers, the second one a direct onboarding."""
    folder = tmp_path / "deals"
    folder.mkdir()
    offers = [
        {"PieceCID": cid(1), "PieceSize": 1024, "PayloadSize": 1000, "DealID": 7},
        {"PieceCID": cid(2), "PieceSize": 512, "PayloadSize": 400, "AllocationID": 3},
        {"PieceCID": cid(3), "PieceSize": 1024, "PayloadSize": 1016, "DealID": 8},
    ]
    (folder / "deals.json").write_text(json.dumps(offers))
    return folder


async def allocate(manager: Manager) -> None:
    """Allocate a sector."""
    await manager.call("AllocateSector", {})


async def acquire(manager: Manager, sector: SectorID, **spec: Any) -> list[seal.SectorPiece] | None:
    """Ask for deals."""
    given: list[seal.SectorPiece] | None = await manager.call(
        "AcquireDeals", sector, seal.AcquireDealsSpec(**spec), returns=list[seal.SectorPiece] | None
    )
    return given


def numbers(given: Sequence[seal.SectorPiece] | None) -> list[tuple[int, int, int]]:
    """Return deal, allocation and size of each piece."""
    return [(p.deal.deal_id, p.deal.allocation_id, p.piece.size_bytes) for p in given or ()]


async def test_deals_fill_a_sector_and_belong_to_it(start: Start, market: Path) -> None:
    """The first offers that fit are given, the larger ones first, with zeros behind; another sector gets the rest."""
    async with start(deals=market) as manager:
        await allocate(manager)
        await allocate(manager)
        first = await acquire(manager, FIRST)
        assert [(7, 0, 1024), (0, 3, 512), (0, 0, 512)] == numbers(first)
        assert [True, False, False] == [piece.deal.is_builtin_market for piece in first or ()]
        assert [(8, 0, 1024), (0, 0, 1024)] == numbers(await acquire(manager, SECOND))
        assert first == await acquire(manager, FIRST), "asked again, the answer is the same"
    async with start(deals=market) as manager:
        assert first == await acquire(manager, FIRST), "and after a restart too"


async def test_a_deal_that_fits_in_no_sector_is_named(start: Start, market: Path) -> None:
    """It is logged once, at the start or when it comes, and keeps no other deal waiting."""
    file = market / "deals.json"
    large = {"PieceCID": cid(4), "PieceSize": 4096, "PayloadSize": 3000, "DealID": 9}
    file.write_text(json.dumps([large, *json.loads(file.read_text())]))
    with structlog.testing.capture_logs() as logged:
        async with start(deals=market) as manager:
            assert 1 == len(named(logged))
            await allocate(manager)
            for _ in range(2):
                assert [7, 0, 0] == [number for number, _, _ in numbers(await acquire(manager, FIRST))]
    (line,) = named(logged)
    assert ("deal 9", "4KiB", "2KiB") == (line["deal"], line["piece_size"], line["sector_size"])


LARGE = [(9, 4096), (10, 8192), (11, 4096), (12, 4096), (13, 4096)]


@pytest.mark.parametrize(
    ("offers", "spec", "told"),
    [
        ([], {}, "none is free"),
        (LARGE[:1], {}, "no other is free; deal 9 of 4KiB cannot be in a sector of 2KiB"),
        (
            LARGE,
            {},
            "no other is free; deal 9 of 4KiB, deal 10 of 8KiB, deal 11 of 4KiB and 2 more cannot be in a sector of 2KiB",
        ),
        ([(7, 512)], {"min_used_bytes": 1024}, "those that are free fill 512B of 1KiB (min_deal_space)"),
        (
            [(7, 512), (8, 1024), *LARGE[:1]],
            {"min_used_bytes": 2048, "max_deals": 1},
            "those that are free fill 512B of 2KiB (min_deal_space); deal 9 of 4KiB cannot be in a sector of 2KiB",
        ),
        ([(7, 512)], {"max_deals": 0}, "max_deals is 0"),
        ([(7, 512)], {}, ""),
    ],
)
async def test_it_is_told_why_there_are_no_deals(
    start: Start, tmp_path: Path, offers: list[tuple[int, int]], spec: dict[str, int], told: str
) -> None:
    """What a sector waits for is said with the deals that can never be in it, by name; empty where deals are given."""
    texts = [{"PieceCID": cid(n), "PieceSize": size, "PayloadSize": 100, "DealID": n} for n, size in offers]
    (tmp_path / "deals.json").write_text(json.dumps(texts))
    async with start(deals=tmp_path) as manager:
        await allocate(manager)
        asked = seal.AcquireDealsSpec(**spec)
        assert told == await manager.rpc.call("Damocles.WhyNoDeals", [asked, 2048], returns=str)
        assert bool(told) == (not await acquire(manager, FIRST, **spec)), "and it is so"


async def test_it_is_told_that_there_is_no_market(start: Start) -> None:
    """A manager without deals says so, and why nothing is upgraded."""
    async with start() as manager:
        asked = seal.AcquireDealsSpec()
        told = await manager.rpc.call("Damocles.WhyNoDeals", [asked, 2048], returns=str)
        assert told == "this manager has no market (--deals)"
        wanted = seal.AllocateSnapUpSpec(seal.AllocateSectorSpec(), asked)
        told = await manager.rpc.call("Damocles.WhyNoUpgrade", [wanted], returns=str)
        assert told.startswith("no sector is a candidate: ")


def named(logged: Sequence[Any]) -> list[Any]:
    """Return the lines about deals that fit in no sector."""
    return [line for line in logged if "fits in no sector" in line["event"]]


def test_files_that_fit_in_no_sector_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the size of the sectors given, nothing becomes a deal that could never be sealed."""
    (tmp_path / "small").write_bytes(b"x" * 2000)
    (tmp_path / "large").write_bytes(b"x" * 5000)
    files = [str(tmp_path / "small"), str(tmp_path / "large")]
    assert 1 == cli.main(["mock-deals", str(tmp_path / "deals"), *files, "--sector-size", "2KiB"])
    said = f"error: {tmp_path}/large needs a piece of 8KiB, which fits in no sector of 2KiB\n"
    assert ("", said) == capsys.readouterr()
    assert not (tmp_path / "deals").exists()
    assert 2 == cli.main(["mock-deals", str(tmp_path / "deals"), *files, "--sector-size", "3KiB"])


async def test_limits_are_kept(start: Start, market: Path) -> None:
    """No more deals than wanted; and none at all where they would use less of the sector than wanted."""
    async with start(deals=market) as manager:
        await allocate(manager)
        await allocate(manager)
        assert [] == await acquire(manager, FIRST, max_deals=1, min_used_bytes=1025)
        assert [(7, 0, 1024), (0, 0, 1024)] == numbers(await acquire(manager, FIRST, max_deals=1, min_used_bytes=1024))
        assert [] == await acquire(manager, SECOND, max_deals=0)


async def test_without_a_market_there_are_none(start: Start) -> None:
    """A manager without deals answers null, and knows its sectors."""
    async with start() as manager:
        await allocate(manager)
        assert await acquire(manager, FIRST) is None
        with pytest.raises(rpc_errors.RpcError, match="11001"):
            await acquire(manager, SECOND)


async def test_an_aborted_sector_gives_its_deals_back(start: Start, market: Path) -> None:
    """Deals of a sector that is given up go to the next one that asks."""
    async with start(deals=market) as manager:
        await allocate(manager)
        first = await acquire(manager, FIRST)
        await manager.call("ReportAborted", FIRST, "lost")
        await allocate(manager)
        assert first == await acquire(manager, SECOND)


@pytest.mark.parametrize("by_operator", [False, True])
async def test_a_proven_sector_keeps_its_deals_whoever_gives_it_up(
    start: Start, market: Path, tmp_path: Path, clock: Clock, verifier: RecordedVerifier, *, by_operator: bool
) -> None:
    """While its proof is on the way nobody can abort a sector; then that finishes it, and its windows are proved."""

    async def give_up() -> None:
        if by_operator:
            await manager.rpc.call("Damocles.SectorAbort", [FIRST, "mistaken"])
        else:
            await manager.call("ReportAborted", FIRST, "mistaken")

    async with start({"persist": tmp_path / "persist"}, deals=market, proof_delay=2) as manager:
        await allocate(manager)
        given = await acquire(manager, FIRST)
        ticket = await manager.call("AssignTicket", FIRST, returns=seal.Ticket)
        known = [(p.piece.size_bytes, commitments.commitment_of(p.piece.cid)) for p in given or ()]
        pre_commit = seal.PreCommit(COMM_R, commitments.comm_d(known, 2048), ticket)
        await manager.call("SubmitPreCommit", seal.AllocatedSector(FIRST, 5), pre_commit, False)
        for name in layout.persisted_names(FIRST, SectorSize.KIB2):
            (tmp_path / "persist" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "persist" / name).touch()
        await manager.call("SubmitPersistedEx", FIRST, "persist", False)
        await manager.call("SubmitProof", FIRST, seal.Proof(b"proof"), False)
        with pytest.raises(rpc_errors.RpcError, match="the proof of s-t010000-1 is on its way to the chain"):
            await give_up()
        clock.to_epoch(1002)
        await give_up()
        record = await manager.call("FindSectorInAllStates", FIRST, returns=records.SectorState)
        assert (True, "", given) == (record.finalized, record.abort_reason, record.pieces)
        (job,) = await manager.rpc.call("Damocles.MockWdPoSt", [], returns=list[wdpost.Brief])
        assert 1 == job.sectors
        await allocate(manager)
        assert [(8, 0, 1024), (0, 0, 1024)] == numbers(await acquire(manager, SECOND))


async def test_the_chain_computes_comm_d_from_the_deals(start: Start, market: Path) -> None:
    """A pre-commit with another CommD than the pieces give is refused with both."""
    async with start(deals=market) as manager:
        await allocate(manager)
        given = await acquire(manager, FIRST)
        ticket = await manager.call("AssignTicket", FIRST, returns=seal.Ticket)
        known = [(p.piece.size_bytes, commitments.commitment_of(p.piece.cid)) for p in given or ()]
        right, zeros = commitments.comm_d(known, 2048), commitments.zero_comm_d(2048)
        allocated = seal.AllocatedSector(FIRST, 5)
        for comm_d, result in ((zeros, seal.SubmitResult.MISMATCHED), (right, seal.SubmitResult.ACCEPTED)):
            content = seal.PreCommit(right, comm_d, ticket)
            answer = await manager.call("SubmitPreCommit", allocated, content, False, returns=seal.Submitted)
            assert result == answer.res
            if result is seal.SubmitResult.MISMATCHED:
                assert f"is {zeros.hex()}, but a sector with its deals has {right.hex()}" in answer.desc


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[{", "deals.json: Input data was truncated"),
        ('[{"PieceCID": "x"}]', "deals.json: Object missing required field `PieceSize`"),
        ('[{"PieceCID": "CID", "PieceSize": 1000, "DealID": 1, "PayloadSize": 1}]', "1000 is no size of a piece"),
        ('[{"PieceCID": "x", "PieceSize": 1024, "DealID": 1, "PayloadSize": 1}]', "'x' is not the CID"),
        ('[{"PieceCID": "CID", "PieceSize": 1024, "PayloadSize": 1}]', "needs either a DealID or an AllocationID"),
        ('[{"PieceCID": "CID", "PieceSize": 1024, "DealID": 1}]', "has no PayloadSize, and its file is not in"),
        ('[{"PieceCID": "CID", "PieceSize": 1024, "DealID": 1, "Deal": 2}]', "unknown field `Deal`"),
        (
            '[{"PieceCID": "CID", "PieceSize": 1024, "DealID": 1, "PayloadSize": 1},'
            ' {"PieceCID": "CID", "PieceSize": 1024, "DealID": 1, "PayloadSize": 1}]',
            "deal 1 appears twice",
        ),
    ],
)
async def test_a_wrong_file_is_told(start: Start, tmp_path: Path, content: str, message: str) -> None:
    """What is wrong with the file of deals is the answer, so that the worker shows it and tries again."""
    (tmp_path / "deals.json").write_text(content.replace('"CID"', f'"{cid(1)}"'))
    async with start(deals=tmp_path) as manager:
        await allocate(manager)
        with pytest.raises(rpc_errors.RpcError, match=message):
            await acquire(manager, FIRST)


def test_offers_are_added_with_the_length_of_their_file(tmp_path: Path) -> None:
    """An offer without a payload size has that of its file."""
    (tmp_path / f"{cid(1)}.car").write_bytes(bytes(300))
    deals.add(tmp_path, deals.Offer(cid=cid(1), size_bytes=512, deal_id=1))
    (offer,) = deals.read(tmp_path)
    assert 300 == offer.payload_bytes


@pytest.mark.parametrize(("payload", "piece"), [(0, 128), (127, 128), (128, 256), (1016, 1024), (1017, 2048)])
def test_the_smallest_fitting_piece(payload: int, piece: int) -> None:
    """127 bytes of payload take 128 of a piece."""
    assert piece == deals.fitting_bytes(payload)


def test_files_become_deals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each file gets a deal of its own number, its commitment as its name, and the smallest piece that holds it."""
    file, folder = tmp_path / "a", tmp_path / "deals"
    file.write_bytes(bytes(200))
    assert 0 == cli.main(["mock-deals", str(folder), str(file)])
    zeros = commitments.unsealed_cid(commitments.zero_comm_d(256))
    assert f"deal 1: {zeros}, a piece of 256 bytes\n" == capsys.readouterr().out
    assert 0 == cli.main(["mock-deals", "--ddo", "--json", str(folder), str(file)])
    assert [{"kind": "allocation", "number": 2, "piece": zeros, "size": 256}] == json.loads(capsys.readouterr().out)
    assert [("deal", 1), ("allocation", 2)] == [offer.key for offer in deals.read(folder)]
    assert bytes(200) == (folder / f"{zeros}.car").read_bytes()
    assert 1 == cli.main(["mock-deals", str(folder), str(tmp_path / "missing")])
    assert f"{tmp_path}/missing: No such file or directory" in capsys.readouterr().err
    assert 2 == cli.main(["mock-deals", str(folder)])
