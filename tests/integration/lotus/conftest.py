"""A node that replays recordings."""

from collections.abc import AsyncIterator

import pytest

from damocles.lotus import node
from damocles.lotus.node import Node
from damocles.lotus.places import Place

from .replay import Replay, serve


@pytest.fixture
def replay() -> Replay:
    """Return a node with all recorded exchanges."""
    made = Replay()
    made.load()
    return made


@pytest.fixture
async def lotus(replay: Replay) -> AsyncIterator[Node]:
    """Yield the client of that node, which does not pause before it repeats."""
    async with serve(replay) as url, node.connect(Place(url=url), pauses_seconds=(0, 0)) as made:
        yield made
