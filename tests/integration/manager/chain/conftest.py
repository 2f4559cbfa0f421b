"""A devnode, stepped by the tests, and a manager on it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from damocles.devnode import serving
from damocles.devnode.node import Node as Devnode
from damocles.lotus import node
from damocles.lotus.node import Node
from damocles.lotus.places import Place

from .provider import Provider, configuration, running


@pytest.fixture
async def devnode() -> AsyncIterator[Devnode]:
    """Yield a devnode that accepts any proof and whose blocks are made by `step`."""
    async with serving.serving(accepts_any_proof=True) as made:
        await made.step(30)
        yield made


@pytest.fixture
async def provider(devnode: Devnode, tmp_path: Path) -> AsyncIterator[Provider]:
    """Yield a manager on the devnode, whose sectors do not wait for others."""
    async with running(devnode, tmp_path) as made:
        yield made


@pytest.fixture
async def lotus(devnode: Devnode, tmp_path: Path) -> AsyncIterator[Node]:
    """Yield our client of the devnode."""
    configuration(devnode, tmp_path)
    async with node.connect(Place(url=devnode.url, token_file=tmp_path / "node-token"), pauses_seconds=()) as made:
        yield made
