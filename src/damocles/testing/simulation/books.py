"""What the manager and the chain of a simulated world must agree on: who holds a sector, and what came of it."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import func, select

from damocles.manager.chain import mock
from damocles.manager.db import engine, tables
from damocles.manager.sectors import ledger
from damocles.testing.simulation import disks
from damocles.testing.simulation.box import MINER
from damocles.wire import seal
from damocles.wire.sectors import SectorID

RESULTS = frozenset(
    {
        *("SubmitPreCommit", "SubmitPersistedEx", "SubmitProof", "AssignTicket", "StoreReserveSpace"),
        *("SubmitSnapUpProof", "AchieveUnsealSector"),
    }
)


@dataclass
class Books:
    """Attempts as they were handed out, and sectors that an operator gave up."""

    sectors: int
    given_up: set[SectorID] = field(default_factory=set)
    attempts: dict[SectorID, int] = field(default_factory=dict)

    def saw(self, method: str, params: list[Any], result: Any) -> None:
        """Note a call that succeeded: only the present holder of a sector delivers results.

        Raises:
            disks.Violation: Another one has.
        """
        if method == "Damocles.Claim":
            self.attempts[params[0]] = max(self.attempts.get(params[0], 0), int(result))
        elif method == "Damocles.Allocate" and result is not None:
            self.attempts[result.allocated.id] = max(self.attempts.get(result.allocated.id, 0), result.attempt)
        elif method.startswith("Damocles.Allocate") and result is not None:
            sector = msgspec.json.decode(result.given, type=_Handed).sector.id
            self.attempts[sector] = max(self.attempts.get(sector, 0), result.attempt)
        elif method == "Damocles.As" and params[2].removeprefix("Venus.") in RESULTS:
            sector, attempt = params[0], params[1]
            if attempt < self.attempts.get(sector, 0):
                msg = f"{params[2]} of {sector} was taken under attempt {attempt}, but {self.attempts[sector]} has it"
                raise disks.Violation(msg)

    async def balance(self, database: engine.Database) -> dict[SectorID, int]:
        """Each sector that nobody gave up has exactly one proof on chain, and its replica is in the persist store.

        One that was given up may have its proof on chain all the same: then it is as good as the others.
        Return how many upgrades of each sector the chain has.

        Raises:
            disks.Violation: It is otherwise.
        """
        counts = await database.read(
            lambda tx: tx.execute(
                select(
                    tables.messages.c.miner, tables.messages.c.number, tables.messages.c.kind, func.count().label("n")
                ).group_by(tables.messages.c.miner, tables.messages.c.number, tables.messages.c.kind)
            ).all()
        )
        proofs = {SectorID(row.miner, row.number): row.n for row in counts if row.kind == mock.PROOF}
        for number in range(1, self.sectors + 1):
            sector = SectorID(MINER, number)
            if sector in self.given_up and sector not in proofs:
                continue
            if proofs.get(sector) != 1:
                msg = f"{sector} has {proofs.get(sector, 0)} proofs on chain"
                raise disks.Violation(msg)
            record = await database.read(partial(ledger.find, sector=sector))
            if record is None or record.abort_reason:
                msg = f"{sector} is proven, but the manager has it as aborted"
                raise disks.Violation(msg)
        return {SectorID(row.miner, row.number): row.n for row in counts if row.kind == mock.UPDATE}


class _Handed(msgspec.Struct):
    sector: seal.AllocatedSector = msgspec.field(name="Sector")
