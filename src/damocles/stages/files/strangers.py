"""Keep the files of a sector in a persist store from being replaced by those of another one with the same number.

A number is handed out again by a second manager, by one that was set up again, and by a new devnet. The owner of the files
in the store shows in `p_aux`, which is copied before all others; without it, in the replica, which differs from that of
another sector in its first bytes.
"""

from pathlib import Path

from damocles.stages.files import replica_commitment
from damocles.wire import tasks

_CHUNK_BYTES = 1 << 20


class Stranger(Exception):
    """The store has files of another replica."""


def check(keep: tasks.Keep) -> None:
    """Return if the store has no files of the sector, or those of the same replica.

    Raises:
        Stranger: It has others; the message names both.
        OSError: The store cannot be read.
    """
    ours, theirs = _p_aux(Path(keep.source, keep.cache)), _p_aux(Path(keep.store, keep.cache))
    if theirs is None:
        if _begins_alike(Path(keep.store, keep.replica), Path(keep.source, keep.replica)):
            return
    elif theirs == ours:
        return
    old, new = _name(theirs), _name(ours)
    raise Stranger(
        f"{keep.store} has files of {keep.sector} with {old}, ours have {new}; nothing was replaced. Check which one the"
        f" chain has: if it is theirs, abort the sector here; if it is ours, move {keep.replica} and {keep.cache} out of"
        f" {keep.store} and resume"
    )


def _name(p_aux: bytes | None) -> str:
    return f"CommR {replica_commitment.comm_r(p_aux).hex()}" if p_aux is not None else "a CommR that no p_aux records"


def _p_aux(cache: Path) -> bytes | None:
    """Return the content of `p_aux`, `None` if there is none, or a damaged one."""
    try:
        content = (cache / "p_aux").read_bytes()
    except FileNotFoundError:
        return None
    return content if len(content) == replica_commitment.P_AUX_BYTES else None


def _begins_alike(theirs: Path, ours: Path) -> bool:
    """Return whether a file equals the other one, or its beginning, or does not exist."""
    try:
        reader = theirs.open("rb")
    except FileNotFoundError:
        return True
    with reader, ours.open("rb") as other:
        while chunk := reader.read(_CHUNK_BYTES):
            if chunk != other.read(len(chunk)):
                return False
    return True
