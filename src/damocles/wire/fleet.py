"""Structs of the worker's control API (`VenusWorker.*`) and of its ping to the manager.

Keys of the control API are snake_case in this order; those of the ping are Go's.
"""

from typing import Annotated, TypeAlias

import msgspec
from msgspec import field

Port: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class ThreadState(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a sealing thread does: `Idle`, `Paused`, `Running` or `Waiting`, and for how many whole seconds.

    `proc` names the processor of a `Running` thread, like `ext(pid: 4711)`.
    """

    state: str
    elapsed: int | None = None
    proc: str | None = None


class ThreadInfo(msgspec.Struct, frozen=True):
    """One sealing thread in a listing (`WorkerThreadInfo` of v0.13)."""

    location: str
    plan: str
    job_id: str | None
    index: int
    thread_state: ThreadState
    job_state: str
    job_stage: str | None
    last_error: str | None


class Summary(msgspec.Struct, frozen=True):
    """Counts over the threads of a worker; an idle thread is in none of the last three."""

    threads: int = field(name="Threads")
    empty: int = field(name="Empty")
    paused: int = field(name="Paused")
    running: int = field(name="Running", default=0)
    waiting: int = field(name="Waiting", default=0)
    errors: int = field(name="Errors", default=0)


MOST_CHARACTERS = 255  # of a worker's name, destination or version


def is_name(text: str) -> bool:
    """Return whether a worker can be named so: something that can be shown."""
    return bool(text) and len(text) <= MOST_CHARACTERS and text.isprintable()


class WorkerInfo(msgspec.Struct, frozen=True):
    """A ping: who and where a worker is. The last three are ours, left out if empty.

    `ping_seconds` is the time to the next ping, if nothing happens before; `metrics_port` the port at the host of `dest`
    where Prometheus can read the worker's metrics.
    """

    name: str = field(name="Name")
    dest: str = field(name="Dest")
    version: str = field(name="Version", default="")
    summary: Summary = field(name="Summary", default=Summary(0, 0, 0))
    draining: bool | msgspec.UnsetType = field(name="Draining", default=msgspec.UNSET)
    ping_seconds: float | msgspec.UnsetType = field(name="PingSeconds", default=msgspec.UNSET)
    metrics_port: Port | msgspec.UnsetType = field(name="MetricsPort", default=msgspec.UNSET)


class PingInfo(msgspec.Struct, frozen=True):
    """A worker and the unix second of its last ping."""

    info: WorkerInfo = field(name="Info")
    last_ping: int = field(name="LastPing")
