"""The manager's metrics of what is due: messages, window PoSts, deals that no sector has, the certificate."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio.to_thread

from damocles import exposition
from damocles.manager import errors
from damocles.manager.alerts import posts as alerts_posts
from damocles.manager.alerts.progress import PREFIX
from damocles.manager.db.engine import Database
from damocles.manager.sectors import deals
from damocles.rpc import tls
from damocles.wire import wdpost
from damocles.wire.proving import Standing

if TYPE_CHECKING:
    from damocles.manager.proving import day


@dataclass(frozen=True, slots=True, kw_only=True)
class Miner:
    """The deadlines of a miner on a real chain; `closes_seconds` is to the end of the next one that lacks a proof."""

    standings: Mapping[Standing, int]
    faulty: int
    recovering: int
    closes_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OnChain:
    """What is due on a real chain; `messages` counts by miner and state, `oldest_message` is when a miner's was wanted."""

    messages: Mapping[tuple[str, str], int] = field(default_factory=dict)
    oldest_message: Mapping[tuple[str], float] = field(default_factory=dict)
    miners: Mapping[str, Miner] = field(default_factory=dict)


_NOTHING = OnChain()


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What is looked at for a scrape.

    `deals` are those that no sector has, with their padded bytes; `None` where the list cannot be read. `jobs` are window
    PoSts that workers prove.
    """

    chain: OnChain = _NOTHING
    jobs: Sequence[alerts_posts.Outline] = ()
    deals: Sequence[int] | None = None
    certificate_ends_at: float | None = None


def families(due: Due, now: float) -> Iterator[exposition.Family]:
    """Yield the metrics of it."""
    yield exposition.gauge(
        f"{PREFIX}_messages",
        "Messages on their way to a real chain: `wanted`, and not signed yet, or `signed`, and not executed yet.",
        due.chain.messages,
        ("miner", "state"),
    )
    yield exposition.gauge(
        f"{PREFIX}_messages_oldest_seconds",
        "Seconds since the oldest message was wanted that is on its way to a real chain.",
        {key: max(0.0, now - at) for key, at in due.chain.oldest_message.items()},
        ("miner",),
    )
    yield from _families_of_miners(due.chain.miners)
    states = Counter({(state,): 0 for state in ("ready", "running", "proved", "failed")})
    states.update((_state(job),) for job in due.jobs)
    yield exposition.gauge(
        f"{PREFIX}_wdpost_jobs",
        "Jobs of window PoSts that are kept, of the last day or so: `ready` for a worker, `running`, `proved` or `failed`.",
        states,
        ("state",),
    )
    yield exposition.gauge(
        f"{PREFIX}_wdpost_unproved_sectors",
        "Sectors that the last job of their partition that looked at all of them could not prove.",
        {(): sum(len(job.faults) for job in alerts_posts.with_faults(due.jobs))},
        (),
    )
    waiting = due.deals
    yield exposition.gauge(
        f"{PREFIX}_deals_waiting", "Deals that no sector has.", {} if waiting is None else {(): len(waiting)}, ()
    )
    yield exposition.gauge(
        f"{PREFIX}_deals_waiting_bytes",
        "Padded bytes of the pieces of these deals.",
        {} if waiting is None else {(): sum(waiting)},
        (),
    )
    yield exposition.certificate(PREFIX, due.certificate_ends_at)


def _families_of_miners(miners: Mapping[str, Miner]) -> Iterator[exposition.Family]:
    yield exposition.gauge(
        f"{PREFIX}_deadlines",
        "Deadlines of a miner on a real chain in which there was something to prove, on the last of their days, by how"
        " they stand: `proved`, `late`, `at risk`, `missed` and so on.",
        {(miner, str(how)): count for miner, one in miners.items() for how, count in one.standings.items()},
        ("miner", "standing"),
    )
    yield exposition.gauge(
        f"{PREFIX}_deadline_closes_seconds",
        "Seconds until the deadline closes that closes next of those that are to be proved and are not.",
        {(miner,): one.closes_seconds for miner, one in miners.items() if one.closes_seconds is not None},
        ("miner",),
    )
    yield exposition.gauge(
        f"{PREFIX}_faulty_sectors",
        "Faulty sectors of a miner on a real chain, those that recover too, as each deadline was seen last.",
        {(miner,): one.faulty for miner, one in miners.items()},
        ("miner",),
    )
    yield exposition.gauge(
        f"{PREFIX}_recovering_sectors",
        "Of these, the sectors that were declared recovered.",
        {(miner,): one.recovering for miner, one in miners.items()},
        ("miner",),
    )


def _state(job: alerts_posts.Outline) -> str:
    if job.state is wdpost.State.FINISHED:
        return "failed" if job.error else "proved"
    return "running" if job.state is wdpost.State.RUNNING else "ready"


class Source:
    """Where this comes from."""

    def __init__(
        self,
        *,
        database: Database,
        market: deals.Deals,
        jobs: Callable[[], Sequence[alerts_posts.Outline]],
        days: "day.Days | None",
        certificate: tls.Files | None,
    ) -> None:
        self._database = database
        self._market = market
        self._jobs = jobs
        self._days = days
        self._certificate = certificate

    async def look(self) -> Due:
        """Look."""
        chain = _NOTHING
        if self._days is not None:
            from damocles.manager.serving import due_on_chain  # noqa: PLC0415 (without days nobody needs what that imports)

            chain = await due_on_chain.look(self._database, self._days)
        ends_at = None
        if self._certificate is not None:
            ends_at = await anyio.to_thread.run_sync(tls.ends_at, self._certificate.certificate)
        return Due(
            chain=chain,
            jobs=self._jobs(),
            deals=await self._deals(),
            certificate_ends_at=ends_at,
        )

    async def _deals(self) -> list[int] | None:
        try:
            offers = await self._market.offers()
        except errors.ManagerError:
            return None  # whoever asks for deals is told why
        return [offer.size_bytes for offer in await self._database.read(lambda tx: deals.free(tx, offers))]
