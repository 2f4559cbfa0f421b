"""`damocles-manager util sealer sectors`: what the manager knows of its sectors."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import App

from damocles import methods
from damocles.cli.connecting import calls, manager_at
from damocles.cli.terminal import exits, tables, watching
from damocles.cli.threads import options
from damocles.operating import selection, words
from damocles.wire import exports, records, seal

app = App(name="sectors", help="List sectors; rebuild, unseal or abort one.")
app.command("damocles.cli.of_manager.plans:rebuild", name="rebuild", help="Make the files of a sector again.")
app.command("damocles.cli.of_manager.plans:unseal", name="unseal", help="Get a piece out of a sector.")
app.command("damocles.cli.of_manager.plans:unseal_tasks", name="unseal-tasks", help="List the requested pieces.")

app.command("damocles.cli.of_manager.plans:abort", name="abort", help="Abort a sector whose worker will not come back.")

app.command(
    "damocles.cli.of_chain.sectors:state", name="state", help="Show how a sector stands on the chain and with us."
)
app.command(
    "damocles.cli.of_chain.sectors:on_chain", name="on-chain", help="List the sectors that the chain has of a miner."
)
app.command(
    "damocles.cli.of_chain.adopting:from_chain", name="from-chain", help="Write sectors of the chain for an import."
)
app.command("damocles.cli.of_chain.sectors:check_expire", name="check-expire", help="List sectors that end soon.")
app.command(
    "damocles.cli.of_chain.sectors:expired", name="expired", help="List finished sectors that the chain needs no more."
)
app.command(
    "damocles.cli.of_manager.plans:remove", name="remove", help="Delete the files of a sector that lives no more."
)
app.command("damocles.cli.of_manager.plans:finalize", name="finalize", help="Finish a sector that is on the chain.")
app.command("damocles.cli.of_manager.plans:restore", name="restore", help="Bring an aborted sector back into work.")
app.command("damocles.cli.of_chain.upkeep:extend", name="extend", help="Let sectors live longer.")
app.command(
    "damocles.cli.of_chain.upkeep:terminate", name="terminate", help="End sectors before their time, for a fee."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A sector as the list shows it; keys of `--json` are these."""

    sector: str
    state: str
    worker: str
    location: str
    finalized: bool
    aborted: bool
    abort_reason: str
    pre_commit: str
    proof: str
    failure: str


@app.command(
    name="list",
    help_epilogue=options.examples(
        "damocles-manager util sealer sectors list", "damocles-manager util sealer sectors list --state C1Done --watch"
    ),
)
@watching.watchable
def list_sectors(
    *,
    miner: options.OfMiner = None,
    state: Annotated[tuple[str, ...], options.Flag(name="--state", help="Sectors in this state; repeatable.")] = (),
    worker: Annotated[
        tuple[str, ...], options.Flag(name="--worker", help="Sectors of this worker, or pattern; repeatable.")
    ] = (),
    error: Annotated[str | None, options.Flag(name="--error", help="Sectors whose failure contains this text.")] = None,
    full: options.Full = False,
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """List every sector, or those of a miner: its worker, its state, what is on chain.

    A sector without a worker was handed out and never reported: the answer may have been lost.
    """
    wanted = options.selected(options.Which(state=state, error=error))
    with at.call() as found:
        rows = [
            row
            for row in _rows(found, miner)
            if (not wanted.states or row.state in wanted.states)
            and (not worker or any(selection.names(one, row.worker, row.worker) for one in worker))
            and (wanted.error is None or wanted.error.casefold() in row.failure.casefold())
        ]
    if json:
        exits.print_json([_as_json(row) for row in rows])
        return exits.OK
    tables.show(_table(full=full), rows, full=full, nothing="no sectors, or none that is asked for")
    return exits.OK


def _rows(found: calls.Manager, miner: int | None) -> Iterator[_Row]:
    known: list[records.SectorState] = []
    states: tuple[exports.State, ...] = ("online", "offline")
    for state in states:
        listed = found.call(methods.records.list_sectors(state, records.Job.ALL))
        known += [one for one in listed or () if miner in {None, one.id.miner}]
    for record in sorted(known, key=lambda one: one.id):
        latest = record.latest_state
        failure = latest.failure if latest else None
        yield _Row(
            sector=str(record.id),
            state=latest.state_change.next if latest else "",
            worker=latest.worker.instance if latest else "",
            location=latest.worker.location if latest else "",
            finalized=record.finalized and not record.abort_reason,
            aborted=bool(record.abort_reason),
            abort_reason=record.abort_reason,
            pre_commit=_pre_commit(found, record),
            # A manager takes a proof only once it has verified it.
            proof="verified" if record.submitted_proof else "",
            failure=f"{failure.level.lower()}: {failure.desc}" if failure else "",
        )


def _pre_commit(found: calls.Manager, record: records.SectorState) -> str:
    if record.pre_commit is None:
        return ""
    if record.seed is not None or record.submitted_proof is not None:
        return "landed"  # there is no seed before that
    if record.finalized:
        return "submitted"
    try:
        polled = found.call(methods.sealer.poll_pre_commit(record.id))
    except exits.Failed:
        return "submitted"  # the sector has ended since it was listed
    return seal.OnChainState(polled.state).name.lower()


def _cells(row: _Row) -> list[str]:
    end = f"aborted: {row.abort_reason}" if row.aborted else "finalized" if row.finalized else ""
    cells = [row.sector, row.state, row.worker, row.location, row.pre_commit, row.proof, end, row.failure]
    return [cell or "-" for cell in cells]


def _table(*, full: bool) -> tables.Table[_Row]:
    return tables.Table(
        columns=("Sector", "State", "Worker", "Store", "PreCommit", "Proof", "End", "Error"),
        cells=lambda row: [*_cells(row)[:-1], words.brief_error(row.failure, full=full)],
        plain_columns=("Sector", "State", "Worker", "Location", "PreCommit", "Proof", "End", "LastErr"),
        plain_cells=_cells,
    )


def _as_json(row: _Row) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__slots__}
