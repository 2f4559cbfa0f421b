"""What both programs serve, and how they fail: metrics, alerts, errors, wire methods."""

import inspect
from collections.abc import Iterable

from damocles import exposition, methods
from damocles.cli.terminal import exits
from damocles.kit.reference import tables, types
from damocles.manager.alerts import config as alerts_config
from damocles.manager.alerts import progress, rules
from damocles.manager.serving import due
from damocles.manager.serving import metrics as manager_metrics
from damocles.methods import declaring
from damocles.rpc import errors
from damocles.sealing import failures
from damocles.stages.supervision import limits
from damocles.text import keys, units
from damocles.text.tables import table_in
from damocles.worker.serving import metrics as worker_metrics

_CLIENTS = ("Unreachable", "Untrusted", "Unknowing", "Disconnected", "TimedOut", "BadAnswer")


def metrics_of_worker() -> str:
    """Return every metric of a worker, but those of its process."""
    facts = worker_metrics.Facts(
        version="",
        threads=(),
        slots=limits.Occupancy(running={}, waiting={}, limits={}),
        free_bytes={},
        lacking={},
        is_draining=False,
        managers=(),
        certificate_ends_at=None,
        now=0.0,
        loop_lag_seconds=0.0,
    )
    return _metrics([*worker_metrics.Tally().families(), *worker_metrics.families(facts)], worker_metrics.ORIGINALS)


def metrics_of_manager() -> str:
    """Return likewise those of a manager."""
    facts = manager_metrics.Facts(
        allocated={},
        online=0,
        workers=(),
        threads=exposition.Groups(threads={}, sectors={}, oldest={}),
        looked_seconds_ago=0.0,
        free_bytes={},
        reserved_bytes={},
        blocks={},
        alerts={},
        deliveries={},
        due=due.Due(),
        now=0.0,
        loop_lag_seconds=0.0,
    )
    counted = [*manager_metrics.Tally().families(), *progress.Progress().families({})]
    return _metrics([*counted, *manager_metrics.families(facts)], manager_metrics.ORIGINALS)


def _metrics(families: Iterable[exposition.Family], originals: frozenset[str]) -> str:
    rows = [
        (
            f"`{family.name}`",
            family.type,
            ", ".join(f"`{label}`" for label in family.labels),
            "" if family.name in originals else "ours",
            family.documentation,
        )
        for family in families
    ]
    return tables.table(("name", "type", "labels", "", "meaning"), sorted(rows, key=lambda row: row[0].strip("`")))


def alerts() -> str:
    """Return every rule of alerts."""
    model = table_in(alerts_config.File.model_fields["rules"].annotation)
    assert model is not None
    texts = keys.meanings(model)
    whens = {field.alias: texts[name] for name, field in model.model_fields.items()}
    rows = [
        (
            f"`{rule.name}`",
            whens[rule.name],
            units.human_duration(rule.for_seconds) if rule.for_seconds else "at once",
            rule.severity,
        )
        for rule in rules.DEFAULTS
    ]
    return tables.table(("rule", "when", "after", "severity"), rows)


def exit_codes() -> str:
    """Return every exit code of the commands."""
    known = sorted(value for name, value in vars(exits).items() if name.isupper() and type(value) is int)
    texts = inspect.getdoc(exits) or ""
    rows = [(str(code), _line_of(texts, code)) for code in known]
    return tables.table(("exit code", "meaning"), rows)


def _line_of(texts: str, code: int) -> str:
    (line,) = [line for line in texts.splitlines() if line.split()[:1] == [str(code)]]
    return line.split(maxsplit=1)[1]


def levels() -> str:
    """Return the failures of stages, by what is done about them."""
    kinds = [kind for kind in _below(failures.Failure) if kind.__module__ == failures.__name__]
    rows = [(f"`{kind.level.value.lower()}`", kind.__name__, tables.first_paragraph(kind)) for kind in kinds]
    return tables.table(("level", "kind", "what it means, and what follows"), rows)


def codes() -> str:
    """Return every code of an error on the wire."""
    texts = keys.texts_under(errors.Code)
    rows = [(str(code.value), code.name.lower().replace("_", " "), texts.get(code.name, "")) for code in errors.Code]
    return tables.table(("code", "name", "meaning"), rows)


def calls() -> str:
    """Return what can come of a call that gets no answer."""
    rows = [(name, tables.first_paragraph(vars(errors)[name])) for name in _CLIENTS]
    return tables.table(("error", "what it means"), rows)


def _below(kind: type[failures.Failure]) -> list[type[failures.Failure]]:
    return [found for one in kind.__subclasses__() for found in (one, *_below(one))]


def wire_methods() -> str:
    """Return every wire method, by subject."""
    parts = []
    for subject, declared in methods.BY_SUBJECT.items():
        rows = [_method(method) for method in declared]
        about = tables.first_paragraph(subject)
        parts.append(f"## {subject.__name__.rpartition('.')[2].capitalize()}\n\n{about}\n\n{tables.table(_HEAD, rows)}")
    return "\n\n".join(parts)


_HEAD = ("method", "parameters", "result", "who may call", "what it does")


def _method(method: declaring.Method[..., object]) -> tuple[str, ...]:
    parameters = [
        f"`{name}`: {types.words(kind)}{'' if at < method.least else ', optional'}"
        for at, (name, kind) in enumerate(zip(method.parameters, method.kinds, strict=True))
    ]
    result = types.words(method.returns) if method.has_result else "none"
    rule = method.rule
    who = "nobody" if rule is None else f"{rule.needs()}{'; audited' if rule.changes else ''}"
    return f"`{method.name}`", "; ".join(parameters), result, who, method.about.partition("\n\n")[0]


def wire_values() -> str:
    """Return every struct that a method takes or returns, with its fields."""
    kinds = [kind for method in methods.ALL.values() for kind in (*method.kinds, method.returns)]
    return types.structs(kinds)
