"""`damocles-worker config`: check a configuration file, show the values in force, examples, all keys."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from damocles.cli.terminal import exits, settings
from damocles.cli.threads import options
from damocles.text import redaction
from damocles.worker.config import environment, report
from damocles.worker.config import load as configuration

app = App(
    name="config",
    help="Check a configuration file, show the values in force, examples, and all keys.",
    version_flags=[],
)

VARIABLE = "DAMOCLES_WORKER_CONFIG"

Given = Annotated[Path | None, Parameter(help="The configuration file; the same as --config.")]
Config = Annotated[Path | None, Parameter(name=["--config", "-c"], env_var=VARIABLE, help="The configuration file.")]
Strict = Annotated[bool, Parameter(help="Treat unknown keys and other oddities as errors.")]
Original = Annotated[
    Path | None, Parameter(help="A configuration of the original's worker: list what differs here.", show_default=False)
]
Write = Annotated[
    Path | None, Parameter(help="With --from-damocles: write the file as this worker needs it.", show_default=False)
]
AsJson = Annotated[bool, Parameter(name="--json", help="Print JSON.")]


@app.command(
    help_epilogue=options.examples(
        "damocles-worker config check worker.toml",
        "damocles-worker config check --from-damocles original.toml --write worker.toml",
    )
)
def check(
    file: Given = None,
    /,
    *,
    config: Config = None,
    strict: Strict = False,
    from_damocles: Original = None,
    write: Write = None,
    json: AsJson = False,
) -> int:
    """Report everything that is wrong with a configuration file; exit code 1 if a worker could not use it.

    This also checks the threads' own files (`config.toml` in their sealing stores), and the settings of the proofs
    library (FIL_PROOFS_…) in this environment: run it in the worker's environment.
    """
    if from_damocles is not None:
        from damocles.cli.of_worker import adopt as worker_adopt

        if file is not None:
            raise exits.WrongUsage(f"which file, {file} or {from_damocles}? pass --from-damocles alone")
        return worker_adopt.check(from_damocles, write, as_json=json)
    if write is not None:
        raise exits.WrongUsage("--write needs --from-damocles")
    path = _chosen(file, config)
    errors: tuple[configuration.Problem, ...] = ()
    try:
        loaded = configuration.load(path, strict=strict)
        errors, warnings = _of_stores(loaded, strict=strict)
    except configuration.ConfigError as failure:
        errors, warnings = failure.errors, failure.warnings
    errors += tuple(report.Problem(file=path, message=text) for text in environment.of_worker())
    if json:
        exits.print_json(
            {
                "file": str(path),
                "ok": not errors,
                "errors": [problem.as_dict() for problem in errors],
                "warnings": [problem.as_dict() for problem in warnings],
            }
        )
        return exits.FAILED if errors else exits.OK
    _report(errors, warnings)
    if errors:
        _hint(path)
        return exits.FAILED
    print(f"{path}: ok")
    return exits.OK


@app.command(help_epilogue=options.examples("damocles-worker config show worker.toml --json"))
def show(file: Given = None, /, *, config: Config = None, strict: Strict = False, json: AsJson = False) -> int:
    """Show every value in force: the file's, the defaults, and each thread's own and hot ones.

    Tokens and passwords are masked.
    """
    loaded = load(_chosen(file, config), strict=strict)
    _report((), loaded.warnings)
    values = _effective(loaded)
    if json:
        exits.print_json(values)
    else:
        print("\n".join(report.toml_lines(values)).strip())
    return exits.OK


@app.command(help_epilogue=options.examples("damocles-worker config example", "damocles-worker config example prover"))
def example(
    role: Annotated[
        Literal["worker", "prover", "upgrader", "rebuilder"],
        Parameter(
            help="worker: seals; prover: window PoSts; upgrader: deals into proven sectors; rebuilder: lost files, pieces."
        ),
    ] = "worker",
    /,
    *,
    json: AsJson = False,
) -> int:
    """Print a configuration to begin with, for a role."""
    return settings.print_example(role, as_json=json)


@app.command(
    name="keys",
    help_epilogue=options.examples("damocles-worker config keys retries", "damocles-worker config keys worker.home"),
)
def keys_(pattern: settings.Pattern = "", /, *, full: options.Full = False, json: AsJson = False) -> int:
    """List every key that the file may have, with its default and meaning; of one key, all about it."""
    from damocles.worker.config import model

    return settings.print_keys(model.Config, pattern, full=full, as_json=json)


def _of_stores(
    loaded: configuration.Loaded, *, strict: bool
) -> tuple[tuple[configuration.Problem, ...], tuple[configuration.Problem, ...]]:
    """Return the errors and warnings of the threads' own files; the configuration's own warnings come first."""
    errors: list[configuration.Problem] = []
    warnings = list(loaded.warnings)
    for thread in loaded.config.sealing_thread:
        try:
            hot = configuration.load_hot(thread.location, strict=strict) if thread.location else None
            warnings += hot.warnings if hot else ()
        except configuration.ConfigError as failure:
            errors += failure.errors
            warnings += failure.warnings
    return tuple(errors), tuple(warnings)


def load(path: Path, *, strict: bool = False) -> configuration.Loaded:
    """Load a configuration for a command that needs it; errors go to stderr."""
    try:
        return configuration.load(path, strict=strict)
    except configuration.ConfigError as failure:
        *others, last = failure.errors
        _report(tuple(others), failure.warnings)
        _hint(path)
        raise exits.Failed(str(last)) from failure


def _chosen(file: Path | None, config: Path | None) -> Path:
    path = file or config
    if path is None:
        raise exits.WrongUsage(f"which file? pass it, or set {VARIABLE}")
    return path


def _report(errors: tuple[configuration.Problem, ...], warnings: tuple[configuration.Problem, ...]) -> None:
    for problem in warnings:
        exits.warning(str(problem))
    for problem in errors:
        exits.error(str(problem))


def _hint(path: Path) -> None:
    """Suggest what to do with a file that the original accepts."""
    from damocles.worker.config import adopt

    try:
        document = report.read(path)
    except configuration.ConfigError:
        return
    found = adopt.differences(document.data)
    if any(one.kind == "refused" and one.path in document.lines for one in found):
        exits.hint(f"a file of the original? damocles-worker config check --from-damocles {path} lists all differences")


def _effective(loaded: configuration.Loaded) -> dict[str, Any]:
    values: dict[str, Any] = loaded.config.model_dump(mode="json", exclude_none=True)
    values["sealing_thread"] = [_thread(loaded, index) for index in range(len(loaded.config.sealing_thread))]
    values["attached"] = [
        {"name": store.name, "location": str(store.path), "readonly": store.read_only}
        for store in loaded.persist_stores
    ]
    shown: dict[str, Any] = _shown(values, ())
    return shown


def _thread(loaded: configuration.Loaded, index: int) -> dict[str, Any]:
    location = loaded.config.sealing_thread[index].location
    try:
        hot = configuration.load_hot(location) if location else None
    except configuration.ConfigError as failure:
        _report(failure.errors, failure.warnings)
        hot = None
    thread = configuration.effective(loaded.config, index, hot)
    return {
        **({"location": str(location)} if location else {}),
        "plan": thread.plan,
        **({"hot_config": str(hot.file)} if hot else {}),
        "sealing": thread.sealing.model_dump(mode="json", exclude_none=True),
    }


def _shown(value: Any, path: report.KeyPath) -> Any:
    """Mask secrets and leave out tables without values."""
    if isinstance(value, Mapping):
        items = ((key, _shown(item, (*path, key))) for key, item in value.items())
        return {key: item for key, item in items if item != {}}
    if isinstance(value, list):
        return [_shown(item, (*path, index)) for index, item in enumerate(value)]
    if report.is_secret(path):
        return redaction.MASK
    return redaction.text(value) if isinstance(value, str) else value
