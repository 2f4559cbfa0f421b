"""Work on sectors: `util sealer snap …`, `util sealer sectors rebuild|unseal|abort`, and `… remove|finalize|restore`."""

from collections.abc import Callable
from typing import Annotated

from cyclopts import App, Parameter

from damocles import methods
from damocles.chain.bitfields import Bitfield
from damocles.cli.connecting import calls, manager_at, miners
from damocles.cli.terminal import exits, tables, watching
from damocles.cli.threads import options
from damocles.sealing.states import State
from damocles.wire import codec, records, seal, sectors
from damocles.wire.sectors import SectorID

snap = App(name="snap", help="Upgrade sectors of committed capacity with deals.", version_flags=[])

_CANDIDATES = tables.Table[tuple[int, list[int]]](
    columns=("Deadline", "Count"),
    cells=lambda one: (str(one[0]), str(len(one[1]))),
    plain_columns=("deadline", "count"),
)

_NO_RECORD = "key not found"  # all that managers, the original's too, report of an unknown sector

Number = Annotated[int | None, Parameter(help="Number of the sector, after its miner.")]
Sector = Annotated[str, Parameter(help="The sector, like s-t010000-7; or its miner, with the number after it.")]
Really = Annotated[bool, options.Flag(name="--really-do-it", help="Really do it.")]


@snap.command(help_epilogue=options.examples("damocles-manager util sealer snap fetch f010000"))
def fetch(
    miner: options.MaybeMiner = None,
    deadline: Annotated[int | None, Parameter(help="Of the sectors; default: the present one.")] = None,
    /,
    *,
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Mark the sectors that can be upgraded as candidates; workers with the plan snapup get them with deals."""
    of = miners.number(miner, at, option="")
    with at.call() as found:
        result = found.call(methods.proven.fetch_candidates(of, deadline))
    if json:
        exits.print_json(codec.to_builtins(result))
    else:
        print(f"{result.total} sectors can be upgraded, {result.diff} of them are new")
    return exits.OK


@snap.command
@watching.watchable
def candidates(
    miner: options.MaybeMiner = None,
    /,
    *,
    show_all: Annotated[bool, Parameter(name="--show-all", help="Also deadlines without any.")] = False,
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """List how many sectors of each deadline wait to be upgraded."""
    of = miners.number(miner, at, option="")
    with at.call() as found:
        runs = found.call(methods.proven.candidates(of).read_as(list[Bitfield | None]))
    numbers = {deadline: list(members or ()) for deadline, members in enumerate(runs)}
    shown = {deadline: members for deadline, members in numbers.items() if members or show_all}
    if json:
        exits.print_json([{"deadline": deadline, "numbers": members} for deadline, members in shown.items()])
    elif shown:
        tables.show(_CANDIDATES, shown.items())
    else:
        print("no candidates available")
    return exits.OK


def sector_of(text: str, number: int | None) -> SectorID:
    """Return a sector from its name in lists, or from miner and number as in the original's commands.

    Raises:
        exits.WrongUsage: It is neither.
    """
    try:
        return SectorID.parse(text) if number is None else SectorID(sectors.miner_id(text), number)
    except ValueError as error:
        raise exits.WrongUsage(f"{error}, or a miner and a number" if number is None else str(error)) from error


def rebuild(
    sector: Sector,
    number: Number = None,
    /,
    *,
    pieces_available: Annotated[
        bool, Parameter(name="--pieces-available", help="The pieces of an imported sector are at hand.")
    ] = False,
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Queue a sector for a worker with the plan rebuild, which makes its files again."""
    identity = sector_of(sector, number)
    with at.call() as found:
        found.call(methods.proven.set_for_rebuild(identity, seal.RebuildOptions(pieces_available)))
    exits.print_result(
        f"{identity} waits for a worker with the plan rebuild",
        {"sector": str(identity), "pieces_available": pieces_available},
        as_json=json,
    )
    return exits.OK


def abort(
    sector: Sector,
    number: Number = None,
    /,
    *,
    yes: Annotated[bool, Parameter(name=["--yes", "--really-do-it"], help="Really do it.", negative=())] = False,
    reason: options.Reason = "",
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Abort a sector whose worker will not come back, which frees its deals, space and tasks for others.

    A sector on the chain goes back to what it was before that work, also before an upgrade whose message was lost; it is
    finished if the work has just proved it. While its worker is live and has not finished, use
    `util worker abort --sector`, which ends both sides. If the worker does come back, its calls are refused.
    """
    identity = sector_of(sector, number)
    with at.call() as found:
        record = found.call(methods.records.find_sector_in_all_states(identity))
        if record.finalized or record.abort_reason:
            raise exits.Failed(f"{identity} is not in progress")
        latest = record.latest_state
        holder = latest.worker.instance if latest else "no worker that has reported"
        has_finished = latest is not None and latest.state_change.next == State.Finished
        workers = found.call(methods.fleet.workers())
        if not has_finished and any(worker.info.name == holder and worker.status == "live" for worker in workers):
            raise exits.Failed(
                f"{holder} has {identity} and is live: use `util worker abort --sector {identity}`, which ends both sides"
            )
        if yes:
            found.call(methods.claims.abort(identity, reason))
    text = f"aborted {identity}; {holder} had it" if yes else f"would abort {identity}, which {holder} has"
    exits.print_result(text, {"sector": str(identity), "worker": holder, "done": yes}, as_json=json)
    if not yes:
        exits.hint("pass --yes to do it")
    return exits.OK


def unseal(
    piece: Annotated[str, Parameter(help="CID of the piece.")],
    /,
    *,
    miner: options.TheMiner = None,
    sector: Annotated[int, Parameter(help="Number of the sector.")],
    dest: Annotated[
        str,
        Parameter(help="Where to send it: an http, https, file, store or market URL; default: /piecestore/."),
    ] = "",
    offset: Annotated[int | None, Parameter(help="First byte of the sector's data, unpadded.")] = None,
    size: Annotated[int | None, Parameter(help="Bytes from there; the default for both is the whole piece.")] = None,
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Queue a piece for a worker with the plan unseal, which gets it out of its sector and sends it somewhere."""
    identity = SectorID(miners.number(miner, at), sector)
    with at.call() as found:
        record = _record(found, identity)
        if offset is None or size is None:
            offset, size = _span(record, piece)
        found.call(methods.proven.unseal_piece(identity, codec.CID(piece), offset, size, dest))
    first = "" if record.finalized or record.imported else "until the sector is finished, and then "
    exits.print_result(
        f"{size} bytes from {offset} of {identity} wait {first}for a worker with the plan unseal",
        {"sector": str(identity), "piece": piece, "offset": offset, "size": size, "dest": dest},
        as_json=json,
    )
    return exits.OK


@watching.watchable
def unseal_tasks(
    *, full: options.Full = False, json: options.AsJson = False, at: manager_at.At = manager_at.USUAL
) -> int:
    """List the requested pieces and their progress."""
    with at.call() as found:
        tasks = found.call(methods.proven.unseal_tasks())
    if json:
        exits.print_json([codec.to_builtins(task) for task in tasks])
        return exits.OK
    tables.show(_UNSEALS, tasks, full=full, nothing="no pieces are requested")
    return exits.OK


def _unseal_cells(task: seal.SectorUnsealInfo) -> tuple[str, ...]:
    return (
        *(str(task.sector.id), task.piece_cid, str(task.offset_bytes), str(task.size_bytes), task.state),
        *(" ".join(task.dest or ()), task.error or "-"),
    )


_UNSEALS = tables.Table(columns=("Sector", "Piece", "Offset", "Size", "State", "Dest", "Error"), cells=_unseal_cells)


def _record(found: calls.Manager, sector: SectorID) -> records.SectorState:
    try:
        return found.call(methods.records.find_sector_in_all_states(sector))
    except exits.Failed as error:
        if str(error) != _NO_RECORD:
            raise
        raise exits.NothingSelected(f"the manager has no sector {sector}; see: sectors list") from error


def _span(record: records.SectorState, piece: str) -> tuple[int, int]:
    """Return where the payload of a piece is in its sector, in unpadded bytes."""
    offset = 0
    for known in record.pieces or ():
        if known.piece.cid == piece:
            return offset // 128 * 127, known.deal.payload_bytes or known.piece.size_bytes // 128 * 127
        offset += known.piece.size_bytes
    raise exits.Failed(f"{record.id} has no deal with piece {piece}: pass --offset and --size")


def _act(done: str, ask: Callable[[SectorID], methods.Ask[None]], about: str) -> Callable[..., int]:
    """Return the command that has the manager do something to a sector, once somebody is sure; `done` is what it then is."""

    def act(
        sector: Sector,
        number: Number = None,
        /,
        *,
        really_do_it: Really = False,
        json: options.AsJson = False,
        at: manager_at.At = manager_at.USUAL,
    ) -> int:
        identity = sector_of(sector, number)
        if not really_do_it:
            raise exits.WrongUsage(f"{identity} would be {done}: say --really-do-it")
        with at.call() as found:
            found.call(ask(identity))
        exits.print_result(f"{identity} {done}", {"sector": str(identity), "done": done}, as_json=json)
        return exits.OK

    act.__doc__ = about
    return act


remove = _act(
    "removed",
    methods.records.remove_sector,
    "Delete the files of a sector that is over; one that lives on the chain, or did 900 epochs ago, is refused.",
)
finalize = _act(
    "finished", methods.records.finalize_sector, "Finish a sector that is on the chain, whatever its worker thinks."
)


def restore(
    sector: Sector,
    number: Number = None,
    /,
    *,
    force: Annotated[bool, options.Flag(name="--force", help="Also one that was not aborted, or has deals.")] = False,
    really_do_it: Really = False,
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Bring a sector that was aborted back into work; it belongs to the worker that goes on with it first."""
    act = _act("restored", lambda identity: methods.records.restore_sector(identity, force), "")
    return act(sector, number, really_do_it=really_do_it, json=json, at=at)
