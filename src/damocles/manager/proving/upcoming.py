"""The chain at a glance: the node that is asked, its height, and the next deadline of each miner."""

from collections.abc import Collection

import anyio

from damocles import methods
from damocles.chain.addresses import Address
from damocles.lotus import errors as node_errors
from damocles.lotus import layout
from damocles.lotus.nodes import Nodes
from damocles.lotus.view import View
from damocles.rpc import core
from damocles.wire import proving as wire

PATIENCE_SECONDS = 3.0  # less than a command waits for all that it shows
_KEPT_EPOCHS = 10


class Upcoming:
    """Looks for it. What is known of a miner is kept for some epochs: many may look, and each look reads partitions."""

    def __init__(self, nodes: Nodes, miners: Collection[int], block_seconds: float) -> None:
        self._nodes = nodes
        self._miners = miners
        self._block_seconds = block_seconds
        self._known: dict[int, tuple[int, wire.Window | None]] = {}  # with the epoch of the look

    def register(self, service: core.Service) -> None:
        """Serve the method."""
        service.add(methods.chain.seen, self.seen)

    async def seen(self) -> wire.ChainSeen:
        """Return the chain as it is now; a node that does not answer is told in it."""
        miners: list[wire.MinerSeen] = []
        node, epoch, at, problem = "", 0, 0, ""
        try:
            with anyio.fail_after(PATIENCE_SECONDS):
                async with self._nodes.view() as view:
                    node, epoch, at = view.node.url, view.epoch, view.tipset.timestamp
                    for miner in self._miners:
                        miners.append(wire.MinerSeen(miner=miner, window=await self._next(view, miner)))  # noqa: PERF401 - kept if one fails
        except TimeoutError:
            problem = f"no answer about {'the deadlines' if node else 'its head'} within {PATIENCE_SECONDS:g} s"
        except node_errors.NodeError as error:
            problem = str(error)
        return wire.ChainSeen(
            node=node, epoch=epoch, at=at, block_seconds=self._block_seconds, miners=miners, problem=problem
        )

    async def _next(self, view: View, miner: int) -> wire.Window | None:
        looked, known = self._known.get(miner, (-_KEPT_EPOCHS, None))
        if 0 <= view.epoch - looked < _KEPT_EPOCHS and (known is None or view.epoch < known.close):
            return known
        address = Address.of_id(miner)
        cycle = layout.Cycle.of(await view.period(address), view.epoch)
        for ahead in range(cycle.count):
            deadline = (cycle.current + ahead) % cycle.count
            if any(one.live for one in await view.partitions(address, deadline)):
                opens = cycle.opens(deadline)
                found = wire.Window(deadline=deadline, opens=opens, close=opens + cycle.window)
                break
        else:
            found = None
        self._known[miner] = view.epoch, found
        return found
