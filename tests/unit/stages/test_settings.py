"""What the library's settings may be."""

from pathlib import Path

import pytest

from damocles.stages import settings

STRIDE, LOOKAHEAD = "FIL_PROOFS_MULTICORE_SDR_PRODUCER_STRIDE", "FIL_PROOFS_MULTICORE_SDR_LOOKAHEAD"
WINDOW = "FIL_PROOFS_SDR_PARENTS_CACHE_SIZE"


def told(**environment: str) -> list[str]:
    """Return what is wrong with an environment."""
    return [str(problem) for problem in settings.problems(environment)]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("FIL_PROOFS_USE_MULTICORE_SDR", ["1", "0", "true", "False", "YES", "off"]),
        ("FIL_PROOFS_ROWS_TO_DISCARD", ["0", "2", "7"]),
        ("FIL_PROOFS_MULTICORE_SDR_PRODUCERS", ["1", "3", "256"]),
        (STRIDE, ["1", "128", "800"]),
        (LOOKAHEAD, ["128", "1000000"]),
        (WINDOW, ["128", "1000000"]),
        ("FIL_PROOFS_PARENT_CACHE", ["/p"]),
        ("DAMOCLES_PROVER", ["", "damocles", "portable", "bellperson"]),
        ("FIL_PROOFS_MAXIMIZE_CACHING", ["", "anything: not a setting any more"]),
    ],
)
def test_what_the_library_can_work_with_is_no_problem(name: str, values: list[str]) -> None:
    """Nor is an environment without settings."""
    assert [] == told()
    for value in values:
        assert [] == told(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("FIL_PROOFS_USE_MULTICORE_SDR", "", "expected true or false; leave it out for the default"),
        ("FIL_PROOFS_VERIFY_CACHE", "maybe", "expected true or false; leave it out for the default"),
        ("FIL_PROOFS_ROWS_TO_DISCARD", "abc", "expected a whole number from 0 to 7; leave it out for the default"),
        ("FIL_PROOFS_ROWS_TO_DISCARD", "", "expected a whole number from 0 to 7; leave it out for the default"),
        (WINDOW, "0", "expected a whole number from 1 to 4294967295; leave it out for the default"),
        (
            "FIL_PROOFS_MULTICORE_SDR_PRODUCERS",
            "0",
            "expected a whole number from 1 to 256; leave it out for the default",
        ),
        (STRIDE, "-1", "expected a whole number from 1 to 1000000; leave it out for the default"),
        ("FIL_PROOFS_PARENT_CACHE", "", "expected a folder; leave it out for the default"),
        ("FIL_PROOFS_PARAMETER_CACHE", "", "expected a folder; leave it out for the default"),
        ("DAMOCLES_PROVER", "gpu", "expected one of damocles, portable, bellperson; leave it out for the default"),
    ],
)
def test_what_would_be_a_panic_in_each_stage_is_named(name: str, value: str, expected: str) -> None:
    """The variable, its value, and what it may be."""
    assert [f"{name}={value}: {expected}"] == told(**{name: value})


@pytest.mark.parametrize(
    ("environment", "name"),
    [({LOOKAHEAD: "127"}, LOOKAHEAD), ({WINDOW: "127"}, WINDOW), ({STRIDE: "801"}, LOOKAHEAD)],
)
def test_what_keeps_pc1_from_ending_is_named(environment: dict[str, str], name: str) -> None:
    """A stride has to fit in what the threads may be ahead of each other, by default too."""
    (problem,) = settings.problems(environment)
    assert (name, STRIDE) == problem.names
    assert problem.expected.startswith(f"{name} must not be less than {STRIDE}, here ")
    assert problem.expected.endswith(": PC1 on several cores would never end")


def test_several_mistakes_come_together() -> None:
    """Nobody has to start a worker twice to see the second one."""
    assert ["FIL_PROOFS_VERIFY_CACHE", "FIL_PROOFS_ROWS_TO_DISCARD"] == [
        problem.name
        for problem in settings.problems({"FIL_PROOFS_ROWS_TO_DISCARD": "x", "FIL_PROOFS_VERIFY_CACHE": ""})
    ]


def test_the_library_s_file_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it holds is judged like variables, and so is that it cannot be read."""
    monkeypatch.chdir(tmp_path)
    file = Path("rust-fil-proofs.config.toml")
    file.write_text("use_multicore_sdr = true\nmulticore_sdr_lookahead = 1\n")
    assert [LOOKAHEAD] == [problem.name for problem in settings.problems({})]
    assert [] == settings.problems({LOOKAHEAD: "800"})
    file.write_text("not = = toml")
    (text,) = told()
    assert text.startswith(f"rust-fil-proofs.config.toml=: this file in {tmp_path} is not TOML")
