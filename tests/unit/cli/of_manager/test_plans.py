"""`damocles-manager util sealer sectors unseal`: what is said of the sector that a piece is wanted out of."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
import pytest
from msgspec import structs

from damocles.cli import manager
from damocles.cli.of_manager import plans
from damocles.cli.terminal import exits
from damocles.manager import errors
from damocles.rpc import core, dialects
from damocles.rpc.serving import asgi, server
from damocles.wire import records
from damocles.wire.codec import CID
from damocles.wire.sectors import SectorID

PIECE = "baga6ea4seaqlwvksdqny2blponjiitwfrqxh77ebiyctt7jyipdl3hla5txeqlq"


@asynccontextmanager
async def serving(record: records.SectorState | None) -> AsyncIterator[str]:
    """Serve a manager that has one sector, or none, and takes every wish."""

    async def find(_: SectorID) -> records.SectorState:
        if record is None:
            raise errors.ManagerError("key not found")
        return record

    async def unseal(_: SectorID, __: CID, ___: int, ____: int, _____: str) -> None:
        assert record is not None

    service = core.Service(dialects.MANAGER)
    service.add("Venus.FindSectorInAllStates", find)
    service.add("Venus.UnsealPiece", unseal)
    async with server.serve(asgi.worker_app(service), "127.0.0.1", 0) as bound:
        yield str(bound)


@pytest.mark.parametrize(
    ("is_finalized", "code", "said"),
    [
        (True, 0, "127 bytes from 0 of s-t010000-7 wait for a worker with the plan unseal"),
        (False, 0, "wait until the sector is finished, and then for a worker with the plan unseal"),
        (None, 3, "error: the manager has no sector s-t010000-7"),
    ],
)
async def test_it_is_said_what_a_piece_waits_for(capsys, is_finalized, code, said):
    """That of an unfinished sector waits for its end, too; a sector that nobody knows is named."""
    fresh = records.SectorState.fresh(SectorID(10000, 7), 5)
    record = None if is_finalized is None else structs.replace(fresh, finalized=is_finalized)
    async with serving(record) as address:
        wish = ["util", "sealer", "sectors", "unseal", PIECE, "--miner", "10000", "--sector", "7"]
        span = ["--offset", "0", "--size", "127"]
        assert code == await anyio.to_thread.run_sync(manager.main, [*wish, *span, "--listen", address])
    out, err = capsys.readouterr()
    assert said in out + err


def test_a_sector_is_named_as_in_lists_or_by_miner_and_number():
    """Both forms are the same sector; what is neither is refused with both."""
    sector = SectorID(10000, 7)
    assert sector == plans.sector_of("s-t010000-7", None) == plans.sector_of("f010000", 7)
    with pytest.raises(
        exits.WrongUsage, match=r"'10000' is not a sector: expected the form s-t010000-2, or a miner and"
    ):
        plans.sector_of("10000", None)
    with pytest.raises(exits.WrongUsage, match="'s-t010000-7' is no miner"):
        plans.sector_of("s-t010000-7", 7)
