"""The way onto the chain on a virtual clock: seeds hold, and planted bugs are found."""

import pytest

from damocles.testing.sealing_chain import __main__ as simulation


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_everything_holds_in_every_seed():
    """Every sector is proven, by messages that are sent once, recorded before, and believed only when they are deep enough."""
    broken = {seed: lines for seed in range(5) if (lines := simulation.violations(seed, simulation.PLANTS["nothing"]))}
    assert broken == {}


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("plant", [plant for plant in simulation.PLANTS if plant != "nothing"])
def test_a_planted_bug_is_found(plant):
    """A nonce that is used again, a push before the record, a receipt from an abandoned tipset: each is found in 30 seeds."""
    for seed in range(30):
        if simulation.violations(seed, simulation.PLANTS[plant]):
            return
    pytest.fail(f"{plant} went unnoticed")


@pytest.mark.parametrize("seed", [46])
def test_seeds_that_found_something_hold(seed):
    """A message of somebody else's was lost, and left a gap before ours, which was made dearer for ever and never executed."""
    assert simulation.violations(seed, simulation.PLANTS["nothing"]) == []
