"""Whether what paused threads lack has come meanwhile."""

from pathlib import Path

import anyio
import pytest
from msgspec import structs

from damocles.cli.threads import notes
from damocles.operating import words
from damocles.parameters import catalog, lacking
from damocles.parameters.catalog import Kind
from damocles.sealing.sectors import Sector
from damocles.wire import control, fleet
from damocles.wire.sectors import SectorSize
from damocles.worker.thread import remedies

SET, *_ = catalog.sets([SectorSize.KIB2], [Kind.POREP])
NOW = 1000.0


def error(folder: Path) -> str:
    """Return what the library says of a set that is not there."""
    name = SET.identifier
    return f"permanent: No cached parameters found for {name[4:]} [failure finding {folder}/{name}.params]"


def put(folder: Path) -> None:
    """Fetch the set."""
    for file in SET.files:
        (folder / file.name).write_bytes(b"x")


class Thread:
    """Fake: a thread with a sector."""

    def __init__(self, error: str | None, paused_at: float | None = NOW) -> None:
        self.index = 0
        self.remedy: str | None = None
        self.sector = Sector(plan="sealer", last_error=error, paused_at=paused_at)


def test_only_what_was_missing_and_is_there_counts(tmp_path):
    """Both files have to be there, in the folder that was looked in; other errors are another matter."""
    assert not lacking.are_there_now(error(tmp_path))
    (tmp_path / SET.files[0].name).write_bytes(b"x")
    assert not lacking.are_there_now(error(tmp_path))
    put(tmp_path)
    assert lacking.are_there_now(error(tmp_path))
    assert not lacking.are_there_now(error(tmp_path / "elsewhere"))
    assert not lacking.are_there_now("permanent: No space left on device")
    srs = f"permanent: No cached srs key found for x [failure finding {tmp_path}/v28-fil-inner-product-v1.srs]"
    assert not lacking.are_there_now(srs)
    (tmp_path / "v28-fil-inner-product-v1.srs").write_bytes(b"x")
    assert lacking.are_there_now(srs)


async def test_a_paused_thread_is_told_when_its_parameters_have_come(tmp_path, monkeypatch):
    """It stays paused and says so; one that runs, or waits for something else, does not."""
    monkeypatch.setattr(remedies, "EVERY_SECONDS", 0.005)
    paused, running, other = Thread(error(tmp_path)), Thread(error(tmp_path), None), Thread("permanent: no GPU")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(remedies.watch, [paused, running, other])  # type: ignore[arg-type]
        await anyio.sleep(0.05)
        assert paused.remedy is None
        put(tmp_path)
        with anyio.fail_after(60):
            while paused.remedy is None:
                await anyio.sleep(0.001)
        assert (lacking.THERE_NOW, None, None) == (paused.remedy, running.remedy, other.remedy)
        paused.sector = structs.replace(paused.sector, paused_at=None)
        with anyio.fail_after(60):
            while paused.remedy is not None:
                await anyio.sleep(0.001)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("is_there", [True, False])
def test_lists_say_that_a_resume_would_help(tmp_path, monkeypatch, is_there):
    """The reason of the pause is followed by what to do, and nothing is to be fetched any more."""
    monkeypatch.setenv("COLUMNS", "1000")
    info = fleet.ThreadInfo(
        "/srv", "sealer", "s-t010000-1", 0, fleet.ThreadState("Paused"), "C1Done", "C2", error(tmp_path)
    )
    waiting = control.Waiting(lacking.THERE_NOW if is_there else "resume", NOW)
    thread = control.ThreadDetail(info=info, worker="w", since=NOW, waiting=waiting)
    brief = "C2 parameters missing (2KiB)"
    assert ("C2 parameters there: resume" if is_there else brief) == words.why(thread, NOW)
    told = list(notes.lines([thread], resume=["damocles-worker worker resume"], whole=False))
    resume = "  resume:  damocles-worker worker resume --error 'No cached parameters'"
    assert (f"1 thread: {brief}{', there now' if is_there else ''}", resume) == (told[0], told[-1])
    assert (2 if is_there else 4) == len(told)
    meant = "an operator's resume" + (": the missing parameters are there now" if is_there else "")
    assert f"{meant}, for 0s" == words.waits(thread, NOW)
