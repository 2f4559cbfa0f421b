"""`damocles-manager doctor`: look at a manager's machine, its chain nodes and its workers, whether it runs or not."""

import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated

import anyio

from damocles import logs, methods
from damocles.cli.connecting import manager_at
from damocles.cli.doctor import findings, reading, rules
from damocles.cli.doctor.findings import Finding, look, ok, wrong
from damocles.cli.of_manager import starting
from damocles.cli.terminal import exits
from damocles.cli.threads import options
from damocles.manager import daemon
from damocles.manager import home as homes
from damocles.manager.alerts import config as alerts_config
from damocles.manager.chain import opening
from damocles.manager.config import load, model
from damocles.manager.db import schema
from damocles.manager.serving import auth
from damocles.rpc import address
from damocles.rpc.admission import tokens
from damocles.stages.admission import machine
from damocles.stores import holding, identity
from damocles.text import units
from damocles.wire import alerts, control

Config = Annotated[
    Path | None,
    options.Flag(
        name=["--config", "-c"],
        help="The manager's configuration; default: that of its last start, or manager.toml in the home.",
    ),
]
_LEAST_FREE_BYTES = 1 << 30  # on the database's disk
_TOLD = 5


def doctor(*, config: Config = None, json: options.AsJson = False, at: manager_at.At = manager_at.USUAL) -> int:
    """Look at this machine as the manager needs it, at its nodes and workers, and report what is wrong and what to do.

    Exit code 1 if something is wrong. The manager may run or not; nothing is changed, and nothing is sent to the chain.
    """
    with logs.silent():
        return findings.show(_examine(config, at), as_json=json)


def _examine(config: Path | None, at: manager_at.At) -> Iterator[Finding]:
    home = at.home.expanduser().absolute()
    owner = holding.owner(home / homes.LOCK_NAME)
    chain, problems = _configuration(config, home)
    yield from problems
    said = chain.daemon if chain is not None else model.Daemon()
    yield from _home(home)
    yield from _limits(owner)
    yield from _alerts(said, home)
    yield from _certificates(said)
    if chain is not None:
        yield from _secrets_of_nodes(chain)
        yield from _stores(chain, home)
        yield from _nodes(chain)
    if owner is None:
        where = address.host_port(said.listen, address.MANAGER_PORT)
        yield ok("daemon", "does not run: what was said of limits is as this shell has them")
        yield rules.port("calls", str(where), reading.port(where))
    else:
        yield from _daemon(owner, at)


def _configuration(config: Path | None, home: Path) -> tuple[model.Config | None, Sequence[Finding]]:
    file = (config or manager_at.configuration(home)).expanduser()
    if config is None and not file.exists():
        return None, [
            ok("configuration", f"{file} is not there: this is for `mock`, whose chain is a devnode of its own")
        ]
    chain = None
    try:
        chain = load.load(file)
        starting.settings(chain, chain.daemon, home)
    except (ValueError, load.ConfigError, alerts_config.ConfigError) as error:
        return chain, [wrong("configuration", line) for line in str(error).splitlines()]
    return chain, [ok("configuration", f"{file} can be used")]


def _home(home: Path) -> Iterator[Finding]:
    """Judge the folder of the database: who can read it, whether there is room, and whose schema it has."""
    if not home.is_dir():
        yield look("home", f"{home} is not there: damocles-manager init makes it, and the first start does")
        return
    file = home / daemon.DATABASE_NAME
    yield from findings.otherwise(
        rules.secrets([home, home / tokens.FILE_NAME, home / auth.WORKER_FILE_NAME, file]),
        lambda: ok("secrets", f"nobody else can read what is in {home}"),
    )
    free = machine.space("home", home).free_bytes
    if free is not None and free < _LEAST_FREE_BYTES:
        told = f"the disk of {home} has {units.human_size(free)} free; a manager that cannot write gives no work"
        yield wrong("room", f"{told}: free some")
    if not file.exists():
        return
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as database:
            ((version,),) = database.execute("SELECT version FROM schema_version").fetchall()
    except (sqlite3.Error, ValueError) as error:
        yield wrong("database", f"{file}: {error}; restore it, or choose another --home")
        return
    problem = schema.too_new(version)
    yield wrong("database", f"{file}: {problem}") if problem else ok("database", f"{file} has schema {version}")


def _limits(owner: str | None) -> Iterator[Finding]:
    pid = reading.pid_in(owner)
    yield rules.open_files(reading.limits(pid)["open files"], 0, "this shell" if pid is None else "the daemon")


def _alerts(said: model.Daemon, home: Path) -> Iterator[Finding]:
    try:
        found = starting.alerts_of(said.alerts, home)
    except alerts_config.ConfigError as error:
        yield from (wrong("alerts", line) for line in str(error).splitlines())
        return
    if found.file is not None and found.has_secrets:
        yield from rules.secrets([found.file])
    count = len(found.webhooks) + len(found.apprise)
    if count:
        yield ok("alerts", f"{units.counted(count, 'receiver')}: damocles-manager alerts test sends a message")
    else:
        file = found.file or home / alerts_config.FILE_NAME
        yield look("alerts", f"nobody is told of them: add a [[webhook]] or [[apprise]] to {file}")


def _certificates(said: model.Daemon) -> Iterator[Finding]:
    now = time.time()
    if said.tls_cert is not None:
        yield from reading.certificate(said.tls_cert, now, rules.RENEW)
    if said.ca_file is not None:
        yield from reading.certificate(said.ca_file, now, rules.NEW_AUTHORITY)
    if said.tls_key is not None:
        yield from rules.secrets([said.tls_key])


def _secrets_of_nodes(chain: model.Config) -> Iterator[Finding]:
    yield from rules.secrets(node.token_file for node in chain.chain.nodes if node.token_file is not None)


def _stores(chain: model.Config, home: Path) -> Iterator[Finding]:
    memory = identity.Memory(home)
    try:
        found = starting.stores(chain)
    except ValueError as error:
        yield from (wrong("stores", line) for line in str(error).splitlines())
        return
    lines: list[Finding] = []
    for path in found.values():
        try:
            memory.check(path)
        except identity.NotTheStore as error:
            lines.append(wrong("stores", str(error)))
    yield from findings.otherwise(lines, lambda: ok("stores", f"{units.counted(len(found), 'persist store')} found"))


def _nodes(chain: model.Config) -> Iterator[Finding]:
    found = anyio.run(opening.examine, chain)
    yield from (wrong("chain", line) for line in found.problems)
    for url in found.nodes:
        yield ok("chain", f"{url} is in step, and takes our token")
    for sender, balance in found.balances.items():
        if balance:
            yield ok("senders", f"{sender} has {balance}")


def _daemon(owner: str, at: manager_at.At) -> Iterator[Finding]:
    """Ask the daemon for its workers and its alerts."""
    try:
        with at.call() as found:
            workers = found.call(methods.fleet.workers())
            board = found.call(methods.alerts.board())
    except exits.Failed as error:
        yield wrong("daemon", f"runs ({owner}) and gives no answer: {error}")
        return
    yield ok("daemon", f"runs ({owner})")
    yield from _workers(workers)
    yield from rules.versions({worker.info.name: worker.info.version for worker in workers})
    yield from _firing(board)


def _workers(workers: Sequence[control.WorkerStatus]) -> Iterator[Finding]:
    for worker in workers:
        if worker.status != "live":
            ago = units.brief_duration(int(worker.age_seconds))
            told = f"{worker.info.name} is {worker.status}, its last ping is {ago} old: look at its machine"
            yield wrong("workers", f"{told}, or forget it (damocles-manager util worker remove)")
    counts = Counter(worker.status for worker in workers)
    yield ok("workers", f"{counts['live']} of {len(workers)} are live")


def _firing(board: alerts.Board) -> Iterator[Finding]:
    rules_firing = Counter(alert.rule for alert in board.alerts if alert.state == alerts.FIRING)
    told = ", ".join(f"{count} {rule}" for rule, count in rules_firing.most_common(_TOLD))
    if told:
        yield look("alerts", f"{told}: damocles-manager alerts list")
