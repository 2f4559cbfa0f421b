"""Copies of finished sectors: limited, whole, and in one place."""

import os
from pathlib import Path

import pytest

from damocles.sealing import events
from damocles.sealing.states import State
from damocles.stages import copies, job, limits
from damocles.stores.persist import PersistStore
from damocles.wire import seal, tasks
from damocles.worker import handlers

from ..worker.conftest import Bench
from .conftest import sector_in


async def test_copying_to_a_persist_store_keeps_the_limit_of_transfers(bench: Bench, tmp_path: Path) -> None:
    """Persisting is the stage `transfer`, whose limit is kept as that of any other."""
    bench.persist_stores["persist"] = PersistStore(name="persist", path=tmp_path / "persist")
    bench.caller.answers["StoreReserveSpace"] = [seal.StoreBasicInfo("persist", "/persist")]
    bench.stages["transfer"] = True
    assert events.Persist("persist") == await handlers.persist(bench.job(sector_in(State.PCLanded)))
    assert ["transfer"] == [stage for stage, _ in bench.ran]
    desk = limits.Desk(concurrent={"transfer": 1}, staggered={}, locks={})
    places = [limits.Place(name=name, state="open") for name in "ab"]
    first = await desk.claim("transfer", places, lambda _: None)
    waits: list[str] = []

    class NowWaiting(Exception):
        """The second one has to wait."""

    def on_wait(what: str) -> None:
        waits.append(what)
        raise NowWaiting

    with pytest.raises(NowWaiting):
        await desk.claim("transfer", places, on_wait)
    assert ["slot of transfer (limit 1)"] == waits
    first.release()


def test_a_copy_that_ends_early_does_not_get_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that gives fewer bytes than it has makes a failure, and no short replica."""
    (tmp_path / "a").write_bytes(bytes(4096))
    sends = os.sendfile
    left = [1024]

    def short(to: int, source: int, offset: int, count: int) -> int:
        sent = sends(to, source, offset, min(count, left[0]))
        left[0] -= sent
        return sent

    monkeypatch.setattr(os, "sendfile", short)
    ends = [{"store_name": None, "uri": str(tmp_path / name)} for name in ("a", "b")]
    with pytest.raises(copies.TransferRefused, match="4096 bytes at first, 1024 at the end"):
        copies.follow(tasks.Route(src=ends[0], dest=ends[1]), job.Job())
    assert not (tmp_path / "b").exists()
