"""Run seeds: `python -m damocles.testing.sealing_chain --seeds 200`; exit code 1 if something did not hold.

`--seed N` runs one and prints its story. `--plant nonce-of-chain` takes a nonce from the chain alone, `--plant push-first` pushes a
message before it is recorded, `--plant hasty` believes a receipt at once, also one of a tipset that is abandoned later: all have to be
found.
"""

import sys

from damocles.testing import seeds
from damocles.testing.sealing_chain import world

PLANTS = {
    "nothing": world.Options(),
    "nonce-of-chain": world.Options(nonce_of_chain=True),
    "push-first": world.Options(push_first=True),
    "hasty": world.Options(hasty=True),
}


def violations(seed: int, options: world.Options, *, tell: bool = False) -> list[str]:
    """Run a seed and return what broke, as `seeds.violations` does."""
    return seeds.violations(world.run_seed, options, seed, tell=tell)


if __name__ == "__main__":
    sys.exit(seeds.main("sealing_chain", __doc__, world.run_seed, PLANTS))
