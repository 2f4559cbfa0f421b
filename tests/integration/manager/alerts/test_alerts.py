"""Alerts of a running manager: what it sees, tells, keeps over a restart, and lets people do."""

import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from damocles.manager import daemon
from damocles.manager.alerts import config, table
from damocles.manager.alerts import rules as alerts_rules
from damocles.manager.sectors import ledger
from damocles.rpc import address, core, dialects, errors
from damocles.rpc.admission import tokens
from damocles.rpc.calling import client
from damocles.rpc.serving import asgi, server
from damocles.stores import persist
from damocles.testing import simulated_chain
from damocles.testing.farm import free_port
from damocles.testing.webhooks import Receiver, receiving
from damocles.wire import alerts, control, fleet, seal
from damocles.wire.sectors import SealProof, SectorID, SectorSize

from ..conftest import Clock, RecordedVerifier

INTERVAL_SECONDS = 0.05
ENDED = seal.ReportStateReq(
    seal.WorkerIdentifier("gpu-1", "/s"), seal.StateChange("ProofSubmitted", "Finished", "Finish"), None
)


class Manager:
    """A running manager with alerts, as a client sees it."""

    def __init__(self, rpc: client.Client, clock: Clock) -> None:
        self._rpc = rpc
        self._clock = clock
        self._dest = f"127.0.0.1:{free_port()}"  # nobody answers there

    async def call(self, method: str, *params: Any, returns: Any = None) -> Any:
        """Call a method."""
        return await self._rpc.call(method, list(params), returns=returns)

    async def board(self, everything: bool = False) -> alerts.Board:
        """Return the alerts."""
        board: alerts.Board = await self.call("Damocles.Alerts", everything, returns=alerts.Board)
        return board

    async def states(self) -> set[str]:
        """Return what is open, but for the worker that cannot be asked for its threads."""
        open_ones = (await self.board(everything=True)).alerts
        return {
            f"{alert.state} {alert.rule} {alert.subject}"
            for alert in open_ones
            if alert.state != alerts.RESOLVED and alert.rule != "worker-unreachable"
        }

    async def ping(self, name: str = "gpu-1", dest: str = "") -> None:
        """Let a worker ping."""
        await self.call("Venus.WorkerPing", fleet.WorkerInfo(name, dest or self._dest))

    async def seen(self) -> None:
        """Return when the manager has looked at everything as it is now."""
        for _ in range(2):  # the first look may have begun before
            self._clock.now += 0.001
            moved = self._clock.now
            with anyio.fail_after(20):
                while ((await self.board()).looked_at or 0.0) < moved:
                    await anyio.sleep(0.01)


@pytest.fixture
def started(tmp_path: Path, clock: Clock, verifier: RecordedVerifier) -> Callable[..., Any]:
    """Return a function that runs a manager on the same home again and again, which tells its alerts to a webhook."""

    @asynccontextmanager
    async def run(receiver: Receiver, *rules: alerts_rules.Rule, **stores: Path) -> AsyncIterator[Manager]:
        settings = daemon.Settings(
            home=tmp_path / "home",
            chain=simulated_chain.Source(miner=ledger.Miner(id=10000, proof=SealProof.of(SectorSize.KIB2))),
            listen=address.Endpoint("127.0.0.1", 0),
            stores=stores,
            alerts=config.Config(
                interval_seconds=INTERVAL_SECONDS,
                rules=rules or alerts_rules.DEFAULTS,
                webhooks=(config.Webhook(url=receiver.url),),
            ),
        )
        async with daemon.serve(settings, verifier, clock) as bound:
            token = tokens.read_file(tmp_path / "home" / "token")
            async with client.connect(bound.url(address.MANAGER_PATH), token=token) as rpc:
                yield Manager(rpc, clock)

    return run


async def test_a_board_is_of_one_look(started: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alerts that a look finds while the database is read for a board are not on it, and the time of that look is not either."""
    resolved = table.resolved

    def slowly(*arguments: Any) -> list[alerts.Alert]:
        clock.now += 76
        time.sleep(10 * INTERVAL_SECONDS)
        return resolved(*arguments)

    with receiving() as receiver:
        async with started(receiver) as manager:
            await manager.ping()
            await manager.seen()
            before = clock.now
            monkeypatch.setattr(table, "resolved", slowly)
            board = await manager.board(everything=True)
            assert (before, set()) == (board.looked_at, {a.rule for a in board.alerts} - {"worker-unreachable"})


async def test_a_long_look_holds_up_no_call(started: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a look at many threads is evaluated, calls are answered; what they change then is not lost by it."""
    began, free = threading.Event(), threading.Event()
    freed: list[bool] = []
    evaluate = alerts_rules.evaluate

    def slowly(*arguments: Any, **options: Any) -> Any:
        began.set()
        freed.append(free.wait(60))
        return evaluate(*arguments, **options)

    late = alerts_rules.Rule(name="worker-late")
    with receiving() as receiver:
        async with started(receiver, late) as manager:
            await manager.ping()
            await manager.seen()
            clock.now += 80
            await manager.seen()
            (alert,) = (await manager.board()).alerts
            monkeypatch.setattr(alerts_rules, "evaluate", slowly)
            try:
                await anyio.to_thread.run_sync(began.wait, 60)
                assert [alert.id] == [one.id for one in (await manager.board()).alerts]
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(manager.call, "Damocles.AlertAck", alert.id, "on my way")
                    tasks.start_soon(manager.call, "Damocles.AlertMute", "worker-late", 60, "for now")
                    await anyio.wait_all_tasks_blocked()
                    free.set()
            finally:
                free.set()
            await manager.seen()
            assert all(freed)
            board = await manager.board()
            assert (["on my way"], ["for now"]) == (
                [one.note for one in board.alerts],
                [one.note for one in board.mutes],
            )


async def test_a_silent_worker_is_late_then_lost_then_back(started: Any, clock: Clock) -> None:
    """Each change of a worker is told once to the webhook, and the end when it pings again."""
    with receiving() as receiver:
        async with started(receiver) as manager:
            await manager.ping()
            await manager.seen()
            assert set() == await manager.states()
            clock.now += 76
            await manager.seen()
            assert {"firing worker-late gpu-1"} == await manager.states()
            clock.now += 525
            await manager.seen()
            assert {"firing worker-lost gpu-1"} == await manager.states()
            await manager.ping()
            await manager.seen()
            assert set() == await manager.states()
            expected = ["firing worker-late gpu-1", "firing worker-lost gpu-1", "resolved worker-lost gpu-1"]
            with anyio.fail_after(20):
                while len([told for told in receiver.told() if "unreachable" not in told]) < 3:
                    await anyio.sleep(0.01)
            assert expected == [told for told in receiver.told() if "unreachable" not in told]


async def test_alerts_survive_a_restart_and_are_not_told_again(started: Any, clock: Clock) -> None:
    """After a restart an alert has the same number, age and acknowledgement, and nobody is told a second time."""
    late = alerts_rules.Rule(name="worker-late")
    with receiving() as receiver:
        async with started(receiver, late) as manager:
            await manager.ping()
            await manager.seen()
            clock.now += 80
            await manager.seen()
            (before,) = (await manager.board()).alerts
            await manager.call("Damocles.AlertAck", before.id, "a new disk is on its way", returns=alerts.Alert)
        clock.now += 30
        async with started(receiver, late) as manager:
            await manager.seen()
            (after,) = (await manager.board()).alerts
            assert (before.id, before.since, before.fired_at) == (after.id, after.since, after.fired_at)
            assert ("local", "a new disk is on its way") == (after.acknowledged_by, after.note)
            clock.now += 5 * 3600
            await manager.seen()
            assert ["firing worker-late gpu-1"] == receiver.told()
            await manager.ping()
            await manager.seen()
            assert [] == (await manager.board()).alerts
            (resolved,) = (await manager.board(everything=True)).alerts
            assert (before.id, alerts.RESOLVED) == (resolved.id, resolved.state)
            clock.now += 80
            await manager.seen()
            (again,) = (await manager.board()).alerts
            assert again.id > before.id


async def test_a_mute_holds_over_a_restart_and_can_be_ended(started: Any, clock: Clock) -> None:
    """A muted rule tells nothing until its time has passed or somebody ends the mute."""
    late = alerts_rules.Rule(name="worker-late")
    with receiving() as receiver:
        async with started(receiver, late) as manager:
            await manager.ping()
            await manager.call("Damocles.AlertMute", "worker-late", 7200, "moving racks", returns=alerts.Mute)
        async with started(receiver, late) as manager:
            await manager.ping()
            await manager.seen()
            clock.now += 80
            await manager.seen()
            board = await manager.board()
            assert ["moving racks"] == [mute.note for mute in board.mutes]
            assert [board.mutes[0].until] == [alert.muted_until for alert in board.alerts]
            assert [] == receiver.told()
            await manager.call("Damocles.AlertMute", "worker-late", 0, returns=alerts.Mute)
            await manager.seen()
            assert [] == (await manager.board()).mutes
            with anyio.fail_after(20):
                while not receiver.told():
                    await anyio.sleep(0.01)
            (alert,) = (await manager.board()).alerts
            mute = await manager.call("Damocles.AlertMute", alert.id, 60, returns=alerts.Mute)
            assert ("worker-late", "gpu-1") == (mute.rule, mute.subject)


async def test_wrong_numbers_and_rules_are_refused_with_the_right_ones(started: Any) -> None:
    """Who names what is not there is told what is."""
    with receiving() as receiver:
        async with started(receiver) as manager:
            with pytest.raises(errors.RpcError, match="no open alert 7; open ones: none"):
                await manager.call("Damocles.AlertAck", 7)
            with pytest.raises(errors.RpcError, match="no rule 'late'; there are: thread-paused, "):
                await manager.call("Damocles.AlertMute", "late", 60)
            with pytest.raises(errors.RpcError, match="did you mean"):
                await manager.call("Damocles.AlertMute", "worker-lat", 60)
            with pytest.raises(errors.RpcError, match="no open alert 7"):
                await manager.call("Damocles.AlertMute", 7, 60)


async def test_a_worker_that_hangs_delays_nothing(started: Any, clock: Clock) -> None:
    """While one worker takes connections and never answers, the paused thread of another is told, and so is the hang."""
    info = fleet.ThreadInfo("/s", "sealer", "s-t010000-1", 0, fleet.ThreadState("Paused", 400), "C1Done", "C2", None)

    async def threads() -> list[control.ThreadDetail]:
        return [control.ThreadDetail(info=info, since=clock.now - 400)]

    service = core.Service(dialects.WORKER)
    service.add("Damocles.Threads", threads)
    with receiving() as receiver, socket.create_server(("127.0.0.1", 0)) as hanging:
        async with started(receiver) as manager, server.serve(asgi.worker_app(service), "127.0.0.1", 0) as well:
            await manager.ping("hanging", f"127.0.0.1:{hanging.getsockname()[1]}")
            await manager.ping("well", str(well))
            await manager.seen()
            open_ones = {f"{alert.state} {alert.rule} {alert.subject}" for alert in (await manager.board(True)).alerts}
            assert {"firing thread-paused well #0", "pending worker-unreachable hanging"} == open_ones


async def test_a_store_without_room_for_a_sector_is_told(started: Any, tmp_path: Path) -> None:
    """The stores that the manager declares are looked at too."""
    everything = alerts_rules.Rule(name="store-full", percent=100)
    with receiving() as receiver:
        async with started(receiver, everything, disk=tmp_path) as manager:
            await manager.seen()
            assert {"firing store-full disk"} == await manager.states()


async def test_a_store_that_is_not_mounted_is_told_until_it_is_back(started: Any, tmp_path: Path) -> None:
    """A bare mount point in a store's place is an alert, with what helps; it is resolved by the mount."""
    mount, away = tmp_path / "mount", tmp_path / "away"
    persist.init(mount)
    with receiving() as receiver:
        async with started(receiver, alerts_rules.Rule(name="store-missing"), disk=mount) as manager:
            await manager.seen()
            assert set() == await manager.states()
            mount.rename(away)
            mount.mkdir()
            await manager.seen()
            (alert,) = (await manager.board()).alerts
            assert ("store-missing", "disk") == (alert.rule, alert.subject)
            assert "is the disk mounted? If it was replaced on purpose: damocles-worker store accept" in alert.text
            mount.rmdir()
            away.rename(mount)
            await manager.seen()
            assert set() == await manager.states()


async def test_what_people_do_is_in_the_audit_with_its_reason(started: Any) -> None:
    """Mutes are audited like every change."""
    with receiving() as receiver:
        async with started(receiver) as manager:
            await manager.call("Damocles.AlertMute", "worker-late", 60, "moving racks")
            entries = await manager.call("Damocles.AuditList", control.AuditQuery(), returns=list[control.AuditEntry])
    assert [("Damocles.AlertMute", "moving racks", True)] == [(one.what, one.reason, one.ok) for one in entries]


async def test_the_metrics_tell_the_alerts_and_the_requests(started: Any, clock: Clock, tmp_path: Path) -> None:
    """`/metrics` of a manager at work: who is late, what is told, how long requests took, and what was allocated."""
    late = alerts_rules.Rule(name="worker-late")
    with receiving() as receiver:
        async with started(receiver, late, disk=tmp_path) as manager:
            await manager.ping()
            await manager.call("Venus.AllocateSector", {})
            await manager.call("Venus.ReportState", SectorID(10000, 1), ENDED)
            await manager.seen()
            clock.now += 80
            await manager.seen()
            with anyio.fail_after(20):
                while not receiver.told():
                    await anyio.sleep(0.01)
            text = await scrape(manager, tmp_path / "home" / "token")
    for line in (
        "damocles_manager_info 1",
        'damocles_manager_new_sector{miner="10000"} 1',
        "damocles_manager_sectors_online 1",
        'damocles_manager_sectors_ended_total{miner="10000",outcome="finished"} 1',
        'damocles_manager_sealed_bytes_total{miner="10000"} 2048',
        'damocles_manager_worker_draining{worker="gpu-1"} 0',
        'damocles_manager_wdpost_jobs{state="failed"} 0',
        "damocles_manager_deals_waiting 0",
        'damocles_manager_workers{status="late"} 1',
        'damocles_manager_worker_count{category="latency<=120s"} 1',
        'damocles_manager_thread_count{category="paused"} 0',
        'damocles_manager_alerts{rule="worker-late",state="firing"} 1',
        'damocles_manager_api_request_duration_ms_count{api="",endpoint="Venus.WorkerPing"} 1',
    ):
        assert line in text.splitlines()
    assert 'damocles_manager_store_free_bytes{store="disk"} ' in text


async def scrape(manager: Manager, token_file: Path) -> str:
    """Read the metrics of the manager as Prometheus does."""
    import httpx2

    url = address.manager_url(manager._rpc.url).replace(address.MANAGER_PATH, "/metrics")
    async with httpx2.AsyncClient() as http:
        refused = await http.get(url)
        answer = await http.get(url, headers={"authorization": f"Bearer {tokens.read_file(token_file)}"})
    assert (401, 200) == (refused.status_code, answer.status_code)
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return answer.text


async def test_every_receiver_can_be_tried(started: Any) -> None:
    """One message that says that nothing is wrong, and what became of it; no alert is left behind."""
    with receiving() as receiver:
        async with started(receiver) as manager:
            made = await manager.call("Damocles.AlertTest", returns=list[alerts.Delivered])
            assert [True] == [one.ok for one in made]
            (told,) = receiver.told()
            assert told.startswith("test test 127.0.0.1:")
            assert [] == (await manager.board(everything=True)).alerts
    gone = Receiver(f"http://127.0.0.1:{free_port()}/")
    async with started(gone) as manager:
        (one,) = await manager.call("Damocles.AlertTest", returns=list[alerts.Delivered])
        assert (False, True) == (one.ok, bool(one.reason))
