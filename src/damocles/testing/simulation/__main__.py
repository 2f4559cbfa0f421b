"""Run seeds: `python -m damocles.testing.simulation --seeds 200`; exit code 1 if an invariant broke.

`--seed N` runs one and prints its story. Disks are away and workers drained for a while in each. `--plant lazy-disk` forgets to sync every
third record, `--plant lazy-copies` to sync the names of copies, `--plant stale-ok` lets the manager take calls under old
attempts, `--plant forgetful` lets it drop window PoSts that a fit worker has not tried, `--plant any-store` accepts anything at
a store's path, `--plant one-name` lets it take workers that share a name for one, `--plant deaf` keeps no
wish for a pause in a journal: all have to be found.
"""

import sys

from damocles.testing import seeds
from damocles.testing.simulation import world
from damocles.testing.simulation.options import Options

PLANTS = {
    "nothing": Options(mounts=2, drains=2),
    "lazy-disk": Options(lazy_disk=True),
    "lazy-copies": Options(lazy_copies=True),
    "stale-ok": Options(stale_ok=True),
    "forgetful": Options(forgetful=True),
    "deaf": Options(faults=60, deaf=True),
    "any-store": Options(mounts=2, any_store=True),
    "one-name": Options(one_name=True),
}


def violations(seed: int, options: Options, *, tell: bool = False) -> list[str]:
    """Run a seed and return what broke, as `seeds.violations` does."""
    return seeds.violations(world.run_seed, options, seed, tell=tell)


if __name__ == "__main__":
    sys.exit(seeds.main("simulation", __doc__, world.run_seed, PLANTS))
