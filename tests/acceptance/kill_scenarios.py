"""For each plan: where a run begins, when it is at its end, and what is then compared with an undisturbed run."""

import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from damocles.rpc import errors
from damocles.stores import journal
from damocles.testing.farm import MINER, Farm, wait_until
from damocles.wire import commitments, wdpost

from . import plan_farms
from .test_plan_rebuild import lose_everything
from .test_plan_snapup import encode_directly
from .test_plan_unseal import payloads, want


@dataclass(frozen=True)
class Run:
    """A farm that is ready: its manager runs, its worker does not."""

    farm: Farm
    done: Callable[[], bool]
    check: Callable[[], None]


def entries(f: Farm) -> list[journal.Entry]:
    """Return the journal, also while the worker is being started or dies."""
    try:
        return f.history(0)
    except journal.JournalError:
        return []


def failed_with(f: Farm, text: str) -> Callable[[], bool]:
    """Tell whether the last thing that happened was this failure."""
    return lambda: bool((found := entries(f)) and text in (found[-1].error or ""))


def event(f: Farm, name: str) -> Callable[[], bool]:
    """Tell whether an event is in the journal."""
    return lambda: any(entry.event == name for entry in entries(f))


def has_commitments(f: Farm, proof: str) -> None:
    """Compare the commitments with those of the bare library for the same ticket."""
    sector = plan_farms.sector_of(f)
    direct = plan_farms.seal_directly(f.base / "direct", sector.id.number, sector.ticket.ticket, proof)
    assert direct == (sector.pc2out.comm_d, sector.pc2out.comm_r)
    assert len(plan_farms.files(f.base, "sealed", "cache")) == 3


@contextmanager
def to_c1(base: Path, get: Callable[[str], Any], *manager: str, **options: Any) -> Iterator[Run]:
    """Seal an empty sector up to its SNARK, for which the parameters are missing."""
    parameters = base / "no-parameters"
    parameters.mkdir()
    defaults = {"threads": 1, "parameters": parameters, "max_sectors": 1, "recover_interval": "200ms"}
    with Farm(base, **{**defaults, **options}) as f:
        plan_farms.start_manager(f, *manager)
        yield Run(f, failed_with(f, "No cached parameters"), lambda: sealed_once(f, plan_farms.PROOF))


def sealed_once(f: Farm, proof: str) -> None:
    """One sector was allocated and has the right commitments, in the worker and on the chain."""
    has_commitments(f, proof)
    rows = f.ask_manager("ListSectors", ["online", 0], list[dict[str, Any]])
    assert [(1, "")] == [(row["ID"]["Number"], row["AbortReason"]) for row in rows]
    assert rows[0]["Pre"]["CommR"] is not None


@contextmanager
def synthetic(base: Path, get: Callable[[str], Any]) -> Iterator[Run]:
    """The same with synthetic proofs."""
    with to_c1(base, get, "--synthetic") as run:
        proof = "StackedDrg2KiBV1_1_Feat_SyntheticPoRep"
        yield Run(run.farm, run.done, lambda: sealed_once(run.farm, proof))


@contextmanager
def with_deals(base: Path, get: Callable[[str], Any]) -> Iterator[Run]:
    """Seal a sector with two deals up to its SNARK."""
    plan_farms.make_deals(base, {"a": bytes(range(250)) * 4, "b": bytes(range(100))})
    with to_c1(base, get, sealing="enable_deals = true\ndisable_cc = true") as run:

        def check() -> None:
            f = run.farm
            record, sector = plan_farms.record(f), plan_farms.sector_of(f)
            assert record.pieces is not None
            assert 2 == len([piece for piece in record.pieces if not piece.is_filler])
            sizes = [(p.piece.size_bytes, commitments.commitment_of(p.piece.cid)) for p in record.pieces]
            assert sector.pc2out.comm_d == commitments.comm_d(sizes, 2048)
            assert len(plan_farms.files(f.base, "sealed", "cache")) == 3

        yield Run(run.farm, run.done, check)


@contextmanager
def niporep(base: Path, get: Callable[[str], Any]) -> Iterator[Run]:
    """Seal without an interactive seed, up to the SNARK."""
    parameters = base / "no-parameters"
    parameters.mkdir()
    with Farm(base, threads=1, plans=("niporep",), parameters=parameters, max_sectors=1, recover_interval="200ms") as f:
        plan_farms.start_manager(f, "--non-interactive")
        proof = "StackedDrg2KiBV1_2_Feat_NonInteractivePoRep"
        yield Run(f, failed_with(f, "No cached parameters"), lambda: has_commitments(f, proof))


@contextmanager
def from_the_proof_on(base: Path, get: Callable[[str], Any]) -> Iterator[Run]:
    """Submit a proof that is made, and finish."""
    template: Path = get("proof_made")
    with plan_farms.going_on(template, base, "sealer", with_store=True, max_sectors=1, seal_interval="1s") as f:
        yield Run(f, event(f, "Finalized"), lambda: proven_once(f, template))


@contextmanager
def from_the_aggregate_on(base: Path, get: Callable[[str], Any]) -> Iterator[Run]:
    """Submit a proof without an interactive seed that is made, and finish."""
    template: Path = get("aggregate_made")
    with plan_farms.going_on(
        template, base, "niporep", "--non-interactive", with_store=True, max_sectors=1, seal_interval="1s"
    ) as f:
        yield Run(f, event(f, "Finalized"), lambda: proven_once(f, template))


def proven_once(f: Farm, template: Path) -> None:
    """The proof was made once and taken, and the persisted files are those from before."""
    assert 1 == f.events(0).count("C2")
    (row,) = f.ask_manager("ListSectors", ["offline", 0], list[dict[str, Any]])
    assert row["Proof"] is not None
    assert row["AbortReason"] == ""
    before, after = (plan_farms.files(folder, "sealed", "cache") for folder in (template, f.base))
    assert before == after


@contextmanager
def snapup(base: Path, get: Callable[[str], Any]) -> Iterator[Run]:
    """Upgrade a proven sector, up to the SNARK."""
    proven: Path = get("proven")
    plan_farms.make_deals(base, {"a": bytes(range(250)) * 4, "b": bytes(range(100))})
    parameters = base / "no-parameters"
    parameters.mkdir()
    with plan_farms.going_on(
        proven, base, "snapup", parameters=parameters, seal_interval="1s", sealing="max_deals = 1"
    ) as f:
        plan_farms.ask(f, "snap", "fetch", str(MINER))

        def check() -> None:
            encoded, sector = encode_directly(base), plan_farms.sector_of(f)
            assert (encoded.comm_r_new, encoded.comm_d_new) == (
                sector.snap_encoded.comm_r_new,
                sector.snap_encoded.comm_d_new,
            )
            assert plan_farms.files(proven, "sealed", "cache") == plan_farms.files(base, "sealed", "cache")
            assert plan_farms.record(f).upgraded

        yield Run(f, failed_with(f, "No cached parameters found for empty-sector-update"), check)


@contextmanager
def from_the_update_proof_on(base: Path, get: Callable[[str], Any]) -> Iterator[Run]:
    """Persist and submit an upgrade that is proven."""
    template: Path = get("upgrade_proven")
    with plan_farms.going_on(template, base, "snapup", with_store=True, seal_interval="1s") as f:

        def check() -> None:
            # The worker is done when its proof is handed in; that it has landed is seen by the manager alone, a block later.
            wait_until(lambda: plan_farms.record(f).upgrade_landed_epoch is not None, "the upgrade lands")
            record = plan_farms.record(f)
            assert record.upgraded_info is not None
            assert record.upgraded_info.proof is not None
            assert len(plan_farms.files(base, "update", "update-cache")) == 3

        yield Run(f, event(f, "Finalized"), check)


@contextmanager
def rebuild(base: Path, get: Callable[[str], Any]) -> Iterator[Run]:
    """Make lost files of a sector anew, of an upgraded one if there is one."""
    upgraded: Path = get("upgraded")
    parameters = base / "no-parameters"
    parameters.mkdir()
    with plan_farms.going_on(upgraded, base, "rebuild", parameters=parameters, seal_interval="1s") as f:
        lose_everything(f)

        def check() -> None:
            folders = ("update", "update-cache")
            assert plan_farms.files(upgraded, *folders) == plan_farms.files(base, *folders)
            assert not plan_farms.record(f).need_rebuild
            assert 1 == f.events(0).count("AllocatedRebuildSector")

        yield Run(f, event(f, "Finalized"), check)


@contextmanager
def rebuild_plain(base: Path, get: Callable[[str], Any]) -> Iterator[Run]:
    """Make lost files of a sector anew that was never upgraded."""
    proven: Path = get("proven")
    parameters = base / "no-parameters"
    parameters.mkdir()
    with plan_farms.going_on(proven, base, "rebuild", parameters=parameters, seal_interval="1s") as f:
        lose_everything(f)

        def check() -> None:
            assert plan_farms.files(proven, "sealed", "cache") == plan_farms.files(base, "sealed", "cache")
            assert not plan_farms.record(f).need_rebuild
            assert 1 == f.events(0).count("SkipSnap")

        yield Run(f, event(f, "Finalized"), check)


@contextmanager
def giving_up(base: Path, get: Callable[[str], Any]) -> Iterator[Run]:
    """Give a sector up that is sealed up to its SNARK."""
    with to_c1(base, get) as run:
        f = run.farm
        f.start_worker(DAMOCLES_FAILPOINTS="journal.after:Aborted=kill")
        plan_farms.paused_with(f, "No cached parameters", 60)
        with suppress(errors.CallError):  # the worker may die before it answers
            f.resume(0, "Aborted")
        assert f.worker is not None
        assert f.worker.wait(30) == -signal.SIGKILL

        def check() -> None:
            record = plan_farms.record(f)
            assert (True, "task aborted") == (record.finalized, record.abort_reason)
            assert [] == list((f.stores[0] / "data").iterdir())
            moved = sorted(path.name for path in f.stores[0].glob("trash/*/*"))
            assert ["cache", "prepared", "sealed", "unsealed"] == moved

        yield Run(f, event(f, "Discarded"), check)


@contextmanager
def unseal(base: Path, get: Callable[[str], Any]) -> Iterator[Run]:
    """Bring a piece to two destinations."""
    template: Path = get("sealed")
    (piece, payload), _ = payloads(template)
    with plan_farms.receiver() as server, plan_farms.going_on(template, base, "unseal", seal_interval="1s") as f:
        want(f, piece, f"file://{base}/out", f"http://127.0.0.1:{server.port}/up")

        def check() -> None:
            assert (base / "out").read_bytes() == payload
            assert {payload} == {body for _, _, body in server.puts}
            assert 1 == f.events(0).count("AllocatedUnsealSector")
            assert 2 == f.events(0).count("Uploaded")

        yield Run(f, event(f, "Finalized"), check)


@contextmanager
def unseal_upgraded(base: Path, get: Callable[[str], Any]) -> Iterator[Run]:
    """Get a piece out of an upgraded sector whose replica from before is gone: it is sealed anew on the way."""
    template: Path = get("upgraded")
    with plan_farms.going_on(template, base, "unseal", seal_interval="1s") as f:
        for folder in ("sealed", "cache"):
            shutil.rmtree(base / "persist" / folder)
        pieces = plan_farms.record(f).pieces
        assert pieces is not None
        want(f, pieces[1].piece.cid, f"file://{base}/out")

        def check() -> None:
            assert (template / "b").read_bytes() == (base / "out").read_bytes()
            assert plan_farms.record(f).upgraded

        yield Run(f, event(f, "Finalized"), check)


@contextmanager
def window_post(base: Path, get: Callable[[str], Any]) -> Iterator[Run]:
    """Prove a partition of a sector."""
    template, parameters = get("sealed"), get("wdpost_parameters")
    with plan_farms.going_on(
        template, base, "wdpost", parameters=parameters, sealing='wdpost_heartbeat_interval = "200ms"'
    ) as f:
        with f.manager_client() as manager:
            made = manager.call("Damocles.MockWdPoSt", [], returns=list[wdpost.Brief])

        def proved() -> bool:
            """Tell whether the proofs are here, which the manager has verified; a job whose tries are used up is reset."""
            try:
                jobs = {job.id: job for job in f.ask_manager("WdPoStAllJobs", [], wdpost.Listed).jobs}
                for job in jobs.values():
                    if job.state is wdpost.State.FINISHED and job.error:
                        f.ask_manager("WdPoStResetJob", [job.id], bool)
            except errors.CallError:
                return False
            return all(
                (wdpost.State.FINISHED, 0, "") == (jobs[job.id].state, jobs[job.id].faults, jobs[job.id].error)
                for job in made
            )

        def check() -> None:
            assert proved()

        yield Run(f, proved, check)


SCENARIOS = {
    "sealer to C1": to_c1,
    "sealer with deals to C1": with_deals,
    "sealer with synthetic proofs to C1": synthetic,
    "sealer from its proof on": from_the_proof_on,
    "niporep to C1": niporep,
    "snapup to its encoding": snapup,
    "snapup from its proof on": from_the_update_proof_on,
    "rebuild": rebuild,
    "unseal": unseal,
    "wdpost": window_post,
    "rebuild of a plain sector": rebuild_plain,
    "giving up": giving_up,
    "unseal of an upgraded sector": unseal_upgraded,
    "niporep from its proof on": from_the_aggregate_on,
}
