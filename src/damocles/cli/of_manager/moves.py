"""`damocles-manager util sealer export|import`: sector states from one manager to another, as lines of JSON."""

import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from damocles import methods
from damocles.cli.connecting import calls, manager_at
from damocles.cli.terminal import exits, progress, tables
from damocles.cli.threads import options
from damocles.wire import codec, exports

_PAGE = 200
_BATCH_BYTES = 4 << 20  # the manager takes requests of 16 MiB
_BATCH_LINES = 500
_PATIENCE_SECONDS = 600.0  # more than `--timeout`, for what goes over everything

State = Annotated[
    Literal["online", "offline", "all"],
    Parameter(name="--state", help="Only sectors in progress (online), or only those that have ended (offline)."),
]
Out = Annotated[Path, Parameter(name="--out", help="Where to write; - is standard output.")]
File = Annotated[Path, Parameter(name="FILE", help="An export, or records of the original.")]
Overwrite = Annotated[bool, options.Flag(name="--overwrite", help="Replace sectors that already exist.")]
FromOriginal = Annotated[
    bool,
    options.Flag(
        name="--from-original", help="Accept only records of the original; by default both kinds are recognized."
    ),
]

FilesIn = Annotated[
    str | None,
    Parameter(
        name="--files-in", help="The persist store with the files of finished sectors, where a line does not name one."
    ),
]

STDOUT = exits.STANDARD


def export(
    *, state: State = "all", out: Out = STDOUT, json: options.AsJson = False, at: manager_at.At = manager_at.USUAL
) -> int:
    """Export the manager's records of its sectors, one JSON object per line, by miner and number.

    The file appears once it is complete. A sector that changes meanwhile is in it as before or after the change.
    """
    count = 0
    with progress.Counter("sectors") as counter, at.call(_PATIENCE_SECONDS) as found, exits.written(out) as file:
        for kept in _exported(found, state):
            file.write(codec.encode(kept) + b"\n")
            count += 1
            counter.show(count)
    if out != STDOUT:
        exits.print_result(f"{count} sectors in {out}", {"file": str(out), "sectors": count}, as_json=json)
    return exits.OK


def import_(
    file: File,
    /,
    *,
    overwrite: Overwrite = False,
    from_original: FromOriginal = False,
    files_in: FilesIn = None,
    dry_run: options.DryRun = False,
    reason: options.Reason = "",
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Import the sectors of a file, all or none: an export, or records as the original prints them.

    The original's are SectorState objects: one per line, an array, or the answer to `Venus.ListSectors`. Sectors that
    already exist are refused, or replaced with `--overwrite`; `--dry-run` shows which, and what would change in them.
    """
    name, lost = uuid.uuid4().hex, dict[str, None]()
    try:
        with exits.opened(file) as opened:
            size_bytes = os.fstat(opened.fileno()).st_size
            with progress.Counter(f"bytes of {file} read", size_bytes) as counter:
                read = exports.read(_counted(opened, counter), from_original=from_original)
                count = _send(at, name, (exports.placed(one, files_in) for one in read), lost)
    except exports.BadLine as error:
        raise exits.Failed(f"{file}: {error}; nothing was imported") from error
    if not count:
        raise exits.Failed(f"{file} holds no sectors")
    for field in lost:
        exits.warning(f"{file}: the field {field} is unknown here; it is left out")
    request = exports.Import(id=name, count=count, overwrite=overwrite, dry_run=dry_run, reason=reason)
    with at.call(_PATIENCE_SECONDS) as found:
        done = found.call(methods.records.take_over(request))
    return _tell(done, request, as_json=json)


def _exported(found: calls.Manager, state: Literal["online", "offline", "all"]) -> Iterator[exports.Kept]:
    query = exports.Query(state=state, limit=_PAGE)
    while True:
        page = found.call(methods.records.export(query))
        yield from page
        if len(page) < _PAGE:
            return
        query = exports.Query(state=state, limit=_PAGE, after=page[-1].sector.id)


def _counted(lines: Iterable[bytes], counter: progress.Counter) -> Iterator[bytes]:
    done_bytes = 0
    for line in lines:
        done_bytes += len(line)
        counter.show(done_bytes)
        yield line


def _send(at: manager_at.At, name: str, lines: Iterable[exports.Read], lost: dict[str, None]) -> int:
    """Send the lines to be staged, a batch at a time; return how many there are."""
    count = size_bytes = 0
    batch: list[exports.Numbered] = []
    with at.call(_PATIENCE_SECONDS) as found:

        def send() -> None:
            found.call(methods.records.put_aside(exports.Batch(id=name, lines=batch)))

        for read in lines:
            lost.update(dict.fromkeys(read.lost))
            line = exports.Numbered(read.line, read.kept)
            line_bytes = len(codec.encode(line))
            if batch and (size_bytes + line_bytes > _BATCH_BYTES or len(batch) == _BATCH_LINES):
                send()
                batch, size_bytes = [], 0
            batch.append(line)
            size_bytes += line_bytes
            count += 1
        if batch:
            send()
    return count


def _tell(done: exports.Imported, request: exports.Import, *, as_json: bool) -> int:
    refused = bool(done.replaced or done.unchanged) and not request.overwrite
    if as_json:
        exits.print_json({"dry_run": request.dry_run, "refused": refused, **codec.to_builtins(done)})
    else:
        if done.replaced:
            tables.show(_TABLE, done.replaced)
        would = "would be " if request.dry_run else ""
        counts = (f"{would}added", len(done.added)), (f"{would}replaced", len(done.replaced))
        print(", ".join(f"{count} {what}" for what, count in (*counts, ("unchanged", len(done.unchanged)))))
    if refused:
        here = len(done.replaced) + len(done.unchanged)
        exits.error(f"{here} sectors already exist: without --overwrite nothing is imported")
        return exits.FAILED
    return exits.OK


_TABLE = tables.Table[exports.Replaced](
    columns=("Sector", "Before", "After", "Changed"),
    cells=lambda one: (str(one.sector), one.before, one.after, " ".join(one.changed)),
)
