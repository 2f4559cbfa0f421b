"""The tables of the plans beside `sealer`: graphs and labels are the original's, and what may be taken up again."""

import msgspec
import pytest

from damocles.sealing import events, planner
from damocles.sealing.plans import table as plans
from damocles.sealing.sectors import Sector
from damocles.sealing.states import State
from damocles.testing import happenings
from damocles.wire import codec

EVERYTHING = frozenset(name for plan in planner.PLANS.values() for step in plan.steps.values() for name in step.files)
LIMITS = planner.Limits()

# From the original's planners: state, event as it is reported, next state.
GRAPHS = {
    "niporep": """
        Empty Allocate Allocated; Allocated AcquireDeals DealsAcquired; DealsAcquired AddPiece PieceAdded;
        PieceAdded BuildTreeD TreeDBuilt; TreeDBuilt AssignTicket TicketAssigned; TicketAssigned PC1 PC1Done;
        PC1Done PC2 PC2Done; PC2Done Persist Persisted; Persisted SubmitPersistance PersistanceSubmitted;
        PersistanceSubmitted AssignSeed SeedAssigned; SeedAssigned C1 C1Done; C1Done C2 C2Done;
        C2Done SubmitProof ProofSubmitted; ProofSubmitted ReSubmitProof C2Done; ProofSubmitted Finish Finished
    """,
    "snapup": """
        Empty AllocatedSnapUpSector Allocated; Allocated AddPiece PieceAdded; PieceAdded BuildTreeD TreeDBuilt;
        TreeDBuilt SnapEncode SnapEncoded; SnapEncoded SnapProve SnapProved; SnapProved Persist Persisted;
        Persisted RePersist SnapProved; Persisted Finish Finished
    """,
    "rebuild": """
        Empty AllocatedRebuildSector Allocated; Allocated AddPiece PieceAdded; PieceAdded BuildTreeD TreeDBuilt;
        TreeDBuilt PC1 PC1Done; PC1Done PC2 PC2Done; PC1Done PC2NeedSyntheticProof SyntheticPoRepNeeded;
        SyntheticPoRepNeeded SyntheticPoRep PC2Done; PC2Done CheckSealed SealedChecked; SealedChecked SkipSnap SnapDone;
        SealedChecked AddPiece SnapPieceAdded; SnapPieceAdded BuildTreeD SnapTreeDBuilt;
        SnapTreeDBuilt SnapEncode SnapEncoded; SnapEncoded SnapProve SnapDone; SnapDone Persist Persisted;
        Persisted SubmitPersistance Finished
    """,
    "unseal": "Empty AllocatedUnsealSector Allocated; Allocated Unsealed Unsealed; Unsealed UploadPieceDone Finished",
}
LABELS = {
    "snapup": {
        "Empty": "-", "Allocated": "AddPieces", "PieceAdded": "TreeD", "TreeDBuilt": "SnapEncode",
        "SnapEncoded": "SnapProve", "SnapProved": "PersistFiles", "Persisted": "SubmitSnapupProof", "Finished": "-",
    },
    "rebuild": {
        "Empty": "-", "Allocated": "AddPieces", "PieceAdded": "TreeD", "TreeDBuilt": "PC1", "PC1Done": "PC2",
        "SyntheticPoRepNeeded": "SyntheticPoRep", "PC2Done": "C1", "SealedChecked": "PrepareForSnapup",
        "SnapPieceAdded": "TreeD", "SnapTreeDBuilt": "SnapEncode", "SnapEncoded": "SnapProve",
        "SnapDone": "PersistFiles", "Persisted": "SubmitPersisted", "Finished": "-",
    },
    "unseal": {"Empty": "-", "Allocated": "Unseal", "Unsealed": "UploadPiece", "Finished": "-"},
}  # fmt: skip
# Ours alone: the upload comes back to its state.
OWN = {("Unsealed", "Uploaded", "Unsealed")}


@pytest.mark.parametrize("plan", sorted(GRAPHS))
def test_the_graph_is_the_original_s(plan):
    """States, events and edges are those of the original's planner."""
    expected = {tuple(edge.split()) for edge in GRAPHS[plan].split(";")}
    assert expected == set(planner.PLANS[plan].edges()) - OWN


@pytest.mark.parametrize("plan", sorted(LABELS))
def test_labels_are_the_original_s(plan):
    """Listings show the same stage for a state as the original's."""
    table = planner.PLANS[plan]
    assert LABELS[plan] == {state.value: table.stage_of(state) for state in table.steps}


def walk(plan: plans.Plan, to: State, *, last: bool = False) -> Sector:
    """Bring a sector to a state; where a state has several ways on, take the first one, or the last."""
    sector, todo = planner.step(Sector(plan=plan.name), events.Restart(), LIMITS, 0.0)
    for _ in range(100):
        if sector.state is to:
            return sector
        if isinstance(todo[-1], planner.Execute):
            ways = list(plan.steps[sector.state].to)
            event: events.Event = happenings.sample(ways[-1 if last else 0])
        else:
            event = happenings.success(plan, sector, todo[-1])
        sector, todo = planner.step(sector, event, LIMITS, 0.0)
    raise AssertionError(f"{to} is not reached")


def test_an_upgraded_sector_is_not_sealed_again_from_the_staged_file_of_its_upgrade():
    """Once the upgrade's pieces are staged, sealing can only be taken up at its very beginning."""
    table = planner.PLANS["rebuild"]
    before = walk(table, State.PC2Done)
    assert table.refusal(before, "PC1Done", EVERYTHING) is None
    after = walk(table, State.SnapEncoded, last=True)
    for state in ("PieceAdded", "TreeDBuilt", "PC2Done"):
        refusal = f"s-t010000-1 is past SealedChecked, where the files that {state} reads are replaced"
        assert refusal == table.refusal(after, state, EVERYTHING)
    assert table.refusal(after, "Allocated", EVERYTHING) is None
    again, _ = planner.step(after, events.Resume(State.Allocated), LIMITS, 0.0)
    assert again.state is State.Allocated
    assert "has not reached PC1Done" in (table.refusal(again, "PC1Done", EVERYTHING) or "")


@pytest.mark.parametrize(
    ("plan", "here", "target", "missing"),
    [
        ("unseal", State.Unsealed, "Allocated", None),
        ("unseal", State.Finished, "Unsealed", "unsealed_piece"),
        ("snapup", State.Persisted, "SnapProved", "update"),
        ("snapup", State.Persisted, "SnapEncoded", "sealed"),
        ("rebuild", State.Persisted, "SnapDone", "sealed"),
        ("niporep", State.C1Done, "SeedAssigned", "proof_source"),
    ],
)
def test_a_step_back_needs_its_files(plan, here, target, missing):
    """A state can be taken up again with the files that its handler reads, and not without."""
    table = planner.PLANS[plan]
    # What may be absent is absent in a walk.
    sector = msgspec.structs.replace(walk(table, here), deals=[], snap_proof=codec.NumberList(b"proof"))
    assert table.refusal(sector, target, EVERYTHING) is None
    if missing is not None:
        refusal = table.refusal(sector, target, EVERYTHING - {missing}) or ""
        assert f"s-t010000-1 lacks the file(s) of {missing}" == refusal


def test_a_submitted_non_interactive_sector_keeps_its_replica():
    """Once the proof is handed in, the chain may hold its commitments: there is no way to another ticket."""
    table = planner.PLANS["niporep"]
    assert table.refusal(walk(table, State.C2Done), "TreeDBuilt", EVERYTHING) is None
    assert "is past ProofSubmitted" in (
        table.refusal(walk(table, State.ProofSubmitted), "TreeDBuilt", EVERYTHING) or ""
    )


def test_each_destination_counts():
    """An upload comes back to its state with one destination more, and a fresh retry budget."""
    table = planner.PLANS["unseal"]
    sector = walk(table, State.Unsealed)
    sector, _ = planner.step(sector, events.Failed("Temporary", "503"), LIMITS, 0.0)
    assert 1 == sector.retries
    sector, todo = planner.step(sector, events.Uploaded(("file:///a",)), LIMITS, 0.0)
    assert (("file:///a",), 0, State.Unsealed) == (sector.uploaded, sector.retries, sector.state)
    assert planner.Execute("upload_piece") == todo[-1]
