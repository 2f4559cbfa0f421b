"""Whether a machine can prove window PoSts at all."""

from pathlib import Path

import pytest

from damocles.parameters import catalog
from damocles.stores.persist import PersistStore
from damocles.wire.sectors import SectorSize
from damocles.worker import fitness
from damocles.worker.config import Group

SIZE = SectorSize.KIB2


@pytest.fixture
def parameters(tmp_path: Path) -> Path:
    """Return a folder with the parameters of window PoSts of 2KiB, as far as names tell."""
    folder = tmp_path / "parameters"
    folder.mkdir()
    for wanted in catalog.sets([SIZE], (catalog.Kind.WDPOST,)):
        for file in wanted.files:
            (folder / file.name).write_text("x")
    return folder


@pytest.fixture
def store(tmp_path: Path) -> PersistStore:
    """Return a persist store that has had sectors."""
    (tmp_path / "persist" / "sealed").mkdir(parents=True)
    return PersistStore(name="persist", path=tmp_path / "persist")


def test_missing_parameters_are_named_with_the_command(
    store: PersistStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parameters: Path
) -> None:
    """The folder is the daemon's, and what is missing is said as the proofs say it; it is looked for anew each time."""
    monkeypatch.setenv("FIL_PROOFS_PARAMETER_CACHE", str(tmp_path / "later"))
    lacking = fitness.of((), [store])
    text = lacking(SIZE)
    assert text is not None
    assert text.startswith(f"No cached parameters found for window PoSts of 2KiB in {tmp_path}/later; fetch them: ")
    assert "damocles-worker params fetch --sector-size 2KiB --for wdpost" in text
    parameters.rename(tmp_path / "later")
    assert None is lacking(SIZE)
    assert None is not lacking(SectorSize.GIB32)


def test_processors_look_where_their_environment_says(
    store: PersistStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parameters: Path
) -> None:
    """A group with a folder of its own proves from that; of a program that is not ours nothing is known."""
    monkeypatch.setenv("FIL_PROOFS_PARAMETER_CACHE", str(tmp_path / "empty"))
    there = Group(envs={"FIL_PROOFS_PARAMETER_CACHE": str(parameters)})
    assert None is not fitness.of([Group()], [store])(SIZE)
    assert None is fitness.of([there], [store])(SIZE)
    assert None is fitness.of([Group(), there], [store])(SIZE), "one of them can"
    assert None is fitness.of([Group(bin="/opt/prover")], [store])(SIZE)


def test_stores_without_sectors_are_lost_mounts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parameters: Path, store: PersistStore
) -> None:
    """Where no attached store has a folder of sectors there is nothing to prove from."""
    monkeypatch.setenv("FIL_PROOFS_PARAMETER_CACHE", str(parameters))
    lost = [PersistStore(name=name, path=tmp_path / name) for name in ("empty", "gone")]
    (tmp_path / "empty").mkdir()
    text = f"no attached store has sectors to prove ({tmp_path}/empty, {tmp_path}/gone): are their disks mounted?"
    assert text == fitness.of((), lost)(SIZE)
    assert None is fitness.of((), [*lost, store])(SIZE)
