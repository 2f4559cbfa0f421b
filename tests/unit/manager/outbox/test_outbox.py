"""Whatever dies, is lost or abandoned between a decision and its receipt: every order lands once."""

import random
from collections import defaultdict
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, select
from sqlalchemy.exc import IntegrityError
from tests.unit.manager.outbox.sham import MINER, SENDERS, Chain, Crash, Node

from damocles.chain.amounts import Amount
from damocles.chain.messages import SignedMessage
from damocles.manager.db import engine, tables
from damocles.manager.outbox import fees, following, node, orders, sending
from damocles.manager.outbox.fees import Policy

POLICY = Policy(confidence=5, stuck_epochs=8, wait_above=Amount(400))
TERMS = sending.Terms(senders=SENDERS, policy=POLICY)
SEEDS = 20


class Dying(engine.Database):
    """A database whose process dies right before, or right after, a commit."""

    dice: random.Random
    deaths = 0.0  # how often a write ends with one

    async def write(self, transaction, *, durable=True, patience_seconds=None):
        """Write, and die if it is time."""
        if self.dice.random() < self.deaths:
            raise Crash
        result = await super().write(transaction, durable=durable, patience_seconds=patience_seconds)
        if self.dice.random() < self.deaths:
            raise Crash
        return result


class World:
    """A chain, a manager that is started again whenever it dies, and what must hold."""

    def __init__(self, seed: int, database: engine.Database, outbox: type[sending.Outbox]) -> None:
        self.dice = random.Random(seed)
        self.chain = Chain(self.dice, finality=POLICY.confidence - 1)
        self.node = Node(self.chain, self.dice)
        database.__class__ = Dying
        assert isinstance(database, Dying)
        database.dice = self.dice
        self.database = database
        self.kind = outbox
        self.wanted: dict[int, bytes] = {}
        self.withdrawn: set[int] = set()
        self.violations: list[str] = []

    async def run(self) -> list[str]:
        """Live through trouble, heal, and return what does not hold."""
        outbox = self.kind(self.database, self.node, lambda *_: TERMS)
        for step in range(160):
            self.node.trouble = self.database.deaths = 0.06 if step < 60 else 0.0
            if step < 60:
                await self._happen()
            else:
                self.chain.base_fee = 100
            self.chain.mine()
            try:
                await outbox.turn()
            except node.Unavailable:
                pass
            except Crash:
                outbox = self.kind(self.database, self.node, lambda *_: TERMS)
            await self._check_pushed()
        await self._check_ends()
        return self.violations

    async def _happen(self) -> None:
        dice, chain = self.dice, self.chain
        if dice.random() < 0.3:
            params = f"order {len(self.wanted)}".encode()
            wish = orders.Wish(miner=1000, kind="pre-commit", to=MINER, method=28, params=params)
            put = engine.Database.write(self.database, lambda tx: orders.put(tx, wish, 0.0))
            self.wanted[await put] = params
        if dice.random() < 0.1:
            chain.reorganise(dice.randint(1, chain.finality))
        if dice.random() < 0.05:
            chain.pool.clear()
        if dice.random() < 0.03:
            chain.somebody_sends(dice.choice(SENDERS))
        if dice.random() < 0.05:
            chain.somebody_pushes(dice.choice(SENDERS))
        if dice.random() < 0.03 and self.wanted:
            chain.doomed.add(dice.choice(list(self.wanted.values())))
        if dice.random() < 0.05 and self.wanted:
            number = dice.choice(list(self.wanted))
            self.withdrawn.add(number)
            await engine.Database.write(self.database, lambda tx: orders.withdraw(tx, number, "not wanted any more"))
        chain.base_fee = max(50, min(1000, int(chain.base_fee * dice.uniform(0.8, 1.25))))

    async def _check_pushed(self) -> None:
        known = await self.database.read(lambda tx: set(tx.execute(select(tables.outbox_signed.c.cid)).scalars()))
        self.violations += [f"{one.cid} pushed and not recorded" for one in self.node.pushed if one.cid not in known]
        self.node.pushed.clear()

    async def _check_ends(self) -> None:
        executed = defaultdict(list)
        for epoch, messages in enumerate(self.chain.epochs):
            for one in messages:
                if isinstance(one, SignedMessage) and one.message.to == MINER:
                    executed[bytes(one.message.params)].append(epoch)
        for number, params in self.wanted.items():
            order = await self.database.read(partial(_load, number))
            epochs = executed[params]
            match order.state:
                case orders.State.LANDED if order.receipt is not None and [order.receipt.epoch] == epochs:
                    continue
                case orders.State.REFUSED if not epochs and (params in self.chain.doomed or number in self.withdrawn):
                    continue
            self.violations.append(f"order {number} is {order.state} ({order.reason}), executed at {epochs}")


def _load(number: int, tx: Connection) -> orders.Order:
    return orders.load(tx, number)


async def violations(seed: int, folder: Path, outbox: type[sending.Outbox] = sending.Outbox) -> list[str]:
    """Return what goes wrong in a world."""
    async with engine.open_sqlite(folder / f"{seed}.db") as database:
        return await World(seed, database, outbox).run()


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_every_order_lands_once(seed: int, tmp_path: Path) -> None:
    """Crashes at every step, lost answers, reorganisations, emptied pools and strangers' messages lose and double nothing.

    What is withdrawn is executed once or never.
    """
    assert await violations(seed, tmp_path) == []


class PushesFirst(sending.Outbox):
    """A plant: a message is pushed before it is recorded."""

    async def _sign(self, order, view, trial, paid, held):
        sign = view.sign

        async def sign_and_push(message):
            made = await sign(message)
            await view.push(made)
            return made

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(view, "sign", sign_and_push)
            await super()._sign(order, view, trial, paid, held)


class TrustsThePool(sending.Outbox):
    """A plant: the pool alone says which nonce is next."""

    async def turn(self):
        """Forget what is recorded."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(orders, "last_nonce", lambda *_: -1)
            await super().turn()


class Hasty(sending.Outbox):
    """A plant: a receipt counts at once, though its tipset may be abandoned."""

    async def turn(self):
        """Wait for nothing."""
        step = following.step

        def hasty(order, seen, policy):
            if seen.executed is not None and not seen.executed[0].fills:
                return following.Land(seen.executed[1])
            return step(order, seen, policy)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(following, "step", hasty)
            await super().turn()


@pytest.mark.parametrize("plant", [PushesFirst, TrustsThePool, Hasty])
async def test_planted_bugs_are_found(plant: type[sending.Outbox], tmp_path: Path) -> None:
    """Without the record first, the nonces from it, or the confidence, some seed loses or doubles an order."""
    for seed in range(SEEDS):
        with suppress(IntegrityError):  # a nonce of two orders, which the database refuses
            if not await violations(seed, tmp_path, plant):
                continue
        return
    pytest.fail("not found")


def test_cap_of_a_unit_of_gas() -> None:
    """No message is signed above the cap, and none that could not be executed below it."""
    estimate = node.Estimate(gas_limit=1000, premium=Amount(10))
    policy = Policy(most_cap=Amount(150))
    assert fees.first(estimate, Amount(100), policy).cap == 150
    with pytest.raises(fees.TooDear, match="raise GasFeeCap"):
        fees.first(estimate, Amount(141), policy)


async def test_what_is_withdrawn_is_replaced_at_once(tmp_path: Path) -> None:
    """A message that nobody wants any more gives its nonce to one that does nothing, and the others go on."""
    dice = random.Random(1)
    chain = Chain(dice)
    async with engine.open_sqlite(tmp_path / "outbox.db") as database:
        outbox = sending.Outbox(database, Node(chain, dice), lambda *_: TERMS)
        wish = orders.Wish(miner=1000, kind="window-post", to=MINER, method=5, params=b"old")
        old, waiting = [await database.write(lambda tx: orders.put(tx, wish, 0.0)) for _ in range(2)]
        await database.write(lambda tx: orders.withdraw(tx, waiting, "too late"))
        await outbox.turn()
        await database.write(lambda tx: orders.withdraw(tx, old, "abandoned"))
        await outbox.turn()
        (pooled,) = chain.pool.values()
        assert (pooled.message.sender, b"") == (pooled.message.to, bytes(pooled.message.params))
        for _ in range(12):
            chain.mine()
            await outbox.turn()
        ended = [await database.read(partial(_load, number)) for number in (old, waiting)]
        assert [("refused", "abandoned"), ("refused", "too late")] == [(one.state.value, one.reason) for one in ended]


async def test_what_is_withdrawn_is_not_sent_again(tmp_path: Path) -> None:
    """Not even if another program takes the nonce that was to be used up: nobody wants it any more."""
    dice = random.Random(1)
    chain = Chain(dice)
    terms = sending.Terms(senders=SENDERS[:1], policy=POLICY)
    async with engine.open_sqlite(tmp_path / "outbox.db") as database:
        outbox = sending.Outbox(database, Node(chain, dice), lambda *_: terms)
        wish = orders.Wish(miner=1000, kind="faults", to=MINER, method=10, params=b"old")
        old = await database.write(lambda tx: orders.put(tx, wish, 0.0))
        await outbox.turn()
        await database.write(lambda tx: orders.withdraw(tx, old, "too late"))
        chain.pool.clear()
        chain.somebody_sends(SENDERS[0])
        for _ in range(12):
            chain.mine()
            await outbox.turn()
        ended = await database.read(partial(_load, old))
        assert ("refused", "too late") == (ended.state.value, ended.reason)
        assert not any(isinstance(one, SignedMessage) and one.message.params for some in chain.epochs for one in some)


async def test_those_of_a_higher_priority_get_their_nonces_first(tmp_path: Path) -> None:
    """A window PoSt does not wait behind what was ordered before it."""
    dice = random.Random(1)
    chain = Chain(dice)
    terms = {
        kind: sending.Terms(senders=SENDERS[:1], policy=POLICY, priority=kind == "window-post")
        for kind in ("proof", "window-post")
    }
    async with engine.open_sqlite(tmp_path / "outbox.db") as database:
        outbox = sending.Outbox(database, Node(chain, dice), lambda _, kind: terms[kind])
        for kind in ("proof", "window-post"):
            wish = orders.Wish(miner=1000, kind=kind, to=MINER, method=5, params=kind.encode())
            await database.write(lambda tx, one=wish: orders.put(tx, one, 0.0))  # type: ignore[misc]
        await outbox.turn()
        pooled = {nonce: bytes(one.message.params) for (_, nonce), one in chain.pool.items()}
        assert {0: b"window-post", 1: b"proof"} == pooled


async def test_what_had_landed_and_is_taken_back_is_sent_again_for_the_others(tmp_path: Path) -> None:
    """A reorganisation deeper than the confidence that loses a message keeps no later one of its sender from being executed."""
    dice = random.Random(1)
    chain = Chain(dice, finality=100)
    terms = sending.Terms(senders=SENDERS[:1], policy=POLICY)
    async with engine.open_sqlite(tmp_path / "outbox.db") as database:
        outbox = sending.Outbox(database, Node(chain, dice), lambda *_: terms)

        async def order(content: bytes) -> int:
            wish = orders.Wish(miner=1000, kind="window-post", to=MINER, method=5, params=content)
            return await database.write(lambda tx: orders.put(tx, wish, 0.0))

        async def has_landed(number: int) -> bool:
            return (await database.read(partial(_load, number))).state is orders.State.LANDED

        async def land(number: int) -> None:
            for _ in range(20):
                if await has_landed(number):
                    return
                await outbox.turn()
                chain.mine()
            raise AssertionError(f"order {number} does not land: {outbox.waiting}")

        first = await order(b"first")
        await land(first)
        del chain.epochs[5:]
        assert 0 == chain.nonce(SENDERS[0])
        second = await order(b"second")
        await land(second)
        assert await has_landed(first)
        executed = [
            bytes(one.message.params) for some in chain.epochs for one in some if isinstance(one, SignedMessage)
        ]
        assert [b"first", b"second"] == executed
