"""Times of stages, read from histories."""

import json
from dataclasses import dataclass

import pytest

from damocles.sealing import planner
from damocles.sealing.states import State
from damocles.stages.admission import costs, times
from damocles.wire import sectors

PLAN = planner.PLANS["sealer"]
SIZE = sectors.SectorSize.GIB32


@dataclass
class Line:
    """A line of a history."""

    at: float
    sector: str | None
    prev: str
    event: str
    seconds: float | None = None
    detail: str | None = None
    plan: str = "sealer"


def sealed(sector: str, *, pc1: float = 100.0, seed: float = 50.0, proof: int = 8) -> list[Line]:
    """Return the history of a sector that went straight to its end."""
    lines, now, state = [], 1000.0, State.Empty
    while state in PLAN.steps and PLAN.steps[state].to:
        event, following = next(iter(PLAN.steps[state].to.items()))
        now += {State.TicketAssigned: 2 * pc1, State.PersistanceSubmitted: seed}.get(state, 10.0)
        detail = json.dumps({"allocated": {"ID": {"Miner": 1000, "Number": 1}, "ProofType": proof}})
        seconds = pc1 if state is State.TicketAssigned else 7.0
        lines.append(Line(now, sector, str(state), event.__name__, seconds, detail if state is State.Empty else None))
        state = following
    return lines


def by_state(lines: list[Line]) -> dict[str, times.Taken]:
    """Return what was measured for 32GiB."""
    return {one.state: one for one in times.measured(lines, "sealer").get(SIZE, [])}


def test_stages_count_as_they_ran_and_waits_as_they_lasted():
    """What a stage waited for its slot is not its time; what the chain takes is."""
    found = by_state(sealed("s-t01000-1"))
    pc1 = found["TicketAssigned"]
    assert ("pc1", 100.0, 1) == (pc1.stage, pc1.seconds, pc1.samples)
    wait = found["PersistanceSubmitted"]
    assert ("", 50.0) == (wait.stage, wait.seconds)
    assert ("transfer", 7.0) == (found["PCLanded"].stage, found["PCLanded"].seconds)
    assert "Empty" not in found, "nobody knows since when it was"


def test_the_median_of_the_latest_sectors():
    """One that took a night does not count for more than another."""
    lines = [line for number in range(5) for line in sealed(f"s-t01000-{number}", pc1=(1, 2, 3, 4, 900)[number])]
    assert (3, 5) == (by_state(lines)["TicketAssigned"].seconds, by_state(lines)["TicketAssigned"].samples)
    many = [line for number in range(30) for line in sealed(f"s-t01000-{number}", pc1=float(number))]
    assert 20 == by_state(many)["TicketAssigned"].samples
    assert 19.5 == by_state(many)["TicketAssigned"].seconds


def test_what_was_stopped_is_no_wait_of_the_chain():
    """An error or a pause while a sector waited says nothing about the next one."""
    lines = sealed("s-t01000-1")
    place = next(index for index, line in enumerate(lines) if line.prev == "PersistanceSubmitted")
    lines.insert(place, Line(lines[place].at - 1, "s-t01000-1", "PersistanceSubmitted", "Failed", 1.0))
    assert "PersistanceSubmitted" not in by_state(lines)
    assert "TicketAssigned" in by_state(lines)


def test_a_clock_that_was_set_back_is_no_time():
    """A wait never took less than nothing."""
    lines = sealed("s-t01000-1", seed=-500.0)
    assert 0.0 == by_state(lines)["PersistanceSubmitted"].seconds


def test_only_finished_sectors_of_the_plan_count():
    """Neither one under way, nor one of another plan, nor one whose size is not told."""
    lines = sealed("s-t01000-1")
    assert {} == by_state(lines[:-2])
    assert {} == times.measured(lines, "snapup")
    assert {sectors.SectorSize.KIB2} == set(times.measured(sealed("s-t01000-1", proof=5), "sealer"))
    for line in lines:
        line.detail = None
    assert {} == by_state(lines)


def test_every_stage_that_a_plan_has_costs_something():
    """A handler that is renamed would count as a wait."""
    for plan in planner.PLANS:
        assert set(times.stages_of(plan)) <= set(costs.STAGES)
    assert ["add_pieces", "tree_d", "pc1", "pc2", "synth_proof", "transfer", "c1", "c2"] == times.stages_of("sealer")
    assert ["add_pieces", "tree_d", "snap_encode", "snap_prove", "transfer"] == times.stages_of("snapup")


def test_what_is_stated_wins():
    """A stage by its name, all waits together as `wait`; the rest stays as measured."""
    known = list(by_state(sealed("s-t01000-1")).values())
    said = times.stated("sealer", known, {"pc1": 5.0, "wait": 60.0})
    assert 5.0 == next(one.seconds for one in said if one.stage == "pc1")
    assert [60.0] == [one.seconds for one in said if not one.stage]
    assert 7.0 == next(one.seconds for one in said if one.stage == "c2")
    assert [("pc1", 5.0), ("c2", 2.0)] == [
        (one.stage, one.seconds) for one in times.stated("sealer", [], {"c2": 2.0, "pc1": 5.0})
    ]
    with pytest.raises(ValueError, match="the plan snapup has no stage pc1: use add_pieces, "):
        times.stated("snapup", [], {"pc1": 1.0})
