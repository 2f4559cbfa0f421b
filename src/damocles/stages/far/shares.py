"""Whether paths mean the same files here and there: what is written here has to be read there."""

import secrets
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import anyio.to_thread
import msgspec

from damocles.stages.far import settings, slots

PROBE = ".damocles-probe-"


async def problem(group: settings.Group, task: msgspec.Raw, slot: slots.Slot) -> str | None:
    """Return why a task with paths cannot be done there, `None` if nothing speaks against it."""
    wanted = list(paths(msgspec.json.decode(task)))
    for path in wanted:
        if not any(PurePosixPath(path).is_relative_to(folder) for folder in group.shared):
            where = ", ".join(group.shared) or "which is empty"
            return f"{path} is in no folder that {slot.host} shares (processors.{group.stage}: shared, {where})"
    return await unshared(group, slot) if wanted else None


async def unshared(group: settings.Group, slot: slots.Slot) -> str | None:
    """Return which of the shared folders is not: a file is written into each, read there, and removed."""
    content = secrets.token_hex(16)
    probes = {folder: str(Path(folder, PROBE + content[:8])) for folder in group.shared}
    try:
        for probe in probes.values():
            await anyio.to_thread.run_sync(Path(probe).write_text, content)
        found = await slot.place.read(list(probes.values()))
    except OSError as error:
        return f"{error.filename} cannot be written, to see whether {slot.host} shares it: {error.strerror}"
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(_remove, list(probes.values()))
    for folder, probe in probes.items():
        if found.get(probe) != content:
            return f"{folder} is not shared: what is written here is not there on {slot.host}; mount it there under the same path"
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


def _remove(probes: list[str]) -> None:
    for probe in probes:
        Path(probe).unlink(missing_ok=True)
