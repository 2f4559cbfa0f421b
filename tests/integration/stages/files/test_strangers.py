"""Sectors of one number in one persist store, on a real file system."""

from pathlib import Path

import pytest

from damocles.stages import job
from damocles.stages.files import copies, replica_commitment, strangers
from damocles.stores import layout
from damocles.wire import sectors, tasks

SECTOR = sectors.SectorID(1000, 1)
NAMES = layout.persisted_names(SECTOR, sectors.SectorSize.KIB2)
UPDATED = layout.persisted_names(SECTOR, sectors.SectorSize.KIB2, upgraded=True)


def sealed(folder: Path, seed: int, names: list[str] = NAMES) -> Path:
    """Lay the files of a sector into a folder; those of another seed differ."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        size = 64 if name.endswith("p_aux") else 2048
        (folder / name).write_bytes(bytes([seed]) * size)
    return folder


def persisting(source: Path, store: Path, names: list[str] = NAMES) -> tasks.Transfer:
    """Return the task by which a worker persists a sector: `p_aux` first."""
    routes = [
        tasks.Route({"store_name": None, "uri": str(source / name)}, {"store_name": "s", "uri": str(store / name)})
        for name in sorted(names, key=lambda name: not name.endswith("/p_aux"))
    ]
    keep = tasks.Keep(str(SECTOR), str(source), str(store), names[0], str(Path(names[-1]).parent))
    return tasks.Transfer({}, routes, tasks.Fence(str(store / ".fences" / str(SECTOR)), 1), keep)


def contents(store: Path) -> dict[str, bytes]:
    """Return the files in a store but for its fences."""
    return {
        str(path.relative_to(store)): path.read_bytes()
        for path in store.rglob("*")
        if path.is_file() and ".fences" not in path.parts
    }


@pytest.mark.parametrize("names", [NAMES, UPDATED])
def test_files_of_another_replica_are_left_as_they_are(tmp_path: Path, names: list[str]) -> None:
    """A sector whose number came again is refused, of the same attempt too; both CommR and the way out are named."""
    first, second, store = sealed(tmp_path / "a", 1, names), sealed(tmp_path / "b", 2, names), tmp_path / "store"
    copies.run(persisting(first, store, names), job.Job())
    before = contents(store)
    with pytest.raises(strangers.Stranger) as caught:
        copies.run(persisting(second, store, names), job.Job())
    theirs, ours = (replica_commitment.comm_r(bytes([seed]) * 64).hex() for seed in (1, 2))
    assert f"{store} has files of s-t01000-1 with CommR {theirs}, ours have CommR {ours}" in str(caught.value)
    assert f"move {names[0]} and {Path(names[-1]).parent} out of {store} and resume" in str(caught.value)
    assert contents(store) == before


@pytest.mark.parametrize("done", range(len(NAMES) + 1))
def test_a_copy_that_was_cut_short_goes_on_and_keeps_strangers_out(tmp_path: Path, done: int) -> None:
    """After any number of files the same sector is persisted anew, and from the first file on no other one."""
    first, second, store = sealed(tmp_path / "a", 1), sealed(tmp_path / "b", 2), tmp_path / "store"
    whole = persisting(first, store)
    copies.run(tasks.Transfer({}, whole.routes[:done], whole.fence, whole.keep), job.Job())
    if done:
        with pytest.raises(strangers.Stranger):
            copies.run(persisting(second, store), job.Job())
    copies.run(whole, job.Job())
    assert contents(store) == contents(first)


@pytest.mark.parametrize("left", [None, 0, 63])
@pytest.mark.parametrize("size", [0, 1000, 2048])
def test_without_p_aux_the_replica_tells_whose_files_they_are(tmp_path: Path, left: int | None, size: int) -> None:
    """A missing or cut `p_aux` does not keep the same sector out, nor does it let another one in."""
    first, second, store = sealed(tmp_path / "a", 1), sealed(tmp_path / "b", 2), sealed(tmp_path / "store", 1)
    p_aux, replica = store / NAMES[-2], store / NAMES[0]
    p_aux.unlink() if left is None else p_aux.write_bytes(bytes([1]) * left)
    replica.write_bytes(bytes([1]) * size)  # of a program that gives the name before the file is whole
    if size:
        with pytest.raises(strangers.Stranger, match="with a CommR that no p_aux records, ours have CommR"):
            copies.run(persisting(second, store), job.Job())
    copies.run(persisting(first, store), job.Job())
    assert contents(store) == contents(first)


def test_one_that_comes_during_the_copy_is_seen(tmp_path: Path) -> None:
    """Two workers that copy at once do not mix their files: the later one is refused before it gives a name."""
    first, second, store = sealed(tmp_path / "a", 1), sealed(tmp_path / "b", 2), tmp_path / "store"

    class Meanwhile(job.Job):
        """Lets the other one persist its sector while the first file is copied."""

        def progress(self, done: int, total: int | None, unit: str = "B") -> None:
            if not contents(store).keys() & set(NAMES):
                copies.run(persisting(second, store), job.Job())

    with pytest.raises(strangers.Stranger):
        copies.run(persisting(first, store), Meanwhile())
    assert {name: content for name, content in contents(store).items() if name in NAMES} == contents(second)


def test_a_store_that_is_the_source_is_none_of_a_stranger(tmp_path: Path) -> None:
    """Where a persist store is the data folder itself, the files are their own."""
    store = sealed(tmp_path / "a", 1)
    before = contents(store)
    copies.run(persisting(store, store), job.Job())
    assert contents(store) == before


@pytest.mark.parametrize("names", [NAMES, UPDATED])
def test_another_sector_and_an_upgrade_stand_beside_it(tmp_path: Path, names: list[str]) -> None:
    """Other numbers, and the two replicas of one number, keep out of each other's way."""
    other = layout.persisted_names(sectors.SectorID(1000, 2), sectors.SectorSize.KIB2)
    store = tmp_path / "store"
    for seed, which in enumerate([names, other, UPDATED if names == NAMES else NAMES]):
        copies.run(persisting(sealed(tmp_path / str(seed), seed, which), store, which), job.Job())
    assert len(contents(store)) == 3 * len(NAMES)
