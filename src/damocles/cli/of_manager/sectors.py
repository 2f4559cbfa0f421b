"""`damocles-manager util sealer sectors`: what the manager knows of its sectors."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import App

from damocles import methods
from damocles.cli.connecting import calls, manager_at
from damocles.cli.terminal import exits, tables, watching
from damocles.cli.threads import options
from damocles.operating import selection, words
from damocles.text import units
from damocles.wire import control, exports, records, seal
from damocles.wire.sectors import SectorID

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
    """A sector as the list shows it; keys of `--json` are these.

    `since` is when it came to its state, `None` if nobody knows; without a state it is when it was handed out.
    """

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
    since: float | None
    deals: list[dict[str, Any]]


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
    """List every sector, or those of a miner: its worker, its state and for how long, its deals, what is on chain.

    A sector without a worker was handed out and never reported: the answer may have been lost.
    """
    wanted = options.selected(options.Which(state=state, error=error))
    with at.call() as found:
        known = list(_rows(found, miner))
    _check(wanted.states, known)
    rows = [
        row
        for row in known
        if (not wanted.states or row.state in wanted.states)
        and (not worker or any(selection.names(one, row.worker, row.worker) for one in worker))
        and (wanted.error is None or wanted.error.casefold() in row.failure.casefold())
    ]
    if json:
        exits.print_json([_as_json(row) for row in rows])
        return exits.OK
    tables.show(_table(time.time(), full=full), rows, full=full, nothing="no sectors, or none that is asked for")
    return exits.OK


def _check(states: Sequence[str], rows: Sequence[_Row]) -> None:
    """Refuse states that no sector is in and that nobody knows; a newer worker may report others."""
    seen = {row.state for row in rows}
    if wrong := selection.unknown_words(control.Selection(states=[state for state in states if state not in seen])):
        raise exits.NothingSelected("; ".join(wrong))


def _rows(found: calls.Manager, miner: int | None) -> Iterator[_Row]:
    times = _times(found)
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
            since=_since(times.get(str(record.id)), reported=latest is not None),
            deals=_deals(record),
        )


def _times(found: calls.Manager) -> dict[str, control.SectorTimes]:
    """Return the times of the sectors; none of a manager of another make, which does not tell."""
    known: dict[str, control.SectorTimes] = {}
    last: SectorID | None = None
    try:
        while True:
            part = found.call(methods.records.times(last))
            known |= {one.sector: one for one in part}
            if len(part) < control.TIMES_AT_ONCE:
                return known
            last = SectorID.parse(part[-1].sector)
    except exits.ManagerUnreachable:
        raise
    except exits.Failed:
        return {}


def _since(times: control.SectorTimes | None, *, reported: bool) -> float | None:
    return None if times is None else times.since if reported else times.handed_out


def _deals(record: records.SectorState) -> list[dict[str, Any]]:
    """Return the deals in a sector; those of the original's first market are in a list of their own."""
    legacy = [{"deal_id": deal["ID"]} for deal in record.deals or () if "ID" in deal]
    return legacy + [
        {
            **(
                {"deal_id": one.deal.deal_id}
                if one.deal.is_builtin_market
                else {"allocation_id": one.deal.allocation_id}
            ),
            "piece": str(one.piece.cid),
            "size_bytes": one.piece.size_bytes,
        }
        for one in record.pieces or ()
        if not one.is_filler
    ]


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


def _table(now: float, *, full: bool) -> tables.Table[_Row]:
    def cells(row: _Row) -> list[str]:
        *first, pre_commit, proof, end, _ = _cells(row)
        age = "-" if row.since is None else units.brief_duration(max(0.0, now - row.since))
        deals = str(len(row.deals) or "-")
        return [*first, age, deals, pre_commit, proof, end, words.brief_error(row.failure, full=full)]

    return tables.Table(
        columns=("Sector", "State", "Worker", "Store", "For", "Deals", "PreCommit", "Proof", "End", "Error"),
        cells=cells,
        plain_columns=("Sector", "State", "Worker", "Location", "PreCommit", "Proof", "End", "LastErr"),
        plain_cells=_cells,
    )


def _as_json(row: _Row) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__slots__}
