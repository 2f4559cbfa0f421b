"""Real processes: nothing has to be configured on one machine, restarts change nothing, and no token is to be seen."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from damocles import methods
from damocles.rpc import errors
from damocles.rpc.admission import tokens
from damocles.rpc.calling import sync
from damocles.testing import farm
from damocles.testing.farm import Farm, cli, wait_until
from damocles.wire import control

TOKEN = re.compile(r"dmc_[\w-]{20,}")


def handed(f: Farm) -> str | None:
    """Return the token that the worker's last ping brought to the manager."""
    with closing(sqlite3.connect(f"file:{f.base}/manager/manager.db?mode=ro", uri=True)) as database:
        row = database.execute("SELECT token FROM workers").fetchone()
    return row[0] if row else None


def silent(f: Farm) -> list[control.Silence]:
    """Let the manager ask all workers; return those that did not answer."""
    with f.manager_client() as manager:
        told = manager.call(methods.fleet.threads(control.Selection(all=True)))
    assert told.threads or told.silent
    return told.silent


def test_the_manager_may_steer_its_workers(tmp_path: Path) -> None:
    """A worker hands its manager what it needs; that holds after a restart of either, and for nobody else."""
    with Farm(tmp_path, threads=1, parameters=tmp_path, max_sectors=0) as f:
        f.start_manager()
        f.start_worker()
        first = wait_until(lambda: handed(f), "the first ping")
        assert [] == silent(f)
        assert first not in (tmp_path / "worker" / "tokens.json").read_text()

        with sync.connect(f"http://127.0.0.1:{f.worker_port}/", token=first) as worker:
            worker.call("VenusWorker.WorkerPause", [0], returns=bool)
            with pytest.raises(errors.RpcError, match=r"manager has scope operate, Damocles\.AuthList needs admin"):
                worker.call("Damocles.AuthList")

        assert f.manager is not None
        farm.stop(f.manager, kill=True)
        f.start_manager()
        assert [] == silent(f)

        assert f.worker is not None
        farm.stop(f.worker, kill=True)
        f.start_worker()
        second = wait_until(lambda: (found := handed(f)) != first and found, "the first ping of the new process")
        assert [] == silent(f)
        with (
            sync.connect(f"http://127.0.0.1:{f.worker_port}/", token=first) as worker,
            pytest.raises(errors.RpcError, match="unknown token"),
        ):
            worker.call("VenusWorker.WorkerVersion")

        shown = cli("damocles-worker", "config", "show", "-c", str(f.config)).stdout
        assert "worker-token" in shown
        listed = cli("damocles-manager", "auth", "list", "--listen", f"127.0.0.1:{f.manager_port}", "--json").stdout
        secrets = {first, second, *(tokens.read_file(path) for path in tmp_path.glob("*/*token"))}
        assert 5 == len(secrets)
        for text in (f.logs(), shown, listed):
            assert set() == {secret for secret in secrets if secret in text}
            assert None is TOKEN.search(text)


@pytest.mark.parametrize("host", ["::", "::1"])
def test_a_worker_that_listens_on_ipv6_is_reached_by_its_manager(tmp_path: Path, host: str) -> None:
    """Where the worker says that it is, it listens; on all interfaces of both families it is reached by either."""
    with Farm(tmp_path, threads=1, parameters=tmp_path, max_sectors=0) as f:
        listen = f'rpc_server.host = "{host}"\nrpc_server.insecure = true\nrpc_server.port'
        f.config.write_text(f.config.read_text().replace("rpc_server.port", listen))
        f.start_manager()
        f.start_worker(wait=False)
        wait_until(lambda: handed(f), "the first ping")
        assert [] == silent(f)
        for reached in ["[::1]", "127.0.0.1"] if host == "::" else ["[::1]"]:
            answer = httpx2.get(f"http://{reached}:{f.worker_port}/healthcheck")
            assert 200 == answer.status_code


@pytest.mark.parametrize("is_open", [False, True])
def test_a_scraper_of_the_worker_needs_a_token_too(tmp_path: Path, is_open: bool) -> None:
    """The worker's metrics want a token of scope read, unless they are open to everybody."""
    port = farm.free_port()
    metrics = f'[metrics]\nenable = true\nhttp_listen = "127.0.0.1:{port}"\nopen = {str(is_open).lower()}\n'
    with Farm(tmp_path, threads=1, parameters=tmp_path, max_sectors=0, processors=metrics) as f:
        f.start_manager()
        f.start_worker()
        url = f"http://127.0.0.1:{port}/metrics"
        refused = wait_until(lambda: _get(url, None), "the metrics are served")
        assert (200 if is_open else 401) == refused.status_code
        assert is_open or "GET /metrics needs a token with scope read" in refused.text
        cli(
            "damocles-worker",
            "auth",
            "create",
            "p",
            "--scope",
            "read",
            "-c",
            str(f.config),
            "--output",
            f"{tmp_path}/p",
        )
        allowed = _get(url, tokens.read_file(tmp_path / "p"))
        assert allowed is not None
        assert "damocles_worker_" in allowed.text
        assert [f"127.0.0.1:{port}"] == wait_until(lambda: _discovered(f), "the manager tells where to scrape")


def _discovered(f: Farm) -> list[str]:
    """Return the targets that Prometheus finds at the manager."""
    token = tokens.read_file(f.base / "manager" / "token")
    answer = _get(f"http://127.0.0.1:{f.manager_port}/http_sd", token)
    assert answer is not None
    assert (200, "application/json") == (answer.status_code, answer.headers["content-type"])
    return [target for group in answer.json() for target in group["targets"]]


def _get(url: str, token: str | None) -> httpx2.Response | None:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        return httpx2.get(url, headers=headers)
    except httpx2.ConnectError:
        return None


def test_without_its_token_a_worker_waits_and_says_so(tmp_path: Path) -> None:
    """A worker that the manager does not let in begins nothing, tells why, and goes on when it gets the token."""
    with Farm(tmp_path, threads=1, parameters=tmp_path, max_sectors=0) as f:
        f.start_manager()
        file = tmp_path / "manager" / "worker-token"
        text = file.read_text()
        file.unlink()
        f.start_worker(HOME=str(tmp_path))
        wait_until(lambda: "waiting for the manager before sealing begins" in f.log(), "the worker tells")
        assert "no token: Venus." in f.log()
        assert "call refused" in f.logs()
        file.write_text(text)
        wait_until(lambda: handed(f), "the worker is let in")


def test_commands_of_another_home_are_refused(tmp_path: Path) -> None:
    """Without the manager's home the command says in one line where the token is; a variable or file helps."""
    with Farm(tmp_path, threads=1, parameters=tmp_path, max_sectors=0) as f:
        f.start_manager()
        command = ("damocles-manager", "util", "worker", "list", "--listen", f"127.0.0.1:{f.manager_port}")
        other = {"DAMOCLES_PATH": str(tmp_path / "other")}
        refused = cli(*command, check=False, env=other)
        assert (7, "") == (refused.returncode, refused.stdout)
        (line,) = refused.stderr.splitlines()
        assert line.endswith(f"; no token was found in {tmp_path / 'other' / 'token'}")
        assert str(tmp_path / "manager") not in line
        text = tokens.read_file(tmp_path / "manager" / "token")
        cli(*command, env=other | {"DAMOCLES_TOKEN": text})
        cli(*command, "--token-file", str(tmp_path / "manager" / "token"), env=other)
        missing = cli(*command, "--token-file", str(tmp_path / "none"), check=False)
        assert f"the token file {tmp_path / 'none'} cannot be read: No such file" in missing.stderr


def test_init_makes_what_is_missing(tmp_path: Path) -> None:
    """`init` makes two private files, once; the manager takes them up."""
    home = tmp_path / "manager"
    first = cli("damocles-manager", "init", "--home", str(home)).stdout.split()
    assert [str(home / "token"), str(home / "worker-token")] == first
    text = (home / "token").read_text()
    cli("damocles-manager", "init", "--home", str(home))
    assert text == (home / "token").read_text()
    with Farm(tmp_path, threads=1, parameters=tmp_path, max_sectors=0) as f:
        f.start_manager()
        cli("damocles-manager", "auth", "list", "--listen", f"127.0.0.1:{f.manager_port}")
