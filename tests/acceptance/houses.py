"""Farms in the state of the chapter, for tests in a browser: three threads are paused for want of parameters."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from damocles import methods
from damocles.methods.rules import Scope
from damocles.rpc.admission import tokens
from damocles.testing.farm import Farm, free_port, wait_until


@contextmanager
def paused(base: Path) -> Iterator[Farm]:
    """A manager with a dashboard, and a worker whose three threads are paused at C1Done, each with its error."""
    folder = base / "parameters"
    folder.mkdir()
    metrics = f'[metrics]\nenable = true\nhttp_listen = "127.0.0.1:{free_port()}"'
    with Farm(base, parameters=folder, max_sectors=3, seal_interval="1h", name="w1", processors=metrics) as f:
        f.start_manager("--dashboard", "--store", f"persist={base}/persist", "--wdpost-every", "1h")
        f.start_worker()
        wait_until(
            lambda: all(one.last_error and one.thread_state.state == "Paused" for one in f.all_threads()),
            "all threads pause",
        )
        yield f


def token(f: Farm, name: str, scope: str, seconds: float | None = None) -> str:
    """Make a token."""
    with f.manager_client() as manager:
        return manager.call(methods.access.create_token(name, Scope(scope), seconds)).text


def own(f: Farm) -> str:
    """Return the manager's own token, an admin's."""
    return tokens.read_file(f.base / "manager" / "token")
