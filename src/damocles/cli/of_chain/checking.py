"""Whether sectors could be proved: `util sealer proving check` and `simulate-wdpost`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Parameter, validators

from damocles import methods
from damocles.chain.addresses import Address
from damocles.chain.bitfields import Bitfield
from damocles.cli.connecting import manager_at, node_at
from damocles.cli.of_chain import words
from damocles.cli.terminal import exits, tables
from damocles.cli.threads import options
from damocles.lotus import layout
from damocles.lotus.view import View
from damocles.wire import proving

_PATIENCE_SECONDS = 600.0  # disks are read

Deadline = Annotated[int, Parameter(validator=validators.Number(gte=0, lt=48), help="Number of the deadline.")]
Partition = Annotated[
    int, Parameter(name="--partition-idx", help="The index of the partition.", validator=validators.Number(gte=0))
]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """The sectors of each partition of a deadline, as the chain has them, and a challenge."""

    post_proof: int
    partitions: Mapping[int, list[proving.Extended]]
    challenge: bytes = bytes(32)


async def _see(view: View, miner: Address, deadline: int, *, faulty: bool, challenge: int | None = None) -> _Asked:
    seen = await layout.read(view, miner, [deadline])
    partitions = {}
    for number, part in seen.of_deadline(deadline):
        wanted = part.live if faulty else part.live - part.faulty
        partitions[number] = await _extended(view, miner, wanted)
    return _Asked(
        post_proof=(await view.info(miner)).window_post_proof_type,
        partitions=partitions,
        challenge=bytes(32) if challenge is None else await view.window_challenge(miner, challenge),
    )


async def _extended(view: View, miner: Address, numbers: Bitfield) -> list[proving.Extended]:
    return [
        proving.Extended(proof=one.seal_proof, number=one.number, key_cid=one.sector_key_cid, sealed_cid=one.sealed_cid)
        for one in (await view.sectors(miner, numbers) if numbers else ())
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    partition: int
    sector: int
    reason: str


_DETAIL = tables.Table[_Row](
    columns=("Partition", "Sector", "Status", "Reason"),
    cells=lambda row: [str(row.partition), str(row.sector), "failed" if row.reason else "ok", row.reason or "-"],
    plain_columns=("partition", "sector", "status", "reason"),
)


def check(
    deadline: Deadline,
    /,
    *,
    miner: words.Actor = None,
    only_bad: Annotated[bool, options.Flag(name="--only-bad", help="Only sectors that could not be proved.")] = False,
    state_check: Annotated[
        bool, options.Flag(name="--state-check", help="Also compare the records with the chain.")
    ] = False,
    faulty: Annotated[bool, options.Flag(name="--faulty", help="Also sectors that are declared faulty.")] = False,
    json: options.AsJson = False,
    node: node_at.At = node_at.USUAL,
    manager: manager_at.At = manager_at.USUAL,
) -> int:
    """Check the files of a deadline's sectors; a sector that could not be proved is a failure."""
    address = words.miner(miner, manager)
    asked = node.ask(lambda view: _see(view, address, deadline, faulty=faulty))
    rows = []
    with manager.call(_PATIENCE_SECONDS) as found:
        for partition, infos in asked.partitions.items():
            call = methods.records.check_provable(address.id, asked.post_proof, infos, False, state_check)
            bad = found.call(call)
            rows += [_Row(partition=partition, sector=one.number, reason=bad.get(str(one.number), "")) for one in infos]
    bad_ones = [row for row in rows if row.reason]
    shown = bad_ones if only_bad else rows
    if json:
        exits.print_json([_as_json(row) for row in shown])
    elif shown:
        tables.show(_DETAIL, shown)
    if not json:
        print(f"deadline {deadline}: {len(rows) - len(bad_ones)} good, {len(bad_ones)} bad")
    return exits.FAILED if bad_ones else exits.OK


def _as_json(row: _Row) -> dict[str, Any]:
    return {"partition": row.partition, "sector": row.sector, "good": not row.reason, "reason": row.reason}


def simulate(
    *,
    deadline: Annotated[
        int, Parameter(name="--ddl-idx", help="The index of the deadline.", validator=validators.Number(gte=0, lt=48))
    ],
    partition: Partition,
    miner: words.Actor = None,
    include_faulty: Annotated[
        bool, options.Flag(name="--include-faulty", help="Also sectors that are declared faulty.")
    ] = False,
    challenge: Annotated[
        int | None, Parameter(help="With the randomness of this epoch; without it, zeros.", show_default=False)
    ] = None,
    json: options.AsJson = False,
    node: node_at.At = node_at.USUAL,
    manager: manager_at.At = manager_at.USUAL,
) -> int:
    """Have a worker with the plan wdpost prove a partition on trial; no message follows.

    The result is in `util worker wdpost list`.
    """
    address = words.miner(miner, manager)
    asked = node.ask(lambda view: _see(view, address, deadline, faulty=include_faulty, challenge=challenge))
    infos = asked.partitions.get(partition) or []
    if not infos:
        raise exits.Failed(f"partition {partition} of deadline {deadline} has no sectors to prove")
    call = methods.wdpost.simulate(deadline, partition, address, asked.post_proof, infos, asked.challenge)
    with manager.call(_PATIENCE_SECONDS) as found:
        found.call(call)
    exits.print_result(
        f"{len(infos)} sectors wait for a worker with the plan wdpost; see `util worker wdpost list`",
        {"deadline": deadline, "partition": partition, "sectors": [one.number for one in infos]},
        as_json=json,
    )
    return exits.OK
