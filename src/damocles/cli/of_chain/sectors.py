"""`damocles-manager util sealer sectors` as far as it is about the chain: how sectors stand there, and when they end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter, validators

from damocles import methods
from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.chain.bitfields import Bitfield
from damocles.cli.connecting import calls, manager_at, node_at
from damocles.cli.of_chain import words
from damocles.cli.terminal import exits, progress, tables, watching
from damocles.cli.threads import options
from damocles.cli.threads import records as record_facts
from damocles.lotus import layout, miners
from damocles.lotus.layout import Standing
from damocles.lotus.view import View
from damocles.methods import acts
from damocles.wire import codec, records, sectors
from damocles.wire.sectors import SealProof, SectorID

# FIP-0052 and the network's parameters, in epochs: the longest life of a sector, and how far an extension reaches.
LIFETIME_EPOCHS = 5 * 365 * 2880
EXTENSION_EPOCHS = 1278 * 2880
_DEADLINES = 48
_FINALITY_EPOCHS = 900

Sector = Annotated[str, Parameter(help="The sector, like s-t010000-7; or its miner, with the number after it.")]
Number = Annotated[int | None, Parameter(help="Number of the sector, after its miner.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class _OnChain:
    """A sector as the chain has it; what it has not is `None`."""

    standing: Standing
    place: layout.Place | None
    sector: miners.Sector | None
    pre_commit: miners.PreCommitted | None
    ends: miners.Expiration | None
    clock: words.Clock


def state(
    sector: Sector,
    number: Number = None,
    /,
    *,
    json: options.AsJson = False,
    manager: manager_at.At = manager_at.USUAL,
    node: node_at.At = node_at.USUAL,
) -> int:
    """Show the state of a sector on the chain, and the manager's record of it.

    The chain is read if a node is named; then the manager may be away.
    """
    try:
        wanted = SectorID.parse(sector) if number is None else SectorID(sectors.miner_id(sector), number)
    except ValueError as error:
        raise exits.WrongUsage(str(error)) from error
    on_chain = node.ask(lambda view: _see(view, wanted)) if node.is_known else None
    record, sent, away = None, list[acts.SectorMessage](), ""
    try:
        with manager.call() as found:
            record = found.call(methods.records.find_sector_in_all_states(wanted).read_as(records.SectorState | None))
            sent = _sent(found, wanted)
    except exits.ManagerUnreachable as error:
        if on_chain is None:
            raise
        away = str(error)
    if on_chain is None and record is None:
        raise exits.Failed(f"the manager has no record of {wanted}; --node shows what the chain has")
    if json:
        exits.print_json(_state_json(wanted, on_chain, record))
        return exits.OK
    lines = [("Sector", str(wanted))]
    if on_chain is not None:
        lines += _on_chain_lines(on_chain)
    if record is not None:
        lines += [("", ""), *record_facts.facts(record, sent)]
    words.facts(lines)
    if away:
        exits.warning(f"the manager's record is not shown: {away}")
    elif record is None:
        exits.hint("the manager has no record of it")
    return exits.OK


def _sent(found: calls.Manager, wanted: SectorID) -> list[acts.SectorMessage]:
    try:
        return found.call(methods.chain.of_sector(wanted))
    except exits.ManagerUnreachable:
        raise
    except exits.Failed:  # the original's manager has no such method
        return []


async def _see(view: View, wanted: SectorID) -> _OnChain:
    miner = Address.of_id(wanted.miner)
    seen = await layout.read(view, miner)
    place, standing = seen.place(wanted.number), seen.standing(wanted.number)
    pre_commit = await view.pre_committed(miner, wanted.number) if place is None else None
    is_live = standing in {Standing.ACTIVE, Standing.UNPROVEN, Standing.FAULTY, Standing.RECOVERING}
    return _OnChain(
        standing=Standing.PRE_COMMITTED if pre_commit is not None else standing,
        place=place,
        sector=await view.sector(miner, wanted.number),
        pre_commit=pre_commit,
        ends=await view.expiration(miner, wanted.number) if is_live else None,
        clock=await words.clock(view),
    )


def _on_chain_lines(seen: _OnChain) -> list[tuple[str, str]]:
    lines = [("On chain", seen.standing.value)]
    if seen.place is not None:
        lines.append(("Place", f"deadline {seen.place[0]}, partition {seen.place[1]}"))
    if seen.pre_commit is not None:
        lines += [
            ("PreCommitEpoch", seen.clock.at(seen.pre_commit.epoch)),
            ("PreCommitDeposit", words.brief(seen.pre_commit.deposit)),
        ]
    if (known := seen.sector) is not None:
        lines += [
            ("SealProof", SealProof(known.seal_proof).proof_name),
            ("SealedCID", str(known.sealed_cid)),
            ("Activation", seen.clock.at(known.activation)),
            ("Expiration", seen.clock.at(known.expiration)),
        ]
        if seen.ends is not None:
            early = f", early at {seen.clock.at(seen.ends.early)}" if seen.ends.early else ""
            lines.append(("Ends", f"on time at {seen.clock.at(seen.ends.on_time)}{early}"))
        lines += [
            ("InitialPledge", words.brief(known.pledge)),
            ("DailyFee", words.brief(known.daily_fee)),
            ("DealWeight", str(int(known.deal_weight))),
            ("VerifiedDealWeight", str(int(known.verified_deal_weight))),
        ]
    return lines


def _state_json(wanted: SectorID, seen: _OnChain | None, record: records.SectorState | None) -> dict[str, Any]:
    on_chain: dict[str, Any] | None = None
    if seen is not None:
        on_chain = {
            "standing": seen.standing.value,
            "deadline": seen.place[0] if seen.place else None,
            "partition": seen.place[1] if seen.place else None,
            "info": codec.to_builtins(seen.sector),
            "pre_commit": codec.to_builtins(seen.pre_commit),
            "expiration": codec.to_builtins(seen.ends),
            "epoch": seen.clock.epoch,
        }
    return {"sector": str(wanted), "on_chain": on_chain, "record": codec.to_builtins(record)}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    number: int
    standing: str
    deadline: int | None
    partition: int | None
    activation: int
    expiration: int
    pledge: Amount
    seal_proof: int
    clock: words.Clock

    @property
    def most(self) -> int:
        """The epoch to which it could be extended now."""
        return min(self.clock.epoch + EXTENSION_EPOCHS, self.activation + LIFETIME_EPOCHS)


_ON_CHAIN = tables.Table[_Row](
    columns=("ID", "State", "Deadline", "Partition", "Expiration (days)", "Pledge"),
    cells=lambda row: [
        str(row.number),
        row.standing,
        "-" if row.deadline is None else str(row.deadline),
        "-" if row.partition is None else str(row.partition),
        f"{row.expiration} ({row.clock.days(row.expiration):.1f})",
        words.brief(row.pledge),
    ],
)


@watching.watchable
def on_chain(*, miner: words.Actor = None, json: options.AsJson = False, at: node_at.At = node_at.USUAL) -> int:
    """List the proved sectors of a miner as the chain has them, also those that are terminated and not compacted."""
    rows = _read(at, words.miner(miner, at), lambda _row: True)
    if json:
        exits.print_json([_row_json(row) for row in rows])
    else:
        tables.show(_ON_CHAIN, rows, nothing="no sectors on the chain")
    return exits.OK


_EXPIRING = tables.Table[_Row](
    columns=("ID", "SealProof", "Pledge", "Expiration", "MaxExpiration", "MaxExtendNow"),
    cells=lambda row: [
        str(row.number),
        SealProof(row.seal_proof).proof_name,
        words.brief(row.pledge),
        row.clock.at(row.expiration),
        row.clock.at(row.activation + LIFETIME_EPOCHS),
        row.clock.at(row.most),
    ],
    plain_columns=("ID", "SealProof", "InitialPledge", "Activation", "Expiration", "MaxExpiration", "MaxExtendNow"),
    plain_cells=lambda row: [
        str(row.number),
        str(row.seal_proof),
        str(row.pledge),
        row.clock.at(row.activation),
        row.clock.at(row.expiration),
        row.clock.at(row.activation + LIFETIME_EPOCHS),
        row.clock.at(row.most),
    ],
)


@watching.watchable
def check_expire(
    *,
    miner: words.Actor = None,
    cutoff: Annotated[
        int, Parameter(validator=validators.Number(gte=0), help="Only sectors that end within this many epochs.")
    ] = 172800,
    json: options.AsJson = False,
    at: node_at.At = node_at.USUAL,
) -> int:
    """List live sectors that end soon, and how far they can be extended now."""
    live = {Standing.ACTIVE.value, Standing.UNPROVEN.value, Standing.FAULTY.value, Standing.RECOVERING.value}
    rows = _read(
        at, words.miner(miner, at), lambda row: row.standing in live and row.expiration - row.clock.epoch <= cutoff
    )
    rows.sort(key=lambda row: (row.expiration, row.number))
    if json:
        exits.print_json([_row_json(row) for row in rows])
    elif rows:
        tables.show(_EXPIRING, rows)
    else:
        print(f"no live sector ends within {cutoff} epochs")
    return exits.OK


@watching.watchable
def expired(
    *,
    miner: words.Actor = None,
    json: options.AsJson = False,
    node: node_at.At = node_at.USUAL,
    manager: manager_at.At = manager_at.USUAL,
) -> int:
    """List finished sectors of the manager that the chain no longer needs: expired, terminated, never proved.

    The chain is read 900 epochs ago, where nothing changes any more. Their files can go: `sectors remove`.
    """
    address = words.miner(miner, manager)
    with manager.call() as found:
        kept = found.call(methods.records.list_sectors("offline", records.Job.ALL)) or []
    known = [one for one in kept if one.id.miner == address.id and not one.removed]
    numbers = Bitfield(one.id.number for one in known)
    dead, epoch = node.ask(lambda view: _dead(view, address, numbers))
    gone = [one.id for one in known if one.id.number in dead]
    if json:
        exits.print_json({"epoch": epoch, "sectors": [str(one) for one in gone]})
    elif gone:
        print(f"{len(gone)} of {len(known)} finished sectors are not alive on the chain at epoch {epoch}:")
        exits.print_line("  " + words.numbers(Bitfield(one.number for one in gone)))
    else:
        print(f"all {len(known)} finished sectors are alive on the chain at epoch {epoch}")
    return exits.OK


async def _dead(view: View, miner: Address, numbers: Bitfield) -> tuple[Bitfield, int]:
    """Return which of some numbers were used and have no living sector, as of an epoch that is final."""
    final = View(view.node, await view.node.tipset_at(max(0, view.epoch - _FINALITY_EPOCHS), view.key))
    dead = numbers & await final.allocated_numbers(miner)
    for one in (await layout.read(final, miner)).partitions.values():
        dead -= one.live
    waiting = [number for number in dead if await final.pre_committed(miner, number) is not None]
    return dead - Bitfield(waiting), final.epoch


def _read(at: node_at.At, miner: Address, wanted: Callable[[_Row], bool]) -> list[_Row]:
    with progress.Counter("reading deadlines", _DEADLINES) as counter:
        return [row for row in at.ask(lambda view: _rows(view, miner, counter.show)) if wanted(row)]


async def _rows(view: View, miner: Address, on_read: Callable[[int], None]) -> Sequence[_Row]:
    clock = await words.clock(view)
    seen = await layout.read(view, miner, on_read=on_read)
    places = {number: place for place, one in seen.partitions.items() for number in one.all}
    rows = []
    for sector in await view.sectors(miner):
        place = places.get(sector.number)
        standing = Standing.NOWHERE if place is None else layout.standing(seen.partitions[place], sector.number)
        rows.append(
            _Row(
                number=sector.number,
                standing=standing.value,
                deadline=place[0] if place else None,
                partition=place[1] if place else None,
                activation=sector.activation,
                expiration=sector.expiration,
                pledge=sector.pledge,
                seal_proof=sector.seal_proof,
                clock=clock,
            )
        )
    return rows


def _row_json(row: _Row) -> dict[str, Any]:
    made = {name: getattr(row, name) for name in row.__slots__ if name != "clock"}
    return made | {"pledge": row.pledge.to_json(), "max_extend_now": row.most}
