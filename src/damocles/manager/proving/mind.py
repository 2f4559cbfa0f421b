"""What to do next about the open window of a miner, from what is seen of it at one head. Pure.

    for act in mind.acts(window, seen, posts, terms):
        ...

A *window* is a deadline on one of its days, from its challenge to its close. A *post* is a proof for some of its partitions, from the
decision to make it until the window closes. Whatever the chain does, these hold:

- Whether a partition is proved, the chain says, at the head; a post that has landed and is taken back by a reorganisation is sent again.
- A post belongs to a challenge and to the sectors that were to be proved then. If either is another one at the head, it is
  dropped, a message of it that has not been executed is withdrawn, and another post is made.
- There is never a second message about a partition while one of the same window may still be executed.
"""

import enum
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from damocles.chain.bitfields import Bitfield

CLOSED = "its deadline is closed"
MOST_FAILURES = 2  # messages of a post that were executed and refused, after which another proof is made


class Stage(enum.StrEnum):
    """How far a post is."""

    PROVING = "proving"
    PROVED = "proved"
    SENT = "sent"  # ordered, that is; the outbox has it
    DROPPED = "dropped"
    OVER = "over"  # its deadline is closed


ALIVE = (Stage.PROVING, Stage.PROVED, Stage.SENT)


class Fate(enum.StrEnum):
    """What has become of the message of a post."""

    NONE = "none"
    UNDER_WAY = "under way"  # it may still be executed, or is, and may be taken back
    REFUSED = "refused"  # it would fail, or its nonce is used up: it is never executed
    FAILED = "failed"  # it was executed with an error
    LANDED = "landed"  # it was executed, deep enough


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """When a deadline of a miner takes proofs, in epochs; `close` is the first one that is too late."""

    miner: int
    deadline: int
    challenge: int
    opens: int
    close: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """The sectors of a partition that are to be proved, the recovering ones among them, and whether it is proved by now."""

    members: Bitfield
    is_posted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A window at one head: its challenge, and the partitions by number."""

    epoch: int
    seed: bytes
    partitions: Sequence[Partition]


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """What is known of a post. `members` are all that were to be proved, those that turned out to be faulty too.

    `gave_up_epoch` is when no prover had a try left. `landed_epoch` is when its message was executed.
    """

    id: int
    partitions: tuple[int, ...]
    seed: bytes
    members: Bitfield
    stage: Stage
    fate: Fate = Fate.NONE
    failures: int = 0
    gave_up_epoch: int | None = None
    landed_epoch: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """From when on is proved and sent, in epochs after the challenge and after the opening, and how much is in one post."""

    challenge_confidence: int
    submit_confidence: int
    most_partitions: int
    most_sectors: int
    retry_epochs: int  # before provers that have all failed are asked again


@dataclass(frozen=True, slots=True)
class Begin:
    """Have these partitions proved."""

    partitions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Drop:
    """Throw a post away, and withdraw its message."""

    post: Post
    reason: str


@dataclass(frozen=True, slots=True)
class Send:
    """Send a post; its last message, if there was one, has failed, and is withdrawn should that be taken back."""

    post: Post


@dataclass(frozen=True, slots=True)
class Retry:
    """Let the provers try again: all have failed."""

    post: Post


Act: TypeAlias = Begin | Drop | Send | Retry


def acts(window: Window, seen: Seen, posts: Iterable[Post], terms: Terms) -> list[Act]:
    """Return what is to be done at a head within the window; `posts` are all of this window."""
    alive = [post for post in posts if post.stage in ALIVE]
    if not window.challenge < seen.epoch < window.close:
        why = CLOSED if seen.epoch >= window.close else "its challenge is taken back"
        return [Drop(post, why) for post in alive]
    found: list[Act] = []
    covered: set[int] = set()
    for post in alive:
        act = _act(window, seen, post, terms)
        if act is not None:
            found.append(act)
        if not isinstance(act, Drop):
            covered.update(post.partitions)
    if seen.epoch >= window.challenge + terms.challenge_confidence:
        open_ones = [
            (number, one.members)
            for number, one in enumerate(seen.partitions)
            if one.members and not one.is_posted and number not in covered
        ]
        found += [Begin(numbers) for numbers in _groups(open_ones, terms)]
    return found


def _act(window: Window, seen: Seen, post: Post, terms: Terms) -> Act | None:
    if post.seed != seen.seed:
        return Drop(post, "its challenge is not that of the chain any more")
    if any(number >= len(seen.partitions) for number in post.partitions):
        return Drop(post, "its partitions are not there any more")
    parts = [seen.partitions[number] for number in post.partitions]
    if all(part.is_posted for part in parts):
        return None
    if not _is_whole(post, parts):
        return Drop(post, "the sectors to be proved are others by now")
    if post.fate is Fate.UNDER_WAY or (post.fate is Fate.LANDED and seen.epoch < (post.landed_epoch or 0)):
        return None  # a node that is behind knows nothing of what landed
    if post.failures >= MOST_FAILURES:
        return Drop(post, f"the chain refused it {post.failures} times")
    if post.stage is Stage.PROVING:
        gave_up = post.gave_up_epoch
        return Retry(post) if gave_up is not None and seen.epoch >= gave_up + terms.retry_epochs else None
    return Send(post) if seen.epoch >= window.opens + terms.submit_confidence else None


def _is_whole(post: Post, parts: Sequence[Partition]) -> bool:
    """Return whether a post is still about all sectors of its partitions, and none of them is proved otherwise."""
    members = Bitfield()
    for part in parts:
        members |= part.members
    return members == post.members and not any(part.is_posted for part in parts)


def _groups(open_ones: Sequence[tuple[int, Bitfield]], terms: Terms) -> Iterator[tuple[int, ...]]:
    """Yield partitions that are proved together: as many as fit into a message, in order."""
    group: list[int] = []
    sectors = 0
    for number, members in open_ones:
        if group and (len(group) >= terms.most_partitions or sectors + members.count > terms.most_sectors):
            yield tuple(group)
            group, sectors = [], 0
        group.append(number)
        sectors += members.count
    if group:
        yield tuple(group)
