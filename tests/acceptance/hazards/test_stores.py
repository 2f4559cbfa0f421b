"""What becomes of stores when something else than their own worker's sector comes to them."""

import shutil
from collections.abc import Callable
from pathlib import Path

from damocles.testing.farm import Farm, cli, stop, wait_until


def files(folder: Path) -> dict[str, bytes]:
    """Return the files of sectors in a persist store."""
    found = [path for part in ("sealed", "cache") for path in (folder / part).rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def has_failed(f: Farm, text: str) -> Callable[[], bool]:
    """Return what tells whether the first thread shows an error."""
    return lambda: text in (f.thread(0).last_error or "")


def test_a_number_that_comes_again_replaces_no_files(tmp_path: Path) -> None:
    """A manager that was set up anew hands out sector 1 again: the files of the first one stay, and the thread says why."""
    with Farm(tmp_path, threads=1, parameters=tmp_path, max_sectors=1) as f:
        f.start_manager()
        f.start_worker()
        wait_until(has_failed(f, "No cached parameters"), "the first sector is persisted")
        assert f.worker is not None
        assert f.manager is not None
        assert 0 == stop(f.worker) == stop(f.manager)
        f.worker = f.manager = None
        before = files(tmp_path / "persist")
        assert before
        (tmp_path / "manager").rename(tmp_path / "manager of before")
        shutil.rmtree(f.stores[0])
        shutil.rmtree(tmp_path / "worker")
        cli("damocles-worker", "store", "sealing-init", "--loc", str(f.stores[0]))
        f.start_manager()
        f.start_worker()
        wait_until(
            has_failed(f, f"{tmp_path}/persist has files of s-t010000-1 with CommR"), "the second one is refused"
        )
        assert f.thread(0).thread_state.state == "Paused"
        assert before == files(tmp_path / "persist")
