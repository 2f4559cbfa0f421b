"""Write journals as the threads of a release do, for each plan in a state: `PYTHONPATH=<its src> python write.py <folder>`.

It runs on the code of every release so far, and so takes from it only what they all have.
"""

import sqlite3
import sys
import tempfile
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from damocles.sealing import events, planner, sectors
from damocles.sealing.sectors import Sector
from damocles.sealing.states import State
from damocles.stores import sealing
from damocles.wire import codec, seal, tasks
from damocles.wire import sectors as wire_sectors

STATES = {
    ("sealer", "PC1Done"): events.Failed("Permanent", "no such file: layers"),
    ("sealer", "PCSubmitted"): events.Failed("Temporary", "the manager fails"),
    ("sealer", "C1Done"): None,
    ("niporep", "PC2Done"): None,
    ("snapup", "SnapProved"): None,
    ("rebuild", "SealedChecked"): None,
    ("unseal", "Unsealed"): None,
}
BYTES = bytes(range(32))
HASH = codec.Bytes32(BYTES)
PIECE = codec.CID("baga6ea4seaqao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq")
SAMPLES: dict[str, Any] = {
    "AllocatedSector": seal.AllocatedSector(wire_sectors.SectorID(10000, 7), 5),
    "Ticket": seal.Ticket(BYTES, 4711),
    "Seed": seal.Seed(BYTES, 4861),
    "PC2Output": tasks.PC2Output("StackedDrg2KiBV1_1", HASH, HASH),
    "Raw": msgspec.Raw(b'{"registered_proof":"StackedDrg2KiBV1_1","labels":"' + 200 * b"x" + b'"}'),
    "NumberList": codec.NumberList(bytes(range(192))),
    "PieceInfo": [tasks.PieceInfo(HASH, 2032)],
    "SectorPiece": [seal.SectorPiece(seal.Piece(2048, PIECE), seal.DealInfo(deal_id=7, payload_bytes=1000))],
    "tuple": ("file:///pieces/one",),
    "str": "persist-1",
    "bool": False,
    "int": 3,
}


def sample(kind: type[events.PlanEvent]) -> events.PlanEvent:
    """Return an event with plausible content."""
    later: dict[str, Callable[[], Any]] = {
        "SectorPublic": lambda: seal.SectorPublic(HASH),
        "SnapEncodeOutput": lambda: tasks.SnapEncodeOutput(HASH, HASH, HASH),
        "UnsealPiece": lambda: sectors.UnsealPiece(PIECE, 0, 2032, HASH),
    }
    values: dict[str, Any] = {}
    for name, hint in typing.get_type_hints(kind).items():
        if name not in kind.__struct_fields__:
            continue
        options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
        kind_of_item = typing.get_args(options[0]) if typing.get_origin(options[0]) is list else options
        word = (typing.get_origin(kind_of_item[0]) or kind_of_item[0]).__name__
        values[name] = later[word]() if word in later else SAMPLES[word]
    if kind is events.AcquireDeals:
        values["deals"] = None
    if kind is events.AssignTicket:
        values["ticket"] = None
    return kind(**values)


def write(location: Path, plan: str, state: State, last: events.Event | None) -> None:
    """Bring a sector to a state, and let one more thing happen there."""
    limits, at = planner.Limits(max_retries=2), 1_790_000_000.25
    sector = Sector(plan=plan)
    sealing.init(location)
    with sealing.opened(location) as store:

        def hear(event: events.Event, seconds: float | None = None) -> planner.Instruction:
            nonlocal sector, at
            at += 60.5
            after, todo = planner.step(sector, event, limits, at)
            if after != sector:
                store.journal.record(sector, event, after, at=at, seconds=seconds)
            sector = after
            return todo[-1]

        action = hear(events.Restart())
        while sector.state is not state:
            if isinstance(action, planner.Wait):
                action = hear(events.Wake())
            else:
                action = hear(sample(next(iter(planner.PLANS[plan].steps[sector.state].to))), 12.5)
        if last is not None:
            hear(last, 3.0)


def main() -> None:
    """Write a file for each plan that the release has."""
    out = Path(sys.argv[1])
    out.mkdir(parents=True)
    for (plan, state), last in STATES.items():
        if plan not in planner.PLANS:
            continue
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder, "store"), plan, State(state), last)
            database = sqlite3.connect(Path(folder, "store", "meta", "journal.db"))
            (version,) = database.execute("PRAGMA user_version").fetchone()
            text = "\n".join([*database.iterdump(), f"PRAGMA user_version = {version};\n"])
            (out / f"{plan}-{state}.sql").write_text(text)


if __name__ == "__main__":
    main()
