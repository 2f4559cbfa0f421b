"""Write down every change that somebody asks for: who, from where, what, why, and what came of it.

An `Audit` stands around a service (`core.Service(auditor=…)`) and knows from `access.RULES` which methods change
something, so that no handler can forget it. One change makes one entry, written when the change has been made or has
failed and before its answer leaves. A process that is killed in between leaves a change without entry and answer.

Not written down: dry runs, and what workers do to their sectors, which is in the sectors' own history.
"""

import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import anyio
import msgspec
import structlog

from damocles.rpc import access, core, errors
from damocles.wire import codec, control
from damocles.wire.sectors import SectorID

log = structlog.get_logger(__name__)

FIELD_BYTES = 256 << 10
REASON_CHARACTERS = 1000
NAME_CHARACTERS = 100
MOST_SECTORS = 10_000

_SECTOR = re.compile(rb's-t0\d{1,20}-\d{1,20}|"Miner":\s*(\d{1,20}),\s*"Number":\s*(\d{1,20})')

# Returns what the thing that these arguments name looks like now, as JSON can hold it.
Observe = Callable[[Sequence[Any]], Awaitable[Any]]


class Ledger(Protocol):
    """Where entries are kept for good."""

    async def append(self, entry: control.AuditEntry) -> None:
        """Keep one more; its `id` is given by the ledger."""


class Audit:
    """The audit of one service; `observers` by wire method."""

    def __init__(
        self, ledger: Ledger, *, observers: Mapping[str, Observe] | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        self._ledger = ledger
        self._observers = observers or {}
        self._clock = clock

    @asynccontextmanager
    async def change(
        self, call: core.Call, method: core.Method, arguments: Sequence[Any], params: bytes
    ) -> AsyncIterator[Callable[[bytes], None]]:
        """Make the entry of the call in this block, if it is to have one; yield what takes the result."""
        rule = access.rule_of(method.name)
        if rule is None or not _concerns(rule, call, arguments):
            yield _ignore
            return
        at = self._clock()
        before = await self._observe(method.name, arguments)
        ok, outcome = False, b'"cancelled"'

        def tell(result: bytes) -> None:
            nonlocal ok, outcome
            ok, outcome = True, b"null" if rule.secret else result

        try:
            yield tell
        except errors.RpcError as error:
            outcome = codec.encode(error.message)
            raise
        except Exception as error:
            outcome = codec.encode(f"{type(error).__name__}: {error}")
            raise
        finally:
            with anyio.CancelScope(shield=True):
                after = await self._observe(method.name, arguments)
                if ok and method.name in _TELLING:
                    before, after = _TELLING[method.name](outcome)
                entry = control.AuditEntry(
                    at=at,
                    who=_who(call, method, arguments),
                    address=call.peer,
                    what=method.name,
                    names=list(method.parameters[: len(arguments)]),
                    params=_value(params),
                    reason=_reason(method, arguments),
                    sectors=_sectors((params, before, after, outcome)),
                    before=_value(before),
                    after=_value(after),
                    ok=ok,
                    outcome=_value(outcome),
                )
                await self._append(entry)

    async def _observe(self, name: str, arguments: Sequence[Any]) -> bytes:
        observe = self._observers.get(name)
        if observe is None:
            return b"null"
        try:
            return codec.encode(await observe(arguments))
        except (errors.DiskFails, OSError) as error:
            log.error("audit: cannot see what is changed", method=name, error=str(error))
        except Exception:
            log.exception("audit: cannot see what is changed", method=name)
        return b"null"

    async def _append(self, entry: control.AuditEntry) -> None:
        try:
            await self._ledger.append(entry)
        # Nobody may be kept from pausing a thread because a disk is full; the log has it then.
        except (errors.DiskFails, OSError) as error:
            log.error("audit: entry cannot be written", error=str(error), entry=codec.encode(entry).decode())
        except Exception:
            log.exception("audit: entry cannot be written", entry=codec.encode(entry).decode())


def _ignore(_: bytes) -> None:
    """Take a result that nobody asks for."""


def _concerns(rule: access.Rule, call: core.Call, arguments: Sequence[Any]) -> bool:
    if not rule.changes or any(getattr(argument, "dry_run", False) is True for argument in arguments):
        return False
    return not (rule.worker and access.Scope.WORKER in call.scopes)


def _who(call: core.Call, method: core.Method, arguments: Sequence[Any]) -> str:
    """Return the caller, and whom they pass it on for: the manager, when it calls a worker, says so in `asked_by`."""
    asked_by = _named(method, arguments).get("asked_by")
    return f"{asked_by[:NAME_CHARACTERS]} via {call.who}" if asked_by else call.who


def _named(method: core.Method, arguments: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(method.parameters, arguments, strict=False))


def _reason(method: core.Method, arguments: Sequence[Any]) -> str:
    found: Iterable[Any] = (
        _named(method, arguments).get("reason"),
        *(getattr(argument, "reason", None) for argument in arguments),
    )
    return next((reason for reason in found if isinstance(reason, str) and reason), "")[:REASON_CHARACTERS]


def _sectors(texts: Iterable[bytes]) -> list[str]:
    found: dict[str, None] = {}
    for text in texts:
        for match in _SECTOR.finditer(text):
            miner, number = match.groups()
            found[str(SectorID(int(miner), int(number))) if miner else match[0].decode()] = None
    return list(found)[:MOST_SECTORS]


def _value(text: bytes) -> Any:
    if len(text) > FIELD_BYTES:
        return text[:FIELD_BYTES].decode(errors="replace") + "…"
    try:
        return msgspec.json.decode(text or b"null")
    except (msgspec.DecodeError, RecursionError):
        return text.decode(errors="replace")


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
_TELLING: Mapping[str, Callable[[bytes], tuple[bytes, bytes]]] = {
    "Damocles.FleetAct": _threads,
    "Damocles.ActOn": _threads,
    "Damocles.WorkerDrain": _drain,
}
