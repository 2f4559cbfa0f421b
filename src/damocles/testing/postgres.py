"""A PostgreSQL server of a test's own, in a temporary folder and on a free port of this machine.

It is Debian's, and runs as the user `postgres` where the test is root, which the server refuses to be. Unless it is asked
for, nothing is synced: that a commit survives a power cut is the server's own promise.
"""

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from damocles.testing import farm

BIN = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), default=Path("/usr/bin"))
_SUPERUSER = "postgres"
_names = itertools.count(1)


def is_installed() -> bool:
    """Return whether there is a server to be started (`make setup` installs it)."""
    return (BIN / "initdb").exists()


@dataclass(slots=True)
class Server:
    """A running server. `databases` make new ones; `kill`, `freeze` and `thaw` do that to it as a whole."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    synced: bool = False

    def url(self, database: str, *, port: int | None = None) -> str:
        """Return how a database is reached, over TCP, maybe through another port."""
        return f"postgresql://{_SUPERUSER}@127.0.0.1:{port or self.port}/{database}"

    def new(self) -> str:
        """Make an empty database; return its name."""
        name = f"d{next(_names)}"
        self.run("postgres", f"CREATE DATABASE {name}")
        return name

    def run(self, database: str, statement: str) -> str:
        """Run a statement; return what it says, a row a line."""
        command = [str(BIN / "psql"), "-XqtA", "-v", "ON_ERROR_STOP=1", "-c", statement, self.url(database)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
        return done.stdout

    def kill(self) -> None:
        """Let it die as in a crash."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(60)

    def start(self) -> None:
        """Start it again where it was. It ends with the thread that does so."""
        self.process = _started(self.folder, self.port, synced=self.synced)


@contextlib.contextmanager
def server(*, synced: bool = False) -> Iterator[Server]:
    """Run an empty server while the block runs."""
    folder = Path(tempfile.mkdtemp(prefix="damocles-postgres-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, _SUPERUSER, _SUPERUSER)
        made = [str(BIN / "initdb"), "-D", str(folder / "data"), "-U", _SUPERUSER, "-A", "trust", "-E", "UTF8"]
        given = ["--locale=C.UTF-8", "--no-sync"]
        subprocess.run([*_as_user(), *made, *given], check=True, capture_output=True, timeout=120, cwd=folder)
        port = farm.free_port()
        running = Server(folder, port, _started(folder, port, synced=synced), synced)
        try:
            yield running
        finally:
            running.process.send_signal(signal.SIGCONT)
            running.kill()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _started(folder: Path, port: int, *, synced: bool) -> subprocess.Popen[bytes]:
    settings = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": str(folder),
        "fsync": "on" if synced else "off",
    }
    given = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [*_as_user(), BIN / "postgres", "-D", folder / "data", "-p", str(port), *given],
            stdout=log,
            stderr=log,
            cwd=folder,
        )
    until = time.monotonic() + 60
    while subprocess.run([BIN / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)], check=False).returncode:
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"PostgreSQL does not start: {(folder / 'log').read_text()[-2000:]}")
        time.sleep(0.05)
    return process


def _as_user() -> list[str]:
    """Return what runs a program as the server's user, and ends it with the thread that has started it."""
    whom = [f"--reuid={_SUPERUSER}", f"--regid={_SUPERUSER}", "--init-groups"] if os.geteuid() == 0 else []
    return ["setpriv", *whom, "--pdeathsig=QUIT"]
