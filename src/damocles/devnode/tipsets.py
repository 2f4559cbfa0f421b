"""Tipsets, and the chain that they make: pure values, and what follows from them.

A tipset has the messages of its epoch, and the state from before them: the state after them, and their receipts, are in
the next one, as on a real chain.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import cbor2
import msgspec

from damocles.chain import cbor, cids, exits, tuples
from damocles.chain.blocks import election
from damocles.chain.blocks.header import Header
from damocles.chain.messages import SignedMessage
from damocles.devnode import rules
from damocles.devnode.actors import execution
from damocles.devnode.actors.draft import Abort, Surroundings
from damocles.devnode.actors.execution import Outcome
from damocles.devnode.rules import Rules
from damocles.devnode.state import State
from damocles.wire import codec
from damocles.wire.codec import CID


class TipSet(msgspec.Struct, frozen=True, kw_only=True):
    """A tipset of one block. `state` is that from before its messages, `outcomes` are those of its parent's messages.

    `header` is that of a block that a miner handed in; without one the devnet has made the block itself.
    """

    key: CID
    parent: CID | None
    height: int
    timestamp: int
    ticket: bytes
    base_fee: int
    messages: tuple[SignedMessage, ...]
    state_root: CID
    outcomes: tuple[Outcome, ...]
    state: State | None = None  # forgotten when it is old
    header: Header | None = None


class Draws:
    """Randomness of a chain that ends with a tipset: tickets are that chain's, the beacon is everybody's."""

    def __init__(self, known: Mapping[CID, TipSet], head: TipSet, secret: bytes) -> None:
        self._known = known
        self._head = head
        self._secret = secret

    def tickets(self, domain: int, epoch: int, entropy: bytes) -> bytes:
        """Return 32 bytes drawn from the ticket of the tipset at an epoch, or before it if that is a null round."""
        if epoch > self._head.height:
            raise Abort(exits.ILLEGAL_ARGUMENT, "cannot draw randomness from the future")
        tipset = ancestor(self._known, self._head, max(0, epoch))
        return election.drawn(tipset.ticket, domain, epoch, entropy)

    def beacon(self, domain: int, epoch: int, entropy: bytes) -> bytes:
        """Return 32 bytes drawn from the beacon of an epoch, null round or not."""
        if epoch > self._head.height:
            raise Abort(exits.ILLEGAL_ARGUMENT, "cannot draw randomness from the future")
        return election.drawn(beacon_entry(self._secret, epoch), domain, epoch, entropy)


def beacon_entry(secret: bytes, epoch: int) -> bytes:
    """Return what the beacon says at an epoch."""
    return hashlib.blake2b(b"beacon %d" % epoch, key=secret, digest_size=48).digest()


def ancestor(known: Mapping[CID, TipSet], head: TipSet, height: int) -> TipSet:
    """Return the tipset at a height on the chain that ends with `head`; in a null round the one before it.

    Raises:
        KeyError: It is forgotten.
    """
    tipset = head
    while tipset.height > height and tipset.parent is not None:
        tipset = known[tipset.parent]
    return tipset


def root_of(state: State) -> CID:
    """Return what names a state."""
    return cids.of_object(codec.encode(state))


def genesis(state: State, secret: bytes, base_fee: int, timestamp: int) -> TipSet:
    """Return the first tipset."""
    ticket = hashlib.blake2b(b"genesis", key=secret, digest_size=32).digest()
    return _made(None, 0, timestamp, ticket, base_fee, (), state, ())


def following(
    parent: TipSet,
    state: State,
    outcomes: Sequence[Outcome],
    *,
    height: int,
    timestamp: int,
    base_fee: int,
    messages: Sequence[SignedMessage],
    salt: bytes,
) -> TipSet:
    """Return the tipset after `parent`, of which state and outcomes are those of `executed`.

    `salt` makes another tipset of it than one that was there before and was taken back.
    """
    assert parent.state is not None
    ticket = hashlib.blake2b(parent.ticket + b"%d" % height + salt, digest_size=32).digest()
    root = parent.state_root if state is parent.state else None
    return _made(parent, height, timestamp, ticket, base_fee, tuple(messages), state, tuple(outcomes), root)


def mined(header: Header, state: State, outcomes: Sequence[Outcome], messages: Sequence[SignedMessage]) -> TipSet:
    """Return the tipset of a block that was handed in; state and outcomes as for `following`."""
    assert header.ticket is not None
    return TipSet(
        key=header.cid,
        parent=header.parents[0],
        height=header.height,
        timestamp=header.timestamp,
        ticket=bytes(header.ticket.proof),
        base_fee=int(header.parent_base_fee),
        messages=tuple(messages),
        state_root=header.parent_state_root,
        outcomes=tuple(outcomes),
        state=state,
        header=header,
    )


def _made(  # noqa: PLR0917, the fields in their order
    parent: TipSet | None,
    height: int,
    timestamp: int,
    ticket: bytes,
    base_fee: int,
    messages: tuple[SignedMessage, ...],
    state: State,
    outcomes: tuple[Outcome, ...],
    root: CID | None = None,
) -> TipSet:
    root = root or root_of(state)
    link: Any = None if parent is None else cbor2.CBORTag(cbor.LINK, b"\0" + cids.to_bytes(parent.key))
    cids_of_messages = [str(signed.cid) for signed in messages]
    header = [
        link,
        height,
        timestamp,
        ticket,
        base_fee,
        str(root),
        cids_of_messages,
        [one.exit_code for one in outcomes],
    ]
    return TipSet(
        key=cids.of_object(cbor.encode(header)),
        parent=None if parent is None else parent.key,
        height=height,
        timestamp=timestamp,
        ticket=ticket,
        base_fee=base_fee,
        messages=messages,
        state_root=root,
        outcomes=outcomes,
        state=state,
    )


class Executor:
    """Executes tipsets under the rules of a devnet."""

    def __init__(self, of: Rules, known: Mapping[CID, TipSet], secret: bytes, verify: Any) -> None:
        self.rules = of
        self._known = known
        self._secret = secret
        self.verify = verify
        self.doomed: dict[CID, int] = {}  # exit codes of messages that fail on request

    def draws(self, tipset: TipSet) -> Draws:
        """Return the randomness of the chain that ends with a tipset."""
        return Draws(self._known, tipset, self._secret)

    def around(self, tipset: TipSet, epoch: int | None = None) -> Surroundings:
        """Return what messages are executed in at a tipset."""
        return Surroundings(
            rules=self.rules,
            epoch=tipset.height if epoch is None else epoch,
            base_fee=tipset.base_fee,
            randomness=self.draws(tipset),
            verify=self.verify,
        )

    def executed(self, tipset: TipSet, until: int) -> tuple[State, list[Outcome]]:
        """Return the state after a tipset's messages and after what happens by itself in null rounds before `until`.

        Raises:
            Unverifiable: A proof cannot be checked here.
            Forgotten: The state of the tipset is too old.
        """
        state = state_of(tipset)
        around = self.around(tipset)
        outcomes = []
        for signed in tipset.messages:
            size = len(tuples.encode(signed))
            state, outcome = execution.execute(
                state, signed.message, around, message_bytes=size, doom=self.doomed.get(signed.cid)
            )
            outcomes.append(outcome)
        for epoch in range(tipset.height, until):
            state = execution.end_epoch(state, self.around(tipset, epoch))
        return state, outcomes


class Forgotten(Exception):
    """The state at a tipset is no longer kept."""


def state_of(tipset: TipSet) -> State:
    """Return the state at a tipset, or raise `Forgotten`."""
    if tipset.state is None:
        raise Forgotten(f"the devnode keeps the states of the last {rules.FINALITY} epochs; {tipset.height} is older")
    return tipset.state


def without_state(tipset: TipSet) -> TipSet:
    """Return a tipset as it is kept: its state is kept elsewhere."""
    return msgspec.structs.replace(tipset, state=None)


def with_state(tipset: TipSet, state: State | None) -> TipSet:
    """Return a tipset with its state."""
    return msgspec.structs.replace(tipset, state=state)
