"""What the metrics of both daemons are made of: the text that Prometheus scrapes, and sums that the library lacks.

Families are prometheus-client's, made anew for each scrape; nothing is kept in the library's process-wide registry.
The text is written here, because the library's writer adds `_total` to counters, which the names of damocles v0.13
do not have, and takes five times as long.
"""

import asyncio
import bisect
import collections
import itertools
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import anyio.to_thread
from prometheus_client import core, process_collector
from prometheus_client.samples import Sample

from damocles.wire import control

Key = TypeVar("Key", bound=Sequence[str])  # the values of labels

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# A stage of a 2KiB sector takes milliseconds, PC1 of 64GiB half a day.
STAGE_BOUNDS_SECONDS = (0.01, 0.1, 1, 10, 60, 300, 900, 1800, 3600, 7200, 14400, 28800, 57600)
QUANTILES = (0.0, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0)

_WINDOW_SECONDS = 60.0  # of the quantiles, as in the exporter of v0.13
_MOST_OBSERVATIONS = 1000
_MOST_GROUPS = 200  # of threads: workers name their states and reasons themselves
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_TEXT_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Groups:
    """How many sealing threads there are by state and reason, and how many sectors by state.

    `oldest` is the unix time at which, of the sectors in a state, the one came there that has been in it for longest.
    """

    threads: Mapping[tuple[str, str], int]
    sectors: Mapping[tuple[str], int]
    oldest: Mapping[tuple[str], float]


class Family(core.Metric):
    """A metric with all of its samples, and the names of the labels that these have."""

    def __init__(self, name: str, documentation: str, kind: str, labels: Sequence[str]) -> None:
        super().__init__(name, documentation, kind)
        self.labels = tuple(labels)

    def add(self, key: Sequence[str], value: float, ending: str = "", **more: str) -> None:
        """Add a sample under label values, of a part of the metric if there is an `ending`."""
        labels = dict(zip(self.labels, key, strict=True)) | more
        self.samples.append(Sample(f"{self.name}{ending}", labels, value, None, None, None))


def text(families: Iterable[core.Metric], labels: Mapping[str, str] | None = None) -> bytes:
    """Write families in Prometheus' text format, with the same `labels` on every sample."""
    common = [f'{name}="{value.translate(_ESCAPES)}"' for name, value in (labels or {}).items()]
    lines = []
    for family in families:
        kind = "untyped" if family.type == "unknown" else family.type
        help_text = family.documentation.translate(_TEXT_ESCAPES)
        lines.append(f"# HELP {family.name} {help_text}\n# TYPE {family.name} {kind}\n")
        for sample in family.samples:
            pairs = [f'{label}="{value.translate(_ESCAPES)}"' for label, value in sample.labels.items()]
            inside = f"{{{','.join(common + pairs)}}}" if common or pairs else ""
            lines.append(f"{sample.name}{inside} {_number(sample.value)}\n")
    return "".join(lines).encode()


def _number(value: float) -> str:
    if math.isfinite(value):
        return repr(value)
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def gauge(name: str, documentation: str, values: Mapping[Key, float], labels: Sequence[str]) -> Family:
    """Return a gauge with a sample for each combination of label values."""
    return _family(name, documentation, "gauge", values, labels)


def counter(name: str, documentation: str, values: Mapping[Key, float], labels: Sequence[str]) -> Family:
    """Return a counter under exactly this name."""
    return _family(name, documentation, "counter", values, labels)


def _family(name: str, documentation: str, kind: str, values: Mapping[Key, float], labels: Sequence[str]) -> Family:
    family = Family(name, documentation, kind, labels)
    for key, value in values.items():
        family.add(key, value)
    return family


class Histogram:
    """Durations by upper bounds, under one label."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = labels
        self._bounds = bounds
        self._marks = [*(f"{bound:g}" for bound in bounds), "+Inf"]
        self._counts: dict[Sequence[str], list[int]] = {}
        self._sums: collections.defaultdict[Sequence[str], float] = collections.defaultdict(float)

    def observe(self, key: Sequence[str], value: float) -> None:
        """Count one value under label values."""
        counts = self._counts.setdefault(key, [0] * len(self._marks))
        counts[bisect.bisect_left(self._bounds, value)] += 1
        self._sums[key] += value

    def family(self) -> Family:
        """Return it as it is now."""
        family = Family(self._name, self._documentation, "histogram", self._labels)
        for key, counts in self._counts.items():
            for mark, count in zip(self._marks, itertools.accumulate(counts), strict=True):
                family.add(key, count, "_bucket", le=mark)
            family.add(key, sum(counts), "_count")
            family.add(key, self._sums[key], "_sum")
        return family


@dataclass(slots=True)
class _Timing:
    count: int = 0
    total: float = 0.0
    recent: collections.deque[tuple[float, float]] = field(
        default_factory=lambda: collections.deque(maxlen=_MOST_OBSERVATIONS)
    )


class Summary:
    """Durations with quantiles over the last minute; these are 0 when there was nothing, as in v0.13."""

    def __init__(self, name: str, documentation: str, label: str) -> None:
        self._name = name
        self._documentation = documentation
        self._label = label
        self._timings: dict[str, _Timing] = {}

    def observe(self, key: str, value: float, now: float) -> None:
        """Count one value at monotonic time `now`."""
        timing = self._timings.setdefault(key, _Timing())
        timing.count += 1
        timing.total += value
        timing.recent.append((now, value))

    def family(self, now: float) -> Family:
        """Return it as it is at monotonic time `now`."""
        family = Family(self._name, self._documentation, "summary", (self._label,))
        for key, timing in self._timings.items():
            values = sorted(value for at, value in timing.recent if now - at <= _WINDOW_SECONDS)
            for quantile in QUANTILES:
                value = values[max(0, math.ceil(quantile * len(values)) - 1)] if values else 0.0
                family.add((key,), value, quantile=f"{quantile:g}")
            family.add((key,), timing.total, "_sum")
            family.add((key,), timing.count, "_count")
        return family


def threads(prefix: str, groups: Groups, now: float) -> Iterator[Family]:
    """Yield how many sealing threads are in which state and why, and how many sectors in which state and for how long."""
    yield gauge(
        f"{prefix}_threads",
        "Sealing threads; the reason is the stage that runs, what is waited for, or of a pause `error` or `request`.",
        groups.threads,
        ("state", "reason"),
    )
    yield gauge(f"{prefix}_sectors", "Sectors in sealing threads by their state.", groups.sectors, ("state",))
    yield gauge(
        f"{prefix}_sectors_oldest_seconds",
        "For how long the sector has been in its state that has been there for longest, of those in sealing threads.",
        {key: max(0.0, now - since) for key, since in groups.oldest.items()},
        ("state",),
    )


def grouped(details: Sequence[control.ThreadDetail]) -> Groups:
    """Count sealing threads; groups of which there are too many are left out, the smallest first."""
    states = collections.Counter((detail.info.thread_state.state, reason_of(detail)) for detail in details)
    sectors = collections.Counter((detail.info.job_state,) for detail in details if detail.info.job_id is not None)
    frequent = dict(sectors.most_common(_MOST_GROUPS))
    oldest: dict[tuple[str], float] = {}
    for detail in details:
        key, since = (detail.info.job_state,), detail.state_since
        if detail.info.job_id is not None and since is not None and key in frequent:
            oldest[key] = min(since, oldest.get(key, since))
    return Groups(threads=dict(states.most_common(_MOST_GROUPS)), sectors=frequent, oldest=oldest)


def reason_of(detail: control.ThreadDetail) -> str:
    """Return in few words that many threads share what a thread runs or waits for."""
    info = detail.info
    match info.thread_state.state:
        case "Running":
            return info.job_stage or "-"
        case "Paused":
            return "error" if info.last_error is not None else "request"
        case _ if detail.waiting is not None:
            return detail.waiting.what.partition(" (")[0]  # in brackets are numbers, names and error texts
        case _:
            return "-"


def limits(prefix: str, levels: Mapping[str, tuple[float, float]], met: Mapping[str, int]) -> Iterator[Family]:
    """Yield the limits on what others may use: `levels` has what is used of each and the most, `met` how often it was too much."""
    used = {(name,): level[0] for name, level in levels.items()}
    most = {(name,): level[1] for name, level in levels.items()}
    counts = {(name,): count for name, count in met.items()}
    yield gauge(f"{prefix}_limit", "Limits on what others may use.", most, ("limit",))
    yield gauge(f"{prefix}_limit_used", "How much of a limit is used, by whoever uses the most.", used, ("limit",))
    yield counter(f"{prefix}_limit_met_total", "How often more than a limit was wanted.", counts, ("limit",))


def certificate(prefix: str, ends_at: float | None) -> Family:
    """Return when the certificate ends that a daemon listens with, if it has one."""
    return gauge(
        f"{prefix}_certificate_not_after_timestamp_seconds",
        "Unix time at which the certificate ends that others see, by its file; of a chain the first one.",
        {} if ends_at is None else {(): ends_at},
        (),
    )


async def process() -> list[core.Metric]:
    """Return what the system knows of this process: CPU seconds, memory, open files."""
    collector = process_collector.ProcessCollector(registry=None)
    return await anyio.to_thread.run_sync(lambda: [_renamed(family) for family in collector.collect()])


def _renamed(family: core.Metric) -> core.Metric:
    if family.type == "counter":
        family.name += "_total"  # in the library only its samples have the ending
    return family


async def loop_lag_seconds() -> float:
    """Return how long it takes now until the event loop turns to something new."""
    loop = asyncio.get_running_loop()
    came: asyncio.Future[float] = loop.create_future()
    began = time.perf_counter()
    loop.call_soon(lambda: came.set_result(time.perf_counter()))
    return await came - began
