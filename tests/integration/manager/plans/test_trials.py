"""Window PoSts on trial, for any miner of the manager."""

from pathlib import Path
from typing import Any

import pytest

from damocles.chain.addresses import Address
from damocles.manager import errors
from damocles.manager.db import engine
from damocles.manager.plans import wdpost
from damocles.manager.roster import Roster
from damocles.manager.sectors import ledger
from damocles.testing import simulated_chain
from damocles.testing.believing import Believing
from damocles.wire import commitments, proving
from damocles.wire.sectors import SealProof, SectorID

FIRST, SECOND = ledger.Miner(id=1000, proof=SealProof(5)), ledger.Miner(id=1001, proof=SealProof(5))


async def test_every_miner_of_the_manager_may_be_tried(tmp_path: Path) -> None:
    """Not only the first of the configuration, and also one that was added since the start; another manager's may not."""
    async with engine.open_sqlite(tmp_path / "manager.db") as database:
        chain = await simulated_chain.open_chain(database, simulated_chain.Options(), Believing(), lambda: 0.0)
        miners = Roster([FIRST])
        jobs = wdpost.WdPoSt(database, chain, Believing(), miners, lambda: 7.0)
        await database.write(lambda tx: ledger.place_files(tx, SectorID(1001, 4), "persist", upgrade=False))
        sectors = [proving.Extended(number=4, sealed_cid=commitments.sealed_cid(bytes(32)))]
        of: Any = (2, 0, Address.of_id(1001), 5, sectors, bytes(32))
        with pytest.raises(errors.ManagerError, match="no miner whose window PoSts are proved here: f01000"):
            await jobs.simulate(*of)
        miners.replace([FIRST, SECOND])
        await jobs.simulate(*of)
        (job,) = (await jobs.all_jobs()).jobs
        assert (1001, 2) == (job.input.miner, job.deadline)
