"""Forecasts against days of the scheduler itself."""

import random

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from damocles.stages.admission import forecast
from damocles.stages.supervision import limits
from damocles.testing.simulation import virtual

GIB = 1 << 30
HOUR = 3600.0
DAYS = 20
SOME_HOURS = st.floats(0.1, 3.0)


def fleet(seed: int) -> forecast.Plant:
    """Return a machine that seals 32GiB, with times, memory, threads and limits as they come."""
    dice = random.Random(seed)
    hours = {
        "tree_d": (0.1, 0.3),
        "pc1": (2.5, 5),
        "pc2": (0.2, 1),
        "": (1.2, 1.6),
        "c1": (0.02, 0.03),
        "c2": (0.2, 0.8),
    }
    memory = {"tree_d": 4, "pc1": dice.choice([56, 64]), "pc2": 15, "c1": 1, "c2": 30}
    steps = [
        forecast.Step(
            stage=stage,
            seconds=dice.uniform(*bounds) * HOUR,
            needs={"memory": memory[stage] * GIB} if stage else {},
        )
        for stage, bounds in hours.items()
    ]
    return forecast.Plant(
        lines=[forecast.Line(threads=dice.randint(2, 14), steps=steps)],
        capacity={"memory": dice.choice([96, 128, 200, 256, 384, 512, 1024]) * GIB},
        slots={"pc2": dice.randint(1, 2), "c2": dice.randint(1, 2)},
    )


def lived(plant: forecast.Plant, seed: int) -> float:
    """Return sectors a day of threads that live through days at the worker's own desk; times vary by a tenth, by chance."""
    dice = random.Random(seed)
    (line,) = plant.lines
    warm = 3 * sum(step.seconds for step in line.steps)
    done = 0

    async def thread(number: int, desk: limits.Desk) -> None:
        nonlocal done
        place = limits.Place(name=str(number), state="open")
        while True:
            for step in line.steps:
                claim = None
                if step.stage:
                    claim = await desk.claim(step.stage, [place], lambda _: None, needs=step.needs)
                await anyio.sleep(step.seconds * dice.uniform(0.9, 1.1))
                if claim is not None:
                    claim.release()
            done += anyio.current_time() > warm

    async def days() -> None:
        desk = limits.Desk(concurrent=plant.slots, staggered={}, locks={}, capacity=plant.capacity)
        async with anyio.create_task_group() as tasks:
            for number in range(line.threads):
                tasks.start_soon(thread, number, desk)
            await anyio.sleep(warm + DAYS * forecast.DAY_SECONDS)
            tasks.cancel_scope.cancel()

    virtual.run(days)
    return done / DAYS


@pytest.mark.parametrize("seed", range(10))
def test_a_forecast_is_within_5_percent_of_days_that_are_lived(seed):
    """Ten random fleets, whatever holds them up."""
    plant = fleet(seed)
    assert lived(plant, seed) == pytest.approx(sum(forecast.of(plant).per_day), rel=0.05)


def test_the_fleets_differ_in_what_holds_them_up():
    """Or the test above would show little."""
    assert {"threads", "memory"} < {forecast.of(fleet(seed)).bottleneck for seed in range(10)}


def plant(threads: int, *, slots: int = 9, memory: int = 99) -> forecast.Plant:
    """Return threads that do an hour of PC1 and half an hour of C2 with each sector."""
    steps = [
        forecast.Step(stage="pc1", seconds=HOUR, needs={"memory": 4}),
        forecast.Step(stage="c2", seconds=HOUR / 2, needs={"memory": 3}),
    ]
    return forecast.Plant(
        lines=[forecast.Line(threads=threads, steps=steps)], capacity={"memory": memory}, slots={"c2": slots}
    )


@pytest.mark.parametrize(
    ("made", "per_day", "bottleneck", "best"),
    [
        (plant(2), 32, "threads", "a thread"),
        (plant(9, slots=1), 48, "slots of c2", "a slot of c2"),
        (plant(9, memory=4), 16, "memory", "4B of memory"),
    ],
)
def test_what_there_would_have_to_be_more_of(made, per_day, bottleneck, best):
    """The bottleneck is what threads wait for, and one more of it brings the most."""
    found = forecast.of(made)
    assert (per_day,) == pytest.approx(found.per_day, rel=0.03)
    assert bottleneck == found.bottleneck
    gains = forecast.gains(made)
    assert best == gains[0][0]
    assert gains[0][1] > 0.9


def test_two_lines_share_a_machine():
    """Threads with other work have a forecast of their own, and each takes from the other."""
    alone = forecast.of(plant(4, slots=1))
    both = forecast.Plant(
        lines=[*plant(4).lines, forecast.Line(threads=4, steps=[forecast.Step(stage="c2", seconds=HOUR)])],
        capacity={"memory": 99},
        slots={"c2": 1},
    )
    assert forecast.of(both).per_day[0] < alone.per_day[0] / 2
    assert forecast.of(both).per_day[1] > 0


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 6), st.integers(1, 3), st.lists(st.tuples(SOME_HOURS, st.integers(1, 10)), min_size=1, max_size=4)
)
def test_nobody_forecasts_more_than_there_can_be(threads, slots, stages):
    """Threads, a limit and memory each bound what can be done, however it is arranged."""
    steps = [
        forecast.Step(stage=f"s{number}", seconds=hours * HOUR, needs={"memory": memory})
        for number, (hours, memory) in enumerate(stages)
    ]
    made = forecast.Plant(
        lines=[forecast.Line(threads=threads, steps=steps)], capacity={"memory": 12}, slots={"s0": slots}
    )
    day = forecast.DAY_SECONDS
    bounds = (
        threads * day / sum(step.seconds for step in steps),
        slots * day / steps[0].seconds,
        12 * day / sum(step.seconds * step.needs["memory"] for step in steps),
    )
    assert sum(forecast.of(made).per_day) <= min(bounds) * 1.05


@pytest.mark.parametrize(
    "lines",
    [
        [forecast.Line(threads=0, steps=plant(1).lines[0].steps)],
        [forecast.Line(threads=1, steps=[])],
        [forecast.Line(threads=1, steps=[forecast.Step(stage="pc1", seconds=1, needs={"memory": 2})])],
    ],
)
def test_what_never_finishes_is_refused(lines):
    """No threads, no times, or a stage that never fits."""
    with pytest.raises(ValueError, match=r"ever finished|needs"):
        forecast.of(forecast.Plant(lines=lines, capacity={"memory": 1}))
