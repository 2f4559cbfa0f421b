"""Times and numbers that are too large for a calendar, a database or anybody's life."""

import contextlib
import sqlite3
from typing import Any

import pytest
from anyio import to_thread

from damocles.cli import manager as manager_cli
from damocles.methods.rules import Scope
from damocles.rpc import errors
from damocles.text import units

from .conftest import StartManager, StartWorker

TOO_LONG = [1e308, units.LONGEST_SECONDS + 1, -1.0]


@pytest.mark.parametrize("seconds", TOO_LONG)
async def test_the_manager_takes_no_endless_times(start_manager: StartManager, seconds: float) -> None:
    """What is to last longer than a century, or less than nothing, is refused with the limit."""
    calls: list[tuple[str, list[Any]]] = [
        ("Damocles.AuthCreate", ["far", "read", seconds]),
        ("Damocles.AlertMute", ["worker-late", seconds]),
        ("Damocles.Workers", [seconds]),
        ("Damocles.FleetThreads", [{"all": True}, seconds]),
        ("Damocles.WorkerDrain", ["w", True, seconds]),
    ]
    async with start_manager() as manager:
        for method, params in calls:
            with pytest.raises(errors.RpcError, match=r"Expected `float` [<>]= "):
                await manager.call(method, *params)


@pytest.mark.parametrize("seconds", TOO_LONG)
async def test_the_worker_takes_no_endless_times(start_worker: StartWorker, seconds: float) -> None:
    """What is to last longer than a century, or less than nothing, is refused with the limit."""
    async with start_worker() as worker:
        for method, params in (
            ("Drain", [True, seconds]),
            ("Logs", [0, 0, seconds]),
            ("AuthCreate", ["a", "read", seconds]),
        ):
            with pytest.raises(errors.RpcError, match=r"Expected `float` [<>]= "):
                await worker.call(f"Damocles.{method}", *params)


async def test_numbers_fit_into_the_database(start_manager: StartManager) -> None:
    """A question by a number that no row can have is refused, not met as a crash."""
    async with start_manager() as manager:
        with pytest.raises(errors.RpcError, match="a number is too large for the database"):
            await manager.call("Damocles.AuditList", {"after_id": 2**63})


async def test_a_token_of_before_is_listed(start_manager: StartManager, capsys: pytest.CaptureFixture[str]) -> None:
    """A token that is good until after all calendars is shown with the number."""
    async with start_manager() as manager:
        await manager.create("far", Scope.READ)
        with contextlib.closing(sqlite3.connect(manager.home / "manager.db")) as database, database:
            database.execute("UPDATE tokens SET expires = 1e15 WHERE name = 'far'")
        capsys.readouterr()
        at = ["--listen", manager.url, "--home", str(manager.home)]
        assert 0 == await to_thread.run_sync(manager_cli.main, ["auth", "list", *at])
        (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("far ")]
        assert "@1e+15" in line
        assert 2 == await to_thread.run_sync(
            manager_cli.main, ["auth", "create", "x", "--scope", "read", "--expires", "99999999d", *at]
        )
        assert "error: --expires: '99999999d' is longer than 100 years\n" == capsys.readouterr().err
