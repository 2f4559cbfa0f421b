"""A manager that is away, or hangs, or says odd things, stops no worker."""

from pathlib import Path

import anyio
import pytest

from damocles import methods
from damocles.rpc import errors
from damocles.sealing.states import State
from damocles.stores import journal
from damocles.wire import fleet
from damocles.worker import upstream
from damocles.worker.serving import control as worker_control
from damocles.worker.serving import drain, logbook, ping
from damocles.worker.thread import surroundings

from .conftest import Scene, sector_in, until


class Hangs:
    """Fake: a manager that takes calls and never answers."""

    def __init__(self) -> None:
        self.calls = 0

    async def call(self, *_: object, **__: object) -> None:
        """Count the call."""
        self.calls += 1
        await anyio.sleep_forever()


async def test_a_ping_that_is_not_answered_is_followed_by_the_next(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """A hanging manager costs the ping some seconds and not its life."""
    monkeypatch.setattr(ping, "TIMEOUT_SECONDS", 0.005)
    manager, gate = Hangs(), surroundings.Gate()
    ours = worker_control.Control([], drain.Drain(tmp_path, gate, []), logbook.Logbook())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ping.run, upstream.Manager(manager), ours, "w", "127.0.0.1:1", 0.001)  # type: ignore[arg-type]
        await until(lambda: manager.calls >= 3)
        tasks.cancel_scope.cancel()


class Returns:
    """Fake: a manager that is away for the first ping."""

    def __init__(self) -> None:
        self.calls = 0

    async def call(self, *_: object, **__: object) -> None:
        """Take every ping but the first."""
        self.calls += 1
        if self.calls == 1:
            raise errors.Unreachable("http://127.0.0.1:1", "Connection refused")


async def test_a_manager_that_comes_back_is_not_kept_waiting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is pinged again long before a ping is due: until then it could not call a worker that has started anew."""
    monkeypatch.setattr(ping, "AWAY_SECONDS", 0.005)
    manager, gate = Returns(), surroundings.Gate()
    ours = worker_control.Control([], drain.Drain(tmp_path, gate, []), logbook.Logbook())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ping.run, upstream.Manager(manager), ours, "w", "127.0.0.1:1", 3600.0)  # type: ignore[arg-type]
        await until(lambda: manager.calls == 2)
        tasks.cancel_scope.cancel()


class Pinged:
    """Fake: a manager that keeps the pings."""

    def __init__(self) -> None:
        self.pings: list[fleet.WorkerInfo] = []

    async def call(self, ask: methods.Ask[None]) -> None:
        """Take a ping."""
        self.pings += ask.params


async def test_what_changes_is_pinged_at_once(scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Lists of the manager do not contradict those of the worker for the length of a ping interval."""
    monkeypatch.setattr(ping, "LEAST_SECONDS", 0.01)
    manager = Pinged()
    scene.holds(sector_in(State.PC2Done))
    async with scene.running() as thread, anyio.create_task_group() as tasks:
        draining = drain.Drain(tmp_path, scene.gate, [thread])
        ours = worker_control.Control([thread], draining, logbook.Logbook())
        tasks.start_soon(ping.run, upstream.Manager(manager), ours, "w", "127.0.0.1:1", 3600.0)  # type: ignore[arg-type]
        await until(lambda: manager.pings and not manager.pings[-1].summary.empty)
        thread.pause(now=True)
        await until(lambda: manager.pings[-1].summary.paused == 1)
        await draining.set(on=True)
        await until(lambda: manager.pings[-1].draining is True)
        thread.resume(None)
        await draining.set(on=False)
        await until(lambda: manager.pings[-1].summary.paused == 0 and manager.pings[-1].draining is not True)
        assert {3600.0} == {told.ping_seconds for told in manager.pings}
        tasks.cancel_scope.cancel()


async def test_a_report_that_is_not_answered_holds_up_no_stage(scene: Scene) -> None:
    """Reports go beside the work: while the first one hangs the sector moves on."""
    hanging = Hangs()
    answers = scene.caller.call

    async def call(ask: methods.Ask[object]) -> object:
        if ask.method == "Venus.ReportState":
            await hanging.call()
        return await answers(ask)

    scene.caller.call = call  # type: ignore[method-assign]
    scene.holds(sector_in(State.PC2Done))
    async with scene.running() as thread:
        await until(lambda: hanging.calls == 1 and scene.asked("PollPreCommitState"))
        assert State.PCSubmitted is thread.sector.state


async def test_a_failure_that_is_over_is_forgotten_over_a_restart_too(scene: Scene) -> None:
    """Once the manager answers that a message is under way, the journal has no error and a whole budget of retries.

    Polls that change nothing leave no further line.
    """
    scene.option(rpc_polling_seconds=0.001)
    scene.holds(sector_in(State.PCSubmitted, retries=2, last_error="temporary: connection refused"))
    async with scene.running():
        await until(lambda: len(scene.asked("PollPreCommitState")) >= 5)
    found = scene.recorded()
    assert (State.PCSubmitted, 0, None) == (found.state, found.retries, found.last_error)
    assert 1 == [entry.event for entry in journal.read(scene.location)].count("Later")


async def test_a_failure_before_a_wait_for_deals_is_forgotten_likewise(scene: Scene) -> None:
    """That there are no deals yet is an answer too; waiting on leaves no further line."""
    scene.option(enable_deals=True, disable_cc=True)
    scene.caller.answers["AcquireDeals"] = [None]
    scene.holds(
        sector_in(State.Allocated, deals=None, pieces=None, retries=2, last_error="temporary: connection refused")
    )
    async with scene.running():
        await until(lambda: len(scene.asked("AcquireDeals")) >= 5)
    found = scene.recorded()
    assert (State.Allocated, 0, None) == (found.state, found.retries, found.last_error)
    assert 1 == [entry.event for entry in journal.read(scene.location)].count("Idle")
