"""`damocles-worker config check --from-damocles`: what a file of the original's worker means here."""

from pathlib import Path
from typing import Any

from damocles.cli import common
from damocles.rpc import tokens
from damocles.worker import config as configuration
from damocles.worker import config_adopt, config_environment, config_report

_WORDS = {
    "refused": "the original takes it, this worker does not",
    "differs": "means something else here",
    "needed": "needed here",
    "ignored": "has no effect",
}


def check(file: Path, out: Path | None, *, as_json: bool) -> int:
    """Print what is different, then what keeps a worker from starting all the same; write the file as it has to be.

    The exit code says whether a worker could use the written file.
    """
    if out is not None and out.exists():
        raise common.Failed(f"{out} is there already: choose another name, nothing is replaced")
    try:
        document = config_report.read(file)
    except config_report.ConfigError as failure:
        raise common.Failed(str(failure)) from failure
    found = sorted(config_adopt.differences(document.data), key=lambda one: document.line_of(one.path) or 0)
    text = _text(document, found)
    if out is None:
        changed = config_report.Document(file, config_adopt.adopted(document.data, found), document.lines)
    else:
        changed = config_report.parse(text, out)
    errors, warnings = _judged(changed)
    if out is not None:
        try:
            tokens.write_private(out, text.encode())  # there may be a token in it
        except OSError as error:
            raise common.Failed(f"{out} cannot be written: {error.strerror}") from error
    if as_json:
        common.print_json(
            {
                "file": str(file),
                "written": str(out) if out is not None else None,
                "ok": not errors,
                "differences": [_as_dict(document, one) for one in found],
                "errors": [problem.as_dict() for problem in errors],
                "warnings": [problem.as_dict() for problem in warnings],
            }
        )
        return common.FAILED if errors else common.OK
    for one in found:
        common.say(_line(document, one))
    for problem in warnings:
        common.warning(str(problem))
    for problem in errors:
        common.error(str(problem))
    if out is not None:
        common.say(f"{out}: written" + ("; a worker cannot use it yet" if errors else ", a worker can use it"))
    elif any(one.changes for one in found):
        common.hint("--write OUT writes the file with these changes")
    elif not errors:
        common.say(f"{file}: ok as it is")
    return common.FAILED if errors else common.OK


def _text(document: config_report.Document, found: list[config_adopt.Difference]) -> str:
    changed = [f"#   {_changed(one)}" for one in found if one.changes]
    head = [
        f"# Made from {document.file.name} of damocles-worker (the original). Changed:",
        *dict.fromkeys(changed),
        "",
    ]
    lines = config_report.toml_lines(config_adopt.adopted(document.data, found))
    return "\n".join([*(head if changed else head[:0]), *lines]).strip() + "\n"


def _judged(
    changed: config_report.Document,
) -> tuple[tuple[configuration.Problem, ...], tuple[configuration.Problem, ...]]:
    """Return what is wrong, and what is odd, in the file as it has to be."""
    file = changed.file
    try:
        warnings = configuration.check(changed).warnings
        errors: tuple[configuration.Problem, ...] = ()
    except configuration.ConfigError as failure:
        errors, warnings = failure.errors, failure.warnings
    errors += tuple(config_report.Problem(file=file, message=told) for told in config_environment.of_worker())
    return errors, warnings


def _line(document: config_report.Document, one: config_adopt.Difference) -> str:
    message = f"{_WORDS[one.kind]}: {one.text}" + (f" -> {_changed(one)}" if one.changes else "")
    return str(document.problem(one.path, message, value=one.value))


def _changed(one: config_adopt.Difference) -> str:
    key = config_report.key_text(one.target)
    return f"{key} left out" if one.removes else f"{key} = {config_report.toml_text(one.becomes)}"


def _as_dict(document: config_report.Document, one: config_adopt.Difference) -> dict[str, Any]:
    problem = document.problem(one.path, one.text, value=one.value).as_dict()
    change = {"change": _changed(one) if one.changes else None}
    return {"kind": one.kind, **problem, **change}
