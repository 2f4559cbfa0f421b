"""What is wrong with a node before anything is sent: one line for each, with the next step."""

import time
from collections.abc import Callable, Collection, Iterable

from damocles.chain import versions
from damocles.chain.addresses import Address
from damocles.lotus import errors
from damocles.lotus.node import Node
from damocles.lotus.nodes import Nodes
from damocles.lotus.view import View

_API_MAJOR = 2


async def problems(
    node: Node,
    *,
    network: str | None = None,
    permissions: Collection[str] = ("read", "write", "sign"),
    miners: Iterable[Address] = (),
    senders: Iterable[Address] = (),
    clock: Callable[[], float] = time.time,
) -> list[str]:
    """Return what speaks against a node; nothing if it can be used.

    `permissions` are those that the token must have, `senders` the keys that sign with the node's wallet and pay.
    """
    found: list[str] = []
    try:
        version = await node.version()
        if version.api >> 16 != _API_MAJOR:
            return [f"{node.url} has the API {version.api >> 16} of {version.text}: Lotus v1.36 or later is needed"]
        found += await _of_token(node, permissions)
        may_sign = not found
        health = await Nodes([node], network=network, clock=clock).look(node)
        if health.head is None or health.problem is not None:
            return [*found, health.problem or ""]
        view = View(node, health.head)
        versions.network(await view.network_version())
        for miner in miners:
            found += await _of_miner(view, miner)
        for sender in senders:
            found += await _of_sender(view, sender, asks_wallet=may_sign)
    except (errors.NodeError, versions.UnknownNetwork) as exc:
        found.append(str(exc))
    return found


async def _of_token(node: Node, permissions: Collection[str]) -> list[str]:
    """Without a token a node lets read; what a token lacks shows at the first message otherwise."""
    try:
        has = ["read"] if node.token is None else await node.permissions(node.token)
    except errors.Refused as exc:
        raise errors.BadToken(f"{node.url} does not accept our token: {exc.text}") from exc
    lacks = [permission for permission in permissions if permission not in has]
    if not lacks:
        return []
    what = "there is no token for it" if node.token is None else f"its token may only {' and '.join(has) or 'nothing'}"
    return [
        f"{node.url}: {what}, and {' and '.join(lacks)} is needed: make one with `lotus auth create-token --perm {lacks[-1]}`"
    ]


async def _of_miner(view: View, miner: Address) -> list[str]:
    try:
        await view.info(miner)
    except errors.NotThere as exc:
        return [f"{miner} is no miner on this network: {exc.text}"]
    return []


async def _of_sender(view: View, sender: Address, *, asks_wallet: bool) -> list[str]:
    found = []
    # Needs more than a token that may only read, of which there is a line already.
    if asks_wallet and not await view.node.has_key(sender):
        found.append(f"the wallet of {view.node.url} has no key of {sender}: import it with `lotus wallet import`")
    if not await view.node.balance(sender):
        found.append(f"{sender} has no FIL and cannot pay for messages: send it some")
    return found
