"""Sectors on their way onto a devnode, while manager, node and chain do what the dice say.

What has to hold, whatever dies: every sector is proven; each by one pre-commit and one proof that the chain executed, and no message of
ours fails there; every message on the chain is recorded; one that was recorded as landed is on the chain, where the record says;
no two orders have had one nonce while both could land.
"""

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest import mock

import anyio
from sqlalchemy import select

from damocles import failpoints
from damocles.chain import methods, tuples
from damocles.chain.addresses import Address
from damocles.chain.messages import Message, SignedMessage
from damocles.devnode import beginnings
from damocles.devnode.mischief import Kind
from damocles.devnode.rules import Rules
from damocles.lotus import errors as lotus_errors
from damocles.lotus.nodes import Nodes
from damocles.manager.chain.lotus import LotusChain
from damocles.manager.chain.rounds import Rounds
from damocles.manager.chain.terms import Miner
from damocles.manager.config import load
from damocles.manager.db import engine, tables
from damocles.manager.db.leases import Held
from damocles.manager.errors import ManagerError
from damocles.manager.outbox import fees, lotus, node, orders, sending
from damocles.manager.sectors import commitments, ledger
from damocles.testing.believing import Believing
from damocles.testing.sealing_chain import direct
from damocles.testing.sealing_chain.direct import BLOCK_SECONDS, Died, DirectNode
from damocles.testing.simulation import virtual
from damocles.testing.simulation.disks import Violation
from damocles.wire import commitments as cids
from damocles.wire import seal
from damocles.wire.codec import Bytes32
from damocles.wire.sectors import SealProof, SectorID

MINER, PROOF, WORKER = 1000, SealProof(5), Address.of_id(beginnings.WORKER)
SECTORS = 3
CONFIDENCE = 4
TROUBLE_EPOCHS, MOST_EPOCHS = 120, 600
_KINDS: tuple[Kind, ...] = ("error", "hang up", "hang up", "missing")
_METHODS = ("ChainHead", "StateSearchMsg", "GasEstimateMessageGas", "WalletSign", "MpoolPush", "MpoolGetNonce", "*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Bugs to plant: a nonce from the chain alone, a push before the record, a receipt that counts at once."""

    nonce_of_chain: bool = False
    push_first: bool = False
    hasty: bool = False


class _PushFirst(sending.Outbox):
    """Pushes what is not recorded yet."""

    async def _sign(self, order: orders.Order, view: node.View, trial: Message, paid: fees.Fees, held: Held) -> None:
        message = Message(
            **{name: getattr(trial, name) for name in Message.__struct_fields__}
            | {"gas_limit": paid.gas_limit, "gas_fee_cap": paid.cap, "gas_premium": paid.premium}
        )
        made = await view.sign(message)
        await view.push(made)
        signed = orders.Signed(message=made, epoch=view.epoch, fills=trial.to == trial.sender)
        await held.write(lambda tx: orders.sign(tx, order, signed))


class World:
    """One run."""

    def __init__(self, seed: int, base: Path, options: Options, story: list[str]) -> None:
        self._dice = random.Random(seed)  # noqa: S311 (it is to be the same again)
        self._base = base
        self._options = options
        self._story = story
        self._devnode, _ = beginnings.begin(
            Rules(challenge_delay=3), accepts_any_proof=True, secret=self._dice.randbytes(32), clock=virtual.wall_clock
        )
        self._node = DirectNode(self._devnode)
        self._highest = 0
        self._strangers: set[str] = set()
        self._is_calm = False

    def _tell(self, what: str) -> None:
        self._story.append(f"[{self._devnode.chain.head.height}] {what}")

    def reach(self, name: str, _file: Path | None = None) -> None:
        """Die here, if the dice say so."""
        if not self._is_calm and not name.startswith("answer.") and self._dice.random() < 0.01:
            self._tell(f"the manager dies at {name}")
            raise Died(name)

    async def run(self) -> None:
        """Seal the sectors.

        Raises:
            Violation: Something does not hold.
        """
        await self._devnode.step(20)
        with mock.patch.object(failpoints, "reach", self.reach), self._planted():
            # A death leaves of a transaction what the database makes of it, all or nothing; to open the file anew would show
            # nothing else, and is a third of what a seed costs.
            async with engine.open_sqlite(self._base / "manager.db") as database:
                await self._lives(database)

    async def _lives(self, database: engine.Database) -> None:
        sectors: list[SectorID] = []
        while True:
            with contextlib.suppress(Died):
                rounds, commits = self._manager(database)
                await self._work(rounds, commits, database, sectors)
                await self._check(database, sectors)
                return
            if self._devnode.chain.head.height > MOST_EPOCHS:
                raise Violation("the manager dies for ever")

    @contextlib.contextmanager
    def _planted(self) -> Iterator[None]:
        if not self._options.nonce_of_chain:
            yield
            return

        async def of_chain(view: lotus.LotusView, sender: Address) -> int:
            return await view.nonce(sender, depth=0)

        with (
            mock.patch.object(orders, "last_nonce", return_value=-1),
            mock.patch.object(lotus.LotusView, "pool_nonce", of_chain),
        ):
            yield

    def _manager(self, database: engine.Database) -> tuple[Rounds, commitments.Commitments]:
        """Return what a manager that has just started knows: the database, and nothing else."""
        table = {"Confidence": 0 if self._options.hasty else CONFIDENCE}
        for kind, threshold in (("Pre", 2), ("Prove", 1)):
            table[kind] = {"GasFeeCap": "", "Batch": {"Threshold": threshold, "MaxWait": "2m", "GasFeeCap": ""}}  # type: ignore[assignment]
        said = {"Chain": {"Nodes": [{"API": "127.0.0.1:1"}]}, "Miners": [{"Actor": MINER, "Commitment": table}]}
        miner = Miner(id=MINER, proof=PROOF, config=load.check(said, "world").miners[0])
        nodes = Nodes([self._node], clock=virtual.wall_clock)
        rounds = direct.rounds(database, self._devnode, nodes, [miner])
        if self._options.push_first:
            rounds.outbox.__class__ = _PushFirst
        chain = LotusChain(
            database=database, nodes=nodes, network=direct.network(self._devnode), verifier=Believing(), rounds=rounds
        )
        return rounds, commitments.Commitments(database, chain, virtual.wall_clock)

    async def _work(
        self, rounds: Rounds, commits: commitments.Commitments, database: engine.Database, sectors: list[SectorID]
    ) -> None:
        while True:
            self._is_calm = self._devnode.chain.head.height > TROUBLE_EPOCHS
            await self._time_passes()
            done = 0
            with contextlib.suppress(ManagerError, lotus_errors.NodeError, node.Unavailable):
                if len(sectors) < SECTORS:
                    sectors.append(await self._allocate(database))
                for sector in sectors:
                    done += await self._attend(commits, database, sector)
                await rounds.once()
            if done == SECTORS:
                return
            if self._devnode.chain.head.height > MOST_EPOCHS:
                raise Violation(f"only {done} of {SECTORS} sectors are proven; what waits: {rounds.outbox.waiting}")

    async def _allocate(self, database: engine.Database) -> SectorID:
        miner = ledger.Miner(id=MINER, proof=PROOF)
        allocate = partial(ledger.allocate, miner=miner, receiver=ledger.NOBODY, now=0.0)
        made = await database.write(allocate)
        assert made is not None
        return made.id

    async def _attend(self, commits: commitments.Commitments, database: engine.Database, sector: SectorID) -> bool:
        """Do what a worker does next for a sector; return whether it is proven."""
        record = await database.read(lambda tx: ledger.load(tx, sector))
        if record.pre_commit is None:
            ticket = await commits.assign_ticket(sector)
            replica = Bytes32(bytes([sector.number, 1]) * 16)
            content = seal.PreCommit(replica, Bytes32(cids.zero_comm_d(PROOF.size)), ticket)
            await commits.submit_pre_commit(seal.AllocatedSector(sector, PROOF), content, False)
        elif record.submitted_proof is None:
            if self._landed(await commits.poll_pre_commit_state(sector), sector):
                seed = await commits.wait_seed(sector, PROOF)
                if not seed.should_wait:
                    await commits.submit_proof(sector, seal.Proof(bytes([sector.number]) * 192), False)
        else:
            return self._landed(await commits.poll_proof_state(sector), sector)
        return False

    def _landed(self, polled: seal.Polled, sector: SectorID) -> bool:
        if polled.state >= seal.OnChainState.NOT_FOUND:
            raise Violation(f"{sector} is given up: {polled.desc}")
        return polled.state == seal.OnChainState.LANDED

    # What happens meanwhile.

    async def _time_passes(self) -> None:
        dice, devnode = self._dice, self._devnode
        await anyio.sleep(BLOCK_SECONDS)
        if not self._is_calm:
            self._highest = max(self._highest, devnode.chain.head.height)
            if dice.random() < 0.1:
                await self._reorganise(dice.random() < 0.4)
            if dice.random() < 0.05:
                self._tell("the node loses its pool")
                devnode.chain.pool.remove(devnode.chain.pool.all())
            if dice.random() < 0.04:
                devnode.set_base_fee(10 ** dice.randint(3, 9))
            if dice.random() < 0.05:
                devnode.null_rounds(dice.randint(1, 3))
            if dice.random() < 0.1:
                kind: Kind = dice.choice(_KINDS)
                method = dice.choice(_METHODS)
                devnode.disturb(method, kind, text="no", times=dice.randint(1, 3), late=dice.random() < 0.5)
                self._tell(f"{method}: {kind}")
            if dice.random() < 0.03:
                await self._stranger_sends()
        else:
            devnode.mischief.clear()
        await devnode.step()

    async def _reorganise(self, drop: bool) -> None:
        """Abandon tipsets, none of which is as deep as the confidence."""
        depth = sum(
            1
            for tipset in self._devnode.chain.back(self._devnode.chain.head)
            if tipset.height > self._highest - CONFIDENCE
        )
        if depth:
            depth = self._dice.randint(1, depth)
            self._tell(f"{depth} tipsets are abandoned, {'with' if drop else 'without'} their messages")
            await self._devnode.reorganise(depth, drop=drop)

    async def _stranger_sends(self) -> None:
        """Let somebody with the same key send a message."""
        with contextlib.suppress(lotus_errors.NodeError):
            signed = await direct.sign_as(self._node, WORKER)
            self._strangers.add(signed.cid)
            await self._node.push(signed)
            self._tell(f"somebody sends with nonce {signed.message.nonce}")

    # What has to hold.

    async def _check(self, database: engine.Database, sectors: list[SectorID]) -> None:
        state = (await self._devnode.step(2 * CONFIDENCE)).state
        assert state is not None
        proven = set(state.miners[MINER].sectors)
        if missing := {sector.number for sector in sectors} - proven:
            raise Violation(f"sectors {missing} are recorded as proven, and are not")
        found = await database.read(
            lambda tx: tx.execute(select(tables.outbox_signed.c.cid, tables.outbox_signed.c.order_id)).all()
        )
        order_of = {row.cid: row.order_id for row in found}
        executed: dict[int, list[tuple[SignedMessage, int, int]]] = {}
        for signed, tipset, code in direct.executed(self._devnode.chain):
            if signed.cid in self._strangers:
                continue
            if signed.cid not in order_of:
                raise Violation(f"message {signed.cid} is on the chain and not recorded")
            if code and signed.message.method:
                raise Violation(
                    f"a message of order {order_of[signed.cid]} has failed with {code}: it was sent twice, or too early"
                )
            executed.setdefault(order_of[signed.cid], []).append((signed, tipset.height, code))
        for order_id, those in executed.items():
            if len(those) > 1:
                raise Violation(f"{len(those)} messages of order {order_id} were executed")
        await self._check_orders(database, executed)

    async def _check_orders(
        self, database: engine.Database, executed: dict[int, list[tuple[SignedMessage, int, int]]]
    ) -> None:
        all_of_them = await database.read(lambda tx: orders._orders(tx, tables.outbox.c.id > 0))  # noqa: SLF001
        for order in all_of_them:
            if order.state is orders.State.LANDED:
                assert order.receipt is not None
                landed = executed.get(order.id)
                if not landed or landed[0][1] != order.receipt.epoch:
                    raise Violation(
                        f"order {order.id} is recorded as landed at {order.receipt.epoch}, the chain has {landed}"
                    )
            if "is not ours" in order.reason and not self._strangers:
                raise Violation(f"order {order.id} lost its nonce to another one of ours")
        numbers = [number for order in all_of_them for number in _numbers(order)]
        if order_twice := {number for number in numbers if numbers.count(number) > 1}:
            raise Violation(f"{order_twice} are in two messages that landed")


def _numbers(order: orders.Order) -> list[tuple[int, int]]:
    """Return the sectors of a message that landed, each with the method."""
    if order.state is not orders.State.LANDED or (order.receipt is not None and order.receipt.exit_code):
        return []
    match order.wish.method:
        case methods.PRE_COMMIT.number:
            params = tuples.decode(order.wish.params, methods.PRE_COMMIT.params)
            return [(order.wish.method, one.sector_number) for one in params.sectors]
        case methods.PROVE_COMMIT.number:
            params = tuples.decode(order.wish.params, methods.PROVE_COMMIT.params)
            return [(order.wish.method, one.sector_number) for one in params.activations]
        case _:
            return []


def run_seed(seed: int, base: Path, options: Options, story: list[str]) -> None:
    """Run a seed in a folder.

    Raises:
        Violation: Something does not hold.
    """

    async def main() -> None:
        await World(seed, base, options, story).run()

    virtual.run(main)
