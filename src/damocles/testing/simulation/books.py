"""What the manager and the chain of a simulated world must agree on: who holds a sector, and what came of it."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import func, select

from damocles import methods
from damocles.manager.db import engine, tables
from damocles.manager.sectors import ledger
from damocles.testing import simulated_chain
from damocles.testing.simulation import disks
from damocles.testing.simulation.box import MINER
from damocles.wire import seal
from damocles.wire.sectors import SectorID

HAND_OUTS = frozenset(
    method.name
    for method in (methods.proven.hand_out_upgrade, methods.proven.hand_out_rebuild, methods.proven.hand_out_unseal)
)
RESULTS = frozenset(
    {
        methods.sealer.submit_pre_commit.name,
        methods.sealer.submit_persisted_ex.name,
        methods.sealer.submit_proof.name,
        methods.sealer.assign_ticket.name,
        methods.sealer.reserve_space.name,
        methods.proven.submit_upgrade.name,
        methods.proven.achieve_unseal.name,
    }
)


@dataclass
class Books:
    """Attempts as they were handed out, and sectors that an operator gave up."""

    sectors: int
    given_up: set[SectorID] = field(default_factory=set)
    attempts: dict[SectorID, int] = field(default_factory=dict)

    def saw(self, ask: methods.Ask[Any], result: Any) -> None:
        """Note a call that succeeded: only the present holder of a sector delivers results.

        Raises:
            disks.Violation: Another one has.
        """
        method, params = ask.method, ask.params
        if method == methods.claims.claim.name:
            self.attempts[params[0]] = max(self.attempts.get(params[0], 0), int(result))
        elif method == methods.claims.allocate.name and result is not None:
            self.attempts[result.allocated.id] = max(self.attempts.get(result.allocated.id, 0), result.attempt)
        elif method in HAND_OUTS and result is not None:
            sector = msgspec.json.decode(result.given, type=_Handed).sector.id
            self.attempts[sector] = max(self.attempts.get(sector, 0), result.attempt)
        elif method == methods.claims.call_as.name and params[2] in RESULTS:
            sector, attempt = params[0], params[1]
            if attempt < self.attempts.get(sector, 0):
                raise disks.Violation(
                    f"{params[2]} of {sector} was taken under attempt {attempt}, but {self.attempts[sector]} has it"
                )

    async def balance(self, database: engine.Database) -> dict[SectorID, int]:
        """Each sector that nobody aborted has exactly one proof on chain, and its replica is in the persist store.

        An aborted one may have its proof on chain all the same: then it counts like the others.
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
        proofs = {SectorID(row.miner, row.number): row.n for row in counts if row.kind == simulated_chain.PROOF}
        for number in range(1, self.sectors + 1):
            sector = SectorID(MINER, number)
            if sector in self.given_up and sector not in proofs:
                continue
            if proofs.get(sector) != 1:
                raise disks.Violation(f"{sector} has {proofs.get(sector, 0)} proofs on chain")
            record = await database.read(partial(ledger.find, sector=sector))
            if record is None or record.abort_reason:
                raise disks.Violation(f"{sector} is proven, but the manager has it as aborted")
        return {SectorID(row.miner, row.number): row.n for row in counts if row.kind == simulated_chain.UPDATE}


class _Handed(msgspec.Struct):
    sector: seal.AllocatedSector = msgspec.field(name="Sector")
