"""Blocks that miners hand in: a good one becomes the head, and nothing of one is taken on trust."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.golden.chain import recordings

from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.chain.blocks import election
from damocles.chain.blocks.header import BeaconEntry, BlockMessage, ElectionProof, Template, Ticket
from damocles.chain.messages import Signature
from damocles.chain.sealing import PoStProof
from damocles.devnode import serving
from damocles.devnode.node import Node as Devnode
from damocles.devnode.rules import Rules
from damocles.lotus import errors, node
from damocles.lotus.node import Node
from damocles.lotus.places import Place
from damocles.lotus.view import View
from damocles.wire import codec
from damocles.wire.codec import Blob, Rows

from .helpers import MINER, WORKER, proved, send

with_ = msgspec.structs.replace


class Clock:
    """A time that only tests move."""

    now = 1_000_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Return the devnode's clock."""
    return Clock()


@pytest.fixture
async def devnode(clock: Clock) -> AsyncIterator[Devnode]:
    """Yield a devnode whose miners hand in blocks, and whose own are made by `step`."""
    of = Rules(needs_posts=False)
    async with serving.serving(of, accepts_any_proof=True, is_mined=True, clock=clock) as made:
        await made.step(20)
        yield made


@pytest.fixture
async def lotus(devnode: Devnode, place_of: Callable[..., Place]) -> AsyncIterator[Node]:
    """Yield our client of that devnode, whose miner has sectors with power."""
    async with node.connect(place_of(devnode), pauses_seconds=()) as made:
        await proved(devnode, made, 1, 2, 3)
        await devnode.step(15)
        yield made


async def elected(lotus: Node, *, after: int = 0) -> tuple[View, Template]:
    """Return the next epoch that is won on top of the head, some epochs above it or more, and what the block is made of."""
    view = View(lotus, await lotus.head())
    for epoch in range(view.epoch + 1 + after, view.epoch + 40):
        base = await view.base_info(MINER, epoch)
        assert base is not None
        proof = await lotus.sign(base.worker, election.proof_input(base.entry, epoch, MINER))
        wins = election.wins(proof.data, base.power, base.network_power)
        if wins:
            drawn = election.ticket_input(base.entry, epoch, MINER, view.tipset.ticket)
            return view, Template(
                miner=MINER,
                parents=Rows(view.key),
                ticket=Ticket(Blob((await lotus.sign(base.worker, drawn)).data)),
                election=ElectionProof(wins, Blob(proof.data)),
                beacon=base.entries,
                messages=tuple(await lotus.select(view.key, 1.0)),
                epoch=epoch,
                timestamp=view.tipset.timestamp + 30 * (epoch - view.epoch),
                winning_post=Rows([PoStProof(0, Blob(b"any"))]),
            )
    raise AssertionError("no election was won")


async def signed(lotus: Node, block: BlockMessage, **changes: Any) -> BlockMessage:
    """Return a block with something changed, and signed by the worker again."""
    header = with_(block.header, **changes)
    key = await View(lotus, await lotus.head()).key_of(WORKER)
    return with_(block, header=with_(header, signature=await lotus.sign(key, header.signing_bytes)))


@pytest.fixture(autouse=True)
def early(clock: Clock, devnode: Devnode) -> None:
    """Let the time of all epochs of these tests have come."""
    clock.now += 10_000


async def test_a_good_block_becomes_the_head_with_its_messages(devnode: Devnode, lotus: Node) -> None:
    """Under the id and in the words of its maker, also when its epoch comes after null rounds; what it has is executed."""
    cid = await send(lotus, None, value=5)
    view, template = await elected(lotus, after=2)
    block = await lotus.create_block(template)

    await lotus.submit_block(block)
    await devnode.step()

    head = devnode.chain.known[block.header.cid]
    assert (head.height, head.parent, [one.cid for one in head.messages]) == (template.epoch, view.key[0], [cid])
    told = await lotus.tipset((block.header.cid,))
    assert (told.blocks[0].miner, told.ticket) == (MINER, template.ticket and bytes(template.ticket.proof))
    found = await View(lotus, await lotus.head()).search(cid, 10)
    assert found is not None
    assert found.receipt.exit_code == 0


async def test_the_same_template_makes_the_same_block(lotus: Node) -> None:
    """So that asking once more, when an answer was lost, signs no other block."""
    _, template = await elected(lotus)

    assert await lotus.create_block(template) == await lotus.create_block(template)


def claiming(block: BlockMessage, wins: int) -> ElectionProof:
    """Return the election proof of a block with another number of wins."""
    assert block.header.election is not None
    return with_(block.header.election, wins=wins)


FORGED: dict[str, tuple[Callable[[BlockMessage], dict[str, Any]], str]] = {
    "wins": (lambda one: {"election": claiming(one, 99)}, "number of wins"),
    "no win": (lambda one: {"election": claiming(one, 0)}, "not claiming to be a winner"),
    "election": (lambda _: {"election": ElectionProof(1, Blob(bytes(96)))}, "election proof failed"),
    "ticket": (lambda _: {"ticket": Ticket(Blob(bytes(96)))}, "block tickets failed"),
    "beacon": (lambda _: {"beacon": Rows([BeaconEntry(1, Blob(bytes(48)))])}, "random beacon values"),
    "no beacon": (lambda _: {"beacon": Rows()}, "random beacon values"),
    "winning PoSt": (lambda _: {"winning_post": Rows([PoStProof(0, Blob())])}, "winning post was invalid"),
    "no winning PoSt": (lambda _: {"winning_post": Rows()}, "one proof was expected"),
    "time": (lambda one: {"timestamp": one.header.timestamp + 1}, "wrong timestamp"),
    "parents": (lambda one: {"parents": Rows([one.header.messages])}, "could not find the parents"),
    "height": (lambda _: {"height": 3}, "not greater than parents height"),
    "weight": (lambda _: {"parent_weight": Amount(10**9)}, "parent weight doesn't match"),
    "state": (lambda one: {"parent_state_root": one.header.messages}, "parent state root doesn't match"),
    "messages": (lambda one: {"messages": one.header.parent_state_root}, "messages doesn't match"),
    "base fee": (lambda _: {"parent_base_fee": Amount(10**9)}, "parent base fee doesn't match"),
    "miner": (lambda _: {"miner": Address.of_id(999)}, "ineligible to mine"),
}


async def test_a_forged_block_is_refused(lotus: Node) -> None:
    """With what is wrong with it; the worker's signature under it is good."""
    block = await lotus.create_block((await elected(lotus))[1])

    for change, words in FORGED.values():
        with pytest.raises(errors.NodeError, match=words):
            await lotus.submit_block(await signed(lotus, block, **change(block)))
    await lotus.submit_block(block)


async def test_a_block_that_its_worker_has_not_signed_is_refused(lotus: Node) -> None:
    """Nor one whose signature is another's."""
    block = await lotus.create_block((await elected(lotus))[1])
    signature = block.header.signature
    assert signature is not None
    bad = with_(block, header=with_(block.header, signature=Signature(signature.type, bytes(96))))

    with pytest.raises(errors.NodeError, match="block signature"):
        await lotus.submit_block(bad)


async def test_a_block_before_its_time_is_refused(lotus: Node, clock: Clock, devnode: Devnode) -> None:
    """Until its epoch begins."""
    block = await lotus.create_block((await elected(lotus))[1])
    clock.now = block.header.timestamp - 5.0

    with pytest.raises(errors.NodeError, match="from the future"):
        await lotus.submit_block(block)
    clock.now = float(block.header.timestamp)
    await lotus.submit_block(block)
    assert devnode.chain.head.key == block.header.cid


async def test_two_blocks_at_a_height_are_a_fault(devnode: Devnode, lotus: Node) -> None:
    """The second is refused under the name of the fault; the first once more does no harm."""
    _, template = await elected(lotus)
    first = await lotus.create_block(template)
    await lotus.submit_block(first)
    other = await lotus.create_block(with_(template, winning_post=Rows([PoStProof(0, Blob(b"else"))])))

    with pytest.raises(errors.NodeError, match="double-fork mining faults"):
        await lotus.submit_block(other)
    await lotus.submit_block(first)
    assert devnode.rounds.signed[MINER, template.epoch] == {first.header.cid, other.header.cid}


async def test_two_blocks_on_the_same_parents_are_a_fault(devnode: Devnode, lotus: Node) -> None:
    """At another epoch as well: a null round is no second chance."""
    _, template = await elected(lotus)
    later = (await elected(lotus, after=template.epoch - devnode.chain.head.height))[1]
    await lotus.submit_block(await lotus.create_block(template))

    with pytest.raises(errors.NodeError, match="time-offset mining faults"):
        await lotus.submit_block(await lotus.create_block(later))


async def test_a_block_beside_its_miners_last_one_is_a_fault(devnode: Devnode, lotus: Node) -> None:
    """Whoever has made a block must build on it, and not on another one of that epoch."""
    _, template = await elected(lotus)
    first = await lotus.create_block(template)
    await lotus.submit_block(first)
    await devnode.reorganise(1)
    await devnode.set_head(first.header.parents[0])
    while devnode.chain.head.height < template.epoch:
        devnode.chain._next_height = devnode.chain.head.height + 1
        await devnode.step()
    later = await lotus.create_block((await elected(lotus))[1])

    with pytest.raises(errors.NodeError, match="parent-grinding fault"):
        await lotus.submit_block(later)


async def test_a_block_on_what_is_not_the_head_is_left_out(devnode: Devnode, lotus: Node) -> None:
    """It is good, and the chain goes on without it."""
    block = await lotus.create_block((await elected(lotus))[1])
    await devnode.step()
    head = devnode.chain.head

    await lotus.submit_block(block)

    assert devnode.chain.head == head


async def test_the_beacon_does_not_speak_of_what_is_far_ahead(devnode: Devnode, lotus: Node, clock: Clock) -> None:
    """Only the next epoch can be prepared, by the clock or above the head."""
    view = View(lotus, await lotus.head())
    clock.now = devnode.rounds.time_of(view.epoch + 5) + 1.0

    assert await view.base_info(MINER, view.epoch + 6) is not None
    with pytest.raises(errors.NodeError, match="has no entry for"):
        await view.base_info(MINER, view.epoch + 7)


async def test_a_devnode_that_makes_its_blocks_itself_takes_none(place_of: Callable[..., Place]) -> None:
    """It says how to start it."""
    ((_, answer),) = recordings.results("MinerCreateBlock")
    block = codec.decode(codec.encode(answer), BlockMessage)
    async with serving.serving(accepts_any_proof=True) as devnode, node.connect(place_of(devnode)) as lotus:
        with pytest.raises(errors.NodeError, match="--mined"):
            await lotus.submit_block(block)


async def test_mined_blocks_and_faults_are_remembered(
    tmp_path: Path, clock: Clock, place_of: Callable[..., Place]
) -> None:
    """By a devnode with a home, over a restart: the head is the mined block, and a second one at its height is a fault."""
    of = Rules(needs_posts=False)
    options: dict[str, Any] = {"accepts_any_proof": True, "is_mined": True, "clock": clock, "home": tmp_path / "home"}
    async with serving.serving(of, **options) as devnode, node.connect(place_of(devnode), pauses_seconds=()) as lotus:
        await devnode.step(20)
        await proved(devnode, lotus, 1)
        await devnode.step(15)
        clock.now += 10_000
        _, template = await elected(lotus)
        first = await lotus.create_block(template)
        await lotus.submit_block(first)
    async with serving.serving(of, **options) as devnode, node.connect(place_of(devnode), pauses_seconds=()) as lotus:
        assert (await lotus.head()).key == (first.header.cid,)
        other = await lotus.create_block(with_(template, winning_post=Rows([PoStProof(0, Blob(b"else"))])))
        with pytest.raises(errors.NodeError, match="double-fork mining faults"):
            await lotus.submit_block(other)


async def test_a_chain_that_went_faster_goes_on_by_the_clock(tmp_path: Path, clock: Clock) -> None:
    """Its next epoch is one delay after its head, however many epochs it has."""
    of, began = Rules(needs_posts=False), int(clock.now)
    options: dict[str, Any] = {"accepts_any_proof": True, "clock": clock, "home": tmp_path / "home"}
    async with serving.serving(of, **options) as devnode:
        await devnode.step(500)
        assert devnode.head.timestamp == began
    async with serving.serving(of, is_mined=True, **options) as devnode:
        assert devnode.rounds.epoch_now() == 500
        clock.now += 2.0 * devnode.block_delay_seconds
        assert devnode.rounds.epoch_now() == 502
        head = await devnode.step()
        assert (501, began + devnode.block_delay_seconds) == (head.height, head.timestamp)
