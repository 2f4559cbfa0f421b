"""What managers on one PostgreSQL know of what the others have done."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from damocles.manager.db import engine
from damocles.manager.plans import wdpost_askers
from damocles.manager.plans.wdpost_askers import Askers
from damocles.manager.serving import auth
from damocles.methods.rules import Scope
from damocles.rpc import callers
from damocles.testing import postgres
from damocles.wire import wdpost
from damocles.wire.codec import Bytes32


@pytest.fixture
async def two(postgres_server: postgres.Server) -> AsyncIterator[tuple[engine.Database, engine.Database]]:
    """Return one database as two managers have it open."""
    url = postgres_server.url(postgres_server.new())
    async with engine.open_postgresql(url) as one, engine.open_postgresql(url) as other:
        yield one, other


async def test_each_home_has_its_own_tokens(two, tmp_path: Path) -> None:
    """A manager that begins beside another one locks nobody out there; a token of either home is good at both."""
    homes = [tmp_path / "one", tmp_path / "other"]
    for home in homes:
        home.mkdir()
    rings = [await auth.open_keyring(home, database, time.time) for home, database in zip(homes, two, strict=True)]
    for ring in rings:
        await ring.load()
        for home in homes:
            assert Scope.ADMIN in (await ring.identify((home / "token").read_text().strip())).scopes
    (homes[1] / "token").rename(homes[1] / "old")
    again = await auth.open_keyring(homes[1], two[1], time.time)
    with pytest.raises(callers.Unidentified):
        await again.identify((homes[1] / "old").read_text().strip())
    await again.identify((homes[0] / "token").read_text().strip())


async def test_who_asks_another_manager_for_window_posts_counts(two) -> None:
    """A worker that could prove is known at both, so that a lone report at one is not taken for everybody's."""
    one, other = (Askers(database, 1000.0) for database in two)
    spec = wdpost.AllocateSpec()
    work = wdpost.Input(sectors=[], miner=1000, proof_name="any", seed=Bytes32(bytes(32)))
    job = wdpost.Record(id="j", deadline=0, partitions=[0], input=work, created_at=1000, updated_at=1000)
    await other.restore(1000.0)
    await heard(one, two[0], "w1", spec, 1010.0)
    await other.restore(1011.0)
    assert {"w1"} == other.of(job, [], 1011.0)
    for at in (1070.0, 1130.0, 1190.0):
        await heard(one, two[0], "w1", spec, at)
    await other.restore(1300.0)
    assert {"w1"} == other.of(job, [], 1300.0)
    await other.restore(1400.0)
    assert set() == other.of(job, [], 1400.0)


async def heard(askers: Askers, database: engine.Database, worker: str, spec: wdpost.AllocateSpec, now: float) -> None:
    """Let a worker ask, as `WdPoSt.lend` does."""
    if askers.heard(worker, spec, now):
        await database.write(lambda tx: wdpost_askers.keep(tx, worker, spec, now), durable=False)
