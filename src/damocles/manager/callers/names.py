"""Whose name a worker may use: in a ping, a claim, a report, or when it asks for a window PoSt.

A token of scope worker may be for one worker, and then speaks for that one alone. A token that is not is shared, and
speaks for every worker without a token of its own; and so do programs that are let in by address.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import structlog

from damocles.methods import rules
from damocles.rpc import core, errors
from damocles.wire import fleet, seal, wdpost

log = structlog.get_logger(__name__)

_REFUSALS_REMEMBERED = 1000


class Names:
    """Knows which workers have tokens of their own."""

    def __init__(self, has_own: Callable[[str], bool] = lambda _: False) -> None:
        self.has_own = has_own
        self._refused: set[tuple[str, str, str]] = set()

    def speaks_for(self, call: core.Call, worker: str) -> bool:
        """Return whether the caller may use a worker's name. A caller with more scopes than `worker` may use any."""
        if call.worker is not None:
            return call.worker == worker
        return rules.Scope.WORKER not in call.scopes or not self.has_own(worker)

    def check(self, call: core.Call, method: core.Method, arguments: Sequence[Any]) -> None:
        """Return if the caller may use the names in a call.

        Raises:
            errors.RpcError: Code 403: one of them is another's.
        """
        for name in _names(method, arguments):
            if not self.speaks_for(call, name):
                self._log(call, method.name, name)
                raise errors.RpcError(errors.Code.FORBIDDEN, _refusal(call, name))

    def _log(self, call: core.Call, method: str, name: str) -> None:
        """Log a refusal once: a worker with the wrong token asks again and again."""
        if (key := (call.caller, method, name)) not in self._refused:
            if len(self._refused) >= _REFUSALS_REMEMBERED:
                self._refused.clear()
            self._refused.add(key)
            log.warning("name refused", method=method, worker=name, by=call.who, peer=call.peer)


def _names(method: core.Method, arguments: Sequence[Any]) -> Iterator[str]:
    """Yield the names of workers in a call that workers make."""
    for parameter, value in zip(method.parameters, arguments, strict=False):
        match value:
            case str() if parameter == "worker":
                yield value
            case fleet.WorkerInfo(name=name) | seal.ReportStateReq(worker=seal.WorkerIdentifier(instance=name)):
                yield name
            case wdpost.Output(worker=name) if name:
                yield name


def _refusal(call: core.Call, name: str) -> str:
    shown = name[: fleet.MOST_CHARACTERS]
    if call.worker is not None:
        return (
            f"the token {call.who!r} is for the worker {call.worker!r}, not for {shown!r}: each worker has its own"
            " (damocles-manager auth create NAME --scope worker --worker NAME)"
        )
    return (
        f"the worker {shown!r} has a token of its own, and {call.who!r} is not that:"
        " copy it to the worker (sector_manager.token_file)"
    )
