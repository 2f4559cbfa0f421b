"""One round of one miner: look, ask the mind, and do what it says, until the round is over.

Every step begins from what is recorded, so that it can end anywhere; what is decided is recorded before anything follows from it.
"""

import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import anyio
import anyio.to_thread
import msgspec
import structlog
from sqlalchemy import exc as sql_errors

from damocles import bls
from damocles.chain.addresses import Address, Protocol
from damocles.chain.blocks import election
from damocles.chain.blocks.header import ElectionProof, Template, Ticket
from damocles.chain.messages import SignatureType
from damocles.chain.sealing import PoStProof
from damocles.lotus import errors
from damocles.lotus.answers import BaseInfo
from damocles.lotus.nodes import Nodes
from damocles.lotus.view import View
from damocles.manager.chain.terms import Miner
from damocles.manager.db.engine import Database
from damocles.manager.db.leases import Store
from damocles.manager.mining import blocks, mind
from damocles.manager.mining.mind import Stage
from damocles.manager.mining.prover import NotProved, Prover
from damocles.wire.codec import Blob, Rows

log = structlog.get_logger(__name__)

_AGAIN_SECONDS = 0.5  # after an error of the node
_LEAST_SLEEP_SECONDS = 0.01
with_ = msgspec.structs.replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What rounds are made with. `sleep` waits on that clock."""

    database: Database
    nodes: Nodes
    prover: Prover
    clock: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """What a won round is about, and its proof once that is made."""

    base: BaseInfo
    proof: Rows[PoStProof] | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a round went: whether the election was drawn, what hindered it otherwise, and the last error of a node."""

    drawn: bool = False
    power: int = 0
    network_power: int = 0
    why: str = ""
    trouble: str = ""


class Turn:
    """A round of a miner; `is_strange` tells whether something else has made a block of the miner lately.

    What is recorded goes through `store`, which takes nothing any more once the miner's blocks are another manager's.
    """

    def __init__(
        self,
        means: Means,
        miner: Miner,
        of: mind.Round,
        *,
        store: Store,
        base_from: int,
        is_strange: Callable[[View], Awaitable[bool]],
    ) -> None:
        self._means = means
        self._miner = miner
        self._of = of
        self._store = store
        self._base_from = base_from
        self._is_strange = is_strange
        self._candidate: _Candidate | None = None
        self._about = {"miner": miner.id, "epoch": of.epoch}

    async def run(self) -> Outcome:
        """Take the round to its end."""
        outcome, trouble = Outcome(), ""
        while True:
            try:
                record = await self._record()
                async with self._means.nodes.view() as view:
                    head = mind.Head(epoch=view.epoch, key=view.key, is_strange=await self._is_strange(view))
                    act = mind.act(self._means.clock(), self._of, head, self._known(record), self._base_from)
                    match act:
                        case mind.Wait(until):
                            await self._means.sleep(max(_LEAST_SLEEP_SECONDS, until - self._means.clock()))
                        case mind.Elect():
                            outcome = await self._elect(view)
                            if outcome.why:
                                return outcome
                        case mind.Done(why):
                            return with_(outcome, why=why, trouble=trouble)
                        case _:
                            assert record is not None
                            await self._go_on(view, act, record, trouble)
                            trouble = ""
            except errors.NodeError as error:
                trouble = str(error)
                log.warning("a step of mining failed", **self._about, why=trouble)
                if self._means.clock() >= self._of.ends:
                    await self._give_up(trouble)
                    return with_(outcome, trouble=trouble)
                await self._means.sleep(_AGAIN_SECONDS)

    async def _record(self) -> blocks.Record | None:
        return await self._store.read(lambda tx: blocks.find(tx, self._miner.id, self._of.epoch))

    def _known(self, record: blocks.Record | None) -> mind.Known | None:
        if record is None:
            return None
        has_proof = self._candidate is not None and self._candidate.proof is not None
        return mind.Known(stage=record.stage, has_proof=has_proof)

    async def _give_up(self, trouble: str) -> None:
        record = await self._record()
        if record is not None and record.stage in mind.OPEN:
            await self._let_go(record, trouble)

    async def _go_on(self, view: View, act: mind.Act, record: blocks.Record, trouble: str) -> None:
        match act:
            case mind.Prove():
                await self._prove(view, record)
            case mind.Sign():
                await self._sign(view, record)
            case mind.SignAgain():
                await self._have_signed(view, record)
            case mind.Submit():
                await self._submit(view, record)
            case mind.LetGo(reason):
                await self._let_go(record, f"{reason}; the last error: {trouble}" if trouble else reason)

    # Steps -----------------------------------------------------------------------------------------------------------

    async def _elect(self, view: View) -> Outcome:
        """Draw; record the round if it is won."""
        began = time.monotonic()
        base = await view.base_info(self._miner.address, self._of.epoch)
        if base is None:
            return Outcome(why="no sector of the miner can be challenged yet")
        if not base.is_eligible:
            return Outcome(why="the chain does not let the miner make blocks: too little power, or a debt")
        wanted = election.proof_input(base.entry, self._of.epoch, self._miner.address)
        proof = await self._drawn(view, base.worker, wanted)
        wins = election.wins(proof, base.power, base.network_power)
        drawn = Outcome(drawn=True, power=int(base.power), network_power=int(base.network_power))
        if not wins:
            return with_(drawn, why="not won")
        record = blocks.Record(
            miner=self._miner.id,
            epoch=self._of.epoch,
            won_at=self._means.clock(),
            wins=wins,
            election=ElectionProof(wins, Blob(proof)),
            power=int(base.power),
            network_power=int(base.network_power),
            sectors=[one.number for one in base.sectors],
            seconds={"elect": time.monotonic() - began},
        )
        self._candidate = _Candidate(base=base)
        with contextlib.suppress(sql_errors.IntegrityError):  # another manager was faster
            await self._store.write(partial(blocks.record_won, record=record))
        log.info("a block is won", **self._about, wins=wins, sectors=record.sectors)
        return drawn

    async def _drawn(self, view: View, worker: Address, data: bytes) -> bytes:
        """Have something signed that others verify, and verify it."""
        if worker.protocol is not Protocol.BLS:
            raise errors.NoNode(f"{view.node.url}: the worker {worker} of {self._miner.address} is no BLS key")
        signature = await view.node.sign(worker, data)
        if signature.type is not SignatureType.BLS or not await anyio.to_thread.run_sync(
            bls.verify, bytes(worker[1:]), data, signature.data
        ):
            raise errors.NoNode(f"{view.node.url} has signed something else than it was given: do not use it")
        return signature.data

    async def _prove(self, view: View, record: blocks.Record) -> None:
        base = self._candidate.base if self._candidate is not None else None
        if base is None:  # another process has drawn it
            base = await view.base_info(self._miner.address, self._of.epoch)
            if base is None:
                await self._let_go(record, "no sector of the miner can be challenged any more")
                return
        try:
            with anyio.fail_after(max(_LEAST_SLEEP_SECONDS, self._of.ends - self._means.clock())):
                proof, seconds = await self._means.prover.prove(self._miner, base, self._of.epoch)
        except TimeoutError:
            await self._let_go(record, f"the winning PoSt took longer than the round, {self._of.budget_seconds:.1f} s")
            return
        except NotProved as error:
            await self._let_go(record, f"no winning PoSt: {error}")
            return
        self._candidate = _Candidate(base=base, proof=proof)
        await self._save(record, blocks.with_(record, seconds=record.seconds | {"prove": seconds}))

    async def _sign(self, view: View, record: blocks.Record) -> None:
        """Record what the block is made of, on top of the head as it is now."""
        began = time.monotonic()
        candidate = self._candidate
        assert candidate is not None
        assert candidate.proof is not None
        base = await view.base_info(self._miner.address, self._of.epoch)
        if base is None or not _is_same(base, candidate.base):
            await self._let_go(record, "after a reorganisation another sector is challenged, or the miner may not mine")
            return
        address, epoch, tipset = self._miner.address, self._of.epoch, view.tipset
        drawn = election.ticket_input(base.entry, epoch, address, tipset.ticket)
        ticket = await self._drawn(view, base.worker, drawn)
        template = Template(
            miner=address,
            parents=Rows(view.key),
            ticket=Ticket(Blob(ticket)),
            election=record.election,
            beacon=base.entries,
            messages=tuple(await view.node.select(view.key, election.quality(ticket))),
            epoch=epoch,
            timestamp=tipset.timestamp + round(self._of.delay_seconds) * (epoch - view.epoch),
            winning_post=candidate.proof,
        )
        after = blocks.with_(record, seconds=record.seconds | {"gather": time.monotonic() - began})
        try:
            what = partial(blocks.record_signing, before=record, after=after, template=template, base_epoch=view.epoch)
            await self._store.write(what)
        except blocks.Fault as error:
            await self._let_go(record, f"not signed, since that would be a consensus fault: {error}")
        except sql_errors.IntegrityError:
            await self._let_go(record, "not signed: another manager has a block on the same parents")

    async def _have_signed(self, view: View, record: blocks.Record) -> None:
        """Have the block signed that is made of what is recorded, and record it before it is handed in."""
        began = time.monotonic()
        template = record.template
        assert template is not None
        block = await view.node.create_block(template)
        header = block.header
        worker = await view.key_of((await view.info(self._miner.address)).worker)
        signature = header.signature
        if not template.fits(header) or signature is None or signature.type is not SignatureType.BLS:
            raise errors.NoNode(f"{view.node.url} has made another block than it was told: do not use it")
        if not await anyio.to_thread.run_sync(bls.verify, bytes(worker[1:]), header.signing_bytes, signature.data):
            raise errors.NoNode(f"{view.node.url} has signed the block with another key than the worker's")
        seconds = record.seconds | {"sign": time.monotonic() - began}
        await self._save(
            record,
            blocks.with_(record, stage=Stage.SIGNED, block=block, cid=header.cid, seconds=seconds, template=None),
        )

    async def _submit(self, view: View, record: blocks.Record) -> None:
        began = time.monotonic()
        block = record.block
        assert block is not None
        try:
            await view.node.submit_block(block)
        except (errors.Away, errors.BadToken, errors.Forbidden):
            raise
        except errors.NodeError as error:
            await self._let_go(record, f"the node does not take it: {error}")
            return
        seconds = record.seconds | {"submit": time.monotonic() - began}
        handed_in = self._means.clock() - self._of.begins
        await self._save(record, blocks.with_(record, stage=Stage.SUBMITTED, seconds=seconds, handed_in=handed_in))
        log.info("block handed in", **self._about, cid=record.cid, seconds_after_its_epoch_began=round(handed_in, 2))

    async def _let_go(self, record: blocks.Record, reason: str) -> None:
        log.error("a block was won and is lost", **self._about, why=reason)
        await self._save(record, lost(record, reason))

    async def _save(self, before: blocks.Record, after: blocks.Record) -> None:
        await self._store.write(blocks.step(before, after))


def lost(record: blocks.Record, reason: str) -> blocks.Record:
    """Return the record of a round that is lost for a reason."""
    return blocks.with_(record, stage=Stage.LOST, why=reason, template=None, block=None)


def included(record: blocks.Record) -> blocks.Record:
    """Return the record of a round whose block is on the chain."""
    return blocks.with_(record, stage=Stage.INCLUDED, template=None, block=None)


def _is_same(base: BaseInfo, before: BaseInfo) -> bool:
    """Return whether what was won and proved holds on another base, too."""
    return (base.sectors, base.worker, base.entry, base.power, base.network_power, base.is_eligible) == (
        before.sectors,
        before.worker,
        before.entry,
        before.power,
        before.network_power,
        before.is_eligible,
    )
