"""A devnet's one node: its chain, keys and pool, the clock that makes blocks, and what makes trouble."""

import itertools
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.to_thread
import structlog
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from damocles import logs, pulse, signing
from damocles.chain.addresses import Address, Protocol
from damocles.chain.blocks.header import Header
from damocles.chain.messages import SignedMessage
from damocles.devnode import rules, wallet
from damocles.devnode.actors.draft import Unverifiable
from damocles.devnode.blocks.rounds import Rounds
from damocles.devnode.chain import Chain, Change
from damocles.devnode.mischief import Fault, Kind, Mischief
from damocles.devnode.pool import NotTaken
from damocles.devnode.rules import Rules
from damocles.devnode.state import State
from damocles.devnode.store import Full, Store
from damocles.devnode.tipsets import TipSet
from damocles.signing import PrivateKey
from damocles.wire import codec
from damocles.wire.codec import CID

log = structlog.get_logger(__name__)

_QUEUE = 1000  # changes that a subscriber may be behind
_BLOCKS_AT_ONCE = 2  # after the one with a message: what executes it, and one on top
_STEPPED_SECONDS = 30  # of an epoch, where nobody counts them


class Node:
    """A devnode.

    `url` and `token` are for clients; `tokens` has one for each permission. `miner`, `owner` and the keys are those
    that the devnet was made with. With `block_seconds` of `None` a block is made only by `step`. With `at_once` what is
    pushed does not wait for the next block: the blocks that execute it are made right away. With `is_mined` epochs go by the
    clock, miners hand in blocks, and only an epoch without any gets one of the devnet's own.
    """

    url: str = ""

    def __init__(
        self,
        chain: Chain,
        keys: wallet.Wallet,
        *,
        store: Store | None,
        block_seconds: float | None,
        accepts_any_proof: bool,
        clock: Callable[[], float] = time.time,
        at_once: bool = False,
        is_mined: bool = False,
    ) -> None:
        self.chain = chain
        self.is_mined = is_mined
        self.wallet = keys
        self.mischief = Mischief()
        self.block_seconds = block_seconds
        self.accepts_any_proof = accepts_any_proof
        self.messages_a_block: int | None = None
        self.tokens = {name: wallet.token(chain.secret, wallet.up_to(name)) for name in wallet.PERMISSIONS}
        self.token = self.tokens["admin"]
        self._store = store
        self._pushed: dict[str, SignedMessage] = {}
        self._clock = clock
        self._at_once = at_once
        self._is_pushed = True  # something may wait from before a stop
        self._push = pulse.Pulse()
        self._making = anyio.Lock()
        self._pushing = anyio.Lock()
        self._subscribers: dict[MemoryObjectSendStream[list[Change]], None] = {}  # in the order in which they came
        self._is_stopped = False
        self._nulls = self._skipped = 0
        self._doomed: dict[int, tuple[int, int]] = {}
        self._base_fee: int | None = None
        self._trouble: str | None = None  # for which no block could be made
        self.changed = pulse.Pulse()
        self.rounds = Rounds(chain, store, self.block_delay_seconds, clock)

    # What it is.

    @property
    def rules(self) -> Rules:
        """The rules of the devnet."""
        return self.chain.rules

    @property
    def head(self) -> TipSet:
        """The head of the chain, as it is told at `url`: it may lag on request."""
        return self.behind(self.mischief.behind)

    def behind(self, epochs: int) -> TipSet:
        """Return the tipset some epochs below the head."""
        head = self.chain.head
        return self.chain.at(max(0, head.height - epochs), head) if epochs else head

    async def now(self, behind: int = 0) -> tuple[TipSet, State]:
        """Return the head, or the tipset so far below it, with the state after it: both fit the pool until the next `await`.

        Executing takes a while. A block that comes meanwhile takes messages out of the pool that this state would not know.
        """
        while True:
            head = self.behind(behind)
            state, _ = await anyio.to_thread.run_sync(self.chain.after_head, head)
            if head is self.behind(behind):
                return head, state

    @property
    def block_delay_seconds(self) -> int:
        """How long an epoch is in whole seconds, at least one, which is what nodes can say."""
        return max(1, math.ceil(self.block_seconds)) if self.block_seconds else _STEPPED_SECONDS

    # Blocks.

    async def run(self) -> None:
        """Make blocks for ever, as fast as the devnet is to go."""
        if self.block_seconds is None:
            await anyio.sleep_forever()
            return
        if self.is_mined:
            await self.rounds.run(self.changed, self._make_instead)
            return
        due = anyio.current_time()
        while True:
            due = max(due + self.block_seconds, anyio.current_time() - self.block_seconds)
            due = await self._wait(due)
            if not self._is_stopped:
                await self._try_step()

    async def _make_instead(self, epoch: int) -> None:
        """Make the block of an epoch that no miner has made, unless there is to be none."""
        if self._is_stopped or self._skipped:
            self._skipped = max(0, self._skipped - 1)
            return
        self._nulls = epoch - self.chain.next_height
        await self._try_step()

    async def _wait(self, due: float) -> float:
        """Return when a block is to be made; the time from which the next one is counted."""
        if not self._at_once:
            await anyio.sleep_until(due)
            return due
        count = self._push.count
        if not self._is_stopped and self._hurries():
            return anyio.current_time()
        with anyio.CancelScope(deadline=due):
            await self._push.wait(since=count)
            return anyio.current_time()
        return due

    def _hurries(self) -> bool:
        """Return whether something was pushed, or is not executed yet, with a block on top for what follows from it."""
        if self._is_pushed and self.chain.pool.all():
            return True
        latest = itertools.islice(self.chain.back(self.chain.head), _BLOCKS_AT_ONCE)
        return any(tipset.messages for tipset in latest)

    async def _try_step(self) -> None:
        try:
            await self.step()
        except (Unverifiable, Full) as error:
            if not logs.alike(str(error), self._trouble):
                log.error("the devnode can make no block, and tries again", error=str(error))
            self._trouble = str(error)
            await anyio.sleep(1)
            return
        if self._trouble is not None:
            self._trouble = None
            log.info("the devnode makes blocks again")

    async def step(self, count: int = 1) -> TipSet:
        """Make blocks now; return the last."""
        for _ in range(count):
            async with self._making:
                nulls, base_fee = self._nulls, self._base_fee
                self._is_pushed = False
                at = self.rounds.time_of(self.chain.next_height + nulls) if self.is_mined else int(self._clock())
                plan = self.chain.plan(at, nulls=nulls, limit=self.messages_a_block, base_fee=base_fee)
                if self._store is None and not plan.parent.messages:
                    made = self._made(plan)  # nothing to execute or to write: a thread would cost more
                else:
                    made = await anyio.to_thread.run_sync(self._made, plan)
                self._nulls -= nulls
                self._base_fee = None
                self._tell(self.chain.add(made))
                if made.messages:
                    log.info("devnet block", height=made.height, messages=len(made.messages))
        return self.chain.head

    async def take(self, header: Header, messages: Sequence[SignedMessage]) -> bool:
        """Make a good block the head; false if its parent is not the head any more, so that it is left out."""
        async with self._making:
            if header.parents[0] != self.chain.head.key:
                return False
            self._tell(self.chain.add(await anyio.to_thread.run_sync(self.rounds.made, header, messages)))
            log.info("mined block", height=header.height, miner=str(header.miner), messages=len(messages))
        return True

    def _made(self, plan: Any) -> TipSet:
        made = self.chain.executed(plan)
        if self._store is not None:
            self._store.keep(made)
        return made

    async def reorganise(self, depth: int, *, drop: bool = False) -> TipSet:
        """Take tipsets back; the next block is made on top of what is left. Return the head.

        The messages in them wait again, or are lost (`drop`).
        """
        async with self._making:
            changes = self.chain.take_back(depth, drop=drop)
            await self._keep_head()
        self._tell(changes)
        return self.chain.head

    async def set_head(self, key: CID) -> None:
        """Make a known tipset the head."""
        async with self._making:
            changes = self.chain.set_head(self.chain.known[key])
            await self._keep_head()
        if changes:
            self._tell(changes)

    async def _keep_head(self) -> None:
        if self._store is not None:
            await anyio.to_thread.run_sync(self._store.keep_head, self.chain.head.key)
            await anyio.to_thread.run_sync(self._store.keep_pool, self.chain.pool.all())

    def _tell(self, changes: list[Change]) -> None:
        self.changed.beat()
        for stream in list(self._subscribers):
            try:
                stream.send_nowait(changes)
            except (anyio.WouldBlock, anyio.BrokenResourceError):
                self._subscribers.pop(stream, None)
                stream.close()

    @asynccontextmanager
    async def changes(self) -> AsyncIterator[MemoryObjectReceiveStream[list[Change]]]:
        """Yield the changes of the head from now on."""
        sending, receiving = anyio.create_memory_object_stream[list[Change]](_QUEUE)
        self._subscribers[sending] = None
        try:
            yield receiving
        finally:
            self._subscribers.pop(sending, None)
            sending.close()
            receiving.close()

    # Trouble.

    def hang_up(self) -> None:
        """End all subscriptions to the head."""
        for stream in list(self._subscribers):
            self._subscribers.pop(stream, None)
            stream.close()

    def doom(self, method: int, count: int = 1, exit_code: int = 16) -> None:
        """Let the next messages to a method of an actor land with an exit code, though their estimates say nothing of it.

        It is forgotten when the devnode stops.
        """
        self._doomed[method] = (count, exit_code)

    def _look_for_doom(self, signed: SignedMessage) -> None:
        count, exit_code = self._doomed.get(signed.message.method, (0, 0))
        if count > 0:
            self._doomed[signed.message.method] = (count - 1, exit_code)
            self.chain.executor.doomed[signed.cid] = exit_code

    def stop_time(self) -> None:
        """Make no more blocks by itself: the head grows old."""
        self._is_stopped = True

    def go_on(self) -> None:
        """Make blocks again."""
        self._is_stopped = False

    def null_rounds(self, count: int) -> None:
        """Let some epochs before the next block have none."""
        if self.is_mined and self.block_seconds is not None:
            self._skipped += count  # by the clock
        else:
            self._nulls += count

    def set_base_fee(self, base_fee: int) -> None:
        """Let the next block have another base fee; from there it goes its ordinary way."""
        self._base_fee = max(rules.LEAST_BASE_FEE, base_fee)

    def disturb(
        self,
        method: str,
        kind: Kind,
        *,
        seconds: float = 0.0,
        text: str = "",
        times: int | None = None,
        late: bool = False,
    ) -> None:
        """Let a method misbehave; see `mischief.Fault`."""
        self.mischief.put(method, Fault(kind=kind, seconds=seconds, text=text, times=times, late=late))

    # Messages.

    async def push(self, signed: SignedMessage) -> CID:
        """Take a signed message into the pool.

        Raises:
            NotTaken: With the node's reason.
        """
        if signed.message.sender.protocol is Protocol.ID:
            raise NotTaken("verify msg failed: mpool message sender must be a key address")
        if not await anyio.to_thread.run_sync(signing.is_valid, signed):
            raise NotTaken(
                "signature verification failed: failed to validate signature: invalid signature for message"
                f" {signed.cid} (type {int(signed.signature.type)}): signature failed to verify"
            )
        async with self._pushing:  # between look and put, so that of two messages with a nonce one is refused
            _, state = await self.now()
            self.chain.pool.check(signed, state)
            if self._store is not None:
                other = self.chain.pool.waiting(signed.message.sender, signed.message.nonce)
                try:
                    await anyio.to_thread.run_sync(
                        self._store.add_message, signed, None if other is None else other.cid
                    )
                except Full as error:
                    raise NotTaken(str(error)) from error
            self.chain.pool.put(signed, self.chain.head.height)
        self.chain.seen[signed.cid] = signed
        self._look_for_doom(signed)
        self._is_pushed = True
        self._push.beat()
        return signed.cid

    async def pushed(self, uuid: str) -> SignedMessage | None:
        """Return the message that was pushed under a uuid of its sender's, `None` if none was."""
        if uuid not in self._pushed and self._store is not None:
            content = await anyio.to_thread.run_sync(self._store.get, f"uuid {uuid}")
            if content is not None:
                self._pushed[uuid] = codec.decode(content, SignedMessage)
        return self._pushed.get(uuid)

    async def remember(self, uuid: str, signed: SignedMessage) -> None:
        """Remember a message by a uuid of its sender's."""
        self._pushed[uuid] = signed
        if self._store is not None:
            await anyio.to_thread.run_sync(self._store.put, f"uuid {uuid}", codec.encode(signed))

    def key_of(self, address: Address) -> Address:
        """Return the key of an account that may be named by its number; anything else as it is."""
        state = self.chain.head.state
        number = state.id_of(address) if state is not None else None
        account = state.accounts.get(number) if state is not None and number is not None else None
        return account.key if account is not None and account.key is not None else address

    async def add_key(self, key: PrivateKey) -> Address:
        """Take a key into the wallet, for good."""
        if self._store is not None:
            await anyio.to_thread.run_sync(self._store.add_key, key)
        return self.wallet.add(key)
