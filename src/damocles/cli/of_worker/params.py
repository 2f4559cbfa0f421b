"""`damocles-worker params`: check which proof parameters and parent caches are present and intact, fetch or generate them."""

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import App, Parameter

from damocles.cli.of_worker import settings
from damocles.cli.terminal import exits, tables, watching
from damocles.cli.threads import options
from damocles.parameters import catalog, inspection, preflight
from damocles.text import units
from damocles.wire import sectors

app = App(
    name="params",
    help=(
        f"List, check, fetch or generate proof parameters.\n\nThey are kept in ${catalog.CACHE_VARIABLE}, by default "
        f"{catalog.DEFAULT_CACHE}."
    ),
    version_flags=[],
)

Sizes = Annotated[
    list[str],
    Parameter(name="--sector-size", help="A sector size, like 32GiB; repeatable, or a list with commas."),
]
AnySizes = Annotated[list[str] | None, Parameter(name="--sector-size", help="A sector size, like 32GiB; default all.")]
Kinds = Annotated[
    list[str] | None,
    Parameter(name="--for", help="porep, wdpost, winning, update, srs (aggregation); default all but srs."),
]
AsJson = Annotated[bool, Parameter(name="--json", help="Print JSON.")]


@app.command(name="list", help_epilogue=options.examples("damocles-worker params list --sector-size 32GiB"))
@watching.watchable
def list_(
    *,
    sector_size: AnySizes = None,
    for_: Kinds = None,
    config: settings.Config = None,
    full: options.Full = False,
    json: AsJson = False,
) -> int:
    """List the files that sector sizes need, and which are present, without reading them.

    Exit code 1 if one is missing for a given size.
    """
    settings.adopt(config)
    sizes = sector_size or [size.label for size in sectors.SectorSize]
    code = _print(inspection.look(_sets(sizes, for_), catalog.folder()), config, full=full, as_json=json)
    return code if sector_size else exits.OK


@app.command
def check(
    *,
    sector_size: Sizes,
    for_: Kinds = None,
    config: settings.Config = None,
    full: options.Full = False,
    json: AsJson = False,
) -> int:
    """Read the files and compare their digests; exit code 1 if one is missing or damaged."""
    from damocles.cli.terminal import progress

    settings.adopt(config)
    sets, folder = _sets(sector_size, for_), catalog.folder()
    sizes = {report.name: report.size_bytes or 0 for report in inspection.look(sets, folder)}
    with progress.watcher() as watcher:
        begun: set[str] = set()

        def read(name: str, count: int) -> None:
            if name not in begun:
                begun.add(name)
                watcher.begin(name, "checking", sizes[name], 0)
            watcher.advance(name, count)

        reports = []
        for report in inspection.check(sets, folder, read):
            watcher.end(report.name)
            reports.append(report)
    return _print(reports, config, full=full, as_json=json)


@app.command(
    help_epilogue=options.examples(
        "damocles-worker params fetch --sector-size 32GiB -c worker.toml",
        "damocles-worker params fetch --sector-size 32GiB --for porep --mirror URL",
    )
)
def fetch(
    *,
    sector_size: Sizes,
    for_: Kinds = None,
    mirror: Annotated[
        list[str] | None,
        Parameter(help="Web folder or IPFS gateway (…/ipfs) to fetch from; repeatable, tried in order."),
    ] = None,
    config: settings.Config = None,
    tries: Annotated[int, Parameter(help="How many requests in a row may bring no byte, with pauses between.")] = 6,
    json: AsJson = False,
) -> int:
    """Fetch what is missing or damaged, and check it; an interrupted fetch resumes where it stopped.

    Without a mirror here or in $DAMOCLES_PARAMETER_MIRRORS, those of the configuration are used (parameters.mirrors).
    """
    from damocles.parameters import mirrors

    settings.adopt(config)
    sets, folder = _sets(sector_size, for_), catalog.folder()
    try:
        sources = mirrors.chosen(mirror or (), _configured(config))
    except (mirrors.NoMirror, ValueError) as error:
        raise exits.WrongUsage(str(error)) from error

    import functools

    import anyio

    from damocles.cli.terminal import progress
    from damocles.parameters import download

    manner = download.Manner(tries=max(1, tries))
    with progress.watcher() as watcher:
        failures = anyio.run(functools.partial(download.fetch, manner=manner), sets, folder, sources, watcher)
    return _finish(sets, folder, failures, as_json=json)


@app.command(help_epilogue=options.examples("damocles-worker params generate --sector-size 2KiB --for porep"))
def generate(
    *,
    sector_size: Sizes,
    for_: Kinds = None,
    adopt: Annotated[bool, Parameter(help="Mark existing files as generated on this machine.")] = False,
    config: settings.Config = None,
    json: AsJson = False,
) -> int:
    """Generate what is missing, for a test network: no real network accepts proofs made with it."""
    import functools

    import anyio

    from damocles.cli.terminal import progress
    from damocles.parameters import generation

    settings.adopt(config)
    sets, folder = _sets(sector_size, for_), catalog.folder()
    largest = max(sectors.SectorSize.parse(size) for size in _words(sector_size))
    if largest >= sectors.SectorSize.GIB32 and any(wanted.kind is catalog.Kind.SRS for wanted in sets):
        text = f"--for srs: sectors of {largest.label} are for real networks, which refuse generated parameters: fetch them"
        raise exits.WrongUsage(text)
    with progress.watcher(has_sizes=False) as watcher:
        watcher.say(generation.WARNING)
        failures = anyio.run(functools.partial(generation.generate, adopt=adopt), sets, folder, watcher)
    return _finish(sets, folder, failures, as_json=json)


@app.command
@watching.watchable
def parents(
    *,
    sector_size: AnySizes = None,
    verify: Annotated[
        bool,
        Parameter(help="Read each in full; one that is cut or damaged is removed, and the next PC1 makes it again."),
    ] = False,
    config: settings.Config = None,
    full: options.Full = False,
    json: AsJson = False,
) -> int:
    """List the parent caches, which PC1 makes and reads; exit code 1 if one is cut or damaged.

    A worker checks the length before each PC1. It reads a whole cache, 56 GiB for 32GiB sectors, only after it was killed
    while making one, or when C1 has refused a sector. Digests for synthetic and non-interactive proofs are not
    published, so only the length of those can be checked; in doubt a worker makes them again.
    """
    from damocles.cli.of_worker import parents as worker_parents

    settings.adopt(config)
    sizes = _sizes(sector_size) if sector_size else list(sectors.SectorSize)
    return worker_parents.report(sizes, verify=verify, full=full, as_json=json)


def _sizes(sizes: Iterable[str]) -> list[sectors.SectorSize]:
    try:
        return [sectors.SectorSize.parse(size) for size in _words(sizes)]
    except ValueError as error:
        raise exits.WrongUsage(f"--sector-size: {error}") from error


def _sets(sizes: Iterable[str], kinds: Iterable[str] | None) -> list[catalog.FileSet]:
    chosen_sizes = _sizes(sizes)
    try:
        chosen_kinds = [catalog.Kind(kind) for kind in _words(kinds or ())] or catalog.DEFAULT_KINDS
    except ValueError as error:
        raise exits.WrongUsage(f"--for: {error}; use {', '.join(catalog.Kind)}") from error
    return catalog.sets(chosen_sizes, chosen_kinds)


def _words(texts: Iterable[str]) -> list[str]:
    return [word for text in texts for word in text.replace(",", " ").split()]


def _configured(config: Path | None) -> tuple[str, ...]:
    if config is None:
        return ()
    from damocles.cli.of_worker import config as worker_config

    return worker_config.load(config).config.parameters.mirrors


def _finish(sets: list[catalog.FileSet], folder: Path, failures: list[str], *, as_json: bool) -> int:
    reports = inspection.look(sets, folder)
    if as_json:
        exits.print_json({"failures": failures, "files": [_as_dict(report) for report in reports]})
    for failure in failures:
        exits.error(failure)
    return exits.FAILED if failures else exits.OK


def _print(reports: list[inspection.Report], config: Path | None, *, full: bool, as_json: bool) -> int:
    usable = all(report.usable for report in reports)
    if as_json:
        exits.print_json({"ok": usable, "folder": str(catalog.folder()), "files": [_as_dict(r) for r in reports]})
        return exits.OK if usable else exits.FAILED
    tables.show(_TABLE, reports, full=full)
    for report in reports:
        if report.detail:
            exits.error(f"{report.path}: {report.detail}")
    counts = Counter(report.status for report in reports)
    summary = ", ".join(f"{count} {status}" for status, count in counts.items())
    exits.hint(f"{catalog.folder()}: {summary}")
    for line in _remedies(reports, config):
        exits.hint(line)
    if counts[inspection.Status.GENERATED]:
        exits.hint("generated: on this machine, for test networks only")
    return exits.OK if usable else exits.FAILED


def _remedies(reports: Sequence[inspection.Report], config: Path | None) -> Iterator[str]:
    """Yield how to get what is missing of the sizes that were asked for, into the same folder: all sizes at once are nobody's."""
    sizes = {report.sector_size for report in reports if report.sector_size}
    kinds = list(dict.fromkeys(report.kind for report in reports if report.status is inspection.Status.MISSING))
    if len(sizes) == 1 and kinds:
        of = "" if config is None else f" --config {shlex.quote(str(config))}"
        yield f"fetch: {preflight.remedies(sectors.SectorSize(*sizes), kinds)[0]}{of}"


def _row(report: inspection.Report) -> tuple[str, ...]:
    size = sectors.SectorSize(report.sector_size).label if report.sector_size else "all"
    occupied = "-" if report.size_bytes is None else units.human_size(report.size_bytes)
    return size, report.kind, report.status, occupied, report.name


def _as_dict(report: inspection.Report) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(report)
    return fields


_TABLE = tables.Table(columns=("Size", "For", "Status", "Bytes", "File"), cells=_row)
