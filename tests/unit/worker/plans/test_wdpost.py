"""The handlers of the plan wdpost: whatever happens, the manager hears of it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from damocles.rpc import errors
from damocles.sealing import events, failures
from damocles.sealing.sectors import Sector
from damocles.stages.supervision import executor
from damocles.stores import identity, persist
from damocles.stores.persist import PersistStore
from damocles.wire import tasks, wdpost
from damocles.wire.sectors import SectorSize
from damocles.worker.plans import wdpost as handlers_wdpost

from ..conftest import ZERO, Bench

ACCESSES = wdpost.Accesses("sealed-store", "cache-store")
SECTORS = [wdpost.Sector(1, ZERO, False, ACCESSES), wdpost.Sector(2, ZERO, True, ACCESSES)]
POST = wdpost.Job("job-1", wdpost.Input(SECTORS, 10000, "StackedDrgWindow2KiBV1_2", ZERO))
PROVED = tasks.WindowPoStOutput([b"proof"], [])


@pytest.fixture
def proving(bench: Bench) -> Bench:
    """Return a bench that proves all sectors."""
    bench.persist_stores = {
        "sealed-store": PersistStore(name="sealed-store", path=Path("/s")),
        "cache-store": PersistStore(name="cache-store", path=Path("/c")),
    }
    bench.stages = {"check_replicas": [], "window_post": PROVED}
    return bench


def at_work(**fields: object) -> Sector:
    """Return a thread's window PoSt."""
    return Sector(plan="wdpost", post=POST, **fields)  # type: ignore[arg-type]


async def generate(bench: Bench) -> events.Generate:
    """Run the handler that proves."""
    event = await handlers_wdpost.generate_post(bench.job(at_work()))
    assert isinstance(event, events.Generate)
    return event


async def test_a_worker_asks_for_the_proofs_of_its_sizes(bench: Bench) -> None:
    """Each allowed size stands for its three PoSt proofs, once."""
    bench.options = replace(bench.options, allowed_miners=(10000,), allowed_proofs=(5, 10, 15))
    bench.caller.answers["WdPoStAllocateJobs"] = [[POST]]
    assert events.AllocatePost(POST) == await handlers_wdpost.allocate_post(bench.job(Sector(plan="wdpost")))
    names = ["StackedDrgWinning2KiBV1", "StackedDrgWindow2KiBV1", "StackedDrgWindow2KiBV1_2"]
    wanted = [wdpost.AllocateSpec([10000], names), 1, "worker-1"]
    assert [("Venus.WdPoStAllocateJobs", wanted)] == bench.caller.asked


async def test_a_size_that_cannot_be_proved_here_is_not_asked_for(bench: Bench) -> None:
    """Of any size, or of those allowed, only those are named whose parameters are there."""
    bench.caller.answers["WdPoStAllocateJobs"] = [[]]
    bench.unprovable = dict.fromkeys(set(SectorSize) - {SectorSize.KIB2}, "no parameters")
    for allowed in ((), (5, 6)):
        bench.options = replace(bench.options, allowed_proofs=allowed)
        await handlers_wdpost.allocate_post(bench.job(Sector(plan="wdpost")))
    names = ["StackedDrgWinning2KiBV1", "StackedDrgWindow2KiBV1", "StackedDrgWindow2KiBV1_2"]
    assert [names, names] == [params[0].allowed_proofs for _, params in bench.caller.asked]


async def test_a_worker_that_cannot_prove_asks_for_nothing(bench: Bench) -> None:
    """Its thread shows why; the manager is not asked, so that others have the job."""
    bench.options = replace(bench.options, allowed_proofs=(5,))
    bench.unprovable = {SectorSize.KIB2: "no parameters"}
    event = await handlers_wdpost.allocate_post(bench.job(Sector(plan="wdpost")))
    assert events.Idle("what window PoSts need (see the error)", "no parameters") == event
    assert [] == bench.caller.asked


async def test_disks_that_hang_are_not_proved_from(bench: Bench) -> None:
    """A look at parameters or stores that takes too long means that this worker cannot prove now."""
    bench.options = replace(bench.options, post_sector_seconds=0.01)

    async def hanging(_: object) -> Any:
        await anyio.sleep_forever()

    job = replace(bench.job(Sector(plan="wdpost")), lacking_for_post=hanging)
    with anyio.fail_after(60):
        event = await handlers_wdpost.allocate_post(job)
    assert isinstance(event, events.Idle)
    assert "the disks with parameters or with sectors do not answer" == event.error


@pytest.mark.parametrize("answer", [[], None, errors.RpcError(-32601, "method not found"), errors.TimedOut("u", 1)])
async def test_no_job_means_wait(bench: Bench, answer: object) -> None:
    """Neither nothing, nor a manager without window PoSt, nor one that is away ends the thread."""
    bench.caller.answers["WdPoStAllocateJobs"] = [answer]
    event = await handlers_wdpost.allocate_post(bench.job(Sector(plan="wdpost")))
    assert isinstance(event, events.Idle)
    assert event.why.startswith("a window PoSt from the manager")
    assert (str(answer) if isinstance(answer, Exception) else "") in event.why


async def test_sectors_are_checked_and_proved(proving: Bench) -> None:
    """An upgraded sector lies in folders of its own; each sector has its time limit."""
    proving.options = replace(proving.options, post_sector_seconds=9.0)
    assert events.Generate(wdpost.Output([b"proof"], [])) == await generate(proving)
    (check, checked), (prove, proved) = proving.ran
    assert ("check_replicas", "window_post", 9.0) == (check, prove, checked.seconds)
    replicas = [
        tasks.Replica(1, ZERO, "/c/cache/s-t010000-1", "/s/sealed/s-t010000-1"),
        tasks.Replica(2, ZERO, "/c/update-cache/s-t010000-2", "/s/update/s-t010000-2"),
    ]
    assert replicas == checked.replicas == proved.replicas


async def test_a_sector_that_cannot_be_read_is_named_at_once(proving: Bench) -> None:
    """A fault ends the job without a proof, since the proof would have to be of all sectors."""
    proving.stages["check_replicas"] = [tasks.Fault(2, "not read within 60 s")]
    assert events.Generate(wdpost.Output([], [2], {"2": "not read within 60 s"}, "worker-1")) == await generate(proving)
    assert ["check_replicas"] == [stage for stage, _ in proving.ran]


async def test_a_sector_that_the_proof_finds_damaged_is_named(proving: Bench) -> None:
    """Faults of the prover are told with a reason too."""
    proving.stages["window_post"] = tasks.WindowPoStOutput([], [1])
    assert events.Generate(
        wdpost.Output([], [1], {"1": "its files do not match its commitment"}, "worker-1")
    ) == await generate(proving)


async def test_no_readable_sector_at_all_is_this_machine_s_trouble(proving: Bench) -> None:
    """A lost mount must not be declared as so many lost sectors."""
    proving.stages["check_replicas"] = [tasks.Fault(1, "gone"), tasks.Fault(2, "gone")]
    event = await generate(proving)
    assert event.post_output is None
    assert "none of the 2 sectors can be read here; the first one, 1: gone" == event.post_error


async def test_a_store_that_is_not_mounted_costs_only_its_sectors(proving: Bench, tmp_path: Path) -> None:
    """Without its disk the job is this machine's trouble; with other sectors in it, those of the disk are named."""
    proving.memory = identity.Memory(tmp_path / "home")
    for name in ("sealed-store", "cache-store", "other"):
        persist.init(tmp_path / name)
        proving.memory.admit(tmp_path / name)
        proving.persist_stores[name] = PersistStore(name=name, path=tmp_path / name)
    assert events.Generate(wdpost.Output([b"proof"], [])) == await generate(proving)
    (tmp_path / "cache-store" / identity.FILE_NAME).unlink()
    proving.ran.clear()
    event = await generate(proving)
    assert event.post_output is None
    text = event.post_error or ""
    assert "none of the 2 sectors can be read here; the first one, 1: persist store cache-store:" in text
    assert "is the disk mounted" in text
    assert [] == proving.ran
    third = wdpost.Sector(3, ZERO, False, wdpost.Accesses("other", "other"))
    more = wdpost.Job("job-1", wdpost.Input([*SECTORS, third], 10000, "StackedDrgWindow2KiBV1_2", ZERO))
    proved = await handlers_wdpost.generate_post(proving.job(Sector(plan="wdpost", post=more)))
    assert isinstance(proved, events.Generate)
    assert proved.post_output is not None
    assert [1, 2] == proved.post_output.faults
    assert [[3]] == [[replica.sector_id for replica in task.replicas] for _, task in proving.ran]


@pytest.mark.parametrize("stage", ["check_replicas", "window_post"])
async def test_a_disk_that_goes_away_while_its_sectors_are_read_makes_no_faults(
    proving: Bench, tmp_path: Path, stage: str
) -> None:
    """What was there before and is missed is looked for again by the next try, and not declared as a lost sector."""
    proving.memory = identity.Memory(tmp_path / "home")
    for name in ("sealed-store", "cache-store"):
        persist.init(tmp_path / name)
        proving.memory.admit(tmp_path / name)
        proving.persist_stores[name] = PersistStore(name=name, path=tmp_path / name)

    def misses(_: object) -> object:
        (tmp_path / "sealed-store" / identity.FILE_NAME).unlink()
        return [tasks.Fault(1, "gone")] if stage == "check_replicas" else tasks.WindowPoStOutput([], [1])

    proving.stages[stage] = misses
    event = await generate(proving)
    assert event.post_output is None
    assert "went away while its sectors were read" in (event.post_error or "")
    assert "is the disk mounted" in (event.post_error or "")


async def test_sectors_that_are_damaged_are_named_even_if_none_is_whole(proving: Bench) -> None:
    """One that is gone and one that was read, and whose data is wrong, are two faults, and no lost mount."""
    proving.stages["check_replicas"] = [tasks.Fault(1, "gone"), tasks.Fault(2, "damaged", was_read=True)]
    assert events.Generate(wdpost.Output([], [1, 2], {"1": "gone", "2": "damaged"}, "worker-1")) == await generate(
        proving
    )


async def test_a_store_that_is_not_attached_is_told(proving: Bench) -> None:
    """The manager hears of it, instead of waiting for heartbeats in vain."""
    del proving.persist_stores["cache-store"]
    event = await generate(proving)
    assert (
        "sectors are in the persist store 'cache-store', which is not attached here ([[attached]])" == event.post_error
    )


async def test_a_proof_that_stands_still_is_given_up(proving: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that hangs after its sectors were checked holds the job for a deadline, and then another worker has it."""
    monkeypatch.setattr(handlers_wdpost, "DEADLINE_SECONDS", 0.05)
    job = proving.job(at_work())
    run = job.run

    async def hanging(stage: str, task: executor.Task) -> Any:
        return await (anyio.sleep_forever() if stage == "window_post" else run(stage, task))

    with anyio.fail_after(60):
        event = await handlers_wdpost.generate_post(replace(job, run=hanging))
    assert isinstance(event, events.Generate)
    assert "no proof within 0s, the length of a deadline: does a disk hang?" == event.post_error


@pytest.mark.parametrize("kind", [failures.Temporary, failures.Permanent])
async def test_a_proof_that_fails_is_told(proving: Bench, kind: Callable[[str], failures.Failure]) -> None:
    """A dead process or missing parameters cost the manager a try, and no thread."""
    proving.stages["window_post"] = kind("No cached parameters found")
    assert events.Generate(None, "No cached parameters found") == await generate(proving)


@pytest.mark.parametrize(
    ("fields", "params"),
    [
        ({"post_output": wdpost.Output([b"p"], [])}, ["job-1", wdpost.Output([b"p"], []), ""]),
        ({"post_error": "no GPU"}, ["job-1", None, "no GPU"]),
    ],
)
async def test_the_result_is_handed_in(bench: Bench, fields: dict[str, object], params: list[object]) -> None:
    """Either the output or the error."""
    bench.caller.answers |= {"WdPoStFinishJob": [None], "WdPoStHeartbeatJobs": [None]}
    assert events.Finish() == await handlers_wdpost.submit_post(bench.job(at_work(**fields)))
    assert ("Venus.WdPoStFinishJob", params) == bench.caller.asked[-1]


async def test_an_error_is_told_only_while_the_job_is_ours(bench: Bench) -> None:
    """An error does not say who sends it: from a worker that lost its lease it would end the try of the present one."""
    bench.caller.answers |= {"WdPoStHeartbeatJobs": [errors.RpcError(1, "key not found")]}
    assert events.Finish() == await handlers_wdpost.submit_post(bench.job(at_work(post_error="no GPU")))
    assert [("Venus.WdPoStHeartbeatJobs", [["job-1"], "worker-1"])] == bench.caller.asked


async def test_the_result_is_kept_until_the_manager_has_it(bench: Bench) -> None:
    """A manager that is away, or cannot verify, is asked again; one that forgot the job ends it."""
    bench.caller.answers["WdPoStFinishJob"] = [
        errors.Unreachable("http://manager", "refused"),
        errors.RpcError(1, "the proof cannot be verified: no .vk"),
        errors.RpcError(1, "key not found"),
    ]
    job = bench.job(at_work(post_output=wdpost.Output([b"p"], [])))
    for reason in ("refused", "no .vk"):
        event = await handlers_wdpost.submit_post(job)
        assert isinstance(event, events.Later)
        assert reason in event.why
    assert events.Finish() == await handlers_wdpost.submit_post(job)
