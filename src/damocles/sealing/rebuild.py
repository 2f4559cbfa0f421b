"""The plan `rebuild`: make the lost files of a proven sector again, also of one that was upgraded.

The ticket comes from the manager, so that PC1 and PC2 give the same replica; the result is compared with the commitment
that the chain knows before anything is persisted.
"""

from damocles.sealing import events as e
from damocles.sealing import sealer
from damocles.sealing.plans import Plan, Step
from damocles.sealing.states import State as S

_KNOWN = ("allocated", "ticket")
_SEALED = (*_KNOWN, "pieces", "pc2out")

PLAN = Plan(
    "rebuild",
    {
        S.Empty: Step(does="allocate_rebuild", to={e.AllocatedRebuildSector: S.Allocated}),
        S.Allocated: Step(does="add_original_pieces", stage="AddPieces", to={e.AddPiece: S.PieceAdded}, needs=_KNOWN),
        S.PieceAdded: Step(
            does="tree_d", stage="TreeD", to={e.BuildTreeD: S.TreeDBuilt}, needs=(*_KNOWN, "pieces"), files=("staged",)
        ),
        S.TreeDBuilt: Step(
            does="pc1", stage="PC1", to={e.PC1: S.PC1Done}, needs=(*_KNOWN, "pieces"), files=("staged", "tree_d")
        ),
        S.PC1Done: sealer.PLAN.steps[S.PC1Done],
        S.SyntheticPoRepNeeded: sealer.PLAN.steps[S.SyntheticPoRepNeeded],
        S.PC2Done: Step(
            does="check_sealed",
            stage="C1",
            to={e.CheckSealed: S.SealedChecked},
            needs=_SEALED,
            files=("sealed", "tree_r_last", "proof_source"),
        ),
        S.SealedChecked: Step(
            does="prepare_for_snapup",
            stage="PrepareForSnapup",
            to={e.SkipSnap: S.SnapDone, e.AddPiece: S.SnapPieceAdded},
            needs=_SEALED,
            files=("sealed",),
        ),
        S.SnapPieceAdded: Step(
            does="tree_d",
            stage="TreeD",
            to={e.BuildTreeD: S.SnapTreeDBuilt},
            needs=(*_SEALED, "upgrade_to"),
            files=("staged", "sealed"),
        ),
        S.SnapTreeDBuilt: Step(
            does="snap_encode",
            stage="SnapEncode",
            to={e.SnapEncode: S.SnapEncoded},
            needs=(*_SEALED, "upgrade_to"),
            files=("staged", "tree_d", "sealed"),
        ),
        S.SnapEncoded: Step(
            does="snap_prove",
            stage="SnapProve",
            to={e.SnapProve: S.SnapDone},
            needs=(*_SEALED, "upgrade_to", "snap_encoded"),
            files=("sealed", "update"),
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
)
