"""Read the worker's configuration, report all of its errors at once, and work out the options of a thread.

The file is the original's TOML; its keys are the fields of `config_model`. Unknown keys, which the original ignores,
are warnings here, and errors if asked for.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

import pydantic
from pydantic_core import ErrorDetails

from damocles.rpc import address
from damocles.stores.persist import PersistStore
from damocles.text import spelling
from damocles.wire import sectors
from damocles.worker.config import checks, environment, far, machine, report, rpc, secrets, values
from damocles.worker.config import model as config_model
from damocles.worker.config import stores as config_stores
from damocles.worker.config.model import Config, HotConfig, Sealing
from damocles.worker.config.processors import Group
from damocles.worker.config.report import ConfigError, Problem

__all__ = [
    "Config",
    "ConfigError",
    "Group",
    "Hot",
    "HotConfig",
    "Loaded",
    "Problem",
    "Sealing",
    "Thread",
    "check",
    "effective",
    "load",
    "load_hot",
    "plans",
    "rpc_address",
    "sizes",
]

M = TypeVar("M", bound=values.Table)

HOT_FILE_NAME = "config.toml"

_EXPECTED = {
    "bool_type": "expected true or false, without quotes",
    "dict_type": "expected a table",
    "int_type": "expected a whole number, without quotes",
    "model_type": "expected a table",
    "path_type": "expected a path in quotes",
    "string_too_short": "expected a text that is not empty",
    "string_type": "expected a text in quotes",
    "tuple_type": "expected an array",
}
# What people carry along from old releases, or from other parts of the original.
_RETIRED = {
    "remote_store": "; persist stores are [[attached]] tables",
    "attached_selection": "; stores are chosen by the manager",
    "weight": "; a worker's processors have none: the one with the most room gets the next task",
    "hugepage_files_path": f"; {machine.NO_HUGE_PAGE_FILES}",
    "hugepage_files_path_pattern": f"; {machine.NO_HUGE_PAGE_FILES}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A configuration that is fit for use; `warnings` are oddities that do not prevent that."""

    file: Path
    config: Config
    warnings: tuple[Problem, ...]
    persist_stores: tuple[PersistStore, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hot:
    """What a thread's `config.toml` sets."""

    file: Path
    config: HotConfig
    warnings: tuple[Problem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thread:
    """What holds for one thread: `[sealing]`, its own entry and its hot file, the later over the earlier."""

    index: int
    location: Path | None
    plan: str
    sealing: Sealing


def load(file: Path | str, *, strict: bool = False) -> Loaded:
    """Read and check the worker's configuration file.

    Raises:
        ConfigError: It cannot be used, or `strict` is set and it has warnings.
    """
    return check(report.read(Path(file)), strict=strict)


def check(document: report.Document, *, strict: bool = False) -> Loaded:
    """Check a configuration that has been read (see `load`)."""
    config, errors, warnings = _validate(document, Config)
    found = (
        *checks.errors(document.data),
        *environment.errors(document.data),
        *config_stores.errors(document.data),
        *far.errors(document.data),
    )
    errors += [document.problem(path, text, value=value) for path, value, text in found]
    odd = (
        *checks.oddities(document.data),
        *config_stores.oddities(document.data),
        *machine.oddities(document.data),
        *far.oddities(document.data),
        *secrets.oddities(document.file, document.data),
    )
    warnings += [document.problem(path, text, value=value) for path, value, text in odd]
    config = _settle(config, errors, warnings, strict=strict)
    if config.insecure:
        server = config.worker.rpc_server.model_copy(update={"insecure": True})
        worker = config.worker.model_copy(update={"rpc_server": server})
        metrics = config.metrics.model_copy(update={"open": True})
        config = config.model_copy(update={"worker": worker, "metrics": metrics})
    stores = checks.persist_stores(config.attached, config.worker.scan_persist_stores)
    return Loaded(file=document.file, config=config, warnings=tuple(_by_line(warnings)), persist_stores=tuple(stores))


def load_hot(location: Path, *, strict: bool = False) -> Hot | None:
    """Read the hot configuration of the thread that works at `location`; `None` if there is none.

    Raises:
        ConfigError: The file cannot be used.
    """
    file = location / HOT_FILE_NAME
    try:
        is_there = file.exists()
    except OSError as error:  # the disk is broken, not the file missing
        raise ConfigError([Problem(file=file, message=f"cannot be read: {error.strerror}")]) from error
    return parse_hot(report.read(file), strict=strict) if is_there else None


def parse_hot(document: report.Document, *, strict: bool = False) -> Hot:
    """Check a hot configuration (see `load_hot`)."""
    config, errors, warnings = _validate(document, HotConfig)
    config = _settle(config, errors, warnings, strict=strict)
    return Hot(file=document.file, config=config, warnings=tuple(_by_line(warnings)))


def effective(config: Config, index: int, hot: Hot | None = None) -> Thread:
    """Work out what holds for the thread at `index` of the file."""
    thread = config.sealing_thread[index]
    sealing = Sealing().layered(config.sealing).layered(thread.sealing)
    plan = thread.plan
    if hot is not None:
        sealing = sealing.layered(hot.config.sealing)
        plan = hot.config.plan or plan
    return Thread(index=index, location=thread.location, plan=plan, sealing=sealing)


def plans(config: Config) -> dict[str, tuple[sectors.SectorSize, ...] | None]:
    """Return the plans in use with the sizes that their threads allow, `None` for any."""
    found: dict[str, tuple[sectors.SectorSize, ...] | None] = {}
    for index in range(len(config.sealing_thread)):
        thread = effective(config, index)
        allowed, known = thread.sealing.allowed_sizes, found.get(thread.plan, ())
        found[thread.plan] = None if allowed is None or known is None else (*known, *allowed)
    return found


def sizes(config: Config) -> set[sectors.SectorSize]:
    """Return the sizes that the threads name."""
    threads = (effective(config, index) for index in range(len(config.sealing_thread)))
    return {size for thread in threads for size in thread.sealing.allowed_sizes or ()}


def rpc_address(config: Config) -> address.Endpoint:
    """Return where the worker's control API is reached from this machine."""
    return rpc.reached_at(config.worker.rpc_server.host, config.worker.rpc_server.port)


def _settle(config: M | None, errors: list[Problem], warnings: list[Problem], *, strict: bool) -> M:
    """Return the configuration, or raise what is wrong with it, ordered by line."""
    if strict:
        errors, warnings = [*errors, *warnings], []
    if errors or config is None:
        raise ConfigError(_by_line(errors), _by_line(warnings))
    return config


def _by_line(problems: list[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda problem: problem.line or 0)


def _validate(document: report.Document, model: type[M]) -> tuple[M | None, list[Problem], list[Problem]]:
    """Check the types of a file: the configuration if it holds, what is wrong, and the unknown keys."""
    config, details = _attempt(model, document.data)
    unknown = [error for error in details if error["type"] == "extra_forbidden"]
    if unknown:
        # Without the unknown keys the rest can be judged, and the checks that follow do not stumble over them.
        for error in unknown:
            _remove(document.data, error["loc"])
        config, details = _attempt(model, document.data)
    warnings = [
        document.problem(error["loc"], f"unknown key, it has no effect{_suggestion(model, error['loc'])}")
        for error in unknown
    ]
    errors = [_as_problem(document, model, error) for error in details]
    return config, errors, warnings


def _attempt(model: type[M], data: dict[str, Any]) -> tuple[M | None, list[ErrorDetails]]:
    try:
        return model.model_validate(data), []
    except pydantic.ValidationError as error:
        return None, error.errors(include_url=False)


def _as_problem(document: report.Document, model: type[M], error: ErrorDetails) -> Problem:
    path = tuple(part for part in error["loc"] if part != "[key]")
    if error["type"] == "missing":
        described = _model_at(model, path[:-1]).model_fields[str(path[-1])].description
        return document.problem(path, f"missing; expected {described}")
    # Of a bad key, the input is the key itself.
    value = None if "[key]" in error["loc"] else error["input"]
    return document.problem(path, _message(error), value=value)


def _message(error: ErrorDetails) -> str:
    context = error.get("ctx", {})
    match error["type"]:
        case "value_error":
            return str(context["error"])
        case "greater_than_equal":
            return f"expected at least {context['ge']}"
        case kind:
            return _EXPECTED.get(kind, error["msg"])


def _suggestion(model: type[M], path: report.KeyPath) -> str:
    word = str(path[-1])
    if model is HotConfig and path == ("location",):
        return "; a thread cannot move while it runs"
    if word in _RETIRED:
        return _RETIRED[word]
    known = list(config_model.field_names(_model_at(model, path[:-1])))
    for name, annotation in config_model.field_names(_model_at(model, path[:-1])).items():
        if inner := _inner_model(annotation):
            known += [f"{name}.{below}" for below in config_model.field_names(inner)]
    return spelling.did_you_mean(word, known)


def _model_at(model: type[values.Table], path: report.KeyPath) -> type[values.Table]:
    for part in path:
        if isinstance(part, str):
            inner = _inner_model(config_model.field_names(model).get(part))
            model = inner or model
    return model


def _inner_model(annotation: Any) -> type[values.Table] | None:
    if isinstance(annotation, type) and issubclass(annotation, values.Table):
        return annotation
    return next((inner for part in get_args(annotation) if (inner := _inner_model(part))), None)


def _remove(data: Any, path: report.KeyPath) -> None:
    for part in path[:-1]:
        data = data[part]
    del data[path[-1]]
