"""Calls of the command lines: to the manager, and dialogues with one worker. Failures become a line and an exit code."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from damocles import methods
from damocles.cli.terminal import exits
from damocles.operating import dialogues
from damocles.rpc import errors
from damocles.rpc.calling import sync

if TYPE_CHECKING:
    from damocles.cli.connecting import direct

T = TypeVar("T")

# The workers' part of the time-out. In the rest the manager assembles, and we read, the outcomes of ten thousand threads
# and the list of workers that hang.
WORKERS_PART = 0.7

Hint: TypeAlias = Callable[[sync.Client], str]


class Daemon(Protocol):
    """A manager or a worker to call."""

    def call(self, ask: methods.Ask[T], /) -> T:
        """Make a call."""


def _no_hint(_: sync.Client) -> str:
    return ""


class Manager:
    """A manager to call; made by `manager_at`.

    For a manager of the original, fleet commands call its workers directly.
    """

    def __init__(
        self,
        client: sync.Client,
        timeout_seconds: float,
        ca_file: Path | None = None,
        *,
        insecure: bool = False,
        hint: Hint = _no_hint,
    ) -> None:
        self._client = client
        self._ca_file = ca_file
        self._insecure = insecure
        self._hint = hint
        self._is_ours = True
        self.worker_seconds = timeout_seconds * WORKERS_PART

    @property
    def url(self) -> str:
        """Where it is."""
        return self._client.url

    def call(self, ask: methods.Ask[T]) -> T:
        """Make a call.

        Raises:
            common.Failed: With the exit code of what went wrong.
        """
        if not self._is_ours and ask.is_ours and (stand_in := self._direct().stand_ins().get(ask.method)):
            result: T = stand_in(*ask.params)
            return result
        try:
            return self._client.call(ask)
        except errors.RpcError as error:
            if error.code != errors.Code.METHOD_NOT_FOUND:
                hint = self._hint(self._client) if error.code == errors.Code.UNAUTHORIZED else ""
                raise failed(error.code, f"{error}{hint}") from error
            lacking = error
        except errors.CallError as error:
            raise exits.ManagerUnreachable(f"manager: {error}") from error
        if self._is_ours and ask.is_ours:
            self._is_ours = False
            return self.call(ask)
        hint = "; the original does if it was started with --worker-prover" if ".WdPoSt" in ask.method else ""
        raise exits.Failed(
            f"the manager at {self._client.url} is the original, or another release: it does not have {ask.method}{hint}"
        ) from lacking

    def _direct(self) -> "direct.Fleet":
        from damocles.cli.connecting import direct

        pings = self.call(methods.fleet.list_pings())
        return direct.Fleet(pings or (), url=self._client.url, ca_file=self._ca_file, insecure=self._insecure)


def failed(code: int | None, text: str) -> exits.Failed:
    """Return the error of a command line for a refusal, by its code; no code means no answer."""
    return _FAILURES.get(code, exits.Failed)(text)


_FAILURES: dict[int | None, type[exits.Failed]] = {
    errors.Code.UNAUTHORIZED: exits.NotAllowed,
    errors.Code.FORBIDDEN: exits.NotAllowed,
    errors.Code.UNKNOWN_THREAD: exits.NothingSelected,
    errors.Code.UNKNOWN_WORKER: exits.UnknownWorker,
    errors.Code.WORKER_SILENT: exits.WorkerUnreachable,
    None: exits.WorkerUnreachable,
}


@contextmanager
def manager_at(
    connection: AbstractContextManager[sync.Client],
    timeout_seconds: float,
    ca_file: Path | None = None,
    *,
    insecure: bool = False,
    hint: Hint = _no_hint,
) -> Iterator[Manager]:
    """Yield the manager behind a connection; workers get their part of `timeout_seconds` for each answer.

    `hint` returns why a refused call went without a token.
    """
    with connection as client:
        yield Manager(client, timeout_seconds, ca_file, insecure=insecure, hint=hint)


def hold(client: sync.Client, dialogue: dialogues.Dialogue[T]) -> T:
    """Hold a dialogue with one worker, call by call, within the client's time-out.

    Raises:
        exits.Failed: The worker did not list its threads.
        errors.RpcError: It knows nobody by our token, or got none: how to come by one knows whoever has connected.
    """
    deadline = time.monotonic() + client.timeout_seconds

    def answer(ask: methods.Ask[Any]) -> Any:
        left = max(0.0, deadline - time.monotonic())
        try:
            return client.call(ask, timeout_seconds=left)
        except errors.RpcError as refusal:
            if refusal.code == errors.Code.UNAUTHORIZED:
                raise
            return dialogues.Refused(refusal.message, refusal.code)
        except errors.CallError as failure:
            return dialogues.Refused(str(failure))

    try:
        asks = next(dialogue)
        while True:
            asks = dialogue.send([answer(ask) for ask in asks])
    except StopIteration as end:
        result: T = end.value
        return result
    except dialogues.Unanswered as error:
        raise failed(error.refused.code, str(error)) from error
