"""Failures of the proofs.

```
ProofsError              the library refuses or fails
├── FileError            an input or output cannot be used; nothing has been done yet
├── FaultySectorsError   a PoSt meets sectors that it cannot prove
└── PanicError           the library hits its own assertion
```

An argument that no call could accept (wrong length, unknown name) is a plain `ValueError`.
"""


class ProofsError(Exception):
    """The proofs library failed; the message is its whole chain of causes, the outermost first."""


class FileError(ProofsError):
    """A file or folder cannot be used. Make `path` right, then call again."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


class FaultySectorsError(ProofsError):
    """Sectors cannot be proved. Check the files of each of `sectors`, and prove without them meanwhile.

    `problems` has a line on each sector whose files could not even be opened; it is empty when all could.
    """

    def __init__(self, sectors: tuple[int, ...], problems: tuple[str, ...] = ()) -> None:
        super().__init__(sectors, problems)
        self.sectors = sectors
        self.problems = problems

    def __str__(self) -> str:
        return "; ".join([f"faulty sectors: {', '.join(map(str, self.sectors))}", *self.problems])


class PanicError(ProofsError):
    """The library panicked: it met data that it takes to be impossible, most often a damaged file.

    `message` is the panic's, `place` the file and line in the library, `earlier` what other threads said in panic
    meanwhile: usually the reason. Replace the process afterwards. Thread pools of the library do not recover, and a
    later call may wait for one of them forever.
    """

    def __init__(self, message: str, place: str | None = None, earlier: tuple[str, ...] = ()) -> None:
        super().__init__(message, place, earlier)
        self.message = message
        self.place = place
        self.earlier = earlier

    def __str__(self) -> str:
        if not self.earlier:
            return self.message
        return f"{self.message}, after: {'; '.join(self.earlier)}"
