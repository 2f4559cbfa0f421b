"""`damocles-worker config check --from-damocles`: what a file of the original's worker means here."""

from pathlib import Path
from typing import Any

from damocles import durable
from damocles.cli.terminal import exits
from damocles.worker.config import adopt, environment, report
from damocles.worker.config import load as configuration

_WORDS = {
    "refused": "the original accepts it, this worker does not",
    "differs": "means something else here",
    "needed": "needed here",
    "ignored": "has no effect",
}


def check(file: Path, out: Path | None, *, as_json: bool) -> int:
    """Print the differences, then what still keeps a worker from starting; write the file as this worker needs it.

    The exit code shows whether a worker could use the written file.
    """
    if out is not None and out.exists():
        raise exits.Failed(f"{out} already exists: choose another name; nothing is overwritten")
    try:
        document = report.read(file)
    except report.ConfigError as failure:
        raise exits.Failed(str(failure)) from failure
    found = sorted(adopt.differences(document.data), key=lambda one: document.line_of(one.path) or 0)
    text = _text(document, found)
    if out is None:
        changed = report.Document(file, adopt.adopted(document.data, found), document.lines)
    else:
        changed = report.parse(text, out)
    errors, warnings = _judged(changed)
    if out is not None:
        try:
            durable.replace(out, text.encode(), private=True)  # there may be a token in it
        except OSError as error:
            raise exits.Failed(f"{out} cannot be written: {error.strerror}") from error
    if as_json:
        exits.print_json(
            {
                "file": str(file),
                "written": str(out) if out is not None else None,
                "ok": not errors,
                "differences": [_as_dict(document, one) for one in found],
                "errors": [problem.as_dict() for problem in errors],
                "warnings": [problem.as_dict() for problem in warnings],
            }
        )
        return exits.FAILED if errors else exits.OK
    for one in found:
        exits.print_line(_line(document, one))
    for problem in warnings:
        exits.warning(str(problem))
    for problem in errors:
        exits.error(str(problem))
    if out is not None:
        exits.print_line(f"{out}: written" + ("; a worker cannot use it yet" if errors else ", a worker can use it"))
    elif any(one.changes for one in found):
        exits.hint("--write OUT writes the file with these changes")
    elif not errors:
        exits.print_line(f"{file}: ok as it is")
    return exits.FAILED if errors else exits.OK


def _text(document: report.Document, found: list[adopt.Difference]) -> str:
    changed = [f"#   {_changed(one)}" for one in found if one.changes]
    head = [
        f"# Made from {document.file.name} of damocles-worker (the original). Changed:",
        *dict.fromkeys(changed),
        "",
    ]
    lines = report.toml_lines(adopt.adopted(document.data, found))
    return "\n".join([*(head if changed else head[:0]), *lines]).strip() + "\n"


def _judged(
    changed: report.Document,
) -> tuple[tuple[configuration.Problem, ...], tuple[configuration.Problem, ...]]:
    """Return the errors and warnings of the changed file."""
    file = changed.file
    try:
        warnings = configuration.check(changed).warnings
        errors: tuple[configuration.Problem, ...] = ()
    except configuration.ConfigError as failure:
        errors, warnings = failure.errors, failure.warnings
    errors += tuple(report.Problem(file=file, message=text) for text in environment.of_worker())
    return errors, warnings


def _line(document: report.Document, one: adopt.Difference) -> str:
    message = f"{_WORDS[one.kind]}: {one.text}" + (f" -> {_changed(one)}" if one.changes else "")
    return str(document.problem(one.path, message, value=one.value))


def _changed(one: adopt.Difference) -> str:
    key = report.key_text(one.target)
    return f"{key} left out" if one.removes else f"{key} = {report.toml_text(one.becomes)}"


def _as_dict(document: report.Document, one: adopt.Difference) -> dict[str, Any]:
    problem = document.problem(one.path, one.text, value=one.value).as_dict()
    change = {"change": _changed(one) if one.changes else None}
    return {"kind": one.kind, **problem, **change}
