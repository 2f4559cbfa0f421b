"""The loop of mining: a turn in each round for each miner that takes part in elections."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import anyio
import structlog

from damocles import beside, methods
from damocles.chain.addresses import Address
from damocles.chain.blocks import election
from damocles.lotus import errors
from damocles.lotus.answers import TipSet
from damocles.lotus.view import View
from damocles.manager.chain.terms import Miner
from damocles.manager.db.leases import Store
from damocles.manager.mining import blocks, mind, rounds, warmup
from damocles.manager.mining.mind import Stage
from damocles.pulse import Pulse
from damocles.rpc import core
from damocles.rpc import errors as rpc_errors
from damocles.wire import blocks as wire

log = structlog.get_logger(__name__)

DECIDED_EPOCHS = 5  # behind the head, where it is looked whether a block is on the chain
WARM_AGAIN_ROUNDS = 10
LOST_SECONDS = 24 * 3600.0  # for which a lost block is told
_DAY_EPOCHS = 2880
_AGAIN_SECONDS = 1.0
_SHOWN = 1000


@dataclass(slots=True, kw_only=True)
class _State:
    """What is known of a miner since the process runs."""

    miner: Miner
    drawn: int = 0
    expected: float = 0.0
    why: str = ""
    trouble: str = ""
    base_from: int | None = None
    strange: int | None = None  # height of the last block that something else has made
    seen: set[int] = field(default_factory=set)  # heights of the miner's blocks that were looked up
    warmth: warmup.Warmth | None = None


class Mining:
    """Makes the blocks of the miners whose configuration says so."""

    def __init__(self, means: rounds.Means, miners: Collection[Miner], delay_seconds: float) -> None:
        self._means = means
        self._delay_seconds = delay_seconds
        self._spread_seconds = mind.spread_seconds(delay_seconds)
        self._miners = miners
        self._known: dict[int, _State] = {}
        self._trouble = ""
        self._epoch = 0

    def _states(self) -> Mapping[int, _State]:
        """What is known of the miners that take part in elections now."""
        wanted = {miner.id: miner for miner in self._miners if miner.config.proof.enabled}
        self._known = {number: self._known.get(number) or _State(miner=miner) for number, miner in wanted.items()}
        for number, state in self._known.items():
            state.miner = wanted[number]
        return self._known

    def register(self, service: core.Service) -> None:
        """Serve the method."""
        service.add(methods.wdpost.blocks, self.listed)

    # For people ------------------------------------------------------------------------------------------------------

    def troubles(self) -> Mapping[str, str]:
        """Return what keeps miners from making blocks, by what it is about."""
        found = {"mining": self._trouble} if self._trouble and self._states() else {}
        for state in self._states().values():
            lines = [*(state.warmth.lacking if state.warmth is not None else ())]
            if state.strange is not None:
                lines.append(
                    f"another program has made the block of epoch {state.strange}: stop one of them, since two blocks at a"
                    " height cost the miner its power; this manager makes none meanwhile"
                )
            if state.trouble:
                lines.append(state.trouble)
            if lines:
                found[f"blocks of {state.miner.address}"] = "; ".join(lines)
        return found

    async def lost(self) -> Mapping[str, str]:
        """Return the blocks that were won and lost within a day, with the reason."""
        since = self._means.clock() - LOST_SECONDS
        found = await self._means.database.read(lambda tx: blocks.lost_since(tx, since))
        return {f"{Address.of_id(one.miner)} epoch {one.epoch}": one.why for one in found}

    async def listed(self, miner: int | None = None, count: int = 20) -> wire.Listed:
        """Return the miners that take part, and the last rounds that were won."""
        read = await self._means.database.read(lambda tx: blocks.latest(tx, miner, max(0, min(count, _SHOWN))))
        budget = mind.Round(
            epoch=0, begins=0, delay_seconds=self._delay_seconds, spread_seconds=self._spread_seconds
        ).budget_seconds
        return wire.Listed(
            miners=[
                wire.Mining(
                    miner=number,
                    epoch=self._epoch,
                    drawn=state.drawn,
                    expected_a_day=round(state.expected * _DAY_EPOCHS, 3),
                    budget_seconds=budget,
                    spread_seconds=self._spread_seconds,
                    warm=state.warmth.seconds if state.warmth is not None else None,
                    lacking=[text for what, text in self.troubles().items() if what.endswith(str(state.miner.address))],
                    why=state.why,
                )
                for number, state in self._states().items()
                if miner in {None, number}
            ],
            blocks=[
                wire.Block(
                    miner=one.miner,
                    epoch=one.epoch,
                    stage=one.stage.value,
                    wins=one.wins,
                    sectors=one.sectors,
                    won_at=one.won_at,
                    base_epoch=one.base_epoch,
                    cid=None if one.cid is None else str(one.cid),  # no link: only text
                    seconds={name: round(seconds, 3) for name, seconds in one.seconds.items()},
                    handed_in=one.handed_in,
                    why=one.why,
                )
                for one in read
            ],
        )

    # Rounds ----------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Make blocks, for ever."""
        while True:
            try:
                await self.once()
                self._tell("")
            except rpc_errors.DiskFails:
                await self._means.sleep(_AGAIN_SECONDS)  # reported by the database, and an alert
            except errors.NodeError as error:
                self._tell(str(error))
                await self._means.sleep(_AGAIN_SECONDS)
            except Exception:
                # The task is the daemon's: it must outlive what nobody thought of.
                log.exception("a round of mining failed; trying again")
                self._tell("it fails for a reason that is in the manager's log")
                await self._means.sleep(_AGAIN_SECONDS)

    def _tell(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            log.error("mining does not get on", why=trouble)
        self._trouble = trouble

    async def once(self) -> None:
        """Make the round that it is time for, and wait for the next.

        Raises:
            errors.NodeError: No node gives an answer.
        """
        async with self._means.nodes.view() as view:
            of = self.round(view.tipset)
            now = view.epoch + math.floor((self._means.clock() - view.tipset.timestamp) / self._delay_seconds)
            head = max(view.epoch, now)
        self._epoch = of.epoch
        async with anyio.create_task_group() as tasks:
            for state in list(self._states().values()):
                if state.base_from is None:  # whatever made blocks of the miner before, this process did not
                    state.base_from = mind.first_base(head)
                tasks.start_soon(self._turn, state, of)
        await self._means.sleep(max(0.0, of.ends - self._means.clock()))

    def round(self, tipset: TipSet) -> mind.Round:
        """Return the round that it is time for, counted from a tipset: the first that has not ended."""
        spread, delay = self._spread_seconds, self._delay_seconds
        passed = math.floor((self._means.clock() - spread - tipset.timestamp) / delay) + 1
        epoch = max(0, tipset.height + passed)
        begins = tipset.timestamp + (epoch - tipset.height) * delay
        return mind.Round(epoch=epoch, begins=begins, delay_seconds=delay, spread_seconds=spread)

    async def _turn(self, state: _State, of: mind.Round) -> None:
        try:
            if is_cold := self._is_cold(state, of):
                await self._warm(state, of)
            name, leases = f"blocks of {state.miner.address}", self._means.database.leases
            while True:
                since = leases.free.count
                async with leases.keeping([name]) as held:
                    if held.has(name):
                        if not is_cold:
                            await self._take_part(state, of, held)
                        await self._decide(state, of, held)
                        return
                state.why = "another manager makes the blocks"
                if not await self._may_be_free(leases.free, since, of):
                    return
        except rpc_errors.DiskFails:
            pass  # reported by the database, and an alert
        except errors.NodeError as error:
            state.trouble = str(error)
        except Exception:
            log.exception("a turn of mining failed", miner=state.miner.id, epoch=of.epoch)
            state.trouble = "it fails for a reason that is in the manager's log"

    async def _may_be_free(self, free: Pulse, since: int, of: mind.Round) -> bool:
        """Wait until the manager that makes the blocks may have died; false once the round is over."""

        async def end() -> None:
            await self._means.sleep(max(0.0, of.ends - self._means.clock()))
            scope.cancel("the round is over")

        with anyio.CancelScope() as scope:
            async with beside.running(end):
                await free.wait(since)
        return not scope.cancelled_caught

    @staticmethod
    def _is_cold(state: _State, of: mind.Round) -> bool:
        warmth = state.warmth
        return warmth is None or (bool(warmth.lacking) and of.epoch >= warmth.epoch + WARM_AGAIN_ROUNDS)

    async def _warm(self, state: _State, of: mind.Round) -> None:
        """Look whether a block could be made; the round is left out for that."""
        was, miner = state.warmth, state.miner
        async with self._means.nodes.view() as view:
            state.warmth = await warmup.look(
                view, miner, self._means.prover, max(of.epoch, view.epoch + 1), of.budget_seconds
            )
        for text in state.warmth.lacking:
            if was is None or text not in was.lacking:
                log.warning("blocks cannot be made", miner=miner.id, why=text)
        if not state.warmth.lacking:
            log.info("ready to make blocks", miner=miner.id, seconds=state.warmth.seconds)

    async def _take_part(self, state: _State, of: mind.Round, store: Store) -> None:
        assert state.base_from is not None

        async def is_strange(view: View) -> bool:
            return await self._look_for_others(state, view)

        turn = rounds.Turn(self._means, state.miner, of, store=store, base_from=state.base_from, is_strange=is_strange)
        outcome = await turn.run()
        state.why, state.trouble = outcome.why, outcome.trouble
        if outcome.drawn:
            state.drawn += 1
            state.expected = election.mean_wins(outcome.power, outcome.network_power)

    async def _look_for_others(self, state: _State, view: View) -> bool:
        """Return whether something else makes blocks of the miner, by what is in the head."""
        height = view.epoch
        own = [
            cid
            for cid, block in zip(view.tipset.cids, view.tipset.blocks, strict=True)
            if block.miner == state.miner.address
        ]
        if own and height not in state.seen:
            state.seen = {one for one in state.seen if one > height - mind.QUIET_EPOCHS} | {height}
            record = await self._means.database.read(lambda tx: blocks.find(tx, state.miner.id, height))
            if record is None or record.cid not in own or len(own) > 1:
                state.strange = height
                log.error("another program makes blocks of the miner", miner=state.miner.id, epoch=height, blocks=own)
        if state.strange is not None and height > state.strange + mind.QUIET_EPOCHS:
            state.strange = None
        return state.strange is not None

    async def _decide(self, state: _State, of: mind.Round, store: Store) -> None:
        """Note what became of earlier rounds: lost, or on the chain."""
        number = state.miner.id
        for record in await store.read(lambda tx: blocks.undecided(tx, number, of.epoch)):
            if record.stage is not Stage.SUBMITTED:
                after = rounds.lost(record, "the manager was away, or had no answer, until it was too late")
                log.error("a block was won and is lost", miner=number, epoch=record.epoch, why=after.why)
            elif record.epoch <= of.epoch - DECIDED_EPOCHS:
                async with self._means.nodes.view() as view:
                    if view.epoch < record.epoch + DECIDED_EPOCHS:
                        continue
                    there = await view.node.tipset_at(record.epoch, view.key)
                is_included = record.cid in there.cids
                why = "the chain went on without it: it came too late, or its parents were left behind"
                after = rounds.included(record) if is_included else rounds.lost(record, why)
                if not is_included:
                    log.error("a block was handed in and is lost", miner=number, epoch=record.epoch, why=why)
            else:
                continue
            await store.write(blocks.step(record, after))
        if of.epoch % _DAY_EPOCHS == 0:
            await store.write(lambda tx: blocks.forget(tx, number, of.epoch - blocks.KEPT_EPOCHS), durable=False)
