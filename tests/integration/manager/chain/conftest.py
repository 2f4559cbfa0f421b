"""A devnode, stepped by the tests, and a manager on it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from damocles.devnode import serving
from damocles.devnode.node import Node as Devnode

from .provider import Provider, running


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
