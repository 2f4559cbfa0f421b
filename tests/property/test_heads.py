"""Whatever happens to a chain and to the connections to its node, the changes that are told have no gap."""

import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any

import anyio
from hypothesis import given
from hypothesis import strategies as st

from damocles.lotus import errors, heads
from damocles.lotus.answers import ChangeType, HeadChange, TipSet
from damocles.lotus.heads import Change
from damocles.wire import codec

# An act on the chain: how many tipsets are taken back, how many come, with how many null rounds before each, and whether
# all is told in one frame.
acts = st.tuples(st.integers(0, 6), st.integers(0, 4), st.integers(0, 3), st.booleans())
# What is told, or which frame of it gets lost.
tellings = st.tuples(acts, st.sampled_from([None, None, 0, 1]))
# A subscription: what happens before it and is not told, what is told, and whether the node has lost old tipsets.
sessions = st.lists(st.tuples(st.lists(acts, max_size=3), st.lists(tellings, max_size=4), st.booleans()), max_size=5)


class Over(Exception):
    """The last subscription has ended."""


class Chain:
    """A chain as its node sees it, and the subscriptions to it."""

    url = "http://node"

    def __init__(self, script: list[Any]) -> None:
        self._numbers = itertools.count()
        self.tipsets = [self._made(0, "genesis")]
        self.known = {self.tipsets[0].key: self.tipsets[0]}
        self._script = iter(script)
        self._has_lost = False
        self.told: list[list[HeadChange]] = []

    def _made(self, height: int, parent: str) -> TipSet:
        block = {"Miner": "f01", "Parents": [{"/": parent}], "Height": height, "Timestamp": 0, "ParentBaseFee": "1"}
        cid = {"/": f"c{next(self._numbers)}"}
        return codec.from_builtins({"Cids": [cid], "Blocks": [block], "Height": height}, TipSet)

    def act(self, back: int, forth: int, nulls: int, at_once: bool) -> list[list[HeadChange]]:
        """Change the chain; return the frames that tell of it."""
        back = min(back, len(self.tipsets) - 1)
        gone = [HeadChange(ChangeType.REVERT, self.tipsets.pop()) for _ in range(back)]
        come = []
        for _ in range(forth):
            last = self.tipsets[-1]
            self.tipsets.append(self._made(last.height + 1 + nulls, last.cids[0]))
            self.known[self.tipsets[-1].key] = self.tipsets[-1]
            come.append(HeadChange(ChangeType.APPLY, self.tipsets[-1]))
        return [frame for frame in ([gone + come] if at_once else [gone, come]) if frame]

    @contextlib.asynccontextmanager
    async def changes(self) -> AsyncIterator[AsyncIterator[list[HeadChange]]]:
        """Yield what the next subscription tells."""
        session = next(self._script, None)
        if session is None:
            raise Over
        unseen, seen, self._has_lost = session
        for act in unseen:
            self.act(*act)

        async def frames() -> AsyncIterator[list[HeadChange]]:
            yield [HeadChange(ChangeType.CURRENT, self.tipsets[-1])]
            for act, lost in seen:
                for number, frame in enumerate(self.act(*act)):
                    if number != lost:
                        yield frame

        yield frames()

    async def tipset(self, key: Any) -> TipSet:
        """Return a tipset, on the chain or not."""
        return self.known[key]

    async def path(self, start: Any, end: Any) -> list[HeadChange]:
        """Return the way between two tipsets."""
        if self._has_lost:
            raise errors.NoTipSet(self.url, "ChainGetPath", "could not find it")
        ends = [tipset.key for tipset in self._down_from(end)]
        gone = list(itertools.takewhile(lambda tipset: tipset.key not in ends, self._down_from(start)))
        base = gone[-1].parents if gone else start
        come = list(itertools.takewhile(lambda tipset: tipset.key != base, self._down_from(end)))
        return [HeadChange(ChangeType.REVERT, tipset) for tipset in gone] + [
            HeadChange(ChangeType.APPLY, tipset) for tipset in reversed(come)
        ]

    def _down_from(self, key: Any) -> list[TipSet]:
        found = []
        while key in self.known:
            found.append(self.known[key])
            key = found[-1].parents
        return found


async def followed(chain: Chain) -> list[Change]:
    """Return all changes that are told until the script is over."""
    found = []

    async def pick() -> Any:
        return chain

    with contextlib.suppress(Over):
        async with contextlib.aclosing(heads.follow(pick, pause_seconds=0)) as changes:
            async for change in changes:
                found.append(change)  # noqa: PERF401, kept when the script is over
    return found


@given(sessions)
def test_changes_lead_from_each_head_to_the_next(script: list[Any]) -> None:
    """What is taken back was the head, what is applied stands on what is left, and the last head is the chain's."""
    chain = Chain([*script, ([], [], False)])

    changes = anyio.run(followed, chain)

    at = changes[0].head
    assert changes[0].anew
    for change in changes[1:]:
        if not change.anew:
            key = at.key
            for tipset in change.reverted:
                assert key == tipset.key
                key = tipset.parents
            for tipset in change.applied:
                assert key == tipset.parents
                key = tipset.key
            assert change.head.key == key != at.key
        at = change.head
    assert at.key == chain.tipsets[-1].key
    assert not any(change.anew for change in changes[1:]) or any(lost for _, _, lost in script)
