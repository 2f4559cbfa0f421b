"""The folder of a manager, which one manager has at a time."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from damocles.manager import errors
from damocles.stores import holding

LOCK_NAME = "lock"


@contextlib.contextmanager
def claimed(home: Path) -> Iterator[None]:
    """Make the home and keep other managers off it: two writers on one SQLite file would each believe in its own."""
    with contextlib.ExitStack() as stack:
        try:
            home.mkdir(parents=True, exist_ok=True, mode=0o700)
            (home / LOCK_NAME).touch()
            stack.enter_context(holding.held(home / LOCK_NAME))
        except OSError as error:
            raise errors.StartError(f"the home {home} cannot be used: {error.strerror}") from error
        except holding.InUse as error:
            raise errors.StartError(
                f"the home {home} is in use by another manager ({error.owner}): stop it, or choose another --home"
            ) from None
        yield
