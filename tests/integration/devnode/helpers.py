"""What the tests of the devnode do again and again, by our own client."""

from typing import Any

from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.chain.messages import Message
from damocles.chain.methods import PRE_COMMIT, PROVE_COMMIT, Method
from damocles.chain.sealing import Activation, Piece, PreCommit, PreCommitSectorBatch2, ProveCommitSectors3
from damocles.devnode.node import Node as Devnode
from damocles.lotus.answers import Lookup, SendSpec
from damocles.lotus.node import Node
from damocles.lotus.view import View
from damocles.wire import commitments
from damocles.wire.codec import CID, Blob, Rows

MINER = Address.of_id(1000)
WORKER = Address.of_id(101)


async def view(lotus: Node) -> View:
    """Return the chain at the head."""
    return View(lotus, await lotus.head())


async def send(
    lotus: Node,
    method: Method | None,
    params: Any = None,
    *,
    to: Address = MINER,
    sender: Address = WORKER,
    value: int = 0,
) -> CID:
    """Estimate, sign and push a message; return its id."""
    key = await (await view(lotus)).key_of(sender)
    content = Blob() if method is None else method.params_of(params)
    number = 0 if method is None else method.number
    message = Message(to=to, sender=key, method=number, params=content, value=Amount(value))
    return await push(lotus, await lotus.estimate(message, SendSpec()))


async def push(lotus: Node, message: Message, nonce: int | None = None) -> CID:
    """Sign and push a message whose gas is set."""
    made = Message(
        **{name: getattr(message, name) for name in Message.__struct_fields__ if name != "nonce"},
        nonce=await lotus.next_nonce(message.sender) if nonce is None else nonce,
    )
    return await lotus.push(await lotus.sign_message(made))


async def landed(devnode: Devnode, lotus: Node, cid: CID) -> Lookup:
    """Make the two blocks that a message needs: one that has it, one that executes it; return the receipt."""
    await devnode.step(2)
    found = await (await view(lotus)).search(cid, 100)
    assert found is not None
    return found


async def done(devnode: Devnode, lotus: Node, *args: Any, **options: Any) -> Lookup:
    """Send a message and return its receipt."""
    return await landed(devnode, lotus, await send(lotus, *args, **options))


def promise(number: int, epoch: int, unsealed: CID | None = None) -> PreCommit:
    """Return a pre-commit with a CommR of its own."""
    return PreCommit(
        seal_proof=5,
        sector_number=number,
        sealed_cid=commitments.sealed_cid(bytes([number % 251, 1]) * 16),
        seal_rand_epoch=epoch - 5,
        expiration=epoch + 300 * 2880,
        unsealed_cid=unsealed,
    )


async def promised(
    devnode: Devnode, lotus: Node, *numbers: int, unsealed: CID | None = None, to: Address = MINER
) -> None:
    """Pre-commit sectors and let their seeds come."""
    epoch = devnode.chain.head.height
    batch = PreCommitSectorBatch2(Rows(promise(number, epoch, unsealed) for number in numbers))
    receipt = (await done(devnode, lotus, PRE_COMMIT, batch, to=to)).receipt
    assert receipt.exit_code == 0
    await devnode.step(devnode.rules.challenge_delay)


async def proved(
    devnode: Devnode, lotus: Node, *numbers: int, pieces: Rows[Piece] | None = None, to: Address = MINER
) -> None:
    """Bring sectors onto the chain."""
    await promised(devnode, lotus, *numbers, unsealed=None if pieces is None else pieces[0].cid, to=to)
    params = ProveCommitSectors3(
        activations=Rows(Activation(number, pieces or Rows()) for number in numbers),
        sector_proofs=Rows(Blob(bytes(192)) for _ in numbers),
    )
    assert (await done(devnode, lotus, PROVE_COMMIT, params, to=to)).receipt.exit_code == 0
