"""The plan `rebuild` with real proofs: lost files of proven sectors come back byte for byte."""

import shutil
import sqlite3

import pytest

from damocles.testing.farm import MINER, Farm
from damocles.wire import commitments

from . import plan_farms

pytestmark = [pytest.mark.params, pytest.mark.slow, pytest.mark.timeout(1800)]


def lose_everything(f: Farm) -> None:
    """Lose all files of the persist store but its mark, and have the sector rebuilt."""
    for folder in (f.base / "persist").glob("*/"):
        shutil.rmtree(folder)
    plan_farms.ask(f, "sectors", "rebuild", str(MINER), "1")


def set_in_record(f: Farm, path: str, value: str) -> None:
    """Change a value in the manager's record of sector 1 behind its back."""
    with sqlite3.connect(f.base / "manager" / "manager.db") as db:
        db.execute("UPDATE sectors SET record = json_set(record, ?, json(?))", (path, value))
    db.close()


def test_lost_files_are_made_again(tmp_path, proven):
    """Replica and trees come back as they were, and the sector is as good as before."""
    before = plan_farms.files(proven, "sealed", "cache")
    assert len(before) == 3
    with plan_farms.going_on(proven, tmp_path, "rebuild") as f:
        lose_everything(f)
        assert plan_farms.record(f).need_rebuild
        f.start_worker()
        plan_farms.finished(f)
        assert before == plan_farms.files(tmp_path, "sealed", "cache")
        after = plan_farms.record(f)
        assert (True, False, "") == (after.finalized, after.need_rebuild, after.abort_reason)
        assert "SkipSnap" in f.events(0)


def test_lost_files_of_an_upgraded_sector_are_made_again(tmp_path, upgraded):
    """The replica of the upgrade comes back as it was, without a SNARK; the one from before is not kept."""
    before = plan_farms.files(upgraded, "update", "update-cache")
    assert len(before) == 3
    with plan_farms.going_on(upgraded, tmp_path, "rebuild") as f:
        lose_everything(f)
        f.start_worker()
        plan_farms.finished(f)
        assert before == plan_farms.files(tmp_path, "update", "update-cache")
        assert {} == plan_farms.files(tmp_path, "sealed", "cache")
        assert plan_farms.record(f).upgraded
        events = f.events(0)
        assert ["CheckSealed", "AddPiece", "BuildTreeD", "SnapEncode", "SnapProve", "Persist"] == events[5:11]


def test_a_wrong_replica_is_not_persisted(tmp_path, proven):
    """Where the manager's ticket is not the right one, the thread pauses with both commitments."""
    with plan_farms.going_on(proven, tmp_path, "rebuild") as f:
        right = plan_farms.record(f).pre_commit
        assert right is not None
        wrong = '{"Ticket": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "Epoch": 1}'
        set_in_record(f, "$.Pre.Ticket", wrong)
        lose_everything(f)
        f.start_worker()
        plan_farms.paused_with(f, "permanent: s-t010000-1 has CommR ")
        assert f"the chain knows {commitments.commitment_of(right.comm_r).hex()}" in (f.thread(0).last_error or "")
        assert {} == plan_farms.files(tmp_path, "sealed", "cache")


def test_a_wrong_upgrade_is_not_persisted(tmp_path, upgraded):
    """Where the upgrade made again is not the one on the chain, the thread pauses and names what is possible."""
    with plan_farms.going_on(upgraded, tmp_path, "rebuild") as f:
        other = commitments.sealed_cid(bytes(32))
        set_in_record(f, "$.UpgradedInfo.SealedCID", f'{{"/": "{other}"}}')
        lose_everything(f)
        f.start_worker()
        plan_farms.paused_with(f, f"the chain knows {bytes(32).hex()}")
        assert {} == plan_farms.files(tmp_path, "update", "update-cache")
        # The staged file is that of the upgrade now: sealing again has to begin with the pieces.
        with pytest.raises(
            Exception, match=r"is past SealedChecked.*possible: Allocated, SealedChecked, SnapPieceAdded"
        ):
            f.resume(0, "PC1Done")
        assert f.resume(0, "Allocated")
        plan_farms.paused_with(f, f"the chain knows {bytes(32).hex()}")
