"""Forecasts of what workers tell, whoever they are."""

import msgspec
import pytest

from damocles.cli.terminal import exits
from damocles.cli.threads import planning
from damocles.wire import capacity, codec

GIB = 1 << 30


def report(threads: int = 2, **fields: object) -> capacity.Report:
    """Return what a worker tells that has sealed."""
    steps = [
        capacity.Step(state="TicketAssigned", stage="pc1", seconds=3600.0, samples=3, needs={"memory": 56 * GIB}),
        capacity.Step(state="PersistanceSubmitted", seconds=3600.0, samples=3),
    ]
    line = capacity.Line(
        plan="sealer", size="32GiB", threads=threads, steps=steps, needs={"pc1": {"memory": 56 * GIB}, "c2": {}}
    )
    made = {"worker": "w1", "capacity": {"memory": 64 * GIB}, "slots": {"c2": 1}, "lines": [line], **fields}
    return capacity.Report(**made)  # type: ignore[arg-type]


def test_a_worker_is_forecast_from_its_own_times():
    """An hour of PC1 for one at a time, and an hour of waiting beside the other's."""
    told = planning.as_json(planning.plan(report()))
    assert 24 == pytest.approx(told["sectors_per_day"], rel=0.1)
    assert "w1" == told["worker"]
    assert [3, 3] == [step["samples"] for step in told["lines"][0]["steps"]]
    assert {"what", "sectors_per_day"} == set(told["one_more"][0])


def test_stated_times_keep_what_a_stage_needs():
    """What is stated has no samples, and the stage its memory; `wait` stands for all waits."""
    said = planning.with_times(report(), planning.stated(["pc1=2h", "wait=30min", "c2=1m"]))
    (line,) = said.lines
    assert [("pc1", 7200.0, 0), ("c2", 60.0, 0), ("", 1800.0, 0)] == [
        (step.stage, step.seconds, step.samples) for step in line.steps
    ]
    assert {"memory": 56 * GIB} == line.steps[0].needs
    assert report() == planning.with_times(report(), {})


def test_who_cannot_be_forecast_says_why():
    """No times, no threads that seal, a stage that does not fit, more threads than a worker has."""
    bare = report(lines=[capacity.Line(plan="sealer", size="32GiB", threads=2)])
    assert "no sector of sealer 32GiB is finished yet" in planning.plan(bare).error
    assert "no thread seals sectors" == planning.plan(report(lines=[])).error
    small = planning.as_json(planning.plan(report(capacity={"memory": GIB})))
    assert ("pc1 needs 56GiB of memory, this machine has 1GiB", 0.0) == (small["error"], small["sectors_per_day"])
    many = report(lines=[*report(600).lines, *report(600).lines])
    assert "tells of 1200 threads: 1000 are forecast at most" == planning.plan(many).error
    with pytest.raises(exits.Failed, match="no thread seals"):
        planning.show(planning.plan(report(lines=[])), full=False)


@pytest.mark.parametrize(
    "odd",
    [
        {"threads": 10**9},
        {"threads": -1},
        {"steps": [{"state": "x", "seconds": -1.0}]},
        {"steps": [{"state": "x", "seconds": 1.0}] * 65},
        {"steps": [{"state": "x", "seconds": 1.0, "needs": {"memory": -5}}]},
    ],
)
def test_what_no_worker_of_ours_would_tell_is_refused(odd):
    """Where it is read: nobody who plans is kept busy by it."""
    line = {"plan": "sealer", "size": "32GiB", "threads": 1, **odd}
    with pytest.raises(msgspec.ValidationError):
        codec.decode(msgspec.json.encode({"lines": [line]}), capacity.Report)
