"""Run seeds: `python -m damocles.testing.simulation --seeds 200`; exit code 1 if an invariant broke.

`--seed N` runs one and prints its story. Disks are away and workers drained for a while in each. `--plant lazy-disk` forgets to sync every
third record, `--plant lazy-copies` to sync the names of copies, `--plant stale-ok` lets the manager take calls under old
attempts, `--plant forgetful` lets it drop window PoSts that a fit worker has not tried, `--plant any-store` accepts anything at
a store's path, `--plant one-name` lets it take workers that share a name for one, `--plant deaf` keeps no
wish for a pause in a journal: all have to be found.
"""

import argparse
import concurrent.futures
import logging
import os
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

import structlog

from damocles import beside
from damocles.testing.simulation import disks, world
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
    """Run a seed in a fresh folder and return what broke, a crash included; `tell` prints what happened in it."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    memory = Path("/dev/shm")
    base = Path(tempfile.mkdtemp(prefix="simulation", dir=memory if memory.is_dir() else None))
    story: list[str] = []
    try:
        world.run_seed(seed, base, options, story)
    except BaseException as error:
        # Whatever is not a violation is a defect too: it has to be told with its seed, and the others go on.
        leaves = list(beside.leaves(error))
        if any(isinstance(leaf, KeyboardInterrupt) for leaf in leaves):
            raise
        broken = [str(leaf) for leaf in leaves if isinstance(leaf, disks.Violation)]
        if broken:
            return broken
        traceback.print_exception(error)
        return [f"crashed: {type(leaf).__name__}: {leaf}" for leaf in leaves]
    finally:
        if tell:
            print(*story, sep="\n")  # noqa: T201
        shutil.rmtree(base)
        structlog.configure(**before)
    return []


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many (default 200)")
    parser.add_argument("--first", type=int, default=0, help="the first one (default 0)")
    parser.add_argument("--seed", type=int, help="this one only, with its story")
    parser.add_argument("--plant", choices=PLANTS, default="nothing", help="a bug to plant")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (default: one per core)")
    asked = parser.parse_args()
    options = PLANTS[asked.plant]
    if asked.seed is not None:
        broken = violations(asked.seed, options, tell=True)
        print(*(broken or ["every invariant held"]), sep="\n")  # noqa: T201
        return 1 if broken else 0
    began, failed = time.monotonic(), 0
    seeds = range(asked.first, asked.first + asked.seeds)
    with concurrent.futures.ProcessPoolExecutor(asked.jobs) as pool:
        for seed, broken in zip(seeds, pool.map(violations, seeds, [options] * len(seeds), chunksize=4), strict=True):
            for line in broken:
                print(f"seed {seed}: {line}", flush=True)  # noqa: T201
            failed += bool(broken)
            if sys.stderr.isatty():
                print(f"\r{seed - asked.first + 1} of {asked.seeds}", end="", file=sys.stderr)  # noqa: T201
    seconds = time.monotonic() - began
    print(f"{asked.seeds} seeds, {failed} with violations, {seconds:.0f} s")  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
