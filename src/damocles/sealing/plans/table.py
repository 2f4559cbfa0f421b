"""What a plan is: a table of steps, one per state.

From the table come the transitions, the check of `resume --state`, what listings show and the diagrams in the docs.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field

from damocles.sealing import events
from damocles.sealing.sectors import Sector
from damocles.sealing.states import State
from damocles.text import spelling
from damocles.wire.sectors import SealFamily


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What happens in a state and where it leads.

    Attributes:
        does: Name of the handler.
        to: The next state for each event that the handler may return.
        stage: Label of the work, as listings show it.
        needs: Fields of the sector that the handler reads.
        files: Parts of the store that the handler reads (names of `stores.layout.Layout`).
        until: Once the sector has been in this state, going back here is senseless: the chain holds its outcome.
        spoiled_by: From this state on the files that the handler reads are others; going back has to begin further up.
    """

    does: str
    to: Mapping[type[events.PlanEvent], State] = field(default_factory=dict)
    stage: str = "-"
    needs: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    until: State | None = None
    spoiled_by: State | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A named table of steps, and the other facts about the plan that the worker needs.

    Attributes:
        name: Its name in configurations, in journals and on the wire.
        steps: By state, in the order in which a sector passes them.
        proves: What its proofs need parameters for, as `parameters.catalog.Kind` names it.
        family: The family of seal proofs that its sectors have, `None` for any.
        writes: The stages whose files add up to the most space that a sector takes in its store.
        has_store: Whether it works in a sealing store.
        rests: Whether its threads rest between two sectors, for `seal_interval`.
        may_seal_deals: Whether its sectors take deals where these are enabled, and have none otherwise.
        is_original: Whether the original has the plan too.
    """

    name: str
    steps: Mapping[State, Step]
    _: KW_ONLY
    proves: tuple[str, ...] = ()
    family: SealFamily | None = None
    writes: tuple[str, ...] = ()
    has_store: bool = True
    rests: bool = True
    may_seal_deals: bool = False
    is_original: bool = True

    @property
    def persists(self) -> bool:
        """Whether its sectors end in a persist store."""
        return any(events.Persist in step.to for step in self.steps.values())

    def edges(self) -> Iterator[tuple[State, str, State]]:
        """Yield every transition: state, event's name, next state."""
        for state, step in self.steps.items():
            for event, target in step.to.items():
                yield state, event.__name__, target

    def next_states(self, state: str) -> Sequence[State]:
        """Return where a sector may go from a state, given by its name; empty for one that the plan does not have."""
        return next((tuple(step.to.values()) for known, step in self.steps.items() if known == state), ())

    def stage_of(self, state: State) -> str:
        """Return the label of the work done in a state."""
        return self.steps[state].stage if state in self.steps else "-"

    def refusal(self, sector: Sector, target: str, files_at_hand: frozenset[str]) -> str | None:
        """Return why `sector` cannot be resumed from `target`, or `None` if it can.

        `files_at_hand` names the parts of the store that exist. An abort (`Aborted`) is possible while there is a
        sector that is not finished.
        """
        if target not in self.steps and target != State.Aborted:
            close = spelling.did_you_mean(target, [*self.steps, State.Aborted])
            return f"{target} is not a state of plan {self.name}{close}"
        state = State(target)
        if sector.job_id is None:
            return None if state is sector.state else "the thread holds no sector"
        if state is State.Aborted and sector.state is State.Finished:
            return f"{sector.job_id} is finished, which cannot be undone: resume without a state to end it"
        if state in (State.Aborted, sector.state):
            return None
        if state is State.Finished:
            return "a sector becomes Finished by its proof alone"
        step = self.steps[state]
        if state is State.Empty:
            return f"it would allocate another sector over {sector.job_id}; abort this one first (Aborted)"
        if state not in sector.path:
            return f"{sector.job_id} has not reached {state} yet"
        if step.until is not None and step.until in sector.visited:
            return f"{sector.job_id} is past {step.until}: the chain holds what follows from {state}"
        if step.spoiled_by is not None and step.spoiled_by in sector.path:
            return f"{sector.job_id} is past {step.spoiled_by}, where the files that {state} reads are replaced"
        missing = [f"its {name}" for name in step.needs if getattr(sector, name) is None]
        missing += [f"the file(s) of {name}" for name in step.files if name not in files_at_hand]
        return f"{sector.job_id} lacks {', '.join(missing)}" if missing else None

    def targets(self, sector: Sector, files_at_hand: frozenset[str]) -> list[State]:
        """Return the states at which `sector` can be taken up again, in the plan's order."""
        candidates = [*self.steps, State.Aborted]
        return [state for state in candidates if self.refusal(sector, state, files_at_hand) is None]
