"""Run seeds: `python -m damocles.testing.proving_chain --seeds 200`; exit code 1 if something did not hold.

`--seed N` runs one and prints its story. `--plant any-challenge` sends proofs for challenges that were abandoned, `--plant eager` proves a
challenge at once, `--plant loyal` waits for a slow prover, `--plant no-retry` gives up when all provers have failed,
`--plant no-token` writes under a lease without a look at its token, `--plant one-opinion` skips what one prover calls faulty, `--plant patient` never replaces a
prover that hangs, `--plant stale-lease` accepts old tokens, `--plant trusting` verifies no proof, `--plant unwithdrawn` lets messages go on that must not be executed.
"""

import sys

from damocles.testing import seeds
from damocles.testing.proving_chain import plants, world
from damocles.testing.proving_chain.options import Options

PLANTS = {"nothing": Options()} | {plant: Options(plant=plant) for plant in plants.PLANTS}


def violations(seed: int, options: Options, *, tell: bool = False) -> list[str]:
    """Run a seed and return what broke, as `seeds.violations` does."""
    return seeds.violations(world.run_seed, options, seed, tell=tell)


if __name__ == "__main__":
    sys.exit(seeds.main("proving_chain", __doc__, world.run_seed, PLANTS))
