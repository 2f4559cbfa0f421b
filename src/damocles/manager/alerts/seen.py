"""What is seen at one moment, from which alerts follow: pure data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from damocles.manager.alerts import posts as alerts_posts
from damocles.stores import space
from damocles.text import units
from damocles.wire import control

LOW_BYTES = 64 << 20  # on the disk of the manager's home: some days of a large fleet


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A persist store, and the size of the sectors that come there."""

    name: str
    total_bytes: int
    free_bytes: int
    sector_bytes: int


@dataclass(frozen=True, slots=True)
class Typical:
    """How long a stage usually takes, by how many runs."""

    median_seconds: float
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What is seen at one moment.

    `silent` names the workers that did not list their threads, and why; `silent_stores` those whose disk did not answer,
    `missing_stores` what is wrong with those that are missing. `typical` is by miner, state of a sector and its next state. `disk` is
    what is wrong with the manager's own, `chain` what keeps messages from landing, by their subject.
    `disks` are troubles of the disks of several managers on one database, `silent_managers` those that say nothing, by name.
    `blocks` are those that were won and lost lately, with the reason. `deadlines` are those of a real chain that are not proved in time; None where there is no real chain.
    """

    workers: Sequence[control.WorkerStatus] = ()
    threads: Sequence[control.ThreadDetail] = ()
    silent: Mapping[str, str] = field(default_factory=dict)
    stores: Sequence[Store] = ()
    silent_stores: frozenset[str] = frozenset()
    missing_stores: Mapping[str, str] = field(default_factory=dict)
    posts: Sequence[alerts_posts.Outline] = ()
    deadlines: Sequence[alerts_posts.Late] | None = None
    disk: str = ""
    disks: Mapping[str, str] = field(default_factory=dict)
    silent_managers: Mapping[str, str] = field(default_factory=dict)
    chain: Mapping[str, str] = field(default_factory=dict)
    blocks: Mapping[str, str] = field(default_factory=dict)
    typical: Mapping[tuple[int, str, str], Typical] = field(default_factory=dict)


def trouble(said: str | None, home: Mapping[str, space.Usage]) -> str:
    """Return what is wrong with the manager's own disk or database, or about to be; empty if nothing is."""
    if said is not None:
        return said
    low = [name for name, usage in home.items() if usage.free < LOW_BYTES]
    return f"{low[0]}: less than {units.human_size(LOW_BYTES)} is free on its disk" if low else ""
