"""Run the seeds of a simulated world, and report what broke in which."""

import argparse
import concurrent.futures
import functools
import logging
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import structlog

from damocles import beside
from damocles.testing.simulation.disks import Violation

Options = TypeVar("Options")


def violations(
    run_seed: Callable[[int, Path, Options, list[str]], None], options: Options, seed: int, *, tell: bool = False
) -> list[str]:
    """Run a seed in a fresh folder and return what broke, a crash included; `tell` prints what happened in it."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    memory = Path("/dev/shm")
    base = Path(tempfile.mkdtemp(prefix="seed", dir=memory if memory.is_dir() else None))
    story: list[str] = []
    try:
        run_seed(seed, base, options, story)
    except BaseException as error:
        # Whatever is not a violation is a defect too: it has to be reported with its seed, and the others go on.
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


def main(
    program: str,
    about: str,
    run_seed: Callable[[int, Path, Options, list[str]], None],
    plants: Mapping[str, Options],
) -> int:
    """Run the seeds that the command line asks for, with one of the plants; 1 if anything broke."""
    parser = argparse.ArgumentParser(prog=program, description=about)
    parser.add_argument("--seeds", type=int, default=200, help="how many (default 200)")
    parser.add_argument("--first", type=int, default=0, help="the first one (default 0)")
    parser.add_argument("--seed", type=int, help="this one only, with its story")
    parser.add_argument("--plant", choices=plants, default="nothing", help="a bug to plant")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes (default: one per core)")
    asked = parser.parse_args()
    run = functools.partial(violations, run_seed, plants[asked.plant])
    if asked.seed is not None:
        broken = run(asked.seed, tell=True)
        print(*(broken or ["every invariant held"]), sep="\n")  # noqa: T201
        return 1 if broken else 0
    began, failed = time.monotonic(), 0
    shown = (
        began  # on a terminal each seed shows; a file gets a line a minute, so that a run that is cut short counts, too
    )
    seeds = range(asked.first, asked.first + asked.seeds)
    with concurrent.futures.ProcessPoolExecutor(asked.jobs) as pool:
        for seed, broken in zip(seeds, pool.map(run, seeds, chunksize=4), strict=True):
            for line in broken:
                print(f"seed {seed}: {line}", flush=True)  # noqa: T201
            failed += bool(broken)
            if sys.stderr.isatty():
                print(f"\r{seed - asked.first + 1} of {asked.seeds}", end="", file=sys.stderr)  # noqa: T201
            elif time.monotonic() - shown > 60:
                shown = time.monotonic()
                print(f"seeds {asked.first} to {seed}: {failed} with violations", flush=True)  # noqa: T201
    print(f"{asked.seeds} seeds, {failed} with violations, {time.monotonic() - began:.0f} s")  # noqa: T201
    return 1 if failed else 0
