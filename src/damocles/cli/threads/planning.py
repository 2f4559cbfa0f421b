"""Sectors a day of workers, from their reports: forecasts, tables and JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from msgspec import structs

from damocles.cli.terminal import exits, tables
from damocles.cli.threads import options
from damocles.stages.admission import forecast, grants, times
from damocles.text import units
from damocles.wire import capacity, codec
from damocles.wire.sectors import SectorSize

Times = Annotated[
    tuple[str, ...],
    options.Flag(name="--time", help="What a stage takes, like pc1=4h, or wait=90min for the chain; repeatable."),
]

Size = Annotated[
    str | None, options.Flag(name="--sector-size", help="Forecast only threads that seal sectors of this size.")
]

Gain = tuple[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A worker with its forecast; `error` is the reason why there is none."""

    report: capacity.Report
    found: forecast.Forecast | None = None
    gains: Sequence[Gain] = ()
    error: str = ""

    @property
    def per_day(self) -> float:
        """Sectors a day."""
        return sum(self.found.per_day) if self.found is not None else 0.0


def stated(texts: Sequence[str]) -> dict[str, float]:
    """Read `pc1=4h`."""
    said = {}
    for text in texts:
        stage, equals, duration = text.partition("=")
        if not equals:
            raise exits.WrongUsage(f"--time {text}: write a stage and how long it takes, like pc1=4h")
        said[stage.strip()] = options.seconds(duration, f"--time {stage}")
    return said


def with_times(report: capacity.Report, said: Mapping[str, float]) -> capacity.Report:
    """Return a report with the given times; what a stage needs stays as the worker reported it."""
    if not said:
        return report
    lines = []
    for line in report.lines:
        known = [times.Taken(state=one.state, stage=one.stage, seconds=one.seconds) for one in line.steps]
        try:
            taken = times.stated(line.plan, known, said)
        except ValueError as error:
            raise exits.WrongUsage(f"--time: {error}") from error
        before = {one.state: one for one in line.steps}
        steps = [
            capacity.Step(
                state=one.state,
                stage=one.stage,
                seconds=one.seconds,
                samples=0 if one.stage in said else before[one.state].samples if one.state in before else 0,
                needs=line.needs.get(one.stage, {}),
            )
            for one in taken
        ]
        lines.append(structs.replace(line, steps=steps))
    return structs.replace(report, lines=lines)


def with_threads(report: capacity.Report, threads: int) -> capacity.Report:
    """Return a report as if each line had so many threads."""
    return structs.replace(report, lines=[structs.replace(line, threads=threads) for line in report.lines])


def size(text: str | None) -> SectorSize | None:
    """Read the size of sectors that are asked for, if any is.

    Raises:
        exits.WrongUsage: There is no such size.
    """
    try:
        return None if text is None else SectorSize.parse(text)
    except ValueError as error:
        raise exits.WrongUsage(f"--sector-size: {error}") from error


def of_size(report: capacity.Report, wanted: SectorSize | None) -> capacity.Report:
    """Return what a report says of threads that seal sectors of a size; of all, if none is wanted."""
    if wanted is None:
        return report
    return structs.replace(report, lines=[line for line in report.lines if line.size == wanted.label])


def plan(report: capacity.Report) -> Plan:
    """Forecast a worker."""
    known = [line for line in report.lines if line.steps]
    if not known:
        plans = ", ".join(f"{line.plan} {line.size}".strip() for line in report.lines) or "no thread that seals"
        text = (
            f"no times of stages: no sector of {plans} is finished yet; state them, like --time pc1=4h --time pc2=30min"
        )
        return Plan(report=report, error=text if report.lines else "no thread seals sectors")
    if (threads := sum(line.threads for line in known)) > capacity.MOST_THREADS:
        return Plan(report=report, error=f"tells of {threads} threads: {capacity.MOST_THREADS} are forecast at most")
    plant = forecast.Plant(
        lines=[
            forecast.Line(
                threads=line.threads,
                steps=[forecast.Step(seconds=one.seconds, stage=one.stage, needs=one.needs) for one in line.steps],
            )
            for line in known
        ],
        capacity=report.capacity,
        slots=report.slots,
    )
    try:
        return Plan(report=structs.replace(report, lines=known), found=forecast.of(plant), gains=forecast.gains(plant))
    except ValueError as error:
        return Plan(report=report, error=str(error))


def as_json(one: Plan) -> dict[str, Any]:
    """Return a worker's plan for programs."""
    made: dict[str, Any] = {"worker": one.report.worker, "sectors_per_day": round(one.per_day, 3)}
    if one.found is None:
        return {**made, "error": one.error}
    lines = [
        {**codec.to_builtins(line), "sectors_per_day": round(per_day, 3)}
        for line, per_day in zip(one.report.lines, one.found.per_day, strict=True)
    ]
    return {
        **made,
        "bottleneck": one.found.bottleneck,
        "waits": {name: round(share, 4) for name, share in one.found.waits.items()},
        "one_more": [{"what": what, "sectors_per_day": round(gain, 3)} for what, gain in one.gains],
        "lines": lines,
        "capacity": one.report.capacity,
        "slots": one.report.slots,
        "granted": codec.to_builtins(one.report.granted),
    }


_LINES = tables.Table[tuple[str, ...]](columns=("Plan", "Size", "Threads", "A day"), cells=lambda row: row)
_STEPS = tables.Table[tuple[str, ...]](columns=("State", "Stage", "Took", "Sectors", "With"), cells=lambda row: row)
_GAINS = tables.Table[tuple[str, ...]](columns=("One more", "A day"), cells=lambda row: row)


def show(one: Plan, *, full: bool) -> None:
    """Print a worker's plan for people: its lines, the times they rest on, what holds it up, what more would bring."""
    if one.found is None:
        raise exits.Failed(one.error)
    shown = zip(one.report.lines, one.found.per_day, strict=True)
    tables.show(
        _LINES, [(line.plan, line.size, str(line.threads), f"{per_day:.2f}") for line, per_day in shown], full=full
    )
    print(bottleneck(one.found))
    print()
    tables.show(_GAINS, [(what, f"{gain:+.2f}") for what, gain in one.gains], full=full)
    print()
    for line in one.report.lines:
        tables.show(_STEPS, [_step(step) for step in line.steps], full=full)


def bottleneck(found: forecast.Forecast) -> str:
    """Return a worker's bottleneck in a line."""
    waits = sorted(((share, name) for name, share in found.waits.items() if share >= 0.005), reverse=True)
    causes = ", ".join(f"{share:.0%} for {name}" for share, name in waits) or "for nothing that the machine lacks"
    return f"bottleneck: {found.bottleneck} (threads wait {causes})"


def _step(step: capacity.Step) -> tuple[str, ...]:
    needs = ", ".join(f"{grants.amount(name, number)} of {name}" for name, number in step.needs.items())
    source = str(step.samples) if step.samples else "stated"
    return step.state, step.stage or times.WAIT, units.brief_duration(step.seconds), source, needs
