"""A token of scope worker is for one worker, or shared: whose name it may use, and what it opens."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
import structlog.testing
from tests.integration.access.conftest import Daemon, StartManager
from tests.integration.access.test_holders import PROVEN

from damocles.cli import manager as cli
from damocles.manager.serving import auth
from damocles.methods import rules
from damocles.rpc import core, dialects, errors, limits
from damocles.rpc.admission import access, tokens
from damocles.rpc.serving import asgi, server
from damocles.wire import control, exports, fleet, seal, wdpost

from .callers import SECTOR, Caller, admin, allocated, bound, shared

FORBIDDEN = errors.Code.FORBIDDEN
STORE = "identity of gpu1's store"


def report(worker: str) -> seal.ReportStateReq:
    """Return a report by a worker."""
    change = seal.StateChange("Empty", "Allocated", "Allocate")
    return seal.ReportStateReq(worker=seal.WorkerIdentifier(worker, "/store"), state_change=change)


def uses(worker: str) -> list[tuple[str, list[Any]]]:
    """Return every call in which a worker says who it is."""
    return [
        ("Venus.WorkerPing", [fleet.WorkerInfo(worker, "127.0.0.1:1")]),
        ("Damocles.Claim", [SECTOR, worker, "/store", 1, None, STORE]),
        ("Venus.ReportState", [SECTOR, report(worker)]),
        ("Damocles.As", [SECTOR, 1, "Venus.ReportState", [SECTOR, report(worker)], STORE]),
        ("Venus.WdPoStAllocateJobs", [wdpost.AllocateSpec(), 1, worker]),
        ("Venus.WdPoStHeartbeatJobs", [["job"], worker]),
        ("Venus.WdPoStFinishJob", ["job", wdpost.Output(None, [1], {}, worker), ""]),
    ]


class TestNames:
    @pytest.mark.parametrize("number", range(len(uses(""))))
    async def test_a_token_of_one_worker_speaks_for_no_other(self, start_manager: StartManager, number: int) -> None:
        """Whatever names a worker is refused with a token that is another one's, whether that has its own or not."""
        async with start_manager() as manager:
            ours, evil = await bound(manager, "gpu1"), await bound(manager, "evil")
            await allocated(ours, STORE)
            for worker in ("gpu1", "gpu2", "GPU1", "gpu1 ", ""):
                refusal = await evil.refusal(*_flat(uses(worker)[number])) if worker or number < 6 else None
                if refusal is not None:
                    assert FORBIDDEN == refusal.code
                    assert refusal.message.startswith("the token 'evil' is for the worker 'evil', not for ")
                else:
                    assert worker == ""  # an output that does not say who made it
            assert "is for the worker" not in str(await ours.refusal(*_flat(uses("gpu1")[number])))
            assert ["gpu1"] * (number == 0) == await registered(manager)

    @pytest.mark.parametrize("number", range(len(uses(""))))
    async def test_a_shared_token_speaks_for_workers_without_their_own(
        self, start_manager: StartManager, number: int
    ) -> None:
        """A name that has a token of its own is taken from that alone; from an address that is let in likewise."""
        admit = access.admitted(["10.0.0.2"], auth.ADMITTED)
        async with start_manager(admit=admit) as manager:
            await allocated(shared(manager), STORE)
            for anybody in (shared(manager), Caller(manager, peer="10.0.0.2:1")):
                assert "has a token of its own" not in str(await anybody.refusal(*_flat(uses("gpu1")[number])))
            ours = await bound(manager, "gpu1", "of gpu1")
            for anybody in (shared(manager), Caller(manager, peer="10.0.0.2:1")):
                refusal = await anybody.refusal(*_flat(uses("gpu1")[number]))
                assert refusal is not None
                assert FORBIDDEN == refusal.code
                assert "the worker 'gpu1' has a token of its own" in refusal.message
            assert "is for the worker" not in str(await ours.refusal(*_flat(uses("gpu1")[number])))
            await admin(manager)("Damocles.AuthRevoke", "of gpu1")
            assert "has a token of its own" not in str(await shared(manager).refusal(*_flat(uses("gpu1")[number])))

    async def test_a_refused_name_is_logged_once(self, start_manager: StartManager) -> None:
        """A worker with another one's token pings again and again, which is one line, with token and address."""
        async with start_manager() as manager:
            evil = await bound(manager, "evil")
            with structlog.testing.capture_logs() as logs:
                for _ in range(3):
                    await evil.code("Venus.WorkerPing", fleet.WorkerInfo("gpu1", "127.0.0.1:1"))
        (line,) = logs
        assert ("name refused", "gpu1", "evil", "127.0.0.1:4711") == tuple(
            line[key] for key in ("event", "worker", "by", "peer")
        )


def _flat(call: tuple[str, list[Any]]) -> tuple[Any, ...]:
    return (call[0], *call[1])


async def registered(manager: Daemon) -> list[str]:
    """Return the names of the workers that have pinged."""
    found = await manager.call("Venus.WorkerPingInfoList", returns=list[fleet.PingInfo])
    return [one.info.name for one in found]


class TestPings:
    async def test_nobody_takes_a_worker_out_of_the_fleet(self, start_manager: StartManager) -> None:
        """Under another name, but with its address, and oftener: acts on all workers still reach it."""
        async with start_manager() as manager, listening() as (dest, seen):
            ours, evil = await bound(manager, "gpu1"), await bound(manager, "evil")
            for caller, name in ((ours, "gpu1"), *[(evil, "evil")] * 5):
                handing = Caller(manager, caller.token, handed=tokens.mint())
                await handing("Venus.WorkerPing", fleet.WorkerInfo(name, dest))
            for chosen in ({"all": True}, {"all": True, "workers": ["gpu*"]}, {"all": True, "workers": ["gpu1"]}):
                seen.clear()
                await admin(manager)("Damocles.FleetAct", chosen, control.Act(verb="pause", dry_run=True))
                assert seen, chosen

    async def test_a_name_at_another_s_address_is_not_told_as_silent(self, start_manager: StartManager) -> None:
        """The worker there answers, and knows no token but its own: what else points there is no worker of its own."""
        mine = tokens.mint()
        async with start_manager() as manager, listening(mine) as (dest, seen):
            for name, handed in (("gpu1", mine), ("before", tokens.mint())):
                await Caller(manager, shared(manager).token, handed=handed)(
                    "Venus.WorkerPing", fleet.WorkerInfo(name, dest)
                )
            assert {"threads": [], "silent": []} == await admin(manager)("Damocles.FleetThreads", {"all": True})
            assert mine in seen
            alone = await admin(manager)("Damocles.FleetThreads", {"all": True, "workers": ["before"]})
            assert ["before"] == [one["worker"] for one in alone["silent"]]

    async def test_a_token_to_call_back_with_goes_where_its_ping_came_from(self, start_manager: StartManager) -> None:
        """Whoever pings with another worker's address, or under its name, is called with what they handed over themselves."""
        async with start_manager() as manager, listening() as (dest, seen), listening() as (theirs, stolen):
            ours, evil = tokens.mint(), tokens.mint()
            token = shared(manager).token
            await Caller(manager, token, handed=ours)("Venus.WorkerPing", fleet.WorkerInfo("gpu1", dest))
            everybody = [control.Selection(all=True)]
            await admin(manager)("Damocles.FleetThreads", *everybody)
            assert {ours} == set(seen)
            await Caller(manager, token, handed=evil)("Venus.WorkerPing", fleet.WorkerInfo("gpu1", theirs))
            await Caller(manager, token)("Venus.WorkerPing", fleet.WorkerInfo("evil", theirs))
            await admin(manager)("Damocles.FleetThreads", *everybody)
            assert {evil, None} >= set(stolen)
            assert stolen

    async def test_a_shared_token_brings_so_many_names_and_no_more(self, start_manager: StartManager) -> None:
        """Ghosts end at a limit; workers that are known go on, and one with a token of its own is always taken in."""
        async with start_manager() as manager:
            ghost = shared(manager)
            for number in range(limits.SHARED_NAMES + 50):
                refusal = await ghost.refusal("Venus.WorkerPing", fleet.WorkerInfo(f"ghost{number}", "127.0.0.1:1"))
                assert (refusal is None) is (number < limits.SHARED_NAMES)
            assert refusal is not None
            assert "is not taken in without a token of its own" in refusal.message
            assert limits.SHARED_NAMES == len(await registered(manager))
            await ghost("Venus.WorkerPing", fleet.WorkerInfo("ghost7", "127.0.0.1:1"))
            await (await bound(manager, "gpu1"))("Venus.WorkerPing", fleet.WorkerInfo("gpu1", "127.0.0.1:1"))
            await admin(manager)("Venus.WorkerPingInfoRemove", "ghost0")
            await admin(manager)("Venus.WorkerPingInfoRemove", "ghost1")
            await ghost("Venus.WorkerPing", fleet.WorkerInfo("gpu2", "127.0.0.1:1"))


@asynccontextmanager
async def listening(wanted: str | None = None) -> AsyncIterator[tuple[str, list[str | None]]]:
    """Run a worker without threads that wants a token; yield its address, and the tokens that it is called with."""
    seen: list[str | None] = []
    service = core.Service(dialects.WORKER)

    async def threads(call: core.Call) -> list[control.ThreadDetail]:
        seen.append(call.token)
        if wanted not in {None, call.token}:
            raise errors.RpcError(errors.Code.UNAUTHORIZED, "unknown token")
        return []

    async def act(
        call: core.Call, chosen: control.Selection, act: control.Act, asked_by: str = ""
    ) -> list[control.Outcome]:
        seen.append(call.token)
        return []

    service.add("Damocles.Threads", threads)
    service.add("Damocles.ActOn", act)
    async with server.serve(asgi.worker_app(service), "127.0.0.1", 0) as found:
        yield str(found), seen


class TestWindowPoSts:
    async def test_only_its_worker_ends_a_job(self, start_manager: StartManager) -> None:
        """An error from the same machine, with another worker's token, costs no try; also after the manager's restart."""
        async with start_manager() as manager:
            ours, evil = await bound(manager, "gpu1"), await bound(manager, "evil")
            batch = exports.Batch(id="x", lines=[exports.Numbered(1, PROVEN)])
            await admin(manager)("Damocles.SectorsImportBatch", batch)
            await admin(manager)("Damocles.SectorsImport", exports.Import(id="x", count=1))
            await admin(manager)("Damocles.MockWdPoSt")
            (job,) = await ours("Venus.WdPoStAllocateJobs", wdpost.AllocateSpec(), 1, "gpu1", returns=list[wdpost.Job])
            await self.check(manager, evil, job.id)
        async with start_manager() as manager:
            await self.check(manager, Caller(manager, evil.token), job.id)
            elsewhere = Caller(manager, ours.token, peer="10.0.0.9:1")
            await elsewhere("Venus.WdPoStHeartbeatJobs", [job.id], "gpu1")
            await elsewhere("Venus.WdPoStFinishJob", job.id, None, "no GPU")

    @staticmethod
    async def check(manager: Daemon, evil: Caller, job: str) -> None:
        """Try to end a job that is another's."""
        for params in ([job, None, "no GPU"], [job, wdpost.Output(None, [1]), ""]):
            for caller in (evil, shared(manager)):
                assert "key not found" in str(await caller.refusal("Venus.WdPoStFinishJob", *params))
        assert "key not found" in str(await evil.refusal("Venus.WdPoStHeartbeatJobs", [job], "evil"))
        (listed,) = (await admin(manager)("Venus.WdPoStAllJobs", returns=wdpost.Listed)).jobs
        assert ("running", 1, "gpu1") == (listed.state, listed.tries, listed.worker)


class TestScopes:
    async def test_a_token_of_one_worker_opens_what_the_table_opens_to_workers(
        self, start_manager: StartManager
    ) -> None:
        """No method more than a shared one, and none of those that manage other workers."""
        async with start_manager() as manager:
            ours = await bound(manager, "gpu1")
            too_many = [0] * 50  # for every method: whoever is let in learns that, and nothing happens
            for method in manager.service.methods:
                allowed = access.RULES[method].allows({rules.Scope.WORKER})
                assert allowed is (await ours.code(method, *too_many) not in {401, 403}), method

    async def test_only_tokens_of_workers_are_for_one(self, start_manager: StartManager) -> None:
        """What would mean nothing is refused, and so is a name that no worker can have."""
        async with start_manager() as manager:
            create = ("Damocles.AuthCreate", "x")
            for scope in ("read", "operate", "admin"):
                assert errors.Code.INVALID_PARAMS == await admin(manager).code(*create, scope, None, "gpu1")
            for worker in ("", "a\nb", "x" * 256):
                assert errors.Code.INVALID_PARAMS == await admin(manager).code(*create, "worker", None, worker)
            assert ["local", "local-worker"] == [one["name"] for one in await admin(manager)("Damocles.AuthList")]


class TestCommands:
    @pytest.fixture
    def run(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
        """Return what runs `damocles-manager auth` beside a manager, and returns code, output and errors."""

        async def run(manager: Daemon, *arguments: str) -> tuple[int, str, str]:
            url = manager.url.removesuffix("/rpc/v0").removeprefix("http://")
            at = ["--listen", url, "--home", str(manager.home)]
            capsys.readouterr()
            code = await anyio.to_thread.run_sync(cli.main, ["auth", *arguments, *at])
            return code, *capsys.readouterr()

        return run

    async def test_a_token_for_workers_is_made_for_one_or_for_all(
        self, start_manager: StartManager, run: Callable[..., Any]
    ) -> None:
        """Which of both has to be said, and the list says it."""
        async with start_manager() as manager:
            for wrong in (["--scope", "worker"], ["--scope", "worker", "--worker", "gpu1", "--shared"]):
                code, _, said = await run(manager, "create", "gpu1", *wrong)
                assert (2, True) == (code, "name the worker (--worker NAME), or pass --shared for all of them" in said)
            assert 2 == (await run(manager, "create", "gpu1", "--scope", "read", "--worker", "gpu1"))[0]
            code, text, _ = await run(manager, "create", "gpu1", "--scope", "worker", "--worker", "gpu1")
            assert 0 == code
            assert 0 == (await run(manager, "create", "old", "--scope", "worker", "--shared"))[0]
            await Caller(manager, text.strip())("Venus.WorkerPing", fleet.WorkerInfo("gpu1", "127.0.0.1:1"))
            _, listed, _ = await run(manager, "list")
            rows = {line.split()[0]: line.split()[2] for line in listed.splitlines()}
            assert {"Name": "Worker", "local": "-", "local-worker": "shared", "gpu1": "gpu1", "old": "shared"} == rows

    async def test_a_manager_logs_which_tokens_are_shared(self, start_manager: StartManager) -> None:
        """Whoever reads the log of its start learns what may call as any worker."""
        async with start_manager() as manager:
            await admin(manager)("Damocles.AuthCreate", "old", "worker")
            await bound(manager, "gpu1")
        with structlog.testing.capture_logs() as logs:
            async with start_manager():
                pass
        (line,) = [entry for entry in logs if entry["event"].startswith("shared worker tokens: ")]
        assert ["local-worker", "old"] == line["tokens"]
