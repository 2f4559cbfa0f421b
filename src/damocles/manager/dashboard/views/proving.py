"""Window PoSts: the day of each miner as a clock of deadlines, and the jobs.

How sectors stand in a deadline comes from the chain, if there is one; how its proofs went from the jobs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from damocles.chain.addresses import Address
from damocles.lotus import miners
from damocles.lotus.layout import Layout
from damocles.operating import posts
from damocles.wire import wdpost

DEADLINES = 48
_MOST_JOBS = 500
_DAY_SECONDS = 86400.0
_WORST = ("Failed", "Faults", "Running", "ReadyToRun", "Succeed")  # the first that one of a deadline's proofs is


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """The deadlines of a miner as the chain has them at the layout's epoch, which began at `at` (unix seconds)."""

    miner: int
    layout: Layout
    deadlines: Sequence[miners.Deadline]
    at: float
    epoch_seconds: float


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """A deadline. Numbers are of sectors, but for `partitions` and `proven`, which are partitions; `proofs` are counted by how they stand.

    `opens_at` is when it opens next, or has opened if it is open; it and the chain's numbers are null without a chain. Partitions
    are `proven` in the window that is open or was the last.
    """

    deadline: int
    opens_at: float | None = None
    is_open: bool = False
    partitions: int | None = None
    sectors: int | None = None
    faults: int | None = None
    recovering: int | None = None
    proven: int | None = None
    proofs: dict[str, int] = {}

    @property
    def look(self) -> str:
        """What most needs a person: `bad`, `warn`, `open`, `good`, `due`, or empty without any sector."""
        worst = next((state for state in _WORST if state in self.proofs), "")
        if self.faults or worst in {"Failed", "Faults"}:
            return "warn" if self.faults and self.recovering == self.faults else "bad"
        if self.is_open and self.sectors:
            return "open"
        if worst:
            return "good" if worst == "Succeed" else "open"
        return "due" if self.sectors else ""


class Clock(msgspec.Struct, frozen=True, kw_only=True):
    """The proving period of a miner: `epoch` is that of the chain, null without one."""

    miner: str
    epoch: int | None
    slots: list[Slot]

    @property
    def sectors(self) -> int:
        """Live sectors, by the chain."""
        return sum(slot.sectors or 0 for slot in self.slots)

    @property
    def faults(self) -> int:
        """Faulty sectors, by the chain; recovering ones are among them."""
        return sum(slot.faults or 0 for slot in self.slots)

    @property
    def recovering(self) -> int:
        """Sectors that are declared recovered."""
        return sum(slot.recovering or 0 for slot in self.slots)

    @property
    def shown(self) -> list[Slot]:
        """The deadlines that there is something to tell of."""
        return [slot for slot in self.slots if slot.sectors or slot.partitions or slot.proofs]


class Proving(msgspec.Struct, frozen=True, kw_only=True):
    """Clocks, and jobs of window PoSts, the newest first, and how many there are by how they stand.

    `problem` is why the chain is not read; the clocks are without its part then.
    """

    at: float
    clocks: list[Clock]
    problem: str
    states: dict[str, int]
    shown: str
    jobs: list[wdpost.Brief]
    left_out: int
    max_tries: int


def view(listed: wdpost.Listed, state: str, now: float, chain: Sequence[Chain] = (), problem: str = "") -> Proving:
    """Return the page; with a state only the jobs that stand so."""
    counts: dict[str, int] = {}
    for job in listed.jobs:
        counts[_kind(job)] = counts.get(_kind(job), 0) + 1
    found = [job for job in listed.jobs if not state or _kind(job) == state]
    ordered = sorted(found, key=lambda job: -job.created_at)
    return Proving(
        at=now,
        clocks=_clocks(listed.jobs, now, chain),
        problem=problem,
        states=dict(sorted(counts.items())),
        shown=state,
        jobs=ordered[:_MOST_JOBS],
        left_out=max(0, len(ordered) - _MOST_JOBS),
        max_tries=listed.max_tries,
    )


def _clocks(jobs: Iterable[wdpost.Brief], now: float, chain: Sequence[Chain]) -> list[Clock]:
    proofs: dict[int, dict[int, dict[str, int]]] = {one.miner: {} for one in chain}
    for job in jobs:
        if job.created_at > now - _DAY_SECONDS:
            of_deadline = proofs.setdefault(job.input.miner, {}).setdefault(job.deadline, {})
            of_deadline[_kind(job)] = of_deadline.get(_kind(job), 0) + 1
    by_miner = {one.miner: one for one in chain}
    return [_clock(miner, by_miner.get(miner), found) for miner, found in sorted(proofs.items())]


def _clock(miner: int, chain: Chain | None, proofs: Mapping[int, dict[str, int]]) -> Clock:
    slots = [Slot(deadline=number, proofs=proofs.get(number, {})) for number in range(DEADLINES)]
    if chain is None:
        return Clock(miner=str(Address.of_id(miner)), epoch=None, slots=slots)
    cycle = chain.layout.cycle
    for number, deadline in enumerate(chain.deadlines[:DEADLINES]):
        parts = [one for _, one in chain.layout.of_deadline(number)]
        slots[number] = Slot(
            deadline=number,
            opens_at=chain.at + (cycle.opens(number) - cycle.epoch) * chain.epoch_seconds,
            is_open=number == cycle.current,
            partitions=len(parts),
            sectors=sum(one.live.count for one in parts),
            faults=sum(one.faulty.count for one in parts),
            recovering=sum(one.recovering.count for one in parts),
            proven=deadline.post_submissions.count,
            proofs=proofs.get(number, {}),
        )
    return Clock(miner=str(Address.of_id(miner)), epoch=cycle.epoch, slots=slots)


def _kind(job: wdpost.Brief) -> str:
    return posts.state(job).partition("(")[0]
