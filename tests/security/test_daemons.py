"""One daemon for a home, and what those who ask see while daemons are killed."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from damocles.cli import manager as manager_cli
from damocles.cli import worker as worker_cli
from damocles.testing.farm import Farm, program, stop, wait_until
from damocles.wire import fleet

REACHED, UNREACHABLE_WORKER, UNREACHABLE_MANAGER = 0, 5, 4
KILLS = 2
Pings = list[fleet.PingInfo]


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """A manager and a worker that has nothing to seal."""
    base = tmp_path_factory.mktemp("farm")
    with Farm(base, threads=1, parameters=base, max_sectors=0) as farm:
        farm.start_manager()
        farm.start_worker(DAMOCLES_MANAGER_TOKEN=(base / "manager" / "worker-token").read_text())
        yield farm


def test_no_token_stands_where_others_look(farm: Farm) -> None:
    """Neither command lines nor logs have a token, nor has the environment of the processes that a worker starts."""
    assert farm.worker is not None
    assert farm.manager is not None
    parent = str(farm.worker.pid)

    def children() -> list[Path]:
        return [
            stat.parent
            for stat in Path("/proc").glob("[0-9]*/stat")
            if text_of(stat).rpartition(")")[2].split()[1:2] == [parent]
        ]

    begun = wait_until(children, "the children")
    daemons = [Path(f"/proc/{process.pid}") for process in (farm.manager, farm.worker)]
    lines = [text_of(process / "cmdline") for process in (*daemons, *begun)]
    environments = [text_of(process / "environ") for process in begun]
    assert all(lines)
    assert all(environments)
    assert [] == [one for one in (*lines, *environments, farm.logs()) if "dmc_" in one]


def text_of(file: Path) -> str:
    """Return what the system says of a process; nothing of one that has gone."""
    with contextlib.suppress(OSError):
        return file.read_bytes().decode(errors="replace")
    return ""


def refused(*command: str) -> str:
    """Run a daemon that must not start; return what it says."""
    done = subprocess.run([program(command[0]), *command[1:]], capture_output=True, text=True, timeout=60, check=False)
    assert 1 == done.returncode, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_home_has_one_daemon(farm: Farm, tmp_path: Path) -> None:
    """A second daemon with the same home does not start and says whose it is, on another port and path too."""
    (tmp_path / "elsewhere").symlink_to(farm.base, target_is_directory=True)
    other = tmp_path / "other.toml"
    text = farm.config.read_text().replace(f"rpc_server.port = {farm.worker_port}", "rpc_server.port = 0")
    other.write_text(text.replace(f'home = "{farm.base}/worker"', f'home = "{tmp_path}/elsewhere/worker"'))
    assert farm.worker is not None
    said = refused("damocles-worker", "daemon", "-c", str(other))
    assert f"is in use by another worker (pid {farm.worker.pid} on" in said

    assert farm.manager is not None
    mock = ("damocles-manager", "mock", "--miner", "10000", "--sector-size", "2KiB", "--listen", "127.0.0.1:0")
    said = refused(*mock, "--home", str(tmp_path / "elsewhere" / "manager"))
    assert f"is in use by another manager (pid {farm.manager.pid} on" in said
    with farm.manager_client() as manager:
        assert ["test-worker"] == [ping.info.name for ping in manager.call("Venus.WorkerPingInfoList", returns=Pings)]


def test_many_at_once_leave_the_right_state(farm: Farm) -> None:
    """Pauses, resumes and drains of many callers are each answered, and the last word of one counts."""

    def storm(number: int) -> int:
        answered = 0
        with farm.worker_client() as worker:
            for turn in range(10):
                match (number + turn) % 4:
                    case 0:
                        worker.call("VenusWorker.WorkerPause", [0])
                    case 1:
                        worker.call("VenusWorker.WorkerResume", [0, None])
                    case 2:
                        worker.call("Damocles.Drain", [turn % 2 == 0, None, ""])
                    case _:
                        worker.call("VenusWorker.WorkerList", [])
                answered += 1
        return answered

    with ThreadPoolExecutor(24) as pool:
        assert [10] * 24 == list(pool.map(storm, range(24)))
    with farm.worker_client() as worker:
        worker.call("Damocles.Drain", [False, None, ""])
        worker.call("VenusWorker.WorkerPause", [0])
        wait_until(lambda: farm.thread(0).thread_state.state == "Paused", "the thread pauses")
        worker.call("VenusWorker.WorkerResume", [0, None])
    wait_until(lambda: farm.thread(0).thread_state.state != "Paused", "the thread goes on")
    assert "Traceback" not in farm.log()


class Asks:
    """Commands in this process, with their exit codes; one that reaches nobody says so in a line."""

    def __init__(self, farm: Farm, capsys: pytest.CaptureFixture[str]) -> None:
        self._at = ("--listen", f"127.0.0.1:{farm.manager_port}")
        self._config = ("-c", str(farm.config))
        self._capsys = capsys

    def manager(self, *command: str) -> tuple[int, str]:
        """Run a command of the manager; return its exit code and what it prints."""
        return self._ran(manager_cli.main([*command, *self._at]), UNREACHABLE_MANAGER)

    def worker(self, *command: str) -> tuple[int, str]:
        """Run one of the worker."""
        return self._ran(worker_cli.main([*command, *self._config]), UNREACHABLE_WORKER)

    def _ran(self, code: int, away: int) -> tuple[int, str]:
        said = self._capsys.readouterr()
        assert code == REACHED or (away, 1) == (code, len(said.err.splitlines())), said
        return code, said.out


def test_who_asks_while_daemons_are_killed_gets_a_line(farm: Farm, capsys: pytest.CaptureFixture[str]) -> None:
    """A list shows what is there, or says in a line who cannot be reached; tokens, audit and workers come back."""
    asks = Asks(farm, capsys)
    for number in range(KILLS):
        assert REACHED == asks.manager("auth", "create", f"t{number}", "--scope", "read")[0]
        assert farm.worker is not None
        os.kill(farm.worker.pid, signal.SIGKILL)
        stop(farm.worker)
        assert UNREACHABLE_WORKER == asks.worker("worker", "list")[0]
        farm.start_worker(wait=False)
        wait_until(lambda: asks.worker("worker", "list")[0] == REACHED, "the worker is back")

        assert farm.manager is not None
        os.kill(farm.manager.pid, signal.SIGKILL)
        stop(farm.manager)
        assert UNREACHABLE_MANAGER == asks.manager("util", "worker", "list")[0]
        farm.launch_manager()
        wait_until(lambda: asks.manager("util", "worker", "list")[0] == REACHED, "the manager is back")
    wait_until(lambda: "test-worker" in asks.manager("util", "worker", "list")[1], "the worker pings")
    assert ["sealer"] == [one.plan for one in farm.all_threads()]
    kept, audited = (asks.manager(name, "list")[1] for name in ("auth", "audit"))
    names = [f"t{number}" for number in range(KILLS)]
    assert names == [name for name in names if name in kept and name in audited]
