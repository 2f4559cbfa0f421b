"""`damocles-manager util sealer proving blocks`: the elections that were won, and what became of their blocks."""

from typing import Annotated

from cyclopts import Parameter, validators

from damocles import methods
from damocles.chain.addresses import Address
from damocles.cli.connecting import manager_at
from damocles.cli.terminal import exits, tables, watching
from damocles.cli.threads import options
from damocles.text import units
from damocles.wire import blocks as wire
from damocles.wire import codec

_STEPS = ("elect", "prove", "gather", "sign", "submit")


@watching.watchable
def blocks(
    *,
    miner: options.OfMiner = None,
    count: Annotated[
        int, Parameter(name=["--count", "-n"], validator=validators.Number(gte=1, lte=1000), help="How many at most.")
    ] = 20,
    full: options.Full = False,
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """List the blocks that miners have won, the newest first, with what each step took.

    Exit code 1 if something keeps a miner from making blocks, or one of those listed is lost.
    """
    with at.call() as found:
        listed = found.call(methods.wdpost.blocks(miner, count))
    if json:
        exits.print_json(codec.to_builtins(listed))
    else:
        for one in listed.miners:
            for line in _lines(one):
                exits.print_line(line)
        if not listed.miners:
            exits.print_line(
                "no miner makes blocks here: [[Miners]] Proof.Enabled = true lets one take part in elections"
            )
        tables.show(_table(), listed.blocks, full=full, nothing="no round was won yet")
    bad = any(one.lacking for one in listed.miners) or any(one.stage == "lost" for one in listed.blocks)
    return exits.FAILED if bad else exits.OK


def _lines(of: wire.Mining) -> list[str]:
    name = str(Address.of_id(of.miner))
    warm = f", a winning PoSt took {of.warm:.1f} s on trial" if of.warm is not None else ""
    first = f"{name}: {of.drawn} elections drawn, {of.expected_a_day:g} wins expected a day; {of.budget_seconds:g} s for a block{warm}"
    return [first, *(f"{name}: {text}" for text in of.lacking)]


def _table() -> tables.Table[wire.Block]:
    def cells(one: wire.Block) -> list[str]:
        steps = " ".join(f"{name} {one.seconds[name]:.1f}" for name in _STEPS if name in one.seconds)
        handed = "-" if one.handed_in is None else f"{one.handed_in:+.1f} s"
        sectors = ",".join(map(str, one.sectors))
        row = [str(Address.of_id(one.miner)), str(one.epoch), units.moment(one.won_at), str(one.wins), sectors]
        return [*row, one.stage, steps or "-", handed, one.why or one.cid or "-"]

    columns = ("Miner", "Epoch", "Won", "Wins", "Sector", "State", "Seconds", "Handed in", "Block, or why not")
    return tables.Table(columns=columns, cells=cells)
