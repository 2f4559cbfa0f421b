"""What differs between two configurations: which miners come, change and go, and what takes a restart."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pydantic

from damocles.manager.config import model


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What another configuration would change; keys as they stand in the file, like `PoSt.Confidence`.

    `changed` are keys by miner, `needs_restart` those that are read only at the start and are not as they were then.
    """

    added: Sequence[int] = ()
    changed: Mapping[int, Sequence[str]]
    removed: Sequence[int] = ()
    needs_restart: Sequence[str] = ()


def between(started: model.Config, before: model.Config, after: model.Config) -> Difference:
    """Return what `after` would change in `before`; `started` is what the manager was started with."""
    were = {miner.actor: miner for miner in before.miners}
    are = {miner.actor: miner for miner in after.miners}
    changes = {actor: keys(were[actor], miner) for actor, miner in are.items() if actor in were}
    read_once = (
        key
        for name, field in model.Config.model_fields.items()
        if name != "miners"
        for key in _of(getattr(started, name), getattr(after, name), field.alias or name)
    )
    return Difference(
        added=[actor for actor in are if actor not in were],
        changed={actor: found for actor, found in changes.items() if found},
        removed=[actor for actor in were if actor not in are],
        needs_restart=list(read_once),
    )


def keys(before: pydantic.BaseModel, after: pydantic.BaseModel) -> list[str]:
    """Return the keys of a table whose values differ."""
    return [
        key
        for name, field in type(before).model_fields.items()
        for key in _of(getattr(before, name), getattr(after, name), field.alias or name)
    ]


def _of(before: object, after: object, key: str) -> Iterator[str]:
    if isinstance(before, pydantic.BaseModel) and isinstance(after, pydantic.BaseModel):
        for inner in keys(before, after):
            yield f"{key}.{inner}"
    elif before != after:
        yield key
