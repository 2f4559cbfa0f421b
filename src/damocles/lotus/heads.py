"""Follow the head of the chain: what comes, what is taken back, and what was missed meanwhile.

A connection that breaks, a node that goes away and a change to another node are bridged: from the last reported
head to the new one there is a path of tipsets taken back and applied. Only where there is none (too long ago, or the
node does not know the old head), a change is marked as a new beginning; then everything has to be read again.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass

import anyio
import structlog

from damocles.lotus import errors
from damocles.lotus.answers import ChangeType, HeadChange, TipSet
from damocles.lotus.node import Node

log = structlog.get_logger(__name__)

FINALITY_EPOCHS = 900  # nothing older is taken back
# Without a word from a node for so long, it is looked whether another is better; 10 epochs of 30 seconds.
QUIET_SECONDS = 300.0
# Before another connection, twice as long each time that it comes to nothing.
PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What happened since the change before: first `reverted`, newest first, then `applied`, oldest first.

    With `anew` nothing is known of what happened in between.
    """

    head: TipSet
    reverted: tuple[TipSet, ...] = ()
    applied: tuple[TipSet, ...] = ()
    anew: bool = False


async def follow(
    pick: Callable[[], Awaitable[Node]],
    *,
    since: TipSet | None = None,
    quiet_seconds: float = QUIET_SECONDS,
    pause_seconds: float = PAUSE_SECONDS,
) -> AsyncGenerator[Change, None]:
    """Yield the changes since a head that is known, for ever; `pick` returns the node to follow (see `nodes`).

    Close it when it is no longer wanted (`contextlib.aclosing`).
    """
    last, tries, reported = since, 0, ""
    while True:
        try:
            node = await pick()
            async with node.changes() as frames:
                while True:
                    with anyio.move_on_after(quiet_seconds) as patience:
                        changes = await anext(frames, None)
                    if patience.cancelled_caught:
                        log.warning("the node says nothing of its head", node=node.url, seconds=quiet_seconds)
                        break
                    if changes is None:
                        log.info("the node ended the subscription to its head", node=node.url)
                        break
                    tries, reported = 0, ""
                    change = await _change(node, last, changes)
                    if change is not None:
                        last = change.head
                        yield change
        except errors.NodeError as exc:
            if reported != (reported := str(exc)):
                log.warning("the head cannot be followed; trying again", error=reported)
        await anyio.sleep(min(pause_seconds * 2**tries, LONGEST_PAUSE_SECONDS))
        tries = min(tries + 1, 10)


async def _change(node: Node, last: TipSet | None, changes: Sequence[HeadChange]) -> Change | None:
    """Return what a frame means after the last head; `None` if nothing changed."""
    if not changes:
        return None
    head = await _head_after(node, changes)
    if last is None:
        return Change(head=head, applied=(head,), anew=True)
    if head.key == last.key:
        return None
    change = _folded(head, changes)
    return change if _is_next(last, change) else await _bridged(node, last, head)


async def _head_after(node: Node, changes: Sequence[HeadChange]) -> TipSet:
    newest = changes[-1]
    # Where tipsets are only taken back, the head is below the last of them; the next frame applies others.
    return await node.tipset(newest.tipset.parents) if newest.type is ChangeType.REVERT else newest.tipset


def _folded(head: TipSet, changes: Sequence[HeadChange]) -> Change:
    return Change(
        head=head,
        reverted=tuple(change.tipset for change in changes if change.type is ChangeType.REVERT),
        applied=tuple(change.tipset for change in changes if change.type is not ChangeType.REVERT),
    )


def _is_next(last: TipSet, change: Change) -> bool:
    """Return whether a change begins at the last head and has no gap."""
    at = last.key
    for tipset in change.reverted:
        if tipset.key != at:
            return False
        at = tipset.parents
    for tipset in change.applied:
        if tipset.parents != at:
            return False
        at = tipset.key
    return True


async def _bridged(node: Node, last: TipSet, head: TipSet) -> Change:
    """Return the way from the last head to another one, or that there is none."""
    if abs(head.height - last.height) <= FINALITY_EPOCHS:
        try:
            return _folded(head, await node.path(last.key, head.key))
        except (errors.NoTipSet, errors.Refused) as exc:
            log.warning("the node does not know the last head", node=node.url, height=last.height, error=str(exc))
    return Change(head=head, applied=(head,), anew=True)
