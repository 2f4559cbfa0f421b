"""What is written down of a change, and what is no change."""

import errno
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import anyio
import msgspec
import pytest
import structlog.testing

from damocles.methods.rules import Scope
from damocles.rpc import callers, core, dialects, errors
from damocles.rpc.admission import access, audit, audit_rows
from damocles.wire import control
from damocles.wire.sectors import SectorID

from .conftest import NOW, Clock

SECTOR = SectorID(10000, 7)


class MemoryLedger:
    """Entries in memory; fails when it is told to."""

    def __init__(self) -> None:
        self.entries: list[control.AuditEntry] = []
        self.broken = False

    async def begin(self, entry: control.AuditEntry) -> int:
        """Keep one more."""
        await anyio.sleep(0)
        if self.broken:
            raise OSError(errno.ENOSPC, "No space left on device", "audit.jsonl")
        self.entries.append(entry)
        return len(self.entries) - 1

    async def end(self, key: int, end: control.AuditEnd) -> None:
        """Complete one."""
        await anyio.sleep(0)
        if self.broken:
            raise OSError(errno.ENOSPC, "No space left on device", "audit.jsonl")
        self.entries[key] = audit_rows.finished(self.entries[key], end)


class Thing:
    """What the methods of the test change."""

    state = "old"


async def until_begun(ledger: MemoryLedger) -> None:
    """Wait until there is an entry."""
    while not ledger.entries:
        await anyio.sleep(0)


@pytest.fixture
def ledger() -> MemoryLedger:
    """Where entries go."""
    return MemoryLedger()


@pytest.fixture
def service(ledger: MemoryLedger, clock: Clock) -> core.Service:
    """A service under audit, with a handler of each kind behind names from the table."""
    thing = Thing()

    async def look(_: Sequence[Any]) -> Any:
        return {"state": thing.state}

    async def identify(token: str) -> callers.Principal:
        return callers.Principal(f"{token}-1", frozenset({Scope(token)}))

    async def resume(index: int, state: str | None = None) -> bool:
        thing.state = state or "new"
        return True

    async def act(chosen: control.Selection, act: control.Act, asked_by: str = "") -> list[control.Outcome]:
        before, after = "Paused C1Done", "Running C1Done"
        return [
            control.Outcome(
                worker="w", index=0, sector="s-t010000-8", before=before, after=after, ok=True, text="goes on"
            ),
            control.Outcome(worker="v", ok=False, silent=True, text="did not answer"),
        ]

    async def drain(on: bool, deadline_seconds: float | None = None, reason: str = "") -> None:
        if not on:
            raise errors.RpcError(errors.Code.INVALID_PARAMS, "cannot")

    async def crash(name: str) -> None:
        raise KeyError(name)

    async def hang(sector: SectorID) -> bool:
        await anyio.sleep_forever()
        return True

    async def listing() -> list[str]:
        return []

    async def report(sector: SectorID, reason: str) -> None:
        pass

    async def create(name: str, scope: str) -> str:
        return "dmc_secret"

    async def unseal(sector: SectorID) -> AsyncGenerator[bytes, None]:
        yield b""

    async def blind(_: Sequence[Any]) -> Any:
        raise LookupError

    observers: dict[str, audit.Observe] = {"VenusWorker.WorkerResume": look, "VenusWorker.WorkerRemoveEnv": blind}
    recorder = audit.Audit(ledger, observers=observers, clock=clock)
    guard = access.Guard(identify, help_text="")
    service = core.Service(dialects.MANAGER, guard=guard, layers=[recorder])
    service.add("VenusWorker.WorkerResume", resume)
    service.add("VenusWorker.WorkerPause", resume)
    service.add("VenusWorker.WorkerRemoveEnv", resume)
    service.add("Damocles.ActOn", act)
    service.add("Damocles.Drain", drain)
    service.add("Venus.WorkerPingInfoRemove", crash)
    service.add("Venus.StoreReleaseReserved", hang)
    service.add("Venus.WorkerPingInfoList", listing)
    service.add("Venus.ReportAborted", report)
    service.add("Damocles.AuthCreate", create)
    service.add("Venus.UnsealPiece", unseal)
    return service


async def call(service: core.Service, method: str, *params: Any, scope: Scope = Scope.ADMIN) -> dict[str, Any]:
    """Call a method and return the answer."""
    body = msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    reply = await service.answer(body, core.Call(peer="10.0.0.9:5", token=scope.value))
    return msgspec.json.decode(reply.body, type=dict[str, Any])


async def test_a_change_has_one_entry_with_everything(service: core.Service, ledger: MemoryLedger) -> None:
    """Who, from where, when, what, with which arguments, how it was and is, and what came of it."""
    await call(service, "VenusWorker.WorkerResume", 3, "PC1Done", scope=Scope.OPERATE)
    assert [
        control.AuditEntry(
            at=NOW,
            who="operate-1",
            address="10.0.0.9:5",
            what="VenusWorker.WorkerResume",
            names=["index", "state"],
            params=[3, "PC1Done"],
            before={"state": "old"},
            after={"state": "PC1Done"},
            ok=True,
            outcome=True,
        )
    ] == ledger.entries


async def test_reason_and_sectors_are_found(service: core.Service, ledger: MemoryLedger) -> None:
    """The reason is taken from a parameter of that name or from an act; sectors from arguments and result."""
    await call(service, "Damocles.Drain", True, None, "new disks")
    await call(service, "Damocles.ActOn", {"sectors": ["s-t010000-7"]}, {"verb": "abort", "reason": "bad disk"})
    assert ["new disks", "bad disk"] == [entry.reason for entry in ledger.entries]
    assert [[], ["s-t010000-7", "s-t010000-8"]] == [entry.sectors for entry in ledger.entries]


async def test_an_act_tells_of_before_and_after(service: core.Service, ledger: MemoryLedger) -> None:
    """What was acted on is elsewhere, so the result tells how it was and is; who asked the manager is named too."""
    await call(service, "Damocles.ActOn", {"all": True}, {"verb": "resume"}, "alice")
    (entry,) = ledger.entries
    assert ({"w #0": "Paused C1Done"}, {"w #0": "Running C1Done"}) == (entry.before, entry.after)
    assert "alice via admin-1" == entry.who


async def test_failures_have_an_entry_too(service: core.Service, ledger: MemoryLedger) -> None:
    """A refusal is written down with its text, a crash with its kind."""
    await call(service, "Damocles.Drain", False)
    with structlog.testing.capture_logs():
        await call(service, "Venus.WorkerPingInfoRemove", "w1")
    assert [(False, "cannot"), (False, "KeyError: 'w1'")] == [(entry.ok, entry.outcome) for entry in ledger.entries]


async def test_a_cancelled_change_has_an_entry(service: core.Service, ledger: MemoryLedger) -> None:
    """Nobody knows what a call that was cut off has done; that it was made is known."""
    with anyio.move_on_after(0.01):
        await call(service, "Venus.StoreReleaseReserved", {"Miner": 10000, "Number": 7})
    (entry,) = ledger.entries
    assert (False, "cancelled", [str(SECTOR)]) == (entry.ok, entry.outcome, entry.sectors)


@pytest.mark.parametrize(
    ("method", "params", "scope"),
    [
        ("Venus.WorkerPingInfoList", [], Scope.ADMIN),  # changes nothing
        ("Damocles.ActOn", [{"all": True}, {"verb": "abort", "dry_run": True}], Scope.ADMIN),
        ("Venus.ReportAborted", [{"Miner": 1, "Number": 2}, "x"], Scope.WORKER),  # in the sector's history
        ("VenusWorker.WorkerResume", [0], Scope.READ),  # refused: nothing was changed
        ("VenusWorker.WorkerResume", ["zero"], Scope.ADMIN),  # never got to its handler
    ],
)
async def test_what_is_no_change_has_none(
    service: core.Service, ledger: MemoryLedger, method: str, params: list[Any], scope: Scope
) -> None:
    """Questions, dry runs, refused calls, and what workers do to their sectors, make no entry."""
    await call(service, method, *params, scope=scope)
    assert [] == ledger.entries


async def test_people_who_act_as_workers_are_written_down(service: core.Service, ledger: MemoryLedger) -> None:
    """An admin who gives up a sector by the workers' method leaves an entry."""
    await call(service, "Venus.ReportAborted", {"Miner": 10000, "Number": 7}, "by hand")
    assert [("admin-1", "by hand", [str(SECTOR)])] == [(e.who, e.reason, e.sectors) for e in ledger.entries]


async def test_secrets_are_left_out(service: core.Service, ledger: MemoryLedger) -> None:
    """That a token was made is written down, the token is not."""
    assert "dmc_secret" == (await call(service, "Damocles.AuthCreate", "alice", "read"))["result"]
    assert "secret" not in repr(ledger.entries)
    assert [True] == [entry.ok for entry in ledger.entries]


async def test_a_stream_is_written_down_when_it_begins(service: core.Service, ledger: MemoryLedger) -> None:
    """What streams its result is a change from its beginning on."""
    method = service.methods["Venus.UnsealPiece"]
    request = service.read(
        b'{"jsonrpc":"2.0","id":1,"method":"Venus.UnsealPiece","params":[{"Miner":10000,"Number":7}]}'
    )
    values = await service.stream(method, request, core.Call(principal="alice"))
    assert [("alice", True)] == [(entry.who, entry.ok) for entry in ledger.entries]
    await values.aclose()


async def test_a_full_disk_refuses_a_change(service: core.Service, ledger: MemoryLedger) -> None:
    """A change whose entry cannot be written does not happen, and the refusal names the file and says what to do."""
    ledger.broken = True
    answer = await call(service, "VenusWorker.WorkerResume", 3)
    assert errors.Code.DISK_FAILS == answer["error"]["code"]
    assert answer["error"]["message"].startswith("audit.jsonl: No space left on device; fix that")
    ledger.broken = False
    await call(service, "VenusWorker.WorkerResume", 4)
    assert [[4]] == [entry.params for entry in ledger.entries]
    assert {"state": "old"} == ledger.entries[0].before


async def test_a_full_disk_keeps_nobody_from_pausing(service: core.Service, ledger: MemoryLedger) -> None:
    """A pause is made and answered; its entry is in the log at once, and written before the next one when there is room."""
    ledger.broken = True
    with structlog.testing.capture_logs() as logs:
        answer = await call(service, "Damocles.ActOn", {"all": True}, {"verb": "pause", "reason": "disk full"})
    assert answer["result"]
    (line,) = logs
    assert "audit: entry cannot be written yet" == line["event"]
    assert '"what":"Damocles.ActOn","names":["chosen","act"]' in line["entry"]
    ledger.broken = False
    await call(service, "VenusWorker.WorkerResume", 3)
    assert [("Damocles.ActOn", "disk full", True), ("VenusWorker.WorkerResume", "", True)] == [
        (entry.what, entry.reason, entry.ok) for entry in ledger.entries
    ]
    assert all(entry.ended for entry in ledger.entries)


async def test_a_disk_that_fails_meanwhile_loses_no_outcome(service: core.Service, ledger: MemoryLedger) -> None:
    """What was begun on a good disk is answered, and completed when the disk is good again."""
    with anyio.move_on_after(0.01):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, service, "Venus.StoreReleaseReserved", {"Miner": 10000, "Number": 7})
            await until_begun(ledger)
            ledger.broken = True
    assert [(False, False)] == [(entry.ok, entry.ended) for entry in ledger.entries]
    ledger.broken = False
    await call(service, "VenusWorker.WorkerResume", 3)
    assert [("cancelled", True), (True, True)] == [(entry.outcome, entry.ended) for entry in ledger.entries]


async def test_what_is_owed_is_written_although_nothing_else_happens(
    service: core.Service, ledger: MemoryLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The audit itself tries again, every so often and at the daemon's end."""
    (auditor,) = service.layers
    assert isinstance(auditor, audit.Audit)
    ledger.broken = True
    with structlog.testing.capture_logs():
        await call(service, "VenusWorker.WorkerPause", 3)
    ledger.broken = False
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(auditor.run)
        await anyio.sleep(0)
        tasks.cancel_scope.cancel()
    assert ["VenusWorker.WorkerPause"] == [entry.what for entry in ledger.entries]


async def test_an_entry_is_there_before_its_change(service: core.Service, ledger: MemoryLedger) -> None:
    """Whoever kills the daemon in the middle finds the change in the audit, as one whose outcome nobody knows."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call, service, "Venus.StoreReleaseReserved", {"Miner": 10000, "Number": 7})
        await until_begun(ledger)
        (entry,) = ledger.entries
        assert (False, "Venus.StoreReleaseReserved", [str(SECTOR)]) == (entry.ended, entry.what, entry.sectors)
        tasks.cancel_scope.cancel()


async def test_a_blind_observer_does_not_stop_operators(service: core.Service, ledger: MemoryLedger) -> None:
    """If nobody can say how a thing looks, the change is made and written down without that."""
    with structlog.testing.capture_logs():
        answer = await call(service, "VenusWorker.WorkerRemoveEnv", 3)
    assert True is answer["result"]
    assert [None] == [entry.before for entry in ledger.entries]


async def test_what_is_too_long_is_cut(service: core.Service, ledger: MemoryLedger) -> None:
    """Nobody can fill the disk with one call."""
    await call(service, "Damocles.Drain", True, None, "x" * 1_000_000)
    (entry,) = ledger.entries
    assert audit_rows.FIELD_BYTES + 1 == len(entry.params)
    assert "x" * audit.REASON_CHARACTERS == entry.reason
