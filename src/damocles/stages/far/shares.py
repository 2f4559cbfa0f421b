"""Whether paths mean the same files here and there: what is written here has to be read there, and the other way round."""

import platform
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import anyio.to_thread

from damocles.stages.far import actor, settings, slots

PROBE = ".damocles-probe-"


async def problem(group: settings.Group, wanted: Sequence[str], slot: slots.Slot, *, writes: bool) -> str | None:
    """Return why a task with these paths cannot be done there, `None` if nothing speaks against it."""
    for path in wanted:
        if not any(PurePosixPath(path).is_relative_to(folder) for folder in group.shared):
            where = ", ".join(group.shared) or "which is empty"
            return f"{path} is in no folder that {slot.host} shares (processors.{group.stage}: shared, {where})"
    return await unshared(group, slot, writes=writes) if wanted else None


async def unshared(group: settings.Group, slot: slots.Slot, *, writes: bool) -> str | None:
    """Return which of the shared folders is not: a file is written into each here, read there, and removed.

    If a stage is to write there, another file is written there and read here.
    """
    content = secrets.token_hex(16)
    probes = {folder: str(Path(folder, PROBE + content[:8])) for folder in group.shared}
    try:
        for probe in probes.values():
            await anyio.to_thread.run_sync(Path(probe).write_text, content)
        found = await slot.place.read(list(probes.values()), answers=writes)
        back = await anyio.to_thread.run_sync(_answers, list(probes.values())) if writes else found
    except OSError as error:
        return f"{error.filename} cannot be written, to see whether {slot.host} shares it: {error.strerror}"
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(_remove, list(probes.values()))
    verb = "used" if writes else "read"
    for folder, probe in probes.items():
        between = f"{folder} is not shared by {platform.node()} and {slot.host}"
        if (seen := found.get(probe)) != content:
            return (
                f"{between}: a file written here cannot be {verb} there: {seen}; mount it on both under the same path"
            )
        if back.get(probe) != content:
            return f"{between}: a file written there is not seen here; mount it on both under the same path"
    return None


def paths(value: Any) -> Iterator[str]:
    """Yield the absolute paths in a task."""
    match value:
        case str() if value.startswith("/"):
            yield value
        case dict():
            for inner in value.values():
                yield from paths(inner)
        case list() if value and not isinstance(value[0], int):
            for inner in value:
                yield from paths(inner)
        case _:
            pass


def _answers(probes: Sequence[str]) -> dict[str, str]:
    return {probe: Path(probe + actor.ANSWER).read_text() for probe in probes if Path(probe + actor.ANSWER).exists()}


def _remove(probes: list[str]) -> None:
    for probe in probes:
        for path in (probe, probe + actor.ANSWER):
            Path(path).unlink(missing_ok=True)
