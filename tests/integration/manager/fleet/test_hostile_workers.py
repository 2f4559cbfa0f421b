"""Workers that tell nonsense, and what they cannot do to the manager."""

import contextlib
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx2
import pytest

from damocles import methods
from damocles.manager import daemon
from damocles.manager.alerts import config
from damocles.manager.fleet import peers as fleet_peers
from damocles.manager.sectors import ledger
from damocles.operating import dialogues
from damocles.rpc import address, core, dialects, errors
from damocles.rpc.admission import tokens
from damocles.rpc.calling import client
from damocles.rpc.serving import asgi, server
from damocles.testing import simulated_chain
from damocles.wire import alerts, control, fleet
from damocles.wire.sectors import SealProof, SectorSize

from ..conftest import Clock, Manager, RecordedVerifier

BAD_DESTINATIONS = ["ex\u0430mple..com:1", "exa..mple:1", "http://[::1]:99999/", "a b:1", "a\x1b[31m:1", "x" * 300]
SINCE = -1e18


@asynccontextmanager
async def started(home: Path, clock: Clock) -> AsyncIterator[Manager]:
    """Run a manager that looks for alerts all the time; its end fails if one of its tasks failed."""
    settings = daemon.Settings(
        home=home,
        chain=simulated_chain.Source(miner=ledger.Miner(id=10000, proof=SealProof.of(SectorSize.KIB2))),
        listen=address.Endpoint("127.0.0.1", 0),
        alerts=config.Config(interval_seconds=0.01),
    )
    async with daemon.serve(settings, RecordedVerifier(), clock) as bound:
        url, token = bound.url(address.MANAGER_PATH), tokens.read_file(home / "token")
        async with client.connect(url, token=token, timeout_seconds=20) as rpc:
            yield Manager(url, rpc, token)


async def told(manager: Manager) -> control.FleetThreads:
    """Return what `info --all` shows."""
    every = control.Selection(all=True)
    found: control.FleetThreads = await manager.rpc.call("Damocles.FleetThreads", [every], returns=control.FleetThreads)
    return found


async def looked(manager: Manager, clock: Clock) -> alerts.Board:
    """Return the alerts when a look has begun and ended from now on."""
    board = alerts.Board(alerts=[], mutes=[], looked_at=None)
    for _ in range(2):
        clock.now += 0.001
        with anyio.fail_after(20):
            while (board.looked_at or 0.0) < clock.now:
                board = await manager.rpc.call("Damocles.Alerts", [True], returns=alerts.Board)
                await anyio.sleep(0.01)
    return board


@asynccontextmanager
async def worker(**methods: object) -> AsyncIterator[str]:
    """Serve `Damocles.*` methods that give these answers; yield the address."""

    def answering(answer: object) -> object:
        async def handler() -> object:
            return answer

        return handler

    service = core.Service(dialects.WORKER)
    for name, answer in methods.items():
        space = "VenusWorker" if name == "WorkerList" else "Damocles"
        service.add(f"{space}.{name}", answering(answer))  # type: ignore[call-overload]
    async with server.serve(asgi.worker_app(service), "127.0.0.1", 0) as bound:
        yield str(bound)


@pytest.mark.parametrize("dest", BAD_DESTINATIONS)
async def test_a_destination_that_is_none_is_refused(tmp_path: Path, clock: Clock, dest: str) -> None:
    """A ping with a destination that nobody could call is refused, and the worker is not listed."""
    async with started(tmp_path, clock) as manager:
        with pytest.raises(errors.RpcError, match="worker dest"):
            await manager.call("WorkerPing", fleet.WorkerInfo("evil", dest))
        assert [] == await manager.rpc.call("Damocles.Workers", returns=list[control.WorkerStatus])


@pytest.mark.parametrize("name", ["\x1b[31mevil", "a\nb", "x" * 256, "\u202eevil"])
async def test_a_name_that_cannot_be_shown_is_refused(tmp_path: Path, clock: Clock, name: str) -> None:
    """A ping under a name that is too long or not printable is refused."""
    async with started(tmp_path, clock) as manager:
        with pytest.raises(errors.RpcError, match="worker name must be at most 255 printable characters"):
            await manager.call("WorkerPing", fleet.WorkerInfo(name, "127.0.0.1:9"))


async def test_a_token_that_is_none_is_refused(tmp_path: Path, clock: Clock) -> None:
    """A token to call back with that does not fit into a header is refused."""
    async with started(tmp_path, clock) as manager:
        headers = {b"authorization": f"Bearer {manager.token}".encode(), core.HANDED.encode(): b"\xe9\xff"}
        call = {"jsonrpc": "2.0", "id": 1, "method": "Venus.WorkerPing"}
        params = [{"Name": "evil", "Dest": "127.0.0.1:9"}]
        async with httpx2.AsyncClient() as http:
            answer = await http.post(manager.url, headers=headers, json={**call, "params": params})
        assert "call the worker back by holds no token" in answer.json()["error"]["message"]
        assert [] == await manager.rpc.call("Damocles.Workers", returns=list[control.WorkerStatus])


@pytest.mark.parametrize(
    ("dest", "token"), [*((dest, None) for dest in BAD_DESTINATIONS), ("127.0.0.1:9", "\u00e9\u00ff")]
)
async def test_a_bad_ping_of_before_is_one_silent_worker(
    tmp_path: Path, clock: Clock, dest: str, token: str | None
) -> None:
    """What an earlier release stored is named with a reason; alerts and everything else go on."""
    async with started(tmp_path, clock) as manager:
        await manager.call("WorkerPing", fleet.WorkerInfo("evil", "127.0.0.1:9"))
    with contextlib.closing(sqlite3.connect(tmp_path / daemon.DATABASE_NAME)) as database, database:
        changed = "UPDATE workers SET info = json_set(info, '$.Dest', ?), token = ?"
        assert 1 == database.execute(changed, (dest, token)).rowcount
    async with started(tmp_path, clock) as manager, worker(Threads=[]) as well:
        await manager.call("WorkerPing", fleet.WorkerInfo("well", well))
        assert ["evil"] == [silence.worker for silence in (await told(manager)).silent]
        await looked(manager, clock)


def paused(since: float, sector: str = "s-t010000-1") -> control.ThreadDetail:
    """Return a thread as a worker tells it."""
    state = fleet.ThreadState("Paused", 5)
    info = fleet.ThreadInfo("/x", "sealer", sector, 0, state, "C1Done", "C2", "permanent: x")
    return control.ThreadDetail(info=info, sector=sector, since=since, paused_at=since)


async def test_nonsense_about_times_and_sectors_is_shown(tmp_path: Path, clock: Clock) -> None:
    """A thread that is paused since before all calendars, at a sector of nobody, has its alert like others."""
    threads = [paused(SINCE), paused(SINCE, "s-t0" + "9" * 5000)]
    async with started(tmp_path, clock) as manager, worker(Threads=threads) as dest:
        await manager.call("WorkerPing", fleet.WorkerInfo("odd", dest))
        assert [SINCE, SINCE] == [thread.paused_at for thread in (await told(manager)).threads]
        board = await looked(manager, clock)
        assert any("paused at C1Done since @-1e+18" in alert.text for alert in board.alerts)


async def test_what_cannot_be_used_is_one_silent_worker(tmp_path: Path, clock: Clock) -> None:
    """A worker of the original with an endless pause is named with the reason; the others are shown."""
    state = {"state": "Paused", "elapsed": 10**400}
    info = {"location": "/x", "plan": "sealer", "job_id": None, "index": 0, "thread_state": state}
    info |= {"job_state": "Empty", "job_stage": None, "last_error": None}
    async with (
        started(tmp_path, clock) as manager,
        worker(WorkerList=[info]) as dest,
        worker(Threads=[paused(1.0)]) as well,
    ):
        await manager.call("WorkerPing", fleet.WorkerInfo("odd", dest))
        await manager.call("WorkerPing", fleet.WorkerInfo("well", well))
        found = await told(manager)
        assert ["odd"] == [silence.worker for silence in found.silent]
        assert ["well"] == [thread.worker for thread in found.threads]
        await looked(manager, clock)


async def test_each_dialogue_shows_its_own_token() -> None:
    """Two names at one destination, each with a token of its own, are not mixed up when they are asked at once."""
    seen: list[str | None] = []
    both = anyio.Event()

    async def whoami(call: core.Call) -> str | None:
        seen.append(call.token)
        if len(seen) == 2:
            both.set()
        await both.wait()
        return call.token

    def ask() -> dialogues.Dialogue[list[str]]:
        first = yield [methods.Ask("Damocles.Whoami", (), str)]
        second = yield [methods.Ask("Damocles.Whoami", (), str)]
        return [*first, *second]

    service = core.Service(dialects.WORKER)
    service.add("Damocles.Whoami", whoami)
    told: dict[str, list[str]] = {}
    async with server.serve(asgi.worker_app(service), "127.0.0.1", 0) as bound, fleet_peers.open_peers() as peers:

        async def hold(token: str) -> None:
            told[token] = await peers.hold(str(bound), ask(), 20, token=token)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hold, "dmc_one")
            tasks.start_soon(hold, "dmc_two")
    assert {"dmc_one": ["dmc_one"] * 2, "dmc_two": ["dmc_two"] * 2} == told
