"""Named points at which a test can make this process fail, to see what is left.

`DAMOCLES_FAILPOINTS="handler.after:PC1Done=kill;journal.before:*=enospc@3"` acts at the first (or here third) time that
a point is reached; `*` stands for any text. Actions: `kill` (SIGKILL to this process), `raise` (an exception that nobody
expects), `hang` (forever), `enospc`, `eio` (the operating system's errors). Without the variable a point costs one test of
a boolean.
"""

import errno
import fnmatch
import os
import signal
import time
from dataclasses import dataclass

VARIABLE = "DAMOCLES_FAILPOINTS"


@dataclass
class _Trap:
    pattern: str
    action: str
    hits_left: int


def _parse(text: str) -> list[_Trap]:
    traps = []
    for part in filter(None, text.split(";")):
        pattern, _, action = part.partition("=")
        action, _, count = action.partition("@")
        traps.append(_Trap(pattern.strip(), action.strip(), int(count or 1)))
    return traps


_traps = _parse(os.environ.get(VARIABLE, ""))

#: Whether any point is set; test it before building a point's name.
on = bool(_traps)


class InjectedError(Exception):
    """A failure that a test asked for."""


def reach(name: str) -> None:
    """Fail here if a test has asked for it."""
    for trap in _traps:
        if not fnmatch.fnmatchcase(name, trap.pattern):
            continue
        trap.hits_left -= 1
        if trap.hits_left != 0:
            continue
        match trap.action:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "hang":
                time.sleep(1e9)
            case "enospc":
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
            case "eio":
                raise OSError(errno.EIO, os.strerror(errno.EIO), name)
            case _:
                raise InjectedError(name)
