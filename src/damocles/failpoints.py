"""Named points at which a test can make a process fail, to see what is left.

`DAMOCLES_FAILPOINTS="handler.after:PC1Done=kill;journal.before:*=enospc@3"` acts at the first (or here third) time that
a point is reached in a process; `*` stands for any text. Actions: `kill` (SIGKILL to this process), `raise` (an exception
that nobody expects), `hang` (forever), `stop` (SIGSTOP: frozen until SIGCONT), `enospc`, `eio` (the operating system's
errors), `torn` (where a file is about to be synced: half of it is lost and the process killed, as in a power cut).

With a folder in `DAMOCLES_FAILPOINTS_ONCE` each point that a pattern meets acts once over all processes and restarts, the
first time it is reached, and leaves an empty file of its name there: `*=kill` kills everything once at every point there is.

| point | where |
|---|---|
| `handler.before:STATE`, `handler.after:STATE` | worker, around the handler that works in a state |
| `journal.before:STATE`, `journal.commit:…`, `journal.after:…` | worker, around the record of the state that is reached |
| `pc2:marked`, `pc2:copying`, `pc2:copied` | worker, when PC2 is marked as begun, and around the sealed file's copy if it was |
| `link.before:FILE`, `link.after:FILE` | worker, around the rename that makes a link visible |
| `clear:FOLDER`, `discard:FOLDER` | worker, before a finished or given-up sector's files are deleted, or moved to the trash |
| `rpc.before:METHOD`, `rpc.after:METHOD` | worker, around a call to the manager |
| `stage.before:STAGE`, `stage.after:STAGE` | child, around a task, before it is answered |
| `sync:FILE` | child, before a file that a stage wrote is synced |
| `fence:SECTOR` | child, when it has its turn in a persist store |
| `rename.before:FILE`, `rename.after:FILE` | child, around the rename that makes a copy visible |
| `attempt.move:KIND`, `attempt.take:FILE`, `attempt.drop:FILE` | helper, around renames to and from the folder of an attempt on another machine |
| `answer.before:METHOD`, `answer.after:METHOD` | manager (and worker), around a method, before it is answered |
| `node.before:METHOD`, `node.after:METHOD` | manager, around a call to a node of the chain |
| `database.before:FUNCTION`, `database.after:…` | manager, before and after the commit of a transaction |

Without the variable a point costs a call and its name, little beside the sync that it stands next to.
"""

import errno
import fnmatch
import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "DAMOCLES_FAILPOINTS"
ONCE_VARIABLE = "DAMOCLES_FAILPOINTS_ONCE"
ACTIONS = ("kill", "raise", "hang", "stop", "enospc", "eio", "torn")


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
        if action.strip() not in ACTIONS:
            raise ValueError(f"{VARIABLE}: {part!r} asks for {action.strip()!r}: use one of {', '.join(ACTIONS)}")
        traps.append(_Trap(pattern.strip(), action.strip(), int(count or 1)))
    return traps


_traps = _parse(os.environ.get(VARIABLE, ""))
_once = os.environ.get(ONCE_VARIABLE)


class InjectedError(Exception):
    """A failure that a test asked for."""


def reach(name: str, file: Path | None = None) -> None:
    """Fail here if a test has asked for it. `file` is what has been written and not synced, where that is the point."""
    for trap in _traps:
        if fnmatch.fnmatchcase(name, trap.pattern) and _is_due(trap, name):
            _act(trap.action, name, file)


def _is_due(trap: _Trap, name: str) -> bool:
    if _once is not None:
        try:
            (Path(_once) / name.replace("/", "|")).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True
    trap.hits_left -= 1
    return trap.hits_left == 0


def _act(action: str, name: str, file: Path | None) -> None:
    match action:
        case "torn" | "kill":
            if action == "torn" and file is not None:
                os.truncate(file, file.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            # Sent to the process, another thread may take it, and this one go on for a moment.
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)
        case "hang":
            time.sleep(1e9)
        case "enospc":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
        case "eio":
            raise OSError(errno.EIO, os.strerror(errno.EIO), name)
        case _:
            raise InjectedError(name)
