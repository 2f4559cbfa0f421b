"""Prove the windows of the miners: at each head, look, ask the mind, and do what it says.

Every step begins from what is recorded, so that it can end anywhere and the next one goes on. What is decided is recorded together with what
follows from it: a post with its job, a message with its post.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection

from damocles.chain import methods
from damocles.chain.addresses import Address
from damocles.chain.bitfields import Bitfield
from damocles.chain.sealing import PoStPartition, PoStProof, SubmitWindowedPoSt
from damocles.lotus.layout import Cycle
from damocles.lotus.view import View
from damocles.manager.chain.terms import WINDOW_POST, Miner
from damocles.manager.db.engine import Database
from damocles.manager.db.leases import Store
from damocles.manager.outbox import orders, sending
from damocles.manager.plans import wdpost, wdpost_jobs, wdpost_rounds
from damocles.manager.proving import mind, posts, reading, reviews
from damocles.manager.proving.mind import Stage
from damocles.wire import wdpost as wire
from damocles.wire.codec import Blob, Bytes32, Rows

log = structlog.get_logger(__name__)

MOST_PARTITIONS = 3  # of a message, `posted_partitions_max` of the network
MOST_SECTORS = 25_000  # of a message, `addressed_sectors_max`
ALONE_SHARE = 1 / 6  # of the time until a window closes; then there is time for others, and for one more after them
KEPT_PERIODS = 3  # proving periods for which windows are shown


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What windows are proved with. `wake` lets a message that was ordered go at once."""

    database: Database
    outbox: sending.Outbox
    jobs: wdpost.WdPoSt
    wake: Callable[[], None]
    clock: Callable[[], float]
    block_seconds: float


class Windows:
    """The windows of some miners."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._database: Store = means.database
        self._quiet: set[tuple[int, int]] = set()  # windows without anything to prove, by miner and opening

    async def turn(self, view: View, miner: Miner, cycle: Cycle) -> None:
        """Do what is to be done for a miner at the head of a view, unless another manager does so.

        Raises:
            errors.NodeError: The node gives no answer; nothing is lost, and the next turn goes on.
            leases.Lost: Another manager has taken over.
        """
        deadlines = f"deadlines of {miner.address}"
        async with self._means.database.leases.keeping([deadlines]) as held:
            if held.has(deadlines):
                self._database = held  # one turn at a time
                await self._turn(view, miner, cycle)

    async def _turn(self, view: View, miner: Miner, cycle: Cycle) -> None:
        current = {window.opens: window for window in reading.windows(miner.id, cycle)}
        kept = await self._database.read(lambda tx: posts.alive(tx, miner.id))
        for opens in sorted({post.opens for post in kept} - current.keys()):
            await self._over(view, miner, opens)
        for window in current.values():
            if (miner.id, window.opens) not in self._quiet:
                await self._window(view, miner, window)
        oldest = view.epoch - KEPT_PERIODS * cycle.period_epochs
        if await self._database.read(lambda tx: posts.has_before(tx, miner.id, oldest)):
            await self._database.write(lambda tx: posts.forget(tx, miner.id, oldest), durable=False)

    def look_again(self) -> None:
        """Look again at windows in which there was nothing to prove: the chain was reorganised."""
        self._quiet.clear()

    async def _over(self, view: View, miner: Miner, opens: int) -> None:
        """Drop what is left of a window that the head is not in."""
        window = await self._database.read(lambda tx: posts.find_window(tx, miner.id, opens))
        if window is not None:
            seen = mind.Seen(epoch=view.epoch, seed=b"", partitions=())
            await self._act(view, miner, _as_mind(window), seen)

    async def _window(self, view: View, miner: Miner, window: mind.Window) -> None:
        look = await reading.look(view, window)
        if not any(one.members for one in look.seen.partitions):
            if not await self._database.read(lambda tx: posts.of_window(tx, miner.id, window.opens)):
                self._quiet.add((miner.id, window.opens))
            return
        await self._note(window, look)
        await self._absorb(window, look.seen)
        await self._act(view, miner, window, look.seen)

    async def _note(self, window: mind.Window, look: reading.Look) -> None:
        """Record what is seen of a window, for people."""
        seen = [
            posts.Seen(
                members=one.members.count,
                faulty=part.faulty.count,
                recovering=part.recovering.count,
                is_posted=one.is_posted,
            )
            for one, part in zip(look.seen.partitions, look.parts, strict=True)
        ]
        before = await self._database.read(lambda tx: posts.find_window(tx, window.miner, window.opens))
        if before is not None and before.partitions == seen:
            return

        def note(tx: Connection) -> None:
            known = posts.find_window(tx, window.miner, window.opens) or posts.new_window(window)
            posts.save_window(tx, posts.with_(known, epoch=look.seen.epoch, partitions=seen))

        await self._database.write(note, durable=before is None)

    async def _absorb(self, window: mind.Window, seen: mind.Seen) -> None:
        """Record what the provers have brought."""
        now = self._means.clock()

        def news(tx: Connection) -> list[tuple[posts.Post, posts.Post]]:
            found = []
            for post in posts.of_window(tx, window.miner, window.opens):
                if post.stage is Stage.PROVING:
                    came = wdpost_rounds.outcome(tx, window.miner, _challenge(window, post), post.partitions)
                    if came is not None and (after := _with(post, came, seen.epoch, now)) != post:
                        found.append((post, after))
            return found

        def absorb(tx: Connection) -> None:
            for before, after in news(tx):
                posts.save(tx, before, after)

        for _, after in (came := await self._database.read(news)):
            about = {"miner": window.miner, "deadline": window.deadline, "partitions": after.partitions}
            if after.stage is Stage.PROVED:
                log.info("partitions proved", **about, skipped=sorted(after.skipped), prover=after.prover)
            else:
                log.error("partitions not proved, trying again", **about, why=after.why)
        if came:
            await self._database.write(absorb)

    async def _act(self, view: View, miner: Miner, window: mind.Window, seen: mind.Seen) -> None:
        executed = self._means.outbox.executed

        def read(tx: Connection) -> tuple[list[posts.Post], dict[int, orders.Order]]:
            some = posts.of_window(tx, window.miner, window.opens)
            return some, posts.orders_of(tx, some)

        known, ordered = await self._database.read(read)
        by_id = {post.id: post for post in known}
        of_mind = [posts.minds(post, ordered.get(post.order_id or 0), executed) for post in known]
        for act in mind.acts(window, seen, of_mind, terms_of(miner, window)):
            match act:
                case mind.Drop(post, reason):
                    await self._drop(window, by_id[post.id], reason)
                case mind.Begin(partitions):
                    await self._begin(view, window, seen, partitions, None)
                case mind.Retry(post):
                    await self._begin(view, window, seen, post.partitions, by_id[post.id])
                case mind.Send(post) if not await self._goes_on(view, ordered.get(by_id[post.id].order_id or 0)):
                    await self._send(view, window, seen, by_id[post.id], failures=post.failures)

    async def _goes_on(self, view: View, order: orders.Order | None) -> bool:
        """Let the message of a post go on that had landed and is taken back; false if there is none that could.

        Another one would be a second message about the same partitions, since the chain may still execute this one.
        """
        if order is None or posts.fate(order, {}) is not mind.Fate.LANDED:
            return False
        assert order.sender is not None
        assert order.nonce is not None
        if (await view.actor(order.sender)).nonce > order.nonce:
            return False  # it is executed on this chain, whatever it did
        if await self._database.write(lambda tx: orders.reopen(tx, order)):
            log.warning("window PoSt is taken back, and goes on", order=order.id)
            self._means.wake()
        return True

    async def _drop(self, window: mind.Window, post: posts.Post, reason: str) -> None:
        is_over = reason == mind.CLOSED
        after = posts.with_(post, stage=Stage.OVER) if is_over else posts.with_(post, stage=Stage.DROPPED, why=reason)

        def drop(tx: Connection) -> None:
            if not posts.save(tx, post, after):
                return
            wdpost_rounds.remove(tx, window.miner, _challenge(window, post), post.partitions)
            if post.order_id is not None:
                orders.withdraw(tx, post.order_id, f"window PoSt: {reason}")

        await self._database.write(drop)
        say = log.debug if is_over else log.warning
        say("window PoSt dropped", miner=window.miner, deadline=window.deadline, partitions=post.partitions, why=reason)
        self._means.wake()

    async def _begin(
        self,
        view: View,
        window: mind.Window,
        seen: mind.Seen,
        partitions: Sequence[int],
        again: posts.Post | None,
    ) -> None:
        """Have partitions proved; `again` is a post of which all provers have failed."""
        members = Bitfield()
        for number in partitions:
            members |= seen.partitions[number].members
        infos = await reading.sectors(view, window.miner, members)
        post = posts.Post(
            miner=window.miner,
            opens=window.opens,
            partitions=list(partitions),
            seed=Bytes32(seen.seed),
            members=members,
            digest=reading.digest(seen.seed, infos),
            made_epoch=seen.epoch,
            made_at=self._means.clock(),
        )
        challenge = _challenge(window, post)

        def begin(tx: Connection) -> bool:
            there, lost = reviews.stored(tx, window.miner, infos)
            if again is not None:
                after = posts.with_(again, skipped=lost, digest=post.digest, gave_up_epoch=None)
                if not posts.save(tx, again, after):
                    return False
            else:
                alive = [one for one in posts.of_window(tx, window.miner, window.opens) if one.stage in mind.ALIVE]
                if any(set(one.partitions) & set(partitions) for one in alive):
                    return False
                posts.add(tx, posts.with_(post, skipped=lost))
            wdpost_rounds.remove(tx, window.miner, challenge, post.partitions)
            if there:
                work = wire.Input(there, window.miner, reading.proof_name(infos), challenge.seed)
                wdpost_jobs.make(
                    tx,
                    work,
                    challenge,
                    post.partitions,
                    now=post.made_at,
                    alone_seconds=self._alone_seconds(window, seen),
                )
            return True

        if await self._database.write(begin):
            about = {"miner": window.miner, "deadline": window.deadline, "partitions": list(partitions)}
            log.info("partitions to be proved", **about, sectors=members.count, again=again is not None)
            self._means.jobs.changed.beat()

    def _alone_seconds(self, window: mind.Window, seen: mind.Seen) -> int:
        """Return how long a prover has a job alone at most: a share of the time that is left."""
        return max(1, round((window.close - seen.epoch) * self._means.block_seconds * ALONE_SHARE))

    async def _send(self, view: View, window: mind.Window, seen: mind.Seen, post: posts.Post, *, failures: int) -> None:
        """Order the message of a post, if it is still about what the chain has at the head."""
        address = Address.of_id(window.miner)
        infos = await reading.sectors(view, window.miner, post.members)
        if reading.digest(bytes(post.seed), infos) != post.digest:
            await self._drop(window, post, "the sectors to be proved have other commitments by now")
            return
        skipped = Bitfield(post.skipped)
        posted = [
            PoStPartition(number, skipped & seen.partitions[number].members) for number in sorted(post.partitions)
        ]
        params = SubmitWindowedPoSt(
            deadline=window.deadline,
            partitions=Rows(posted),
            proofs=Rows([PoStProof((await view.info(address)).window_post_proof_type, post.proof)]),
            chain_commit_epoch=window.challenge,
            chain_commit_rand=Blob(await view.chain_commit(window.challenge)),
        )
        method = methods.of(await view.network_version(), methods.SUBMIT_WINDOW_POST)
        if not await view.is_on_chain():
            return
        wish = orders.Wish(
            miner=window.miner,
            kind=WINDOW_POST,
            to=address,
            method=method.number,
            params=bytes(method.params_of(params)),
        )

        def send(tx: Connection) -> None:
            if post.order_id is not None:  # it has failed, in a tipset that may be taken back
                orders.withdraw(tx, post.order_id, "window PoSt: it is sent again")
            order_id = orders.put(tx, wish, self._means.clock())
            after = posts.with_(
                post,
                stage=Stage.SENT,
                order_id=order_id,
                sent_epoch=view.epoch,
                sends=post.sends + 1,
                failures=failures,
            )
            if not posts.save(tx, post, after):
                raise _Changed

        try:
            await self._database.write(send)
        except _Changed:
            return
        log.info(
            "window PoSt ordered",
            miner=window.miner,
            deadline=window.deadline,
            partitions=post.partitions,
            skipped=sorted(post.skipped),
            again=post.sends > 0,
        )
        self._means.wake()


class _Changed(Exception):
    """A post is not what it was when it was decided about it."""


def terms_of(miner: Miner, window: mind.Window) -> mind.Terms:
    """Return when and how much is proved and sent: what the configuration says, or else as much of a window as on the main network."""
    table = miner.config.po_st
    length = window.close - window.opens
    return mind.Terms(
        challenge_confidence=table.challenge_confidence or max(1, (window.opens - window.challenge) // 2),
        submit_confidence=table.submit_confidence or max(1, length // 15),
        most_partitions=min(table.max_partitions_per_po_st_message or MOST_PARTITIONS, MOST_PARTITIONS),
        most_sectors=MOST_SECTORS,
        retry_epochs=max(1, length // 30),
    )


def _as_mind(window: posts.Window) -> mind.Window:
    return mind.Window(
        miner=window.miner,
        deadline=window.deadline,
        challenge=window.challenge,
        opens=window.opens,
        close=window.close,
    )


def _challenge(window: mind.Window, post: posts.Post) -> wdpost_jobs.Challenge:
    return wdpost_jobs.Challenge(
        epoch=window.challenge, deadline=window.deadline, seed=wdpost_jobs.seed_of(bytes(post.seed))
    )


def _with(post: posts.Post, came: wdpost_rounds.Outcome, epoch: int, now: float) -> posts.Post:
    if came.proof:
        return posts.with_(
            post,
            stage=Stage.PROVED,
            proof=Blob(came.proof),
            skipped=post.skipped | came.faults,
            prover=came.worker,
            proved_epoch=epoch,
            proved_at=now,
            why="",
        )
    if post.gave_up_epoch is not None:
        return post
    return posts.with_(post, gave_up_epoch=epoch, why=came.error, prover=came.worker)
