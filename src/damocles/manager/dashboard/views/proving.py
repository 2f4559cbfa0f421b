"""Window PoSts: the day of each miner as a clock of deadlines, and the jobs.

How deadlines stand, and how their proofs went, is what `Damocles.ProvingDay` tells. Where there is no such day, on a devnode of
one's own or while the node is away, the clock is drawn from the jobs.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from damocles.chain.addresses import Address
from damocles.manager.dashboard.views import addresses
from damocles.operating import posts
from damocles.wire import proving, wdpost
from damocles.wire.proving import Standing

DEADLINES = 48
_MOST_JOBS = 500
_DAY_SECONDS = 86400.0
_LOOKS = ("bad", "risk", "warn", "open", "good", "due", "")  # what needs a person first
_OF_STANDINGS = {
    Standing.MISSED: "bad",
    Standing.AT_RISK: "risk",
    Standing.LATE: "warn",
    Standing.PROVING: "open",
    Standing.WAITING: "open",
    Standing.SENT: "open",
    Standing.PROVED: "good",
    Standing.AHEAD: "due",
    Standing.NOTHING: "",
}
_OF_JOBS = {  # of a deadline's jobs the first counts
    "Failed": ("bad", "a proof failed"),
    "Faults": ("bad", "faults"),
    "Running": ("open", "being proved"),
    "ReadyToRun": ("open", "waits for a prover"),
    "Succeed": ("good", "proved"),
}
PARAMETERS: Mapping[str, addresses.Kind] = {"state": addresses.one_of(_OF_JOBS)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the manager tells of a miner's day, or why it does not."""

    miner: int
    day: proving.Day | None = None
    problem: str = ""


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """A deadline: as the manager tells of it, or else how many jobs of the last day stand how.

    `opens_at` is when it opens next, or has opened if it is open (unix seconds); null where there is no day.
    """

    deadline: int
    opens_at: float | None = None
    is_open: bool = False
    told: proving.Deadline | None = None
    jobs: dict[str, int] = {}

    @property
    def says(self) -> str:
        """How it stands, in words."""
        return self.told.standing.value if self.told is not None else self._of_jobs[1]

    @property
    def look(self) -> str:
        """The same as the name of a look, one of `bad`, `risk`, `warn`, `open`, `good`, `due`; empty with nothing to prove."""
        return _OF_STANDINGS[self.told.standing] if self.told is not None else self._of_jobs[0]

    @property
    def faulty(self) -> int:
        """Faulty sectors; recovering ones are among them."""
        return self.told.faulty if self.told is not None else 0

    @property
    def _of_jobs(self) -> tuple[str, str]:
        return next((said for state, said in _OF_JOBS.items() if state in self.jobs), ("", "no jobs"))


class Clock(msgspec.Struct, frozen=True, kw_only=True):
    """The proving period of a miner; `epoch` is that of the chain's head, null where there is no day, and `problem` why there is none."""

    miner: str
    epoch: int | None
    problem: str
    slots: list[Slot]

    @property
    def sectors(self) -> int:
        """Live sectors."""
        return sum(slot.told.sectors for slot in self.slots if slot.told is not None)

    @property
    def faulty(self) -> int:
        """Faulty sectors; recovering ones are among them."""
        return sum(slot.faulty for slot in self.slots)

    @property
    def recovering(self) -> int:
        """Sectors that are declared recovered."""
        return sum(slot.told.recovering for slot in self.slots if slot.told is not None)

    @property
    def shown(self) -> list[Slot]:
        """The deadlines that there is something to tell of."""
        return [slot for slot in self.slots if slot.jobs or (slot.told and (slot.told.partitions or slot.told.posts))]

    @property
    def legend(self) -> list[tuple[str, str, int]]:
        """The looks that there are, each with its words and for how many deadlines; what needs a person comes first."""
        counts = Counter((slot.look, slot.says) for slot in self.slots)
        ordered = sorted(counts.items(), key=lambda one: _LOOKS.index(one[0][0]))
        return [(look, says, count) for (look, says), count in ordered]


class Proving(msgspec.Struct, frozen=True, kw_only=True):
    """Clocks, and jobs of window PoSts, the newest first, and how many there are by how they stand."""

    at: float
    clocks: list[Clock]
    states: dict[str, int]
    shown: str
    jobs: list[wdpost.Brief]
    left_out: int
    max_tries: int


def view(listed: wdpost.Listed, state: str, now: float, told: Sequence[Told] = ()) -> Proving:
    """Return the page, with a clock for each miner that is told of, or else that has jobs; with a state only the jobs that stand so."""
    counts = Counter(_kind(job) for job in listed.jobs)
    found = [job for job in listed.jobs if not state or _kind(job) == state]
    ordered = sorted(found, key=lambda job: -job.created_at)
    return Proving(
        at=now,
        clocks=_clocks(listed.jobs, now, told),
        states=dict(sorted(counts.items())),
        shown=state,
        jobs=ordered[:_MOST_JOBS],
        left_out=max(0, len(ordered) - _MOST_JOBS),
        max_tries=listed.max_tries,
    )


def _clocks(jobs: Iterable[wdpost.Brief], now: float, told: Sequence[Told]) -> list[Clock]:
    of_miners: dict[int, dict[int, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for job in jobs:
        if job.created_at > now - _DAY_SECONDS:
            of_miners[job.input.miner][job.deadline][_kind(job)] += 1
    miners = told or [Told(miner=miner) for miner in sorted(of_miners)]
    return [_clock(one, of_miners.get(one.miner, {})) for one in miners]


def _clock(of: Told, jobs: Mapping[int, Mapping[str, int]]) -> Clock:
    miner, day = str(Address.of_id(of.miner)), of.day
    if day is None:
        slots = [Slot(deadline=number, jobs=dict(jobs.get(number, {}))) for number in range(DEADLINES)]
        return Clock(miner=miner, epoch=None, problem=of.problem, slots=slots)
    slots = [
        Slot(
            deadline=one.deadline,
            opens_at=day.at + (one.opens - day.epoch) * day.block_seconds,
            is_open=one.deadline == day.current,
            told=one,
        )
        for one in day.deadlines
    ]
    return Clock(miner=miner, epoch=day.epoch, problem="", slots=slots)


def _kind(job: wdpost.Brief) -> str:
    return posts.state(job).partition("(")[0]
