"""Two workers that ping under one name, and what the manager's operators may do to them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.to_thread
import pytest

from damocles.cli import manager as cli
from damocles.manager.alerts import config
from damocles.operating import selection
from damocles.rpc import core, dialects, errors
from damocles.rpc.serving import asgi, server
from damocles.wire import alerts, control, fleet

from ..conftest import Clock, Manager, Start


class Worker:
    """Fake: a worker with one thread that has a sector; it keeps what was done to it."""

    def __init__(self, sector: str) -> None:
        self.sector = sector
        self.acts: list[str] = []
        self.dest = ""

    async def threads(self) -> list[control.ThreadDetail]:
        """Return the thread."""
        state = fleet.ThreadState("Running")
        info = fleet.ThreadInfo("/store", "sealer", self.sector, 0, state, "PC1Done", "PC2", None)
        return [control.ThreadDetail(info=info, sector=self.sector, since=0.0)]

    async def act_on(self, chosen: control.Selection, act: control.Act, asked_by: str = "") -> list[control.Outcome]:
        """Keep an act, if it is on our thread."""
        (thread,) = await self.threads()
        if not selection.holds(chosen, thread):
            return []
        self.acts.append(act.verb)
        return [control.Outcome(index=0, sector=self.sector, state="PC1Done", ok=True, text="pauses")]

    async def drain_state(self) -> control.Drain:
        """Drain nothing."""
        return control.Drain(on=False)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Listen."""
        service = core.Service(dialects.WORKER)
        service.add("Damocles.Threads", self.threads)
        service.add("Damocles.ActOn", self.act_on)
        service.add("Damocles.DrainState", self.drain_state)
        async with server.serve(asgi.worker_app(service), "127.0.0.1", 0) as bound:
            self.dest = str(bound)
            yield


@pytest.fixture
async def pair() -> AsyncIterator[tuple[Worker, Worker]]:
    """Return two workers."""
    first, second = Worker("s-t010000-1"), Worker("s-t010000-2")
    async with first.serving(), second.serving():
        yield first, second


@pytest.fixture
async def manager(start: Start, clock: Clock, pair: tuple[Worker, Worker]) -> AsyncIterator[Manager]:
    """Return a manager that both workers ping under the name `w1`."""
    async with start(alerts=config.Config(interval_seconds=0.05)) as running:
        for worker in (*pair, *pair):
            clock.now += 15
            await running.call("WorkerPing", fleet.WorkerInfo("w1", worker.dest))
        yield running


async def act(manager: Manager, **chosen: object) -> list[control.Outcome]:
    """Pause threads."""
    params = [control.Selection(**chosen), control.Act(verb="pause")]  # type: ignore[arg-type]
    outcomes: list[control.Outcome] = await manager.rpc.call("Damocles.FleetAct", params, returns=list[control.Outcome])
    return outcomes


async def test_an_index_of_a_shared_name_is_refused(manager: Manager, pair: tuple[Worker, Worker]) -> None:
    """Nobody knows whose thread is meant; both addresses are named, and nothing is done."""
    for dry_run in (True, False):
        params = [control.Selection(workers=["w1"], indexes=[0]), control.Act(verb="abort", dry_run=dry_run)]
        (outcome,) = await manager.rpc.call("Damocles.FleetAct", params, returns=list[control.Outcome])
        assert ("w1", 0, False) == (outcome.worker, outcome.index, outcome.ok)
        dests = " and ".join(sorted(worker.dest for worker in pair))
        assert outcome.text.startswith(f"2 workers ping under this name, from {dests}: name the thread by --sector")
    assert [[], []] == [worker.acts for worker in pair]


async def test_a_sector_or_an_address_is_clear(manager: Manager, pair: tuple[Worker, Worker]) -> None:
    """A sector is found on whichever of both has it, and an address is one worker."""
    for worker in pair:
        (outcome,) = await act(manager, sectors=[worker.sector])
        assert (worker.dest, worker.sector, True) == (outcome.dest, outcome.sector, outcome.ok)
        (outcome,) = await act(manager, workers=[worker.dest], indexes=[0])
        assert (worker.dest, True) == (outcome.dest, outcome.ok)
    assert [["pause", "pause"]] * 2 == [worker.acts for worker in pair]
    found = await manager.rpc.call(
        "Damocles.FleetThreads", [control.Selection(workers=["w1"])], returns=control.FleetThreads
    )
    assert sorted(worker.dest for worker in pair) == [thread.dest for thread in found.threads]


async def test_what_concerns_one_worker_needs_its_address(manager: Manager, pair: tuple[Worker, Worker]) -> None:
    """A drain or a log of a shared name is refused as well."""
    with pytest.raises(errors.RpcError, match="2 workers ping under this name"):
        await manager.rpc.call("Damocles.WorkerDrainState", ["w1"], returns=control.Drain)
    await manager.rpc.call("Damocles.WorkerDrainState", [pair[0].dest], returns=control.Drain)


async def test_a_shared_name_is_listed_and_alerted(
    manager: Manager, pair: tuple[Worker, Worker], capsys: pytest.CaptureFixture[str]
) -> None:
    """The list warns with both addresses, and a critical alert is there."""
    capsys.readouterr()
    arguments = ["util", "worker", "list", "--wide", "--listen", manager.url]
    assert 0 == await anyio.to_thread.run_sync(cli.main, arguments)
    shown = capsys.readouterr()
    assert "live, 2 workers" in shown.out
    assert all(worker.dest in shown.err for worker in pair)
    assert "give each its own (worker.name)" in shown.err
    with anyio.fail_after(20):
        while not (told := (await manager.rpc.call("Damocles.Alerts", [False], returns=alerts.Board)).alerts):
            await anyio.sleep(0.05)
    assert [("worker-name-shared", "w1", "critical")] == [(one.rule, one.subject, one.severity) for one in told]
