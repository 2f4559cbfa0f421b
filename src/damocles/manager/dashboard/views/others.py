"""Stores, the audit and metrics, as the methods and routes of the same subjects answer."""

from collections.abc import Mapping, Sequence

import msgspec

from damocles.manager.dashboard.views import addresses
from damocles.manager.serving import discovery
from damocles.operating import changes
from damocles.text import units
from damocles.wire import control, records
from damocles.wire.sectors import SectorID

AUDIT_ROWS = 100
AUDIT_PARAMETERS: Mapping[str, addresses.Kind] = {
    **dict.fromkeys(("who", "what", "sector", "since"), addresses.TEXT),
    "before": addresses.number(0),
}
_LOOKED_THROUGH = 1000  # entries for words that are not in the database as they are


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """How many sectors have their files in a store: of replicas (`normal`) and of upgrades (`upgrade`)."""

    store: str
    normal: int = 0
    upgrade: int = 0


class Stores(msgspec.Struct, frozen=True, kw_only=True):
    """Persist stores with their room, and what is in which; `held` has also those that are not declared at this manager."""

    at: float
    stores: list[records.StoreDetails]
    held: list[Held]


def stores(found: Sequence[records.StoreDetails], counts: Mapping[str, Mapping[str, int]], now: float) -> Stores:
    """Return the page; `counts` are sectors by store and by what files they are."""
    names = sorted({store.name for store in found} | counts.keys())
    return Stores(at=now, stores=list(found), held=[Held(store=name, **counts.get(name, {})) for name in names])


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A worker whose metrics Prometheus finds at an address."""

    worker: str
    status: str
    address: str


class Metrics(msgspec.Struct, frozen=True, kw_only=True):
    """The workers that Prometheus is told of, and those that are left out."""

    at: float
    targets: list[Target]
    left_out: list[str]


def metrics(workers: Sequence[control.WorkerStatus], now: float) -> Metrics:
    """Return the page: `/http_sd` tells the same."""
    found = [
        Target(worker=group["labels"]["worker"], status=group["labels"]["__meta_damocles_status"], address=target)
        for group in discovery.groups(workers)
        for target in group["targets"]
    ]
    there = {target.worker for target in found}
    left_out = [worker.info.name for worker in workers if worker.info.name not in there]
    return Metrics(at=now, targets=found, left_out=left_out)


class AuditAsked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the address of the audit says: filters, and before which entry the page begins."""

    who: str = ""
    what: str = ""
    sector: str = ""
    since: str = ""
    before: int = 0


class AuditPage(msgspec.Struct, frozen=True, kw_only=True):
    """Entries of the audit, the newest first; `older` is what the next page begins before, if there is one."""

    at: float
    asked: AuditAsked
    problem: str
    entries: list[control.AuditEntry]
    older: int | None


def audit_asked(query: Mapping[str, str]) -> AuditAsked:
    """Read an address, which `AUDIT_PARAMETERS` hold for."""
    texts = {name: query.get(name, "").strip() for name in ("who", "what", "sector", "since")}
    return AuditAsked(**texts, before=int(query.get("before", "").strip() or 0))


def audit_query(asked: AuditAsked, now: float) -> control.AuditQuery:
    """Return what the ledger is asked for.

    Raises:
        ValueError: There can be no such sector, or no such time.
    """
    return control.AuditQuery(
        since=now - units.parse_duration(asked.since) if asked.since else None,
        who=asked.who or None,
        sector=str(SectorID.parse(asked.sector)) if asked.sector else None,
        limit=_LOOKED_THROUGH if asked.what else AUDIT_ROWS,
    )


def audit_page(asked: AuditAsked, found: Sequence[control.AuditEntry], now: float, *, problem: str = "") -> AuditPage:
    """Return the page of what was found; words that people know a change by are looked for here."""
    shown = [entry for entry in found if changes.is_called(entry, asked.what or None)]
    older = found[-1].id if found and found[-1].id > 1 else None
    return AuditPage(at=now, asked=asked, problem=problem, entries=shown, older=older)
