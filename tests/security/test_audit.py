"""The audit is the truth: no change without a row, no row that cannot be listed, no secret in one."""

import errno
import json
import os
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
import structlog.testing
from anyio import to_thread
from tests.integration.access.conftest import Daemon, StartManager, StartWorker

from damocles.cli import manager as manager_cli
from damocles.cli import worker as worker_cli
from damocles.methods.rules import Scope
from damocles.rpc import core, errors
from damocles.rpc.admission import audit_rows
from damocles.wire import codec, control, fleet
from damocles.worker.serving import audit

SECRET = "S3CRETMARKER"
PIECE = "baga6ea4seaqao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq"
SECTOR = {"Miner": 10000, "Number": 1}

Listed = Callable[..., Awaitable[str]]


@pytest.fixture
def listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Listed:
    """Return what runs `audit …` of either program and returns what it prints."""

    async def listed(daemon: Daemon | None, *words: str) -> str:
        capsys.readouterr()
        if daemon is None:
            code = await to_thread.run_sync(worker_cli.main, ["audit", *words, "-c", str(tmp_path / "worker.toml")])
        else:
            at = ["--listen", daemon.url, "--home", str(daemon.home)]
            code = await to_thread.run_sync(manager_cli.main, ["audit", *words, *at])
        printed = capsys.readouterr()
        assert 0 == code, printed.err
        assert "Traceback" not in printed.err
        return printed.out

    return listed


async def rows(manager: Daemon) -> list[control.AuditEntry]:
    """Return what the manager has written down."""
    return await manager.call("Damocles.AuditList", {}, returns=list[control.AuditEntry])  # type: ignore[no-any-return]


async def answer(daemon: Daemon, method: str, params: bytes, token: str | None = None) -> dict[str, Any]:
    """Call a method with parameters as they stand."""
    body = b'{"jsonrpc":"2.0","id":7,"method":"%b","params":%b}' % (method.encode(), params)
    reply = await daemon.service.answer(body, core.Call(peer="10.0.0.9:5", token=token or daemon.token))
    return msgspec.json.decode(reply.body, type=dict[str, Any])


class TestDepth:
    @pytest.mark.parametrize(("opens", "closes"), [(b"[", b"]"), (b'{"x":', b"}")])
    async def test_what_is_nested_too_deeply_is_refused_before_it_does_anything(
        self, start_worker: StartWorker, opens: bytes, closes: bytes
    ) -> None:
        """One clear error, whatever the depth; neither a change nor a row."""
        async with start_worker() as worker:
            for depth in (65, 945, 969, 970, 971, 983, 100_000):
                inner = opens * depth + (b"0" if opens != b"[" else b"") + closes * depth
                params = b'[true,null,"x",' + inner + b"]"
                said = await answer(worker, "Damocles.Drain", params)
                assert errors.Code.INVALID_REQUEST == said["error"]["code"], depth
                assert "it is nested more than 64 deep" in said["error"]["message"]
            assert not (await worker.call("Damocles.DrainState", returns=control.Drain)).on
            assert [] == list(audit.read(worker.home))

    async def test_odd_values_and_notifications_are_rows_too(self, start_manager: StartManager) -> None:
        """Numbers of any length, zeros in texts, and calls that want no answer: each change is a row that can be read."""
        async with start_manager() as manager:
            for odd in (b'["\\u0000\\u202e"]', b'["' + b"9" * 4400 + b'"]', b'["x",' + b"9" * 4400 + b"]", b"[1e999]"):
                await answer(manager, "Venus.WorkerPingInfoRemove", odd)
            body = b'{"jsonrpc":"2.0","method":"Venus.WorkerPingInfoRemove","params":["w2"]}'
            assert b"" == (await manager.service.answer(body, core.Call(peer="10.0.0.9:5", token=manager.token))).body
            assert [["\0\u202e"], ["9" * 4400], ["w2"]] == [row.params for row in await rows(manager)]

    async def test_brackets_in_texts_count_for_nothing(self, start_worker: StartWorker) -> None:
        """A reason may look like anything."""
        reason = '["{' * 5000 + "\\"
        async with start_worker() as worker:
            await worker.call("Damocles.Drain", True, None, reason)
            (row,) = audit.read(worker.home)
        assert [True, None, reason] == row.params

    @pytest.mark.parametrize("ignored", [b"[" * 50 + b"]" * 50, b'{"a":' * 50 + b"0" + b"}" * 50])
    async def test_a_member_that_nobody_reads_is_kept_all_the_same(
        self, start_worker: StartWorker, ignored: bytes, listed: Listed
    ) -> None:
        """An act with something foreign in it is one row, which lists show."""
        async with start_worker() as worker:
            token = await worker.create("o1", Scope.OPERATE)
            params = b'[{"all":true,"x":' + ignored + b'},{"verb":"resume"}]'
            assert "result" in await answer(worker, "Damocles.ActOn", params, token)
            (row,) = list(audit.read(worker.home))[1:]
            assert ("o1", "Damocles.ActOn", True) == (row.who, row.what, row.ok)
            assert msgspec.json.decode(ignored) == row.params[0]["x"]
        assert "resume" in await listed(None, "list")

    async def test_the_manager_is_no_different(self, start_manager: StartManager) -> None:
        """Neither does it take what is nested too deeply, in a call within a call or in a batch."""
        deep = b"[" * 70 + b"]" * 70
        async with start_manager() as manager:
            said = await answer(manager, "Venus.WorkerPingInfoRemove", b'["w1",' + deep + b"]")
            assert "it is nested more than 64 deep" in said["error"]["message"]
            inner = b'[{"Miner":1,"Number":1},1,"Venus.ReportAborted",[' + deep + b"]]"
            assert "it is nested more than 64 deep" in (await answer(manager, "Damocles.As", inner))["error"]["message"]
            body = b'[{"jsonrpc":"2.0","id":1,"method":"Venus.StoreList","params":' + deep + b"}]"
            reply = await manager.service.answer(body, core.Call(peer="10.0.0.9:5", token=manager.token))
            assert b"it is nested more than 64 deep" in reply.body
            assert [] == await rows(manager)


class TestOldRows:
    """Rows that earlier releases have written, or that somebody's editor has."""

    @pytest.fixture
    def odd(self) -> list[bytes]:
        """Return rows as they may stand in a file or database, the last one readable."""
        whole = codec.encode(
            control.AuditEntry(at=1_790_000_000.0, who="alice", address="10.0.0.9:5", what="Damocles.ActOn", ok=True)
        )
        deep = [b'{"x":' * depth + b"0" + b"}" * depth for depth in (60, 200, 945, 968, 5000)]
        deep += [b"[" * depth + b"]" * depth for depth in (970, 50_000)]
        odd = [whole[:-1] + b',"params":' + value + b',"outcome":' + value + b"}" for value in deep]
        odd += [whole[:-1] + b',"params":[{"dest":"http://u:%b@h?sig=%b"}]}' % (SECRET.encode(), SECRET.encode())]
        odd += [whole[:-1] + b',"params":["http:\\/\\/u:%b@h",' % SECRET.encode() + b"[" * 99 + b"]" * 99 + b"]}"]
        odd += [b'{"at":"yesterday"}', b"[]", b'{"at":1.0,"who":"al', b"\x00\xff", b"9" * 5000, b"{" * 5000]
        return [*odd, whole]

    async def test_of_a_worker_are_all_listed(
        self, start_worker: StartWorker, odd: list[bytes], listed: Listed
    ) -> None:
        """`list`, `list --json` and `export` show each, whatever it holds, without its secrets."""
        async with start_worker() as worker:
            (worker.home / audit.FILE_NAME).write_bytes(b"".join(row + b"\n" for row in odd))
            await worker.call("Damocles.Drain", False)
        await self._are_all_listed(lambda *words: listed(None, *words), len(odd) + 1)

    async def test_of_a_manager_are_all_listed(
        self, start_manager: StartManager, odd: list[bytes], listed: Listed
    ) -> None:
        """Likewise, through its API."""
        async with start_manager() as manager:
            with closing(sqlite3.connect(manager.home / "manager.db")) as database:
                values = [(1_790_000_000.0, "alice", "x", "  ", row.decode(errors="replace")) for row in odd]
                database.executemany("INSERT INTO audit (at, who, what, sectors, entry) VALUES (?,?,?,?,?)", values)
                database.commit()
            await manager.call("Venus.StoreReleaseReserved", SECTOR)
            await self._are_all_listed(lambda *words: listed(manager, *words), len(odd) + 1)

    async def _are_all_listed(self, listed: Callable[..., Awaitable[str]], count: int) -> None:
        as_table, as_json = await listed("list"), await listed("list", "--json")
        exported = [json.loads(line) for line in (await listed("export")).splitlines()]
        assert [count + 1, count, count] == [len(as_table.splitlines()), len(json.loads(as_json)), len(exported)]
        assert 8 == [row["what"] for row in exported].count(audit_rows.UNREADABLE)
        assert SECRET not in as_table + as_json + json.dumps(exported)


class TestSecrets:
    DEST = f"http://user:{SECRET}@127.0.0.1:1/up?X-Sig={SECRET}&a={SECRET}"

    async def test_a_reader_of_the_audit_sees_none(self, start_manager: StartManager, listed: Listed) -> None:
        """Passwords and signatures of a URL that an operator gives are in no answer, no list and no file."""
        async with start_manager() as manager:
            operator = await manager.create("o1", Scope.OPERATE)
            reader = await manager.create("r1", Scope.READ)
            params = codec.encode([SECTOR, {"/": PIECE}, 0, 127, self.DEST])
            await answer(manager, "Venus.UnsealPiece", params, operator)
            for method, arguments in [
                ("Venus.StoreReleaseReserved", [SECTOR]),
                ("Damocles.FleetAct", [{"all": True, "error": self.DEST}, {"verb": "pause", "reason": self.DEST}]),
                ("Damocles.AuthRevoke", [f"dmc_{SECRET}0123456789abcdef"]),
                ("Damocles.AlertMute", [None, {"password": SECRET, "headers": {"X": SECRET}}]),
                ("Venus.WorkerPingInfoRemove", [self.DEST]),
            ]:
                await answer(manager, method, codec.encode(arguments))
            seen = await manager.call("Damocles.AuditList", {}, token=reader)
            assert len(seen) >= 5
            assert SECRET not in json.dumps(seen)
            assert "http://***@127.0.0.1:1/up?X-Sig=***&a=***" in json.dumps(seen)
            for words in (["list", "--full"], ["list", "--json"], ["export"]):
                assert SECRET not in await listed(manager, *words)
            with closing(sqlite3.connect(manager.home / "manager.db")) as database:
                written = database.execute("SELECT * FROM audit").fetchall()
                ended = database.execute("SELECT * FROM audit_ends").fetchall()
        assert SECRET not in repr([written, ended])

    async def test_the_record_of_a_sector_has_none(self, start_manager: StartManager) -> None:
        """Why a sector was given up is kept of it, without what is secret in that."""
        async with start_manager() as manager:
            await manager.call("Venus.AllocateSector", {})
            await manager.call("Venus.ReportAborted", SECTOR, f"piece {self.DEST} is lost")
            record = await manager.call("Venus.FindSectorInAllStates", SECTOR)
        assert "piece http://***@127.0.0.1:1/up?X-Sig=***&a=*** is lost" == record["AbortReason"]

    async def test_a_variable_s_value_is_hidden_by_its_name(self, start_worker: StartWorker) -> None:
        """What stands beside the name of a secret is one: in the parameters, before and after."""
        async with start_worker('allow_env = ["DUMP_ERR_*", "PIECE_TOKEN_*"]') as worker:
            await worker.call("VenusWorker.WorkerSetEnv", "PIECE_TOKEN_X", SECRET)
            await worker.call("VenusWorker.WorkerRemoveEnv", "PIECE_TOKEN_X")
            await worker.call("VenusWorker.WorkerSetEnv", "DUMP_ERR_X", "/tmp")
            await worker.call("VenusWorker.WorkerRemoveEnv", "DUMP_ERR_X")
            found = list(audit.read(worker.home))
        assert SECRET not in (worker.home / audit.FILE_NAME).read_text()
        assert [["PIECE_TOKEN_X", "***"], ["DUMP_ERR_X", "/tmp"]] == [row.params for row in found[::2]]
        assert [(None, "***"), ("***", None)] == [(row.before, row.after) for row in found[:2]]

    async def test_a_value_that_is_cut_hides_them_too(self, start_worker: StartWorker) -> None:
        """Where a text ends in the middle of a URL, its beginning is no secret's."""
        filler = "x" * (audit_rows.FIELD_BYTES - 60)
        async with start_worker() as worker:
            for shift in range(0, 60, 3):
                await worker.call("Damocles.Drain", False, None, filler + "y" * shift, f"http://u:{SECRET * 9}@h")
            text = (worker.home / audit.FILE_NAME).read_text()
        assert SECRET[:6] not in text
        assert 20 == text.count('"what":"Damocles.Drain"')


class TestFullDisk:
    @pytest.fixture
    def fill(self) -> Callable[[Path], None]:
        """Return what puts a worker's audit on a disk without room."""

        def fill(home: Path) -> None:
            (home / audit.FILE_NAME).unlink(missing_ok=True)
            (home / audit.FILE_NAME).symlink_to("/dev/full")

        return fill

    async def test_a_worker_refuses_changes_and_takes_pauses(
        self, start_worker: StartWorker, fill: Callable[[Path], None]
    ) -> None:
        """Nothing happens unwritten but a pause, which is in the log, and in the audit when there is room."""
        async with start_worker() as worker:
            fill(worker.home)
            refusals: dict[str, list[object]] = {"Damocles.Drain": [True], "Damocles.AuthCreate": ["alice", "read"]}
            for method, params in refusals.items():
                with pytest.raises(
                    errors.RpcError, match=r"audit\.jsonl: No space left on device; fix that"
                ) as refused:
                    await worker.call(method, *params)
                assert errors.Code.DISK_FAILS == refused.value.code
            assert not (await worker.call("Damocles.DrainState", returns=control.Drain)).on
            with structlog.testing.capture_logs() as logs:
                await worker.call("Damocles.ActOn", {"all": True}, {"verb": "pause", "reason": "no room"})
            assert ["audit: entry cannot be written yet"] == [line["event"] for line in logs]
            (worker.home / audit.FILE_NAME).unlink()
            await worker.call("Damocles.Drain", True)
            found = list(audit.read(worker.home))
        assert [("Damocles.ActOn", "no room"), ("Damocles.Drain", "")] == [(row.what, row.reason) for row in found]
        assert all(row.ok and row.ended for row in found)

    async def test_a_line_that_does_not_fit_leaves_none(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A disk that takes half a line has none of it afterwards, and the next line is whole."""
        ledger = audit.Ledger(tmp_path)
        entry = control.AuditEntry(at=1.0, who="alice", address="", what="Damocles.Drain", ok=True)
        await ledger.begin(entry)
        before = (tmp_path / audit.FILE_NAME).read_bytes()

        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            await ledger.begin(entry)
        assert before == (tmp_path / audit.FILE_NAME).read_bytes()


class TestPieces:
    async def put(self, manager: Daemon, token: str, piece: str = PIECE, content: bytes = b"payload") -> int:
        """Put a piece; return the status."""
        url = manager.url.replace("/rpc/v0", f"/piecestore/{piece}")
        async with httpx2.AsyncClient() as http:
            return (await http.put(url, content=content, headers={"authorization": f"Bearer {token}"})).status_code

    async def test_a_piece_that_somebody_puts_is_a_row(self, start_manager: StartManager, listed: Listed) -> None:
        """Of an admin there is one, with who, from where and which, also where it is refused; of a worker there is none."""
        async with start_manager() as manager:
            worker = await manager.create("w", Scope.WORKER)
            carol = await manager.create("carol", Scope.ADMIN)
            reader = await manager.create("r", Scope.READ)
            assert [403, 200, 400, 403] == [
                await self.put(manager, worker),
                await self.put(manager, carol),
                await self.put(manager, carol, "no-cid"),
                await self.put(manager, reader),
            ]
            put, refused = (await rows(manager))[3:]
            shown = await listed(manager, "list", "--who", "carol")
        assert ("carol", "PUT /piecestore/", [f"/piecestore/{PIECE}"], True) == (
            put.who, put.what, put.params, put.ok,
        )  # fmt: skip
        assert put.address.startswith("127.0.0.1:")
        assert (False, ["/piecestore/no-cid"]) == (refused.ok, refused.params)
        assert refused.outcome.startswith("400 cast no-cid to cid")
        assert PIECE in shown

    async def test_without_room_for_the_row_no_piece_is_taken(
        self, start_manager: StartManager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The answer says why, and nothing is there."""
        from damocles.manager.serving import audit as manager_audit

        async with start_manager() as manager:

            async def full(*_: Any) -> int:
                raise errors.DiskFails("manager.db", "database or disk is full")

            monkeypatch.setattr(manager_audit.Ledger, "begin", full)
            assert 503 == await self.put(manager, manager.token)
            assert not (manager.home / "pieces").exists()


class TestWho:
    @pytest.mark.parametrize(
        "asked_by", ["alice", "alice via manager", "\x1b[2J\r\nlocal", "\u202elacol", "x" * 5000, "local\x00"]
    )
    async def test_whoever_speaks_for_another_is_named_at_the_end(
        self, start_worker: StartWorker, asked_by: str, listed: Listed
    ) -> None:
        """Who is said to have asked is a claim of the token's holder, who is named behind it; a list shows one line."""
        async with start_worker() as worker:
            token = await worker.create("o1", Scope.OPERATE)
            await worker.call("Damocles.ActOn", {"all": True}, {"verb": "resume"}, asked_by, token=token)
            row = list(audit.read(worker.home))[-1]
        assert row.who.endswith(" via o1")
        assert len(row.who) < 120
        _, _, line = (await listed(None, "list", "--full")).splitlines()
        assert line.isprintable()
        assert "via o1" in line

    async def test_a_long_list_comes_in_answers_of_bounded_size(
        self, start_manager: StartManager, listed: Listed, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """However large the entries are, an answer has some megabytes at most, and the list is whole."""
        from damocles.manager.serving import audit as manager_audit

        monkeypatch.setattr(manager_audit, "ANSWER_BYTES", 5000)
        async with start_manager() as manager:
            for number in range(12):
                await answer(manager, "Venus.WorkerPingInfoRemove", codec.encode([f"{number} " + "x" * 2000]))
            assert 3 == len(await manager.call("Damocles.AuditList", {}))
            assert 12 == len(json.loads(await listed(manager, "list", "--json")))
            await manager.call("Venus.WorkerPing", fleet.WorkerInfo("w1", "127.0.0.1:1"))
