"""The plan `snapup`: put deals into a sector that is already proven, by encoding them into its replica.

The replica and its cache stay in their persist store; the sealing store links to them. The chain's part after the
proof is the manager's.
"""

from damocles.sealing import events as e
from damocles.sealing.plans.table import Plan, Step
from damocles.sealing.states import State as S

_KNOWN = ("allocated", "deals", "upgrade_from", "access_instance")
_FILLED = (*_KNOWN, "pieces")
_ENCODED = (*_FILLED, "snap_encoded")

PLAN = Plan(
    "snapup",
    {
        S.Empty: Step(does="allocate_snapup", to={e.AllocatedSnapUpSector: S.Allocated}),
        S.Allocated: Step(does="add_deal_pieces", stage="AddPieces", to={e.AddPiece: S.PieceAdded}, needs=_KNOWN),
        S.PieceAdded: Step(
            does="tree_d", stage="TreeD", to={e.BuildTreeD: S.TreeDBuilt}, needs=_FILLED, files=("staged",)
        ),
        S.TreeDBuilt: Step(
            does="fetch_and_encode",
            stage="SnapEncode",
            to={e.SnapEncode: S.SnapEncoded},
            needs=_FILLED,
            files=("staged", "tree_d"),
        ),
        S.SnapEncoded: Step(
            does="snap_prove",
            stage="SnapProve",
            to={e.SnapProve: S.SnapProved},
            needs=_ENCODED,
            files=("sealed", "tree_r_last", "tree_d", "update"),
        ),
        S.SnapProved: Step(
            does="persist_update",
            stage="PersistFiles",
            to={e.Persist: S.Persisted},
            needs=(*_ENCODED, "snap_proof"),
            files=("update",),
        ),
        S.Persisted: Step(
            does="submit_snapup",
            stage="SubmitSnapupProof",
            to={e.Finish: S.Finished, e.RePersist: S.SnapProved},
            needs=(*_ENCODED, "snap_proof", "persist_instance"),
        ),
        S.Finished: Step(does="finalize"),
    },
    proves=("update",),
    writes=("add_pieces", "tree_d", "snap_encode"),  # the old files are links
)
