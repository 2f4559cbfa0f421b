"""What people are shown of proving: the deadlines of a miner's day, with how each proof went, and which of them are in danger.

`deadlines` is what a clock is drawn from, `troubles` what alerts are made of.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection

from damocles import methods
from damocles.chain.addresses import Address
from damocles.lotus import errors as node_errors
from damocles.lotus import layout
from damocles.manager import errors
from damocles.manager.alerts import posts as alerts_posts
from damocles.manager.chain.rounds import Rounds
from damocles.manager.chain.terms import Miner
from damocles.manager.db.engine import Database
from damocles.manager.outbox import orders
from damocles.manager.proving import posts
from damocles.manager.proving.mind import Stage
from damocles.manager.roster import find
from damocles.rpc import core
from damocles.wire import proving as wire
from damocles.wire.proving import Standing

_PERIOD_WINDOWS = 49  # a proving period, and the deadline that is open


@dataclass(frozen=True, slots=True)
class Kept:
    """A window as it is recorded, with its posts and their messages."""

    window: posts.Window
    posts: Sequence[posts.Post]
    orders: Mapping[int, orders.Order]


def kept(tx: Connection, miner: int, epoch: int) -> dict[int, Kept]:
    """Return the last window of each deadline of a miner in which there was something to prove, and no older than a day."""
    recent = [one for one in posts.windows(tx, miner) if one.opens > epoch - _PERIOD_WINDOWS * (one.close - one.opens)]
    windows = {one.deadline: one for one in sorted(recent, key=lambda one: (bool(one.partitions), one.opens))}
    found = posts.since(tx, miner, min(one.opens for one in windows.values())) if windows else []
    ordered = posts.orders_of(tx, found)
    return {
        deadline: Kept(one, [post for post in found if post.opens == one.opens], ordered)
        for deadline, one in windows.items()
    }


def standing(of: Kept, epoch: int) -> Standing:
    """Return how a window stands at an epoch."""
    window = of.window
    if not _lacking(of):
        return Standing.PROVED if any(one.members for one in window.partitions) else Standing.NOTHING
    left, length = window.close - epoch, window.close - window.opens
    if left <= 0:
        return Standing.MISSED
    if left * 4 <= length:
        return Standing.AT_RISK
    if left * 2 <= length:
        return Standing.LATE
    stages = {post.stage for post in of.posts}
    for stage, word in (
        (Stage.PROVING, Standing.PROVING),
        (Stage.PROVED, Standing.WAITING),
        (Stage.SENT, Standing.SENT),
    ):
        if stage in stages:
            return word
    return Standing.AHEAD


def _lacking(of: Kept) -> list[int]:
    """Return the partitions that are to be proved and are not, as far as is known: the last look may be older than the last message."""
    proved = {number for number, one in enumerate(of.window.partitions) if one.is_posted}
    for post in of.posts:
        order = of.orders.get(post.order_id or 0)
        if order is not None and order.receipt is not None and order.receipt.exit_code == 0:
            proved.update(post.partitions)
    return [number for number, one in enumerate(of.window.partitions) if one.members and number not in proved]


def troubles(of: Mapping[int, Kept], epoch: int, now: float, block_seconds: float) -> Iterator[alerts_posts.Late]:
    """Yield the deadlines that are late, at risk or missed."""
    for deadline, one in sorted(of.items()):
        how = standing(one, epoch)
        if how not in wire.IN_DANGER:
            continue
        window = one.window
        until = f"closes at epoch {window.close}" if how is not Standing.MISSED else "is closed"
        yield alerts_posts.Late(
            standing=how,
            subject=f"t0{window.miner} deadline {deadline}",
            text=f"partitions {', '.join(map(str, _lacking(one)))} are not proved, and the deadline {until}: {_why(one)}; see:"
            f" damocles-manager util sealer proving --miner f0{window.miner}",
            since=now - max(0, epoch - window.opens) * block_seconds,
        )


def _why(of: Kept) -> str:
    for post in reversed(of.posts):
        order = of.orders.get(post.order_id or 0)
        if post.stage is Stage.PROVING:
            return f"no proof yet{f', the last try: {post.why}' if post.why else ''}"
        if order is not None and order.state in orders.OPEN:
            return f"message {order.id} is {order.state}"
        if order is not None and order.reason:
            return order.reason
        if post.why:
            return post.why
    return "nothing was proved; was the manager, or its node, away?"


class Days:
    """The days of the miners of a manager, for people."""

    def __init__(
        self,
        *,
        database: Database,
        rounds: Rounds,
        miners: Collection[Miner],
        block_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self._database = database
        self._rounds = rounds
        self._miners = miners
        self.block_seconds = block_seconds
        self._clock = clock

    def register(self, service: core.Service) -> None:
        """Serve the method."""
        service.add(methods.wdpost.day, self.day)

    @property
    def epoch(self) -> int:
        """The newest head that was seen."""
        return self._rounds.epoch

    async def kept(self) -> dict[int, dict[int, Kept]]:
        """Return the last window of each deadline of the miners that are proved, see `kept`."""
        proved = [miner.id for miner in self._miners if miner.config.po_st.enabled]
        return {number: await self._database.read(partial(kept, miner=number, epoch=self.epoch)) for number in proved}

    async def troubles(self) -> list[alerts_posts.Late]:
        """Return the deadlines of all miners that are late, at risk or missed, by the newest head that was seen."""
        all_windows = (await self.kept()).values()
        return [
            late for windows in all_windows for late in troubles(windows, self.epoch, self._clock(), self.block_seconds)
        ]

    async def day(self, miner: int) -> wire.Day:
        """Return the deadlines of a miner.

        Raises:
            errors.ManagerError: It is none of this manager's, or the node gives no answer.
        """
        if find(self._miners, miner) is None:
            ours = sorted(one.id for one in self._miners)
            raise errors.ManagerError(f"f0{miner} is none of this manager's miners: {ours}")
        address = Address.of_id(miner)
        try:
            async with self._rounds.nodes.view() as view:
                seen = await layout.read(view, address)
                posted = await view.deadlines(address)
                at = view.tipset.timestamp
        except node_errors.NodeError as error:
            raise errors.ManagerError(str(error)) from error
        cycle = seen.cycle
        windows = await self._database.read(lambda tx: kept(tx, miner, cycle.epoch))
        return wire.Day(
            miner=miner,
            epoch=cycle.epoch,
            at=at,
            block_seconds=self.block_seconds,
            current=cycle.current,
            deadlines=[
                _deadline(seen, number, posted[number].post_submissions.count, windows.get(number))
                for number in range(cycle.count)
            ],
        )


def _deadline(seen: layout.Layout, number: int, proved: int, of: Kept | None) -> wire.Deadline:
    cycle, parts = seen.cycle, [one for _, one in seen.of_deadline(number)]
    live = sum(one.live.count for one in parts)
    how = standing(of, cycle.epoch) if of is not None else Standing.AHEAD if live else Standing.NOTHING
    return wire.Deadline(
        deadline=number,
        opens=cycle.opens(number),
        close=cycle.opens(number) + cycle.window,
        partitions=len(parts),
        sectors=live,
        faulty=sum(one.faulty.count for one in parts),
        recovering=sum(one.recovering.count for one in parts),
        proved=proved if number == cycle.current else 0,
        standing=how,
        window_opens=of.window.opens if of is not None else None,
        posts=[_post(post, of.orders.get(post.order_id or 0)) for post in of.posts] if of is not None else [],
        bad=of.window.review.bad if of is not None and of.window.review is not None else {},
    )


def _post(post: posts.Post, order: orders.Order | None) -> wire.Post:
    receipt = order.receipt if order is not None else None
    return wire.Post(
        partitions=post.partitions,
        stage=post.stage.value,
        skipped=post.skipped,
        prover=post.prover,
        made_epoch=post.made_epoch,
        proved_epoch=post.proved_epoch,
        seconds=round(post.proved_at - post.made_at, 1) if post.proved_at is not None else None,
        sent_epoch=post.sent_epoch,
        sends=post.sends,
        message=post.order_id,
        landed_epoch=receipt.epoch if receipt is not None else None,
        why=post.why,
    )
