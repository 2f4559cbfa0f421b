"""`log-level` of both programs."""

from contextlib import AbstractContextManager
from typing import Annotated, Protocol, TypeVar

from cyclopts import Parameter

from damocles import methods
from damocles.cli.connecting import manager_at, worker_at
from damocles.cli.terminal import exits
from damocles.cli.threads import options
from damocles.methods.access import LogLevel

T = TypeVar("T")

Level = Annotated[LogLevel, Parameter(help="What is less is not logged; a daemon starts with info.")]


class _Calls(Protocol):
    """A daemon to call."""

    def call(self, ask: methods.Ask[T], /) -> T:
        """Make a call."""


def of_manager(level: Level, /, *, json: options.AsJson = False, at: manager_at.At = manager_at.USUAL) -> int:
    """Let the running manager log more or less, until it ends; the audit has who did it."""
    return _set(at.call(), level, as_json=json)


def of_worker(level: Level, /, *, json: options.AsJson = False, at: worker_at.At = worker_at.USUAL) -> int:
    """Let the running worker log more or less, until it ends; the audit has who did it."""
    return _set(at.call(), level, as_json=json)


def _set(connection: AbstractContextManager[_Calls], level: LogLevel, *, as_json: bool) -> int:
    with connection as daemon:
        before = daemon.call(methods.access.log_level(level))
    exits.print_result(f"{before} -> {level}", {"before": before, "level": level}, as_json=as_json)
    return exits.OK
