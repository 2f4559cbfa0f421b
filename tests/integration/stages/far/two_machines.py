"""Two machines with a cable between them: namespaces of networks and mounts, held by processes, so that nothing of them is left behind."""

import itertools
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from damocles.stages.far import node

WORKER = [sys.executable, "-m", "damocles.cli.worker"]
HEAD = "10.77.0.1"
PROVER = "10.77.0.2"
PORT = 6379


def is_running(process: psutil.Process) -> bool:
    """Return whether a process is there. A zombie is not: when a node dies, who inherits its processes buries them in its own time."""
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


@dataclass(frozen=True)
class Machine:
    """A machine that is a network and a name of its own; its files are everybody's, unless something else is mounted over them."""

    name: str
    ip: str
    holder: "subprocess.Popen[bytes]"
    cable: str
    folder: Path

    def command(self, *command: str) -> list[str]:
        """Return what runs a command there; it is the very process that is started."""
        return ["nsenter", "-t", str(self.holder.pid), "-n", "-u", "-m", "--", *command]

    def run(self, *command: str) -> str:
        """Run a command there to its end."""
        done = subprocess.run(self.command(*command), capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout} {done.stderr}"
        return done.stdout

    def plug(self, *, is_in: bool) -> None:
        """Pull out the cable, or put it back."""
        self.run("ip", "link", "set", self.cable, "up" if is_in else "down")

    def ray(self, *arguments: str) -> Any:
        """Run `damocles-worker ray` there, with what belongs to this machine."""
        return json.loads(self.run(*WORKER, "ray", *arguments, "--home", str(self.folder / self.name), "--json"))

    @property
    def processes(self) -> list[int]:
        """The processes of its node, and what they have started."""
        file = self.folder / self.name / "ray.json"
        return node.processes(json.loads(file.read_text())["mark"]) if file.exists() else []


class Pair:
    """Two machines and their cluster: the first is the head, and the worker's; the second has a `prover`."""

    def __init__(self, head: Machine, prover: Machine, temp: Path) -> None:
        self.head, self.prover = head, prover
        self.temp = temp
        self.token = head.folder / "token"
        self.address = f"{HEAD}:{PORT}"
        self._starts = itertools.count()

    def start_head(self) -> Any:
        """Begin a cluster."""
        return self._up(self.head, "--head")

    def start_prover(self) -> Any:
        """Join it."""
        return self._up(
            self.prover,
            "--address",
            self.address,
            *itertools.chain(*(("--resource", each) for each in ("prover=1", "CPU=1", "GPU=2"))),
        )

    def _up(self, machine: Machine, *arguments: str) -> Any:
        # A new one each time: in an old one, Ray takes a head of the same address for its own, in whatever network that is.
        folder = self.temp / f"{machine.name}.{next(self._starts)}"
        where = ("--listen", machine.ip, "--token-file", str(self.token), "--temp-dir", str(folder))
        return machine.ray("up", *arguments, *where)


@contextmanager
def machines(folder: Path) -> Iterator[Pair]:
    """Yield two machines without a cluster; all that runs there is gone afterwards."""
    temp = Path("/tmp", f"r{secrets.token_hex(3)}")  # Ray's sockets have no room for a longer path
    holders = []
    made: list[Machine] = []
    try:
        for name, ip, cable in (("sealer1", HEAD, "left"), ("gpu1", PROVER, "right")):
            script = f"hostname {name} && ip link set lo up && echo && exec sleep infinity"
            holder = subprocess.Popen(["unshare", "-n", "-u", "-m", "--", "sh", "-c", script], stdout=subprocess.PIPE)
            holders.append(holder)
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"\n"
            made.append(Machine(name, ip, holder, cable, folder))
        left, right = made
        ends = [f"netns {left.holder.pid}", f"netns {right.holder.pid}"]
        link = f"ip link add {left.cable} {ends[0]} type veth peer name {right.cable} {ends[1]}"
        subprocess.run(link.split(), check=True)
        for machine in made:
            machine.run("ip", "addr", "add", f"{machine.ip}/24", "dev", machine.cable)
            machine.plug(is_in=True)
        yield Pair(left, right, temp)
    finally:
        for machine in made:
            file = machine.folder / machine.name / "ray.json"
            if file.exists():
                node.down(json.loads(file.read_text())["mark"])
        for holder in holders:
            holder.kill()
            holder.wait()
            assert holder.stdout is not None
            holder.stdout.close()
        subprocess.run(["rm", "-rf", str(temp)], check=True)


def can_be_made() -> bool:
    """Return whether this user may make machines: root, with the tools."""
    return os.geteuid() == 0 and all(shutil.which(name) for name in ("ip", "nsenter", "unshare"))
