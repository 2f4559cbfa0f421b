"""Structs of window PoSt jobs, which managers hand out and workers prove (`Venus.WdPoSt*`).

Shapes as in damocles v0.13: `Id`, `MinerId`, `SectorId` with a small d, CommR and Seed as arrays of numbers, proofs in
base64. Times are unix seconds, 0 for never.
"""

import enum
from collections.abc import Sequence

import msgspec
from msgspec import field

from damocles.wire.codec import Bytes32
from damocles.wire.sectors import Natural


class State(enum.StrEnum):
    """Where a job stands in the manager."""

    READY = "ready2run"
    RUNNING = "running"
    FINISHED = "finished"


class AllocateSpec(msgspec.Struct, frozen=True):
    """What a worker is willing to prove, by actor ids and names of PoSt proofs; empty or null means anything."""

    allowed_miners: Sequence[int] | None = field(name="AllowedMiners", default=None)
    allowed_proofs: Sequence[str] | None = field(name="AllowedProofTypes", default=None)


class Accesses(msgspec.Struct, frozen=True):
    """Names of the persist stores that hold a sector's replica and its cache."""

    sealed_file: str = field(name="SealedFile")
    cache_dir: str = field(name="CacheDir")


class Sector(msgspec.Struct, frozen=True):
    """A sector to prove; the files of an upgraded one are in `update/` and `update-cache/`."""

    number: Natural = field(name="SectorId")
    comm_r: Bytes32 = field(name="CommR")
    upgraded: bool = field(name="Upgrade")
    accesses: Accesses = field(name="Accesses")


class Input(msgspec.Struct, frozen=True):
    """What to prove; in lists of jobs there are no sectors and no proof name."""

    sectors: list[Sector] | None = field(name="Sectors")
    miner: Natural = field(name="MinerId")
    proof_name: str = field(name="ProofType")
    seed: Bytes32 = field(name="Seed")


class Output(msgspec.Struct, frozen=True, omit_defaults=True):
    """The proofs, or the sectors that cannot be proved, never both.

    `reasons` has the reason for each, by its number as text, and `worker` the reporter. They are not in the original's structs;
    managers ignore them there.
    """

    proofs: list[bytes] | None
    faults: list[int] | None
    reasons: dict[str, str] = {}
    worker: str = ""


class Job(msgspec.Struct, frozen=True):
    """A job as handed out."""

    id: str = field(name="Id")
    input: Input = field(name="Input")


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """A try that came to nothing: whose it was, when it ended, and why; `faults` if it named sectors."""

    worker: str = field(name="WorkerName")
    at: int = field(name="At")
    reason: str = field(name="Reason")
    faults: list[int] = field(name="Faults", default_factory=list)


class Loan(msgspec.Struct, frozen=True):
    """Since when a prover has a job, and when it was heard of last."""

    started_at: int = field(name="StartedAt")
    heartbeat_at: int = field(name="HeartbeatAt")


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A job as the manager keeps it.

    What follows `updated_at` is ours, and left out if there is none: `failures` are since it was made or reset; `slower` are provers that had
    it before `worker` and are at work still; after `alone_seconds` it may be lent to another one as well.
    """

    id: str = field(name="Id")
    state: State = field(name="State", default=State.READY)
    deadline: int = field(name="DeadlineIdx")
    partitions: list[int] = field(name="Partitions")
    input: Input = field(name="Input")
    output: Output | None = field(name="Output", default=None)
    tries: int = field(name="TryNum", default=0)
    error: str = field(name="ErrorReason", default="")
    worker: str = field(name="WorkerName", default="")
    started_at: int = field(name="StartedAt", default=0)
    heartbeat_at: int = field(name="HeartbeatAt", default=0)
    finished_at: int = field(name="FinishedAt", default=0)
    created_at: int = field(name="CreatedAt")
    updated_at: int = field(name="UpdatedAt")
    failures: list[Failure] | msgspec.UnsetType = field(name="Failures", default=msgspec.UNSET)
    slower: dict[str, Loan] | msgspec.UnsetType = field(name="Slower", default=msgspec.UNSET)
    alone_seconds: int | msgspec.UnsetType = field(name="AloneSeconds", default=msgspec.UNSET)


class Brief(Record, frozen=True, kw_only=True):
    """A job in a list: with counts instead of its sectors, and without proofs."""

    sectors: int = field(name="Sectors")
    faults: int = field(name="Faults")


class Listed(msgspec.Struct, frozen=True):
    """All jobs, and how often one is tried before somebody has to look."""

    jobs: list[Brief] = field(name="Jobs")
    max_tries: int = field(name="MaxTry")
