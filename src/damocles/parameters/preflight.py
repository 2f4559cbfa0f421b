"""Report at start-up which plans of a worker cannot prove, before hours are spent on a sector."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from damocles import privacy
from damocles.parameters import catalog
from damocles.parameters.catalog import Kind
from damocles.sealing import planner
from damocles.wire import sectors


def warnings(plans: Mapping[str, Iterable[sectors.SectorSize] | None], folder: Path) -> list[str]:
    """Return a line for the log about each plan that lacks parameters.

    `plans` maps a plan to the sector sizes that its threads allow, `None` if they allow any: then only the absence of
    parameters for every size is worth a line, since the manager decides on the size.
    """
    lines = []
    if privacy.is_foreign(folder):
        lines.append(
            f"other users can write to {folder}, and so decide what is proven: make it yours (chown, chmod o-w), and look"
            " at its files: damocles-worker params check"
        )
    for plan, sizes in plans.items():
        kinds = [Kind(kind) for kind in planner.PLANS[plan].proves]
        if sizes is None:
            if kinds and all(catalog.missing([size], kinds, folder) for size in sectors.SectorSize):
                lines.append(
                    f"plan {plan} cannot prove sectors of any size: {folder} lacks {_words(kinds)} parameters; "
                    f"fetch them: damocles-worker params fetch --sector-size SIZE --for {','.join(kinds)}"
                )
            continue
        for size in dict.fromkeys(sizes):
            if lacking := catalog.missing([size], kinds, folder):
                names = ", ".join(name for entry in lacking for name in entry.names)
                # The names last: they are longer than the rest.
                which = [entry.kind for entry in lacking]
                lines.append(
                    f"plan {plan} cannot prove sectors of {size.label} without {_words(which)} parameters; "
                    f"{_remedy(size, which)}; {folder} lacks {names}"
                )
    return lines


def missing_files(plans: Mapping[str, Iterable[sectors.SectorSize] | None], folder: Path) -> dict[tuple[str, str], int]:
    """Return how many files of parameters are missing, by plan and sector size; `plans` as `warnings` has them."""
    found = {}
    for plan, sizes in plans.items():
        kinds = [Kind(kind) for kind in planner.PLANS[plan].proves]
        for size in (sectors.SectorSize if sizes is None else sizes) if kinds else ():
            found[plan, size.label] = sum(len(entry.names) for entry in catalog.missing([size], kinds, folder))
    return found


def lacking_for_post(size: sectors.SectorSize, folder: Path, kind: Kind = Kind.WDPOST) -> str | None:
    """Return what `folder` lacks for PoSts of a size, those of windows or winning ones, in the proofs library's words, or `None`."""
    lacking = catalog.missing([size], (kind,), folder)
    if not lacking:
        return None
    names = ", ".join(name for entry in lacking for name in entry.names)
    return f"No cached parameters found for {kind.words}s of {size.label} in {folder}; {_remedy(size, [kind])}; it lacks {names}"


def _words(kinds: Iterable[Kind]) -> str:
    return " and ".join(kind.words for kind in kinds)


def remedies(size: sectors.SectorSize, kinds: Iterable[Kind]) -> list[str]:
    """Return the commands for the worker's machine: to fetch parameters and, for a test network, to make them."""
    what = f"--sector-size {size.label} --for {','.join(kinds)}"
    fetch, generate = f"damocles-worker params fetch {what}", f"damocles-worker params generate {what}"
    return [fetch, generate] if size < sectors.SectorSize.GIB32 else [fetch]


def _remedy(size: sectors.SectorSize, kinds: list[Kind]) -> str:
    ways = ("fetch them", "or make a set for a test network")
    return ", ".join(f"{way}: {command}" for way, command in zip(ways, remedies(size, kinds), strict=False))
