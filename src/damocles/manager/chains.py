"""Where a manager's chain is from: Lotus nodes that a configuration names, or whatever else says that it is a `Source`.

    source = chains.Lotus(config=config)
    async with source.open(beginning) as chain: ...

What asks a node, signs and proves is imported when a chain is opened, and not before.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Container, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import structlog
from sqlalchemy import Connection

from damocles.manager import errors
from damocles.manager.chain import interface, terms
from damocles.manager.config import model
from damocles.manager.db import engine, own_chain
from damocles.manager.roster import Mapped
from damocles.manager.sectors import giving
from damocles.manager.sectors import ledger as sectors
from damocles.wire.sectors import SectorSize

if TYPE_CHECKING:
    from damocles.manager.proving import opening as provers
    from damocles.manager.reloading import reload
    from damocles.manager.upkeep import doing

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """What there is of a manager when its chain is opened."""

    home: Path
    database: engine.Database
    verifier: interface.Verifier
    clock: Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A chain, the miners on it that are sealed for, what has to run beside it, and what keeps it from going on.

    Without `upkeep` operators can do nothing on it, and without `proving` no deadlines are proved.
    """

    chain: interface.Chain
    miners: Collection[sectors.Miner]
    configs: Callable[[int], model.Miner | None] = lambda _: None
    loops: Sequence[Callable[[], Coroutine[Any, Any, None]]] = ()
    troubles: Callable[[], Mapping[str, str]] = dict
    unfit: Callable[[], Container[int]] = frozenset
    upkeep: "doing.Means | None" = None
    proving: "provers.Means | None" = None
    reload: "reload.Reload | None" = None


class Source(Protocol):
    """Where the chain is from."""

    def open(self, beginning: Beginning, /) -> AbstractAsyncContextManager[Chain]:
        """Yield the chain; its loops do not run yet.

        Raises:
            errors.StartError: The manager cannot start so; a line for each thing that is in the way.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Lotus:
    """Lotus nodes, and the miners of a configuration; `prove_here` window PoSts at a time are proved on this machine.

    `read` reads the `file` of the configuration again, and checks it as at the start. `options` is how the command line names a miner of such a size, for the one who starts with another one.
    """

    config: model.Config
    file: Path | None = None
    read: Callable[[], model.Config] | None = None
    prove_here: int = 1
    liberties: terms.Liberties = terms.NONE
    options: Callable[[int, SectorSize], str] = lambda number, _: f"[[Miners]] Actor = {number}"

    @contextlib.asynccontextmanager
    async def open(self, beginning: Beginning, /) -> AsyncIterator[Chain]:
        """Yield the chain as the nodes show it; see `Source`."""
        from damocles.manager.chain import opening, verifiers  # noqa: PLC0415
        from damocles.manager.proving import machine  # noqa: PLC0415
        from damocles.manager.proving import opening as provers  # noqa: PLC0415
        from damocles.manager.reloading.reload import Reload  # noqa: PLC0415
        from damocles.manager.upkeep import doing  # noqa: PLC0415

        database, verifier = beginning.database, beginning.verifier
        aggregator = verifier if isinstance(verifier, verifiers.StagesVerifier) else None
        async with (
            opening.open_chain(
                self.config, database, verifier, aggregator, beginning.clock, liberties=self.liberties
            ) as opened,
            provers.open_stages(self.prove_here) as stages,
        ):
            miners = Mapped(opened.miners, giving.in_ledger)
            # Also a miner that the chain does not have, and nothing is known of.
            sizes = {miner.id: miner.proof.size for miner in miners}
            known = {table.actor: sizes.get(table.actor) for table in self.config.miners}
            await database.read(partial(check_owner, home=beginning.home, known=known, options=self.options))
            if self.liberties is terms.NONE:
                await database.read(_check_no_mocks)
            rounds = opened.chain.rounds
            log.info("chain", network=opened.network_name, head=rounds.epoch, home=str(beginning.home))
            for miner in miners:
                log.info("miner", miner=miner.id, proof=miner.proof.proof_name)
            proving = provers.Means(
                rounds=rounds,
                miners=opened.miners,
                block_seconds=opened.chain.network.block_seconds,
                stages=stages,
                prove_here=self.prove_here,
                name=machine.name_of(beginning.home, is_shared=database.is_shared),
            )
            again = None
            if self.read is not None:
                again = Reload(
                    file=self.file,
                    config=self.config,
                    read=self.read,
                    rounds=rounds,
                    miners=opened.miners,
                    database=database,
                )
            yield Chain(
                chain=opened.chain,
                miners=miners,
                configs=self.config.table if again is None else again.table,
                # Another manager may have died, and its messages need no new head.
                loops=(rounds.follow, rounds.run, partial(database.leases.free.pass_on, rounds.wake)),
                troubles=rounds.alerts,
                unfit=lambda: rounds.fitness.problems,
                upkeep=doing.Means(
                    nodes=rounds.nodes,
                    outbox=rounds.outbox,
                    terms=rounds.terms,
                    wake=rounds.wake if self.liberties.sends_at_once else lambda: None,
                ),
                proving=None if self.liberties.needs_no_posts else proving,
                reload=again,
            )


def _check_no_mocks(tx: Connection) -> None:
    """Refuse a database with sectors that are on the devnode of a `mock`, and on no other chain.

    Raises:
        errors.StartError: It is one.
    """
    if (owner := own_chain.owner(tx)) is not None and sectors.owners(tx):
        raise errors.StartError(
            f"the database has sectors of the mock whose home is {owner.home}, and they are on its own chain alone: choose"
            " another --home, or another --database"
        )


def check_owner(
    tx: Connection,
    *,
    home: Path,
    known: Mapping[int, SectorSize | None],
    options: Callable[[int, SectorSize], str],
) -> None:
    """Refuse a home with the sectors of another miner, or of another size: numbers and deadlines would be mixed up.

    Raises:
        errors.StartError: It has such sectors.
    """
    for number, size in sectors.owners(tx):
        if number in known and known[number] in {size, None}:
            continue
        raise errors.StartError(
            f"the home {home} has sectors of miner {number}, of {size.label}: start it with {options(number, size)}, or"
            " choose another --home"
        )
