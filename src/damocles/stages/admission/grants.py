"""Who may start now, given what a machine has and what it has granted: pure, without a clock.

Amounts are whole numbers by the name of a resource (`memory` and `scratch` in bytes, `cores`, `gpus`); a name that is
missing is 0. A request is older the lower its number. The rules:

*   Nothing starts that does not fit beside what is granted.
*   A request that has to wait is next in line: a younger one starts only where both fit together with everything
    granted to younger ones. So all that it waits for was there before it, ends some time, and is not replaced.
*   What does not fit an empty machine never starts.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from damocles.text import units

Amounts = Mapping[str, int]

IN_BYTES = frozenset({"memory", "scratch"})
_MOST_HOLDERS = 2  # that a line names


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Something that wants to run, or runs: its age, its name for people (`PC2 of s-t01000-7`), and what it takes."""

    number: int
    label: str
    needs: Amounts = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whether a request starts; if not, why, of which resource, and whether that will never change on this machine."""

    request: Request
    starts: bool
    why: str = ""
    lacks: str = ""
    never: bool = False


class Round:
    """One look at a queue, from its oldest request on; what starts is granted for the ones that follow."""

    def __init__(self, capacity: Amounts, granted: Iterable[Request]) -> None:
        self._capacity = capacity
        self._granted = list(granted)
        self._blocked: list[Request] = []

    def decide(self, request: Request) -> Decision:
        """Decide about the next request of the queue."""
        if (text := never_fits(self._capacity, request.needs)) is not None:
            return Decision(request=request, starts=False, why=text, never=True)
        if lacking := self._lacking(request):
            self._blocked.append(request)
            return Decision(request=request, starts=False, why=self._missing(request, lacking), lacks=lacking[0])
        for older in self._blocked:
            if (name := self._in_the_way(request, older)) is not None:
                self._blocked.append(request)
                why = f"{name} ({older.label} is next, and needs {amount(name, older.needs[name])})"
                return Decision(request=request, starts=False, why=why, lacks=name)
        self._granted.append(request)
        return Decision(request=request, starts=True)

    def _lacking(self, request: Request) -> list[str]:
        return [
            name
            for name, needed in request.needs.items()
            if needed > 0 and needed > self._capacity.get(name, 0) - _sum(self._granted, name)
        ]

    def _in_the_way(self, request: Request, older: Request) -> str | None:
        """Return the resource of which a blocked request would lack something because of this one."""
        younger = [one for one in self._granted if one.number > older.number]
        for name, needed in request.needs.items():
            wanted = older.needs.get(name, 0)
            if needed > 0 and wanted > 0 and wanted + _sum(younger, name) + needed > self._capacity.get(name, 0):
                return name
        return None

    def _missing(self, request: Request, lacking: Sequence[str]) -> str:
        name = lacking[0]
        free = max(0, self._capacity.get(name, 0) - _sum(self._granted, name))
        holders = sorted((one for one in self._granted if one.needs.get(name)), key=lambda one: -one.needs[name])
        held = [f"{one.label} holds {amount(name, one.needs[name])}" for one in holders[:_MOST_HOLDERS]]
        if len(holders) > _MOST_HOLDERS:
            held.append(f"{len(holders) - _MOST_HOLDERS} more the rest")
        return f"{name} (needs {amount(name, request.needs[name])}, {amount(name, free)} free; {', '.join(held)})"


def admit(capacity: Amounts, granted: Sequence[Request], queue: Sequence[Request]) -> list[Decision]:
    """Decide who of a queue starts now, oldest first; the decisions come in that order."""
    look = Round(capacity, granted)
    return [look.decide(request) for request in sorted(queue, key=lambda one: one.number)]


def never_fits(capacity: Amounts, needs: Amounts) -> str | None:
    """Return what an empty machine lacks for this, `None` if it lacks nothing."""
    for name, needed in needs.items():
        if needed > capacity.get(name, 0):
            return f"needs {amount(name, needed)} of {name}, this machine has {amount(name, capacity.get(name, 0))}"
    return None


def clamped(capacity: Amounts, needs: Amounts) -> dict[str, int]:
    """Return needs that an empty machine has: of what there is too little, all."""
    return {name: min(needed, capacity.get(name, 0)) for name, needed in needs.items()}


def _sum(requests: Iterable[Request], name: str) -> int:
    return sum(one.needs.get(name, 0) for one in requests)


def amount(name: str, number: int) -> str:
    """Write so much of a resource for people."""
    return units.human_size(number) if name in IN_BYTES else str(number)
