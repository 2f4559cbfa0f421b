"""A small farm of real processes, for tests, benches and the demo: one manager with a devnode of its own (`mock`), one worker."""

import atexit
import itertools
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Self

from damocles import methods
from damocles.rpc.admission import tokens
from damocles.rpc.calling import sync
from damocles.stores import journal, persist, sealing
from damocles.wire import fleet

MINER = 10000
HOME_VARIABLE = "DAMOCLES_PATH"
_FIRST_EPHEMERAL = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
_PORTS_OF_A_PROCESS = 100
PARAMETER_CACHE = Path(os.environ.get("FIL_PROOFS_PARAMETER_CACHE", "/var/tmp/filecoin-proof-parameters"))


def program(name: str) -> str:
    """Return the path of one of our two programs."""
    return str(Path(sys.executable).with_name(name))


def cli(*command: str, check: bool = True, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run one of our programs to its end."""
    name, *arguments = command
    done = subprocess.run(
        [program(name), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, **(env or {})},
    )
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)} exited with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done


def free_port() -> int:
    """Return a TCP port that is free now, and that neither the system nor tests in other processes give to anyone.

    An outgoing connection never has one of these ports. Otherwise a daemon that is started again could find its port taken,
    by the very peer that tries to reach it.
    """
    return next(filter(_is_free, _own_ports()))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@cache
def _own_ports() -> Iterator[int]:
    """Return an endless round through a block of ports that this process claims as long as it lives, by a socket's name."""
    blocks = list(range(10_000, _FIRST_EPHEMERAL - _PORTS_OF_A_PROCESS, _PORTS_OF_A_PROCESS))
    secrets.SystemRandom().shuffle(blocks)  # not `random`, which tests seed alike
    for first in blocks:
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0damocles-testing-ports-{first}")
        except OSError:
            claim.close()
            continue
        atexit.register(claim.close)
        return itertools.cycle(range(first, first + _PORTS_OF_A_PROCESS))
    raise AssertionError("other processes have claimed all ports")


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 90.0, every: float = 0.05) -> Any:
    """Return the first true value of `condition`, asked less often the longer it takes; fail after `seconds`."""
    began = time.monotonic()
    deadline = began + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds} s")
        # To look twenty times a second costs what is waited for, a SNARK, a good part of the machine.
        time.sleep(max(every, min(5.0, (time.monotonic() - began) / 50)))


@dataclass
class Farm:
    """Folders, ports and processes below `base`; `with` stops whatever runs.

    Meanwhile commands of this process and its children find the farm's manager's token by `DAMOCLES_PATH`.
    """

    base: Path
    threads: int = 3
    size: str = "2KiB"
    sealing: str = ""
    processors: str = ""
    plans: Sequence[str] = ()  # of the threads, `sealer` for those without one
    max_sectors: int | None = None
    miner: int = MINER
    name: str = "test-worker"
    seal_interval: str = "1s"
    recover_interval: str = "500ms"
    ping_interval: str = "1s"
    parameters: Path = PARAMETER_CACHE
    manager_port: int = field(default_factory=free_port)
    worker_port: int = field(default_factory=free_port)
    manager_options: Sequence[str] = ()
    manager: "subprocess.Popen[bytes] | None" = None
    worker: "subprocess.Popen[bytes] | None" = None
    shared: Path | None = None  # where the manager and the persist store are, if not in `base`
    _path_before: str | None = None

    def __enter__(self) -> Self:
        self._path_before = os.environ.get(HOME_VARIABLE)
        os.environ[HOME_VARIABLE] = str(self.base / "manager")
        for store in self.stores:
            sealing.init(store)
        persist.init(self.base / "persist")
        self.write_config()
        return self

    def __exit__(self, *_: object) -> None:
        if self._path_before is None:
            os.environ.pop(HOME_VARIABLE, None)
        else:
            os.environ[HOME_VARIABLE] = self._path_before
        with ExitStack() as stack:  # whatever becomes of one, the other one is stopped too
            for process in self.running:
                stack.callback(stop, process)

    @property
    def running(self) -> "list[subprocess.Popen[bytes]]":
        """The daemons that were started."""
        return [process for process in (self.manager, self.worker) if process is not None]

    @property
    def miners(self) -> list[int]:
        """The miners whose sectors the worker seals."""
        return [self.miner]

    @property
    def stores(self) -> list[Path]:
        """The sealing stores, in the order of the threads."""
        return [self.base / f"store{i + 1}" for i in range(self.threads)]

    @property
    def config(self) -> Path:
        """The worker's configuration file."""
        return self.base / "worker.toml"

    def write_config(self) -> None:
        """Write the worker's configuration file."""
        self.config.write_text(self._config())

    @property
    def env(self) -> dict[str, str]:
        """The environment of the daemons."""
        return {**os.environ, "FIL_PROOFS_PARAMETER_CACHE": str(self.parameters)}

    def start_manager(self, *options: str) -> None:
        """Start the manager with further options and wait until it answers."""
        self.manager_options = options
        self.launch_manager()
        wait_until(lambda: self.listens(self.manager_port), "the manager listens")

    def launch_manager(self, **env: str) -> None:
        """Start the manager once more, with the same options, and do not wait."""
        limit = ("--max-sectors", str(self.max_sectors)) if self.max_sectors is not None else ()
        self.manager = self.start(
            "manager.log",
            env,
            *("damocles-manager", "mock", "--miner", str(self.miner), "--sector-size", self.size),
            *("--listen", f"127.0.0.1:{self.manager_port}", "--home", str(self.base / "manager")),
            *limit,
            *self.manager_options,
        )

    def moved(self, base: Path, name: str) -> "Farm":
        """Return the farm of another machine: the same manager and persist store, copies of the sealing stores.

        It has a worker of its own, and is not to be entered; stop its worker.
        """
        base.mkdir()
        shared = self.shared or self.base
        other = replace(self, base=base, shared=shared, name=name, worker_port=free_port(), worker=None)
        for ours, theirs in zip(self.stores, other.stores, strict=True):
            shutil.copytree(ours, theirs, symlinks=True)
        other.write_config()
        return other

    def start_worker(self, *, wait: bool = True, **env: str) -> None:
        """Start the worker and, unless told otherwise, wait until it answers."""
        self.worker = self.start("worker.log", env, "damocles-worker", "daemon", "-c", str(self.config))
        if wait:
            wait_until(lambda: self.listens(self.worker_port), "the worker listens")

    def all_threads(self) -> list[fleet.ThreadInfo]:
        """Ask the worker for its threads."""
        with self.worker_client() as worker:
            return worker.call(methods.worker.list_threads()) or []

    def resume(self, index: int, state: str | None = None) -> bool:
        """Resume a thread."""
        with self.worker_client() as worker:
            return worker.call(methods.worker.resume(index, state))

    def thread(self, index: int) -> fleet.ThreadInfo:
        """Ask for one thread."""
        return self.all_threads()[index]

    def ask_manager(self, method: str, params: list[Any], returns: Any) -> Any:
        """Call the manager."""
        with self.manager_client() as manager:
            return manager.call(f"Venus.{method}", params, returns=returns)

    def worker_client(self) -> AbstractContextManager[sync.Client]:
        """Return a connection to the worker with its own token, to be entered."""
        url = f"http://127.0.0.1:{self.worker_port}/"
        return sync.connect(url, token=tokens.read_file(self.base / "worker" / "token"), timeout_seconds=30)

    def manager_client(self) -> AbstractContextManager[sync.Client]:
        """Return a connection to the manager with its own token, to be entered."""
        url = f"http://127.0.0.1:{self.manager_port}/rpc/v0"
        return sync.connect(url, token=tokens.read_file(self.base / "manager" / "token"), timeout_seconds=30)

    def history(self, index: int) -> list[journal.Entry]:
        """Read the journal of a thread's store."""
        return list(journal.read(self.stores[index]))

    def events(self, index: int) -> list[str]:
        """Read the names of the events in a thread's journal."""
        return [entry.event for entry in self.history(index)]

    def log(self) -> str:
        """Return what the worker has logged."""
        return (self.base / "worker.log").read_text()

    def start(self, log: str, env: dict[str, str], name: str, *arguments: str) -> "subprocess.Popen[bytes]":
        """Start one of our programs in the background, with its output in the log file."""
        with (self.base / log).open("ab") as out:
            return subprocess.Popen(
                [program(name), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                env={**self.env, **env},
            )

    def listens(self, port: int) -> bool:
        """Tell whether one of the daemons listens on a port; fail if one of them has ended by itself."""
        for process in self.running:
            if process.poll() not in {None, -signal.SIGKILL}:
                raise AssertionError(f"a daemon ended with {process.returncode}:\n{self.logs()}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    def logs(self) -> str:
        """Return all logs, for failures."""
        return "\n".join(f"== {path.name}\n{path.read_text()[-4000:]}" for path in sorted(self.base.glob("*.log")))

    def _config(self) -> str:
        shared = self.shared or self.base
        threads = "".join(
            f'[[sealing_thread]]\nlocation = "{store}"\nplan = "{plan}"\n\n'
            for store, plan in itertools.zip_longest(self.stores, self.plans, fillvalue="sealer")
        )
        return f"""\
[worker]
name = "{self.name}"
home = "{self.base}/worker"
unseal_dirs = ["{self.base}"]
rpc_server.port = {self.worker_port}
ping_interval = "{self.ping_interval}"
shutdown_grace = "5s"

[sector_manager]
rpc_client.addr = "/ip4/127.0.0.1/tcp/{self.manager_port}"
token_file = "{shared}/manager/worker-token"

[sealing]
allowed_miners = {self.miners}
allowed_sizes = ["{self.size}"]
seal_interval = "{self.seal_interval}"
recover_interval = "{self.recover_interval}"
rpc_polling_interval = "500ms"
{self.sealing}

{threads}
[[attached]]
name = "persist"
location = "{shared}/persist"

[processors.limitation.concurrent]
c2 = 1
{self.processors}
"""


def wakes(pid: int) -> int:
    """Return how often the threads of a process that live have slept and been woken so far."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # it has ended meanwhile
            total += int((task / "status").read_text().partition("\nvoluntary_ctxt_switches:")[2].split()[0])
    return total


def stop(process: "subprocess.Popen[bytes]", *, kill: bool = False) -> int:
    """End a daemon: politely, or with SIGKILL."""
    if process.poll() is None:
        process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
    try:
        return process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise AssertionError("a daemon did not end within 30 s of SIGTERM") from None
