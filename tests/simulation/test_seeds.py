"""The whole system on a virtual clock: seeds hold, and planted bugs are found."""

import pytest

from damocles.testing.simulation import __main__ as simulation
from damocles.testing.simulation import world
from damocles.testing.simulation.options import Options

SEEDS = 200


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("first", range(0, SEEDS, 50))
def test_every_invariant_holds_in_every_seed(first):
    """One owner per sector, no state skipped, no file taken early, results delivered once, every sector ends."""
    broken = {
        seed: lines
        for seed in range(first, first + 50)
        if (lines := simulation.violations(seed, simulation.PLANTS["nothing"]))
    }
    assert broken == {}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("plant", "symptom"),
    [
        ("lazy-disk", "went back"),
        ("lazy-copies", "its replica is not in the persist store"),
        ("stale-ok", "was taken under attempt"),
        ("forgetful", "had not tried it"),
        ("deaf", "a restart has forgotten it"),
        ("any-store", "not every sector ended"),
        ("any-store", "its replica is not in the persist store"),
        ("one-name", "the machines share a name, and nobody has noticed"),
    ],
)
def test_a_planted_bug_is_found(plant, symptom):
    """Forgotten syncs and wishes, stale calls, early ends, bare mount points, shared names: each is found in 60 seeds."""
    for seed in range(60):
        lines = simulation.violations(seed, simulation.PLANTS[plant])
        if any(symptom in line for line in lines):
            return
    pytest.fail(f"{plant} went unnoticed")


def test_a_seed_that_crashes_is_told_as_one_that_breaks(monkeypatch):
    """Whatever ends a world early is among the seed's lines, and the seeds after it still run."""

    def crash(*_):
        msg = "a defect"
        raise ExceptionGroup(msg, [KeyError("here"), ExceptionGroup(msg, [ValueError("there")])])

    monkeypatch.setattr(world, "run_seed", crash)
    assert simulation.violations(1, Options()) == ["crashed: KeyError: 'here'", "crashed: ValueError: there"]


@pytest.mark.parametrize("seed", [991, 1034, 8781])
def test_seeds_that_found_something_hold(seed):
    """Sectors that were resumed at an early state after their pre-commit: with another ticket, or by a restarted worker."""
    assert (
        simulation.violations(
            seed, Options(others=0, sectors=4, seal_interval_seconds=60, trouble_seconds=900, faults=12)
        )
        == []
    )


@pytest.mark.parametrize("seed", [91, 2393])
def test_seeds_that_found_something_hold_with_all_plans(seed):
    """A copy of a store that stayed behind went on at an upgrade; a thread told under another thread's attempt."""
    assert simulation.violations(seed, Options()) == []
