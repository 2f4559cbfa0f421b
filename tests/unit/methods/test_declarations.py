"""How methods are declared, and what is declared."""

import re
from pathlib import Path
from typing import Any

import pytest

from damocles import methods
from damocles.methods import rules
from damocles.methods.declaring import declared, described

SOURCE = Path(methods.__file__).parents[1]
NAME = re.compile(r"""["'](?:Venus|VenusWorker|Damocles)\.\w""")


@declared("Test.Resume", rules.OPERATE)
def resume(index: int, state: str | None = None, /) -> list[str] | None:
    """Resume a thread."""


def test_a_declaration_is_what_its_signature_says() -> None:
    """Names, types and optional parameters are those of the decorated function."""
    assert ("Test.Resume", rules.OPERATE) == (resume.name, resume.rule)
    assert (("index", "state"), (int, str | None), 1) == (resume.parameters, resume.kinds, resume.least)
    assert list[str] | None == resume.returns
    assert resume.has_result


def test_a_call_has_the_parameters_that_are_given() -> None:
    """What is left out does not travel: the peer has defaults of its own."""
    assert methods.Ask("Test.Resume", (3,), list[str] | None) == resume(3)
    assert methods.Ask("Test.Resume", (3, "PC1"), list[str] | None) == resume(3, "PC1")


def test_a_result_can_be_read_as_something_else() -> None:
    """Of what comes back, a caller may want less."""
    assert methods.Ask("Test.Resume", (3,), bytes) == resume(3).read_as(bytes)


def test_parameters_are_positional_and_have_types() -> None:
    """The wire has no names, and what has no type cannot be decoded."""

    def named(*, index: int) -> None:
        """Take what the wire cannot give."""

    def untyped(index) -> None:
        """Take anything."""

    for signature, why in (
        (named, "parameter index of .* is not positional"),
        (untyped, "parameter index of .* has no type"),
    ):
        with pytest.raises(TypeError, match=f"Test.Bad: {why}"):
            described("Test.Bad", signature)


def test_every_declared_method_has_a_rule_and_a_name_of_its_own() -> None:
    """A method without a rule could be called by nobody, and of two under one name one would be lost."""
    subjects = [
        value for value in vars(methods).values() if getattr(value, "__name__", "").startswith("damocles.methods.")
    ]
    found: list[methods.Method[..., Any]] = [
        value for subject in subjects for value in vars(subject).values() if isinstance(value, methods.Method)
    ]
    assert [] == [method.name for method in found if method.rule is None]
    assert len(methods.ALL) == len(found) == len({method.name for method in found}) > 90


def test_names_stand_where_methods_are_declared_and_nowhere_else() -> None:
    """Whoever serves or calls a method does it by its declaration: a name that is spelled twice can be spelled wrong."""
    elsewhere = [path for path in SOURCE.rglob("*.py") if path.parent != SOURCE / "methods"]
    assert len(elsewhere) > 300
    found = [
        f"{path.relative_to(SOURCE)}:{number}: {line.strip()}"
        for path in elsewhere
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if NAME.search(line)
    ]
    assert [] == found
    assert all(NAME.search(f'"{name}"') for name in methods.ALL)
