"""Windows on a virtual clock: seeds hold, and planted bugs are found."""

import pytest

from damocles.testing.proving_chain import __main__ as simulation


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [1, 7, 20, 25])
def test_everything_holds_in_every_seed(seed):
    """No window is missed, each partition is proved once and rightly, only damaged sectors are skipped."""
    assert simulation.violations(seed, simulation.PLANTS["nothing"]) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("plant", "seed"), [("eager", 25), ("loyal", 7), ("one-opinion", 20), ("trusting", 22)])
def test_a_planted_bug_is_found(plant, seed):
    """Each bug breaks what has to hold, in a seed that holds without it."""
    assert simulation.violations(seed, simulation.PLANTS[plant])
