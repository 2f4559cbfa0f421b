"""Which two blocks of one miner are a consensus fault, for which the chain takes its power.

A fault is found when the second of them is handed in, by what is remembered of the first ones; a node does the same with its own blocks, and
reports those of others.
"""

from collections.abc import Callable

from damocles.chain.blocks.header import Header


class Fault(Exception):
    """A block that would be a fault; the text is the node's."""


class Memory:
    """Remembers blocks by miner and height, and by miner and parents, in something that keeps texts by name."""

    def __init__(self, get: Callable[[str], bytes | None], put: Callable[[str, bytes], None]) -> None:
        self._get = get
        self._put = put

    def check(self, header: Header, parent_height: int) -> None:
        """Return if a block is no fault; the same block again is none.

        Raises:
            Fault: It is.
        """
        own, words = str(header.cid).encode(), f"consensus fault; miner: {header.miner}; bh: {header.cid}"
        if self._get(_at(header, header.height)) not in {None, own}:
            raise Fault(f"produced block would trigger 'double-fork mining faults' {words}")
        if self._get(_on(header)) not in {None, own}:
            raise Fault(f"produced block would trigger 'time-offset mining faults' {words}")
        before = self._get(_at(header, parent_height))
        if before is not None and before.decode() not in header.parents:
            raise Fault(
                f"produced block would trigger 'parent-grinding fault' {words}, expected parent: {before.decode()}"
            )

    def remember(self, header: Header) -> None:
        """Remember a block."""
        for name in (_at(header, header.height), _on(header)):
            self._put(name, str(header.cid).encode())


def _at(header: Header, height: int) -> str:
    return f"block {header.miner} {height}"


def _on(header: Header) -> str:
    return f"block {header.miner} on {','.join(header.parents)}"
