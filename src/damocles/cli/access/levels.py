"""`log-level` of both programs."""

from contextlib import AbstractContextManager
from typing import Annotated

from cyclopts import Parameter

from damocles import methods
from damocles.cli.connecting import calls, manager_at, worker_at
from damocles.cli.terminal import exits
from damocles.cli.threads import options
from damocles.methods.access import LogLevel

Level = Annotated[LogLevel, Parameter(help="What is less is not logged; a daemon starts with info.")]


def of_manager(level: Level, /, *, json: options.AsJson = False, at: manager_at.At = manager_at.USUAL) -> int:
    """Let the running manager log more or less, until it ends; the audit has who did it."""
    return _set(at.call(), level, as_json=json)


def of_worker(level: Level, /, *, json: options.AsJson = False, at: worker_at.At = worker_at.USUAL) -> int:
    """Let the running worker log more or less, until it ends; the audit has who did it."""
    return _set(at.call(), level, as_json=json)


def _set(connection: AbstractContextManager[calls.Daemon], level: LogLevel, *, as_json: bool) -> int:
    with connection as daemon:
        before = daemon.call(methods.access.log_level(level))
    exits.print_result(f"{before} -> {level}", {"before": before, "level": level}, as_json=as_json)
    return exits.OK
