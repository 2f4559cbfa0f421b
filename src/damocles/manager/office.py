"""The manager without its process: all that answers workers and the command line on one database.

The daemon and the simulation open the same one, so that what is simulated is what runs.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Container, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from damocles import beside, methods
from damocles.manager.callers import holders, names
from damocles.manager.chain import interface
from damocles.manager.config import model
from damocles.manager.db import engine
from damocles.manager.fleet import watch as fleet_watch
from damocles.manager.plans import rebuild, snapup, unseal, wdpost
from damocles.manager.sectors import commitments, deals, giving, ledger, stores
from damocles.manager.serving import chain_api, claims, cli_api, moves, sealer_api
from damocles.rpc import core, dialects
from damocles.rpc.admission import access
from damocles.rpc.admission import audit as rpc_audit

if TYPE_CHECKING:
    from damocles.manager.mining.loop import Mining
    from damocles.manager.proving import loop, opening
    from damocles.manager.upkeep import doing


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What an office works with."""

    miners: Collection[ledger.Miner]  # asked at each turn: they may be others by then
    database: engine.Database
    chain: interface.Chain
    verifier: interface.Verifier
    persist: stores.Stores
    market: deals.Deals
    watch: fleet_watch.Watch
    naming: names.Names
    clock: Callable[[], float]
    wdpost_every_seconds: float | None = None
    beside: Sequence[Callable[[], Coroutine[Any, Any, None]]] = ()  # loops of the chain
    unfit: Callable[[], Container[int]] = frozenset  # miners that get no new sectors now
    configs: Callable[[int], model.Miner | None] = lambda _: None  # of miners on a real chain, as they are now
    upkeep: "doing.Means | None" = None  # without it, operators can do nothing on the chain
    proving: "opening.Means | None" = None  # without it, no deadlines are proved


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """What is open: the service, and the parts that others ask."""

    service: core.Service
    posts: wdpost.WdPoSt
    unsealing: unseal.Unsealing
    proving: "loop.Proving | None"
    mining: "Mining | None"

    def troubles(self) -> Mapping[str, str]:
        """Return what keeps miners on a real chain from being proved, and from making blocks."""
        some = [one for one in (self.proving, self.mining) if one is not None]
        return {what: text for one in some for what, text in one.troubles().items()}


@contextlib.asynccontextmanager
async def open_office(
    means: Means,
    *,
    auditor: rpc_audit.Audit | None = None,
    guard: access.Guard | None = None,
    meter: core.Layer | None = None,
    claims_kind: type[claims.Claims] = claims.Claims,
) -> AsyncIterator[Office]:
    """Serve everything while the block runs; without a `guard` everybody may call."""
    database, clock, miners = means.database, means.clock, means.miners
    held = holders.Holders(database, means.naming, clock)
    # From the outside in: whose step it is, how long it takes, what is written down of it.
    layers = [held, *([meter] if meter is not None else []), *([auditor] if auditor is not None else [])]
    service = core.Service(dialects.MANAGER, guard=guard, layers=layers)
    commits = commitments.Commitments(database, means.chain, clock)
    new = giving.Giving(database, miners, commits, clock, means.unfit)
    sealer_api.SealerAPI(
        miners=miners,
        database=database,
        commits=commits,
        persist=means.persist,
        market=means.market,
        new=new,
        watch=means.watch,
        clock=clock,
    ).register(service)
    claims_kind(database, new, service, commits, clock, held=held).register()
    rebuild.Rebuilds(database, miners, means.chain, clock).register(service)
    unsealing = unseal.Unsealing(database, miners, clock, held=held)
    unsealing.register(service)
    imports = moves.Moves(database, miners, clock)
    imports.register(service)
    cli_api.CliAPI(
        database=database,
        chain=means.chain,
        persist=means.persist,
        imports=imports,
        miners=miners,
        market=means.market,
        clock=clock,
        configs=means.configs,
    ).register(service)
    chain_api.ChainAPI(partial(_doing, database, means.upkeep, clock)).register(service)
    posts = wdpost.WdPoSt(
        database,
        means.chain,
        means.verifier,
        miners,
        clock,
        every_seconds=means.wdpost_every_seconds,
        naming=means.naming,
    )
    posts.register(service)
    upgrades = snapup.Upgrades(
        database=database,
        miners=miners,
        chain=means.chain,
        persist=means.persist,
        market=means.market,
        clock=clock,
        unfit=means.unfit,
    )
    upgrades.register(service)
    proving = mining = None
    if means.proving is not None:
        from damocles.manager.mining import opening as miners_of  # noqa: PLC0415
        from damocles.manager.proving import opening  # noqa: PLC0415

        proving = opening.proving(means.proving, database=database, jobs=posts, persist=means.persist, clock=clock)
        proving.days.register(service)
        proving.upcoming.register(service)
        mining = miners_of.mining(means.proving, database=database, persist=means.persist, clock=clock)
        mining.register(service)
    else:
        from damocles.manager.proving import nothing  # noqa: PLC0415

        service.add(methods.wdpost.day, nothing.day)
        service.add(methods.wdpost.blocks, nothing.blocks)
        service.add(methods.chain.seen, nothing.seen)
    running = [
        *([proving.run] if proving is not None else []),
        *([mining.run] if mining is not None else []),
        *([auditor.run] if auditor is not None else []),
        *means.beside,
    ]
    async with beside.running(*running), snapup.open_upgrades(upgrades):
        yield Office(service=service, posts=posts, unsealing=unsealing, proving=proving, mining=mining)


def _doing(database: engine.Database, means: "doing.Means | None", clock: Callable[[], float]) -> "doing.Doing":
    """Return what acts on the chain; it is imported by who asks for it."""
    from damocles.manager.upkeep import doing  # noqa: PLC0415

    return doing.Doing(database, means, clock)
