"""Answers about deadlines and blocks where neither has to be proved: on a devnode of one's own that needs none."""

from damocles.manager import errors
from damocles.wire import blocks as blocks_wire
from damocles.wire import proving

_WHOSE = "not supported by this manager: its chain is a devnode of its own, "


async def day(_miner: int) -> proving.Day:
    """Refuse: here no deadline has to be proved, and there are jobs alone."""
    raise errors.ManagerError(f"{_WHOSE}where no deadline has to be proved; see `util worker wdpost list`")


async def blocks(_miner: int | None = None, _count: int = 0) -> blocks_wire.Listed:
    """Refuse: here nobody is elected."""
    raise errors.ManagerError(f"{_WHOSE}which makes its blocks without elections")


async def seen() -> proving.ChainSeen:
    """Refuse: here is no node but the manager's own."""
    raise errors.ManagerError(f"{_WHOSE}and needs no look at its node")
