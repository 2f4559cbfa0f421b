"""The plan `snapup` with real proofs: deals are put into a proven sector."""

import damocles_proofs as native
import pytest

from damocles.sealing.plans import snapup
from damocles.stores import journal
from damocles.testing.farm import MINER
from damocles.wire import commitments

from . import plan_farms

pytestmark = [pytest.mark.params, pytest.mark.slow, pytest.mark.timeout(1800)]

_PROOF = "StackedDrg2KiBV1"


def test_a_sector_is_upgraded(upgraded):
    """Deals are encoded and proven; files that went missing are persisted again; the chain verifies the proof."""
    events = [entry.event for entry in journal.read(upgraded / "store-of-upgrade")]
    assert [
        *("AllocatedSnapUpSector", "AddPiece", "BuildTreeD", "SnapEncode", "SnapProve"),
        *("Restart", "Claimed", "Persist"),
        *("Restart", "Claimed", "RePersist", "Persist", "Finish", "Finalized"),
    ] == events
    states = {state for entry in journal.read(upgraded / "store-of-upgrade") for state in (entry.prev, entry.state)}
    assert set(snapup.PLAN.steps) == states


def test_the_manager_knows_the_upgrade(tmp_path, upgraded):
    """Its record has the new commitments and the message, and the proof holds for them; no candidate is left."""
    with plan_farms.going_on(upgraded, tmp_path, "snapup") as f:
        record = plan_farms.record(f)
        info, public = record.upgraded_info, record.upgrade_public
        assert info is not None
        assert public is not None
        assert info.sealed_cid is not None
        assert info.unsealed_cid is not None
        assert info.proof is not None
        assert (True, True, "persist") == (record.finalized, record.upgraded, info.access_instance)
        assert record.upgrade_landed_epoch is not None
        comm_r, comm_d = commitments.commitment_of(info.sealed_cid), commitments.commitment_of(info.unsealed_cid)
        assert native.update_verify(_PROOF, info.proof, public.comm_r, comm_r, comm_d)
        sizes = [(p.piece.size_bytes, commitments.commitment_of(p.piece.cid)) for p in record.pieces or ()]
        assert comm_d == commitments.comm_d(sizes, 2048)
        assert plan_farms.ask(f, "snap", "candidates", str(MINER)).strip() == "no candidates available"
        assert "0 sectors can be upgraded" in plan_farms.ask(f, "snap", "fetch", str(MINER))


def test_an_upgrade_is_given_up(tmp_path, proven, no_parameters):
    """What was encoded is right; given up then, the manager has the sector back as it was, and its deals are free."""
    plan_farms.make_deals(tmp_path, {"a": bytes(range(250)) * 4, "b": bytes(range(100))})
    sealing_options = "max_deals = 1"
    with plan_farms.going_on(
        proven, tmp_path, "snapup", parameters=no_parameters, seal_interval="1h", sealing=sealing_options
    ) as f:
        plan_farms.ask(f, "snap", "fetch", str(MINER))
        f.start_worker()
        plan_farms.paused_with(f, "No cached parameters found for empty-sector-update")
        plan_farms.stop_worker(f)
        assert 1 == f.events(0).count("AllocatedSnapUpSector")
        sector = plan_farms.sector_of(f)
        assert sector.snap_encoded is not None
        encoded = encode_directly(tmp_path)
        assert (encoded.comm_r_new, encoded.comm_d_new) == (
            sector.snap_encoded.comm_r_new,
            sector.snap_encoded.comm_d_new,
        )
        before = plan_farms.files(proven, "sealed", "cache")
        assert before == plan_farms.files(tmp_path, "sealed", "cache")  # only read, through links

        assert plan_farms.record(f).upgraded
        f.start_worker()
        plan_farms.wait_for(f, "Paused")
        f.resume(0, "Aborted")
        plan_farms.wait_for_event(f, "Discarded")
        after = plan_farms.record(f)
        assert (True, False, None, None, "") == (
            *(after.finalized, after.upgraded, after.pieces, after.upgrade_public, after.abort_reason),
        )
        plan_farms.ask(f, "snap", "fetch", str(MINER))
        assert plan_farms.ask(f, "snap", "candidates", str(MINER)).splitlines()[1].split() == ["0", "1"]


def encode_directly(base) -> native.UpdateEncoded:
    """Encode deal a into the proven sector by calling the proofs crate, and return the commitments."""
    direct = base / "direct"
    cache = direct / "cache"
    cache.mkdir(parents=True)
    staged, replica = direct / "staged", direct / "replica"
    with (base / "a").open("rb") as source:
        pieces = [native.add_piece("StackedDrg2KiBV1_1", source.fileno(), 1000, 1016, staged)]
    pieces.append(native.add_piece("StackedDrg2KiBV1_1", None, 0, 1016, staged))
    native.tree_d("StackedDrg2KiBV1_1", staged, cache)
    replica.write_bytes(bytes(2048))
    sealed, key = base / "persist" / "sealed", base / "persist" / "cache"
    name = str(plan_farms.SECTOR)
    return native.update_encode_into(_PROOF, replica, cache, sealed / name, key / name, staged, pieces)
