"""Write down every change that somebody asks for: who, from where, what, why, and what came of it.

An `Audit` is a layer of a service, and knows from `access.RULES` which methods change
something, so that no handler can forget it. One change makes one entry. It is written before the change begins, and
completed when it has ended and before its answer leaves: a process that is killed in between leaves an entry of which
nobody knows the outcome, and no change without an entry.

A change whose entry cannot be written does not happen. But nobody may be kept from pausing a thread because a disk is
full: such an entry is in the log at once, and written as soon as the disk takes it.

Not written down: dry runs, and what workers do to their sectors, which is in the sectors' own history.
"""

import contextlib
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import anyio
import structlog

from damocles import methods
from damocles.methods import rules
from damocles.rpc import core, errors
from damocles.rpc.admission import access, audit_rows
from damocles.text import redaction
from damocles.wire import codec, control
from damocles.wire.sectors import SectorID

log = structlog.get_logger(__name__)

REASON_CHARACTERS = 1000
NAME_CHARACTERS = 100
MOST_SECTORS = 10_000
MOST_OWED = 1000  # entries that wait for the disk: with more, nothing is done any more
RETRY_SECONDS = 10.0

_NULL = b"null"
_BAD_STATUS = 400
_SECTOR = re.compile(rb's-t0\d{1,20}-\d{1,20}|"Miner":\s*(\d{1,20}),\s*"Number":\s*(\d{1,20})')

# Returns what the thing that these arguments name looks like now, as JSON can hold it.
Observe = Callable[[Sequence[Any]], Awaitable[Any]]


class Ledger(Protocol):
    """Where entries are kept permanently."""

    async def begin(self, entry: control.AuditEntry) -> Any:
        """Keep one more, whose `id` is given by the ledger; return by what `end` will know it.

        Raises:
            errors.DiskFails, OSError: It cannot be kept.
        """

    async def end(self, key: Any, end: control.AuditEnd) -> None:
        """Keep what has become of it.

        Raises:
            errors.DiskFails, OSError: It cannot be kept.
        """


class Audit:
    """The audit of one service; `observers` by wire method."""

    def __init__(
        self, ledger: Ledger, *, observers: Mapping[str, Observe] | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._ledger = ledger
        self._observers = observers or {}
        self._clock = clock
        self._owed: deque[Callable[[], Awaitable[Any]]] = deque()
        self._owing = anyio.Event()
        self._paying = anyio.Lock()

    async def handle(self, handling: core.Handling, proceed: core.Proceed) -> core.Outcome:
        """Stand around a call."""
        async with self.change(handling.call, handling.method, handling.arguments, handling.params) as tell:
            outcome = await proceed(handling)
            tell(outcome.json)
        return outcome

    @contextlib.asynccontextmanager
    async def change(
        self, call: core.Call, method: core.Method, arguments: Sequence[Any], params: bytes
    ) -> AsyncIterator[Callable[[bytes], None]]:
        """Make the entry of the call in this block, if it is to have one; yield what takes the result.

        Raises:
            errors.DiskFails: The entry cannot be written, and nothing was done.
        """
        rule = access.rule_of(method.name)
        if rule is None or not _concerns(rule, call, arguments):
            yield _ignore
            return
        at, before = self._clock(), await self._observe(method.name, arguments)
        entry = control.AuditEntry(
            at=at,
            who=_who(call, method, arguments),
            address=call.peer,
            what=method.name,
            names=list(method.parameters[: len(arguments)]),
            params=_params(method.parameters, params),
            reason=redaction.text(_reason(method, arguments))[:REASON_CHARACTERS],
            sectors=_sectors((params, before)),
            before=audit_rows.kept(before),
            ok=False,
            ended=False,
        )
        key = await self._begin(entry, stops_work=_stops_work(method, arguments))
        ok, outcome = False, b'"cancelled"'

        def tell(result: bytes) -> None:
            nonlocal ok, outcome
            ok, outcome = True, _NULL if rule.secret else result

        try:
            yield tell
        except errors.RpcError as error:
            outcome = codec.encode(codec.plain(error.message))
            raise
        except Exception as error:
            outcome = codec.encode(codec.plain(f"{type(error).__name__}: {error}"))
            raise
        finally:
            with anyio.CancelScope(shield=True):
                after = await self._observe(method.name, arguments)
                states = _described(method.name, outcome) if ok else None
                before, after = states or (_NULL, after)
                end = control.AuditEnd(
                    ok=ok,
                    outcome=audit_rows.kept(outcome),
                    before=audit_rows.kept(before),
                    after=audit_rows.kept(after),
                    sectors=_sectors((before, after, outcome)),
                )
                await self._end(entry, key, end)

    @contextlib.asynccontextmanager
    async def request(self, call: core.Call, name: str, path: str) -> AsyncIterator[Callable[[int, bytes], None]]:
        """Make the entry of a request of HTTP for what the rule `name` is about; yield what takes status and body.

        Raises:
            errors.DiskFails: The entry cannot be written, and nothing was done.
        """
        entry = control.AuditEntry(
            at=self._clock(),
            who=call.who,
            address=call.peer,
            what=name,
            names=["path"],
            params=[redaction.text(codec.plain(path))[: audit_rows.FIELD_BYTES]],
            ok=False,
            ended=False,
        )
        key = await self._begin(entry, stops_work=False)
        ok, outcome = False, "cancelled"

        def tell(status: int, body: bytes) -> None:
            nonlocal ok, outcome
            ok, outcome = status < _BAD_STATUS, f"{status} {body.decode(errors='replace')}".strip()

        try:
            yield tell
        except Exception as error:
            outcome = f"{type(error).__name__}: {error}"
            raise
        finally:
            with anyio.CancelScope(shield=True):
                end = control.AuditEnd(ok=ok, outcome=audit_rows.kept(codec.encode(codec.plain(outcome))))
                await self._end(entry, key, end)

    async def run(self) -> None:
        """Write what a disk has not taken, once it takes it again; for ever, and once more at the end."""
        try:
            while True:
                await self._owing.wait()
                await anyio.sleep(RETRY_SECONDS)
                await self._pay()
        finally:
            with anyio.CancelScope(shield=True):
                await self._pay()

    async def _begin(self, entry: control.AuditEntry, *, stops_work: bool) -> Any:
        """Write an entry down; return by what the ledger knows it, None if it has to be written as a whole later.

        Raises:
            errors.DiskFails: It cannot be written, and waits for nobody.
        """
        with anyio.CancelScope(shield=True):
            await self._pay()
            try:
                return await self._ledger.begin(entry)
            except (errors.DiskFails, OSError) as error:
                if not stops_work or len(self._owed) >= MOST_OWED:
                    raise _refusal(error) from error
                _log_unwritten(error, entry)
                return None

    async def _end(self, entry: control.AuditEntry, key: Any, end: control.AuditEnd) -> None:
        """Complete an entry. Its change has been made: whatever goes wrong here is made good later."""
        whole = audit_rows.finished(entry, end)
        if key is None:
            self._owe(partial(self._ledger.begin, whole))
            return
        try:
            await self._ledger.end(key, end)
        except (errors.DiskFails, OSError) as error:
            _log_unwritten(error, whole)
            self._owe(partial(self._ledger.end, key, end))
        except Exception:
            log.exception("audit: entry cannot be completed", entry=codec.encode(whole).decode())

    def _owe(self, write: Callable[[], Awaitable[Any]]) -> None:
        self._owed.append(write)
        self._owing.set()

    async def _pay(self) -> None:
        """Write what is owed, the oldest first, as far as the disk takes it."""
        async with self._paying:
            while self._owed:
                try:
                    await self._owed[0]()
                except (errors.DiskFails, OSError):
                    return
                except Exception:
                    log.exception("audit: entry cannot be written")
                self._owed.popleft()
            if self._owing.is_set():
                self._owing = anyio.Event()

    async def _observe(self, name: str, arguments: Sequence[Any]) -> bytes:
        observe = self._observers.get(name)
        if observe is None:
            return _NULL
        try:
            return codec.encode(await observe(arguments))
        except (errors.DiskFails, OSError) as error:
            log.error("audit: cannot see what is changed", method=name, error=str(error))
        except Exception:
            log.exception("audit: cannot see what is changed", method=name)
        return _NULL


def _ignore(_: bytes) -> None:
    """Take a result that nobody asks for."""


def _concerns(rule: rules.Rule, call: core.Call, arguments: Sequence[Any]) -> bool:
    dry = any(getattr(argument, "dry_run", False) is True for argument in arguments)
    return rule.is_audited(call.scopes) and not dry


def _stops_work(method: core.Method, arguments: Sequence[Any]) -> bool:
    """Return whether a call pauses threads, and does nothing else."""
    acts = [argument for argument in arguments if isinstance(argument, control.Act)]
    return method.name == methods.worker.pause.name or any(act.verb == "pause" for act in acts)


def _refusal(error: errors.DiskFails | OSError) -> errors.DiskFails:
    if isinstance(error, errors.DiskFails):
        return error
    return errors.DiskFails(str(error.filename or "the audit"), error.strerror or str(error))


def _log_unwritten(error: Exception, entry: control.AuditEntry) -> None:
    log.error("audit: entry cannot be written yet", error=str(error), entry=codec.encode(entry).decode())


def _who(call: core.Call, method: core.Method, arguments: Sequence[Any]) -> str:
    """Return the caller, and on whose behalf: the manager, when it calls a worker, names them in `asked_by`."""
    asked_by = _named(method, arguments).get("asked_by")
    return f"{redaction.text(asked_by)[:NAME_CHARACTERS]} via {call.who}" if asked_by else call.who


def _named(method: core.Method, arguments: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(method.parameters, arguments, strict=False))


def _params(names: Sequence[str], params: bytes) -> object:
    """Return the parameters as an entry keeps them: each is judged with its name, as a member of an object is."""
    values = audit_rows.kept(params)
    if not isinstance(values, list) or len(values) > len(names):
        return values
    return list(redaction.value(dict(zip(names, values, strict=False))).values())


def _reason(method: core.Method, arguments: Sequence[Any]) -> str:
    found: Iterable[Any] = (
        _named(method, arguments).get("reason"),
        *(getattr(argument, "reason", None) for argument in arguments),
    )
    return next((reason for reason in found if isinstance(reason, str) and reason), "")


def _sectors(texts: Iterable[bytes]) -> list[str]:
    found: dict[str, None] = {}
    for text in texts:
        for match in _SECTOR.finditer(text):
            miner, number = match.groups()
            found[str(SectorID(int(miner), int(number))) if miner else match[0].decode()] = None
    return list(found)[:MOST_SECTORS]


def _described(name: str, outcome: bytes) -> tuple[bytes, bytes] | None:
    """Return a result's values from before and after, if it has them."""
    describe = _DESCRIBED.get(name)
    try:
        return describe(outcome) if describe is not None else None
    except Exception:
        log.exception("audit: cannot see what was changed", method=name)
        return None


def _threads(result: bytes) -> tuple[bytes, bytes]:
    """Return how the threads looked that were acted on."""
    known = [one for one in codec.decode(result, list[control.Outcome]) if one.before]
    names = [f"{one.worker} #{one.index}".strip() for one in known]
    return (
        codec.encode({name: one.before for name, one in zip(names, known, strict=True)}),
        codec.encode({name: one.after for name, one in zip(names, known, strict=True)}),
    )


def _drain(result: bytes) -> tuple[bytes, bytes]:
    return codec.encode({"on": codec.decode(result, control.Drain).was_on}), result


# Methods whose result tells how things were before and after: of what is on other machines, or takes effect in a moment.
_DESCRIBED: Mapping[str, Callable[[bytes], tuple[bytes, bytes]]] = {
    methods.fleet.act.name: _threads,
    methods.worker.act_on.name: _threads,
    methods.fleet.drain.name: _drain,
}
