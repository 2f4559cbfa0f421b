"""What the manager answers instead of a result.

    rpc.errors.RpcError
    └── ManagerError              code 1: the text tells what is wrong; a worker tries again
        ├── SectorNotFound        code 11001: no such sector is being worked on; a worker gives its sector up
        ├── UnknownWorker         code 12001: no such worker
        ├── NotRegistered         code 12001: likewise, and with scope read no other address is asked
        ├── WorkerSilent          code 12002: a worker gave the manager no answer; it may have done the work
        ├── UnknownThread         code 12003: the worker has no such thread
        └── Unverifiable          code 1: the proof cannot be checked now; nothing is said about the proof

    StartError                    the manager cannot start; the text says why and what to do

Texts of the first group are the original's where it has one, because people's scripts look for them.
"""

from damocles.rpc import errors

_SHOWN = 100  # characters of what is no worker's name


class ManagerError(errors.RpcError):
    """A call cannot be answered; the message says why and what to do."""

    def __init__(self, message: str, code: errors.Code = errors.Code.FAILED) -> None:
        super().__init__(code, message)


class SectorNotFound(ManagerError):
    """No such sector is being worked on."""

    def __init__(self) -> None:
        super().__init__("error code 11001: sector state not found", errors.Code.SECTOR_STATE_NOT_FOUND)


class UnknownWorker(ManagerError):
    """No worker has that name, and it is not an address."""

    def __init__(self, text: str, known: str, *, pattern: bool = False) -> None:
        shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
        what = f"no worker matches {shown!r}" if pattern else f"no worker is named {shown!r}, and it is not an address"
        super().__init__(f"{what}; known workers: {known}", errors.Code.UNKNOWN_WORKER)


class NotRegistered(ManagerError):
    """No worker has that name, and the caller may not have the manager call an address."""

    def __init__(self, text: str, known: str) -> None:
        super().__init__(
            f"no worker is registered as {text[:_SHOWN]!r}; known workers: {known}; calling an unregistered address"
            " requires scope operate",
            errors.Code.UNKNOWN_WORKER,
        )


class WorkerSilent(ManagerError):
    """A worker gave no answer."""

    def __init__(self, worker: str, reason: str) -> None:
        super().__init__(f"{worker}: {reason}", errors.Code.WORKER_SILENT)


class UnknownThread(ManagerError):
    """A worker has no such thread."""

    def __init__(self, text: str) -> None:
        super().__init__(text, errors.Code.UNKNOWN_THREAD)


class Unverifiable(ManagerError):
    """A proof cannot be checked at present; the message names what is missing and the command that brings it."""


class StartError(Exception):
    """The manager cannot start."""
