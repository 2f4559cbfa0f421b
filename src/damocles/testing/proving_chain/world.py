"""Windows of some miners, while manager, node, chain, provers, disks and clocks do what the dice say."""

import contextlib
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest import mock

import anyio
import msgspec

from damocles import failpoints
from damocles.chain.addresses import Address
from damocles.chain.bitfields import Bitfield
from damocles.devnode import beginnings, mischief, state, tipsets
from damocles.lotus import errors as lotus_errors
from damocles.manager.chain.terms import Miner
from damocles.manager.config import load
from damocles.manager.db import engine
from damocles.manager.plans.wdpost_askers import ASKING_SECONDS
from damocles.manager.sectors import ledger
from damocles.parameters import preflight
from damocles.testing import on_chain
from damocles.testing.proving_chain import options, plants, processes, several, watching
from damocles.testing.proving_chain.checks import check
from damocles.testing.proving_chain.machines import CLOCK_SECONDS
from damocles.testing.proving_chain.manager import STORE, Place
from damocles.testing.proving_chain.options import FIRST_MINER, Options
from damocles.testing.proving_chain.proofs import Disks, is_proof
from damocles.testing.proving_chain.provers import KINDS, Children, Kind, Worker
from damocles.testing.sealing_chain import direct
from damocles.testing.sealing_chain.direct import BLOCK_SECONDS, Died
from damocles.testing.simulation import virtual
from damocles.wire.codec import CID, Bytes32
from damocles.wire.sectors import SectorID

WORKER = Address.of_id(beginnings.WORKER)
_KINDS: tuple[mischief.Kind, ...] = ("error", "hang up", "hang up", "missing", "slow")
_METHODS = (
    *("ChainHead", "StateSearchMsg", "GasEstimateMessageGas", "WalletSign", "MpoolPush", "MpoolGetNonce", "*"),
    *("StateMinerPartitions", "StateMinerDeadlines", "StateMinerSectors", "StateGetRandomnessFromBeacon"),
)
_FAILING = (5, 5, 10, 11)  # methods: proofs of windows, faults, recoveries
_FIRST_EPOCH = 12  # before anything is due
_FOLLOW_UP_EPOCHS = 4 * options.CONFIDENCE
with_ = msgspec.structs.replace


class World:
    """One run."""

    def __init__(self, seed: int, base: Path, of: Options, story: list[str]) -> None:
        self._dice = random.Random(seed)  # noqa: S311 (it is to be the same again)
        self._base = base
        self._options = of
        self._story = story
        self.devnode, _ = beginnings.begin(
            options.RULES, accepts_any_proof=True, secret=self._dice.randbytes(32), clock=virtual.wall_clock
        )
        self.devnode.chain.executor.verify = is_proof
        self.watch = watching.Watch(self.devnode, self._tell)
        self.node = watching.Node(self.devnode, self.watch)
        self.disks = Disks()
        self.strangers: set[str] = set()
        self.miners = [FIRST_MINER + index for index in range(self._dice.choice((1, 1, 1, 2, 3)))]
        self._highest = 0
        self._is_calm = True  # until the first life
        self._death = self._dice.choice((0.0, 0.0005, 0.002, 0.01))
        self._trouble = self._dice.choice((0.2, 1.0, 1.0, 2.0))
        self._is_forked_beacon = self._dice.random() < 0.5
        self.managers = several.Managers(seed, self._dice.uniform(-0.002, 0.002), self._tell)
        self._is_steady = False  # the clock does not jump
        self._forks = options.forks(seed)
        self._is_forked_beacon |= any(fork.fails_at is None for fork in self._forks)
        self.doomed: set[CID] = set()  # messages that have failed on a chain because they were to
        self._back_at = 0  # epoch at which a node that is away, or behind, is well again
        self.sound_since = 0.0  # seconds; infinite if nobody ever does his work

    def _tell(self, what: str) -> None:
        self._story.append(f"[{self.devnode.chain.head.height}, {anyio.current_time():.0f} s] {what}")

    def reach(self, name: str, _file: Path | None = None) -> None:
        """Die here, or be frozen, if the dice say so."""
        if self._is_calm or name.startswith("answer."):
            return
        if self._dice.random() < self._death:
            self._tell(f"a manager dies at {name}")
            raise Died(name)
        self.managers.reach(name)

    async def run(self) -> None:
        """Live through the windows.

        Raises:
            Violation: Something does not hold.
        """
        await self.devnode.step(_FIRST_EPOCH)
        self._begin()
        with (
            mock.patch.object(failpoints, "reach", self.reach),
            mock.patch.object(preflight, "lacking_for_post", return_value=None),
            mock.patch.object(tipsets.Draws, "beacon", self._beacon()),
            plants.planted(self._options.plant, self._dice),
        ):
            async with self.managers.open(self._base / "manager.db") as database:
                await self._live(database)

    def _beacon(self) -> Callable[[tipsets.Draws, int, int, bytes], bytes]:
        """Return how challenges are drawn: as everybody's, or by a beacon of which each fork has another one."""
        drawn, is_forked = tipsets.Draws.beacon, self._is_forked_beacon

        def beacon(draws: tipsets.Draws, domain: int, epoch: int, entropy: bytes) -> bytes:
            if not is_forked:
                return drawn(draws, domain, epoch, entropy)
            return draws.tickets(domain, epoch, entropy)

        return beacon

    # How it begins.

    def _begin(self) -> None:
        """Put the miners with their sectors onto the chain, and damage some."""
        dice, head = self._dice, self.devnode.chain.head
        assert head.state is not None
        first = head.state.miners[FIRST_MINER]
        made = {}
        for miner in self.miners:
            numbers = iter(range(1, 10_000))
            deadlines = list(first.deadlines)
            sectors: dict[int, state.Sector] = {}
            for deadline in options.DEADLINES:
                count = dice.choice((1, 1, 2, 3, 4, 8))
                partitions = [[next(numbers) for _ in range(dice.choice((1, 2, 2)))] for _ in range(count)]
                put = [self._partition(some) for some in partitions]
                deadlines[deadline] = with_(deadlines[deadline], partitions=tuple(put))
                sectors |= {
                    number: on_chain.sector(number, comm_r(miner, number)) for some in partitions for number in some
                }
            made[miner] = with_(first, sectors=sectors, deadlines=tuple(deadlines), cron_active=True)
            for number in sectors:
                if dice.random() < 0.12:
                    since = self.seconds(dice.randint(-20, options.LAST))
                    self.disks.damaged[miner, number] = since, since + dice.choice((10, 40, 1000)) * BLOCK_SECONDS
        changed = with_(head, state=with_(head.state, miners=made))
        self.devnode.chain.known[head.key] = self.devnode.chain.head = changed

    def _partition(self, some: list[int]) -> state.Partition:
        faulty = [number for number in some if self._dice.random() < 0.08]
        return state.Partition(
            all=Bitfield(some), live=Bitfield(some), faulty=Bitfield(faulty), faulty_since=dict.fromkeys(faulty, 0)
        )

    def _configured(self) -> list[Miner]:
        posts = {
            "Confidence": options.CONFIDENCE,
            "GasFeeCap": "",
            "MaxPartitionsPerPoStMessage": self._dice.choice((0, 0, 1, 2)),
        }
        tables = [{"Actor": miner, "PoSt": posts} for miner in self.miners]
        said = {"Chain": {"Nodes": [{"API": "127.0.0.1:1"}]}, "Miners": tables}
        found = load.check(said, "world").miners
        return [
            Miner(id=miner, proof=on_chain.PROOF, config=table) for miner, table in zip(self.miners, found, strict=True)
        ]

    def _workers(self, prove_here: int) -> list[tuple[Worker, float]]:
        """Return the workers, each with when it comes; note from when on somebody does his work."""
        dice = self._dice
        kinds = dice.sample(KINDS, dice.randint(0, 3))
        last = self.seconds(options.close(options.DEADLINES[0]) - options.CALM_EPOCHS)
        times = [
            dice.uniform(0, last) for _ in range(dice.choice((0, 1, 1, 2)) if prove_here else dice.choice((1, 1, 2)))
        ]
        if not prove_here and dice.random() < 0.1:
            times = []
        self.sound_since = 0.0 if prove_here else min(times, default=float("inf"))
        if "lies about faults" in kinds:
            # It is believed where nobody is known who could look, too: without an honest one, or one that was lost sight of.
            self._is_steady = True
            times = [0.0, *times]
            self.sound_since = 0.0
        comes: list[tuple[Kind, float]] = [("works", at) for at in times]
        comes += [(kind, dice.uniform(ASKING_SECONDS, last)) for kind in kinds]
        return [
            (
                Worker(
                    kind,
                    number,
                    ask=self.managers.door(number),
                    disks=self.disks,
                    dice=dice,
                    proves=self.watch.proves,
                    tell=self._tell,
                ),
                at,
            )
            for number, (kind, at) in enumerate(comes)
        ]

    # What happens.

    async def _live(self, database: engine.Database) -> None:
        (self._base / STORE).mkdir()
        for sector in [SectorID(miner, number) for miner in self.miners for number in self.sectors(miner)]:
            await database.write(partial(ledger.place_files, sector=sector, store=STORE, upgrade=False))
        prove_here = self._dice.choice((0, 0, 1, 2))
        place = Place(
            database=database,
            devnode=self.devnode,
            node=self.node,
            miners=self._configured(),
            children=Children(self.disks, self._dice, self.watch.proves),
            prove_here=prove_here,
            store=self._base / STORE,
            clock=virtual.wall_clock,
        )
        async with anyio.create_task_group() as group:
            for machine in self.managers.machines:
                group.start_soon(self.managers.lives, machine, place, self._pause)
            for worker, since in self._workers(prove_here):
                self._tell(f"{worker.name} comes after {since:.0f} s")
                group.start_soon(worker.run, since)
            while self.devnode.chain.head.height < options.LAST + _FOLLOW_UP_EPOCHS:
                await self._time_passes()
            group.cancel_scope.cancel("all windows are closed")
        await check(self, database)

    def sectors(self, miner: int) -> dict[int, state.Sector]:
        """Return the sectors of a miner."""
        head = self.devnode.chain.head.state
        assert head is not None
        return head.miners[miner].sectors

    def _pause(self) -> float:
        return 1.0 if self._is_calm else self._dice.choice((1, 5, 60, 200))

    async def _time_passes(self) -> None:
        devnode, epoch = self.devnode, self._highest + 1
        nulls = 0
        self._is_calm = options.is_calm(epoch)
        if self._is_calm or epoch >= self._back_at:
            devnode.mischief.clear() if self._is_calm or self._back_at else None
            self._back_at = 0
        if self._is_calm:
            self.managers.heal()
            devnode.set_base_fee(100)
            for method in _FAILING:
                devnode.doom(method, 0)  # nothing fails that was not sent yet
        elif self._chance(0.05):
            nulls = self._dice.randint(1, 3)
            devnode.null_rounds(nulls)
        await anyio.sleep((1 + nulls) * BLOCK_SECONDS)
        if not self._is_calm:
            await self._trouble_comes()
        await devnode.step()
        self._highest = max(self._highest, devnode.chain.head.height)
        self.watch.look(self.miners, self._highest)

    def _chance(self, often: float) -> bool:
        return self._dice.random() < often * self._trouble

    async def _trouble_comes(self) -> None:
        dice, devnode = self._dice, self.devnode
        for fork in self._forks:
            await self._fork_comes(fork)
        if self._chance(0.08):
            await self._reorganise(dice.random() < 0.4)
        if self._chance(0.03):
            self._tell("the node loses its pool")
            devnode.chain.pool.remove(devnode.chain.pool.all())
        if self._chance(0.03):
            devnode.set_base_fee(10 ** dice.randint(3, 9))
        if self._chance(0.08):
            kind, method = dice.choice(_KINDS), dice.choice(_METHODS)
            seconds = dice.choice((5.0, 40.0)) if kind == "slow" else 0.0
            devnode.disturb(
                method, kind, text="no", times=dice.randint(1, 3), late=dice.random() < 0.5, seconds=seconds
            )
            self._tell(f"{method}: {kind}")
        if self._chance(0.03) and not self._back_at:
            self._back_at = self._highest + dice.randint(1, 8)
            if dice.random() < 0.5:
                devnode.disturb("*", "hang up", text="", times=None)
                self._tell(f"the node is away until {self._back_at}")
            else:
                devnode.mischief.behind = dice.randint(1, 5)
                self._tell(f"the node is {devnode.mischief.behind} epochs behind until {self._back_at}")
        if self._chance(0.03):
            await self._stranger_sends()
        if self._chance(0.03):
            devnode.doom(dice.choice(_FAILING))
            self._tell("a message is to fail on the chain")
        if self._chance(0.03) and not self._is_steady:
            clocks = self.managers.machines[0].clocks
            clocks.off = dice.uniform(-CLOCK_SECONDS, CLOCK_SECONDS)
            self._tell(f"the manager's clock jumps to {clocks.off:.0f} s off")
        self.managers.trouble(may_jump=not self._is_steady)

    async def _fork_comes(self, fork: options.Fork) -> None:
        if fork.fails_at == self._highest:
            self.devnode.doom(_FAILING[0], 3)
            self._tell("window PoSts are to fail on the chain")
        if fork.at == self._highest:
            drop = fork.fails_at is not None
            if drop:
                self.doomed.update(self.devnode.chain.executor.doomed)
                self.devnode.chain.executor.doomed.clear()
            await self._go_back(self._depth(fork.lowest - 1), drop=drop)

    def _depth(self, lowest: int) -> int:
        """Return how many tipsets there are above an epoch that may be abandoned."""
        lowest = max(lowest, options.floor(self._highest), _FIRST_EPOCH)
        return sum(1 for tipset in self.devnode.chain.back(self.devnode.chain.head) if tipset.height > lowest)

    async def _go_back(self, depth: int, *, drop: bool) -> None:
        if depth:
            await self.devnode.reorganise(depth, drop=drop)
            self._tell(f"{depth} tipsets are abandoned, {'with' if drop else 'without'} their messages")

    async def _reorganise(self, drop: bool) -> None:
        depth = self._depth(self._highest - options.DEEPEST)
        if depth:
            await self._go_back(self._dice.choice((1, 1, min(2, depth), self._dice.randint(1, depth))), drop=drop)

    async def _stranger_sends(self) -> None:
        with contextlib.suppress(lotus_errors.NodeError), mock.patch.object(failpoints, "reach"):
            signed = await direct.sign_as(self.node, WORKER)
            self.strangers.add(signed.cid)
            await self.node.push(signed)
            self._tell(f"somebody sends with nonce {signed.message.nonce}")

    def seconds(self, epoch: int) -> float:
        """Return when an epoch begins, in virtual seconds."""
        return (epoch - _FIRST_EPOCH) * BLOCK_SECONDS

    def seed(self, miner: int, deadline: int, head: tipsets.TipSet | None = None) -> bytes:
        """Return the challenge of a window as the chain has it."""
        return self.watch.seed(miner, deadline, head or self.devnode.chain.head)


def comm_r(miner: int, number: int) -> Bytes32:
    """Return the commitment of a sector."""
    return Bytes32(bytes([number % 251, miner % 251]) * 16)


def run_seed(seed: int, base: Path, of: Options, story: list[str]) -> None:
    """Run a seed in a folder.

    Raises:
        Violation: Something does not hold.
    """

    async def main() -> None:
        await World(seed, base, of, story).run()

    virtual.run(main, processes.Loop)
