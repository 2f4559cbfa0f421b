"""The miners of another configuration: those that are known with what their tables say now, and new ones as the chain has them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from damocles.chain.addresses import Address
from damocles.lotus import errors as node_errors
from damocles.manager import errors
from damocles.manager.chain import opening, terms
from damocles.manager.chain.rounds import Rounds
from damocles.manager.config import model


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """The miners that there would be, in the order of the file; what is wrong with some of them, a line for each thing."""

    miners: Sequence[terms.Miner]
    unfit: Mapping[int, Sequence[str]]  # of those that were looked at
    looked_at: Sequence[int]


async def renewed(
    rounds: Rounds, known: Mapping[int, terms.Miner], tables: Sequence[model.Miner], size_limit_bytes: int
) -> Renewal:
    """Return them. The chain is asked only about miners that are new, or that others are to send for.

    Raises:
        errors.ManagerError: It cannot be asked, or a new miner's sectors are larger than the manager was started for.
    """
    asked = [table for table in tables if _is_to_be_asked(known.get(table.actor), table)]
    liberties = next((one.liberties for one in known.values()), terms.NONE)
    seen, unfit = dict[int, terms.Miner](), dict[int, Sequence[str]]()
    if asked:
        names = ", ".join(str(Address.of_id(table.actor)) for table in asked)
        try:
            async with rounds.nodes.view() as view:
                healths = rounds.nodes.healths
                well = [
                    node for node in rounds.nodes.members if node.url in healths and healths[node.url].problem is None
                ]
                found = await opening.look(view, well or [view.node], asked, rounds.accounts, liberties)
        except node_errors.NodeError as error:
            raise errors.ManagerError(f"the chain cannot be asked about {names}: {error}") from error
        seen, unfit = {miner.id: miner for miner in found.miners}, dict(found.fitness.problems)
    for miner in seen.values():
        if int(miner.proof.size) > size_limit_bytes:
            raise errors.ManagerError(
                f"{miner.address} has sectors of {miner.proof.size.label}, and this manager was started for smaller ones:"
                " restart it to add the miner"
            )
    present = {**{table.actor: known[table.actor] for table in tables if table.actor in known}, **seen}
    return Renewal(
        miners=[
            opening.miner_of(table, one.proof.size, one.liberties)
            for table in tables
            if (one := present.get(table.actor)) is not None
        ],
        unfit=unfit,
        looked_at=[table.actor for table in asked],
    )


def _is_to_be_asked(known: terms.Miner | None, table: model.Miner) -> bool:
    return known is None or terms.senders(known.config) != terms.senders(table)
