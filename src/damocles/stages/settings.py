"""The library's settings: those that we have to know too, and from where it takes them.

It reads them once in a process, from the environment, and before that from a file in the working folder.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path

ROWS_TO_DISCARD = "FIL_PROOFS_ROWS_TO_DISCARD"
PARENT_CACHE = "FIL_PROOFS_PARENT_CACHE"
CACHE_BASE = "FIL_PROOFS_CACHE_DIR"
FILE = Path("rust-fil-proofs.config.toml")

_PREFIX = "FIL_PROOFS_"
_DEFAULT_ROWS_TO_DISCARD = 2
_DEFAULT_CACHE_BASE = "/var/tmp/"  # noqa: S108 - the library's


def value(name: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return what a setting is set to; `name` is that of its variable."""
    if name in environment:
        return environment[name]
    try:
        settings = tomllib.loads(FILE.read_text())
    except (OSError, ValueError):
        return None  # a file that is broken stops the library itself
    found = settings.get(name.removeprefix(_PREFIX).lower())
    return None if found is None else str(found)


def rows_to_discard(environment: Mapping[str, str] = os.environ) -> int:
    """Return how many rows of tree-r-last are left out, which have to be the same wherever a sector is sealed or proved.

    Raises:
        ValueError: It is no number.
    """
    text = value(ROWS_TO_DISCARD, environment)
    return _DEFAULT_ROWS_TO_DISCARD if text is None else int(text)


def parent_cache(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder of the parent caches."""
    base = environment.get(CACHE_BASE, _DEFAULT_CACHE_BASE)  # put in front as it is, without a slash
    return Path(value(PARENT_CACHE, environment) or f"{base}filecoin-parents")
