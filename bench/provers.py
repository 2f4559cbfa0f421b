"""Our own prover and generator of parameters against the library's, each in a process of its own, over the same inputs."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.figures import Figure
from bench.prove import SECTOR_BYTES, Cost
from damocles.parameters import catalog
from damocles.wire import sectors

OURS, LIBRARY, PORTABLE = "damocles", "bellperson", "portable"
PROVER_VARIABLE = "DAMOCLES_PROVER"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of proof."""

    name: str
    act: str
    parameters: catalog.Kind
    rounds: int  # the best one counts
    goal: float


KINDS = (
    Kind(name="C2", act="c2", parameters=catalog.Kind.POREP, rounds=1, goal=2.0),
    Kind(name="window PoSt", act="window", parameters=catalog.Kind.WDPOST, rounds=3, goal=1.8),
    Kind(name="winning PoSt", act="winning", parameters=catalog.Kind.WINNING, rounds=3, goal=1.8),
    Kind(name="snap proof", act="snap", parameters=catalog.Kind.UPDATE, rounds=1, goal=1.8),
)


def figures() -> Iterator[Figure]:
    """Measure every kind of proof of 2KiB, and the smallest set of parameters."""
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "inputs"
        _child("inputs", inputs)
        for kind in KINDS:
            yield from _proof(kind, inputs)
    # For information, and so without goals: people wait for the set of PoRep.
    yield from _parameters(catalog.Kind.WDPOST, "window PoSt", at_least=None, at_most=None)


def figures_of_porep() -> Iterator[Figure]:
    """Measure the largest set of 2KiB, with which sectors are proven."""
    yield from _parameters(catalog.Kind.POREP, "PoRep", at_least=8.0, at_most=1.0)


def _proof(kind: Kind, inputs: Path) -> Iterator[Figure]:
    if missing := _bring_into_memory(kind.parameters):
        print(f"{kind.name} is left out: {missing} is not in {catalog.folder()}; `make params` makes it")
        return
    costs = {
        prover: _measured(kind.act, inputs, kind.rounds, env={PROVER_VARIABLE: prover})
        for prover in (LIBRARY, OURS, PORTABLE)
    }
    library, ours, portable = costs[LIBRARY], costs[OURS], costs[PORTABLE]
    yield _speed(f"{kind.name} of 2KiB", library, ours, kind.goal)
    yield Figure(
        name=f"{kind.name} of 2KiB: the library's time / ours without AVX-512",
        value=library.seconds / portable.seconds,
        unit="",
        against=f"{portable.seconds:.2f} s without",
    )
    yield _memory(f"{kind.name} of 2KiB", library, ours, 1.0)


def _parameters(kind: catalog.Kind, name: str, *, at_least: float | None, at_most: float | None) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as library_folder, tempfile.TemporaryDirectory() as our_folder:
        library = _measured(kind, LIBRARY, env={catalog.CACHE_VARIABLE: library_folder})
        ours = _measured(kind, OURS, env={catalog.CACHE_VARIABLE: our_folder})
    yield _speed(f"parameters of {name}, 2KiB", library, ours, at_least)
    yield _memory(f"parameters of {name}, 2KiB", library, ours, at_most)


def _speed(name: str, library: Cost, ours: Cost, at_least: float | None) -> Figure:
    return Figure(
        name=f"{name}: the library's time / ours",
        value=library.seconds / ours.seconds,
        unit="",
        at_least=at_least,
        against=f"{library.seconds:.2f} s the library's, {ours.seconds:.2f} s ours",
    )


def _memory(name: str, library: Cost, ours: Cost, at_most: float | None) -> Figure:
    return Figure(
        name=f"{name}: our peak of memory / the library's",
        value=ours.peak_bytes / library.peak_bytes,
        unit="",
        at_most=at_most,
        against=f"{library.peak_bytes / 1e6:.0f} MB the library's, {ours.peak_bytes / 1e6:.0f} MB ours",
    )


def _bring_into_memory(kind: catalog.Kind) -> str | None:
    """Read a set of parameters, so that the first prover does not pay for the disk; return the name of what is not there."""
    for file in catalog.sets([sectors.SectorSize(SECTOR_BYTES)], [kind])[0].files:
        path = catalog.folder() / file.name
        if not path.exists():
            return file.name
        with path.open("rb") as stream:
            while stream.read(1 << 24):
                pass
    return None


def _measured(*arguments: object, env: dict[str, str]) -> Cost:
    return msgspec.json.decode(_child(*arguments, env=env).splitlines()[-1], type=Cost)


def _child(*arguments: object, env: dict[str, str] | None = None) -> bytes:
    command = [sys.executable, "-m", "bench.prove", *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, env={**os.environ, **(env or {})}, check=True)
    return done.stdout
