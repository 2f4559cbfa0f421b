"""`damocles-worker params parents`: the parent caches of this machine."""

from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass

from damocles.cli.terminal import exits, progress, tables
from damocles.parameters.watching import Watcher
from damocles.stages import settings
from damocles.stages.files import parents
from damocles.text import units
from damocles.wire import sectors


@dataclass(frozen=True, slots=True)
class _Report:
    """The status of a cache; `problem` is what is wrong with it."""

    proof: str
    status: str  # present, unverified, ok, cut, removed
    bytes: int
    file: str
    problem: str | None = None


_TABLE = tables.Table[_Report](
    columns=("Proof", "Status", "Bytes", "File"),
    cells=lambda one: (one.proof, one.status, units.human_size(one.bytes), one.file),
)


def report(sizes: Collection[sectors.SectorSize], *, verify: bool, full: bool, as_json: bool) -> int:
    """Print the caches of this machine; with `verify`, remove those that are of no use."""
    folder = settings.parent_cache()
    proofs = [proof for proof in map(sectors.SealProof, range(20)) if proof.size in sizes]
    found = [cache for cache in (parents.Cache(proof=proof, folder=folder) for proof in proofs) if cache.path.exists()]
    reports = list(map(_verified, found)) if verify else list(map(_seen, found))
    is_well = not any(one.problem for one in reports)
    if as_json:
        exits.print_json({"ok": is_well, "folder": str(folder), "caches": [asdict(one) for one in reports]})
    elif reports:
        tables.show(_TABLE, reports, full=full)
        for one in reports:
            if one.problem:
                exits.error(f"{folder}/{one.file}: {one.problem}; the next PC1 makes it again")
        exits.hint(str(folder))
    else:
        exits.hint(f"{folder} has no parent cache: the first PC1 makes it")
    return exits.OK if is_well else exits.FAILED


def _seen(cache: parents.Cache) -> _Report:
    problem = parents.cut(cache)
    status = "cut" if problem else "unverified" if parents.is_doubted(cache) else "present"
    return _Report(cache.proof.proof_name, status, _length(cache), cache.path.name, problem)


def _verified(cache: parents.Cache) -> _Report:
    length = _length(cache)
    with progress.watcher() as watcher:
        watcher.begin(cache.path.name, "reading", cache.size_bytes, 0)
        try:
            problem = parents.examine(cache, _advancing(watcher, cache.path.name))
        except OSError as error:
            raise exits.Failed(f"{error.filename or cache.path}: {error.strerror}") from error
        watcher.end(cache.path.name)
    status = "removed" if problem else "ok" if cache.digest else "unverified"
    return _Report(cache.proof.proof_name, status, length, cache.path.name, problem)


def _advancing(watcher: Watcher, name: str) -> Callable[[int], None]:
    return lambda count: watcher.advance(name, count)


def _length(cache: parents.Cache) -> int:
    return cache.path.stat().st_size
