"""Join a sector's steps from journals and reports: each step once, with the worker that made it."""

from collections.abc import Sequence

from msgspec import structs

from damocles.wire import control

_APART_SECONDS = 600.0  # of a step in a journal and its report: clocks differ, and reports wait


def merged(
    entries: Sequence[control.HistoryEntry],
    reported: Sequence[control.HistoryEntry],
    calls: Sequence[control.HistoryEntry] = (),
) -> list[control.HistoryEntry]:
    """Return every step, and every other call to the manager, oldest first.

    A store that was moved takes its journal along, and a copy that stayed behind has the same steps again: the worker
    that reported a step to the manager is the one that made it. What is in no journal comes from the reports.
    """
    left = list(reported)
    copies: dict[tuple[object, ...], list[control.HistoryEntry]] = {}
    for entry in sorted(entries, key=lambda entry: entry.at):
        copies.setdefault((entry.at, entry.attempt, entry.prev, entry.state, entry.event), []).append(entry)
    steps: list[control.HistoryEntry] = []
    for same in copies.values():
        step = same[0]
        report = min((one for one in left if _is_of(one, step)), key=lambda one: abs(one.at - step.at), default=None)
        if report is not None:
            left.remove(report)
            step = structs.replace(step, worker=report.worker, location=report.location, by=report.by)
        elif steps:
            step = next((one for one in same if one.worker == steps[-1].worker), step)
        steps.append(step)
    journals = {(entry.worker, entry.location) for entry in entries}
    steps += [one for one in left if (one.worker, one.location) not in journals]
    return sorted([*steps, *calls], key=lambda entry: entry.at)


def _is_of(report: control.HistoryEntry, step: control.HistoryEntry) -> bool:
    same = (report.event, report.prev, report.state) == (step.event, step.prev, step.state)
    return same and abs(report.at - step.at) <= _APART_SECONDS
