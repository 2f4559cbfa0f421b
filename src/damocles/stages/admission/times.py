"""How long the steps of a plan have taken, by the histories of journals."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from damocles.sealing import planner
from damocles.sealing.states import State
from damocles.wire import codec, seal, sectors

_MOST_SECTORS = 20  # the latest, of each plan and size
WAIT = "wait"

# The stage that a handler mostly is: what it costs, and in whose limit it is. The others wait, mostly for the chain.
_STAGES: Mapping[str, str] = {
    **dict.fromkeys(("add_pieces", "add_deal_pieces", "add_original_pieces"), "add_pieces"),
    "tree_d": "tree_d",
    "pc1": "pc1",
    **dict.fromkeys(("pc2", "check_sealed"), "pc2"),
    "synth_proof": "synth_proof",
    "c1": "c1",
    "c2": "c2",
    **dict.fromkeys(("fetch_and_encode", "encode_rebuilt"), "snap_encode"),
    "check_snapped": "snap_vanilla",
    "snap_prove": "snap_prove",
    **dict.fromkeys(("persist", "persist_update", "persist_rebuilt"), "transfer"),
    "unseal": "unseal",
    "upload_piece": "upload",
}


class Entry(Protocol):
    """A line of a journal's history."""

    @property
    def at(self) -> float: ...  # noqa: D102 - see `stores.journal.Entry`
    @property
    def plan(self) -> str: ...  # noqa: D102
    @property
    def sector(self) -> str | None: ...  # noqa: D102
    @property
    def prev(self) -> str: ...  # noqa: D102
    @property
    def event(self) -> str: ...  # noqa: D102
    @property
    def seconds(self) -> float | None: ...  # noqa: D102
    @property
    def detail(self) -> str | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """How long a step takes; `stage` is empty for a wait. `samples` is of how many sectors that is the median."""

    state: str
    stage: str
    seconds: float
    samples: int = 0


@dataclass(slots=True)
class _Story:
    size: sectors.SectorSize | None = None
    entered: float | None = None  # the state that it is in
    disturbed: bool = False  # since: by an error, a pause, a resume
    finished: bool = False
    taken: dict[str, float] = field(default_factory=dict)


def stage_of(does: str) -> str:
    """Return the stage that a handler mostly is, empty if it waits."""
    return _STAGES.get(does, "")


def stages_of(plan: str) -> list[str]:
    """Return the stages of a plan, in its order."""
    return list(dict.fromkeys(stage for step in planner.PLANS[plan].steps.values() if (stage := stage_of(step.does))))


def measured(entries: Iterable[Entry], plan: str) -> dict[sectors.SectorSize, list[Taken]]:
    """Return how long each step has taken in sectors that were finished, by their size, in the plan's order.

    Of a stage that is the time that it ran, without what it waited for a slot; of the rest it is the time that a sector was in the
    state, unless somebody or something had stopped it there.
    """
    stories: dict[str, _Story] = {}
    steps = planner.PLANS[plan].steps
    for entry in entries:
        if entry.plan == plan and entry.sector is not None:
            _tell(stories.setdefault(entry.sector, _Story()), entry, plan)
    found: dict[sectors.SectorSize, list[_Story]] = {}
    for story in stories.values():
        if story.finished and story.size is not None:
            found.setdefault(story.size, []).append(story)
    return {
        size: [
            Taken(state=state, stage=stage_of(step.does), seconds=statistics.median(times), samples=len(times))
            for state, step in steps.items()
            if (times := [one.taken[state] for one in group[-_MOST_SECTORS:] if state in one.taken])
        ]
        for size, group in found.items()
    }


def _tell(story: _Story, entry: Entry, plan: str) -> None:
    step = {str(state): step for state, step in planner.PLANS[plan].steps.items()}.get(entry.prev)
    leads = step is not None and entry.event in {event.__name__ for event in step.to}
    if step is None or not leads:
        story.disturbed = True
        return
    if entry.detail is not None and story.size is None:
        story.size = _size(codec.decode(entry.detail, dict[str, Any]))
    if stage_of(step.does):
        if entry.seconds is not None:
            story.taken[entry.prev] = entry.seconds
    elif story.entered is not None and not story.disturbed:
        story.taken[entry.prev] = max(0.0, entry.at - story.entered)  # clocks are set back
    story.entered, story.disturbed = entry.at, False
    story.finished = story.finished or State.Finished in step.to.values()


def _size(detail: Mapping[str, Any]) -> sectors.SectorSize | None:
    try:
        return sectors.SealProof(codec.from_builtins(detail["allocated"], seal.AllocatedSector).proof).size
    except (KeyError, ValueError):
        return None


def stated(plan: str, known: Sequence[Taken], said: Mapping[str, float]) -> list[Taken]:
    """Return the steps with given times of stages, or of all waits together (`wait`).

    Raises:
        ValueError: The plan has no such stage.
    """
    steps = [(state, stage_of(step.does)) for state, step in planner.PLANS[plan].steps.items()]
    stages = stages_of(plan)
    for name in said:
        if name not in stages and name != WAIT:
            raise ValueError(f"the plan {plan} has no stage {name}: use {', '.join(stages)} or {WAIT}")
    by_state = {one.state: one for one in known}
    made = []
    for state, stage in steps:
        if stage in said:
            made.append(Taken(state=state, stage=stage, seconds=said[stage]))
        elif state in by_state and (stage or WAIT not in said):
            made.append(by_state[state])
    if WAIT in said:
        made.append(Taken(state=WAIT, stage="", seconds=said[WAIT]))
    return made
