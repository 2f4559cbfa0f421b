"""Real sectors of 2KiB, sealed by calling the native functions directly."""
# ruff: noqa: D102 - properties are named after the files they stand for

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import damocles_proofs as proofs
import pytest

SEAL_PROOF = "StackedDrg2KiBV1_1"
PROVER_ID = bytes([0xE8, 0x07]).ljust(32, b"\0")  # t01000
TICKET = bytes([1]) * 32
SEED = bytes([2]) * 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Sector:
    """A sector on disk, at whatever stage."""

    folder: Path
    number: int
    proof: str
    pieces: list[proofs.PieceInfo]
    comm_d: bytes

    @property
    def staged(self) -> Path:
        return self.folder / "staged"

    @property
    def prepared(self) -> Path:
        return self.folder / "prepared"

    @property
    def sealed(self) -> Path:
        return self.folder / "sealed"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def pc1(self) -> proofs.Pc1Output:
        return proofs.pc1(self.proof, self.cache, self.staged, self.sealed, PROVER_ID, self.number, TICKET, self.pieces)

    def pc2(self, output: proofs.Pc1Output) -> proofs.Pc2Output:
        return proofs.pc2(output, self.cache, self.sealed)

    def c1(self, output: proofs.Pc2Output) -> proofs.C1Output:
        return proofs.c1(self.cache, self.sealed, PROVER_ID, self.number, TICKET, SEED, output, self.pieces)

    def unseal(self, output: Path, offset: int, num_bytes: int) -> int:
        return proofs.unseal_range(
            self.proof,
            self.folder,
            self.sealed,
            output,
            PROVER_ID,
            self.number,
            self.comm_d,
            TICKET,
            offset,
            num_bytes,
        )

    def private(self, comm_r: bytes) -> proofs.PrivateReplica:
        return proofs.PrivateReplica(self.number, comm_r, self.cache, self.sealed)


def stage(folder: Path, *, proof: str = SEAL_PROOF, number: int = 1, payload: bytes = b"", size: int = 2048) -> Sector:
    """Lay one piece into a sector and prepare tree-d, ready for PC1."""
    folder.mkdir()
    unpadded = size // 128 * 127
    staged = folder / "staged"
    if payload:
        (folder / "payload").write_bytes(payload)
        with (folder / "payload").open("rb") as source:
            piece = proofs.add_piece(proof, source.fileno(), len(payload), unpadded, staged)
    else:
        piece = proofs.add_piece(proof, None, 0, unpadded, staged)
    (folder / "prepared").mkdir()
    comm_d = proofs.tree_d(proof, staged, folder / "prepared")
    (folder / "cache").mkdir()
    (folder / "cache/sc-02-data-tree-d.dat").symlink_to(folder / "prepared/sc-02-data-tree-d.dat")
    (folder / "sealed").touch()
    return Sector(folder=folder, number=number, proof=proof, pieces=[piece], comm_d=comm_d)


@pytest.fixture
def new_sector(tmp_path: Path) -> Callable[..., Sector]:
    """Return a function that stages a sector in a folder of its own."""

    def make(**options: object) -> Sector:
        number = options.setdefault("number", 1)
        return stage(tmp_path / f"sector-{number}", **options)  # type: ignore[arg-type]

    return make


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """A sector key, and the replica that carries data."""

    key: Sector
    data: Sector
    comm_r_old: bytes
    encoded: proofs.UpdateEncoded
    replica: Path
    cache: Path

    @property
    def commitments(self) -> tuple[bytes, bytes, bytes]:
        return self.comm_r_old, self.encoded.comm_r_new, self.encoded.comm_d_new

    @property
    def files(self) -> tuple[Path, Path, Path, Path]:
        return self.key.sealed, self.key.cache, self.replica, self.cache


@pytest.fixture
def update(tmp_path: Path) -> Update:
    """Seal a sector without data, as finalising leaves it, and encode data into it."""
    key = stage(tmp_path / "key-sector")
    comm_r_old = key.pc2(key.pc1()).comm_r
    proofs.clear_cache(key.cache)
    data = stage(tmp_path / "data-sector", payload=os.urandom(2032))
    replica, cache = tmp_path / "update", tmp_path / "update-cache"
    cache.mkdir()
    replica.touch()
    os.truncate(replica, 2048)
    (cache / "sc-02-data-tree-d.dat").symlink_to(data.prepared / "sc-02-data-tree-d.dat")
    encoded = proofs.update_encode_into(
        "StackedDrg2KiBV1", replica, cache, key.sealed, key.cache, data.staged, data.pieces
    )
    return Update(key=key, data=data, comm_r_old=comm_r_old, encoded=encoded, replica=replica, cache=cache)


@pytest.fixture(autouse=True)
def params_or_skip(request: pytest.FixtureRequest) -> None:
    """Skip a test marked ``params(kind, …)`` when a set that it needs is not in the cache."""
    for marker in request.node.iter_markers("params"):
        for kind in marker.args:
            _skip_without(kind)


def _skip_without(kind: str) -> None:
    folder = Path(proofs.parameter_cache_dir())
    names = proofs.params_for(kind, 2048)
    missing = [name for name in (names.params, names.vk) if not (folder / name).is_file()]
    if missing:
        pytest.skip(f"no {kind} parameters of 2KiB: {missing[0]} is not in {folder}")


@pytest.fixture(autouse=True)
def no_leaked_descriptors() -> Iterator[None]:
    """Fail a test that leaves a descriptor open."""
    before = _open_files()
    yield
    assert _open_files() - before == set()


def _open_files() -> set[str]:
    targets = set()
    # The library keeps parameters and parent caches mapped for the next call.
    kept = ("/var/tmp/filecoin-", f"{proofs.parameter_cache_dir()}/")
    for entry in os.scandir("/proc/self/fd"):
        try:
            target = str(Path(entry.path).readlink())
        except FileNotFoundError:
            continue
        if target.startswith("/") and not target.startswith(("/dev", "/proc", *kept)):
            targets.add(target)
    return targets
