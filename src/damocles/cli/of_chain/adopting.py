"""`damocles-manager util sealer sectors from-chain`: sectors that another program has sealed, as lines for an import."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from msgspec import structs

from damocles.chain.addresses import Address
from damocles.cli.connecting import node_at
from damocles.cli.of_chain import words
from damocles.cli.terminal import exits
from damocles.cli.threads import options
from damocles.lotus import layout
from damocles.lotus.miners import Sector
from damocles.lotus.view import View
from damocles.wire import codec, exports, records
from damocles.wire.sectors import SectorID


def from_chain(
    out: Annotated[Path, Parameter(name="FILE", help="Where to write; - is standard output.")],
    /,
    *,
    files_in: Annotated[str, Parameter(name="--files-in", help="The persist store that has the files of all of them.")],
    miner: words.Actor = None,
    json: options.AsJson = False,
    at: node_at.At = node_at.USUAL,
) -> int:
    """Write records of a miner's live sectors as the chain has them, for `util sealer import`.

    For sectors that another program sealed. The chain no longer has their tickets and pieces: they are proved, extended and
    terminated like others, but cannot be rebuilt, unsealed or upgraded here.
    """
    address = words.miner(miner, at)
    found = at.ask(lambda view: _live(view, address))
    with exits.written(out) as file:
        for sector in found:
            file.write(codec.encode(_kept(address, sector, files_in)) + b"\n")
    if out != exits.STANDARD:
        exits.print_result(f"{len(found)} sectors in {out}", {"file": str(out), "sectors": len(found)}, as_json=json)
    return exits.OK


async def _live(view: View, miner: Address) -> Sequence[Sector]:
    seen = await layout.read(view, miner)
    live = {number for part in seen.partitions.values() for number in part.live}
    return [sector for sector in await view.sectors(miner) if sector.number in live]


def _kept(miner: Address, sector: Sector, store: str) -> exports.Kept:
    record = records.SectorState.fresh(SectorID(miner.id, sector.number), sector.seal_proof)
    return exports.Kept(
        format=exports.FORMAT,
        state="offline",
        sector=structs.replace(record, finalized=True, imported=True),
        files=exports.Files(normal=store, upgrade=store if sector.sector_key_cid is not None else None),
    )
