"""Window PoSt jobs: leases, tries, results. The clock and the verifier are the test's."""

import base64
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from damocles.cli import manager as cli
from damocles.manager import errors
from damocles.manager.alerts import config
from damocles.rpc import errors as rpc_errors
from damocles.stores import layout
from damocles.wire import alerts, commitments, proving, seal, wdpost
from damocles.wire.codec import Bytes32
from damocles.wire.sectors import SectorID, SectorSize

from ..conftest import Clock, Manager, RecordedVerifier, Start

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


async def test_a_window_post_is_proved_on_trial(manager: Manager, clock: Clock) -> None:
    """The sectors and the randomness are the caller's; each call makes a job, and what has no files is named."""
    infos = [proving.Extended(proof=5, number=n, sealed_cid=commitments.sealed_cid(comm_r(n))) for n in (1, 3)]
    rand = base64.b64encode(bytes([255]) * 32).decode()
    await manager.call("SimulateWdPoSt", 7, 0, "t010000", 10, infos, rand)
    (job,) = await allocate(manager)
    assert [1, 3] == [one.number for one in job.input.sectors or ()]
    assert Bytes32(bytes([255]) * 31 + b"\x3f") == job.input.seed
    clock.now += 1
    await manager.call("SimulateWdPoSt", 7, 0, "t010000", 10, infos, rand)
    assert len(await listed(manager)) == 2
    with pytest.raises(rpc_errors.RpcError, match="sector 9: no store is known to have its files"):
        await manager.call("SimulateWdPoSt", 7, 0, "t010000", 10, [proving.Extended(number=9)], rand)
    with pytest.raises(rpc_errors.RpcError, match="f010001 is no miner whose window PoSts are proved here: f010000"):
        await manager.call("SimulateWdPoSt", 7, 0, "t010001", 10, infos, rand)


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
    assert ("w2", 2, "heartbeat timeout: w1 is silent") == (again.worker, again.tries, again.error)
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


async def fail(manager: Manager, job: str, reason: str = "no GPU") -> None:
    """Hand in an error, as the worker that has the job."""
    await manager.call("WdPoStFinishJob", job, None, reason)


async def remove_second(manager: Manager) -> str:
    """Leave one job; return its id."""
    first, second = await make(manager)
    await manager.call("WdPoStRemoveJob", second)
    return first


async def test_a_job_that_one_worker_fails_goes_to_another(manager: Manager, clock: Clock) -> None:
    """However fast and often an unfit worker asks, a healthy one that asks now and then proves the job."""
    first = await remove_second(manager)
    assert [first] == [job.id for job in await allocate(manager, "bad")]
    assert [] == await allocate(manager, "w1"), "it asks, and the job is taken"
    await fail(manager, first)
    for _ in range(100):
        clock.now += 1
        assert [] == await allocate(manager, "bad")
    assert [first] == [job.id for job in await allocate(manager, "w1")]
    await finish(manager, first, proof=b"p")
    done = (await listed(manager))[first]
    assert (wdpost.State.FINISHED, "", "w1", 2) == (done.state, done.error, done.worker, done.tries)
    assert [wdpost.Failure("bad", int(clock.now) - 100, "no GPU")] == done.failures


async def test_faults_are_looked_at_by_another_worker_first(manager: Manager, clock: Clock) -> None:
    """A mount that one worker has lost costs no sector: where there is another worker, it has to find the same."""
    first = await remove_second(manager)
    for worker in ("bad", "w1"):
        await allocate(manager, worker)
    await finish(manager, first, faults=[1, 2], worker="bad")
    waiting = (await listed(manager))[first]
    assert wdpost.State.READY is waiting.state
    assert "bad reports 2 as faulty, 1 first: gone; another worker is asked" == waiting.error
    assert [] == await allocate(manager, "bad")
    assert [first] == [job.id for job in await allocate(manager, "w1")]
    await finish(manager, first, faults=[2], worker="w1")
    assert (wdpost.State.FINISHED, 1) == ((ended := (await listed(manager))[first]).state, ended.faults)
    (follow,) = await allocate(manager, "w1")
    assert [1] == [sector.number for sector in follow.input.sectors or ()]


async def test_what_one_of_two_workers_names_is_looked_at_anew(manager: Manager) -> None:
    """Of two reports what both name counts; what only the second one names is in the job that follows."""
    first = await remove_second(manager)
    for worker in ("w1", "liar"):
        await allocate(manager, worker)
    await finish(manager, first, faults=[2], worker="w1")
    await allocate(manager, "liar")
    await finish(manager, first, faults=[1, 2], worker="liar")
    assert (wdpost.State.FINISHED, 1) == ((ended := (await listed(manager))[first]).state, ended.faults)
    (follow,) = await allocate(manager, "w1")
    assert [1] == [sector.number for sector in follow.input.sectors or ()]


async def test_a_third_worker_is_asked_where_two_name_different_sectors(manager: Manager) -> None:
    """Two reports that share no sector end no job while somebody else could look."""
    first = await remove_second(manager)
    for worker in ("w1", "liar", "w2"):
        await allocate(manager, worker)
    for worker, faults in (("w1", [2]), ("liar", [1])):
        await finish(manager, first, faults=faults, worker=worker)
        assert wdpost.State.READY is (await listed(manager))[first].state
        await allocate(manager, "liar" if worker == "w1" else "w2")
    await finish(manager, first, faults=[2], worker="w2")
    assert (wdpost.State.FINISHED, 1) == ((ended := (await listed(manager))[first]).state, ended.faults)
    (follow,) = await allocate(manager, "w1")
    assert [1] == [sector.number for sector in follow.input.sectors or ()]


async def test_faults_count_where_the_other_worker_cannot_look(manager: Manager, clock: Clock) -> None:
    """When the second worker fails, what the first one named is named again, and then it counts."""
    first = await remove_second(manager)
    for worker in ("w1", "bad"):
        await allocate(manager, worker)
    await finish(manager, first, faults=[2], worker="w1")
    await allocate(manager, "bad")
    await fail(manager, first)
    clock.now += 31
    assert [first] == [job.id for job in await allocate(manager, "w1")]
    await finish(manager, first, faults=[2], worker="w1")
    assert (wdpost.State.FINISHED, 1) == ((ended := (await listed(manager))[first]).state, ended.faults)


async def test_a_worker_at_work_on_another_job_is_waited_for(manager: Manager, clock: Clock) -> None:
    """The only healthy worker proves for longer than an unfit one needs to fail; no try is left to the unfit one then."""
    first, second = await make(manager)
    assert [first] == [job.id for job in await allocate(manager, "w1")]
    assert [second] == [job.id for job in await allocate(manager, "bad")]
    await fail(manager, second)
    for _ in range(29):
        clock.now += 10
        await manager.call("WdPoStHeartbeatJobs", [first], "w1")
        assert [] == await allocate(manager, "bad")
    await finish(manager, first, proof=b"p")
    assert [second] == [job.id for job in await allocate(manager, "w1")]


async def test_the_same_worker_tries_again_after_a_pause(manager: Manager, clock: Clock) -> None:
    """A worker that is alone has its second try half a minute later; then the job waits for a `reset`."""
    first = await remove_second(manager)
    await allocate(manager)
    await fail(manager, first, "no GPU")
    again = (await listed(manager))[first]
    assert (wdpost.State.READY, "no GPU") == (again.state, again.error)
    await fail(manager, first, "a late word of a worker that has it no more")
    assert "no GPU" == (await listed(manager))[first].error
    clock.now += 29
    assert [] == await allocate(manager)
    clock.now += 2
    assert [first] == [job.id for job in await allocate(manager)]
    await fail(manager, first, "still none")
    ended = (await listed(manager))[first]
    assert (wdpost.State.FINISHED, "still none", "w1", 2) == (ended.state, ended.error, ended.worker, ended.tries)
    assert [] == await allocate(manager, "w2"), "somebody has to look"
    await manager.call("WdPoStResetJob", first)
    assert [first] == [job.id for job in await allocate(manager)]
    with pytest.raises(rpc_errors.RpcError, match="job 'x' does not exist"):
        await manager.call("WdPoStResetJob", "x")


async def test_each_worker_has_two_tries(manager: Manager, clock: Clock) -> None:
    """Where all fail, each tries twice, in turn; the last reason stays."""
    first = await remove_second(manager)
    tries: list[str] = []
    for _ in range(100):
        for worker in ("w1", "w2", "w3"):
            if await allocate(manager, worker):
                tries.append(worker)
                await fail(manager, first, f"{worker} cannot")
        clock.now += 5
    assert ["w1", "w2", "w3", "w1", "w2", "w3"] == tries
    ended = (await listed(manager))[first]
    assert (wdpost.State.FINISHED, "w3 cannot", 6) == (ended.state, ended.error, ended.tries)


async def test_a_worker_that_may_not_prove_a_job_is_not_waited_for(manager: Manager, clock: Clock) -> None:
    """Only workers that are willing to take a job, and asked lately, hold up the others."""
    first = await remove_second(manager)
    await allocate(manager, "other miner", wdpost.AllocateSpec([10001]))
    await allocate(manager, "w1")
    assert [] == await allocate(manager, "gone")
    await fail(manager, first)
    clock.now += 31
    assert [] == await allocate(manager, "w1")
    clock.now += 120
    assert [first] == [job.id for job in await allocate(manager, "w1")], "nothing was heard of the other for too long"


async def test_a_job_that_is_lost_again_and_again_ends(manager: Manager, clock: Clock) -> None:
    """A worker whose process dies over a job costs tries as one that fails does, and shows who it was."""
    first = await remove_second(manager)
    for _ in range(2):
        assert [first] == [job.id for job in await allocate(manager, "w1")]
        clock.now += 31
    assert [] == await allocate(manager, "w1")
    ended = (await listed(manager))[first]
    assert (wdpost.State.FINISHED, 2, "w1") == (ended.state, ended.tries, ended.worker)
    assert "w1 is silent" in ended.error


async def test_a_bad_proof_costs_a_try(manager: Manager, verifier: RecordedVerifier, clock: Clock) -> None:
    """A proof that does not verify is a failure like any other; the reason is kept."""
    first = await remove_second(manager)
    verifier.answer = False
    for _ in range(2):
        assert [first] == [job.id for job in await allocate(manager)]
        await finish(manager, first, proof=b"p")
        clock.now += 31
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


async def test_a_job_that_is_tried_again_can_have_faults_again(manager: Manager) -> None:
    """A reset job whose sectors are still faulty ends like the first time, and one job without them follows."""
    first, _ = await make(manager)
    for _ in range(2):
        assert first in {job.id for job in await allocate(manager)}
        await finish(manager, first, faults=[2])
        assert (wdpost.State.FINISHED, 3) == ((await listed(manager))[first].state, len(await listed(manager)))
        await manager.call("WdPoStResetJob", first)


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
        ({"proofs": [], "faults": [9]}, "sectors [9] are reported as faulty, but are not in the job"),
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


async def test_a_deadline_opens_though_no_worker_asks(start: Start, tmp_path: Path, clock: Clock) -> None:
    """Where all workers that prove are down, the alerts still notice that a window PoSt is late."""
    often = config.Config(interval_seconds=0.05)
    async with start(wdpost_every_seconds=4000, alerts=often) as manager:
        await persist(manager, tmp_path / "persist", 1)
        with anyio.fail_after(20):
            while not (told := (await manager.rpc.call("Damocles.Alerts", [False], returns=alerts.Board)).alerts):
                clock.now += 60
                await anyio.sleep(0.1)
    assert [("window-post-late", "deadline 1 partition 0")] == [(alert.rule, alert.subject) for alert in told]


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


async def test_a_restarted_manager_asks_whom_it_knew_before(start: Start, tmp_path: Path, clock: Clock) -> None:
    """Whoever asks first after a restart is not the only worker there is: its faults are looked at by the other one, too."""
    async with start() as manager:
        await persist(manager, tmp_path / "persist", 1)
        for worker in ("bad", "w1"):
            assert [] == await allocate(manager, worker)
        clock.now += 300
        (job,) = await make(manager)
        assert [job] == [lent.id for lent in await allocate(manager, "bad")]
    async with start() as manager:
        await finish(manager, job, faults=[1], worker="bad")
        assert wdpost.State.READY is (await listed(manager))[job].state
        assert [] == await allocate(manager, "bad")
        assert [job] == [lent.id for lent in await allocate(manager, "w1")]
        await finish(manager, job, faults=[1], worker="w1")
        assert wdpost.State.FINISHED is (await listed(manager))[job].state


async def test_a_worker_that_does_not_come_back_is_waited_for_no_longer_than_for_any(
    start: Start, tmp_path: Path, clock: Clock
) -> None:
    """One that has gone while the manager was down delays the second look, and prevents nothing."""
    async with start() as manager:
        await persist(manager, tmp_path / "persist", 1)
        for worker in ("w1", "gone"):
            assert [] == await allocate(manager, worker)
        (job,) = await make(manager)
    clock.now += 3600
    async with start() as manager:
        assert [job] == [lent.id for lent in await allocate(manager, "w1")]
        await finish(manager, job, faults=[1], worker="w1")
        clock.now += 140
        assert [] == await allocate(manager, "w1")
        clock.now += 20
        assert [job] == [lent.id for lent in await allocate(manager, "w1")]
        await finish(manager, job, faults=[1], worker="w1")
        assert (wdpost.State.FINISHED, 1) == ((ended := (await listed(manager))[job]).state, ended.faults)


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
    await allocate(manager, "w2")
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
    assert f"{job.id}: partitions [1], 1 sector\n" == capsys.readouterr().out
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


async def beat_on(manager: Manager, clock: Clock, job: str, seconds: int, *workers: str) -> None:
    """Let time pass in which workers have nothing but heartbeats."""
    for _ in range(seconds // 10):
        clock.now += 10
        for worker in workers:
            await manager.call("WdPoStHeartbeatJobs", [job], worker)


async def test_a_job_that_a_worker_hangs_at_is_lent_to_another_as_well(manager: Manager, clock: Clock) -> None:
    """Heartbeats are no proof: after a while a second worker has the job, too, and its proof ends it; the first one hears of it then."""
    first = await remove_second(manager)
    await allocate(manager, "hangs")
    await beat_on(manager, clock, first, 290, "hangs")
    assert [] == await allocate(manager, "w2")
    await beat_on(manager, clock, first, 20, "hangs")
    assert [] == await allocate(manager, "hangs"), "it has the job"
    assert [first] == [job.id for job in await allocate(manager, "w2")]
    await beat_on(manager, clock, first, 60, "hangs", "w2")
    assert ("w2", ["hangs"]) == ((shared := (await listed(manager))[first]).worker, list(shared.slower or {}))
    await finish(manager, first, proof=b"p", worker="w2")
    assert (wdpost.State.FINISHED, "w2") == ((ended := (await listed(manager))[first]).state, ended.worker)
    with pytest.raises(rpc_errors.RpcError, match="key not found"):
        await manager.call("WdPoStHeartbeatJobs", [first], "hangs")


async def test_the_slower_worker_may_be_the_first_with_a_proof(manager: Manager, clock: Clock) -> None:
    """Whose proof comes first is taken, and the other one's does no harm."""
    first = await remove_second(manager)
    await allocate(manager, "slow")
    await beat_on(manager, clock, first, 310, "slow")
    await allocate(manager, "w2")
    await finish(manager, first, proof=b"slow one's", worker="slow")
    ended = (await listed(manager))[first]
    assert (wdpost.State.FINISHED, "slow") == (ended.state, ended.worker)
    await finish(manager, first, proof=b"another", worker="w2")
    assert ended == (await listed(manager))[first]


@pytest.mark.parametrize("ends", ["fails", "is silent", "lies"])
async def test_a_worker_that_helps_and_fails_takes_nothing_from_the_slower_one(
    manager: Manager, clock: Clock, verifier: RecordedVerifier, ends: str
) -> None:
    """The job is the slower one's again, with its heartbeats and its tries; a third worker may help at once."""
    first = await remove_second(manager)
    await allocate(manager, "slow")
    await beat_on(manager, clock, first, 310, "slow")
    await allocate(manager, "w2")
    match ends:
        case "fails":
            await fail(manager, first)
        case "lies":
            verifier.answer = False
            await finish(manager, first, proof=b"wrong", worker="w2")
            verifier.answer = True
        case _:
            await beat_on(manager, clock, first, 20, "slow")
    assert [first] == [job.id for job in await allocate(manager, "w3")]
    await beat_on(manager, clock, first, 20, "slow", "w3")
    shared = (await listed(manager))[first]
    assert (wdpost.State.RUNNING, "w3", ["slow"]) == (shared.state, shared.worker, list(shared.slower or {}))
    assert ["w2"] == [failure.worker for failure in shared.failures or ()]
    await finish(manager, first, proof=b"p", worker="slow")
    assert "slow" == (await listed(manager))[first].worker


async def test_faults_of_the_slower_worker_wait_for_the_other_one(manager: Manager, clock: Clock) -> None:
    """Whoever helps is the second opinion on the faults that the slower one reports: both name a sector, or the proof outweighs."""
    first = await remove_second(manager)
    await allocate(manager, "slow")
    await beat_on(manager, clock, first, 310, "slow")
    await allocate(manager, "w2")
    await finish(manager, first, faults=[2], worker="slow")
    waiting = (await listed(manager))[first]
    assert (wdpost.State.RUNNING, "w2") == (waiting.state, waiting.worker)
    await finish(manager, first, faults=[1, 2], worker="w2")
    ended = (await listed(manager))[first]
    assert (wdpost.State.FINISHED, 1) == (ended.state, ended.faults), "the one that both name"


async def test_how_long_proofs_take_says_when_a_worker_is_slow(manager: Manager, clock: Clock) -> None:
    """Twice as long as the longest proof of so many sectors is long enough, however much time the job would have."""
    first, second = await make(manager)
    await allocate(manager, "w1")
    clock.now += 10
    await finish(manager, first, proof=b"p", worker="w1")
    await allocate(manager, "hangs")
    await beat_on(manager, clock, second, 30, "hangs")
    assert [] == await allocate(manager, "w1")
    await beat_on(manager, clock, second, 10, "hangs")
    assert [second] == [job.id for job in await allocate(manager, "w1")]
