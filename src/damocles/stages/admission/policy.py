"""What a worker grants to its stages: the machine's amounts, the costs, and what counts of them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from damocles.stages.admission import costs, grants
from damocles.wire import sectors

Overrides = Mapping[tuple[str, sectors.SectorSize], costs.Override]

MEMORY_ALONE = frozenset({"memory"})
EVERYTHING = frozenset({"cores", "memory", "gpus", "scratch"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """Whose a task is: `label` for people (`PC2 of s-t01000-7`), the size of its sector where there is one."""

    label: str
    size: sectors.SectorSize | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How stages are admitted.

    Attributes:
        capacity: What the machine has; a missing resource is not limited.
        counts: The resources that count.
        overrides: Costs from the configuration.
        foreign: Stages of external programs, whose costs only the configuration knows.
        refuses: Whether a stage that does not fit an empty machine is refused; otherwise it takes the whole machine and runs alone.
    """

    capacity: Mapping[str, int]
    counts: Collection[str] = MEMORY_ALONE
    overrides: Overrides = field(default_factory=dict)
    foreign: Collection[str] = ()
    refuses: bool = False

    @property
    def limits(self) -> dict[str, int]:
        """What there is of what counts."""
        return {name: amount for name, amount in self.capacity.items() if name in self.counts}

    def cost(self, stage: str, size: sectors.SectorSize) -> costs.Cost | None:
        """Return what a stage costs here, `None` if nobody knows."""
        override = self.overrides.get((stage, size))
        if stage in self.foreign:
            return None if override is None else override.over(costs.Cost())
        cost = costs.of(stage, size)
        return cost if override is None else override.over(cost)

    def needs(self, stage: str, size: sectors.SectorSize | None) -> dict[str, int]:
        """Return what a task has to be granted."""
        wanted = self._wanted(stage, size)
        return wanted if self.refuses else grants.clamped(self.limits, wanted)

    def unfit(self, stage: str, size: sectors.SectorSize) -> str | None:
        """Return what an empty machine lacks for a stage, `None` if it lacks nothing."""
        return grants.never_fits(self.limits, self._wanted(stage, size))

    def _wanted(self, stage: str, size: sectors.SectorSize | None) -> dict[str, int]:
        cost = self.cost(stage, size) if size is not None else None
        if cost is None:
            return {}
        cores = self.capacity.get("cores", 1)
        return {name: amount for name, amount in cost.needs(cores).items() if name in self.limits}
