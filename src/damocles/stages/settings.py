"""The library's settings, which it reads from the environment when a process first needs them."""

import os
from collections.abc import Mapping

ROWS_TO_DISCARD = "FIL_PROOFS_ROWS_TO_DISCARD"

_DEFAULT_ROWS_TO_DISCARD = 2


def rows_to_discard(environment: Mapping[str, str] = os.environ) -> int:
    """Return how many rows of tree-r-last are left out, which have to be the same wherever a sector is sealed or proved.

    Raises:
        ValueError: It is no number.
    """
    text = environment.get(ROWS_TO_DISCARD)
    return _DEFAULT_ROWS_TO_DISCARD if text is None else int(text)
