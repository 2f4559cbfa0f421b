"""Window PoSt jobs: leases, tries, results. The clock and the verifier are the test's."""

import base64
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import anyio.to_thread
import pytest

from damocles.cli import manager as cli
from damocles.manager import errors
from damocles.rpc import errors as rpc_errors
from damocles.stores import layout
from damocles.wire import commitments, seal, wdpost
from damocles.wire.codec import Bytes32
from damocles.wire.sectors import SectorID, SectorSize

from .conftest import Clock, Manager, RecordedVerifier, Start

COMM_D = commitments.zero_comm_d(SectorSize.KIB2)
ANY = wdpost.AllocateSpec()


def comm_r(number: int) -> Bytes32:
    """Return the commitment of a sector."""
    return Bytes32(bytes([number]) * 32)


async def persist(manager: Manager, store: Path, number: int) -> None:
    """Bring a sector to where its files are persisted."""
    allocated = await manager.call("AllocateSector", {}, returns=seal.AllocatedSector)
    assert SectorID(10000, number) == allocated.id
    ticket = await manager.call("AssignTicket", allocated.id, returns=seal.Ticket)
    await manager.call("SubmitPreCommit", allocated, seal.PreCommit(comm_r(number), COMM_D, ticket), False)
    for name in layout.persisted_names(allocated.id, SectorSize.KIB2):
        (store / name).parent.mkdir(parents=True, exist_ok=True)
        (store / name).touch()
    assert await manager.call("SubmitPersistedEx", allocated.id, str(store), False)


@pytest.fixture
async def manager(start: Start, tmp_path: Path) -> AsyncIterator[Manager]:
    """Return a manager with three persisted sectors: a whole partition and half of one."""
    async with start() as running:
        for number in (1, 2, 3):
            await persist(running, tmp_path / "persist", number)
        yield running


async def make(manager: Manager) -> list[str]:
    """Make jobs for all partitions; return their ids."""
    made = await manager.rpc.call("Damocles.MockWdPoSt", [], returns=list[wdpost.Brief])
    return [job.id for job in made]


async def allocate(manager: Manager, worker: str = "w1", spec: wdpost.AllocateSpec = ANY) -> list[wdpost.Job]:
    """Ask for one job."""
    lent: list[wdpost.Job] = await manager.call("WdPoStAllocateJobs", spec, 1, worker, returns=list[wdpost.Job])
    return lent


async def listed(manager: Manager) -> dict[str, wdpost.Brief]:
    """Return all jobs by id."""
    found = await manager.call("WdPoStAllJobs", returns=wdpost.Listed)
    return {job.id: job for job in found.jobs}


async def finish(
    manager: Manager, job: str, *, proof: bytes | None = None, faults: list[int] | None = None, worker: str = ""
) -> None:
    """Hand in a result."""
    output = wdpost.Output([proof] if proof else [], faults or [], {str(n): "gone" for n in faults or ()}, worker)
    await manager.call("WdPoStFinishJob", job, output, "")


async def test_a_job_has_the_sectors_of_a_partition(manager: Manager, tmp_path: Path) -> None:
    """Sectors are proved by number, two of 2KiB in a partition, from the stores that have them."""
    first, second = await make(manager)
    (job,) = await allocate(manager)
    assert first == job.id
    accesses = wdpost.Accesses(str(tmp_path / "persist"), str(tmp_path / "persist"))
    assert [wdpost.Sector(n, comm_r(n), False, accesses) for n in (1, 2)] == job.input.sectors
    assert (10000, "StackedDrgWindow2KiBV1_2") == (job.input.miner, job.input.proof_name)
    (other,) = await allocate(manager, "w2")
    assert second == other.id
    assert [] == await allocate(manager, "w3")
    jobs = await listed(manager)
    assert [(2, "w1", 1), (1, "w2", 1)] == [(j.sectors, j.worker, j.tries) for j in (jobs[first], jobs[second])]


async def test_there_is_one_job_for_a_partition(manager: Manager, clock: Clock) -> None:
    """As long as a job is not finished there is no second one; later the challenge is another."""
    ids = await make(manager)
    clock.now += 100
    assert ids == await make(manager)
    for job in ids:
        await allocate(manager)
        await finish(manager, job, proof=b"p")
    seeds = {(await listed(manager))[job].created_at for job in ids}
    assert set(ids).isdisjoint(await make(manager))
    assert len(await listed(manager)) == 4
    assert len(seeds) == 1


@pytest.mark.parametrize(
    ("spec", "fits"),
    [
        (wdpost.AllocateSpec([], []), True),
        (wdpost.AllocateSpec([10000], ["StackedDrgWinning2KiBV1", "StackedDrgWindow2KiBV1_2"]), True),
        (wdpost.AllocateSpec([10001]), False),
        (wdpost.AllocateSpec(None, ["StackedDrgWindow8MiBV1_2"]), False),
    ],
)
async def test_workers_say_what_they_prove(manager: Manager, spec: wdpost.AllocateSpec, fits: bool) -> None:
    """Miners and proofs that a worker does not name are not given to it."""
    await make(manager)
    assert fits == bool(await allocate(manager, spec=spec))


async def test_a_proof_is_verified_against_the_job(manager: Manager, verifier: RecordedVerifier) -> None:
    """What the worker was told to prove is what is verified; then the job is finished and stays so."""
    first, _ = await make(manager)
    (job,) = await allocate(manager)
    await finish(manager, first, proof=b"proof")
    (claim,) = verifier.posts
    assert (job.input.seed, b"proof", [1, 2]) == (claim.seed, claim.proof, [r.sector_id for r in claim.replicas])
    done = (await listed(manager))[first]
    assert (wdpost.State.FINISHED, "", 0) == (done.state, done.error, done.faults)
    await finish(manager, first, faults=[1])
    assert done == (await listed(manager))[first], "the first result counts"


async def test_a_silent_worker_s_job_is_lent_again(manager: Manager, clock: Clock) -> None:
    """After 15 s without a heartbeat another worker gets the job; the first one is told that it is not its own."""
    first, _ = await make(manager)
    await allocate(manager)
    for _ in range(3):
        clock.now += 14
        await manager.call("WdPoStHeartbeatJobs", [first], "w1")
    clock.now += 16
    await manager.call("WdPoStHeartbeatJobs", [first], "w1")  # late, but nobody else wanted it
    clock.now += 16
    (job,) = await allocate(manager, "w2", wdpost.AllocateSpec(None, None))
    assert first == job.id
    again = (await listed(manager))[first]
    assert ("w2", 2, "heartbeat timeout: nothing was heard of w1 any more") == (again.worker, again.tries, again.error)
    with pytest.raises(rpc_errors.RpcError, match="key not found"):
        await manager.call("WdPoStHeartbeatJobs", [first], "w1")
    await finish(manager, first, proof=b"late, but good")
    assert (wdpost.State.FINISHED, "") == ((d := (await listed(manager))[first]).state, d.error)


async def test_faults_count_only_from_the_worker_that_has_the_job(manager: Manager, clock: Clock) -> None:
    """A late word of a worker that lost its lease, or that nobody waits for, leaves the job to the present one."""
    first, _ = await make(manager)
    await allocate(manager, "w1")
    clock.now += 16
    await allocate(manager, "w2")
    await finish(manager, first, faults=[1], worker="w1")
    await manager.call("WdPoStHeartbeatJobs", [first], "w2")
    await finish(manager, first, proof=b"p", worker="w2")
    assert (wdpost.State.FINISHED, 0) == ((done := (await listed(manager))[first]).state, done.faults)
    await manager.call("WdPoStResetJob", first)
    await finish(manager, first, faults=[1], worker="w1")
    assert wdpost.State.READY is (await listed(manager))[first].state
    assert 2 == len(await listed(manager)), "no job follows"


async def test_a_proof_of_all_sectors_outweighs_faults(manager: Manager) -> None:
    """Where somebody could not read a sector and another one proves it, the faults and the job that follows are gone."""
    jobs = await make(manager)
    await allocate(manager)
    await finish(manager, jobs[0], faults=[1])
    assert 3 == len(await listed(manager))
    await finish(manager, jobs[0], proof=b"late, but good")
    assert set(jobs) == set(await listed(manager))
    assert (wdpost.State.FINISHED, 0) == ((done := (await listed(manager))[jobs[0]]).state, done.faults)


async def test_two_tries_are_enough(manager: Manager, clock: Clock) -> None:
    """A job that was lost twice ends, until somebody resets it."""
    first, second = await make(manager)
    for worker in ("w1", "w2"):
        assert [first] == [job.id for job in await allocate(manager, worker)]
        clock.now += 16
    assert [second] == [job.id for job in await allocate(manager, "w3")]
    ended = (await listed(manager))[first]
    assert (wdpost.State.FINISHED, 2) == (ended.state, ended.tries)
    assert "nothing was heard of w2" in ended.error
    await manager.call("WdPoStResetJob", first)
    assert [first] == [job.id for job in await allocate(manager, "w4")]
    with pytest.raises(rpc_errors.RpcError, match="job 'x' does not exist"):
        await manager.call("WdPoStResetJob", "x")


async def test_an_error_and_a_bad_proof_cost_a_try(manager: Manager, verifier: RecordedVerifier) -> None:
    """The reason is kept; the second failure ends the job."""
    first, _ = await make(manager)
    await allocate(manager)
    await manager.call("WdPoStFinishJob", first, None, "no GPU")
    again = (await listed(manager))[first]
    assert (wdpost.State.READY, "no GPU") == (again.state, again.error)
    await manager.call("WdPoStFinishJob", first, None, "a late word of a worker that has it no more")
    assert "no GPU" == (await listed(manager))[first].error
    await allocate(manager)
    verifier.answer = False
    await finish(manager, first, proof=b"p")
    ended = (await listed(manager))[first]
    assert (wdpost.State.FINISHED, "the proof does not verify") == (ended.state, ended.error)


async def test_a_proof_that_cannot_be_verified_now_is_kept_by_the_worker(
    manager: Manager, verifier: RecordedVerifier
) -> None:
    """Without a verifying key the answer is an error, and nothing is said about the proof."""
    first, _ = await make(manager)
    await allocate(manager)
    verifier.answer = errors.Unverifiable("no .vk")
    with pytest.raises(rpc_errors.RpcError, match=r"no \.vk"):
        await finish(manager, first, proof=b"p")
    assert wdpost.State.RUNNING is (await listed(manager))[first].state


async def test_the_rest_follows_faulty_sectors(manager: Manager) -> None:
    """Faults end a job and leave their reasons; one without them follows, for the same challenge."""
    first, _ = await make(manager)
    (job,) = await allocate(manager)
    await finish(manager, first, faults=[2])
    jobs = await listed(manager)
    assert (wdpost.State.FINISHED, 1, {"2": "gone"}) == (
        jobs[first].state,
        jobs[first].faults,
        (jobs[first].output or wdpost.Output(None, None)).reasons,
    )
    (follow,) = await allocate(manager)
    assert [1] == [sector.number for sector in follow.input.sectors or ()]
    assert job.input.seed == follow.input.seed
    await finish(manager, follow.id, faults=[1])
    assert len(await listed(manager)) == 3, "nothing is left to prove"


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ({"proofs": [], "faults": []}, "neither a proof nor faults"),
        (None, "neither a proof nor faults"),
        ({"proofs": [], "faults": [9]}, "sectors [9] are named as faulty, but are none of the job's"),
        ({"proofs": [base64.b64encode(b"p").decode()], "faults": None}, ""),
    ],
)
async def test_outputs_of_the_original_are_understood(
    manager: Manager, output: dict[str, object] | None, message: str
) -> None:
    """What makes no sense is a failure that says so."""
    first, _ = await make(manager)
    await allocate(manager)
    await manager.call("WdPoStFinishJob", first, output, "")
    assert message in (await listed(manager))[first].error


async def test_a_deadline_opens_by_itself(start: Start, tmp_path: Path, clock: Clock) -> None:
    """Every so often the persisted sectors are due, once for each deadline, whoever asks first."""
    async with start(wdpost_every_seconds=40) as manager:
        assert {} == await listed(manager), "there is nothing to prove yet"
        await persist(manager, tmp_path / "persist", 1)
        (first,) = await listed(manager)
        assert 4 == (await listed(manager))[first].deadline  # epoch 1000 of deadlines of 10
        (job,) = await allocate(manager)
        assert first == job.id
        clock.now += 40
        jobs = await listed(manager)
        assert [4, 5] == sorted(j.deadline for j in jobs.values())
        clock.now += 26 * 3600
        assert {first}.isdisjoint(await listed(manager)), "old jobs are forgotten"


async def test_a_restarted_manager_gives_workers_time(start: Start, tmp_path: Path, clock: Clock) -> None:
    """Leases do not run out while nobody could be heard of."""
    async with start() as manager:
        await persist(manager, tmp_path / "persist", 1)
        (job,) = await make(manager)
        await allocate(manager)
    clock.now += 300
    async with start() as manager:
        clock.now += 10
        assert [] == await allocate(manager, "w2")
        await manager.call("WdPoStHeartbeatJobs", [job], "w1")
        clock.now += 16
        assert [job] == [lent.id for lent in await allocate(manager, "w2")]


async def test_removed_jobs_are_gone(manager: Manager) -> None:
    """A removed job is forgotten; removing it again is no error."""
    first, second = await make(manager)
    for _ in range(2):
        await manager.call("WdPoStRemoveJob", first)
    assert {second} == set(await listed(manager))
    with pytest.raises(rpc_errors.RpcError, match="key not found"):
        await finish(manager, first, proof=b"p")


# The command line


async def run(*arguments: str) -> int:
    """Run the command line beside the manager."""
    return await anyio.to_thread.run_sync(cli.main, ["util", "worker", "wdpost", *arguments])


async def test_the_table_is_the_original_s(
    manager: Manager, clock: Clock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs have their lines, the newest first, those that were proved only on request."""
    monkeypatch.setattr(time, "time", clock)
    first, second = await make(manager)
    await allocate(manager)
    await finish(manager, first, proof=b"p")
    await allocate(manager, "w2")
    clock.now += 5
    capsys.readouterr()  # what the manager logs
    assert 0 == await run("list", "--listen", manager.url)
    header, *lines = capsys.readouterr().out.splitlines()
    names = "JobID MinerID DDL Partitions Sectors Worker State Try CreateAt Elapsed Heartbeat Error"
    assert names.split() == header.split()
    (line,) = [line.split() for line in lines]
    assert [second, "10000", "0", "[1]", "1", "w2", "Running", "1"] == line[:8]
    assert ["5s", "5s"] == line[10:12]
    await finish(manager, second, faults=[3])
    capsys.readouterr()
    assert 0 == await run("list", "--all", "--detail", "--listen", manager.url)
    header, *lines = capsys.readouterr().out.splitlines()
    assert "Prefix" in header
    told = {line.split()[0]: line for line in lines}
    assert " finished " in told[first]
    assert " Succeed " in told[first]
    assert " Faults(1) " in told[second]
    assert told[second].endswith("sector 3: gone")
    assert 0 == await run("list", "--all", "--json", "--listen", manager.url)
    shown = {job["Id"]: job["DisplayState"] for job in json.loads(capsys.readouterr().out)}
    assert {first: "Succeed", second: "Faults(1)"} == shown


async def test_jobs_are_made_reset_and_removed_by_hand(manager: Manager, capsys: pytest.CaptureFixture[str]) -> None:
    """What the tool says it has done is done."""
    at = ("--listen", manager.url)
    assert 0 == await run("make", "--ddl-idx", "7", "--partition-idx", "1", *at)
    (job,) = (await listed(manager)).values()
    assert (7, [1]) == (job.deadline, job.partitions)
    assert f"{job.id}: partitions [1], 1 sectors\n" == capsys.readouterr().out
    await allocate(manager)
    assert 0 == await run("reset", job.id, *at)
    assert (wdpost.State.READY, 0) == ((again := (await listed(manager))[job.id]).state, again.tries)
    assert 1 == await run("reset", "job-1", *at)
    assert "reset wdpost job: job 'job-1' does not exist" in capsys.readouterr().err
    assert 2 == await run("remove-all", *at)
    assert "Pass --really-do-it to actually execute this action" in capsys.readouterr().err
    assert 0 == await run("remove-all", "--really-do-it", *at)
    assert f"wdpost job {job.id} removed\n" == capsys.readouterr().out
    assert {} == await listed(manager)
    assert 0 == await run("remove-all", "--really-do-it", "--json", *at)
    assert [] == json.loads(capsys.readouterr().out)
    assert 0 == await run("remove", job.id, "--json", *at)
    assert [job.id] == json.loads(capsys.readouterr().out)
    assert 0 == await run("remove", job.id, *at), "removing what is not there is no error"
    assert 2 == await run("remove", *at)
