"""Which sectors go into one message, and when. Pure, but for the estimates that are asked for.

One message for many sectors costs a part of one for each. So sectors wait for others, but not longer than the rule says,
and not past the epoch by which they have to be on the chain: what comes due goes whatever the base fee, and takes along
all others that wait.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from damocles.chain.amounts import Amount
from damocles.manager.outbox import node

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When a batch is sent: with `at_least` sectors, or when one has waited for `wait_epochs`.

    Above the base fee `wait_above` only what comes due is sent: what has to be executed within `margin_epochs`. No batch has
    more than `at_most` sectors, and none fewer than `fewest` (an aggregate needs four): what is left over waits, or goes
    by another rule.
    """

    at_least: int = 1
    at_most: int = 256
    fewest: int = 1
    wait_epochs: int = 120  # an hour
    margin_epochs: int = 240
    wait_above: Amount | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.fewest <= self.at_least <= self.at_most:
            raise ValueError(
                f"a batch of {self.at_least} sectors or more does not fit between {self.fewest} and {self.at_most}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A sector that waits since an epoch, and has to be executed by another one."""

    number: int
    since: int
    last: int


def batches(waiting: Sequence[Waiting], epoch: int, base_fee: Amount, rule: Rule) -> list[list[int]]:
    """Return the numbers of sectors by message, what is due first in the first ones; none if it is not time."""
    if not waiting or len(waiting) < rule.fewest or not _is_time(waiting, epoch, base_fee, rule):
        return []
    numbers = [one.number for one in sorted(waiting, key=lambda one: (one.last, one.since, one.number))]
    count = -(-len(numbers) // rule.at_most)
    # Of equal size, so that no message has a remainder that is too small or too dear.
    sizes = [len(numbers) // count + (index < len(numbers) % count) for index in range(count)]
    if sizes[-1] < rule.fewest:
        sizes = [rule.at_most] * (count - 1)
    made = []
    for size in sizes:
        made.append(numbers[:size])
        del numbers[:size]
    return made


def acts_at(waiting: Sequence[Waiting], rule: Rule) -> int | None:
    """Return the epoch at which the rule acts at the latest, if nobody else comes; with low base fees it is earlier."""
    if not waiting:
        return None
    due = min(one.last - rule.margin_epochs for one in waiting)
    return due if rule.wait_above is not None else min(due, min(one.since for one in waiting) + rule.wait_epochs)


def _is_time(waiting: Sequence[Waiting], epoch: int, base_fee: Amount, rule: Rule) -> bool:
    if any(one.last - epoch <= rule.margin_epochs for one in waiting):
        return True
    if rule.wait_above is not None and base_fee > rule.wait_above:
        return False
    return len(waiting) >= rule.at_least or any(epoch - one.since >= rule.wait_epochs for one in waiting)


async def without_bad(
    numbers: Sequence[int], estimate: Callable[[Sequence[int]], Awaitable[T]]
) -> tuple[list[tuple[list[int], T]], dict[int, str]]:
    """Return batches that would succeed, with their estimates, and the sectors that fail even alone, with the reason.

    One bad sector makes the actor refuse the whole message, mostly without a word which one it was. Halving finds it
    in about twice as many estimates as the batch has halves.

    Raises:
        node.Unavailable: The node does not answer.
    """
    try:
        return [(list(numbers), await estimate(numbers))], {}
    except node.WouldFail as error:
        if len(numbers) == 1:
            return [], {numbers[0]: str(error)}
    middle = len(numbers) // 2
    good: list[tuple[list[int], T]] = []
    bad: dict[int, str] = {}
    for half in (numbers[:middle], numbers[middle:]):
        passing, failing = await without_bad(half, estimate)
        good += passing
        bad |= failing
    together = [number for group, _ in good for number in group]
    if len(good) > 1:
        try:
            return [(together, await estimate(together))], bad
        except node.WouldFail:
            pass  # they fail only together: for want of money, or of gas
    return good, bad
