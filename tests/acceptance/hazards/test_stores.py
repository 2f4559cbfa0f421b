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


def restart(f: Farm) -> None:
    """Stop the worker in order and start it again."""
    assert f.worker is not None
    assert 0 == stop(f.worker)
    f.worker = None
    f.start_worker()


def test_disks_that_are_not_mounted_are_not_taken_for_empty_ones(tmp_path: Path) -> None:
    """A worker without its disks makes no store and persists nothing; `config check` says so; all heals with the mounts.

    The bare folders stand for mount points: of the sealing store the parent, of the persist store the folder itself.
    """
    persist, store = tmp_path / "persist", tmp_path / "store1"
    with Farm(tmp_path, threads=1, parameters=tmp_path, max_sectors=2) as f:
        f.start_worker()
        wait_until(lambda: len(list((tmp_path / "worker/stores").glob("*.json"))) == 2, "the stores are known")
        persist.rename(tmp_path / "persist away")
        persist.mkdir()
        f.start_manager()
        wait_until(has_failed(f, f"temporary: persist store persist: {persist} is not the store"), "no persist store")
        store.rename(tmp_path / "store1 away")
        restart(f)
        wait_until(has_failed(f, f"the store {store} cannot be read"), "the thread misses its store")
        checked = cli("damocles-worker", "config", "check", str(f.config))
        assert 2 == checked.stderr.count("is the disk mounted?")
        assert (False, []) == (store.exists(), list(persist.iterdir()))
        (tmp_path / "store1 away").rename(store)
        wait_until(lambda: f.thread(0).job_state == "PCLanded", "the store is there again")
        persist.rmdir()
        (tmp_path / "persist away").rename(persist)
        wait_until(has_failed(f, "No cached parameters"), "the sector is persisted")
        assert files(persist)
    rows = [entry.sector for entry in f.history(0) if entry.sector is not None]
    assert {"s-t010000-1"} == set(rows)


def test_a_replaced_disk_is_taken_once_somebody_says_so(tmp_path: Path) -> None:
    """`store accept` is the way to exchange a disk on purpose; until then its store is refused."""
    with Farm(tmp_path, threads=1, parameters=tmp_path, max_sectors=1) as f:
        f.start_manager()
        f.start_worker()
        wait_until(has_failed(f, "No cached parameters"), "the sector is persisted")
        f.stores[0].rename(tmp_path / "old disk")
        cli("damocles-worker", "store", "sealing-init", "--loc", str(f.stores[0]))
        restart(f)
        wait_until(has_failed(f, "but another store"), "the new disk is refused")
        accepted = cli("damocles-worker", "store", "accept", str(f.stores[0]), "-c", str(f.config))
        assert " replaces " in accepted.stdout
        wait_until(lambda: f.thread(0).last_error is None and f.thread(0).job_id is None, "the new disk is taken")
        assert "warning" not in cli("damocles-worker", "config", "check", str(f.config)).stderr
