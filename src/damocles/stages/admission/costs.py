"""What each stage costs, by sector size: facts, each with its source; the configuration may override them.

Memory is what a stage must have in RAM to be of use, without files that it maps: the kernel takes those back
(the parent cache, the parameters of the large sizes). Disk is what is new in the sealing store while the sector is worked on, as a multiple of
the sector's size. No stage of ours has scratch files elsewhere.

The sources, as the table names them:

*   `measured`: the peak of a process of ours on a machine without a GPU, rounded up (`docs/reference/costs.md`).
*   `structure`: follows from what the library does, and is confirmed by measuring a smaller size: of a piece it keeps
    all hashes until the end (`filecoin-proofs`, `commitment_reader.rs`), which is half of its size and half of that.
*   `lotus`: `MinMemory` ("what must be in RAM for decent performance") and the use of cores of lotus' table of
    resources (`storage/sealer/storiface/resources.go`), which providers have sealed with for years.
*   `assumed`: nobody has measured it; between its neighbours.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from damocles.sealing import planner
from damocles.wire import sectors

_MIB, _GIB = 1 << 20, 1 << 30
_SIZES = tuple(sectors.SectorSize)
_LARGE = frozenset({sectors.SectorSize.GIB32, sectors.SectorSize.GIB64})
_MOST_OF_CORES = 0.9  # what "all" means, so that a small stage has its place beside a large one


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one task of a stage takes; `cores` of `None` are most of those that there are.

    `gpus` is what it takes where the processor is built for them; ours for plain CPUs uses none.
    """

    memory_bytes: int = 0
    cores: int | None = 1
    gpus: int = 0
    disk_bytes: int = 0
    scratch_bytes: int = 0
    source: str = "measured"

    def needs(self, cores: int) -> dict[str, int]:
        """Return what is to be granted (see `grants`) on a machine with that many cores, of which none takes more."""
        wanted = max(1, int(cores * _MOST_OF_CORES)) if self.cores is None else min(self.cores, cores)
        amounts = {"memory": self.memory_bytes, "cores": wanted, "gpus": self.gpus, "scratch": self.scratch_bytes}
        return {name: amount for name, amount in amounts.items() if amount}


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """A stage's cost in the configuration; `None` keeps our figure."""

    memory_bytes: int | None = None
    cores: int | None = None
    gpus: int | None = None
    scratch_bytes: int | None = None

    def over(self, cost: Cost) -> Cost:
        """Return the cost with these values in place of ours."""
        said = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(cost, **{name: value for name, value in said.items() if value is not None}, source="configured")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fact:
    """A stage: memory for the five sizes, the source of each of them, cores, disk as a multiple of the size."""

    memory: tuple[int, int, int, int, int]
    sources: str  # a word, or one for each size
    cores: int | None = 1
    disk: float = 0.0
    layers: bool = False  # one more time the size for each layer


def _same(amount: int) -> tuple[int, int, int, int, int]:
    return (amount,) * 5


_SMALL = _same(256 * _MIB)
_PC1 = (64 * _MIB, 64 * _MIB, 1088 * _MIB, 56 * _GIB, 112 * _GIB)
_PC1_SOURCES = "measured measured measured lotus lotus"
_SNARK = (1280 * _MIB, 2 * _GIB, 2 * _GIB, 30 * _GIB, 60 * _GIB)
_SNARK_SOURCES = "measured assumed assumed lotus lotus"

_FACTS: Mapping[str, _Fact] = {
    "add_pieces": _Fact(
        memory=(64 * _MIB, 64 * _MIB, 448 * _MIB, 25 * _GIB, 50 * _GIB),
        sources="assumed assumed measured structure structure",
        disk=1.0,
    ),
    "tree_d": _Fact(
        memory=(64 * _MIB, 64 * _MIB, _GIB, 4 * _GIB, 8 * _GIB),
        sources="measured measured measured lotus lotus",
        cores=None,
        disk=2.0,
    ),
    "pc1": _Fact(memory=_PC1, sources=_PC1_SOURCES, cores=4, disk=1.0, layers=True),
    "pc2": _Fact(
        memory=(64 * _MIB, 128 * _MIB, _GIB, 15 * _GIB, 30 * _GIB),
        sources="measured measured lotus lotus lotus",
        cores=None,
        disk=1.2,
    ),
    "synth_proof": _Fact(memory=(64 * _MIB, 256 * _MIB, _GIB, 4 * _GIB, 8 * _GIB), sources="assumed", cores=None),
    "c1": _Fact(memory=(64 * _MIB, 128 * _MIB, _GIB, _GIB, _GIB), sources="measured measured lotus lotus lotus"),
    "c2": _Fact(memory=_SNARK, sources=_SNARK_SOURCES, cores=None),
    "snap_encode": _Fact(
        memory=(64 * _MIB, 128 * _MIB, _GIB, 4 * _GIB, 8 * _GIB),
        sources="assumed assumed lotus lotus lotus",
        cores=None,
        disk=2.2,
    ),
    "snap_vanilla": _Fact(
        memory=(64 * _MIB, 128 * _MIB, _GIB, _GIB, _GIB), sources="assumed assumed lotus lotus lotus"
    ),
    "snap_prove": _Fact(
        memory=(896 * _MIB, 2 * _GIB, 2 * _GIB, 30 * _GIB, 60 * _GIB), sources=_SNARK_SOURCES, cores=None
    ),
    "snap_verify": _Fact(memory=_SMALL, sources="assumed"),
    "snap_decode": _Fact(memory=(64 * _MIB, 128 * _MIB, _GIB, 4 * _GIB, 8 * _GIB), sources="assumed", cores=None),
    "transfer": _Fact(memory=_same(64 * _MIB), sources="assumed"),
    "unseal": _Fact(memory=_PC1, sources=_PC1_SOURCES, cores=4, disk=2.0, layers=True),
    "upload": _Fact(memory=_same(64 * _MIB), sources="assumed"),
    "check_replicas": _Fact(memory=_SMALL, sources="assumed"),
    "window_post": _Fact(
        memory=(128 * _MIB, 2 * _GIB, 2 * _GIB, 30 * _GIB, 60 * _GIB), sources=_SNARK_SOURCES, cores=None
    ),
}

STAGES = tuple(_FACTS)


def layers(size: sectors.SectorSize) -> int:
    """Return the layers of the graph."""
    return 11 if size in _LARGE else 2


def of(stage: str, size: sectors.SectorSize) -> Cost:
    """Return the cost of a stage; one that is not known costs nothing."""
    fact = _FACTS.get(stage)
    if fact is None:
        return Cost(cores=1, source="assumed")
    place, words = _SIZES.index(size), fact.sources.split()
    disk = fact.disk + (layers(size) if fact.layers else 0)
    return Cost(
        memory_bytes=fact.memory[place],
        cores=fact.cores,
        disk_bytes=int(disk * size),
        source=words[place] if len(words) > 1 else words[0],
    )


def disk_bytes(plan: str, size: sectors.SectorSize) -> int:
    """Return how much a sector takes of its sealing store at most: nothing of it goes before the sector is finished."""
    written = [_FACTS[stage] for stage in planner.PLANS[plan].writes]
    return int(sum(fact.disk + (layers(size) if fact.layers else 0) for fact in written) * size)
