"""What a simulated world is made of, and which bugs are planted in it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a world is made of; the last seven plant bugs that the invariants have to find."""

    machines: int = 2
    threads: int = 2
    others: int = 1  # of the threads, in odd seeds: have another plan than `sealer`
    sectors: int = 3
    seal_interval_seconds: float = 300.0
    trouble_seconds: float = 1200.0
    patience_seconds: float = 4 * 3600.0
    faults: int = 18
    loss: float = 0.03  # of a request, of an answer, of a single delivery
    mounts: int = (
        0  # how often a disk is not there for a while; its dice are its own, and leave older seeds as they are
    )
    drains: int = 0  # likewise
    lazy_disk: bool = False
    lazy_copies: bool = False
    stale_ok: bool = False
    forgetful: bool = False
    any_store: bool = False
    one_name: bool = False
    deaf: bool = False
