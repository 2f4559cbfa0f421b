"""A devnode, stepped by the tests, and our client of it."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from damocles.devnode import serving
from damocles.devnode.node import Node as Devnode
from damocles.lotus import node
from damocles.lotus.node import Node
from damocles.lotus.places import Place


@pytest.fixture
def place_of(tmp_path: Path) -> Callable[..., Place]:
    """Return where a devnode is, with a token of a permission."""

    def made(devnode: Devnode, permission: str = "admin") -> Place:
        file = tmp_path / f"token-{permission}"
        file.write_text(devnode.tokens[permission])
        file.chmod(0o600)
        return Place(url=devnode.url, token_file=file)

    return made


@pytest.fixture
async def devnode() -> AsyncIterator[Devnode]:
    """Yield a devnode that takes any proof and whose blocks are made by `step`."""
    async with serving.serving(accepts_any_proof=True) as made:
        await made.step(30)
        yield made


@pytest.fixture
async def lotus(devnode: Devnode, place_of: Callable[..., Place]) -> AsyncIterator[Node]:
    """Yield our client of that devnode."""
    async with node.connect(place_of(devnode), pauses_seconds=()) as made:
        yield made
