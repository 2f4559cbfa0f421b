"""The plan `sealer`: from an empty thread to a proven sector.

Files are persisted before the seed is known, so that C1 and C2 never stand between a sealed sector and its safe place.
"""

from damocles.sealing import events as e
from damocles.sealing.plans.table import Plan, Step
from damocles.sealing.states import State as S

_KNOWN = ("allocated",)
_SEALED = ("allocated", "pieces", "ticket", "pc2out")

PLAN = Plan(
    "sealer",
    {
        S.Empty: Step(does="allocate_sector", to={e.Allocate: S.Allocated}),
        S.Allocated: Step(
            does="acquire_deals",
            stage="AcquireDeals",
            to={e.AcquireDeals: S.DealsAcquired},
            needs=_KNOWN,
            until=S.PCLanded,
        ),
        S.DealsAcquired: Step(
            does="add_pieces", stage="AddPieces", to={e.AddPiece: S.PieceAdded}, needs=_KNOWN, until=S.PCLanded
        ),
        S.PieceAdded: Step(
            does="tree_d",
            stage="TreeD",
            to={e.BuildTreeD: S.TreeDBuilt},
            needs=(*_KNOWN, "pieces"),
            files=("staged",),
            until=S.PCLanded,
        ),
        S.TreeDBuilt: Step(
            does="assign_ticket",
            stage="AssignTicket",
            to={e.AssignTicket: S.TicketAssigned},
            needs=(*_KNOWN, "pieces"),
            files=("staged", "tree_d"),
            until=S.PCLanded,
        ),
        S.TicketAssigned: Step(
            does="pc1", stage="PC1", to={e.PC1: S.PC1Done}, needs=(*_KNOWN, "pieces"), files=("staged", "tree_d")
        ),
        S.PC1Done: Step(
            does="pc2",
            stage="PC2",
            to={e.PC2: S.PC2Done, e.PC2NeedSyntheticProof: S.SyntheticPoRepNeeded},
            needs=(*_KNOWN, "pieces", "ticket", "pc1out"),
            files=("staged", "tree_d", "layers"),
        ),
        S.SyntheticPoRepNeeded: Step(
            does="synth_proof",
            stage="SyntheticPoRep",
            to={e.SyntheticPoRep: S.PC2Done},
            needs=_SEALED,
            files=("sealed",),
        ),
        S.PC2Done: Step(
            does="submit_pre_commit",
            stage="SubmitPreCommit",
            to={e.SubmitPC: S.PCSubmitted},
            needs=_SEALED,
            files=("sealed",),
        ),
        S.PCSubmitted: Step(
            does="poll_pre_commit",
            stage="WaitPCLanded",
            to={e.CheckPC: S.PCLanded, e.ReSubmitPC: S.PC2Done},
            needs=_KNOWN,
        ),
        S.PCLanded: Step(
            does="persist",
            stage="PersistFiles",
            to={e.Persist: S.Persisted},
            needs=_SEALED,
            files=("sealed", "tree_r_last"),
        ),
        S.Persisted: Step(
            does="submit_persisted",
            stage="SubmitPersisted",
            to={e.SubmitPersistance: S.PersistanceSubmitted},
            needs=(*_KNOWN, "persist_instance"),
        ),
        S.PersistanceSubmitted: Step(
            does="wait_seed", stage="WaitSeed", to={e.AssignSeed: S.SeedAssigned}, needs=_KNOWN
        ),
        S.SeedAssigned: Step(
            does="c1",
            stage="C1",
            to={e.C1: S.C1Done},
            needs=(*_SEALED, "seed"),
            files=("sealed", "tree_r_last", "proof_source"),
        ),
        S.C1Done: Step(does="c2", stage="C2", to={e.C2: S.C2Done}, needs=(*_KNOWN, "c1out")),
        S.C2Done: Step(
            does="submit_proof", stage="SubmitProof", to={e.SubmitProof: S.ProofSubmitted}, needs=(*_KNOWN, "proof")
        ),
        S.ProofSubmitted: Step(
            does="poll_proof",
            stage="WaitProofLanded",
            to={e.Finish: S.Finished, e.ReSubmitProof: S.C2Done},
            needs=_KNOWN,
        ),
        S.Finished: Step(does="finalize"),
    },
    proves=("porep",),
    writes=("add_pieces", "tree_d", "pc1", "pc2"),
    may_seal_deals=True,
)
