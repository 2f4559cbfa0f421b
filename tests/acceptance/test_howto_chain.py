"""The page `docs/how-to/a-real-chain.md`, with real processes and real proofs: a sector from nothing to proven on a devnode."""

import os
import re
import shlex
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from damocles.rpc.admission import tokens
from damocles.rpc.calling import sync
from damocles.testing import farm
from damocles.wire.codec import CID

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "a-real-chain.md"
PORTS = ("1234", "1789", "17890")


class Provider:
    """A folder with the page's files, and its commands, on free ports."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self._ports = {port: str(farm.free_port()) for port in PORTS}
        text = re.sub(rf"\b({'|'.join(PORTS)})\b", lambda found: self._ports[found[1]], PAGE.read_text())
        manager, worker = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
        (base / "manager.toml").write_text(manager)
        (base / "worker.toml").write_text(worker)
        self.commands = re.findall(r"^\$ (.*)$", text, re.MULTILINE)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def change(self, file: str, before: str, after: str) -> None:
        """Let a file differ from the page's."""
        text = (self.base / file).read_text()
        assert before in text
        (self.base / file).write_text(text.replace(before, after, 1))

    def run(self, command: str) -> str:
        """Run a command to its end."""
        name, *arguments = shlex.split(command)
        done = subprocess.run(
            [farm.program(name), *arguments],
            cwd=self.base, env=self._env(), capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def start(self, command: str, **env: str) -> "subprocess.Popen[bytes]":
        """Start a daemon."""
        name, *arguments = shlex.split(command)
        what = f"{name.removeprefix('damocles-')}-{arguments[0]}"
        with (self.base / f"{what}.log").open("ab") as log:
            started = subprocess.Popen(
                [farm.program(name), *arguments],
                cwd=self.base, env={**self._env(), **env}, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self._running[what] = started
        return started

    def _env(self) -> dict[str, str]:
        return {**os.environ, "FIL_PROOFS_PARAMETER_CACHE": str(farm.PARAMETER_CACHE)}

    def stop(self) -> None:
        """End all daemons."""
        for process in reversed(self._running.values()):
            if process.poll() is None:
                farm.stop(process)

    def exists(self, path: str) -> bool:
        """Return whether a daemon has made a file."""
        return (self.base / path).exists()

    def ask_node(self, method: str, params: list[Any]) -> Any:
        """Call the devnode."""
        token = (self.base / "devnet" / "token").read_text().strip()
        with sync.connect(f"http://127.0.0.1:{self._ports['1234']}/rpc/v1", token=token, timeout_seconds=30) as node:
            return node.call(f"Filecoin.{method}", params, returns=Any)

    def ask_manager(self, method: str, params: list[Any]) -> Any:
        """Call the manager."""
        token = tokens.read_file(self.base / "manager" / "token")
        url = f"http://127.0.0.1:{self._ports['1789']}/rpc/v0"
        with sync.connect(url, token=token, timeout_seconds=30) as manager:
            return manager.call(f"Venus.{method}", params, returns=Any)

    def listens(self, port: str) -> bool:
        """Return whether a daemon listens."""
        for what, process in self._running.items():
            if process.poll() not in {None, -signal.SIGKILL}:
                raise AssertionError((what, (self.base / f"{what}.log").read_text()[-4000:]))
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", int(self._ports[port]))) == 0


@contextmanager
def provider(base: Path) -> Iterator[Provider]:
    """Yield a provider, and end its daemons."""
    made = Provider(base)
    try:
        yield made
    finally:
        made.stop()


@pytest.mark.params
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("porep_parameters")
def test_the_page_proves_a_sector(tmp_path: Path) -> None:
    """A sector is proven on the devnode, by one message of each kind, though the manager was killed after each push."""
    with provider(tmp_path) as made:
        devnode, file_init, daemon, sealing_init, worker, threads, sectors = made.commands
        made.start(devnode)
        farm.wait_until(lambda: made.listens("1234") and made.exists("devnet/token"), "the devnode listens")
        made.run(file_init)
        once = tmp_path / "killed"
        once.mkdir()
        killing = {"DAMOCLES_FAILPOINTS": "node.after:MpoolPush=kill", "DAMOCLES_FAILPOINTS_ONCE": str(once)}
        manager = made.start(daemon, **killing)
        farm.wait_until(lambda: made.listens("1789"), "the manager listens")
        made.run(sealing_init)
        made.start(worker)
        farm.wait_until(lambda: manager.poll() is not None, "the manager dies after its first push")
        assert -signal.SIGKILL == manager.returncode
        made.start(daemon)

        def is_proven() -> bool:
            return made.ask_node("StateSectorGetInfo", ["t01000", 1, None]) is not None

        farm.wait_until(is_proven, "the sector is on the chain", 400)
        farm.wait_until(lambda: made.listens("1789"), "the manager listens")
        (record,) = farm.wait_until(lambda: made.ask_manager("ListSectors", ["offline", 1]), "the sector is finished")
        on_chain = made.ask_node("StateSectorGetInfo", ["t01000", 1, None])
        assert record["Pre"]["CommR"] == on_chain["SealedCID"]
        assert CID(record["MessageInfo"]["CommitCid"]["/"]).startswith("bafk4bza")
        info = made.ask_node("StateMinerInfo", ["t01000", None])
        sender = made.ask_node("StateGetActor", [info["Worker"], None])
        assert sender["Nonce"] == 2  # a pre-commit and a proof
        assert "s-t01000-1" in made.run(sectors)
        assert "Empty" in made.run(threads) or "Finished" in made.run(threads)
