"""The audits of both daemons, through their APIs and command lines."""

import json
import sqlite3
import stat
from contextlib import closing, suppress
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from damocles.cli import manager as manager_cli
from damocles.cli import worker as worker_cli
from damocles.cli.access import audit as audit_cli
from damocles.manager.serving import audit as ledger_of
from damocles.methods.rules import Scope
from damocles.rpc import errors
from damocles.rpc.admission import access
from damocles.wire import control, fleet, seal
from damocles.worker.serving import audit

from .conftest import Daemon, StartManager, StartWorker

SECTOR = {"Miner": 10000, "Number": 1}


async def entries(manager: Daemon, **query: object) -> list[control.AuditEntry]:
    """Return what the manager has written down."""
    return await manager.call("Damocles.AuditList", query, returns=list[control.AuditEntry])  # type: ignore[no-any-return]


class TestManager:
    async def test_each_change_has_one_entry(self, start_manager: StartManager) -> None:
        """A day of an operator: each change once, with its holder, and how things were before and after."""
        async with start_manager() as manager:
            alice = await manager.create("alice", Scope.OPERATE)
            await manager.call("Venus.WorkerPing", fleet.WorkerInfo("w1", "127.0.0.1:1"))
            await manager.call("Venus.AllocateSector", {}, returns=seal.AllocatedSector)
            await manager.call("Venus.StoreReserveSpace", SECTOR, 2048, ["p"], returns=seal.StoreBasicInfo)
            await manager.call("Venus.StoreReleaseReserved", SECTOR, token=alice, returns=bool)
            await manager.call("Venus.WorkerPingInfoRemove", "w1", token=alice)
            act = control.Act(verb="pause", reason="disks")
            await manager.call("Damocles.FleetAct", control.Selection(all=True), act, token=alice)
            await manager.call(
                "Damocles.FleetAct", control.Selection(all=True), control.Act(verb="pause", dry_run=True)
            )
            with pytest.raises(errors.RpcError):
                await manager.call("Damocles.WorkerDrain", "nobody", True, None, "x", token=alice)
            with pytest.raises(errors.RpcError):
                await manager.call("Damocles.AuthRevoke", "alice", token=alice)
            await manager.call("Damocles.AuthRevoke", "alice")
            found = await entries(manager)
        assert [
            ("local", "Damocles.AuthCreate", True),
            ("local", "Venus.WorkerPing", True),  # by an admin: a worker's own is in no audit
            ("local", "Venus.AllocateSector", True),
            ("local", "Venus.StoreReserveSpace", True),
            ("alice", "Venus.StoreReleaseReserved", True),
            ("alice", "Venus.WorkerPingInfoRemove", True),
            ("alice", "Damocles.FleetAct", True),
            ("alice", "Damocles.WorkerDrain", False),
            ("local", "Damocles.AuthRevoke", True),
        ] == [(entry.who, entry.what, entry.ok) for entry in found]
        released, removed, acted = found[4:7]
        assert (2048, None, ["s-t010000-1"]) == (released.before["size_bytes"], released.after, released.sectors)
        assert ("w1", None) == (removed.before["Info"]["Name"], removed.after)
        assert ("disks", [{"all": True}, {"verb": "pause", "reason": "disks"}]) == (acted.reason, acted.params)
        assert all(entry.address.startswith("127.0.0.1:") for entry in found)

    async def test_workers_at_work_make_none(self, start_manager: StartManager) -> None:
        """What a worker does to its sectors is in their history, not here."""
        async with start_manager() as manager:
            worker = await manager.create("w", Scope.WORKER)
            await manager.call("Venus.WorkerPing", fleet.WorkerInfo("w1", "127.0.0.1:1"), token=worker)
            await manager.call("Venus.AllocateSector", {}, token=worker)
            await manager.call("Venus.ReportAborted", SECTOR, "x", token=worker)
            assert ["Damocles.AuthCreate"] == [entry.what for entry in await entries(manager)]

    async def test_a_call_within_a_call_makes_one(self, start_manager: StartManager) -> None:
        """A step under an attempt is written down by its own name; nobody gets by that way at what is not theirs."""
        async with start_manager() as manager:
            await manager.call("Damocles.Allocate", {}, "id")
            await manager.call("Damocles.As", SECTOR, 1, "Venus.ReportAborted", [SECTOR, "by hand"], "id")
            worker = await manager.create("w", Scope.WORKER)
            for method in ("Venus.WorkerPingInfoRemove", "Damocles.AuthRevoke"):
                with pytest.raises(errors.RpcError, match="w has scope worker") as raised:
                    await manager.call("Damocles.As", SECTOR, 1, method, ["w"], "id", token=worker)
                assert errors.Code.FORBIDDEN == raised.value.code
            assert ["Damocles.Allocate", "Venus.ReportAborted", "Damocles.AuthCreate"] == [
                entry.what for entry in await entries(manager)
            ]

    async def test_it_is_searched(self, start_manager: StartManager) -> None:
        """By time, holder, method and sector, together; a page goes on behind the last one."""
        async with start_manager() as manager:
            alice = await manager.create("alice", Scope.ADMIN)
            for number in (1, 12):
                await manager.call("Venus.StoreReleaseReserved", {"Miner": 10000, "Number": number}, token=alice)
            everything = await entries(manager)
            assert [1, 2, 3] == [entry.id for entry in everything]
            assert [2] == [entry.id for entry in await entries(manager, sector="s-t010000-1")]
            assert [2, 3] == [entry.id for entry in await entries(manager, who="alice")]
            assert [1] == [entry.id for entry in await entries(manager, what="authcreate")]
            assert [3] == [entry.id for entry in await entries(manager, since=everything[2].at)]
            assert [] == await entries(manager, who="alice", what="Auth")
            assert [2] == [entry.id for entry in await entries(manager, after_id=1, limit=1)]
            assert [] == await entries(manager, what="%")

    async def test_nothing_alters_it(self, start_manager: StartManager) -> None:
        """No method changes or removes an entry, nor does SQL while the manager is down; it outlives restarts."""
        async with start_manager() as manager:
            await manager.create("alice", Scope.READ)
            assert ["Damocles.AuditList"] == [name for name in manager.service.methods if "Audit" in name]
            assert not access.RULES["Damocles.AuditList"].changes
            before = await entries(manager)
        with closing(sqlite3.connect(manager.home / "manager.db")) as database:
            for statement in ("DELETE FROM audit", "UPDATE audit SET entry = '{}'"):
                with pytest.raises(sqlite3.IntegrityError, match="the audit can only be added to"):
                    database.execute(statement)
        async with start_manager() as manager:
            assert before == await entries(manager)

    async def test_its_files_are_private(self, start_manager: StartManager) -> None:
        """Database and tokens can be read by their owner only."""
        async with start_manager() as manager:
            await manager.create("alice", Scope.READ)
            modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in manager.home.iterdir() if file.is_file()}
        secret = {"manager.db", "manager.db-wal", "manager.db-shm", "token", "worker-token", "api.json"}
        assert dict.fromkeys(secret, 0o600) == {name: mode for name, mode in modes.items() if name != "lock"}

    async def test_an_export_waits_longer_than_a_list(
        self, start_manager: StartManager, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A manager that has much to do takes its time for a page; the whole audit is worth waiting for."""
        select = ledger_of.Ledger.select

        async def slowly(ledger: ledger_of.Ledger, query: control.AuditQuery) -> list[control.AuditEntry]:
            await anyio.sleep(0.5)
            return await select(ledger, query)

        monkeypatch.setattr(ledger_of.Ledger, "select", slowly)
        async with start_manager() as manager:
            await manager.create("alice", Scope.READ)
            at = ["--listen", manager.url, "--home", str(manager.home), "--timeout", "100ms"]
            capsys.readouterr()
            assert 4 == await to_thread.run_sync(manager_cli.main, ["audit", "list", *at])
            assert "did not answer within" in capsys.readouterr().err
            assert 0 == await to_thread.run_sync(manager_cli.main, ["audit", "export", *at])
            (exported,) = map(json.loads, capsys.readouterr().out.splitlines())
        assert "Damocles.AuthCreate" == exported["what"]

    async def test_the_command_lists_and_exports(
        self, start_manager: StartManager, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Pages are put together; a table for people, JSON and JSON lines for programs, the export as both."""
        monkeypatch.setattr(audit_cli, "PAGE", 2)
        async with start_manager() as manager:
            for name in ("alice", "bob", "carol"):
                await manager.create(name, Scope.READ)
            at = ["--listen", manager.url, "--home", str(manager.home)]
            capsys.readouterr()
            assert 0 == await to_thread.run_sync(manager_cli.main, ["audit", "export", *at])
            exported = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
            assert 0 == await to_thread.run_sync(manager_cli.main, ["audit", "export", "--json", *at])
            assert exported == json.loads(capsys.readouterr().out)
            assert 0 == await to_thread.run_sync(manager_cli.main, ["audit", "list", "--json", "--since", "1h", *at])
            listed = json.loads(capsys.readouterr().out)
            assert 0 == await to_thread.run_sync(manager_cli.main, ["audit", "list", "--who", "local", *at])
            header, *lines = capsys.readouterr().out.splitlines()
        assert ["alice", "bob", "carol"] == [entry["params"][0] for entry in exported]
        assert [1, 2, 3] == [entry["id"] for entry in listed]
        assert ["At", "Who", "From", "What", "With", "Why", "Outcome"] == header.split()
        assert 3 == len(lines)
        assert "AuthCreate" in lines[0]
        assert "dmc_" not in str((exported, listed, lines))


class TestWorker:
    async def test_each_change_is_one_line(self, start_worker: StartWorker) -> None:
        """Pause, resume, drain, variables and tokens: each makes a line, with what was refused."""
        async with start_worker('allow_env = ["DUMP_ERR_RESP_*"]') as worker:
            calls: list[tuple[str, list[object]]] = [
                ("VenusWorker.WorkerPause", [7]),
                ("Damocles.ActOn", [{"indexes": [7]}, {"verb": "ab", "reason": "bad"}]),
                ("Damocles.Drain", [True, None, "new disks"]),
                ("VenusWorker.WorkerSetEnv", ["DUMP_ERR_RESP_1", "/tmp"]),
                ("VenusWorker.WorkerRemoveEnv", ["DUMP_ERR_RESP_1"]),
                ("VenusWorker.WorkerSetEnv", ["LD_PRELOAD", "/tmp/evil.so"]),
                ("Damocles.AuthCreate", ["alice", "read"]),
                ("Damocles.Threads", []),
            ]
            for method, params in calls:
                with suppress(errors.RpcError):
                    await worker.call(method, *params)
            found = list(audit.read(worker.home))
        assert [
            ("Damocles.Drain", "new disks", True),
            ("VenusWorker.WorkerSetEnv", "", True),
            ("VenusWorker.WorkerRemoveEnv", "", True),
            ("VenusWorker.WorkerSetEnv", "", False),
            ("Damocles.AuthCreate", "", True),
        ] == [(entry.what, entry.reason, entry.ok) for entry in found if entry.ok or "Env" in entry.what]
        assert [False, False] == [entry.ok for entry in found[:2]]
        drained, was_set = found[2:4]
        assert (False, True) == (drained.before["on"], drained.after["on"])
        assert (None, "/tmp") == (was_set.before, was_set.after)
        assert "LD_PRELOAD is refused" in found[5].outcome
        assert {"local"} == {entry.who for entry in found}

    async def test_the_command_reads_the_file(
        self, start_worker: StartWorker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The list is there also when the worker is down."""
        async with start_worker() as worker:
            await worker.call("Damocles.Drain", True, None, "new disks")
            await worker.call("Damocles.Drain", False)
        config = ["-c", str(tmp_path / "worker.toml")]
        capsys.readouterr()
        assert 0 == await to_thread.run_sync(worker_cli.main, ["audit", "list", "--what", "drain", *config])
        _, first, second = capsys.readouterr().out.splitlines()
        assert ["local", "Drain", "done"] == [first.split()[1], first.split()[3], first.split()[-1]]
        assert "new disks" in first
        assert "new disks" not in second
        assert 0 == await to_thread.run_sync(worker_cli.main, ["audit", "export", *config])
        exported = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        assert 0 == await to_thread.run_sync(worker_cli.main, ["audit", "export", "--json", *config])
        assert exported == json.loads(capsys.readouterr().out)
        assert ["new disks", None] == [entry.get("reason") for entry in exported]
        assert 0 == await to_thread.run_sync(worker_cli.main, ["audit", "list", "--who", "x", "--json", *config])
        assert [] == json.loads(capsys.readouterr().out)


async def test_many_changes_at_once_are_all_there(start_manager: StartManager, start_worker: StartWorker) -> None:
    """No entry is lost or written twice when changes come at the same time."""
    async with start_manager() as manager, start_worker() as worker:
        for daemon in (manager, worker):
            async with anyio.create_task_group() as tasks:
                for number in range(20):
                    tasks.start_soon(daemon.create, f"t{number}", Scope.READ)
        names = sorted(f"t{number}" for number in range(20))
        assert names == sorted(entry.params[0] for entry in await entries(manager))
        assert names == sorted(entry.params[0] for entry in audit.read(worker.home))
        for daemon in (manager, worker):
            known = await daemon.call("Damocles.AuthList", returns=list[control.Token])
            assert names == sorted(token.name for token in known if token.name.startswith("t"))
