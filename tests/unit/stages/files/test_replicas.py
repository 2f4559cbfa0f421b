"""Reading sectors before a window PoSt."""

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from damocles.stages import job, protocol
from damocles.stages.files import replicas
from damocles.stores import layout
from damocles.wire import codec, sectors, tasks

SIZE = 2048
ZERO = codec.Bytes32(bytes(32))


def task(numbers: Sequence[int], base: Path, seconds: float = 5.0, proof: str = "StackedDrgWindow2KiBV1_2") -> Any:
    """Return a check of sectors, ten to a folder."""
    made = [tasks.Replica(n, ZERO, str(base / f"{n // 10}c/{n}"), str(base / f"{n // 10}/{n}")) for n in numbers]
    return tasks.CheckReplicas(10000, proof, made, ZERO, seconds)


def seal(made: Any) -> None:
    """Write the files of sectors."""
    for replica in made.replicas:
        sealed, cache = Path(replica.sealed_file), Path(replica.cache_dir)
        sealed.parent.mkdir(parents=True, exist_ok=True)
        sealed.write_bytes(bytes(SIZE))
        cache.mkdir(parents=True, exist_ok=True)
        for name in ("p_aux", "sc-02-data-tree-r-last.dat"):
            (cache / name).write_bytes(b"x" * 5000)


def check(made: Any, read: replicas.Read | None = None, log: list[Any] | None = None) -> dict[int, str]:
    """Run a check; return the reasons by sector."""
    challenges = {replica.sector_id: [0, 63] for replica in made.replicas}
    around = job.Job(None if log is None else log.append)
    return {fault.sector_id: fault.reason for fault in replicas.check(made, challenges, around, read)}


def test_sectors_that_are_whole_are_no_faults(tmp_path: Path) -> None:
    """All is read, and how far it is is told."""
    made, log = task(range(25), tmp_path), list[Any]()
    seal(made)
    assert {} == check(made, log=log)
    assert protocol.Progress(0, 25, "sectors") == log[0]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda sealed, _: sealed.unlink(), "{sealed}: No such file or directory"),
        (lambda sealed, _: sealed.write_bytes(b"short"), "{sealed}: has 5 bytes, a sector of this proof has 2048"),
        (lambda _, cache: (cache / "p_aux").unlink(), "{cache}/p_aux: No such file or directory"),
        (
            lambda _, cache: (cache / "sc-02-data-tree-r-last.dat").unlink(),
            "{cache}/sc-02-data-tree-r-last.dat: No such file or directory",
        ),
        (lambda _, cache: (cache / "p_aux").write_bytes(b"x" * 63), "{cache}/p_aux: has 63 bytes, it should have 64"),
        (
            lambda _, cache: (cache / "sc-02-data-tree-r-last.dat").write_bytes(b"x" * 31),
            "{cache}/sc-02-data-tree-r-last.dat: has 31 bytes, it should have 32",
        ),
        (lambda sealed, _: (sealed.unlink(), sealed.mkdir()), "{sealed}: Is a directory"),
    ],
)
def test_what_is_wrong_with_a_sector_is_told(tmp_path: Path, damage: Callable[[Path, Path], Any], reason: str) -> None:
    """The reason names the file; the other sectors are not concerned."""
    made, log = task([7, 8], tmp_path), list[Any]()
    seal(made)
    sealed, cache = Path(made.replicas[1].sealed_file), Path(made.replicas[1].cache_dir)
    damage(sealed, cache)
    told = reason.format(sealed=sealed, cache=cache)
    assert {8: told} == check(made, log=log)
    assert f"sector 8: {told}" in log


def test_a_read_that_hangs_is_given_up(tmp_path: Path) -> None:
    """A sector on a disk that does not answer costs its time limit, and is a fault."""
    made = task([1, 2], tmp_path, seconds=0.2)
    seal(made)
    sealed = Path(made.replicas[0].sealed_file)
    sealed.unlink()
    os.mkfifo(sealed)  # whoever opens it to read waits for a writer
    assert {1: f"{sealed} or its cache was not read within 0.2 s"} == check(made)
    with sealed.open("wb"):  # let the thread end
        pass


def test_a_hanging_disk_does_not_keep_the_others_waiting(tmp_path: Path) -> None:
    """All sectors of a dead disk are given up after twice the time limit, and those of another disk are read."""
    made = task(range(110), tmp_path, seconds=0.3)
    dead, freed = tmp_path / "dead" / "x", threading.Event()
    moved = [
        tasks.Replica(r.sector_id, r.comm_r, r.cache_dir, str(dead) if r.sector_id >= 10 else r.sealed_file)
        for r in made.replicas
    ]
    tried = set()

    def read(replica: tasks.Replica, size: sectors.SectorSize, leaves: Sequence[int]) -> None:
        tried.add(replica.sector_id)
        if replica.sector_id >= 10:
            freed.wait()

    try:
        faults = check(tasks.CheckReplicas(made.miner_id, made.proof_type, moved, ZERO, made.seconds), read)
        assert set(range(10, 110)) == set(faults)
        assert tried == set(range(110))
    finally:
        freed.set()


def test_a_cancelled_check_ends(tmp_path: Path) -> None:
    """Nobody waits for disks that nobody asks about any more."""
    freed = threading.Event()
    made = task([1], tmp_path, seconds=60)
    around = job.Job()
    threading.Timer(0.1, around.cancel).start()

    def read(*_: Any) -> None:
        freed.wait()

    try:
        with pytest.raises(job.Cancelled):
            replicas.check(made, {1: []}, around, read)
    finally:
        freed.set()


def test_the_size_comes_from_the_proof(tmp_path: Path) -> None:
    """Another kind of proof is refused."""
    with pytest.raises(ValueError, match="'StackedDrg2KiBV1_1' is not a PoSt proof"):
        check(task([1], tmp_path, proof="StackedDrg2KiBV1_1"))


@pytest.mark.parametrize(
    ("size", "rows", "length"),
    [
        (sectors.SectorSize.KIB2, 0, 32),
        (sectors.SectorSize.KIB2, 2, 32),
        (sectors.SectorSize.MIB8, 0, 1_198_368),
        (sectors.SectorSize.MIB8, 1, 149_792),
        (sectors.SectorSize.MIB8, 2, 18_720),
        (sectors.SectorSize.MIB8, 3, 2_336),
        (sectors.SectorSize.MIB8, 100, 32),
        (sectors.SectorSize.GIB32, 2, 9_586_976),
        (sectors.SectorSize.GIB64, 2, 9_586_976),
    ],
)
def test_the_length_of_the_tree_is_known(size: sectors.SectorSize, rows: int, length: int) -> None:
    """Each file of tree-r-last is as long as those that the library writes with this setting."""
    assert length == layout.tree_r_last_bytes(size, rows)


def sparse(made: Any, size: sectors.SectorSize, rows: int) -> Path:
    """Make the files of one sector, without content; return its cache folder."""
    (replica,) = made.replicas
    sealed, cache = Path(replica.sealed_file), Path(replica.cache_dir)
    sealed.parent.mkdir(parents=True)
    cache.mkdir(parents=True)
    lengths = dict.fromkeys(layout.tree_r_last_names(size), layout.tree_r_last_bytes(size, rows))
    for path, length in [(sealed, int(size)), *((cache / name, n) for name, n in {"p_aux": 64, **lengths}.items())]:
        path.touch()
        os.truncate(path, length)
    return cache


@pytest.mark.parametrize(("size", "parts"), [(sectors.SectorSize.GIB32, 8), (sectors.SectorSize.GIB64, 16)])
def test_every_file_of_a_large_sector_counts(tmp_path: Path, size: sectors.SectorSize, parts: int) -> None:
    """Large sectors have tree-r-last in several files: each has to be there as a whole."""
    made = task([1], tmp_path, proof=f"StackedDrgWindow{size.label}V1_2")
    cache = sparse(made, size, 2)
    assert {} == check(made)
    for part in range(parts):
        path = cache / f"sc-02-data-tree-r-last-{part}.dat"
        os.truncate(path, 9_586_975)
        assert {1: f"{path}: has 9586975 bytes, it should have 9586976"} == check(made)
        path.unlink()
        assert {1: f"{path}: No such file or directory"} == check(made)
        path.touch()
        os.truncate(path, 9_586_976)


@pytest.mark.parametrize(("sealed_with", "here"), [(1, 2), (3, 1)])
def test_another_setting_of_rows_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sealed_with: int, here: int
) -> None:
    """A tree made under another setting fails each proof; the reason says which setting it was made under."""
    made = task([1], tmp_path, proof="StackedDrgWindow8MiBV1_2")
    cache = sparse(made, sectors.SectorSize.MIB8, sealed_with)
    found, wanted = (layout.tree_r_last_bytes(sectors.SectorSize.MIB8, rows) for rows in (sealed_with, here))
    if here != 2:
        monkeypatch.setenv("FIL_PROOFS_ROWS_TO_DISCARD", str(here))
    assert {
        1: f"{cache}/sc-02-data-tree-r-last.dat: has {found} bytes, as if it was made with FIL_PROOFS_ROWS_TO_DISCARD="
        f"{sealed_with}, and where that is {here}, as here, it should have {wanted}: set it to {sealed_with} here, if"
        " the file was not cut"
    } == check(made)
    monkeypatch.setenv("FIL_PROOFS_ROWS_TO_DISCARD", str(sealed_with))
    assert {} == check(made)


def test_what_is_behind_the_end_of_a_tree_does_no_harm(tmp_path: Path) -> None:
    """The library reads what it needs, so a file that is too long is no fault."""
    made = task([1], tmp_path, proof="StackedDrgWindow8MiBV1_2")
    os.truncate(sparse(made, sectors.SectorSize.MIB8, 2) / "sc-02-data-tree-r-last.dat", 18_721)
    assert {} == check(made)


def test_a_defect_is_not_a_sector_s_fault(tmp_path: Path) -> None:
    """What neither the files nor the library are to blame for ends the check."""

    def read(*_: Any) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        check(task([1], tmp_path), read)
