"""The plan `niporep`: non-interactive PoRep, which needs neither a pre-commit nor a seed from the chain.

Without a pre-commit there is nothing to wait for between PC2 and C1: the seed is derived from a recent epoch, and the
proof is verified and landed in one message.
"""

from damocles.sealing import events as e
from damocles.sealing import sealer
from damocles.sealing.plans import Plan, Step
from damocles.sealing.states import State as S

# Up to PC1 the two plans are one; deals are never put into such a sector.
_SHARED = (S.Empty, S.Allocated, S.DealsAcquired, S.PieceAdded, S.TreeDBuilt, S.TicketAssigned)
_LATER = (S.Persisted, S.PersistanceSubmitted, S.SeedAssigned, S.C1Done, S.C2Done, S.ProofSubmitted, S.Finished)
_SEALED = ("allocated", "pieces", "ticket", "pc2out")

PLAN = Plan(
    "niporep",
    {
        **{state: sealer.PLAN.steps[state] for state in _SHARED},
        S.Allocated: Step(
            does="no_deals", stage="AcquireDeals", to={e.AcquireDeals: S.DealsAcquired}, needs=("allocated",)
        ),
        S.PC1Done: Step(
            does="pc2",
            stage="PC2",
            to={e.PC2: S.PC2Done},
            needs=("allocated", "pieces", "ticket", "pc1out"),
            files=("staged", "tree_d", "layers"),
        ),
        S.PC2Done: Step(
            does="persist",
            stage="PersistFiles",
            to={e.Persist: S.Persisted},
            needs=_SEALED,
            files=("sealed", "tree_r_last"),
        ),
        **{state: sealer.PLAN.steps[state] for state in _LATER},
    },
)
