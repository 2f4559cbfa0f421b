"""`damocles-worker store`: create stores, show what happened in one."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from damocles.cli.of_worker import config as worker_config
from damocles.cli.terminal import exits, tables
from damocles.cli.threads import options
from damocles.operating import words
from damocles.sealing import planner, sectors
from damocles.stores import exports, identity, journal, layout, persist, sealing
from damocles.text import units

app = App(
    name="store",
    help="Create stores; list, add and release those of a running worker; show, export and import a journal.",
    version_flags=[],
)
app.command(
    "damocles.cli.of_worker.attaching:list_",
    name="list",
    help="List the stores that the running worker uses, and how far a release is.",
    help_epilogue=options.examples("damocles-worker store list"),
)
app.command(
    "damocles.cli.of_worker.attaching:add",
    name="add",
    help="Add a store to the running worker.",
    help_epilogue=options.examples(
        "damocles-worker store add /mnt/nvme4/store --dry-run",
        "damocles-worker store add /mnt/hdd7/persist --persist persist-7",
    ),
)
app.command(
    "damocles.cli.of_worker.attaching:release",
    name="release",
    help="Release a store of the running worker, so that its disk can go.",
    help_epilogue=options.examples(
        "damocles-worker store release 3 --dry-run",
        "damocles-worker store release /mnt/nvme4/store --finish --wait",
    ),
)

Locations = Annotated[
    list[Path], Parameter(name=["--loc", "-l"], consume_multiple=True, help="Folder of the store; more may follow.")
]
Location = Annotated[Path, Parameter(help="Folder of the store.")]
AsJson = Annotated[bool, Parameter(name="--json", help="Print JSON.")]

Out = Annotated[Path, Parameter(name="--out", help="Where to write; - is standard output.")]
File = Annotated[Path, Parameter(name="FILE", allow_leading_hyphen=True, help="An export; - is standard input.")]
Which = Annotated[
    str | None,
    Parameter(name="--store", help="Which store in the file, by its folder or identity, if there are several."),
]

Home = Annotated[
    Path | None, Parameter(help="The home of the worker or manager that uses the stores; instead of --config.")
]

STDOUT = exits.STANDARD


@app.command(help_epilogue=options.examples("damocles-worker store sealing-init --loc /srv/store1 /srv/store2"))
def sealing_init(*, loc: Locations, json: AsJson = False) -> int:
    """Create sealing stores, with their parent folders; exit code 1 if one cannot be created."""
    return _make(loc, sealing.init, json=json)


@app.command(help_epilogue=options.examples("damocles-worker store file-init --loc /srv/persist"))
def file_init(*, loc: Locations, json: AsJson = False) -> int:
    """Create the folders of persist stores, with their parent folders; exit code 1 if one cannot be created."""
    return _make(loc, persist.init, json=json)


@app.command
def accept(*locations: Location, config: worker_config.Config = None, home: Home = None, json: AsJson = False) -> int:
    """Accept what is at a store's path now as the store: for a disk that was replaced on purpose.

    A worker or a manager accepts only the store that it has seen at a path, so that it never writes to a bare mount
    point. This marks what is there now and remembers it; the daemon looks again by itself.
    """
    if not locations:
        raise exits.WrongUsage("which stores? name their folders")
    if home is None:
        if config is None:
            raise exits.WrongUsage(f"of which worker? pass --config (or set {worker_config.VARIABLE}) or --home")
        home = worker_config.load(config).config.worker.home
    memory = identity.Memory(home.expanduser())
    accepted = []
    for location in locations:
        try:
            found, before = identity.mark_of(location.resolve()), memory.forget(location.resolve())
        except OSError as error:
            raise exits.Failed(f"{location}: {error.strerror}; is the disk mounted?") from error
        accepted.append({"location": str(location), "before": before, "mark": found})
        if not json:
            now = f"store {found}" if found is not None else "a folder without a mark"
            print(f"{location}: {now} replaces {before or 'nothing known'}")
    if json:
        exits.print_json(accepted)
    return exits.OK


@app.command(help_epilogue=options.examples("damocles-worker store show /srv/store1"))
def show(location: Location, /, *, full: options.Full = False, json: AsJson = False) -> int:
    """Show the whole history of a sealing store, oldest first; its worker may be running."""
    try:
        entries = list(journal.read(location))
    except journal.JournalError as error:
        raise exits.Failed(str(error)) from error
    if json:
        exits.print_json([entry.as_dict() for entry in entries])
    else:
        tables.show(_table(full=full), entries, full=full, nothing="nothing has happened in it yet")
    return exits.OK


@app.command(help_epilogue=options.examples("damocles-worker store export /srv/store1 --out store1.jsonl"))
def export(*locations: Location, out: Out = STDOUT, json: AsJson = False) -> int:
    """Export the sector and the whole history of sealing stores, one JSON object per line; the worker need not run.

    This leaves out the files in `data`: copy them, or copy the whole folder instead.
    """
    if not locations:
        raise exits.WrongUsage("which stores? name their folders")
    try:
        with exits.written(out) as file:
            for location in locations:
                if sealing.is_in_use(location):
                    exits.warning(f"{location} is in use: stop its worker before you use the export elsewhere")
                file.writelines(exports.lines(location))
    except journal.JournalError as error:
        raise exits.Failed(str(error)) from error
    if out != STDOUT:
        exits.print_result(
            f"{len(locations)} {'store' if len(locations) == 1 else 'stores'} in {out}",
            {"file": str(out), "stores": len(locations)},
            as_json=json,
        )
    return exits.OK


@app.command(name="import", help_epilogue=options.examples("damocles-worker store import store1.jsonl /srv/new-store"))
def import_(file: File, location: Location, /, *, store: Which = None, json: AsJson = False) -> int:
    """Import an exported sector and its history into a sealing store that has never been used.

    The store replaces the one they came from, which must not be used any more. The thread goes on from the sector's
    state once the files of the old `data` folder are in the new one; copy them before or after this.
    """
    try:
        with exits.opened(file) as lines:
            found = [one for one in exports.read(lines) if store in {None, one.location, one.head.identity}]
    except exports.BadLine as error:
        raise exits.Failed(f"{file}: {error}; nothing was imported") from error
    if len(found) != 1:
        names = ", ".join(one.location for one in found)
        raise exits.WrongUsage(
            f"{file} holds {names}: choose one with --store" if found else f"{file} does not hold {store or 'a store'}"
        )
    (one,) = found
    try:
        with sealing.opened(location) as opened:
            data = opened.location / "data"
            name = one.sector.job_id if one.sector is not None else None
            if others := sorted({path.name for path in data.glob("*/s-t0*")} - {name}):
                raise exits.Failed(f"{data} has files of {others[0]}: import into an empty store")
            journal.fill(opened.journal.path, one.head, one.entries)
    except (sealing.StoreError, journal.JournalError) as error:
        raise exits.Failed(str(error)) from error
    missing = _missing(one.sector, data)
    exits.print_result(
        f"{location}: {_standing(one.sector)}, {len(one.entries)} entries of history",
        {
            "location": str(location),
            "sector": name,
            "state": one.sector.state if one.sector is not None else None,
            "entries": len(one.entries),
            "missing": missing,
        },
        as_json=json,
    )
    if missing:
        exits.warning(f"{data} lacks {', '.join(missing)}: put the files of the old store there before its worker runs")
    return exits.OK


def _standing(sector: sectors.Sector | None) -> str:
    return f"{sector.job_id} at {sector.state}" if sector is not None and sector.job_id else "no sector"


def _missing(sector: sectors.Sector | None, data: Path) -> list[str]:
    """Return the files that the sector's state reads and that are missing, by their names in the plans' tables."""
    if sector is None or sector.id is None or sector.state not in planner.PLANS[sector.plan].steps:
        return []
    at_hand = layout.Layout(data, sector.id, sector.proof_type.size).at_hand()
    return [name for name in planner.PLANS[sector.plan].steps[sector.state].files if name not in at_hand]


def _make(locations: list[Path], init: Callable[[Path], None], *, json: bool) -> int:
    failures = {}
    for location in locations:
        try:
            init(location)
        except (sealing.StoreError, persist.PersistError) as error:
            failures[location] = str(error)
    if json:
        exits.print_json([{"location": str(place), "error": failures.get(place)} for place in locations])
    for location in locations:
        if location in failures:
            exits.error(failures[location])
        elif not json:
            print(f"{location}: created")
    return exits.FAILED if failures else exits.OK


def _row(entry: journal.Entry) -> tuple[str, ...]:
    state = entry.state if entry.state == entry.prev else f"{entry.prev} -> {entry.state}"
    return (
        units.moment(entry.at),
        entry.sector or "-",
        str(entry.attempt),
        state,
        entry.event,
        "-" if entry.seconds is None else units.go_duration(round(entry.seconds, 3)),
        entry.failure or "-",
    )


def _table(*, full: bool) -> tables.Table[journal.Entry]:
    now = time.time()
    return tables.Table(
        columns=("Time", "Sector", "Try", "State", "Event", "Took", "Error"),
        cells=lambda entry: (
            *(units.brief_moment(entry.at, now), entry.sector or "-", str(entry.attempt), entry.state, entry.event),
            *(words.took(entry.seconds), words.brief_error(entry.failure, full=full)),
        ),
        plain_columns=("Time", "Sector", "Attempt", "State", "Event", "Duration", "Error"),
        plain_cells=_row,
    )
