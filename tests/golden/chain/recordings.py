"""The recordings of this folder, for tests."""

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent


@functools.cache
def rows(name: str) -> list[Any]:
    """Return the objects of a file, one a line, only to be read: every test gets the same."""
    return [json.loads(line) for line in (_FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def results(method: str) -> Iterator[tuple[str, Any]]:
    """Yield note and result of each recorded answer of a method that is no error."""
    for row in rows("exchanges"):
        answer = row["answer"]
        if row["request"]["method"] == f"Filecoin.{method}" and isinstance(answer, dict) and "result" in answer:
            yield row["note"], answer["result"]


def everywhere(key: str, value: Any) -> Iterator[Any]:
    """Yield every object in a tree that has a key."""
    if isinstance(value, dict):
        if key in value:
            yield value
        for inner in value.values():
            yield from everywhere(key, inner)
    elif isinstance(value, list):
        for inner in value:
            yield from everywhere(key, inner)
