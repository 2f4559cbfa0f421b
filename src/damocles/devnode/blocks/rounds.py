"""Epochs by the clock, where miners hand in the blocks."""

import time
from collections.abc import Awaitable, Callable, Sequence

import anyio

from damocles.chain.addresses import Address
from damocles.chain.blocks.header import Header
from damocles.chain.messages import SignedMessage
from damocles.devnode import tipsets
from damocles.devnode.blocks import faults
from damocles.devnode.chain import Chain
from damocles.devnode.store import Store
from damocles.devnode.tipsets import TipSet
from damocles.pulse import Pulse
from damocles.wire.codec import CID

_WAIT_FOR_MINERS = 0.25  # of an epoch


class Rounds:
    """The rounds of a devnet. `signed` are blocks by miner and epoch, since the devnode runs.

    Epochs are counted from the head that is there at first, since those before it may have gone by another clock.
    """

    def __init__(
        self, chain: Chain, store: Store | None, delay_seconds: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._chain = chain
        self._store = store
        self.delay_seconds = delay_seconds
        self.now = clock
        self._zero = chain.head.timestamp - chain.head.height * delay_seconds
        self._kept: dict[str, bytes] = {}
        self.faults = faults.Memory(
            self._kept.get if store is None else store.get, self._kept.__setitem__ if store is None else store.put
        )
        self.signed: dict[tuple[Address, int], set[CID]] = {}

    def time_of(self, epoch: int) -> int:
        """Return when an epoch begins."""
        return self._zero + epoch * self.delay_seconds

    def epoch_now(self) -> int:
        """Return the epoch that it is by the clock."""
        return int(self.now() - self._zero) // self.delay_seconds

    def made(self, header: Header, messages: Sequence[SignedMessage]) -> TipSet:
        """Return the tipset of a good block on top of the head, and keep it. Blocking."""
        made = tipsets.mined(header, *self._chain.executor.executed(self._chain.head, header.height), messages)
        if self._store is not None:
            self._store.keep(made)
        return made

    async def run(self, changed: Pulse, make: Callable[[int], Awaitable[None]]) -> None:
        """Let each epoch have a block, for ever: that of a miner, or what `make` makes when none has come for a while."""
        while True:
            seen = changed.count
            epoch = max(self._chain.next_height, self.epoch_now())
            due = self.time_of(epoch) + _WAIT_FOR_MINERS * self.delay_seconds
            with anyio.move_on_after(max(0.0, due - self.now())):
                await changed.wait(since=seen)
                continue
            await make(epoch)
            if self._chain.next_height <= epoch:  # it is left out
                await anyio.sleep(max(0.0, self.time_of(epoch + 1) - self.now()))
