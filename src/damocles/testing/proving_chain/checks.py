"""What has to hold at the end of a seed, whatever went wrong.

- No window is missed: each partition with a sector that could be proved all the while is in a window PoSt that the chain executed before the
  deadline closed. A miss is a violation if somebody who does his work was there when the last `CALM_EPOCHS` of the window
  began; in these the node is up and nothing new goes wrong, though provers stay as they are.
- Each partition is in one such message, with the right proof of the sectors that the chain counts, for the challenge of the chain.
- Only sectors that were damaged within the window are skipped, only damaged ones are declared faulty, and none is declared recovered that was damaged
  all the while.
- No proof is begun before its challenge is deep enough, and none is sent for a challenge that was abandoned before the last turn.
- Whoever writes under a lease has it, and no nonce is given away twice.
- What is on the chain is recorded before; no order is executed twice; no message fails there but by our own doing, or because its challenge was
  taken back; nothing waits when all is over, for a nonce or for anything else.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from damocles.chain import methods, tuples
from damocles.chain.messages import SignedMessage
from damocles.devnode.tipsets import TipSet
from damocles.manager.db import engine, tables
from damocles.manager.outbox import orders
from damocles.manager.proving import posts
from damocles.testing.proving_chain import options
from damocles.testing.proving_chain.proofs import fake_proof
from damocles.testing.sealing_chain import direct
from damocles.testing.simulation.disks import Violation
from damocles.wire import commitments

if TYPE_CHECKING:
    from damocles.testing.proving_chain.world import World

_REVIEW_EPOCHS = (
    options.RULES.declaration_cutoff + options.WINDOW
)  # before a deadline opens: the first look at its sectors


async def check(world: "World", database: engine.Database) -> None:
    """Check a world whose windows are all closed.

    Raises:
        Violation: Something does not hold.
    """
    broken = [*world.watch.violations, *sorted(set(world.managers.violations))]
    landed: Counter[tuple[int, int, int]] = Counter()
    executions: Counter[int] = Counter()
    rows = await database.read(lambda tx: tx.execute(select(tables.outbox_signed)).all())
    order_of = {row.cid: row.order_id for row in rows}
    for signed, tipset, code in reversed(list(direct.executed(world.devnode.chain))):
        if signed.cid in world.strangers:
            continue
        if signed.cid not in order_of:
            broken.append(f"message {signed.cid} is on the chain and not recorded")
            continue
        executions[order_of[signed.cid]] += 1
        broken += _of_message(world, signed, tipset, code, landed)
    broken += [f"{count} messages of order {order} were executed" for order, count in executions.items() if count > 1]
    broken += _missed(world, landed)
    broken += _shared_nonces(rows) if not world.strangers else []
    broken += await _unfinished(world, database)
    if broken:
        raise Violation("; ".join(broken))


def _of_message(
    world: "World", signed: SignedMessage, tipset: TipSet, code: int, landed: Counter[tuple[int, int, int]]
) -> list[str]:
    """Return what is wrong with a message that `tipset` tells of; note what it has proved in `landed`."""
    message = signed.message
    miner = next((one for one in world.miners if message.to.text().endswith(f"0{one}")), None)
    if miner is None:
        return []
    assert tipset.parent is not None
    parent = world.devnode.chain.known[tipset.parent]
    seconds = world.seconds(parent.height)
    match message.method:
        case methods.SUBMIT_WINDOW_POST.number:
            params = methods.SUBMIT_WINDOW_POST.read_params(message.params)
            names = [(miner, params.deadline, part.index) for part in params.partitions]
            about = f"the window PoSt of f0{miner}'s deadline {params.deadline} at {parent.height}"
            if code:
                if any(landed[name] for name in names):
                    return [f"{about} is the second one about its partitions"]
                is_doomed = signed.cid in world.doomed or signed.cid in world.devnode.chain.executor.doomed
                return [] if is_doomed or (miner, params.deadline) in world.watch.forked else [f"{about} fails: {code}"]
            landed.update(names)
            return _of_post(world, miner, params, parent, about)
        case methods.DECLARE_FAULTS.number if not code:
            declared = methods.DECLARE_FAULTS.read_params(message.params).faults
            return [
                f"sector {number} of f0{miner} is declared faulty, and is not"
                for one in declared
                for number in one.sectors
                if not world.disks.was_bad(miner, number, 0, seconds)
            ]
        case methods.DECLARE_RECOVERED.number if not code:
            declared = methods.DECLARE_RECOVERED.read_params(message.params).recoveries
            since = world.seconds(parent.height - _REVIEW_EPOCHS)
            return [
                f"sector {number} of f0{miner} is declared recovered, and is damaged"
                for one in declared
                for number in one.sectors
                if world.disks.was_always_bad(miner, number, since, seconds)
            ]
    return []


def _of_post(world: "World", miner: int, params: Any, parent: TipSet, about: str) -> list[str]:
    """Return what is wrong with a window PoSt that landed."""
    assert parent.state is not None
    broken, deadline = [], params.deadline
    start, end = world.seconds(options.challenge(deadline)), world.seconds(parent.height)
    replicas = []
    for posted in params.partitions:
        part = parent.state.miners[miner].deadlines[deadline].partitions[posted.index]
        proved = (part.live - part.faulty | part.recovering) - posted.skipped
        replicas += [
            (number, commitments.commitment_of(world.sectors(miner)[number].sealed_cid)) for number in sorted(proved)
        ]
        broken += [
            f"sector {number} of f0{miner} is skipped at {parent.height}, and was not damaged"
            for number in posted.skipped
            if not world.disks.was_bad(miner, number, start, end)
        ]
    right = fake_proof(miner, world.seed(miner, deadline), replicas)
    return broken if right == bytes(params.proofs[0].proof) else [*broken, f"{about} has a wrong proof"]


def _shared_nonces(rows: Sequence[Any]) -> list[str]:
    """Return what nonces were given away twice; if somebody else uses the key, one may be free again."""
    orders_of = defaultdict(set)
    for row in rows:
        message = tuples.decode(row.message, SignedMessage).message
        orders_of[message.sender, message.nonce].add(row.order_id)
    return [
        f"nonce {nonce} of {sender} is that of orders {sorted(some)}"
        for (sender, nonce), some in orders_of.items()
        if len(some) > 1
    ]


def _missed(world: "World", landed: Counter[tuple[int, int, int]]) -> list[str]:
    """Return what is not proved, and what is proved twice."""
    broken = [f"{name} is proved {count} times" for name, count in landed.items() if count > 1]
    chain = world.devnode.chain
    for miner, deadline in [(miner, deadline) for miner in world.miners for deadline in options.DEADLINES]:
        opened = chain.at(options.opens(deadline), chain.head).state
        assert opened is not None
        start, end = world.seconds(options.challenge(deadline)), world.seconds(options.close(deadline))
        is_due = world.sound_since <= world.seconds(options.close(deadline) - options.CALM_EPOCHS)
        for index, part in enumerate(opened.miners[miner].deadlines[deadline].partitions):
            members = part.live - part.faulty | part.recovering
            could = [number for number in members if not world.disks.was_bad(miner, number, start, end)]
            if is_due and could and not landed[miner, deadline, index]:
                broken.append(f"partition {index} of f0{miner}'s deadline {deadline} is missed")
    return broken


async def _unfinished(world: "World", database: engine.Database) -> list[str]:
    """Return what is not over, though nothing has gone wrong for a while."""
    waiting = await database.read(orders.unfinished)
    alive = [
        post
        for miner in world.miners
        for post in await database.read(lambda tx, one=miner: posts.alive(tx, one))  # type: ignore[misc]
    ]
    return [
        *(f"order {order.id}, a {order.wish.kind}, is {order.state} for ever" for order in waiting),
        *(f"a post of f0{post.miner}, opened at {post.opens}, is {post.stage} for ever" for post in alive),
    ]
