"""The plan `unseal`: read data back out of a sealed sector and bring it to where it is wanted."""

from damocles.sealing import events as e
from damocles.sealing.plans import Plan, Step
from damocles.sealing.states import State as S

_KNOWN = ("allocated", "ticket", "unseal_piece", "access_instance")

PLAN = Plan(
    "unseal",
    {
        S.Empty: Step(does="allocate_unseal", to={e.AllocatedUnsealSector: S.Allocated}),
        S.Allocated: Step(does="unseal", stage="Unseal", to={e.UnsealDone: S.Unsealed}, needs=_KNOWN),
        S.Unsealed: Step(
            does="upload_piece",
            stage="UploadPiece",
            to={e.UploadPieceDone: S.Finished},
            needs=_KNOWN,
            files=("unsealed_piece",),
        ),
        S.Finished: Step(does="finalize"),
    },
)
