"""What is seen at one moment, from which alerts follow: pure data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from damocles.manager.alerts import posts as alerts_posts
from damocles.wire import control


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
    chain: Mapping[str, str] = field(default_factory=dict)
    blocks: Mapping[str, str] = field(default_factory=dict)
    typical: Mapping[tuple[int, str, str], Typical] = field(default_factory=dict)
