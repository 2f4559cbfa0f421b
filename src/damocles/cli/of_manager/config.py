"""`damocles-manager config`: check the manager's configuration, take over one of the original's; an example, all keys."""

from collections import Counter
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from damocles.cli.connecting import manager_at
from damocles.cli.terminal import exits, settings
from damocles.cli.threads import options
from damocles.manager.config import adopt, load
from damocles.text import redaction, toml
from damocles.worker.config import report

_PATIENCE_SECONDS = 60.0  # more than `--timeout`: a reload asks nodes, and takes effect though nobody waits for it

app = App(
    name="config",
    help="Check the manager's configuration, let it be read again, print an example, and all keys.",
    version_flags=[],
)

_WORDS = {
    "refused": "not here",
    "differs": "has another meaning",
    "needed": "needed",
    "ignored": "left out, nothing is lost",
}

Given = Annotated[Path | None, Parameter(help="The file; default: `manager.toml` in the home.")]
Original = Annotated[
    Path | None,
    Parameter(
        name="--from-damocles",
        help="A configuration of the original's manager (sector-manager.cfg): list what differs here.",
        show_default=False,
    ),
]
Write = Annotated[
    Path | None, Parameter(help="With --from-damocles: write the file as this manager needs it.", show_default=False)
]
Alerts = Annotated[bool, options.Flag(name="--alerts", help="Those of the alerts' file.")]


@app.command(
    help_epilogue=options.examples(
        "damocles-manager config check manager.toml",
        "damocles-manager config check --from-damocles sector-manager.cfg",
    )
)
def check(
    file: Given = None,
    /,
    *,
    home: manager_at.Home = manager_at.DEFAULT_HOME,
    from_damocles: Original = None,
    write: Write = None,
    json: options.AsJson = False,
) -> int:
    """Report everything that is wrong with a configuration file; exit code 1 if a manager could not use it.

    The alerts' file, `[Daemon]` and the folders of the persist stores are checked, too. This asks no node: `daemon` checks miners, keys and money when it starts.
    """
    if from_damocles is not None:
        if file is not None:
            raise exits.WrongUsage(f"which file, {file} or {from_damocles}? pass --from-damocles alone")
        return _from_damocles(from_damocles, write, as_json=json)
    if write is not None:
        raise exits.WrongUsage("--write needs --from-damocles")
    from damocles.cli.of_manager import starting
    from damocles.manager.alerts import config as alerts_config

    path = file or home.expanduser() / load.FILE_NAME
    problems: list[str] = []
    try:
        chain = load.load(path)
    except (ValueError, load.ConfigError) as error:
        problems = str(error).splitlines()
    else:
        for part in (
            lambda: starting.settings(chain, chain.daemon, home.expanduser().absolute()),
            lambda: starting.stores(chain),
        ):
            try:
                part()
            except (ValueError, alerts_config.ConfigError) as error:
                problems += str(error).splitlines()
    if json:
        exits.print_json({"file": str(path), "ok": not problems, "errors": problems})
        return exits.FAILED if problems else exits.OK
    for problem in problems:
        exits.error(problem)
    if not problems:
        exits.print_line(f"{path}: ok")
    return exits.FAILED if problems else exits.OK


@app.command(
    help_epilogue=options.examples("damocles-manager config reload --dry-run", "damocles-manager config reload")
)
def reload(
    *,
    dry_run: options.DryRun = False,
    reason: options.Reason = "",
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Let the running manager read its configuration again: miners that are new, changed or removed need no restart.

    All of it takes effect, or nothing, if something is wrong. The answer names keys that take a restart. SIGHUP does the same.
    """
    from damocles import methods
    from damocles.wire import codec, control

    with at.call(_PATIENCE_SECONDS) as daemon:
        told = daemon.call(methods.util.reload_config(control.ReloadRequest(dry_run=dry_run, reason=reason)))
    lines = [f"{told.file}: {'would be read again' if dry_run else 'read again'}"]
    lines += [f"added: f0{miner}" for miner in told.added]
    lines += [f"changed: f0{one.miner}: {', '.join(one.keys)}" for one in told.changed]
    lines += [f"removed: f0{miner}" for miner in told.removed]
    lines += [f"takes a restart: {', '.join(told.needs_restart)}"] if told.needs_restart else []
    if len(lines) == 1:
        lines.append("nothing is different")
    exits.print_result("\n".join(lines), codec.to_builtins(told), as_json=json)
    return exits.OK


@app.command(help_epilogue=options.examples("damocles-manager config example"))
def example(*, json: options.AsJson = False) -> int:
    """Print a configuration to begin with."""
    return settings.print_example("manager", as_json=json)


@app.command(
    name="keys",
    help_epilogue=options.examples("damocles-manager config keys fee", "damocles-manager config keys Chain.Network"),
)
def keys_(
    pattern: settings.Pattern = "",
    /,
    *,
    alerts: Alerts = False,
    full: options.Full = False,
    json: options.AsJson = False,
) -> int:
    """List every key that the file may have, with its default and meaning; of one key, all about it."""
    from damocles.manager.alerts import config as alerts_config
    from damocles.manager.config import model

    whole = alerts_config.File if alerts else model.Config
    return settings.print_keys(whole, pattern, full=full, as_json=json, note=adopt.note_of)


def _from_damocles(path: Path, write: Path | None, *, as_json: bool) -> int:
    try:
        adopted = adopt.adopt(toml.parse(toml.read(path)))
    except toml.Unusable as error:
        raise exits.Failed(f"{path}{f':{error.line}' if error.line else ''}: {error}") from error
    notes, problems = adopted.notes, adopted.problems
    if write is not None:
        _write(adopted, write, path)
    if as_json:
        made = [{"key": one.key, "kind": one.kind, "text": one.text} for one in notes]
        exits.print_json({"file": str(path), "differences": made, "problems": list(problems)})
    else:
        for kind, words in _WORDS.items():
            for one in (one for one in notes if one.kind == kind):
                exits.print_line(f"{words}: {one.key}: {redaction.text(one.text)}")
        count = Counter[str](one.kind for one in notes)
        print(f"{len(notes)} differences: " + ", ".join(f"{count[kind]} {words}" for kind, words in _WORDS.items()))
        for problem in problems:
            exits.error(problem)
        if write is not None:
            exits.print_line(f"written: {write}; put a token of the node into {adopt.TOKEN_FILE} (mode 0600)")
    return exits.FAILED if problems else exits.OK


def _write(adopted: adopt.Adopted, out: Path, of: Path) -> None:
    if out.exists():
        raise exits.Failed(f"{out} exists: choose another file, or remove it")
    lines = [f"# Made of {of.name} by `damocles-manager config check --from-damocles`. What is different:"]
    lines += [f"# - {one.key}: {redaction.text(one.text)}" for one in adopted.notes]
    lines += ["", *report.toml_lines(adopted.tables)]
    with exits.written(out) as file:
        file.write(("\n".join(lines).strip() + "\n").encode())
