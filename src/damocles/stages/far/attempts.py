"""Stages that write files, on other machines: an attempt knows only a folder of its own, and this machine takes what the winner made.

```
<store>/data/attempts/<attempt>/<kind>/<sector>     for <store>/data/<kind>/<sector>
```

A file that the stage writes is moved there, and a folder stands there with links to what is in it. When the answer is here, what
is new is renamed into its place. In any other case the folder loses its name at once: whoever
works on it still, or wakes up in it, finds no path to write to, and the files that it has open are nobody's. So no
attempt has to be trusted to have ended. What was moved away is made again by the worker's handler, as after any death of a stage; PC2's
sealed file too, which the handler knows by its marker.
"""

import contextlib
import os
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from damocles import durable, failpoints
from damocles.stores import layout

_OVER = "over-"  # begins the name of an attempt's folder when nothing in it counts any more


@dataclass(frozen=True, slots=True, kw_only=True)
class _Writes:
    """Which keys of a stage's task name files and folders that it writes; of `scratch` nothing is kept."""

    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    scratch: tuple[str, ...] = ()


_STAGES: Mapping[str, _Writes] = {
    "add_pieces": _Writes(files=("staged_filepath",)),
    "tree_d": _Writes(folders=("cache_dir",)),
    "pc1": _Writes(files=("out_path",), folders=("cache_path",)),
    "pc2": _Writes(files=("sealed_file",), folders=("cache_dir",)),
    "synth_proof": _Writes(folders=("cache_dir",)),
    "snap_encode": _Writes(files=("new_replica_path",), folders=("new_cache_path",)),
    "unseal": _Writes(files=("unsealed_output",), scratch=("cache_dir",)),
    "snap_decode": _Writes(files=("unsealed_output",)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt: `task` is what is sent, with the attempt's paths in it; each moved or linked path of ours has one there."""

    data: Path
    root: Path
    task: bytes
    files: Mapping[Path, Path]
    folders: Mapping[Path, Path]
    scratch: Mapping[Path, Path]
    _linked: dict[Path, frozenset[str]] = field(default_factory=dict)

    def begin(self) -> None:
        """Make the folder, and end what other attempts at this store have left.

        Raises:
            OSError: The file system refused.
        """
        _end_others(self.root.parent)
        for ours, its in {**self.folders, **self.scratch}.items():
            its.mkdir(parents=True)
            names = frozenset(entry.name for entry in ours.iterdir())
            for name in names:
                (its / name).symlink_to(ours / name)
            self._linked[ours] = names
        for ours, its in self.files.items():
            its.parent.mkdir(parents=True, exist_ok=True)
            failpoints.reach(f"attempt.move:{ours.parent.name}")
            if os.path.lexists(ours):
                ours.rename(its)

    def unseen(self, made: Mapping[str, int]) -> str:
        """Return a file that was made there (see `listed`) and is not here as it is there, or nothing."""
        here = listed(self.root)
        return next((name for name, size in made.items() if here.get(name) != size), "")

    def take(self) -> None:
        """Rename what the attempt has made into its place; a kill on the way has the stage run again.

        Raises:
            OSError: The file system refused, or what was made is not there.
        """
        for ours, its in self.folders.items():
            for are_marks in (False, True):  # a mark says that what it stands for is there
                for entry in sorted(its.iterdir()):
                    if entry.name.startswith(".") is are_marks and not entry.is_symlink():
                        failpoints.reach(f"attempt.take:{entry.name}")
                        entry.rename(ours / entry.name)
                durable.sync_entry(ours)
            for name in sorted(self._linked[ours]):
                if not os.path.lexists(its / name):
                    failpoints.reach(f"attempt.drop:{name}")
                    (ours / name).unlink()
            durable.sync_entry(ours)
        for ours, its in self.files.items():
            failpoints.reach(f"attempt.take:{ours.parent.name}")
            its.rename(ours)
            durable.sync_entry(ours.parent)

    def remove(self) -> None:
        """Remove the folder of an attempt whose files are taken."""
        shutil.rmtree(self.root, ignore_errors=True)

    def end(self) -> bool:
        """Take its name from the folder, so that nothing can be made in it any more; return whether it was there.

        Where that fails, no other attempt begins before it has succeeded.
        """
        with contextlib.suppress(OSError):
            return _rename_over(self.root)
        return False

    def sweep(self) -> None:
        """Remove what is over at this store; what cannot be removed now is removed with the next attempt."""
        for root in _there(self.root.parent):
            if root.name.startswith(_OVER):
                shutil.rmtree(root, ignore_errors=True)

    def told(self, line: bytes) -> bytes:
        """Return a line about the attempt with our paths in place of its own."""
        its, ours = (msgspec.json.encode(str(path))[1:-1] for path in (self.root, self.data))
        return line.replace(its, ours)


def writes(stage: str) -> bool:
    """Return whether a stage writes files of a sector."""
    return stage in _STAGES


def of(stage: str, task: msgspec.Raw) -> Attempt | None:
    """Return a new attempt at a task; `None` if its stage writes no files."""
    if not writes(stage):
        return None
    written = _STAGES[stage]
    fields: dict[str, Any] = msgspec.json.decode(task, type=dict[str, msgspec.Raw])
    first, *_ = *written.files, *written.folders
    # A store has its sector's files in `data/<kind>/<name>`; all of them are of one file system.
    data = Path(msgspec.json.decode(fields[first], type=str)).parent.parent
    root = data / layout.ATTEMPTS / uuid.uuid4().hex

    def moved(keys: tuple[str, ...]) -> dict[Path, Path]:
        paths = {}
        for key in keys:
            ours = Path(msgspec.json.decode(fields[key], type=str))
            paths[ours] = root / ours.parent.name / ours.name
            fields[key] = str(paths[ours])
        return paths

    files, folders, scratch = moved(written.files), moved(written.folders), moved(written.scratch)
    return Attempt(
        data=data, root=root, task=msgspec.json.encode(fields), files=files, folders=folders, scratch=scratch
    )


def listed(root: Path) -> dict[str, int]:
    """Return the files below the folder of an attempt, as paths in it, and their bytes; links are none of it."""
    paths = [Path(folder, name) for folder, _, names in os.walk(root) for name in names]
    return {str(path.relative_to(root)): path.stat().st_size for path in paths if not path.is_symlink()}


def _end_others(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for root in _there(folder):
        _rename_over(root)


def _there(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _rename_over(root: Path) -> bool:
    if root.name.startswith(_OVER) or not root.exists():
        return False
    root.rename(root.with_name(_OVER + root.name))
    return True
