"""Whether a machine can prove window PoSts at all."""

import shutil
from pathlib import Path

import pytest

from damocles.parameters import catalog
from damocles.stores import identity
from damocles.stores.persist import PersistStore
from damocles.wire.sectors import SectorSize
from damocles.worker.config.load import Group
from damocles.worker.thread import fitness

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
    lacking = fitness.of((), [store], identity.NOTHING)
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
    assert None is not fitness.of([Group()], [store], identity.NOTHING)(SIZE)
    assert None is fitness.of([there], [store], identity.NOTHING)(SIZE)
    assert None is fitness.of([Group(), there], [store], identity.NOTHING)(SIZE), "one of them can"
    assert None is fitness.of([Group(bin="/opt/prover")], [store], identity.NOTHING)(SIZE)


def test_stores_that_are_not_there_any_more_are_lost_mounts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parameters: Path, store: PersistStore
) -> None:
    """Where each attached store is another one than it was there is nothing to prove from; a new one is no lost one."""
    monkeypatch.setenv("FIL_PROOFS_PARAMETER_CACHE", str(parameters))
    memory = identity.Memory(tmp_path / "home")
    lost = PersistStore(name="lost", path=tmp_path / "mount")
    lost.path.mkdir()
    assert None is fitness.of((), [lost], memory)(SIZE), "it was never seen"
    memory.admit(lost.path)
    assert None is fitness.of((), [lost], memory)(SIZE)
    shutil.rmtree(lost.path)
    lost.path.mkdir()
    text = fitness.of((), [lost], memory)(SIZE)
    assert text is not None
    assert "is not the store that was there before" in text
    assert None is fitness.of((), [lost, store], memory)(SIZE), "another one is there"
