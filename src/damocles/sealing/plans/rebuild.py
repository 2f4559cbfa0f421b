"""The plan `rebuild`: make the lost files of a proven sector again, also of one that was upgraded.

The ticket comes from the manager, so that PC1 and PC2 give the same replica; each result is compared with the commitment
that the chain knows before anything is persisted.
"""

from dataclasses import replace

from damocles.sealing import events as e
from damocles.sealing.plans import sealer
from damocles.sealing.plans.table import Plan, Step
from damocles.sealing.states import State as S

_KNOWN = ("allocated", "ticket")
_FILLED = (*_KNOWN, "pieces")
_SEALED = (*_FILLED, "pc2out")
_UPGRADED = (*_SEALED, "upgrade_from")

# The deals of an upgraded sector are staged over the zeros that it was sealed with.
_STAGED_ANEW = S.SealedChecked

PLAN = Plan(
    "rebuild",
    {
        S.Empty: Step(does="allocate_rebuild", to={e.AllocatedRebuildSector: S.Allocated}),
        S.Allocated: Step(does="add_original_pieces", stage="AddPieces", to={e.AddPiece: S.PieceAdded}, needs=_KNOWN),
        S.PieceAdded: Step(
            does="tree_d",
            stage="TreeD",
            to={e.BuildTreeD: S.TreeDBuilt},
            needs=_FILLED,
            files=("staged",),
            spoiled_by=_STAGED_ANEW,
        ),
        S.TreeDBuilt: Step(
            does="pc1",
            stage="PC1",
            to={e.PC1: S.PC1Done},
            needs=_FILLED,
            files=("staged", "tree_d"),
            spoiled_by=_STAGED_ANEW,
        ),
        S.PC1Done: replace(sealer.PLAN.steps[S.PC1Done], spoiled_by=_STAGED_ANEW),
        S.SyntheticPoRepNeeded: replace(sealer.PLAN.steps[S.SyntheticPoRepNeeded], spoiled_by=_STAGED_ANEW),
        S.PC2Done: Step(
            does="check_sealed",
            stage="C1",
            to={e.CheckSealed: S.SealedChecked},
            needs=_SEALED,
            files=("sealed", "tree_r_last", "proof_source"),
            spoiled_by=_STAGED_ANEW,
        ),
        S.SealedChecked: Step(
            does="prepare_for_snapup",
            stage="PrepareForSnapup",
            to={e.SkipSnap: S.SnapDone, e.AddPiece: S.SnapPieceAdded},
            needs=_SEALED,
            files=("sealed", "tree_r_last"),
        ),
        S.SnapPieceAdded: Step(
            does="tree_d",
            stage="TreeD",
            to={e.BuildTreeD: S.SnapTreeDBuilt},
            needs=_UPGRADED,
            files=("staged", "sealed"),
        ),
        S.SnapTreeDBuilt: Step(
            does="encode_rebuilt",
            stage="SnapEncode",
            to={e.SnapEncode: S.SnapEncoded},
            needs=_UPGRADED,
            files=("staged", "tree_d", "sealed"),
        ),
        S.SnapEncoded: Step(
            does="check_snapped",
            stage="SnapProve",
            to={e.SnapProve: S.SnapDone},
            needs=(*_UPGRADED, "snap_encoded"),
            files=("sealed", "tree_r_last", "tree_d", "update"),
        ),
        S.SnapDone: Step(
            does="persist_rebuilt", stage="PersistFiles", to={e.Persist: S.Persisted}, needs=_SEALED, files=("sealed",)
        ),
        S.Persisted: Step(
            does="submit_rebuilt",
            stage="SubmitPersisted",
            to={e.SubmitPersistance: S.Finished},
            needs=(*_KNOWN, "persist_instance"),
        ),
        S.Finished: Step(does="finalize"),
    },
    proves=(),  # it compares commitments
    writes=("add_pieces", "tree_d", "pc1", "pc2", "snap_encode"),
)
