"""The plan `niporep` with real proofs. Its SNARK has thirteen circuits: a quarter of an hour of two cores, and 5 GB.

That one runs with `make test ARGS="-m whole tests/acceptance/test_plan_niporep.py"`.
"""

import damocles_proofs as native
import pytest

from damocles.testing import farm
from damocles.testing.farm import Farm
from damocles.wire import commitments, seal, sectors

from . import plan_farms, test_howto_chain

_PROOF = "StackedDrg2KiBV1_2_Feat_NonInteractivePoRep"


@pytest.mark.slow
def test_commitments_are_those_of_the_bare_library(tmp_path, no_parameters):
    """The way up to C2 needs no pre-commit, and has the commitments of the bare library."""
    with Farm(
        tmp_path, threads=1, plans=("niporep",), parameters=no_parameters, max_sectors=1, seal_interval="1h"
    ) as f:
        plan_farms.start_manager(f, "--non-interactive")
        f.start_worker()
        plan_farms.paused_with(f, "No cached parameters")
        assert "C1Done" == f.thread(0).job_state
        plan_farms.stop_worker(f)
        sector = plan_farms.sector_of(f)
        assert sector.id is not None
        assert sector.ticket is not None
        assert sector.pc2out is not None
        assert sector.c1out is not None
        comm_d, comm_r = plan_farms.seal_directly(tmp_path / "direct", sector.id.number, sector.ticket.ticket, _PROOF)
        assert (comm_d, comm_r) == (sector.pc2out.comm_d, sector.pc2out.comm_r)
        assert _PROOF == native.C1Output.from_json(bytes(sector.c1out)).registered_proof
        assert plan_farms.record(f).pre_commit is None
        assert len(plan_farms.files(tmp_path, "sealed", "cache")) == 3


@pytest.mark.params
@pytest.mark.slow
@pytest.mark.whole
@pytest.mark.timeout(3700)
def test_a_sector_is_sealed_without_an_interactive_seed(tmp_path, aggregation_parameters):
    """The aggregate is made once, the chain verifies it, and what the sector needs is in the persist store."""
    with Farm(tmp_path, threads=1, plans=("niporep",), max_sectors=1, seal_interval="1h") as f:
        plan_farms.start_manager(f, "--non-interactive")
        f.start_worker()
        farm.wait_until(
            lambda: {"C2", "Failed"} & set(f.events(0)), "the aggregate is made", plan_farms.AGGREGATING_SECONDS
        )
        plan_farms.finished(f)
        assert 1 == f.events(0).count("C2")
        record = plan_farms.record(f)
        assert (True, "") == (record.finalized, record.abort_reason)
        pre, proof = record.pre_commit, record.submitted_proof
        assert pre is not None
        assert proof is not None
        comm_r, comm_d = commitments.commitment_of(pre.comm_r), commitments.commitment_of(pre.comm_d)
        ids = (sectors.prover_id(farm.MINER), plan_farms.SECTOR.number)
        seed = bytes([1]) * 32  # what the actors of the real network put where a seed is expected
        assert native.verify_seal(_PROOF, comm_r, comm_d, *ids, pre.ticket.ticket, seed, proof.proof)
        assert len(plan_farms.files(tmp_path, "sealed", "cache")) == 3


@pytest.mark.params
@pytest.mark.slow
@pytest.mark.whole
@pytest.mark.timeout(7300)
@pytest.mark.usefixtures("aggregation_parameters")
def test_a_sector_is_proven_on_a_chain_without_a_pre_commit(tmp_path):
    """The daemon sends the aggregate to a devnode, which verifies it: one message, and the sector is on the chain."""
    with test_howto_chain.provider(tmp_path) as made:
        made.change(
            "manager.toml", "[Miners.Sector]", "[Miners.Sealing]\nUseNonInteractivePoRep = true\n\n[Miners.Sector]"
        )
        made.change("worker.toml", 'location = "store1"', 'location = "store1"\nplan = "niporep"')
        devnode, file_init, daemon, sealing_init, worker, *_ = made.commands
        made.start(devnode)
        farm.wait_until(lambda: made.listens("1234") and made.exists("devnet/token"), "the devnode listens")
        made.run(file_init)
        made.start(daemon)
        farm.wait_until(lambda: made.listens("1789"), "the manager listens")
        made.run(sealing_init)
        made.start(worker)

        def found():
            return made.listens("17890") and made.ask_node("StateSectorGetInfo", ["t01000", 1, None])

        on_chain = farm.wait_until(found, "the sector is on the chain", 2 * plan_farms.AGGREGATING_SECONDS)
        assert 15 == on_chain["SealProof"]
        (record,) = farm.wait_until(lambda: made.ask_manager("ListSectors", ["offline", 1]), "the sector is finished")
        assert record["Pre"]["CommR"] == on_chain["SealedCID"]
        info = made.ask_node("StateMinerInfo", ["t01000", None])
        assert 1 == made.ask_node("StateGetActor", [info["Worker"], None])["Nonce"]


@pytest.mark.params
def test_a_missing_srs_is_told_before_hours_are_spent(tmp_path, no_parameters, porep_parameters):
    """The library asks for the file when all circuits are proved; the thread pauses before the first."""
    for path in porep_parameters:
        (no_parameters / path.name).symlink_to(path)
    with Farm(
        tmp_path, threads=1, plans=("niporep",), parameters=no_parameters, max_sectors=1, seal_interval="1h"
    ) as f:
        plan_farms.start_manager(f, "--non-interactive")
        f.start_worker()
        plan_farms.paused_with(f, f"No cached srs key found for {_PROOF} [failure finding {no_parameters}/v28-")


@pytest.mark.params
@pytest.mark.timeout(400)
def test_a_proof_that_is_none_is_refused(tmp_path, no_parameters, porep_parameters):
    """The manager verifies with the real key: what is no aggregate of proofs is rejected and does not land."""
    with Farm(
        tmp_path, threads=1, plans=("niporep",), parameters=no_parameters, max_sectors=1, seal_interval="1h"
    ) as f:
        plan_farms.start_manager(f, "--non-interactive")
        f.start_worker()
        plan_farms.paused_with(f, "No cached parameters")
        plan_farms.stop_worker(f)
        sector = plan_farms.sector_of(f)
        assert sector.ticket is not None
        assert sector.pc2out is not None
        assert f.manager is not None
        farm.stop(f.manager)
        f.parameters = farm.PARAMETER_CACHE
        plan_farms.start_manager(f, "--non-interactive")
        content = seal.Proof(bytes(13 * 192), seal.PreCommit(sector.pc2out.comm_r, sector.pc2out.comm_d, sector.ticket))
        answer = f.ask_manager("SubmitProof", [plan_farms.SECTOR, content, False], seal.Submitted)
        assert (seal.SubmitResult.REJECTED, True) == (answer.res, "invalid proof" in (answer.desc or "")), answer
        assert plan_farms.record(f).submitted_proof is None
