"""A manager whose disk is full, fails or is read-only: what workers and people are answered."""

import errno
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
import structlog.testing
from sqlalchemy import Connection, exc

from damocles import methods
from damocles.manager.alerts import config
from damocles.manager.db import engine, sqlite
from damocles.rpc import errors
from damocles.rpc.calling import client
from damocles.sealing import failures
from damocles.wire import alerts, control, fleet
from damocles.worker import upstream

from .conftest import Clock, Manager, Start


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Return what fills the disk and makes room again, for all that is written to a database."""
    real = sqlite.SQLite.begin

    def fill(on: bool) -> None:
        monkeypatch.setattr(sqlite.SQLite, "begin", _full if on else real)

    return fill


def _full(*_: Any, **__: Any) -> Any:
    """Fail as SQLite does."""
    said = sqlite3.OperationalError("database or disk is full")
    said.sqlite_errorcode = sqlite3.SQLITE_FULL
    raise exc.OperationalError("BEGIN IMMEDIATE", None, said)


@pytest.fixture
async def manager(start: Start) -> AsyncIterator[Manager]:
    """Return a manager that looks for alerts all the time."""
    async with start(alerts=config.Config(interval_seconds=0.05)) as running:
        yield running


async def test_a_real_full_database_is_told_by_its_file(tmp_path: Path) -> None:
    """What SQLite says when there is no room for another page is worded for people, without the library's own words."""
    async with engine.open_sqlite(tmp_path / "m.db") as database:

        def fill(tx: Connection) -> None:
            tx.exec_driver_sql("PRAGMA max_page_count=1")  # as many as there are
            tx.exec_driver_sql("CREATE TABLE filler AS SELECT zeroblob(1000000)")

        with pytest.raises(errors.DiskFails) as told:
            await database.write(fill)
    assert str(told.value).startswith(f"{tmp_path}/m.db: database or disk is full; fix that")
    assert "sqlalche" not in str(told.value)
    assert errors.Code.DISK_FAILS == told.value.code


@pytest.mark.parametrize(("name", "text"), [("enospc", "No space left on device"), ("eio", "Input/output error")])
async def test_what_the_system_says_is_told_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    """An error of the system at the commit is the disk's as well."""

    def fail(point: str, _: object) -> None:
        if point == "database.before":
            error = OSError(getattr(errno, name.upper()), text)
            raise exc.OperationalError("COMMIT", None, error) from error

    monkeypatch.setattr(engine, "_reach", fail)
    async with engine.open_sqlite(tmp_path / "m.db") as database:
        with pytest.raises(errors.DiskFails, match=text):
            await database.write(lambda _: None)


async def test_a_worker_takes_a_full_disk_for_a_manager_that_is_away(
    manager: Manager, full: Callable[[bool], None]
) -> None:
    """Its thread asks again for as long as it takes, and pauses for nothing; afterwards all goes on."""
    worker = upstream.Manager(manager.rpc)
    full(True)
    with pytest.raises(
        failures.Away, match=r"WorkerPing: the manager's disk fails: .*manager\.db: database or disk is full"
    ):
        await worker.call(methods.sealer.worker_ping(fleet.WorkerInfo("w1", "127.0.0.1:1")))
    full(False)
    await worker.call(methods.sealer.worker_ping(fleet.WorkerInfo("w1", "127.0.0.1:1")))


async def test_the_log_has_one_line(manager: Manager, full: Callable[[bool], None], clock: Clock) -> None:
    """However many calls fail, the cause is logged once, and once more when all has been well for a while."""
    with structlog.testing.capture_logs() as logged:
        full(True)
        for _ in range(5):
            with pytest.raises(errors.RpcError) as refused:
                await manager.call("WorkerPing", fleet.WorkerInfo("w1", "127.0.0.1:1"))
            assert "panic" not in refused.value.message
        full(False)
        engine_of = "the database's disk"
        await manager.call("WorkerPing", fleet.WorkerInfo("w1", "127.0.0.1:1"))
    lines = [line for line in logged if line["event"].startswith(engine_of)]
    assert ["the database's disk fails"] == [line["event"] for line in lines]
    assert not [line for line in logged if "exc_info" in line]


async def test_it_is_an_alert_although_alerts_cannot_be_written(manager: Manager, full: Callable[[bool], None]) -> None:
    """Whoever lists the alerts sees which file cannot be written."""
    full(True)
    with pytest.raises(errors.RpcError):
        await manager.call("WorkerPing", fleet.WorkerInfo("w1", "127.0.0.1:1"))
    with anyio.fail_after(20):
        while not (told := (await manager.rpc.call("Damocles.Alerts", [False], returns=alerts.Board)).alerts):
            await anyio.sleep(0.02)
    (alert,) = [alert for alert in told if alert.rule == "manager-disk"]
    assert ("critical", "manager") == (alert.severity, alert.subject)
    assert "manager.db: database or disk is full" in alert.text


async def test_nobody_is_lost_because_a_ping_cannot_be_kept(
    manager: Manager, full: Callable[[bool], None], clock: Clock
) -> None:
    """A worker's pings are heard although their time cannot be written down."""
    ping = fleet.WorkerInfo("w1", "127.0.0.1:1")
    made = await manager.rpc.call("Damocles.AuthCreate", ["w1", "worker"], returns=control.NewToken)
    async with client.connect(manager.url, token=made.text) as worker:
        await worker.call("Venus.WorkerPing", [ping], returns=None)
        full(True)
        for _ in range(30):
            clock.now += 30
            with pytest.raises(errors.RpcError):
                await worker.call("Venus.WorkerPing", [ping], returns=None)
    (status,) = await manager.rpc.call("Damocles.Workers", [], returns=list[control.WorkerStatus])
    assert "live" == status.status


async def test_a_disk_that_is_well_again_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trouble is over when nothing has failed for a minute: small writes succeed beside large ones that do not."""
    async with engine.open_sqlite(tmp_path / "m.db") as database:
        with monkeypatch.context() as patch:
            patch.setattr(sqlite.SQLite, "begin", _full)
            with pytest.raises(errors.DiskFails):
                await database.write(lambda _: None)
        await database.write(lambda _: None)
        assert f"{tmp_path}/m.db: database or disk is full" == database.trouble
        monkeypatch.setattr(sqlite.SQLite, "well_again_seconds", -1.0)
        await database.write(lambda _: None)
        assert None is database.trouble


async def test_other_files_of_a_daemon_are_named_likewise(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that meets a full disk elsewhere is no crash either."""

    def fail(*_: object) -> None:
        raise OSError(28, os.strerror(28), "/home/sp/file")

    monkeypatch.setattr("damocles.manager.fleet.workers.select_all", fail)
    with pytest.raises(errors.RpcError, match=r"^/home/sp/file: No space left on device; fix that") as refused:
        await manager.call("WorkerPingInfoList")
    assert errors.Code.DISK_FAILS == refused.value.code


async def test_metrics_and_pieces_are_http_503(manager: Manager, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scraper, and whoever fetches a piece, hears why as well, whether the data or their token cannot be read."""
    headers = {"authorization": f"Bearer {manager.token}"}

    def fail(*_: object) -> None:
        raise errors.DiskFails("/home/sp/manager.db", "disk I/O error")

    async with httpx2.AsyncClient() as web:
        url = manager.url.replace("/rpc/v0", "/metrics")
        for broken in ("damocles.manager.serving.metrics._read", "damocles.rpc.admission.keyring.tokens.id_of"):
            with monkeypatch.context() as patch:
                patch.setattr(broken, fail)
                answer = await web.get(url, headers=headers)
            assert (503, True) == (answer.status_code, "disk I/O error" in answer.text)
        assert 200 == (await web.get(url, headers=headers)).status_code
