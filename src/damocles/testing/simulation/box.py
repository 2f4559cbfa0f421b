"""The manager of a simulated world."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec

from damocles.manager import office
from damocles.manager.callers import names
from damocles.manager.db import engine
from damocles.manager.fleet import watch, workers
from damocles.manager.sectors import deals, ledger, stores
from damocles.manager.serving import claims
from damocles.rpc import core
from damocles.stores import identity
from damocles.testing import simulated_chain
from damocles.testing.simulation import fleet, sham, virtual
from damocles.testing.simulation.options import Options
from damocles.wire import control
from damocles.wire.sectors import SealProof, SectorID

MINER = 10000
PROOF = SealProof(5)
PERSIST = "persist"


class CarelessClaims(claims.Claims):
    """A planted bug: calls are taken under whatever attempt."""

    async def call_as(  # noqa: PLR0917 (parameters of the wire are positional)
        self,
        call: core.Call,
        sector: SectorID,
        attempt: int,
        method: str,
        params: list[msgspec.Raw],
        store: control.Store,
    ) -> msgspec.Raw:
        """Run the method as if the attempt were the latest."""
        latest = await self._database.read(lambda tx: self._present(tx, sector))
        return await super().call_as(call, sector, latest.attempt, method, params, store)


class ManagerBox:
    """The manager, which can be killed and started again on the same database."""

    def __init__(self, home: Path, options: Options, market: deals.Deals) -> None:
        self._home = home
        self._options = options
        self._market = market
        self.generation = 0
        self.service: core.Service | None = None
        self.database: engine.Database | None = None
        self.watch: watch.Watch
        self._restart = anyio.Event()

    async def run(self) -> None:
        """Be up; when killed, come back after a while."""
        while True:
            async with engine.open_sqlite(self._home / "manager.db") as database:
                self.database = database
                async with self._opened(database) as made:
                    self.service = made.service
                    self._restart = anyio.Event()
                    await self._restart.wait()
                self.service = None
                self.generation += 1
                await anyio.sleep(5)

    def kill(self) -> None:
        """Kill it."""
        self._restart.set()

    @asynccontextmanager
    async def _opened(self, database: engine.Database) -> AsyncIterator[office.Office]:
        """Open the office that the daemon opens, with what is planted."""
        clock, verifier = virtual.wall_clock, sham.ShamVerifier()
        chain = await simulated_chain.open_chain(
            database, simulated_chain.Options(block_seconds=10, challenge_delay=2), verifier, clock
        )
        self.watch = watch.Watch(lambda: database.read(workers.select_rows), clock)
        if self._options.one_name:
            self.watch._namesakes = fleet.Credulous()  # noqa: SLF001 (planted)
        memory = identity.NOTHING if self._options.any_store else identity.Memory(self._home / "home of the manager")
        persist = stores.Stores({PERSIST: self._home / PERSIST}, memory)
        persist.look()
        means = office.Means(
            miners=[ledger.Miner(id=MINER, proof=PROOF, max_number=self._options.sectors)],
            database=database,
            chain=chain,
            verifier=verifier,
            persist=persist,
            market=self._market,
            watch=self.watch,
            naming=names.Names(),
            clock=clock,
        )
        kind = CarelessClaims if self._options.stale_ok else claims.Claims
        async with office.open_office(means, claims_kind=kind) as made:
            if self._options.forgetful:
                made.posts._lending.askers = fleet.Forgetful(database, clock())  # noqa: SLF001 (planted)
            yield made
