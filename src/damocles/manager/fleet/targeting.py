"""Which workers the names, patterns and addresses of a request stand for."""

import contextlib
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import anyio

from damocles.manager import errors
from damocles.manager.fleet import watch as fleet_watch
from damocles.manager.fleet.workers import Row
from damocles.methods import rules
from damocles.operating import selection
from damocles.rpc import address, core, limits
from damocles.rpc import errors as rpc_errors
from damocles.wire import control

_RESOLVE_SECONDS = 2.0
_NAMES_TOLD = 10
_SHOWN = 100  # characters of what should name a worker


@dataclass(frozen=True, slots=True)
class Target:
    """A worker to call: its name in the registry, or the given address."""

    name: str
    dest: str
    token: str | None = field(default=None, repr=False)


async def find(call: core.Call, texts: Sequence[str], rows: Sequence[Row], watch: fleet_watch.Watch) -> list[Target]:
    """Find the workers that names, patterns and addresses stand for; nothing given means all.

    `rows` is the registry.

    Raises:
        errors.UnknownWorker: A name or address is nobody's, or all that is given are patterns that fit nobody.
        errors.ManagerError: There are too many addresses.
    """
    known = current(rows, watch)
    if not texts:
        return known
    by_name = {row.info.name: row for row in rows}
    found: dict[Target, None] = {}  # in order
    strange = 0
    for text in texts:
        exact = _of(by_name[text], watch) if text in by_name else []
        matched = exact or [target for target in known if selection.names(text, target.name, target.dest)]
        if not matched and not selection.is_pattern(text):
            matched = [target] if (target := _registered(text, known)) else [await _elsewhere(call, text, known)]
            strange += target is None
        if strange > limits.ADDRESSES:
            refusal = f"more than {limits.ADDRESSES} addresses of no registered worker: ask for fewer at once"
            raise errors.ManagerError(refusal, rpc_errors.Code.INVALID_PARAMS)
        found |= dict.fromkeys(matched)
    if not found:
        raise errors.UnknownWorker(" ".join(texts), _names(known), pattern=True)
    return list(found)


async def find_one(call: core.Call, text: str, rows: Sequence[Row], watch: fleet_watch.Watch) -> Target:
    """Find the one worker that a name or an address stands for.

    Raises:
        errors.UnknownWorker: It is nobody's.
        errors.ManagerError: Several workers are meant.
    """
    targets = await find(call, [text], rows, watch)
    if len(targets) > 1 and len({target.name for target in targets}) == 1:
        raise errors.ManagerError(f"{text}: {_shared(targets)}", rpc_errors.Code.INVALID_PARAMS)
    if len(targets) != 1:
        names = _names(targets)
        raise errors.ManagerError(
            f"{text[:_SHOWN]!r} must name one worker, not {names}", rpc_errors.Code.INVALID_PARAMS
        )
    return targets[0]


def current(rows: Sequence[Row], watch: fleet_watch.Watch) -> list[Target]:
    """Return all workers by name; of several names for one destination those that live, or the last that pinged.

    A worker that got another name leaves the old one behind, and must not be asked twice. With another token that may
    be somebody else's ping, which must not hide the worker there: as long as both names live, both are called, and the
    false one learns nothing. A worker of the original has no token, and answers to every name.
    """
    by_age = sorted(rows, key=lambda row: row.last_ping)
    last = {row.info.dest: row.info.name for row in by_age}
    last_with = {(row.info.dest, row.token): row.info.name for row in by_age}
    return [
        target
        for row in rows
        if last[row.info.dest] == row.info.name
        or (last_with[row.info.dest, row.token] == row.info.name and watch.describe(row).status == fleet_watch.LIVE)
        for target in _of(row, watch)
    ]


def _of(row: Row, watch: fleet_watch.Watch) -> list[Target]:
    """Return the worker of a row, or all that ping under its name."""
    found = watch.sharing(row.info.name) or [row]
    return [Target(each.info.name, each.info.dest, each.token) for each in found]


def ambiguous(chosen: control.Selection, target: Target, found: Sequence[Target]) -> Iterator[control.Outcome]:
    """Refuse an index of a name that several workers have, once for the name; each of their addresses is clear."""
    namesakes = [other for other in found if other.name == target.name]
    if chosen.indexes and len(namesakes) > 1 and target is namesakes[0] and target.dest not in chosen.workers:
        for index in chosen.indexes:
            yield control.Outcome(worker=target.name, index=index, ok=False, text=_shared(namesakes))


def _shared(namesakes: Sequence[Target]) -> str:
    dests = " and ".join(target.dest for target in namesakes)
    return (
        f"{len(namesakes)} workers ping under this name, from {dests}: name the thread by --sector, or the worker by its"
        " address; then give each worker a name of its own (worker.name)"
    )


def _names(known: Sequence[Target]) -> str:
    names = ", ".join(target.name for target in known[:_NAMES_TOLD]) or "none"
    return names + (", …" if len(known) > _NAMES_TOLD else "")


def _registered(text: str, known: Sequence[Target]) -> Target | None:
    """Return the registered worker at an address."""
    with contextlib.suppress(ValueError):
        url = address.worker_url(text)
        for target in known:
            with contextlib.suppress(ValueError):
                if address.worker_url(target.dest) == url:
                    return target
    return None


async def _elsewhere(call: core.Call, text: str, known: Sequence[Target]) -> Target:
    """Return the worker at an address, where no registered worker is.

    A caller who may only read cannot choose where the manager calls, or which name it looks up: that would open a way to
    machines that only the manager reaches.

    Raises:
        errors.UnknownWorker: It is not an address, or the caller may not choose one.
    """
    if call.principal is not None and not rules.Rule(rules.Scope.OPERATE).allows(call.scopes):
        raise errors.NotRegistered(text, _names(known))
    unknown = errors.UnknownWorker(text, _names(known))
    try:
        address.worker_url(text)
        endpoint = address.host_port(text, address.WORKER_PORT) if "://" not in text else None
    except ValueError as error:
        raise unknown from error
    if endpoint is not None:
        with anyio.move_on_after(_RESOLVE_SECONDS) as scope:
            try:
                await anyio.getaddrinfo(endpoint.host or None, endpoint.port, type=socket.SOCK_STREAM)
            except OSError as error:
                raise unknown from error
        if scope.cancelled_caught:
            raise unknown
    return Target(text, text if endpoint is None else str(endpoint))
