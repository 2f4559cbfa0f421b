"""`damocles-worker plan-capacity`: sectors a day of this worker, its bottleneck, and what more of that would bring."""

from typing import Annotated

from cyclopts import Parameter

from damocles import methods
from damocles.cli.connecting import worker_at
from damocles.cli.terminal import exits
from damocles.cli.threads import options, planning
from damocles.wire import capacity


def plan_capacity(
    *,
    time: planning.Times = (),
    threads: Annotated[int | None, Parameter(help="Forecast with this many threads of each kind.")] = None,
    sector_size: planning.Size = None,
    full: options.Full = False,
    json: options.AsJson = False,
    at: worker_at.At = worker_at.USUAL,
) -> int:
    """Forecast how many sectors a day this worker finishes, from the times that its stages have taken, or that you state.

    For a worker that is not running, this reads its configuration and journals.
    """
    said, size = planning.stated(time), planning.size(sector_size)
    if threads is not None and threads < 1:
        raise exits.WrongUsage("--threads: expected at least 1")
    reported = _report(at)
    chosen = planning.of_size(reported, size)
    if size is not None and reported.lines and not chosen.lines:
        sealed = ", ".join(sorted({line.size for line in reported.lines if line.size})) or "any size"
        raise exits.Failed(
            f"no thread seals sectors of {size.label}, but of {sealed}: to forecast them, write allowed_sizes ="
            f' ["{size.label}"] under [sealing] of a copy of the configuration, and pass that with --config'
        )
    report = planning.with_times(chosen, said)
    if threads is not None:
        report = planning.with_threads(report, threads)
    plan = planning.plan(report)
    if json:
        exits.print_json(planning.as_json(plan))
        return exits.OK if plan.found is not None else exits.FAILED
    planning.show(plan, full=full)
    return exits.OK


def _report(at: worker_at.At) -> capacity.Report:
    try:
        with at.call() as client:
            return client.call(methods.worker.report())
    except exits.WorkerUnreachable:
        if at.config is None:
            raise
        exits.warning(
            "the worker does not answer: this is from its configuration and journals, on the machine of this shell"
        )
    from damocles.worker import capacity as worker_capacity
    from damocles.worker import processors
    from damocles.worker.config import load

    try:
        config = load.load(at.config).config
    except load.ConfigError as error:
        raise exits.Failed(str(error)) from error
    found = worker_capacity.look(config)
    return worker_capacity.report(config, found, processors.admission(config, found))
