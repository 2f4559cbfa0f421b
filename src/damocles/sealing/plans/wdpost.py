"""The plan `wdpost`: prove for a deadline that sectors are still stored.

A job takes minutes, and is worth nothing once its deadline is over: another worker takes it from one that is silent.
So threads of this plan need no store, and nothing is left to do when the manager has the proof, or knows why there is
none.
"""

from damocles.sealing import events as e
from damocles.sealing.plans.table import Plan, Step
from damocles.sealing.states import State as S

_KNOWN = ("post",)

PLAN = Plan(
    "wdpost",
    {
        S.Empty: Step(does="allocate_post", to={e.AllocatePost: S.Allocated}),
        S.Allocated: Step(does="generate_post", stage="Generate", to={e.Generate: S.Generated}, needs=_KNOWN),
        S.Generated: Step(does="submit_post", stage="SubmitProof", to={e.Finish: S.Finished}, needs=_KNOWN),
        S.Finished: Step(does="finalize"),
    },
    proves=("wdpost",),
    has_store=False,
    rests=False,
)
