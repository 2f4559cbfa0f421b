"""Sectors on a devnode, by our own client of Lotus: from the pre-commit to the record of a proved sector."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

import damocles.lotus
from damocles.chain import methods
from damocles.chain.amounts import Amount
from damocles.chain.sealing import Activation, PreCommitSectorBatch2, ProveCommitSectors3
from damocles.devnode import rules, serving
from damocles.devnode.node import Node as Devnode
from damocles.devnode.tipsets import TipSet
from damocles.lotus import checks, errors
from damocles.lotus.answers import SendSpec
from damocles.lotus.node import Node
from damocles.wire.codec import Blob, Rows

from .helpers import MINER, WORKER, done, promise, promised, proved, send, view


async def test_a_sector_is_promised_and_proved(devnode: Devnode, lotus: Node):
    """A pre-commit takes its deposit, the proof gives it back and takes the pledge, and the sector has a place."""
    before = await (await view(lotus)).state(MINER)
    await promised(devnode, lotus, 7)
    state = await view(lotus)
    found = await state.pre_committed(MINER, 7)
    assert found is not None
    assert found.deposit == rules.deposit(2048)
    assert (await state.state(MINER)).funds.pre_commit_deposits == found.deposit
    seed = await state.seed(MINER, found.epoch + devnode.rules.challenge_delay)
    assert len(seed) == 32
    params = ProveCommitSectors3(activations=Rows([Activation(7)]), sector_proofs=Rows([Blob(bytes(192))]))
    receipt = (await done(devnode, lotus, methods.PROVE_COMMIT, params)).receipt
    assert (receipt.exit_code, receipt.returned.hex()) == (0, "820180")
    state = await view(lotus)
    assert await state.pre_committed(MINER, 7) is None
    sector = await state.sector(MINER, 7)
    assert sector is not None
    funds = (await state.state(MINER)).funds
    assert (funds.pre_commit_deposits, funds.pledge) == (0, sector.pledge)
    assert (await state.state(MINER)).balance == before.balance
    assert (await state.location(MINER, 7)).partition == 0
    assert (await state.sector_count(MINER)).live == 1
    assert await state.is_allocated(MINER, 7)


async def test_a_proof_before_its_seed_is_refused_by_the_estimate(devnode: Devnode, lotus: Node):
    """As Lotus says it, with the exit code in the text."""
    batch = PreCommitSectorBatch2(Rows([promise(1, devnode.chain.head.height)]))
    await done(devnode, lotus, methods.PRE_COMMIT, batch)
    params = ProveCommitSectors3(activations=Rows([Activation(1)]), sector_proofs=Rows([Blob(bytes(192))]))
    with pytest.raises(errors.NotYet, match="too early to prove sector") as caught:
        await send(lotus, methods.PROVE_COMMIT, params)
    assert caught.value.exit_code == 18


async def test_one_bad_proof_of_a_batch_is_in_the_return_value(devnode: Devnode, lotus: Node):
    """Exit code 0, and the failure by its place; the sector with the bad proof stays promised."""
    await promised(devnode, lotus, 1, 2)
    params = ProveCommitSectors3(
        activations=Rows([Activation(1), Activation(2)]), sector_proofs=Rows([Blob(), Blob(bytes(192))])
    )
    receipt = (await done(devnode, lotus, methods.PROVE_COMMIT, params)).receipt
    assert (receipt.exit_code, receipt.returned.hex()) == (0, "820181820010")
    state = await view(lotus)
    assert await state.pre_committed(MINER, 1) is not None
    assert await state.sector(MINER, 2) is not None


async def test_a_reorganisation_takes_a_message_back_and_it_lands_again(devnode: Devnode, lotus: Node):
    """What was proved is gone, the message waits, and the heights that were taken back become null rounds."""
    await proved(devnode, lotus, 3)
    top = devnode.chain.head.height
    await devnode.reorganise(3)
    state = await view(lotus)
    assert state.epoch == top - 3
    assert await state.sector(MINER, 3) is None
    assert len(await lotus.pending()) == 1
    await devnode.step(2)
    state = await view(lotus)
    assert state.epoch == top + 2
    assert await state.sector(MINER, 3) is not None
    assert (await lotus.tipset_at(top, state.key)).height == top - 3


async def test_a_message_is_replaced_only_for_more(devnode: Devnode, lotus: Node):
    """The node names the premium that it wants; a search for the old message finds the one that took its place."""
    key = await (await view(lotus)).key_of(WORKER)
    first = await send(lotus, None, value=1)
    (waiting,) = await lotus.pending()
    message = waiting.message
    changed = {name: getattr(message, name) for name in message.__struct_fields__} | {
        "gas_limit": message.gas_limit + 1
    }
    with pytest.raises(errors.Outbid) as caught:
        await lotus.push(await lotus.sign_message(type(message)(**changed)))
    premium = caught.value.premium
    assert premium == 125_001
    changed["gas_premium"] = Amount(premium)
    changed["gas_fee_cap"] = Amount(premium + 1000)
    second = await lotus.push(await lotus.sign_message(type(message)(**changed)))
    await devnode.step(2)
    found = await (await view(lotus)).search(first, 10)
    assert found is not None
    assert found.message == second
    assert await lotus.next_nonce(key) == message.nonce + 1


async def test_our_checks_find_nothing_wrong_with_it(devnode: Devnode, lotus: Node):
    """What a manager looks at when it starts."""
    key = await (await view(lotus)).key_of(WORKER)
    found = await checks.problems(lotus, miners=[MINER], senders=[key], network=devnode.rules.name)
    assert found == []


async def test_a_doomed_message_lands_with_its_exit_code(devnode: Devnode, lotus: Node):
    """Its estimate says nothing of it, the sender pays for gas, and the next one is all right."""
    devnode.doom(methods.PRE_COMMIT.number, exit_code=19)
    batch = PreCommitSectorBatch2(Rows([promise(1, devnode.chain.head.height)]))
    before = (await (await view(lotus)).actor(WORKER)).balance
    receipt = (await done(devnode, lotus, methods.PRE_COMMIT, batch)).receipt
    assert receipt.exit_code == 19
    assert (await (await view(lotus)).actor(WORKER)).balance < before
    assert (await done(devnode, lotus, methods.PRE_COMMIT, batch)).receipt.exit_code == 0


async def test_a_block_limit_lets_messages_wait(devnode: Devnode, lotus: Node):
    """With no message a block nothing lands; the nonces go on."""
    devnode.messages_a_block = 0
    for _ in range(3):
        await send(lotus, None, value=1)
    await devnode.step(3)
    assert len(await lotus.pending()) == 3
    devnode.messages_a_block = 2
    await devnode.step()
    assert [signed.message.nonce for signed in await lotus.pending()] == [2]


async def test_every_method_that_our_client_calls_is_served(devnode: Devnode):
    """What `damocles.lotus` asks, a devnode answers."""
    source = "".join(path.read_text() for path in Path(damocles.lotus.__file__).parent.glob("*.py"))
    called = set(re.findall(r'(?<!name=)"((?:State|Chain|Mpool|Gas|Wallet|Auth|Miner|Net)[A-Z]\w+|Version)"', source))
    assert len(called) > 40
    served = {name.removeprefix("Filecoin.") for name in serving.service_of(devnode).methods}
    assert called - served == set()


async def test_an_estimate_is_made_after_what_waits_before_it(devnode: Devnode, lotus: Node):
    """A second pre-commit of a number would fail after the first; one in its place would not."""
    batch = PreCommitSectorBatch2(Rows([promise(1, devnode.chain.head.height)]))
    await send(lotus, None, value=1)
    await devnode.step(2)
    await send(lotus, methods.PRE_COMMIT, batch)
    (waiting,) = await lotus.pending()
    with pytest.raises(errors.WouldFail, match="already allocated"):
        await send(lotus, methods.PRE_COMMIT, batch)
    estimated = await lotus.estimate(waiting.message, SendSpec())
    assert estimated.nonce == waiting.message.nonce == 1


@contextmanager
def executing_slowly(devnode: Devnode) -> Iterator[tuple[threading.Event, threading.Event]]:
    """Let the devnode's first answer about the head wait until the second event; the first event says that it waits."""
    waits, goes_on, after_head = threading.Event(), threading.Event(), devnode.chain.after_head

    def slow(tipset: TipSet) -> Any:
        found = after_head(tipset)
        if not waits.is_set():
            waits.set()
            assert goes_on.wait(60)
        return found

    devnode.chain.after_head = slow  # type: ignore[method-assign]
    try:
        yield waits, goes_on
    finally:
        goes_on.set()
        devnode.chain.after_head = after_head  # type: ignore[method-assign]


async def test_what_waits_is_counted_while_a_block_takes_it(devnode: Devnode, lotus: Node):
    """The nonce is that after a message which left the pool for the chain meanwhile, and an estimate knows what it did."""
    batch = PreCommitSectorBatch2(Rows([promise(1, devnode.chain.head.height)]))
    await send(lotus, methods.PRE_COMMIT, batch)
    key = await (await view(lotus)).key_of(WORKER)
    numbers: list[int] = []

    async def ask() -> None:
        numbers.append(await lotus.next_nonce(key))

    async with anyio.create_task_group() as tasks:
        with executing_slowly(devnode) as (waits, goes_on):
            tasks.start_soon(ask)
            assert await anyio.to_thread.run_sync(waits.wait, 60)
            await devnode.step()
            goes_on.set()
    assert numbers == [1]

    batch = PreCommitSectorBatch2(Rows([promise(2, devnode.chain.head.height)]))
    await send(lotus, methods.PRE_COMMIT, batch)

    async def send_again() -> None:
        with pytest.raises(errors.WouldFail, match="already allocated"):
            await send(lotus, methods.PRE_COMMIT, batch)

    async with anyio.create_task_group() as tasks:
        with executing_slowly(devnode) as (waits, goes_on):
            tasks.start_soon(send_again)
            assert await anyio.to_thread.run_sync(waits.wait, 60)
            await devnode.step()
            goes_on.set()
