"""Winning PoSts on the manager's own machine: there is no time to give one away."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import anyio.to_thread

from damocles.chain.blocks import election
from damocles.chain.sealing import PoStProof
from damocles.lotus.answers import BaseInfo
from damocles.manager.chain.terms import Miner
from damocles.manager.db.engine import Database
from damocles.manager.proving import reviews
from damocles.manager.proving.machine import machine as here
from damocles.manager.sectors.stores import Stores
from damocles.parameters import catalog, preflight
from damocles.parameters.catalog import Kind
from damocles.sealing import failures
from damocles.stages import posts
from damocles.stages.supervision import executor
from damocles.wire import proving, tasks
from damocles.wire.codec import Blob, Bytes32, Rows
from damocles.wire.sectors import SectorSize

STORE_SECONDS = 5.0  # that a look at a persist store may take


class NotProved(Exception):
    """There is no winning PoSt; the text says why, and of which sector."""


class Prover:
    """Proves what a round challenges, in children of `stages`, one for each miner."""

    def __init__(
        self,
        *,
        database: Database,
        persist: Stores,
        stages: executor.Stages,
        parameters: Callable[[], Path] = catalog.folder,
    ) -> None:
        self._database = database
        self._persist = persist
        self._stages = stages
        self._parameters = parameters

    async def lacking(self, size: SectorSize) -> str | None:
        """Return which parameters this machine lacks for winning PoSts."""
        return await anyio.to_thread.run_sync(preflight.lacking_for_post, size, self._parameters(), Kind.WINNING)

    async def prove(self, miner: Miner, base: BaseInfo, epoch: int) -> tuple[Rows[PoStProof], float]:
        """Return the winning PoSt of a round, which is verified, and how many seconds it took.

        Raises:
            NotProved: A sector or this machine does not allow it.
        """
        began = time.monotonic()
        infos = {
            one.number: proving.Extended(
                proof=one.seal_proof, number=one.number, key_cid=one.key_cid, sealed_cid=one.sealed_cid
            )
            for one in base.sectors
        }
        there, lost = await self._database.read(lambda tx: reviews.stored(tx, miner.id, infos))
        _refuse(lost)
        machine = here(self._stages, self._persist, ("winning", miner.id), STORE_SECONDS)
        try:
            _refuse(await posts.lost_stores(there, machine))
            task = tasks.WindowPoSt(
                miner.id,
                miner.proof.winning_name,
                [posts.replica_of(miner.id, sector, machine) for sector in there],
                Bytes32(election.challenge(base.entry, epoch, miner.address)),
            )
            made: tasks.WinningPoStOutput = await machine.run("winning_post", task)
        except failures.Failure as error:
            raise NotProved(str(error)) from error
        kind = list(SectorSize).index(miner.proof.size)
        return Rows(PoStProof(kind, Blob(proof)) for proof in made.proofs), time.monotonic() - began


def _refuse(lost: Mapping[int, str]) -> None:
    for number, reason in lost.items():
        raise NotProved(f"sector {number}: {reason}")
