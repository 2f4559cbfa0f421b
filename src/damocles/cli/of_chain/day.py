"""`damocles-manager util sealer proving` without a command: the day's deadlines, and how each proof went."""

from typing import Annotated

from damocles import methods
from damocles.cli.connecting import manager_at
from damocles.cli.of_chain import words
from damocles.cli.terminal import exits, tables
from damocles.cli.threads import options
from damocles.operating import posts
from damocles.text import units
from damocles.wire import codec, proving


def show(
    *,
    miner: words.Actor = None,
    every: Annotated[bool, options.Flag(name=["--all", "-a"], help="Include deadlines without sectors.")] = False,
    full: options.Full = False,
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Show the deadlines of a miner, and how each proof of their last window went.

    Exit code 1 if a deadline is late, at risk or missed.
    """
    with at.call() as found:
        day = found.call(methods.wdpost.day(words.miner(miner, at).id))
    if json:
        exits.print_json(codec.to_builtins(day))
    else:
        tables.show(
            _table(day),
            [one for one in day.deadlines if every or one.partitions],
            full=full,
            nothing="no deadline has sectors; --all lists all",
        )
    return exits.FAILED if any(one.standing in proving.IN_DANGER for one in day.deadlines) else exits.OK


def _table(day: proving.Day) -> tables.Table[proving.Deadline]:
    def cells(one: proving.Deadline) -> list[str]:
        opens = units.moment(day.at + (one.opens - day.epoch) * day.block_seconds)
        name = f"{one.deadline}{' (current)' if one.deadline == day.current else ''}"
        counts = [str(number) for number in (one.partitions, one.sectors, one.faulty, one.recovering)]
        return [name, opens, *counts, one.standing.value, "; ".join(map(posts.went, one.posts)) or "-"]

    return tables.Table(
        columns=("Deadline", "Open", "Partitions", "Sectors", "Faulty", "Recovering", "State", "Proofs"), cells=cells
    )
