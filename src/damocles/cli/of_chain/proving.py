"""`damocles-manager util sealer proving`: deadlines, partitions and faults of a miner, as the chain has them."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from cyclopts import App, Parameter, validators

from damocles.chain.addresses import Address
from damocles.cli.connecting import node_at
from damocles.cli.of_chain import day, words
from damocles.cli.terminal import exits, progress, tables, watching
from damocles.cli.threads import options
from damocles.lotus import layout, miners
from damocles.lotus.layout import Layout
from damocles.lotus.miners import Partition
from damocles.lotus.view import View

app = App(
    name="proving",
    help="Deadlines, partitions and faults of a miner; without a command, how the day's proofs went.",
    version_flags=[],
)
_CHECKING = "damocles.cli.of_chain.checking"
app.default(day.show)
app.command("damocles.cli.of_chain.blocks:blocks", name="blocks", help="List the blocks that were won.")
app.command(f"{_CHECKING}:check", name="check", help="Check the files of a deadline's sectors.")
app.command(f"{_CHECKING}:simulate", name="simulate-wdpost", help="Have a partition proved on trial.")
_UPKEEP = "damocles.cli.of_chain.upkeep"
app.command(f"{_UPKEEP}:recover_faults", name="recover-faults", help="Declare faulty sectors recovered.")
app.command(f"{_UPKEEP}:declare_faults", name="declare-faults", help="Declare sectors faulty whose files are gone.")
app.command(f"{_UPKEEP}:compact_partitions", name="compact-partitions", help="Remove dead sectors from partitions.")

T = TypeVar("T")

_DEADLINES = 48
Deadline = Annotated[int, Parameter(validator=validators.Number(gte=0, lt=_DEADLINES), help="Number of the deadline.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    layout: Layout
    deadlines: list[miners.Deadline]
    clock: words.Clock


async def _see(view: View, miner: Address, on_read: Callable[[int], None]) -> _Seen:
    return _Seen(
        layout=await layout.read(view, miner, on_read=on_read),
        deadlines=await view.deadlines(miner),
        clock=await words.clock(view),
    )


def _ask(at: node_at.At, miner: Address, see: Callable[[View, Address, Callable[[int], None]], Awaitable[T]]) -> T:
    with progress.Counter("reading deadlines", _DEADLINES) as counter:
        return at.ask(lambda view: see(view, miner, counter.show))


@app.command(help_epilogue=options.examples("damocles-manager util sealer proving info --miner f01000"))
@watching.watchable
def info(*, miner: words.Actor = None, json: options.AsJson = False, at: node_at.At = node_at.USUAL) -> int:
    """Show the state of the proving period, and how many sectors are faulty."""
    address = words.miner(miner, at)
    seen = _ask(at, address, _see)
    cycle, clock, parts = seen.layout.cycle, seen.clock, seen.layout.partitions.values()
    live, faulty = sum(one.live.count for one in parts), sum(one.faulty.count for one in parts)
    recovering = sum(one.recovering.count for one in parts)
    current = cycle.current
    opens = cycle.opens(current)
    in_deadline = sum(one.live.count for _, one in seen.layout.of_deadline(current))
    if json:
        made = {"miner": str(address), "epoch": cycle.epoch, "period_start": cycle.start}
        made |= {"next_period_start": cycle.start + cycle.period_epochs, "live": live, "faulty": faulty}
        made |= {"recovering": recovering, "deadline": current, "deadline_sectors": in_deadline, "open": opens}
        made |= {"close": opens + cycle.window, "challenge": opens - cycle.challenge_lookback}
        exits.print_json(made | {"fault_cutoff": opens - cycle.declaration_cutoff})
        return exits.OK
    words.facts(
        [
            ("Miner", str(address)),
            ("Current Epoch", str(cycle.epoch)),
            ("Proving Period Boundary", str(cycle.start % cycle.period_epochs)),
            ("Proving Period Start", clock.at(cycle.start)),
            ("Next Period Start", clock.at(cycle.start + cycle.period_epochs)),
            ("", ""),
            ("Faults", f"{faulty} ({100 * faulty / live if live else 0:.2f}%)"),
            ("Recovering", str(recovering)),
            ("Deadline Index", str(current)),
            ("Deadline Sectors", str(in_deadline)),
            ("Deadline Open", clock.at(opens)),
            ("Deadline Close", clock.at(opens + cycle.window)),
            ("Deadline Challenge", clock.at(opens - cycle.challenge_lookback)),
            ("Deadline FaultCutoff", clock.at(opens - cycle.declaration_cutoff)),
        ]
    )
    return exits.OK


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    deadline: int
    open: str
    open_epoch: int
    partitions: int
    sectors: int
    faults: int
    recovering: int
    proven: int
    current: bool


def _cells(row: _Row) -> list[str]:
    proven = f"{row.proven}{'  (current)' if row.current else ''}"
    return [str(row.deadline), row.open, str(row.partitions), f"{row.sectors} ({row.faults})", proven]


_DEADLINES_TABLE = tables.Table[_Row](
    columns=("Deadline", "Open", "Partitions", "Sectors (faults)", "Proven"),
    cells=_cells,
    plain_columns=("deadline", "open", "partitions", "sectors (faults)", "proven partitions"),
)


@app.command(help_epilogue=options.examples("damocles-manager util sealer proving deadlines --miner f01000"))
@watching.watchable
def deadlines(
    *,
    miner: words.Actor = None,
    every: Annotated[bool, options.Flag(name=["--all", "-a"], help="Include deadlines without live sectors.")] = False,
    json: options.AsJson = False,
    at: node_at.At = node_at.USUAL,
) -> int:
    """List the deadlines with live sectors: when they open next, and how much of them is proved."""
    seen = _ask(at, words.miner(miner, at), _see)
    rows = [row for row in _rows(seen) if every or row.sectors]
    if json:
        exits.print_json([{name: getattr(row, name) for name in row.__slots__} for row in rows])
    else:
        tables.show(_DEADLINES_TABLE, rows, nothing="no deadline has live sectors; --all lists all")
    return exits.OK


def _rows(seen: _Seen) -> list[_Row]:
    rows = []
    cycle = seen.layout.cycle
    for number, deadline in enumerate(seen.deadlines):
        parts = [one for _, one in seen.layout.of_deadline(number)]
        rows.append(
            _Row(
                deadline=number,
                open=seen.clock.moment(cycle.opens(number)),
                open_epoch=cycle.opens(number),
                partitions=len(parts),
                sectors=sum(one.live.count for one in parts),
                faults=sum(one.faulty.count for one in parts),
                recovering=sum(one.recovering.count for one in parts),
                proven=deadline.post_submissions.count,
                current=number == cycle.current,
            )
        )
    return rows


_PARTITIONS_TABLE = tables.Table[tuple[int, Partition, bool]](
    columns=("Partition", "All", "Live", "Active", "Faulty", "Recovering", "Proven"),
    cells=lambda row: [
        str(row[0]),
        *(str(part.count) for part in (row[1].all, row[1].live, row[1].active, row[1].faulty, row[1].recovering)),
        "yes" if row[2] else "no",
    ],
)


@app.command(help_epilogue=options.examples("damocles-manager util sealer proving deadline 3 -n --miner f01000"))
@watching.watchable
def deadline(
    number: Deadline,
    /,
    *,
    miner: words.Actor = None,
    sector_nums: Annotated[
        bool, options.Flag(name=["--sector-nums", "-n"], help="Also the numbers of the sectors.")
    ] = False,
    json: options.AsJson = False,
    at: node_at.At = node_at.USUAL,
) -> int:
    """Show a deadline and its partitions."""
    address = words.miner(miner, at)

    async def see(view: View) -> _Seen:
        return _Seen(
            layout=await layout.read(view, address, [number]),
            deadlines=await view.deadlines(address),
            clock=await words.clock(view),
        )

    seen = at.ask(see)
    proven = seen.deadlines[number].post_submissions
    cycle, parts = seen.layout.cycle, list(seen.layout.of_deadline(number))
    if json:
        made = [{"partition": index, "proven": index in proven, **_as_json(one)} for index, one in parts]
        exits.print_json({"deadline": number, "open": cycle.opens(number), "partitions": made})
        return exits.OK
    opens = cycle.opens(number)
    words.facts(
        [
            ("Deadline Index", f"{number}{' (current)' if number == cycle.current else ''}"),
            ("Open", seen.clock.at(opens)),
            ("Close", seen.clock.at(opens + cycle.window)),
            ("Partitions", str(len(parts))),
            ("Proven Partitions", str(proven.count)),
            ("", ""),
        ]
    )
    tables.show(_PARTITIONS_TABLE, ((index, one, index in proven) for index, one in parts), nothing="no partitions")
    if sector_nums:
        for index, one in parts:
            print()
            kinds = (("all", one.all), ("live", one.live), ("active", one.active), ("faulty", one.faulty))
            shown = [(name, words.numbers(some)) for name, some in (*kinds, ("recovering", one.recovering))]
            words.facts([("Partition", str(index)), *shown])
    return exits.OK


def _as_json(one: Partition) -> dict[str, list[int]]:
    kinds = {"all": one.all, "live": one.live, "active": one.active, "faulty": one.faulty}
    return {name: list(some) for name, some in (kinds | {"recovering": one.recovering}).items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fault:
    deadline: int
    partition: int
    sector: int
    recovering: bool
    ends_epoch: int
    days: float


_FAULTS_TABLE = tables.Table[_Fault](
    columns=("Deadline", "Partition", "Sector", "Expiration (days)", "Recovering"),
    cells=lambda one: [
        str(one.deadline),
        str(one.partition),
        str(one.sector),
        f"{one.ends_epoch} ({one.days:.1f})",
        "yes" if one.recovering else "no",
    ],
    plain_columns=("deadline", "partition", "sectors", "expiration(days)", "recovering"),
)


@app.command(help_epilogue=options.examples("damocles-manager util sealer proving faults --miner f01000"))
@watching.watchable
def faults(*, miner: words.Actor = None, json: options.AsJson = False, at: node_at.At = node_at.USUAL) -> int:
    """List faulty sectors, and when the chain terminates them if they stay faulty.

    One that is declared recovered is faulty until its next window PoSt.
    """
    found = _ask(at, words.miner(miner, at), _faults)
    if json:
        exits.print_json([{name: getattr(one, name) for name in one.__slots__} for one in found])
    elif found:
        tables.show(_FAULTS_TABLE, found)
    else:
        print("no faulty sectors")
    return exits.OK


async def _faults(view: View, miner: Address, on_read: Callable[[int], None]) -> list[_Fault]:
    clock = await words.clock(view)
    seen = await layout.read(view, miner, on_read=on_read)
    found = []
    for (deadline_number, partition), one in seen.partitions.items():
        for number in one.faulty:
            ends = await view.expiration(miner, number)
            epoch = ends.early or ends.on_time
            found.append(
                _Fault(
                    deadline=deadline_number,
                    partition=partition,
                    sector=number,
                    recovering=number in one.recovering,
                    ends_epoch=epoch,
                    days=round(clock.days(epoch), 1),
                )
            )
    return found
