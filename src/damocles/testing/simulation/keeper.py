"""The keeper of the simulated farm: asks for upgrades, rebuilds, pieces and window PoSts, and asks again for what failed."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

import anyio

from damocles import methods
from damocles.manager.db import engine
from damocles.manager.sectors import deals, ledger
from damocles.rpc import core, errors, messages
from damocles.stores import identity
from damocles.testing.simulation import disks, sham
from damocles.wire import codec, commitments, records, seal, wdpost
from damocles.wire.sectors import SectorID

T = TypeVar("T")

SPARE_DEALS = 2


class Market(deals.Deals):
    """Deals that fill a sector each."""

    def __init__(self, count: int) -> None:
        super().__init__(None)
        self.cids = [
            str(commitments.unsealed_cid(codec.Bytes32(bytes([1 + number]) * 31 + b"\0"))) for number in range(count)
        ]

    async def offers(self) -> list[deals.Offer]:
        """Return all of them."""
        return [
            deals.Offer(cid=cid, size_bytes=sham.SIZE, payload_bytes=sham.SIZE // 128 * 127, deal_id=1 + number)
            for number, cid in enumerate(self.cids)
        ]


class Box(Protocol):
    """The manager, while it is up."""

    service: core.Service | None
    database: engine.Database | None


@dataclass
class Keeper:
    """Asks at random while `restless`, and then until all it has asked for is done; `plans` are those that have threads."""

    box: Box
    dice: random.Random
    persist: Path
    outputs: Path
    miner: int
    market: Market
    plans: Sequence[str] = ()
    restless: bool = True
    wanted: set[SectorID] = field(default_factory=set)  # sectors out of which somebody wants the data
    broken: set[SectorID] = field(default_factory=set)  # sectors whose files were lost and are to be made again
    posts: set[str] = field(default_factory=set)
    posts_seen: Callable[[Sequence[wdpost.Brief]], None] = lambda _: None

    async def run(self) -> None:
        """Look after things until cancelled."""
        while True:
            await anyio.sleep(self.dice.uniform(30, 120))
            if identity.mark_of(self.persist) is None:
                continue  # its disk is away: nobody can tell what is in it
            for plan in self.plans:
                await {
                    "snapup": self._upgrade,
                    "rebuild": self._rebuild,
                    "unseal": self._unseal,
                    "wdpost": self._prove,
                }[plan]()

    # Rounds.

    async def _upgrade(self) -> None:
        await self._ask(methods.proven.fetch_candidates(self.miner, None))

    async def _rebuild(self) -> None:
        """Lose the files of a sector, and have whatever lacks files rebuilt."""
        for record in await self._idle():
            if record.need_rebuild or (record.id not in self.broken and not self._chance(0.3)):
                continue
            if record.id in self.broken and all(path.exists() for path in self._replica(record)):
                self.broken.discard(record.id)
            elif await self._ask(methods.proven.set_for_rebuild(record.id, seal.RebuildOptions())):
                self.broken.add(record.id)
                for path in self._replica(record):
                    path.unlink(missing_ok=True)

    async def _unseal(self) -> None:
        """Want the data of a sector, and again what did not come."""
        for record in await self._idle():
            if record.id in self.broken or (record.id not in self.wanted and not self._chance(0.3)):
                continue
            if record.upgraded and self._chance(0.3):
                (self.persist / "sealed" / str(record.id)).unlink(missing_ok=True)  # only the upgrade is still needed
            output = self._output(record.id)
            if not output.exists():
                self.wanted.add(record.id)
                zeros = commitments.unsealed_cid(commitments.zero_comm_d(sham.SIZE))
                await self._ask(
                    methods.proven.unseal_piece(record.id, zeros, 0, sham.SIZE // 128 * 127, f"file://{output}")
                )

    async def _prove(self) -> None:
        """Have the sectors proven, and again what failed."""
        if self._chance(0.5) or not self.posts:
            made = await self._ask(methods.wdpost.make_jobs())
            self.posts |= {job.id for job in made or ()}
        listed = await self._ask(methods.wdpost.all_jobs())
        self.posts_seen(listed.jobs if listed else ())
        for job in listed.jobs if listed else ():
            if job.state is wdpost.State.FINISHED and (job.error or job.faults):
                await self._ask(methods.wdpost.reset_job(job.id))

    def _chance(self, probability: float) -> bool:
        return self.restless and self.dice.random() < probability

    # The end.

    async def open_ends(self) -> list[str]:
        """Name what was asked for and is not done yet."""
        records_ = {record.id: record for record in await self._idle()}
        ends = []
        if "snapup" in self.plans:
            ends += [f"{sector} is not upgraded" for sector, record in records_.items() if not record.upgraded_info]
        if "rebuild" in self.plans:
            ends += [f"{sector} lacks its files" for sector in self.broken if sector in records_]
        if "unseal" in self.plans:
            ends += [f"nobody has the data of {sector}" for sector in self.wanted if not self._output(sector).exists()]
        if "wdpost" in self.plans and records_:
            listed = await self._ask(methods.wdpost.all_jobs())
            jobs = listed.jobs if listed else []
            proved = {job.id for job in jobs if job.state is wdpost.State.FINISHED and not job.error and not job.faults}
            ends += [f"window PoSt {job.id} is not proved: {job.error}" for job in jobs if job.id not in proved]
            if not proved:
                ends.append("no window PoSt was proved")
        return ends

    async def check(self, updates: dict[SectorID, int]) -> None:
        """Compare what is in the persist store, and what came out of it, with the chain.

        Raises:
            disks.Violation: They differ.
        """
        for record in await self._idle():
            content = {bytes(sham.SIZE // 128 * 127)} | {
                sham.data_of(piece.piece.cid)[: sham.SIZE // 128 * 127] for piece in record.pieces or ()
            }
            output = self._output(record.id)
            if output.exists() and output.read_bytes() not in content:
                raise disks.Violation(f"what came out of {record.id} was never in it")
            if record.upgraded and updates.get(record.id) != 1:
                raise disks.Violation(f"{record.id} is upgraded, with {updates.get(record.id, 0)} messages on chain")
            replica, *_ = self._replica(record)
            if not replica.exists():
                raise disks.Violation(f"{record.id} is proven, but its replica is not in the persist store")
            if sham.comm_r_of(replica) != _comm_r(record):
                raise disks.Violation(f"{replica} is not the replica of {record.id} that the chain knows")

    def _output(self, sector: SectorID) -> Path:
        return self.outputs / str(sector)

    def _replica(self, record: records.SectorState) -> list[Path]:
        """Return the files that proving needs."""
        replica, cache = ("update", "update-cache") if record.upgraded else ("sealed", "cache")
        return [self.persist / replica / str(record.id), self.persist / cache / str(record.id) / "p_aux"]

    async def _idle(self) -> list[records.SectorState]:
        """Return the proven sectors that nobody works on."""
        if self.box.database is None:
            return []
        found = await self.box.database.read(lambda tx: ledger.select_all(tx, online=False))
        return [record for record in found if not record.abort_reason and record.submitted_proof is not None]

    async def _ask(self, ask: methods.Ask[T]) -> T | None:
        """Call the manager as an operator does; a refusal, or no manager, is an answer that comes later."""
        if self.box.service is None:
            return None
        reply = await self.box.service.answer(messages.encode_call(1, ask.method, ask.params), core.Call(peer="keeper"))
        try:
            result: T = messages.decode_answer(
                reply.body, ask.returns, url="sim://", method=ask.method, status=reply.status
            )
        except errors.CallError:
            return None
        return result


def _comm_r(record: records.SectorState) -> bytes:
    if record.upgraded_info is not None and record.upgraded_info.sealed_cid is not None:
        return commitments.commitment_of(record.upgraded_info.sealed_cid)
    assert record.pre_commit is not None
    return commitments.commitment_of(record.pre_commit.comm_r)
