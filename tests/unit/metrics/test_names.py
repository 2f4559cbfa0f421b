"""Names, types and labels of all metrics: people's dashboards and rules hang on them."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from prometheus_client import core

from damocles import exposition
from damocles.manager.alerts import notify, progress
from damocles.manager.serving import due
from damocles.manager.serving import metrics as manager_metrics
from damocles.rpc import core as rpc_core
from damocles.rpc import limits as rpc_limits
from damocles.stages.supervision import limits
from damocles.wire import control, fleet, seal
from damocles.wire.proving import Standing
from damocles.wire.sectors import SectorID
from damocles.worker.serving import metrics as worker_metrics

GOLDEN = Path(__file__).parents[2] / "golden" / "metrics"

THREAD = control.ThreadDetail(
    info=fleet.ThreadInfo(
        "/s", "sealer", "s-t010000-1", 0, fleet.ThreadState("Paused"), "C1Done", "C2", "permanent: x"
    ),
    since=0.0,
    state_since=0.0,
)
WORKER = control.WorkerStatus(
    info=fleet.WorkerInfo("gpu-1", "10.0.0.1:17890"), status="live", last_ping=0, age_seconds=1, interval_seconds=30
)


class Event(NamedTuple):
    """A row of `sector_events`, as far as it matters."""

    prev: str
    next: str
    at: float = 1.0
    miner: int = 10000


async def nothing(*_: object) -> None:
    """Do nothing, as a handler."""


def method(name: str) -> rpc_core.Method:
    """Make a method as a service has it."""
    return rpc_core.Method(
        name=name, handler=nothing, parameters=(), kinds=(), least=0, takes_call=False, has_result=True, streams=False
    )


def shapes(families: Iterable[core.Metric]) -> str:
    """Write a line with name, type and labels for each metric."""
    lines = []
    for family in families:
        labels = dict.fromkeys(label for sample in family.samples for label in sample.labels)
        assert family.samples, family.name
        lines.append(f"{family.name} {family.type} {','.join(labels)}".rstrip())
    return "\n".join(sorted(lines)) + "\n"


async def test_the_workers_metrics_are_those_of_the_golden_file() -> None:
    """A worker has the original's metrics, and ours."""
    tally = worker_metrics.Tally()
    tally.gauges.watch(lambda: {"connections": rpc_limits.Level(1, 1000)}, {})
    tally.call("AssignTicket", 0.1, failed=True)
    tally.stage("pc1", 1.0, failed=False)
    tally.stage("pc1", 1.0, failed=True)
    facts = worker_metrics.Facts(
        version="v",
        threads=[THREAD],
        slots=limits.Occupancy(running={"c2": 1}, waiting={"c2": 1}, limits={"c2": 1}),
        free_bytes={("sealing", "/s"): 1},
        lacking={("sealer", "32GiB"): 2},
        is_draining=True,
        managers=[control.ManagerSeen(url="http://m:1789/rpc/v0", in_use=True)],
        certificate_ends_at=1.0,
        now=1.0,
        loop_lag_seconds=0.0,
    )
    found = shapes([*tally.families(), *worker_metrics.families(facts), *await exposition.process()])
    assert (GOLDEN / "worker.txt").read_text() == found


async def test_the_managers_metrics_are_those_of_the_golden_file() -> None:
    """A manager has the original's metrics, and ours."""
    tally = manager_metrics.Tally()
    tally.gauges.watch(lambda: {"connections": rpc_limits.Level(1, 1000)}, {})
    sector = SectorID(10000, 1)
    for name, argument in (("SubmitPreCommit", seal.AllocatedSector(sector, 5)), ("SubmitProof", sector)):
        with tally.measure(method(f"Venus.{name}"), [argument]) as count:
            count(None)
    with tally.measure(method("Venus.Refused"), []):
        pass
    came_far = progress.Progress()
    came_far.left(Event("ProofSubmitted", "Finished"), 1.0)
    counted = [*tally.families(), *came_far.families({"10000": 2048})]
    facts = manager_metrics.Facts(
        allocated={("10000",): 1},
        online=1,
        workers=[WORKER],
        threads=exposition.grouped([THREAD]),
        looked_seconds_ago=1.0,
        free_bytes={("s",): 1},
        reserved_bytes={("s",): 1},
        blocks={("1000", "included"): 1},
        alerts={("worker-late", "firing"): 1},
        deliveries={notify.Delivery("webhook", "delivered"): 1},
        due=due.Due(
            chain=due.OnChain(
                messages={("1000", "signed"): 1},
                oldest_message={("1000",): 0.0},
                miners={"1000": due.Miner(standings={Standing.AT_RISK: 1}, faulty=1, recovering=1, closes_seconds=1.0)},
            ),
            deals=[1024],
            certificate_ends_at=1.0,
        ),
        now=1.0,
        loop_lag_seconds=0.0,
    )
    found = shapes([*counted, *manager_metrics.families(facts), *await exposition.process()])
    assert (GOLDEN / "manager.txt").read_text() == found


def test_calls_are_labelled_as_in_the_original() -> None:
    """The label of a call is the original's name for it, also where that is not the wire name."""
    tally = worker_metrics.Tally()
    names = {
        "SubmitPersistedEx": "submit_persisted_ex",
        "PollPreCommitState": "poll_pre_commit_state",
        "AllocateSanpUpSector": "allocate_snapup_sector",
        "SubmitSnapUpProof": "submit_snapup_proof",
        "WdPoStAllocateJobs": "allocate_wdpost_job",
        "WdPoStHeartbeatJobs": "wdpost_heartbeat",
        "WdPoStFinishJob": "wdpost_finish",
        "AchieveUnsealSector": "achieve_unseal_sector",
        "Allocate": "allocate_sector",
    }
    for name in names:
        tally.call(name, 0.1, failed=False)
    calls = next(family for family in tally.families() if family.name == "rpc_call")
    assert list(names.values()) == [sample.labels["method"] for sample in calls.samples]


def test_a_refused_submission_is_no_commitment() -> None:
    """Only what the manager answered counts, rejected or not; errors count as errors."""
    tally = manager_metrics.Tally()
    with tally.measure(method("Venus.SubmitProof"), [SectorID(10000, 1)]):
        pass
    counted = {family.name: family.samples for family in tally.families()}
    assert [] == counted["damocles_manager_sector_commit"]
    (error,) = counted["damocles_manager_api_errors_total"]
    assert {"endpoint": "Venus.SubmitProof"} == error.labels
