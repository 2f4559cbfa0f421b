"""Run seeds: `python -m damocles.testing.sealing_chain --seeds 200`; exit code 1 if something did not hold.

`--seed N` runs one and tells its story. `--plant nonce-of-chain` takes a nonce from the chain alone, `--plant push-first` pushes a
message before it is recorded, `--plant hasty` believes a receipt at once, also one of a tipset that is abandoned later: all have to be
found.
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
from damocles.testing.sealing_chain import world
from damocles.testing.simulation.disks import Violation

PLANTS = {
    "nothing": world.Options(),
    "nonce-of-chain": world.Options(nonce_of_chain=True),
    "push-first": world.Options(push_first=True),
    "hasty": world.Options(hasty=True),
}


def violations(seed: int, options: world.Options, *, tell: bool = False) -> list[str]:
    """Run a seed in a fresh folder and return what broke, a crash included; `tell` prints what happened in it."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    memory = Path("/dev/shm")
    base = Path(tempfile.mkdtemp(prefix="sealing-chain", dir=memory if memory.is_dir() else None))
    story: list[str] = []
    try:
        world.run_seed(seed, base, options, story)
    except BaseException as error:
        leaves = list(beside.leaves(error))
        if any(isinstance(leaf, KeyboardInterrupt) for leaf in leaves):
            raise
        broken = [str(leaf) for leaf in leaves if isinstance(leaf, Violation)]
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
    parser = argparse.ArgumentParser(prog="sealing_chain", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many (default 200)")
    parser.add_argument("--first", type=int, default=0, help="the first one (default 0)")
    parser.add_argument("--seed", type=int, help="this one only, with its story")
    parser.add_argument("--plant", choices=PLANTS, default="nothing", help="a bug to plant")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (default: one per core)")
    asked = parser.parse_args()
    options = PLANTS[asked.plant]
    if asked.seed is not None:
        broken = violations(asked.seed, options, tell=True)
        print(*(broken or ["everything held"]), sep="\n")  # noqa: T201
        return 1 if broken else 0
    began, failed = time.monotonic(), 0
    seeds = range(asked.first, asked.first + asked.seeds)
    with concurrent.futures.ProcessPoolExecutor(asked.jobs) as pool:
        for seed, broken in zip(seeds, pool.map(violations, seeds, [options] * len(seeds), chunksize=4), strict=True):
            for line in broken:
                print(f"seed {seed}: {line}", flush=True)  # noqa: T201
            failed += bool(broken)
    print(f"{asked.seeds} seeds, {failed} with violations, {time.monotonic() - began:.0f} s")  # noqa: T201
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
