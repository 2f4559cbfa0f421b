"""The standard streams of a command, also where somebody has closed them or they cannot be written.

Imported before the parser, by both programs.
"""

import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable

FAILED = 1
INTERRUPTED = 130
_OF_OUTPUT = frozenset({errno.EBADF, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


class _Closed(io.TextIOBase):
    """Stands in for a standard output that is closed: every write to it fails."""

    def write(self, text: str) -> int:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    @property
    def buffer(self) -> "_Closed":
        """What bytes are written to."""
        return self


def guard() -> None:
    """Make sure that there are all three streams, so that no other file gets the number of one that is closed.

    Without this Python prints errors of a command whose stderr is closed to its stdout.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115 (for the life of the process)
    if sys.stdout is None:
        sys.stdout = _Closed()
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 (likewise)


def ended(command: Callable[[], int]) -> int:
    """Run a command and return its exit code; an output that cannot be written is one line and a failure.

    Ctrl-C is no more than an exit code, also before there is a parser.
    """
    try:
        code = command()
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough (`… | head`); the interpreter must not complain about it at its end.
        abandon_stdout()
        return FAILED
    except OSError as failure:
        if failure.filename is not None or failure.errno not in _OF_OUTPUT:
            raise
        abandon_stdout()
        with contextlib.suppress(OSError):  # then nobody hears it but by the exit code
            print(f"error: the standard output cannot be written: {failure.strerror}", file=sys.stderr)
        return FAILED
    return code


def abandon_stdout() -> None:
    """Let what is still to be written go nowhere."""
    if isinstance(sys.stdout, _Closed):
        return
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
