"""Which parameter files each proof needs, as published for the networks.

`published.json` is made from the manifests of the proofs crate (its `parameters.json` and `srs-inner-product.json`),
with the kind of proof added. A digest is the first half of the file's BLAKE2b-512, in hex.
"""

import enum
import functools
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import msgspec

from damocles.wire import sectors

CACHE_VARIABLE = "FIL_PROOFS_PARAMETER_CACHE"
DEFAULT_CACHE = Path("/var/tmp/filecoin-proof-parameters")  # noqa: S108  # the proofs crate's own default


class Kind(enum.StrEnum):
    """What a set of files is for."""

    POREP = "porep"  # C2 of every kind of PoRep
    WDPOST = "wdpost"
    WINNING = "winning"
    UPDATE = "update"  # the proof of a snap-up
    SRS = "srs"  # aggregation: one file for all sector sizes

    @property
    def words(self) -> str:
        """The kind as people call it."""
        return _WORDS[self]


_WORDS = {
    Kind.POREP: "PoRep (C2)",
    Kind.WDPOST: "window PoSt",
    Kind.WINNING: "winning PoSt",
    Kind.UPDATE: "sector update",
    Kind.SRS: "aggregation",
}

# What a provider needs for a sector size; aggregation only if it uses it.
DEFAULT_KINDS = (Kind.POREP, Kind.WDPOST, Kind.WINNING, Kind.UPDATE)


class File(msgspec.Struct, frozen=True):
    """One published file; `sector_size` is in bytes, and 0 for the file that serves all sizes."""

    kind: Kind
    sector_size: int
    name: str
    cid: str
    digest: str

    @property
    def size_label(self) -> str:
        """The sector size as people write it."""
        return sectors.SectorSize(self.sector_size).label if self.sector_size else "all"


class FileSet(msgspec.Struct, frozen=True):
    """The files of one kind for one sector size."""

    kind: Kind
    sector_size: int
    files: tuple[File, ...]

    @property
    def identifier(self) -> str:
        """The common part of the files' names."""
        return self.files[0].name.rpartition(".")[0]

    @property
    def size_label(self) -> str:
        """The sector size as people write it."""
        return self.files[0].size_label


class Missing(msgspec.Struct, frozen=True):
    """Files that are not there, of one kind for one sector size."""

    kind: Kind
    sector_size: int
    names: tuple[str, ...]


def folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder that the proofs read parameters from."""
    return Path(environment.get(CACHE_VARIABLE) or DEFAULT_CACHE)


def sets(sizes: Iterable[sectors.SectorSize], kinds: Collection[Kind] = DEFAULT_KINDS) -> list[FileSet]:
    """Return the sets that these sizes and kinds need, the file for aggregation once."""
    wanted: list[tuple[Kind, int]] = [(kind, int(size)) for size in sizes for kind in kinds if kind != Kind.SRS]
    if Kind.SRS in kinds:
        wanted.append((Kind.SRS, 0))
    return [_published()[key] for key in dict.fromkeys(wanted)]


def missing(sizes: Iterable[sectors.SectorSize], kinds: Collection[Kind], folder: Path) -> list[Missing]:
    """Return what `folder` lacks. Looks at names and sizes only: no digest is computed."""
    found = []
    for wanted in sets(sizes, kinds):
        names = tuple(file.name for file in wanted.files if not _has_content(folder / file.name))
        if names:
            found.append(Missing(wanted.kind, wanted.sector_size, names))
    return found


def identified(name: str) -> FileSet | None:
    """Return the set that the proofs library calls `name` in its errors: the files' name without its version."""
    return next((found for found in _published().values() if found.identifier.partition("-")[2] == name), None)


def load() -> None:
    """Read the package's file, if nobody has: who answers for many must not wait for a disk in the middle."""
    _published()


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


@functools.cache
def _published() -> dict[tuple[Kind, int], FileSet]:
    text = Path(__file__).with_name("published.json").read_bytes()
    by_key: dict[tuple[Kind, int], list[File]] = {}
    for file in msgspec.json.decode(text, type=list[File]):
        by_key.setdefault((file.kind, file.sector_size), []).append(file)
    return {key: FileSet(*key, tuple(files)) for key, files in by_key.items()}
