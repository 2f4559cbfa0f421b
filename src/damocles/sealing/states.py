"""States of a sector, by the names that the wire, the command lines and the journals use."""

import enum


class State(enum.StrEnum):
    """Where a sector stands. The spelling of `PersistanceSubmitted` is the original's."""

    Empty = "Empty"  # no sector yet
    Allocated = "Allocated"
    DealsAcquired = "DealsAcquired"
    PieceAdded = "PieceAdded"
    TreeDBuilt = "TreeDBuilt"
    TicketAssigned = "TicketAssigned"  # the ticket itself is fetched when PC1 starts
    PC1Done = "PC1Done"
    PC2Done = "PC2Done"
    SyntheticPoRepNeeded = "SyntheticPoRepNeeded"
    PCSubmitted = "PCSubmitted"
    PCLanded = "PCLanded"
    Persisted = "Persisted"
    PersistanceSubmitted = "PersistanceSubmitted"
    SeedAssigned = "SeedAssigned"
    C1Done = "C1Done"
    C2Done = "C2Done"
    ProofSubmitted = "ProofSubmitted"
    Finished = "Finished"  # nothing left but to tell the manager and clear the store
    Aborted = "Aborted"  # given up; files go to the trash
    SnapEncoded = "SnapEncoded"
    SnapProved = "SnapProved"
    SealedChecked = "SealedChecked"
    SnapPieceAdded = "SnapPieceAdded"
    SnapTreeDBuilt = "SnapTreeDBuilt"
    SnapDone = "SnapDone"
    Unsealed = "Unsealed"
    Generated = "Generated"  # a window PoSt is proved, or it is known why not
