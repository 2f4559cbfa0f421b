"""Walks through the plans' tables with arbitrary events."""

import graphlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damocles.sealing import events, failures, planner, validity
from damocles.sealing.sectors import Sector
from damocles.sealing.states import State
from damocles.testing import happenings

EVERYTHING = frozenset(name for plan in planner.PLANS.values() for step in plan.steps.values() for name in step.files)
LIMITS = planner.Limits(max_retries=2)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), plan=st.sampled_from(sorted(planner.PLANS)))
def test_no_walk_leaves_the_graph_and_every_walk_can_end(data, plan):
    """Whatever happens in whatever order, a sector stays in its plan, and with success alone it then ends."""
    table = planner.PLANS[plan]
    known = {*table.steps, State.Aborted}
    sector, todo = planner.step(Sector(plan=plan), events.Restart(), LIMITS, 0.0)
    for now in range(data.draw(st.integers(0, 40))):
        is_held = isinstance(todo[-1], planner.Hold)  # then the files decide where it may go on
        at_hand = data.draw(st.frozensets(st.sampled_from(sorted(EVERYTHING)))) if is_held else EVERYTHING
        event = data.draw(happenings.any_event(table, sector, todo[-1], at_hand))
        before = sector
        sector, todo = planner.step(sector, event, LIMITS, float(now))
        assert sector.state in known
        assert isinstance(todo[-1], planner.Action)
        assert all(isinstance(report, planner.Report) for report in todo[:-1])
        assert [] == validity.flaws_of_step(sector, todo[-1])
        if sector.state is before.state and not isinstance(event, events.Idle | events.Wake):
            # No silent loop: the same state again only by a failure, a wait, a pause, a resume or a restart, and those
            # count; by another attempt; by one destination more; or because there is no way back from the end.
            assert isinstance(
                event,
                events.Failed
                | events.Later
                | events.Pause
                | events.Resume
                | events.Restart
                | events.Discarded
                | events.Uploaded
                | events.Claimed,
            ) or (
                isinstance(event, events.Abort | events.Withdrawn) and before.state in {State.Aborted, State.Finished}
            )
        if isinstance(event, events.Abort | events.Withdrawn):
            ends = {State.Aborted, State.Finished} if isinstance(event, events.Abort) else {State.Aborted}
            assert sector.state in ends
        assert sector.retries <= LIMITS.max_retries
    for _ in range(100):
        if sector.allocated is None and isinstance(todo[-1], planner.Execute | planner.Wait):
            break
        event = happenings.success(table, sector, todo[-1])
        sector, todo = planner.step(sector, event, LIMITS, 1e9)
    assert sector.allocated is None


@given(level=st.sampled_from(failures.Level), plan=st.sampled_from(sorted(planner.PLANS)), data=st.data())
def test_no_failure_loses_the_sector(level, plan, data):
    """Only an abort leads out of the state, and even that keeps the sector's record until its files are moved."""
    table = planner.PLANS[plan]
    sector, todo = planner.step(Sector(plan=plan), events.Restart(), LIMITS, 0.0)
    for _ in range(data.draw(st.integers(1, len(table.steps) - 2))):
        sector, todo = planner.step(sector, happenings.success(table, sector, todo[-1]), LIMITS, 0.0)
    if sector.allocated is None:
        return
    after, _ = planner.step(sector, events.Failed(level.value, "boom"), LIMITS, 0.0)
    assert sector.allocated == after.allocated
    assert (State.Aborted if level is failures.Level.ABORT else sector.state) == after.state


@pytest.mark.parametrize("plan", sorted(planner.PLANS))
def test_no_way_round_is_taken_at_once(plan):
    """Where a plan leads back, it waits before it goes on, or goes back once alone: nothing goes round at full speed."""
    steps = planner.PLANS[plan].steps
    once = (events.RePersist, events.Uploaded)  # until the second refusal; until the last destination has the piece
    ahead = {
        state: {target for event, target in step.to.items() if not event.then_wait_seconds and event not in once}
        for state, step in steps.items()
    }
    del ahead[State.Finished]
    graphlib.TopologicalSorter(ahead).prepare()
