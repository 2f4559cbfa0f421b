"""One sector: where it is in its plan and has been, on which machines, for how long, and what it left where."""

from collections.abc import Mapping, Sequence

import msgspec

from damocles.manager.dashboard import drawing, looks
from damocles.methods import acts
from damocles.sealing import planner
from damocles.sealing.states import State
from damocles.stores import layout
from damocles.wire import control, records
from damocles.wire.proving import FilesOf, Location
from damocles.wire.sectors import SectorID

_MOST_STEPS = 2000  # of a history that a page shows, the last ones


class File(msgspec.Struct, frozen=True, kw_only=True):
    """A file or folder of a sector: in which persist store (`store`), or at which worker (`worker`), and its path there.

    Of a store that only workers know, the path begins in the store.
    """

    what: str
    store: str = ""
    worker: str = ""
    path: str


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known of a sector; `left_out` steps of the history, the first ones, are not here."""

    at: float
    sector: str
    plan: str
    state: str
    threads: list[control.ThreadDetail]
    record: records.SectorState | None
    files: list[File]
    messages: list[acts.SectorMessage]
    graph: drawing.Graph | None
    history: list[control.HistoryEntry]
    left_out: int
    silent: list[control.Silence]
    log: list[control.LogLine]


def view(
    seen: looks.Seen,
    sector: SectorID,
    history: control.SectorHistory,
    *,
    record: records.SectorState | None,
    files: Sequence[File],
    messages: Sequence[acts.SectorMessage],
    log: Sequence[control.LogLine],
) -> View:
    """Return the page of a sector."""
    holding = held(seen, sector)
    # The last step of a sector empties the thread: the sector stays finished, or aborted.
    steps = [entry for entry in history.entries if entry.state and entry.state != State.Empty]
    latest = record.latest_state if record is not None else None
    reported = latest.state_change.next if latest is not None else ""
    state = holding[0].info.job_state if holding else steps[-1].state if steps else reported
    name = holding[0].info.plan if holding else steps[-1].plan if steps else ""
    name = name or _fitting([entry.state for entry in steps])
    plan = planner.PLANS.get(name)
    return View(
        at=seen.at,
        sector=str(sector),
        plan=name,
        state=state,
        threads=holding,
        record=record,
        files=[*working(holding), *files],
        messages=list(messages) or of_record(record),
        graph=None
        if plan is None
        else drawing.graph(plan, stays(steps, name), [(one.prev, one.state) for one in steps], state or None),
        history=history.entries[-_MOST_STEPS:],
        left_out=max(0, len(history.entries) - _MOST_STEPS),
        silent=history.silent,
        log=list(log),
    )


def working(holding: Sequence[control.ThreadDetail]) -> list[File]:
    """Return where the working files are: in the sealing stores of the threads that hold the sector."""
    return [File(what="working files", worker=thread.worker, path=f"{thread.info.location}/data") for thread in holding]


def persisted(sector: SectorID, found: Mapping[FilesOf, Location], folders: Mapping[str, str]) -> list[File]:
    """Return where the files of a finished sector are; `folders` are those of the stores that the manager knows."""
    files = []
    for kind, place in found.items():
        if not place.found:
            continue
        replica, cache = layout.persisted_folders(upgraded=kind == "upgrade")
        names = ("replica", "trees") if kind == "normal" else ("upgraded replica", "trees of the upgrade")
        stores = (place.instance.sealed_file, place.instance.cache_dir)
        files += [
            File(what=what, store=store, path="/".join(filter(None, (folders.get(store), folder, str(sector)))))
            for what, store, folder in zip(names, stores, (replica, cache), strict=True)
        ]
    return files


def of_record(record: records.SectorState | None) -> list[acts.SectorMessage]:
    """Return the messages that a record names."""
    sent = record.messages if record is not None else records.MessageInfo()
    found = {"pre-commit": sent.pre_commit_cid, "proof": sent.commit_cid}
    return [acts.SectorMessage(kind=kind, id=str(cid)) for kind, cid in found.items() if cid]


def held(seen: looks.Seen, sector: SectorID) -> list[control.ThreadDetail]:
    """Return the threads that hold a sector: one, or none; more if a copy of a store was left behind."""
    return [thread for thread in seen.threads.threads if thread.info.job_id == str(sector)]


def stays(steps: Sequence[control.HistoryEntry], plan: str) -> dict[str, drawing.Stay]:
    """Return what a sector has done in the states of a plan; the time of a step is that of the state before it."""
    found: dict[str, drawing.Stay] = {}
    came: float | None = None
    for entry in steps:
        if entry.plan not in {plan, ""}:
            continue
        moves = entry.state != entry.prev
        before = found.get(entry.prev, drawing.Stay())
        found[entry.prev] = msgspec.structs.replace(
            before,
            seconds=before.seconds + (entry.seconds or 0.0),
            stayed_seconds=before.stayed_seconds + (max(0.0, entry.at - came) if moves and came is not None else 0.0),
            failures=before.failures + (entry.error is not None),
        )
        if moves:
            came = entry.at
            there = found.get(entry.state, drawing.Stay())
            found[entry.state] = msgspec.structs.replace(there, visits=there.visits + 1)
    return found


def _fitting(states: Sequence[str]) -> str:
    """Return the first plan with all these states: what the manager was told of a sector does not name its plan."""
    return next((name for name, plan in planner.PLANS.items() if states and plan.steps.keys() >= {*states}), "")
