"""Windows on a virtual clock: seeds hold, and planted bugs are found."""

import pytest

from damocles.testing.proving_chain import __main__ as simulation


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [2, 7, 10, 12, 20, 25, 32, 48])
def test_everything_holds_in_every_seed(seed):
    """No window is missed, each partition is proved once and rightly, only damaged sectors are skipped; in 10 and 25 by several managers.

    In 48 a prover that hung kept its job over restarts of the manager.
    """
    assert simulation.violations(seed, simulation.PLANTS["nothing"]) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("plant", "seed"),
    [
        ("any-challenge", 12),
        ("eager", 25),
        ("loyal", 7),
        ("no-retry", 32),
        ("one-opinion", 2),
        ("patient", 20),
        ("unwithdrawn", 32),
    ],
)
def test_a_planted_bug_is_found(plant, seed):
    """Each bug breaks what has to hold, in a seed that holds without it."""
    assert simulation.violations(seed, simulation.PLANTS[plant])


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("plant", ["no-token", "stale-lease"])
def test_a_manager_that_writes_under_a_lease_of_another_one_is_found(plant):
    """A frozen manager wakes up and writes: that is found in a few seeds of several managers."""
    for seed in (29, 11, 10, 9, 31, 35, 41, 47):
        if any("writes under the lease of" in line for line in simulation.violations(seed, simulation.PLANTS[plant])):
            return
    pytest.fail(f"{plant} went unnoticed")
