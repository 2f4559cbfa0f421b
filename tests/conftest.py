"""Fixtures for every test, the order of tests side by side, and the count of the kill matrix."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from blockbuster import blockbuster_ctx

from damocles.testing import postgres

# On a busy machine the time of one example says nothing.
hypothesis.settings.register_profile("damocles", deadline=None)
hypothesis.settings.load_profile("damocles")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run async tests on asyncio, as the daemons do."""
    return "asyncio"


class _AnyName(frozenset[str]):
    """The names of all functions of a file."""

    def __contains__(self, _: object) -> bool:
        return True


@pytest.fixture(autouse=True)
def _blocking_calls_fail(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail where a task of ours blocks the event loop: by the disk, a lock, a socket or sleep.

    What a test calls itself, or its fixtures, may block: nobody else waits then.
    """
    if "anyio_backend" not in request.fixturenames:
        yield
        return
    allowed = (
        str(request.path),
        "conftest.py",
        "damocles/testing/fleet.py",
        "subprocess.py",  # waits for the fork's exec
        "structlog/dev.py",  # tracebacks with lines of the source; daemons have plain ones
    )
    with blockbuster_ctx("damocles") as guards:
        for guard in guards.functions.values():
            for file in allowed:
                guard.can_block_in(file, _AnyName())
        yield


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[postgres.Server]:
    """Return a PostgreSQL server of this process' tests."""
    if not postgres.is_installed():
        pytest.skip("PostgreSQL is not installed: run `make setup`")
    with postgres.server() as running:
        yield running


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str | None:
    """Return the URL of an empty database on PostgreSQL, if the test's parameter or the environment says so; for SQLite none."""
    kind = getattr(request, "param", os.environ.get("DAMOCLES_TEST_DATABASE", "sqlite"))
    if kind == "sqlite":
        return None
    server = request.getfixturevalue("postgres_server")
    return str(server.url(server.new()))


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


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slow tests where several processes share the work, so that none is left alone with one at the end."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        for item in items:
            # Silently ignored by a pytest that xdist does not know: each process would then make what a group shares.
            if item.get_closest_marker("xdist_group") is not None and "@" not in item.nodeid:
                raise pytest.UsageError(
                    f"{item.nodeid} is in no group: run with --dist loadgroup, on a pytest that xdist knows"
                )
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)


_cells: Counter[str] = Counter()
_lost: list[str] = []
_skipped: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note what became of a run of the kill matrix."""
    if "test_kill_matrix" not in report.nodeid:
        return
    found = dict(report.user_properties)
    if report.skipped:
        _skipped.append(report.nodeid)
    elif report.failed:
        _lost.append(f"{report.nodeid} ({report.when})")
    elif report.when == "call":
        _cells[str(found["action"])] += int(str(found["cells"]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the count of the kill matrix, and which runs were lost."""
    if _cells or _lost or _skipped:
        terminalreporter.section("kill matrix")
        kinds = ", ".join(f"{count} {action}" for action, count in sorted(_cells.items()))
        terminalreporter.line(f"{_cells.total()} cells ({kinds}), {len(_lost)} runs lost, {len(_skipped)} skipped")
        for what, names in (("lost", _lost), ("skipped", _skipped)):
            for name in names:
                terminalreporter.line(f"{what}: {name}")
