"""What can go wrong with a call, and with listening.

    CallError              the call gave no result
    ├── RpcError           the peer understood and refused: check `code`, do not repeat unchanged
    │   ├── ProtocolError  …because the request itself is wrong, or its handler crashed
    │   └── DiskFails      …because its own disk is full or fails: repeat after a pause, for as long as it takes
    │       └── DatabaseAway   …or the database that it keeps its state in does not answer: likewise
    ├── Unreachable        nothing was sent: repeat after a pause; the peer is down or the address is wrong
    │   ├── Untrusted      …or its certificate is not accepted: report it to a person
    │   └── Unknowing      …or it does not know our token, which it therefore did not get: report it to a person
    ├── Disconnected       the connection broke: the peer may have done the work; repeat what is idempotent
    ├── TimedOut           no answer in time: as Disconnected
    └── BadAnswer          what came back is no answer to this call: wrong address, or another version; report it to a person

    ListenError            a server cannot start: report it to a person, and end

A handler raises `RpcError`; the other classes are made by the clients.
"""

import enum
import errno
import os
from typing import Any


class Code(enum.IntEnum):
    """Error codes on the wire: those of JSON-RPC 2.0, and those of go-jsonrpc and the manager."""

    PANIC = 0
    """The manager's handler crashed."""
    FAILED = 1
    """Any failure of a manager's method that has no code of its own."""
    UNAUTHORIZED = 401
    """Of go-jsonrpc: no token, or one that is no longer valid."""
    FORBIDDEN = 403
    """Ours: the token has another scope."""
    SECTOR_STATE_NOT_FOUND = 11001
    """The manager has no record of the sector."""
    STALE_ATTEMPT = 11409
    """Ours: another worker has taken the sector since."""
    UNKNOWN_WORKER = 12001
    """Ours: the manager knows no such worker."""
    WORKER_SILENT = 12002
    """Ours: the manager got no answer from the worker."""
    UNKNOWN_THREAD = 12003
    """Ours: the worker has no thread with that index."""
    DISK_FAILS = 12004
    """Ours, of both daemons: what is to be kept cannot be kept now; nothing was done."""
    PARSE = -32700
    """No JSON; of the manager also parameters of the wrong type."""
    INVALID_REQUEST = -32600
    """No JSON-RPC."""
    METHOD_NOT_FOUND = -32601
    """There is no such method."""
    INVALID_PARAMS = -32602
    """Parameters are of the wrong type, or too many or too few."""
    INTERNAL = -32603
    """The worker's handler crashed."""
    OVERLOADED = -32000
    """Too many calls at once on one connection."""


class CallError(Exception):
    """A call gave no result; `bare` is the message without anything that the peer has sent."""

    @property
    def bare(self) -> str:
        """The message for those who may not read what the peer sends."""
        return str(self)


class RpcError(CallError):
    """The peer answered with an error; `str()` is its message."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = int(code)
        self.message = message
        self.data = data

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.code}, {self.message!r})"


class ProtocolError(RpcError):
    """A request that no handler can answer: not JSON-RPC, unknown method, wrong parameters; or a crashed handler."""


class DiskFails(RpcError):
    """The daemon cannot keep anything now; `where` names the file, and the message what to do. Nothing was done."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(
            Code.DISK_FAILS,
            f"{where}: {reason}; fix that (space, mount, disk) and it goes on; nothing was changed or lost",
        )
        self.where = where
        self.reason = reason


class DatabaseAway(DiskFails):
    """The daemon's database does not answer. What was under way may have been done: repeat it."""

    def __init__(self, where: str, reason: str) -> None:
        RpcError.__init__(
            self, Code.DISK_FAILS, f"the database {where} does not answer: {reason}; all goes on as soon as it does"
        )
        self.where = where
        self.reason = reason


# What the system says of a disk, and not of what was asked of it.
_OF_DISKS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ESTALE, errno.ENODEV, errno.ENXIO})


def disk_fails(error: OSError, where: str) -> DiskFails | None:
    """Return the refusal for a system error about a disk, `None` for any other."""
    if error.errno not in _OF_DISKS:
        return None
    return DiskFails(str(error.filename or where), os.strerror(error.errno))


class Unreachable(CallError):
    """No connection to the peer; nothing was sent, unless it has `said` that it is too busy."""

    def __init__(self, url: str, reason: str, said: str = "") -> None:
        super().__init__(_unreachable(url, f"{reason}{said}"))
        self.url = url
        self.reason = reason

    @property
    def bare(self) -> str:
        """The message without the peer's text."""
        return _unreachable(self.url, self.reason)


def _unreachable(url: str, reason: str) -> str:
    return f"{url} cannot be reached: {reason}; is it running, and is the address right?"


class Untrusted(Unreachable):
    """The peer's certificate is not accepted; nothing was sent."""

    def __init__(self, url: str, reason: str) -> None:
        CallError.__init__(self, f"{url}: its certificate is not accepted: {reason}")
        self.url = url
        self.reason = reason

    @property
    def bare(self) -> str:
        """The message, which has nothing of the peer's."""
        return str(self)


class Unknowing(Unreachable):
    """The peer did not show that it knows our token; neither that nor a call was sent."""

    def __init__(self, url: str, reason: str) -> None:
        CallError.__init__(self, f"{url} gets no token: {reason}; is it the right daemon, and the right token?")
        self.url = url
        self.reason = reason


def unreachable(url: str, exc: BaseException) -> Unreachable:
    """Return why no connection came about, from what a library raised."""
    at: BaseException | None = exc
    while at is not None:
        said = getattr(at, "verify_message", None)  # of ssl.SSLCertVerificationError, whose import takes time
        if isinstance(said, str):
            help_text = (
                "name the host in its certificate as it is named here"
                if "mismatch" in said
                else "give the file of the authority that signed it (--ca-file, or sector_manager.ca_file of a worker)"
            )
            return Untrusted(url, f"{said.rstrip('.')}; {help_text}")
        at = at.__cause__ or at.__context__
    return Unreachable(url, reason_of(exc))


class Disconnected(CallError):
    """The connection broke before the answer came; the peer may have done the work."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url} closed the connection before it answered: {reason}; the call may have had its effect")
        self.url = url
        self.reason = reason


class TimedOut(CallError):
    """No answer in time; the peer may have done the work, or do it still."""

    def __init__(self, url: str, timeout_seconds: float) -> None:
        super().__init__(
            f"{url} did not answer within {round(timeout_seconds, 1):g} s; the call may still have its effect"
        )
        self.url = url
        self.timeout_seconds = timeout_seconds


class BadAnswer(CallError):
    """What came back is no answer to this call; `said` is the beginning of it, `status` that of HTTP if there is one."""

    def __init__(self, url: str, reason: str, said: str = "", status: int | None = None) -> None:
        super().__init__(_bad_answer(url, f"{reason}{said}"))
        self.url = url
        self.reason = reason
        self.said = said
        self.status = status

    @property
    def bare(self) -> str:
        """The message without the peer's text."""
        return _bad_answer(self.url, self.reason)


def _bad_answer(url: str, reason: str) -> str:
    return f"{url} gave no valid JSON-RPC answer: {reason}; is this the right address and version?"


class ListenError(Exception):
    """A server cannot listen at its address."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place} {reason}")
        self.place = place
        self.reason = reason


def reason_of(exc: BaseException) -> str:
    """Return the operating system's error, however deep a library has buried it, or the exception's own text."""
    at: BaseException | None = exc
    while at is not None:
        if isinstance(at, OSError) and at.strerror:
            # asyncio replaces the text of a failed connect; TLS and name resolution have numbers of their own.
            return os.strerror(at.errno) if at.errno and type(at).__module__ == "builtins" else at.strerror
        at = at.__cause__ or at.__context__
    return str(exc) or type(exc).__name__
