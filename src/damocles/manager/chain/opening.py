"""Open the chain that a configuration names, after a look at everything that would keep messages from landing.

What is wrong is reported at once, a line for each thing, before any worker is let in.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio.to_thread
import structlog

from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.lotus import checks, errors, nodes
from damocles.lotus.node import Node
from damocles.lotus.places import BadTokenFile, Place
from damocles.lotus.view import View
from damocles.manager.chain import interface, lifetimes
from damocles.manager.chain.accounts import Accounts
from damocles.manager.chain.fitness import Fitness
from damocles.manager.chain.lotus import LotusChain
from damocles.manager.chain.rounds import Rounds
from damocles.manager.chain.submissions import Kind
from damocles.manager.chain.terms import NONE, Liberties, Miner
from damocles.manager.config import model
from damocles.manager.db.engine import Database
from damocles.manager.errors import StartError
from damocles.manager.roster import Roster
from damocles.rpc import tls
from damocles.wire.sectors import SealFamily, SealProof, SectorSize

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A chain, and the miners of the configuration as they are on it; whoever asks there sees those of that time."""

    chain: LotusChain
    miners: Roster[Miner]
    network_name: str


@contextlib.asynccontextmanager
async def open_chain(
    config: model.Config,
    database: Database,
    verifier: interface.Verifier,
    aggregator: interface.Aggregator | None,
    clock: Callable[[], float],
    *,
    liberties: Liberties = NONE,
) -> AsyncIterator[Opened]:
    """Yield the chain; its `rounds` do not run yet.

    Raises:
        StartError: Nothing could be sent; a line for each thing that is in the way.
    """
    try:
        places = await anyio.to_thread.run_sync(_places, config)
        async with nodes.connect(places, network=config.chain.network) as members:
            good = await _good(members.members, config)
            async with members.view() as view:
                params = await view.node.network_params()
                found = await look(view, good, config.miners, Accounts(), liberties)
            if all(miner.id in found.fitness.problems for miner in found.miners):
                raise StartError("\n".join(found.lines))
            found.fitness.report()
            network = interface.Network(
                ticket_lookback=lifetimes.TICKET_LOOKBACK,
                ticket_max_age=lifetimes.TICKET_MAX_AGE,
                ni_ticket_max_age=lifetimes.NI_TICKET_MAX_AGE,
                challenge_delay=params.challenge_delay,
                seed_confidence=liberties.seed_confidence,
                block_seconds=float(params.block_delay_seconds),
                look_seconds=liberties.look_seconds,
            )
            miners = Roster(found.miners)
            rounds = Rounds(
                database=database,
                nodes=members,
                miners=miners,
                accounts=found.accounts,
                fitness=found.fitness,
                network=network,
                aggregator=aggregator,
                epoch=view.epoch,
                clock=clock,
            )
            chain = LotusChain(
                database=database,
                nodes=members,
                network=network,
                verifier=verifier,
                rounds=rounds,
                liberties=liberties,
            )
            yield Opened(chain=chain, miners=miners, network_name=params.name)
    except errors.NodeError as error:
        raise StartError(str(error)) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What `open_chain` would meet: what is in the way, a line for each, the nodes that are well, the senders' money."""

    problems: Sequence[str] = ()
    nodes: Sequence[str] = ()
    balances: Mapping[Address, Amount] = field(default_factory=dict)


async def examine(config: model.Config) -> Examined:
    """Look at nodes, miners and senders as `open_chain` does, and open nothing."""
    try:
        places = await anyio.to_thread.run_sync(_places, config)
        async with nodes.connect(places, network=config.chain.network) as members:
            good, lines = await _looked_at(members.members, config)
            if not good:
                return Examined(problems=lines)
            async with members.view() as view:
                found = await look(view, good, config.miners, Accounts())
                lines += found.lines
                kinds = (Kind.PRE_COMMIT, Kind.PROOF)
                senders = {
                    one for miner in found.miners for kind in kinds for one in found.accounts.senders(miner, kind)
                }
                balances = {sender: await view.node.balance(sender) for sender in sorted(senders)}
            return Examined(problems=lines, nodes=[node.url for node in good], balances=balances)
    except (errors.NodeError, StartError) as error:
        return Examined(problems=str(error).splitlines())


def _places(config: model.Config) -> list[Place]:
    return [_place(node) for node in config.chain.nodes]


def _place(node: model.Node) -> Place:
    try:
        trust = tls.client_context(Path(node.ca_file)) if node.ca_file else None
    except tls.Unusable as error:
        raise StartError(f"CAFile of {node.api}: {error}") from error
    place = Place(url=node.api, token_file=node.token_file, trust=trust)
    try:
        place.token()
    except BadTokenFile as error:
        raise StartError(str(error)) from error
    if place.sends_token_openly:
        log.warning("no TLS on a network: whoever can listen in can read the node's token", node=place.url)
    return place


async def _good(members: Sequence[Node], config: model.Config) -> list[Node]:
    """Return the nodes that can be used; what is wrong with others is logged if there is one."""
    good, lines = await _looked_at(members, config)
    if not good:
        raise StartError("\n".join(lines))
    for line in lines:
        log.warning("a chain node cannot be used", problem=line)
    return good


async def _looked_at(members: Sequence[Node], config: model.Config) -> tuple[list[Node], list[str]]:
    """Return the nodes that can be used, and a line for each thing that is wrong with the others."""
    good, lines = [], []
    for node in members:
        problems = await checks.problems(node, network=config.chain.network)
        lines += problems
        if not problems:
            good.append(node)
    return good, lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Miners as the chain has them, and what is wrong with some."""

    miners: Sequence[Miner]  # that the chain has
    accounts: Accounts
    fitness: Fitness

    @property
    def lines(self) -> list[str]:
        """What is in the way of miners."""
        return [line for lines in self.fitness.problems.values() for line in lines]


async def look(
    view: View, good: Sequence[Node], tables: Sequence[model.Miner], accounts: Accounts, liberties: Liberties = NONE
) -> Found:
    """Return miners as they are on the chain; `accounts` learn who may send for them."""
    found, missing = [], {}
    for table in tables:
        try:
            found.append(await _miner(view, table, liberties))
        except errors.NotThere as error:
            missing[table.actor] = f"{Address.of_id(table.actor)} is no miner on this network: {error.text}"
    missing |= await accounts.refresh(view, found)
    miners = [miner for miner in found if miner.id not in missing]
    fitness = Fitness(accounts, missing)
    await fitness.look(view, good, miners)
    return Found(miners=miners, accounts=accounts, fitness=fitness)


async def _miner(view: View, table: model.Miner, liberties: Liberties) -> Miner:
    size = SectorSize((await view.info(Address.of_id(table.actor))).sector_size_bytes)
    return miner_of(table, size, liberties)


def miner_of(table: model.Miner, size: SectorSize, liberties: Liberties = NONE) -> Miner:
    """Return a miner by its table, and the size of its sectors on the chain."""
    return Miner(id=table.actor, proof=SealProof.of(size, _family(table.sealing)), config=table, liberties=liberties)


def _family(table: model.Sealing) -> SealFamily:
    if table.use_non_interactive_po_rep:
        return SealFamily.NON_INTERACTIVE
    return SealFamily.SYNTHETIC if table.use_synthetic_po_rep else SealFamily.V1_1
