"""How many sectors a day a machine finishes, what its threads wait for, and what one more of each thing would bring.

A sealing thread does the steps of a sector one after the other, and then begins the next sector. Many days of that are
replayed with the times of the steps, the limits of stages, and `grants`, as the worker itself decides. Times vary a little
from sector to sector, in a fixed way: else threads could march in step for ever. The same plant always gives the same
forecast.
"""

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from damocles.stages.admission import grants

DAY_SECONDS = 86400.0
THREADS = "threads"  # the bottleneck, where nobody waits for long

_WARM_SECTORS, _SECTORS = 5, 40  # of each thread, on average: how long a replay lasts
_VARIATION = 0.05
_GOLDEN = 0.6180339887498949  # its multiples are spread evenly
_NOTICED = 0.02  # of a thread's time


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Work of a sector: how long it takes once it has what it needs. Without a stage it is a wait (for the chain)."""

    seconds: float
    stage: str = ""
    needs: grants.Amounts = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Threads that do the same steps with each sector."""

    threads: int
    steps: Sequence[Step]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """A machine: its lines of threads, what it has, and the limits of stages."""

    lines: Sequence[Line]
    capacity: grants.Amounts = field(default_factory=dict)
    slots: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Sectors a day of each line, and the part of their time that threads wait, by what for: `memory`, `slots of c2`."""

    per_day: tuple[float, ...]
    waits: Mapping[str, float]

    @property
    def bottleneck(self) -> str:
        """What there would have to be more of: what threads wait for the most, or threads."""
        name, share = max(self.waits.items(), key=lambda item: item[1], default=(THREADS, 0.0))
        return name if share >= _NOTICED else THREADS


def of(plant: Plant) -> Forecast:
    """Forecast a machine.

    Raises:
        ValueError: A line never finishes a sector: it has no threads, no times, or a step that does not fit.
    """
    for line in plant.lines:
        _check(plant, line)
    threads = sum(line.threads for line in plant.lines)
    replay = _Replay(plant)
    begins = replay.until(_WARM_SECTORS * threads)
    done_before, waited_before = list(replay.done), dict(replay.waited)
    span = replay.until((_WARM_SECTORS + _SECTORS) * threads) - begins
    counts = [after - before for after, before in zip(replay.done, done_before, strict=True)]
    thread_seconds = span * threads
    return Forecast(
        per_day=tuple(count / span * DAY_SECONDS for count in counts),
        waits={
            name: (seconds - waited_before.get(name, 0.0)) / thread_seconds for name, seconds in replay.waited.items()
        },
    )


def gains(plant: Plant) -> list[tuple[str, float]]:
    """Return how many sectors a day one more of each thing would bring, the most first; of memory, the largest step's."""
    now = sum(of(plant).per_day)
    found = [(what, sum(of(more).per_day) - now) for what, more in _more(plant)]
    return sorted(found, key=lambda gain: -gain[1])


def _check(plant: Plant, line: Line) -> None:
    if line.threads < 1 or sum(step.seconds for step in line.steps) <= 0:
        raise ValueError("no sector is ever finished: there are no threads, or no times of stages")
    for step in line.steps:
        if (text := grants.never_fits(plant.capacity, step.needs)) is not None:
            raise ValueError(f"{step.stage} {text}")


def _more(plant: Plant) -> Iterator[tuple[str, Plant]]:
    steps = [step for line in plant.lines for step in line.steps]
    yield "a thread", replace(plant, lines=[replace(line, threads=line.threads + 1) for line in plant.lines])
    for stage, slots in plant.slots.items():
        if any(step.stage == stage for step in steps):
            yield f"a slot of {stage}", replace(plant, slots={**plant.slots, stage: slots + 1})
    for name, amount in plant.capacity.items():
        if largest := max((step.needs.get(name, 0) for step in steps), default=0):
            extra = largest if name in grants.IN_BYTES else 1
            what = f"{grants.amount(name, extra)} of {name}"
            yield what, replace(plant, capacity={**plant.capacity, name: amount + extra})


@dataclass(slots=True, kw_only=True)
class _Thread:
    line: int
    steps: Sequence[Step]
    at: int = 0
    asked: float = 0.0  # when it began to wait for its step
    lacks: str = ""  # what it has waited for since

    @property
    def step(self) -> Step:
        return self.steps[self.at]


class _Replay:
    """The threads of a machine, and time that goes on from event to event."""

    def __init__(self, plant: Plant) -> None:
        self._plant = plant
        self._threads = [
            _Thread(line=number, steps=line.steps)
            for number, line in enumerate(plant.lines)
            for _ in range(line.threads)
        ]
        self._queue: list[tuple[grants.Request, _Thread]] = []  # oldest first
        self._granted: dict[int, grants.Request] = {}
        self._running: Counter[str] = Counter()
        self._ends: list[tuple[float, int, int]] = []  # with the request's number, and the thread's
        self._number = 0
        self.done = [0] * len(plant.lines)
        self.waited: dict[str, float] = {}
        for number in range(len(self._threads)):
            self._begin(number, 0.0)
        self._admit(0.0)

    def until(self, sectors: int) -> float:
        """Let time go on until so many sectors are done since the beginning; return when that is."""
        now = 0.0
        while sum(self.done) < sectors:
            now, request, number = heapq.heappop(self._ends)
            thread = self._threads[number]
            if self._granted.pop(request, None) is not None:
                self._running[thread.step.stage] -= 1
            thread.at = (thread.at + 1) % len(thread.steps)
            self.done[thread.line] += thread.at == 0
            self._begin(number, now)
            self._admit(now)
        return now

    def _begin(self, number: int, now: float) -> None:
        thread = self._threads[number]
        thread.asked, thread.lacks = now, ""
        self._number += 1
        request = grants.Request(number=self._number, label=str(number), needs=thread.step.needs)
        if thread.step.stage:
            self._queue.append((request, thread))
        else:
            self._start(request, now)

    def _start(self, request: grants.Request, now: float) -> None:
        number = int(request.label)
        varied = 1 + _VARIATION * (2 * (request.number * _GOLDEN % 1) - 1)
        heapq.heappush(self._ends, (now + self._threads[number].step.seconds * varied, request.number, number))

    def _admit(self, now: float) -> None:
        """Start what may start, as `limits.Desk` does: a stage whose limit is reached is not looked at."""
        look, waits = grants.Round(self._plant.capacity, self._granted.values()), []
        closed: dict[str, str] = {}  # stages that somebody is next in line for, and what that waits for
        for request, thread in self._queue:
            stage, slots = thread.step.stage, self._plant.slots.get(thread.step.stage)
            lacks = closed.get(stage, f"slots of {stage}")
            if stage not in closed and (slots is None or self._running[stage] < slots):
                decision = look.decide(request)
                if decision.starts:
                    if thread.lacks:
                        self.waited[thread.lacks] = self.waited.get(thread.lacks, 0.0) + now - thread.asked
                    self._granted[request.number] = request
                    self._running[stage] += 1
                    self._start(request, now)
                    continue
                lacks = decision.lacks
            closed[stage] = lacks
            thread.lacks = thread.lacks or lacks
            waits.append((request, thread))
        self._queue = waits
