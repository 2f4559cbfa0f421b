"""The library's settings: what they may be, and those that we have to know too.

It reads them once in a process, from the environment, and before that from a file in the working folder. One that it
cannot read is a panic in each stage, also where a variable is merely empty; some that it can read keep PC1 from ever
ending.
"""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from damocles.stores import layout
from damocles.text import toml
from damocles.wire import sectors

PREFIX = "FIL_PROOFS_"
ROWS_TO_DISCARD = "FIL_PROOFS_ROWS_TO_DISCARD"
PARENT_CACHE = "FIL_PROOFS_PARENT_CACHE"
CACHE_BASE = "FIL_PROOFS_CACHE_DIR"
FILE = Path("rust-fil-proofs.config.toml")

PROVER = "DAMOCLES_PROVER"  # ours, of `damocles_proofs`; the file of the library does not have it
_PROVERS = ("damocles", "portable", "bellperson")

_STRIDE = "FIL_PROOFS_MULTICORE_SDR_PRODUCER_STRIDE"
_LOOKAHEAD = "FIL_PROOFS_MULTICORE_SDR_LOOKAHEAD"
_WINDOW = "FIL_PROOFS_SDR_PARENTS_CACHE_SIZE"
_DEFAULTS = {_STRIDE: 128, _LOOKAHEAD: 800, _WINDOW: 2048}

_FLAGS = (
    "FIL_PROOFS_VERIFY_CACHE",
    "FIL_PROOFS_VERIFY_PRODUCTION_PARAMS",
    "FIL_PROOFS_USE_GPU_COLUMN_BUILDER",
    "FIL_PROOFS_USE_GPU_TREE_BUILDER",
    "FIL_PROOFS_USE_MULTICORE_SDR",
)
_FLAG_TEXTS = frozenset({"1", "true", "on", "yes", "0", "false", "off", "no"})
_MOST = 2**32 - 1
_MOST_ROWS = 7  # of the largest tree, which has nine
_NUMBERS = {  # the least and the most that makes sense
    "FIL_PROOFS_MAX_GPU_COLUMN_BATCH_SIZE": (1, _MOST),
    "FIL_PROOFS_COLUMN_WRITE_BATCH_SIZE": (0, _MOST),
    "FIL_PROOFS_MAX_GPU_TREE_BATCH_SIZE": (1, _MOST),
    "FIL_PROOFS_WINDOW_POST_SYNTHESIS_NUM_CPUS": (1, _MOST),
    ROWS_TO_DISCARD: (0, _MOST_ROWS),
    _WINDOW: (1, _MOST),
    "FIL_PROOFS_MULTICORE_SDR_PRODUCERS": (1, 256),
    _STRIDE: (1, 1_000_000),
    _LOOKAHEAD: (1, 1_000_000),
}
_FOLDERS = (PARENT_CACHE, "FIL_PROOFS_PARAMETER_CACHE")

_DEFAULT_ROWS_TO_DISCARD = 2
_DEFAULT_CACHE_BASE = "/var/tmp/"  # noqa: S108 - the library's


@dataclass(frozen=True, slots=True)
class Problem:
    """A setting that the library cannot work with; `value` is what it is set to, `other` the one it does not fit."""

    name: str
    value: str
    expected: str
    other: str | None = None

    def __str__(self) -> str:
        return f"{self.name}={self.value}: {self.expected}"

    @property
    def names(self) -> tuple[str, ...]:
        """The settings that could be changed."""
        return (self.name,) if self.other is None else (self.name, self.other)


def problems(environment: Mapping[str, str] = os.environ) -> list[Problem]:
    """Return what would make each stage panic in this environment, or keep PC1 from ending."""
    try:
        _file()
    except toml.Unusable as error:
        return [Problem(str(FILE), "", f"this file in {Path.cwd()} {error}; the library of proofs reads it")]
    found = list(_unreadable(environment))
    return found or list(_endless(environment))


def _unreadable(environment: Mapping[str, str]) -> Iterator[Problem]:
    for name in _FLAGS:
        text = value(name, environment)
        if text is not None and text.lower() not in _FLAG_TEXTS:
            yield Problem(name, text, "expected true or false; leave it out for the default")
    for name, (least, most) in _NUMBERS.items():
        text = value(name, environment)
        if text is not None and not (text.isascii() and text.isdecimal() and least <= int(text) <= most):
            yield Problem(name, text, f"expected a whole number from {least} to {most}; leave it out for the default")
    if (prover := environment.get(PROVER, "")) and prover not in _PROVERS:
        yield Problem(PROVER, prover, f"expected one of {', '.join(_PROVERS)}; leave it out for the default")
    for name in _FOLDERS:
        if value(name, environment) == "":
            yield Problem(name, "", "expected a folder; leave it out for the default")


def _endless(environment: Mapping[str, str]) -> Iterator[Problem]:
    """Yield what lets the threads of a PC1 on several cores wait for each other: nobody hands over a part stride."""
    stride = _number(_STRIDE, environment)
    for name in (_LOOKAHEAD, _WINDOW):
        if (limit := _number(name, environment)) < stride:
            expected = f"{name} must not be less than {_STRIDE}, here {limit} and {stride}: PC1 on several cores would never end"
            yield Problem(name, str(limit), expected, _STRIDE)


def _number(name: str, environment: Mapping[str, str]) -> int:
    return int(value(name, environment) or _DEFAULTS[name])


def value(name: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return what a setting is set to; `name` is that of its variable."""
    if name in environment:
        return environment[name]
    try:
        found = _file().get(name.removeprefix(PREFIX).lower())
    except toml.Unusable:
        return None  # see `problems`
    return None if found is None else str(found)


def _file() -> dict[str, object]:
    return toml.parse(toml.read(FILE)) if FILE.is_file() else {}


def rows_to_discard(environment: Mapping[str, str] = os.environ) -> int:
    """Return how many rows of tree-r-last are left out, which have to be the same wherever a sector is sealed or proved.

    Raises:
        ValueError: It is no number.
    """
    text = value(ROWS_TO_DISCARD, environment)
    return _DEFAULT_ROWS_TO_DISCARD if text is None else int(text)


def tree_problem(found_bytes: int, size: sectors.SectorSize, rows: int) -> str:
    """Return what is wrong with the length of a file of tree-r-last, or nothing; what is behind its end does no harm.

    Args:
        found_bytes: The length.
        size: The sector's size.
        rows: The number of rows that is set where the sector is to be proved.
    """
    wanted = layout.tree_r_last_bytes(size, rows)
    if found_bytes == wanted:
        return ""
    for others in range(_MOST_ROWS + 1):
        if found_bytes == layout.tree_r_last_bytes(size, others):
            return (
                f"as if it was made with {ROWS_TO_DISCARD}={others}, and where that is {rows}, as here, it"
                f" should have {wanted}: set it to {others} here, if the file was not cut"
            )
    return f"it should have {wanted}" if found_bytes < wanted else ""


def parent_cache(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of the parent caches."""
    base = environment.get(CACHE_BASE, _DEFAULT_CACHE_BASE)  # put in front as it is, without a slash
    return Path(value(PARENT_CACHE, environment) or f"{base}filecoin-parents")
