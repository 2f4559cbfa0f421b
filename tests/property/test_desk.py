"""The desk as a whole: limits, distances, places, locks and the machine together block nobody for good."""

import anyio
from hypothesis import given, settings
from hypothesis import strategies as st

from damocles.stages.supervision import limits
from damocles.testing.simulation import virtual

STAGES = ("pc1", "pc2", "c2")
CAPACITY = {"memory": 10, "cores": 4}

needs = st.fixed_dictionaries({}, optional={"memory": st.integers(0, 10), "cores": st.integers(0, 4)})
locks = st.lists(st.sampled_from(("l", "m")), unique=True, max_size=2)
claims = st.tuples(st.sampled_from(STAGES), needs, locks, st.integers(0, 6), st.integers(1, 5))


@settings(max_examples=150, deadline=None)
@given(
    st.lists(claims, max_size=14),
    st.dictionaries(st.sampled_from(STAGES), st.integers(1, 3)),
    st.dictionaries(st.sampled_from(STAGES), st.sampled_from([2.0, 3.0])),
    st.integers(0, 2),
)
def test_every_task_has_its_turn_and_nothing_is_granted_twice(tasks, concurrent, staggered, places_of_pc2):
    """Whatever is asked for, in whatever order: everybody who fits the empty machine is served."""
    shared = [limits.Place(name=f"pc2[{i}]", capacity=2, state="open") for i in range(places_of_pc2)]
    running: list[tuple[str, dict[str, int], tuple[str, ...]]] = []
    served = []

    async def task(desk, number, asked):
        stage, wanted, held, comes, lasts = asked
        await anyio.sleep(comes)
        own = limits.Place(name=str(number), state="open", locks=tuple(held))
        places = shared if stage == "pc2" and shared else [own]
        claim = await desk.claim(stage, places, lambda _: None, needs=wanted)
        entry = (stage, wanted, claim.place.locks)
        running.append(entry)
        for name, amount in CAPACITY.items():
            assert sum(one[1].get(name, 0) for one in running) <= amount
        for name, limit in concurrent.items():
            assert sum(one[0] == name for one in running) <= limit
        assert all(sum(name in one[2] for one in running) <= 1 for name in ("l", "m"))
        await anyio.sleep(lasts)
        running.remove(entry)
        claim.release()
        served.append(number)

    async def day():
        desk = limits.Desk(
            concurrent=concurrent,
            staggered=staggered,
            locks={"l": 1, "m": 1},
            capacity=CAPACITY,
            now=anyio.current_time,
        )
        async with anyio.create_task_group() as group:
            for number, one in enumerate(tasks):
                group.start_soon(task, desk, number, one)
        assert [] == desk.granted()

    virtual.run(day)
    assert sorted(served) == list(range(len(tasks)))
