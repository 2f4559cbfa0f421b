"""`damocles-worker store`: make stores, show what happened in one."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from damocles.cli import common
from damocles.stores import journal, persist, sealing
from damocles.wire import units

app = App(name="store", help="Make sealing stores and persist stores, or show a store's history.", version_flags=[])

Locations = Annotated[
    list[Path], Parameter(name=["--loc", "-l"], consume_multiple=True, help="Folder of the store; several may follow.")
]
AsJson = Annotated[bool, Parameter(name="--json", help="Print JSON.")]

_HEADER = ("Time", "Sector", "Attempt", "State", "Event", "Duration", "Error")


@app.command
def sealing_init(*, loc: Locations, json: AsJson = False) -> int:
    """Make sealing stores, with their parent folders; exit code 1 if one cannot be made."""
    return _make(loc, sealing.init, json=json)


@app.command
def file_init(*, loc: Locations, json: AsJson = False) -> int:
    """Make the folders of persist stores, with their parent folders; exit code 1 if one cannot be made."""
    return _make(loc, persist.init, json=json)


@app.command
def show(location: Path, /, *, json: AsJson = False) -> int:
    """Show the whole history of a sealing store, oldest first; its worker may be running."""
    try:
        entries = list(journal.read(location))
    except journal.JournalError as error:
        raise common.Failed(str(error)) from error
    if json:
        common.print_json([entry.as_dict() for entry in entries])
    else:
        common.print_table(_HEADER, map(_row, entries))
    return common.OK


def _make(locations: list[Path], init: Callable[[Path], None], *, json: bool) -> int:
    failures = {}
    for location in locations:
        try:
            init(location)
        except (sealing.StoreError, persist.PersistError, journal.JournalError) as error:
            failures[location] = str(error)
    if json:
        common.print_json([{"location": str(place), "error": failures.get(place)} for place in locations])
    for location in locations:
        if location in failures:
            common.error(failures[location])
        elif not json:
            print(f"{location}: made")
    return common.FAILED if failures else common.OK


def _row(entry: journal.Entry) -> tuple[str, ...]:
    state = entry.state if entry.state == entry.prev else f"{entry.prev} -> {entry.state}"
    return (
        datetime.fromtimestamp(entry.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        entry.sector or "-",
        str(entry.attempt),
        state,
        entry.event,
        "-" if entry.seconds is None else units.human_duration(entry.seconds),
        entry.error or "-",
    )
