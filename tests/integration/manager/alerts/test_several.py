"""Alerts of managers on one PostgreSQL: whoever has the lease looks for all, and each alert is sent once."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from sqlalchemy import update

from damocles.cli import manager as program
from damocles.manager import daemon, neighbours
from damocles.manager.alerts import config, several
from damocles.manager.db import engine, managers
from damocles.manager.sectors import ledger
from damocles.rpc import address
from damocles.rpc.admission import tokens
from damocles.rpc.calling import client
from damocles.testing import postgres, simulated_chain
from damocles.testing.farm import free_port
from damocles.testing.several_managers import Link
from damocles.testing.webhooks import Receiver, receiving
from damocles.wire import alerts, fleet
from damocles.wire.sectors import SealProof, SectorSize

from ..conftest import Clock, RecordedVerifier

INTERVAL_SECONDS = 0.1


class Manager:
    """One of several running managers, as a client sees it."""

    def __init__(self, rpc: client.Client) -> None:
        self._rpc = rpc

    async def call(self, method: str, *params: Any, returns: Any = None) -> Any:
        """Call a method."""
        return await self._rpc.call(method, list(params), returns=returns)

    async def firing(self) -> dict[tuple[str, str], alerts.Alert]:
        """Return the alerts that fire, by rule and subject."""
        board: alerts.Board = await self.call("Damocles.Alerts", False, returns=alerts.Board)
        return {(alert.rule, alert.subject): alert for alert in board.alerts}


@pytest.fixture
def url(postgres_server: postgres.Server) -> str:
    """Return the URL of an empty database."""
    return postgres_server.url(postgres_server.new())


@pytest.fixture
def run(tmp_path: Path, url: str, clock: Clock, verifier: RecordedVerifier, monkeypatch) -> Callable[..., Any]:
    """Return a function that runs a manager of a name, with a home of its own, which tells its alerts to a webhook."""
    monkeypatch.setattr(neighbours, "LOOK_SECONDS", 0.05)

    @asynccontextmanager
    async def run(name: str, receiver: Receiver, database: str = url) -> AsyncIterator[Manager]:
        settings = daemon.Settings(
            home=tmp_path / name,
            chain=simulated_chain.Source(miner=ledger.Miner(id=10000, proof=SealProof.of(SectorSize.KIB2))),
            listen=address.Endpoint("127.0.0.1", 0),
            database=database,
            alerts=config.Config(interval_seconds=INTERVAL_SECONDS, webhooks=(config.Webhook(url=receiver.url),)),
        )
        async with daemon.serve(settings, verifier, clock) as bound:
            token = await anyio.to_thread.run_sync(tokens.read_file, tmp_path / name / "token")
            async with client.connect(bound.url(address.MANAGER_PATH), token=token) as rpc:
                yield Manager(rpc)

    return run


async def until(holds: Callable[[], Any]) -> None:
    """Wait until something holds."""
    with anyio.fail_after(60):
        while not await holds():
            await anyio.sleep(0.02)


async def test_an_alert_is_sent_once_and_shown_everywhere(run, clock: Clock, url: str, capsys) -> None:
    """Two look at the same worker; one tells of it. What is acknowledged at the other one stays so, and its end is told once, by whoever is left."""
    with receiving() as receiver:
        async with AsyncExitStack() as stack:
            one = await stack.enter_async_context(run("one", receiver))
            async with run("other", receiver) as other:
                await other.call("Venus.WorkerPing", fleet.WorkerInfo("gpu-1", f"127.0.0.1:{free_port()}"))
                clock.now += 700
                key = ("worker-lost", "gpu-1")
                for manager in (one, other):
                    await until(partial(_has, manager, key))
                number = (await other.firing())[key].id
                await other.call("Damocles.AlertAck", number, "on my way", returns=alerts.Alert)
                assert "on my way" == (await one.firing())[key].note
                assert 0 == await anyio.to_thread.run_sync(program.main, ["db", "managers", url, "--json"])
                listed = capsys.readouterr().out
                assert (2, 1) == (listed.count('"silent": false'), listed.count(f'"{several.LEASE}"')), listed
            await one.call("Venus.WorkerPing", fleet.WorkerInfo("gpu-1", f"127.0.0.1:{free_port()}"))
            await until(lambda: _is_quiet(one))
        await until(lambda: _told(receiver, "resolved worker-lost gpu-1"))
    said = [one for one in receiver.told() if "worker-lost" in one]
    assert ["firing worker-lost gpu-1", "resolved worker-lost gpu-1"] == said


async def _has(manager: Manager, key: tuple[str, str]) -> bool:
    return key in await manager.firing()


async def _told(receiver: Receiver, what: str) -> bool:
    return what in receiver.told()


async def _is_quiet(manager: Manager) -> bool:
    return ("worker-lost", "gpu-1") not in await manager.firing()


async def test_one_that_says_nothing_is_told_of(run, url: str) -> None:
    """A manager that has left without a word is an alert at the others; one that has ended in good order is none."""
    with receiving() as receiver:
        async with run("one", receiver) as one, engine.open_postgresql(url) as database:
            async with run("other", receiver):
                pass
            await database.write(lambda tx: managers.here(tx, "dead", "10.0.0.7:1789", "h", managers.Told()))
            rows = managers._ROWS
            silence = update(rows).where(rows.c.name == "dead").values(seen=rows.c.seen - 60.0)
            await database.write(lambda tx: tx.execute(silence))
            await until(lambda: _has(one, ("manager-silent", "manager dead")))
            (text,) = [alert.text for key, alert in (await one.firing()).items() if key[0] == "manager-silent"]
            assert "10.0.0.7:1789" in text
            dead = managers.Told(disk="the disk is full", chain={"node http://n": "is behind"})
            await database.write(lambda tx: managers.here(tx, "dead", "10.0.0.7:1789", "h", dead))
            await until(lambda: _has(one, ("manager-disk", "manager dead")))
            assert ("manager-silent", "manager dead") not in await one.firing()


async def test_without_the_lease_nothing_is_told(run, clock: Clock, url: str) -> None:
    """Another manager has the lease: this one shows what is recorded, and sends nothing."""
    with receiving() as receiver:
        async with engine.open_postgresql(url) as database, database.leases.keeping([several.LEASE]) as held:
            assert held.has(several.LEASE)
            await database.write(lambda tx: managers.here(tx, "dead", "", "h", managers.Told(disk="full")))
            async with run("one", receiver) as one:
                for _ in range(3):
                    clock.now += 1
                    await until(lambda: _has_looked(one, clock.now))
                assert {} == await one.firing()
    assert [] == receiver.told()


async def _has_looked(manager: Manager, at: float) -> bool:
    board = await manager.call("Damocles.Alerts", False, returns=alerts.Board)
    return (board.looked_at or 0.0) >= at


async def test_one_without_its_database_tells_of_it_at_once(run, postgres_server: postgres.Server, monkeypatch) -> None:
    """A manager whose way to the database is cut tells people, long before it gives up to wait for an answer, and when it is back."""
    monkeypatch.setattr(neighbours, "PATIENCE_SECONDS", 0.5)
    link = Link(postgres_server.port)
    url = postgres_server.url(postgres_server.new(), port=link.port)
    with receiving() as receiver:
        async with run("one", receiver, url) as one:
            await until(partial(_has_looked, one, 0.1))
            link.is_cut = True
            name = managers.name_of(Path("one")).partition(":")[0]
            await until(partial(_tells, receiver, f"firing manager-disk manager {name}:"))
            link.is_cut = False
            await until(partial(_tells, receiver, f"resolved manager-disk manager {name}:"))
    link.close()


async def _tells(receiver: Receiver, begins: str) -> bool:
    return any(one.startswith(begins) for one in receiver.told())
