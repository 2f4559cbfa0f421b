"""What a worker can do: its machine, what that has granted, its threads, and how long their stages have taken."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from damocles.sealing import planner
from damocles.stages import descriptors
from damocles.stages.admission import grants, machine, policy, times
from damocles.stages.supervision import pool
from damocles.stores import journal
from damocles.wire import capacity, codec, sectors
from damocles.worker.config import checks, load
from damocles.worker.config.processors import GROUP_STAGES

SEALS = tuple(name for name in planner.PLANS if name != "wdpost")  # the plans that work on sectors


def report(
    config: load.Config, has: machine.Machine, admitted_by: policy.Policy, granted: Iterable[grants.Request] = ()
) -> capacity.Report:
    """Look at the journals and put everything together; reads disks."""
    return capacity.Report(
        worker=config.worker.name or "",
        machine=codec.to_builtins(has),
        capacity=admitted_by.limits,
        slots=slots(config),
        granted=[capacity.Grant(one.label, dict(one.needs)) for one in granted],
        lines=list(_lines(config, admitted_by)),
    )


def look(config: load.Config) -> machine.Machine:
    """Look at the machine, and at the file systems that the worker writes to."""
    folders = [("scratch", machine.environment_scratch())]
    folders += [("sealing", one.location.resolve()) for one in config.sealing_thread if one.location is not None]
    with suppress(checks.ScanError):
        stores = checks.persist_stores(config.attached, config.worker.scan_persist_stores)
        folders += [("persist", store.path) for store in stores]
    return machine.look(folders=folders)


def slots(config: load.Config) -> dict[str, int]:
    """Return how many tasks of a stage may run at once, where that is limited: by limits, and by the children that there are."""
    processors = config.processors
    found: dict[str, int] = {}
    for stage in (*GROUP_STAGES,):
        groups = processors.groups(stage)
        own = None if groups else descriptors.named(stage).default_concurrency
        limits = [processors.concurrent.get(stage, own)]
        if groups and stage != pool.DAEMONS:
            each = [group.slots for group in groups]
            limits.append(None if None in each else sum(one or 0 for one in each))
        if known := [limit for limit in limits if limit is not None]:
            found[stage] = min(known)
    return found


def _lines(config: load.Config, admitted_by: policy.Policy) -> Iterator[capacity.Line]:
    threads: dict[tuple[str, sectors.SectorSize | None], int] = {}
    entries: dict[str, list[journal.Entry]] = {}
    for index, entry in enumerate(config.sealing_thread):
        thread = load.effective(config, index)
        if thread.plan not in SEALS:
            continue
        size = max(thread.sealing.allowed_sizes or (), default=None)
        threads[thread.plan, size] = threads.get((thread.plan, size), 0) + 1
        if entry.location is not None:
            entries.setdefault(thread.plan, []).extend(_history(entry.location))
    measured = {plan: times.measured(found, plan) for plan, found in entries.items()}
    for (plan, size), count in threads.items():
        known = measured.get(plan, {})
        meant = size or max(known, default=None)
        steps = known.get(meant, []) if meant is not None else []
        needs = {stage: admitted_by.needs(stage, meant) for stage in times.stages_of(plan)}
        yield capacity.Line(
            plan=plan,
            size=meant.label if meant is not None else "",
            threads=count,
            steps=[_step(one, needs) for one in steps],
            needs=needs,
        )


def _step(taken: times.Taken, needs: Mapping[str, dict[str, int]]) -> capacity.Step:
    return capacity.Step(
        state=taken.state,
        stage=taken.stage,
        seconds=taken.seconds,
        samples=taken.samples,
        needs=needs.get(taken.stage, {}),
    )


def _history(location: Path) -> Iterator[journal.Entry]:
    with suppress(journal.JournalError):
        yield from journal.read(location)
