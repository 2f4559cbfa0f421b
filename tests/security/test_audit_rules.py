"""Every method of both daemons that changes something, with generated parameters: one row for a change, else none."""

import base64
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.integration.access.conftest import Daemon, StartManager, StartWorker

from damocles.cli import manager as manager_cli
from damocles.cli import worker as worker_cli
from damocles.methods.rules import Scope
from damocles.rpc import core, errors
from damocles.rpc.admission import access
from damocles.wire import control
from damocles.worker.serving import audit

from . import shapes

CHANGING = sorted(name for name, rule in access.RULES.items() if rule.changes)
QUICK = settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), database=None)
# Whoever pings is called by later calls: here nobody but a port of this machine that nobody listens on.
PING = '[{"Name":"w1","Dest":"127.0.0.1:1","Version":"0","Summary":{}}]'


class Watched:
    """A daemon under attack: calls it, and says which of its handlers have begun."""

    def __init__(
        self, daemon: Daemon, portal: BlockingPortal, begun: list[tuple[str, core.Call, Sequence[Any]]]
    ) -> None:
        self.daemon = daemon
        self._portal = portal
        self._begun = begun
        self._token = daemon.token
        self.total = 0
        self._seen = 0

    def call(self, method: str, params: str) -> None:
        """Call a method as an admin, and check that there is one row more if it began and changes something."""
        self._begun.clear()
        body = f'{{"jsonrpc":"2.0","id":1,"method":{json.dumps(method)},"params":{params}}}'.encode()
        self._portal.call(self._answer, body)
        expected = [
            name
            for name, call, arguments in self._begun
            if access.RULES[name].is_audited(call.scopes)
            and not any(getattr(argument, "dry_run", False) is True for argument in arguments)
        ]
        rows = self._rows()
        assert expected == [row.what for row in rows], params[:200]
        assert all(row.ended for row in rows)
        self.total += len(rows)

    async def _answer(self, body: bytes) -> None:
        call = core.Call(peer="127.0.0.1:5", token=self._token)
        reply = await self.daemon.service.answer(body, call)
        answered = msgspec.json.decode(reply.body)
        assert ("result" in answered) != ("error" in answered) or set(answered) == {"jsonrpc", "id"}
        request = msgspec.Raw(body)
        try:
            read = self.daemon.service.read(request)
            method, call = await self.daemon.service.admit(read, call)
            if method.streams:
                values = await self.daemon.service.stream(method, read, call)
                await values.aclose()
        except errors.RpcError:
            pass

    def _rows(self) -> list[control.AuditEntry]:
        if "Damocles.AuditList" not in self.daemon.service.methods:
            return list(audit.read(self.daemon.home))[self.total :]
        query = {"after_id": self._seen}
        called = self._portal.call(
            lambda: self.daemon.call("Damocles.AuditList", query, returns=list[control.AuditEntry])
        )
        self._seen = called[-1].id if called else self._seen
        return called  # type: ignore[no-any-return]


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, core.Call, Sequence[Any]]]:
    """Return the handlers that have begun, with their calls and arguments."""
    seen: list[tuple[str, core.Call, Sequence[Any]]] = []
    real = core._begin

    async def begin(handling: core.Handling) -> core.Outcome:
        if handling.method.name != "Damocles.AuditList":
            seen.append((handling.method.name, handling.call, handling.arguments))
        return await real(handling)

    monkeypatch.setattr(core, "_begin", begin)
    return seen


@contextmanager
def watched(start: Any, begun: list[Any]) -> Iterator[Watched]:
    """Run a daemon in a thread of its own."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(start()) as daemon:
        yield Watched(daemon, portal, begun)


def attack(target: Watched) -> None:
    """Call each changing method of a daemon with generated parameters."""
    for name in CHANGING:
        if (method := target.daemon.service.methods.get(name)) is not None:
            fitting = st.just(PING) if name == "Venus.WorkerPing" else shapes.params(method.kinds, method.least)
            _attack(target, name, st.one_of(fitting, fitting, fitting, shapes.ODD))


def _attack(target: Watched, name: str, generated: shapes.Texts) -> None:
    @QUICK
    @given(params=generated)
    def check(params: str) -> None:
        target.call(name, params)

    check()


def test_a_manager_has_a_row_for_each_change(
    start_manager: StartManager, begun: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """However odd, deep or large the parameters: a handler that has begun has one row, a refused call none, all are listed."""
    with watched(start_manager, begun) as target:
        attack(target)
        target.call(
            "Damocles.As", '[{"Miner":10000,"Number":1},1,"Venus.ReportAborted",[{"Miner":10000,"Number":1},"x"]]'
        )
        at = ["--listen", target.daemon.url, "--home", str(target.daemon.home)]
        printed = []
        for words in (["list"], ["list", "--json"], ["export"]):
            capsys.readouterr()
            assert 0 == manager_cli.main(["audit", *words, *at])
            printed.append(capsys.readouterr().out)
    table, as_json, exported = printed
    assert target.total > 50
    assert [target.total] * 3 == [
        len(table.splitlines()) - 1, len(json.loads(as_json)), len(exported.splitlines()),
    ]  # fmt: skip
    assert all(line.isprintable() for line in table.splitlines())
    assert shapes.SECRET not in "".join(printed)


def test_a_worker_has_a_row_for_each_change(
    start_worker: StartWorker, begun: list[Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Likewise, and its program lists all of them from the file."""
    with watched(start_worker, begun) as target:
        attack(target)
    printed = []
    for words in (["list"], ["list", "--json"], ["export"]):
        capsys.readouterr()
        assert 0 == worker_cli.main(["audit", *words, "-c", str(tmp_path / "worker.toml")])
        printed.append(capsys.readouterr().out)
    table, as_json, exported = printed
    assert shapes.SECRET not in "".join(printed)
    assert target.total > 10
    assert [target.total] * 3 == [
        len(table.splitlines()) - 1, len(json.loads(as_json)), len(exported.splitlines()),
    ]  # fmt: skip


def test_whatever_the_table_calls_a_change_has_a_row(
    start_manager: StartManager, start_worker: StartWorker, begun: list[Any]
) -> None:
    """Each method and path of the table that changes something leaves a row when an admin gets to its handler."""
    left = set(CHANGING)
    for start in (start_manager, start_worker):
        with watched(start, begun) as target:
            for name in sorted(left & set(target.daemon.service.methods)):
                method, before = target.daemon.service.methods[name], target.total
                target.call(name, f"[{','.join(shapes.fitting(kind) for kind in method.kinds)}]")
                assert before + 1 == target.total, name
                left.discard(name)
            for name in sorted(
                name for name in left if " " in name
            ):  # PATCH before PUT: a piece that is here takes no parts
                verb, path = name.split(" ")
                url = target.daemon.url.replace("/rpc/v0", f"{path}{shapes.PIECE}")
                headers = {"authorization": f"Bearer {target.daemon.token}"}
                if verb == "PATCH":
                    begun_upload = httpx2.put(url, headers=headers | {"upload-complete": "?0", "content-length": "0"})
                    assert ["PUT /piecestore/"] == [row.what for row in target._rows()]
                    url = str(httpx2.URL(url).join(begun_upload.headers["location"]))
                    headers |= {
                        "content-type": "application/partial-upload",
                        "upload-offset": "0",
                        "upload-complete": "?0",
                    }
                    headers["content-digest"] = f"sha-256=:{base64.b64encode(hashlib.sha256(b'x').digest()).decode()}:"
                assert httpx2.request(verb, url, content=b"x", headers=headers).is_success
                assert [name] == [row.what for row in target._rows()]
                left.discard(name)
    assert set() == left


def test_workers_have_none(start_manager: StartManager) -> None:
    """The scope of a worker exempts what is a worker's business, and nothing else."""
    exempt = {name for name in CHANGING if not access.RULES[name].is_audited(frozenset({Scope.WORKER}))}
    assert exempt == {name for name in CHANGING if access.RULES[name].allows({Scope.WORKER})}
