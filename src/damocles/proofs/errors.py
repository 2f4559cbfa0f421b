"""What the library of proofs refuses, or fails at.

```
ProofsError         the library refuses or fails; the text is its own, the outermost cause first
├── FileUnusable    a file or folder is missing, unreadable or of the wrong size; nothing has been done
├── FaultySectors   a PoSt meets sectors that it cannot prove
└── ProofsPanic     the library hit an assertion; a damaged file is the usual reason
```
"""

import contextlib
from collections.abc import Iterator, Sequence

import damocles_proofs as native


class ProofsError(Exception):
    """The library of proofs refuses or fails; the text is its own."""


class FileUnusable(ProofsError):
    """A file or folder cannot be used. Make `path` right, then run the stage again."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


class FaultySectors(ProofsError):
    """Sectors cannot be proved. Check their files, and prove without them meanwhile."""

    def __init__(self, text: str, numbers: Sequence[int]) -> None:
        super().__init__(text)
        self.numbers = tuple(numbers)


class ProofsPanic(ProofsError):
    """The library hit an assertion; `place` is the line of its source.

    Its thread pools do not recover: the process has to be replaced, or a later call may never return.
    """

    spoils_process = True

    def __init__(self, message: str, place: str | None) -> None:
        super().__init__(f"Panic: {message}")
        self.place = place


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Raise the library's errors as ours."""
    try:
        yield
    except native.FileError as error:
        raise FileUnusable(error.path, error.problem) from error
    except native.FaultySectorsError as error:
        raise FaultySectors(str(error), error.sectors) from error
    except native.PanicError as error:
        raise ProofsPanic(str(error), error.place) from error
    except (native.ProofsError, ValueError) as error:
        raise ProofsError(str(error)) from error
