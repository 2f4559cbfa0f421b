"""Two managers that send messages of the same senders, from one PostgreSQL."""

import random
from functools import partial

import anyio
import pytest
from tests.unit.manager.outbox.sham import MINER, SENDERS, Chain, Node

from damocles.chain.messages import SignedMessage
from damocles.manager.db import engine
from damocles.manager.outbox import orders, sending
from damocles.manager.outbox.fees import Policy
from damocles.testing import postgres

TERMS = sending.Terms(senders=SENDERS, policy=Policy(confidence=5, stuck_epochs=8))


def wish(number: int) -> orders.Wish:
    """Return what is to be sent."""
    return orders.Wish(miner=1000, kind="pre-commit", to=MINER, method=28, params=f"order {number}".encode())


def executed(chain: Chain) -> list[SignedMessage]:
    """Return our messages that the chain has executed."""
    return [one for messages in chain.epochs for one in messages if isinstance(one, SignedMessage)]


@pytest.fixture
def url(postgres_server: postgres.Server) -> str:
    """Return the URL of an empty database."""
    return postgres_server.url(postgres_server.new())


async def test_every_message_is_sent_once_and_no_nonce_is_left_out(url: str) -> None:
    """Both make a turn at each head, at the same time, and orders come in at both."""
    dice = random.Random(7)
    chain = Chain(dice)
    async with engine.open_postgresql(url) as one, engine.open_postgresql(url) as other:
        boxes = [(database, sending.Outbox(database, Node(chain, dice), lambda *_: TERMS)) for database in (one, other)]
        count = 0
        for step in range(24):
            if step < 8:
                for database, _ in boxes:
                    await database.write(partial(orders.put, wish=wish(count), at=0.0))
                    count += 1
            async with anyio.create_task_group() as tasks:
                for _, outbox in boxes:
                    tasks.start_soon(outbox.turn)
            chain.mine()
        found = executed(chain)
        assert sorted(wish(number).params for number in range(count)) == sorted(one.message.params for one in found)
        for sender in SENDERS:
            nonces = [one.message.nonce for one in found if one.message.sender == sender]
            assert list(range(len(nonces))) == nonces
        assert [] == await one.read(orders.unfinished)


async def test_who_has_not_the_lease_waits_and_is_no_reason_for_an_alert(url: str) -> None:
    """The other manager's orders go on by the one that has the nonces; when that is gone, whoever is left sends them."""
    dice = random.Random(1)
    chain = Chain(dice)
    async with engine.open_postgresql(url) as one, engine.open_postgresql(url) as other:
        outbox = sending.Outbox(other, Node(chain, dice), lambda *_: TERMS)
        number = await other.write(partial(orders.put, wish=wish(1), at=0.0))
        async with one.leases.keeping(map(sending.nonces, SENDERS)):
            await outbox.turn()
            assert "another manager sends for" in outbox.waiting[number]
            assert {number} == outbox.patient
            assert not chain.pool
            with pytest.raises(sending.NotReplaceable):
                await outbox.replace(number)
        await one.write(lambda tx: tx.exec_driver_sql("UPDATE leases SET ends = 0"))  # time passes
        await outbox.turn()
        assert 1 == len(chain.pool)


async def test_what_another_manager_has_sent_is_not_refused(url: str) -> None:
    """Each has the nonces of one sender of an order. The one that is slower finds that the message would fail, since it is there already."""
    dice = random.Random(1)
    chain = Chain(dice)
    async with engine.open_postgresql(url) as one, engine.open_postgresql(url) as other:
        number = await one.write(partial(orders.put, wish=wish(1), at=0.0))
        before = await other.read(lambda tx: orders.load(tx, number))
        await sending.Outbox(one, Node(chain, dice), lambda *_: TERMS).turn()
        assert 1 == len(chain.pool)
        refused = partial(orders.end, order=before, state=orders.State.REFUSED, reason="the sector is there already")
        assert not await other.write(refused)
        (found,) = await one.read(orders.unfinished)
        assert orders.State.SIGNED is found.state
