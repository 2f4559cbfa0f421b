"""The plan `unseal`: read data back out of a sealed sector and bring it to where it is wanted.

The upload comes back to its state after each destination, so that none gets the piece twice.
"""

from damocles.sealing import events as e
from damocles.sealing.plans.table import Plan, Step
from damocles.sealing.states import State as S

_KNOWN = ("allocated", "ticket", "unseal_piece", "access_instance")

PLAN = Plan(
    "unseal",
    {
        S.Empty: Step(does="allocate_unseal", to={e.AllocatedUnsealSector: S.Allocated}),
        S.Allocated: Step(does="unseal", stage="Unseal", to={e.Unsealed: S.Unsealed}, needs=_KNOWN),
        S.Unsealed: Step(
            does="upload_piece",
            stage="UploadPiece",
            to={e.UploadPieceDone: S.Finished, e.Uploaded: S.Unsealed},
            needs=_KNOWN,
            files=("unsealed_piece",),
        ),
        S.Finished: Step(does="finalize"),
    },
    writes=("unseal",),  # layers, the piece, and the whole data of an upgraded sector
)
