"""`damocles-manager util plan-capacity`: sectors a day of the whole fleet, worker by worker."""

from typing import Annotated

from damocles import methods
from damocles.cli.connecting import manager_at
from damocles.cli.terminal import exits, tables
from damocles.cli.threads import options, planning
from damocles.wire import codec, control

Workers = Annotated[
    tuple[str, ...],
    options.Flag(name="--worker", help="Workers by name, address or pattern like 'gpu-*'; repeatable; default: all."),
]

_TABLE = tables.Table[tuple[str, ...]](columns=("Worker", "Threads", "A day", "What", "With"), cells=lambda row: row)


def plan_capacity(
    *,
    worker: Workers = (),
    time: planning.Times = (),
    sector_size: planning.Size = None,
    full: options.Full = False,
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Forecast how many sectors a day the fleet finishes, what the bottleneck of each worker is, and what more of it would bring.

    Exit code 1 if a worker that seals has no forecast, or does not answer, or no worker seals.
    """
    said, size = planning.stated(time), planning.size(sector_size)
    chosen = control.Selection(workers=list(worker)) if worker else control.Selection(all=True)
    with at.call() as found:
        fleet = found.call(methods.fleet.report(chosen, found.worker_seconds))
    plans = [planning.plan(planning.with_times(planning.of_size(report, size), said)) for report in fleet.workers]
    total = sum(plan.per_day for plan in plans)
    if json:
        exits.print_json(
            {
                "sectors_per_day": round(total, 3),
                "workers": [planning.as_json(plan) for plan in plans],
                "silent": codec.to_builtins(fleet.silent),
            }
        )
    elif plans:
        tables.show(_TABLE, [_row(plan) for plan in plans], full=full)
        print(f"the fleet: {total:.2f} sectors a day")
    seals = [plan for plan in plans if plan.report.lines]
    for plan in plans:
        if plan.error:
            (exits.error if plan in seals or not seals else exits.hint)(f"{plan.report.worker}: {plan.error}")
    for silence in fleet.silent:
        exits.error(f"{silence.worker}: {silence.reason}")
    return exits.FAILED if fleet.silent or not seals or any(plan.error for plan in seals) else exits.OK


def _row(plan: planning.Plan) -> tuple[str, ...]:
    threads = str(sum(line.threads for line in plan.report.lines))
    if plan.found is None:
        return plan.report.worker, threads, "-", "-", "-"
    best = next(iter(plan.gains), None)
    more = f"{best[0]} would bring {best[1]:+.2f}" if best is not None else ""
    return plan.report.worker, threads, f"{plan.per_day:.2f}", plan.found.bottleneck, more
