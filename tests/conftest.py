"""Fixtures for every test."""

import os
from pathlib import Path

import hypothesis
import pytest

# On a busy machine the time of one example says nothing.
hypothesis.settings.register_profile("damocles", deadline=None)
hypothesis.settings.load_profile("damocles")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run async tests on asyncio, as the daemons do."""
    return "asyncio"


POREP_2KIB = (
    "v28-stacked-proof-of-replication-merkletree-poseidon_hasher-8-0-0-sha256_hasher-"
    "032d3138d22506ec0082ed72b2dcba18df18477904e35bafee82b3793b06832f"
)


@pytest.fixture(scope="session")
def porep_parameters() -> list[Path]:
    """Return the PoRep parameter files of 2KiB; `make params` (and `make demo`) makes them."""
    folder = Path(os.environ.get("FIL_PROOFS_PARAMETER_CACHE", "/var/tmp/filecoin-proof-parameters"))
    files = [folder / f"{POREP_2KIB}{suffix}" for suffix in (".params", ".vk")]
    missing = [path.name for path in files if not path.exists()]
    if missing:
        pytest.skip(f"{folder} lacks {', '.join(missing)}: run `make params`")
    return files
