"""The parent cache: a file per proof type, 56 bytes per node, that PC1 reads the graph from.

The library checks only its length. One that is too short is an error for ever; one with wrong bytes seals sectors
that C1 refuses, after their deposit is paid. So it is checked before PC1: a cut one is removed, and the library makes
it again. Its digest is computed only in case of doubt, since that takes minutes for 56 GiB.

Doubts are noted in the marker file beside it, `<proof type>.unfinished`, which the process that makes the cache locks.
The marker has content while the cache is being made, and so it has after a kill. We add that C1 has refused a sector,
or that somebody asked for a check.
"""

import contextlib
import hashlib
import os
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from damocles import proofs
from damocles.stages import job, locking, settings
from damocles.stores import exhausted
from damocles.wire import sectors

_NODE_BYTES = 32
_ENTRY_BYTES = 56  # 14 parents
_READ_BYTES = 1 << 24

# From the manifest of the proofs crate (`parent_cache.json`): SHA-256 by the number of the proof type. The caches of
# synthetic and non-interactive proofs are not in it.
_DIGESTS = {
    0: "3da49221e2ed55371b86d0bf3d6526fcf128af61bed904f966428db1b531750d",
    1: "a76604f2f59f2744c7151653bbb1d8596b6b57d295e6fa6c1f0c41d725b502ce",
    2: "3adcc092423aa76d6a7184016893406da44dd974b219a89cd3ece25e4e3018f5",
    3: "3c4f9841fcc75aed8c695800e58d08480629f25af3a2aefd81904181d75cc0b6",
    4: "2778a732ad46a7dc18e0564dfdf59fd321dcde74ab476fd6d3c4e6735d7cd89c",
    5: "840057702eea7652cf97e04306c30fe57174714d90de156a25eddd6075c25b97",
    6: "03cd13565ded97c240a5f52e54295ad127bd0461b57904cb3a4d79b097bbecab",
    7: "b5877d1963793efebc261fd8fde4dd6bc59e6b5c7abf52617a4ee023b8dc173a",
    8: "93deeac5e3052b6927467d4b2641bb782f05491de18d510147c93eeedd8672da",
    9: "2698b74eb2606b55b98d8b095e18b6320b47f46e00075956d48640ccd1641b03",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """The parent cache of a proof type in a folder."""

    proof: sectors.SealProof
    folder: Path

    @property
    def path(self) -> Path:
        """The file; its name is a hash of the graph, as the library computes it."""
        hasher, nodes = "poseidon_hasher", int(self.proof.size) // _NODE_BYTES
        keys = hashlib.sha256(b"Filecoin_Feistel" + struct.pack("<Q24x", int(self.proof))).digest()
        base = f"drgraph::BucketGraph{{size: {nodes}; degree: 6; hasher: {hasher}}}"
        graph = f"stacked_graph::StackedGraph{{expansion_degree: 8 base_graph: {base} }}"
        name = hashlib.sha256(hasher.encode() + graph.encode() + keys + struct.pack("<I", nodes)).hexdigest()
        return self.folder / f"v28-sdr-parent-{name}.cache"

    @property
    def marker(self) -> Path:
        """The file that is locked by who makes the cache, and that has content if the cache is not to be trusted."""
        return self.folder / f"{self.proof.proof_name}.unfinished"

    @property
    def size_bytes(self) -> int:
        """The length that it has to have; what is behind that does no harm."""
        return int(self.proof.size) // _NODE_BYTES * _ENTRY_BYTES

    @property
    def digest(self) -> str | None:
        """Its SHA-256 in hex, if that is published."""
        return _DIGESTS.get(int(self.proof))


def of(proof_name: str, folder: Path | None = None) -> Cache:
    """Return the cache of a seal proof; by default in the folder that the library of this process uses."""
    return Cache(proof=sectors.SealProof.named(proof_name), folder=folder or settings.parent_cache())


def mend(cache: Cache, around: job.Job) -> None:
    """Remove a cache that is cut or damaged, so that the library makes it again; call this before the cache is used.

    Raises:
        proofs.FileUnusable: It has to be made again, and cannot be.
    """
    try:
        with _locked(cache, around) as marker:
            if (problem := _problem(cache, around, is_doubted=os.fstat(marker).st_size > 0)) is not None:
                around.log(f"parent cache {cache.path}: {problem}; it is made again")
                cache.path.unlink(missing_ok=True)
            _check_room(cache)
            # The library trusts a cache that it has made since.
            os.ftruncate(marker, 0)
            os.fsync(marker)
    except OSError as error:
        if exhausted.is_lacking(error):
            raise
        # Where we may not write, nobody makes a cache: then there is one to read, or this has to be known.
        if (problem := cut(cache)) is not None:
            raise proofs.FileUnusable(
                str(cache.path),
                f"{problem}, and cannot be made again ({error.strerror}). Remove this parent cache, and let the user of"
                f" the worker write to {cache.folder}, or set {settings.PARENT_CACHE}",
            ) from error


def doubt(cache: Cache, why: str, around: job.Job) -> bool:
    """Have the cache verified before it is used again; False if it is not here, or nothing can be written beside it."""
    if not cache.path.exists():
        return False
    try:
        with _locked(cache, around) as marker:
            os.ftruncate(marker, 0)
            os.pwrite(marker, f"{why}\n".encode(), 0)
            os.fsync(marker)
    except OSError:
        return False
    return True


def is_doubted(cache: Cache) -> bool:
    """Return whether the cache is being made, or will be verified before it is used again."""
    try:
        return cache.marker.stat().st_size > 0
    except OSError:
        return False


def examine(cache: Cache, advance: Callable[[int], None]) -> str | None:
    """Read all of the cache, and remove it if it is of no use; return what was wrong with it.

    Raises:
        OSError: It cannot be removed, or nothing can be written beside it.
    """
    with _locked(cache, job.Job()) as marker:
        if (problem := verify(cache, advance)) is not None:
            cache.path.unlink(missing_ok=True)
        if problem is not None or cache.digest is not None:
            os.ftruncate(marker, 0)
        return problem


def verify(cache: Cache, advance: Callable[[int], None] = lambda _: None) -> str | None:
    """Return what is wrong with the cache, having read all of it; None if it is whole, or its digest is not known.

    Raises:
        OSError: This process cannot read anything now.
    """
    if (problem := cut(cache)) is not None or cache.digest is None:
        return problem
    found = hashlib.sha256()
    left = cache.size_bytes
    try:
        with cache.path.open("rb", buffering=0) as file:
            while left > 0 and (block := file.read(min(_READ_BYTES, left))):
                found.update(block)
                left -= len(block)
                advance(len(block))
    except OSError as error:
        if exhausted.is_lacking(error):
            raise
        return f"cannot be read ({error.strerror})"
    return None if found.hexdigest() == cache.digest else "is damaged: its digest is not the published one"


def _problem(cache: Cache, around: job.Job, *, is_doubted: bool) -> str | None:
    """Return why the cache has to go; if it is not there, nothing."""
    if not cache.path.exists():
        return None
    if (problem := cut(cache)) is not None or not is_doubted:
        return problem
    if cache.digest is None:
        return "is not trusted after a kill or a refusal of C1, and there is no published digest to compare"
    around.log(f"parent cache {cache.path}: reading all {cache.size_bytes} bytes after a kill or a refusal of C1")
    return verify(cache, lambda _: around.check())


def cut(cache: Cache) -> str | None:
    """Return what is wrong with the length of the cache, if it is there."""
    try:
        found = cache.path.stat().st_size
    except FileNotFoundError:
        return None
    return f"has {found} bytes, it should have {cache.size_bytes}" if found < cache.size_bytes else None


def _check_room(cache: Cache) -> None:
    """Refuse what would kill the process: the library writes into a mapping of a file that has no blocks yet."""
    free = shutil.disk_usage(cache.folder).free
    if not cache.path.exists() and free < cache.size_bytes:
        problem = f"has {free} bytes free, the parent cache needs {cache.size_bytes}: make room, or set"
        raise proofs.FileUnusable(str(cache.folder), f"{problem} {settings.PARENT_CACHE}")


@contextlib.contextmanager
def _locked(cache: Cache, around: job.Job) -> Iterator[int]:
    """Hold the lock of the cache while the block runs; yields the marker's descriptor."""
    cache.folder.mkdir(parents=True, exist_ok=True)
    marker = os.open(cache.marker, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        locking.lock(marker, around)
        yield marker
    finally:
        os.close(marker)
