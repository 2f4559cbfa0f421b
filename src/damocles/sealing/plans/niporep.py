"""The plan `niporep`: non-interactive PoRep, which needs no pre-commit.

There is nothing to wait for between PC2 and C1: the challenges follow from the replica itself, and the commitments reach
the chain together with the proof. Deals are never put into such a sector.
"""

from dataclasses import replace

from damocles.sealing import events as e
from damocles.sealing.plans import sealer
from damocles.sealing.plans.table import Plan, Step
from damocles.sealing.states import State as S
from damocles.wire.sectors import SealFamily

_SEALER = sealer.PLAN.steps
_BEFORE = (S.DealsAcquired, S.PieceAdded, S.TreeDBuilt, S.TicketAssigned)
_AFTER = (S.Persisted, S.PersistanceSubmitted, S.SeedAssigned, S.C1Done, S.C2Done, S.ProofSubmitted, S.Finished)

# Once the proof is submitted, the chain holds the commitments.
_UNTIL = S.ProofSubmitted

PLAN = Plan(
    "niporep",
    {
        S.Empty: _SEALER[S.Empty],
        S.Allocated: Step(
            does="no_deals",
            stage="AcquireDeals",
            to={e.AcquireDeals: S.DealsAcquired},
            needs=("allocated",),
            until=_UNTIL,
        ),
        **{state: replace(_SEALER[state], until=_UNTIL) for state in _BEFORE},
        S.PC1Done: replace(_SEALER[S.PC1Done], to={e.PC2: S.PC2Done}),
        S.PC2Done: replace(_SEALER[S.PCLanded], until=_UNTIL),
        **{state: _SEALER[state] for state in _AFTER},
    },
    proves=("porep", "srs"),  # the proof is an aggregate
    family=SealFamily.NON_INTERACTIVE,
    writes=sealer.PLAN.writes,
    is_original=False,
)
