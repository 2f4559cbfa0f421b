"""The worker's metrics: the names of damocles v0.13, and ours under `damocles_worker_`.

Calls and stages are counted as they end (`Tally`); all else is looked at when somebody asks.
"""

import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import anyio.to_thread

from damocles import exposition
from damocles.rpc import limits as rpc_limits
from damocles.rpc import tls
from damocles.rpc.serving import asgi
from damocles.stages.supervision import limits
from damocles.stores import space
from damocles.wire import control

PREFIX = "damocles_worker"

# Of damocles v0.13; all others are ours.
ORIGINALS = frozenset({"rpc_call", "rpc_error", "rpc_timing", "task_threads_pause"})

_WORD = re.compile(r"(?<!^)(?=[A-Z])")
# Where the original's label is not the method's name in snake case. Ours for the same purpose get the same label.
_LABELS = {
    "Allocate": "allocate_sector",
    "AllocateSanpUpSector": "allocate_snapup_sector",
    "SubmitSnapUpProof": "submit_snapup_proof",
    "WdPoStAllocateJobs": "allocate_wdpost_job",
    "WdPoStHeartbeatJobs": "wdpost_heartbeat",
    "WdPoStFinishJob": "wdpost_finish",
}


class Tally:
    """What is counted from the start of the worker on."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self.gauges = rpc_limits.Gauges()
        self._calls: Counter[tuple[str]] = Counter()
        self._errors: Counter[tuple[str]] = Counter()
        self._timing = exposition.Summary(
            "rpc_timing",
            "Seconds that calls to the manager took; quantiles are of the last minute, and 0 if there was no call.",
            "method",
        )
        self._failures: Counter[tuple[str]] = Counter()
        self._stages = exposition.Histogram(
            f"{PREFIX}_stage_seconds",
            "Seconds that stages ran that ended well, without what they waited for a slot.",
            ("stage",),
            exposition.STAGE_BOUNDS_SECONDS,
        )

    def call(self, method: str, seconds: float, failed: bool) -> None:
        """Count a call to the manager; `method` is its wire name without the namespace."""
        label = _LABELS.get(method) or _WORD.sub("_", method).lower()
        self._calls[label,] += 1
        self._errors[label,] += failed
        self._timing.observe(label, seconds, self._now())

    def stage(self, stage: str, seconds: float, failed: bool) -> None:
        """Count a run of a stage."""
        if failed:
            self._failures[stage,] += 1
        else:
            self._stages.observe((stage,), seconds)

    def families(self) -> Iterator[exposition.Family]:
        """Yield the counts."""
        yield exposition.counter(
            "rpc_call", "Calls to the manager, without pings and those of the start.", self._calls, ("method",)
        )
        yield exposition.counter(
            "rpc_error", "Calls that the manager refused or did not answer.", self._errors, ("method",)
        )
        yield self._timing.family(self._now())
        yield self._stages.family()
        yield exposition.counter(
            f"{PREFIX}_stage_failures_total",
            "Runs of stages that failed, and children that died; not what was stopped on request.",
            self._failures,
            ("stage",),
        )
        yield from exposition.limits(PREFIX, self.gauges.levels(), self.gauges.met())


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is looked at for a scrape; `free_bytes` by kind and name of a store, without those that do not answer.

    `lacking` counts the files of parameters that are not there, by plan and sector size.
    """

    version: str
    threads: Sequence[control.ThreadDetail]
    slots: limits.Occupancy
    free_bytes: Mapping[tuple[str, str], int]
    lacking: Mapping[tuple[str, str], int]
    is_draining: bool
    managers: Sequence[control.ManagerSeen]
    certificate_ends_at: float | None
    now: float
    loop_lag_seconds: float


def families(facts: Facts) -> Iterator[exposition.Family]:
    """Yield the present metrics of the worker."""
    listed = facts.threads
    yield exposition.gauge(f"{PREFIX}_info", "1; the label is the version.", {(facts.version,): 1}, ("version",))
    paused = sum(detail.info.thread_state.state == "Paused" for detail in listed)
    yield exposition.gauge("task_threads_pause", "Sealing threads that are paused.", {(): paused}, ())
    yield from exposition.threads(PREFIX, exposition.grouped(listed), facts.now)
    levels = Counter((_level(detail.info.last_error),) for detail in listed if detail.info.last_error is not None)
    yield exposition.gauge(
        f"{PREFIX}_threads_with_error", "Sealing threads by the level of their last error.", levels, ("level",)
    )
    slots = facts.slots
    for what, documentation, counts in (
        ("slots", "Tasks of a stage that may run at once, where that is limited.", slots.limits),
        ("slots_in_use", "Tasks of a stage that run.", slots.running),
        ("slots_waiting", "Tasks of a stage that wait for a slot, a child or a lock.", slots.waiting),
    ):
        values = {(stage,): count for stage, count in counts.items()}
        yield exposition.gauge(f"{PREFIX}_{what}", documentation, values, ("stage",))
    yield exposition.gauge(
        f"{PREFIX}_store_free_bytes",
        "Bytes free in sealing stores by folder, in persist stores by name, if the disk is mounted and answers.",
        facts.free_bytes,
        ("kind", "store"),
    )
    yield exposition.gauge(
        f"{PREFIX}_parameter_files_missing",
        "Files of proof parameters that a plan needs and that are not there, by size of the sectors that its threads take;"
        " without `allowed_sizes` these are all sizes.",
        facts.lacking,
        ("plan", "sector_size"),
    )
    yield exposition.gauge(
        f"{PREFIX}_draining", "1 if the worker begins no new sectors.", {(): int(facts.is_draining)}, ()
    )
    yield exposition.gauge(
        f"{PREFIX}_manager_in_use",
        "1 for the manager that the worker uses, 0 for the others that it may go to.",
        {(one.url,): int(one.in_use) for one in facts.managers},
        ("manager",),
    )
    yield exposition.gauge(
        f"{PREFIX}_manager_failing",
        "1 for a manager that did not answer the last time, or that has another database.",
        {(one.url,): int(bool(one.error)) for one in facts.managers},
        ("manager",),
    )
    yield exposition.certificate(PREFIX, facts.certificate_ends_at)
    yield exposition.gauge(
        f"{PREFIX}_event_loop_lag_seconds",
        "How long the daemon's event loop took to turn to something new, at the scrape.",
        {(): facts.loop_lag_seconds},
        (),
    )


def _level(last_error: str) -> str:
    level, colon, _ = last_error.partition(": ")
    return level if colon and level in {"temporary", "permanent", "critical", "abort"} else "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the metrics of a worker come from. Stores are named `sealing <folder>` and `persist <name>`."""

    name: str
    ip: str
    version: str
    tally: Tally
    threads: Callable[[], Sequence[control.ThreadDetail]]
    slots: Callable[[], limits.Occupancy]
    stores: space.Space
    lacking: Callable[[], Mapping[tuple[str, str], int]]
    is_draining: Callable[[], bool]
    managers: Callable[[], Sequence[control.ManagerSeen]]
    certificate: tls.Files | None

    async def text(self) -> bytes:
        """Return what Prometheus reads."""
        lag = await exposition.loop_lag_seconds()
        usage = await self.stores.ask()
        process = await exposition.process()
        facts = Facts(
            version=self.version,
            threads=self.threads(),
            slots=self.slots(),
            free_bytes={_kind_and_name(name): used.free for name, used in usage.items()},
            lacking=await anyio.to_thread.run_sync(self.lacking),
            is_draining=self.is_draining(),
            managers=self.managers(),
            certificate_ends_at=await anyio.to_thread.run_sync(self._certificate_ends_at),
            now=time.time(),
            loop_lag_seconds=lag,
        )
        labels = {"worker_name": self.name, "worker_ip": self.ip}
        return exposition.text([*self.tally.families(), *families(facts), *process], labels)

    def _certificate_ends_at(self) -> float | None:
        return tls.ends_at(self.certificate.certificate) if self.certificate is not None else None


def _kind_and_name(store: str) -> tuple[str, str]:
    kind, _, name = store.partition(" ")
    return kind, name


def app(text: Callable[[], Awaitable[bytes]]) -> asgi.App:
    """Return the application that answers GET on every path with the metrics, as the original does."""

    async def answer(scope: asgi.Message, _: asgi.Receive, send: asgi.Send) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close"})
        elif scope["method"] != "GET":
            await asgi.respond(send, 405, b"use GET\n", "text/plain")
        else:
            await asgi.respond(send, 200, await text(), exposition.CONTENT_TYPE)

    return answer
