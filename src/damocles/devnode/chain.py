"""The chain of a devnet with its mempool. What takes long (executing) is apart from what changes it (`add`).

plan = chain.plan(height)           # in the event loop
block = chain.executed(plan)        # in a thread
changes = chain.add(block)          # in the event loop again
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from damocles.chain.messages import Message, SignedMessage
from damocles.devnode import rules, tipsets
from damocles.devnode.actors.execution import Outcome
from damocles.devnode.pool import Pool
from damocles.devnode.rules import Rules
from damocles.devnode.state import State
from damocles.devnode.tipsets import Executor, TipSet
from damocles.wire.codec import CID

_KEPT = rules.TICKET_LOOKBACK + rules.FINALITY  # tipsets; of older ones there is no randomness either
_KEPT_STATES = rules.FINALITY


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A tipset that is to be made: after which, when, with how many messages at most, and with which base fee if not its own."""

    parent: TipSet
    height: int
    timestamp: int
    limit: int | None = None
    base_fee: int | None = None


class Change(msgspec.Struct, frozen=True):
    """A tipset that came (`apply`), went (`revert`), or is the head of a new subscription (`current`)."""

    type: str
    tipset: TipSet


class Found(msgspec.Struct, frozen=True):
    """A message that was executed: the one that landed, what became of it, and the tipset that has executed it."""

    message: SignedMessage
    outcome: Outcome
    tipset: TipSet


class Chain:
    """Tipsets from the first to the head, those that were taken back, and messages that wait."""

    def __init__(self, of: Rules, first: TipSet, secret: bytes, verify: Callable[[Any], bool]) -> None:
        self.known: dict[CID, TipSet] = {first.key: first}
        self.rules = of
        self.first = first
        self.head = first
        self.maker = of.miner  # of blocks that no miner has handed in
        self.secret = secret
        self.pool = Pool()
        self.executor = Executor(of, self.known, secret, verify)
        self.seen: dict[CID, SignedMessage] = {}
        self._next_height = 1  # above heights that were taken back
        self._salts = itertools.count()
        self._after: tuple[CID, State, list[Outcome]] | None = None

    # Make tipsets.

    @property
    def next_height(self) -> int:
        """The height of the next tipset, above those that were taken back."""
        return max(self._next_height, self.head.height + 1)

    def plan(self, timestamp: int, *, nulls: int = 0, limit: int | None = None, base_fee: int | None = None) -> Plan:
        """Return the next tipset, after some null rounds."""
        height = self.next_height + nulls
        timestamp = max(timestamp, self.head.timestamp)
        return Plan(parent=self.head, height=height, timestamp=timestamp, limit=limit, base_fee=base_fee)

    def executed(self, plan: Plan) -> TipSet:
        """Execute the parent of a plan's tipset, choose its messages, and make it. Changes nothing.

        Raises:
            Unverifiable: A proof cannot be checked here.
        """
        state, outcomes = self.executor.executed(plan.parent, plan.height)
        limits = sum(signed.message.gas_limit for signed in plan.parent.messages)
        base_fee = plan.base_fee or rules.next_base_fee(plan.parent.base_fee, limits)
        return tipsets.following(
            plan.parent,
            state,
            outcomes,
            height=plan.height,
            timestamp=plan.timestamp,
            base_fee=base_fee,
            messages=self.pool.best(state, base_fee, plan.limit, plan.height),
            salt=b"%d" % next(self._salts),
        )

    def add(self, made: TipSet) -> list[Change]:
        """Make a tipset the head, and return what that changes."""
        self.known[made.key] = made
        self.head, self._next_height = made, made.height + 1
        for signed in made.messages:
            self.seen[signed.cid] = signed
        self.pool.remove(made.messages)
        if made.state is not None:
            self.pool.prune(made.state)
        self._forget()
        return [Change("apply", made)]

    def take_back(self, depth: int, *, drop: bool = False) -> list[Change]:
        """Take tipsets back; their messages wait again, unless they are dropped. Their heights become null rounds.

        Raises:
            ValueError: It is deeper than the chain, or than its finality.
        """
        if not 0 < depth <= min(rules.FINALITY, self.head.height):
            raise ValueError(
                f"the chain can be taken back by 1 to {min(rules.FINALITY, self.head.height)} tipsets, not {depth}"
            )
        gone = list(itertools.islice(self.back(self.head), depth))
        if gone[-1].parent is None:
            raise ValueError("the first tipset cannot be taken back")
        self.head = self.known[gone[-1].parent]
        if not drop:
            for tipset in gone:
                for signed in tipset.messages:
                    self.pool.put(signed)
        return [Change("revert", tipset) for tipset in gone]

    def set_head(self, tipset: TipSet) -> list[Change]:
        """Make another tipset the head, and return what comes and goes on the way."""
        changes = self.path(self.head, tipset)
        for change in changes:
            if change.type == "revert":
                for signed in change.tipset.messages:
                    self.pool.put(signed)
            else:
                self.pool.remove(change.tipset.messages)
        self.head = tipset
        return changes

    def restore(self, kept: Iterable[TipSet], head: CID) -> None:
        """Take up tipsets that were kept."""
        for tipset in kept:
            self.known[tipset.key] = tipset
            for signed in tipset.messages:
                self.seen[signed.cid] = signed
        self.head = self.known[head]
        self._next_height = max(tipset.height for tipset in self.known.values()) + 1
        self._salts = itertools.count(len(self.known))

    def _forget(self) -> None:
        oldest = self.head.height - _KEPT
        if self.head.height % 100:
            return
        for key, tipset in list(self.known.items()):
            if tipset is self.first:
                continue
            if tipset.height < oldest:
                del self.known[key]
                for signed in tipset.messages:
                    self.seen.pop(signed.cid, None)
            elif tipset.height < self.head.height - _KEPT_STATES and tipset.state is not None:
                self.known[key] = msgspec.structs.replace(tipset, state=None)

    # Look.

    def back(self, tipset: TipSet) -> Iterator[TipSet]:
        """Yield a tipset and those before it, as far as they are kept."""
        current: TipSet | None = tipset
        while current is not None:
            yield current
            current = None if current.parent is None else self.known.get(current.parent)

    def at(self, height: int, head: TipSet) -> TipSet:
        """Return the tipset at a height; in a null round the one before it. `KeyError` if it is forgotten."""
        return tipsets.ancestor(self.known, head, height)

    def after(self, height: int, head: TipSet) -> TipSet:
        """Return the tipset at a height; in a null round the one after it."""
        found = head
        for tipset in self.back(head):
            if tipset.height < height:
                break
            found = tipset
        return found

    def path(self, start: TipSet, end: TipSet) -> list[Change]:
        """Return what is taken back, newest first, and then comes on the way between tipsets."""
        gone, came = [], []
        one, other = start, end
        while one.key != other.key:
            if one.height >= other.height:
                gone.append(one)
                one = self.known[one.parent] if one.parent else one
            else:
                came.append(other)
                other = self.known[other.parent] if other.parent else other
        return [Change("revert", tipset) for tipset in gone] + [Change("apply", tipset) for tipset in reversed(came)]

    def after_head(self, tipset: TipSet) -> tuple[State, list[Outcome]]:
        """Return the state after a tipset's own messages, and their outcomes. Blocking; call from a thread."""
        known = self._after
        if known is None or known[0] != tipset.key:
            known = (tipset.key, *self.executor.executed(tipset, tipset.height))
            self._after = known
        return known[1], known[2]

    def find(self, message: Message, cid: CID, tipset: TipSet, limit: int) -> Found | None:
        """Return where a message, or another one with its nonce, was executed, up to `limit` epochs back (-1: any)."""
        oldest = -1 if limit < 0 else tipset.height - limit
        for child in self.back(tipset):
            if child.height <= oldest or child.parent is None:
                return None
            parent = self.known.get(child.parent)
            if parent is None:
                return None
            for signed, outcome in zip(parent.messages, child.outcomes, strict=True):
                other = signed.message
                if signed.cid == cid or (other.sender, other.nonce) == (message.sender, message.nonce):
                    return Found(signed, outcome, child)
        return None
