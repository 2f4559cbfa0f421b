"""What a client of a devnet does: it spends datacap on a piece that a provider is to store."""

import anyio.to_thread

from damocles.chain import tuples
from damocles.chain.addresses import Address
from damocles.chain.amounts import ATTO, Amount
from damocles.chain.messages import Message
from damocles.devnode import rules
from damocles.devnode.actors import registry
from damocles.devnode.node import Node
from damocles.devnode.pool import NotTaken
from damocles.devnode.state import DATACAP, REGISTRY
from damocles.wire.codec import CID, Blob, Rows

_KEY = 2  # of those in a new wallet
_GAS = 20_000_000


async def allocate(
    node: Node, provider: Address, piece: CID, size_bytes: int, *, client: Address | None = None, epochs: int = 10_000
) -> int:
    """Let a client with datacap (that of the beginning) ask a provider to store a piece; return the allocation's number.

    It makes the two blocks that its message needs.

    Raises:
        NotTaken: The chain does not take it; the text says why.
    """
    head, state = await node.now()
    sender = node.wallet.addresses()[_KEY] if client is None else client
    before = set(state.registry.allocations)
    request = registry.AllocationRequest(
        provider=provider.id,
        data=piece,
        size_bytes=size_bytes,
        term_min=rules.TERM_MIN,
        term_max=rules.TERM_MAX,
        expiration=head.height + epochs,
    )
    requests = tuples.encode(registry.AllocationRequests(Rows([request])))
    params = registry.Transfer(Address.of_id(REGISTRY), Amount(size_bytes * ATTO), Blob(requests))
    account = state.account(state.id_of(sender) or 0)
    message = Message(
        to=Address.of_id(DATACAP),
        sender=sender,
        nonce=node.chain.pool.next_nonce(sender, account.nonce),
        gas_limit=_GAS,
        gas_fee_cap=Amount(head.base_fee * 2 + rules.PREMIUM),
        gas_premium=Amount(rules.PREMIUM),
        method=registry.TRANSFER.number,
        params=registry.TRANSFER.params_of(params),
    )
    cid = await node.push(await anyio.to_thread.run_sync(node.wallet.sign_message, message))
    while (found := node.chain.find(message, cid, node.chain.head, rules.FINALITY)) is None:
        await node.step()
    if found.outcome.exit_code:
        raise NotTaken(found.outcome.error)
    assert found.tipset.state is not None
    return max(set(found.tipset.state.registry.allocations) - before)
