"""Starts and ends this machine's part of a Ray cluster, with the settings that our stages need. Does not import Ray.

What belongs to a node is found by a mark in the environment of its processes, not by their names: another user's node, or one in another
container, is nobody's business here.
"""

import contextlib
import errno
import ipaddress
import os
import re
import secrets
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from damocles import durable
from damocles.stages.far import settings, starting

MARK = "DAMOCLES_RAY_NODE"
_TRIES = 3
_END_SECONDS = 4.0  # for a SIGTERM, then for a SIGKILL: nothing of a node is lost by one
_START_SECONDS = 180.0
_LOOK_SECONDS = 0.1
# A raylet that is not told them waits 15 seconds for its agents to choose, and ends then: too short for a machine that computes.
# `starting` tells it one that Ray keeps from it.
_AGENT_PORTS = (
    "metrics-export-port",
    "dashboard-agent-grpc-port",
    "dashboard-agent-listen-port",
    "runtime-env-agent-port",
)
_PARTS = ("raylet", "gcs_server")  # a node is over when one of them is; the second is the head's
_TABLES = ("tcp", "tcp6")
_LISTENING = "0A"
# Ray's own words for that it took too long, on a machine that computes: it gives a node 30 seconds, and no setting more.
_SLOW = re.compile("timed out|failed to startup|overloaded", re.IGNORECASE)
_KIND_OF_ERROR = re.compile(r"^([\w.]+(Error|Exception|Timeout)|Exception): ")

SETTINGS: Mapping[str, str] = {
    "RAY_USAGE_STATS_ENABLED": "0",  # it calls home otherwise
    "RAY_worker_niceness": "0",  # 15 otherwise: a stage would be slower than anything else on the machine
    # A node that is cut off counts as dead after ten seconds rather than a minute, so that nothing new is placed there.
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "2000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "4",
}


class Failed(Exception):
    """The node cannot be started or ended; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What to start. Without an `address` this machine is the head of a new cluster, at `listen` and `port`."""

    listen: str
    address: str | None = None
    port: int = settings.DEFAULT_PORT
    resources: Mapping[str, float] = field(default_factory=dict)
    token_file: Path | None = None  # none: without authentication
    object_store_bytes: int = 128 << 20
    mark: str = field(default_factory=lambda: secrets.token_hex(8))
    folder: Path | None = None  # for Ray's sockets and logs; none: its own, below /tmp

    @property
    def is_loopback(self) -> bool:
        """Whether nobody on another machine is to reach it."""
        return ipaddress.ip_address(self.listen).is_loopback

    @property
    def environment(self) -> dict[str, str]:
        """What Ray reads of it."""
        own = {**SETTINGS, MARK: self.mark}
        return {**os.environ, **own, **settings.showing(self.token_file), **settings.confining(self.listen)}

    def command(self) -> list[str]:
        """What to run; it ends as soon as the node is up."""
        amounts = dict(self.resources)
        said = [f"--num-cpus={int(amounts.pop('CPU', os.cpu_count() or 1))}"]
        said += [f"--num-gpus={int(amounts.pop('GPU'))}"] if "GPU" in amounts else []
        said += [f"--memory={int(amounts.pop('memory'))}"] if "memory" in amounts else []
        custom = ", ".join(f'"{name}": {amount:g}' for name, amount in amounts.items())
        where = (
            [f"--address={self.address}"]
            if self.address
            else ["--head", f"--port={self.port}", "--include-dashboard=false", "--no-monitor"]
        )
        # Ray has half a minute for a start: no autoscaler, whose nodes are fixed here, and no collector of logs, which the guards send.
        return [
            *(sys.executable, "-m", starting.__name__, "start", *where),
            *(f"--node-ip-address={self.listen}", f"--object-store-memory={self.object_store_bytes}"),
            *("--disable-usage-stats", "--include-log-monitor=false", f"--resources={{{custom}}}", *said),
            *(f"--{name}={port}" for name, port in zip(_AGENT_PORTS, free_ports(len(_AGENT_PORTS)), strict=True)),
            *([f"--temp-dir={self.folder}"] if self.folder else []),
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Socket:
    """Where a process of a node listens; `is_open` if that is reached from other machines."""

    pid: int
    process: str
    host: str
    port: int

    @property
    def is_open(self) -> bool:
        """Whether other machines reach it."""
        return not ipaddress.ip_address(self.host).is_loopback


def free_ports(count: int) -> list[int]:
    """Return ports that nobody has at this moment."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("", 0))
        return [probe.getsockname()[1] for probe in probes]


def make_token(file: Path) -> bool:
    """Make a token, unless there is one; return whether it is new."""
    if file.exists():
        return False
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    durable.replace(file, secrets.token_hex(32).encode(), private=True)
    return True


def up(start: Start) -> None:
    """Start a node in the background. On a busy machine Ray gives up early, and is asked again.

    Raises:
        Failed: It does not start.
    """
    _check_place(start)
    output = ""
    for _ in range(_TRIES):
        if (said := _tried(start)) is None:
            return
        output = said
        down(start.mark)
        if not _SLOW.search(output):
            raise Failed(f"Ray does not start: {_last_line(output)}")
    raise Failed(
        f"Ray does not start, {_TRIES} times: this machine is too busy now, or the head cannot be reached; nothing of it is"
        f" left running, run the command again ({_last_line(output)})"
    )


def _check_place(start: Start) -> None:
    """Refuse an address that is another machine's, and a port in use: Ray's words for either help nobody, and come late."""
    is_head = start.address is None
    family = socket.AF_INET6 if ipaddress.ip_address(start.listen).version == 6 else socket.AF_INET
    try:
        socket.create_server((start.listen, start.port if is_head else 0), family=family).close()
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            raise Failed(
                f"{start.listen} is not an address of this machine (`ip addr` shows those that are)"
            ) from error
        if error.errno == errno.EADDRINUSE:
            raise Failed(
                f"port {start.port} of {start.listen} is in use: end what listens there, or choose another --port"
            ) from error
        raise Failed(f"nothing can listen on {start.listen}, port {start.port}: {error.strerror}") from error


def _tried(start: Start) -> str | None:
    """Start a node; return what Ray says if it does not start."""
    # Not a pipe: Ray's processes keep it open for as long as they live.
    with tempfile.TemporaryFile() as log:
        streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
        command = start.command()
        with subprocess.Popen(command, env=start.environment, start_new_session=True, **streams) as starting:  # noqa: S603
            try:
                code = starting.wait(_START_SECONDS)
            except subprocess.TimeoutExpired:
                starting.kill()
                return f"timed out after {_START_SECONDS:g}s"
        if code == 0:
            return None
        log.seek(0)
        return log.read().decode(errors="replace")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return _KIND_OF_ERROR.sub("", lines[-1])[:300] if lines else "without a word"


def attend(mark: str) -> str:
    """Wait until a part of a node that it cannot do without has ended; return its name."""
    watched = {}
    with contextlib.ExitStack() as stack:
        for pid in processes(mark):
            with contextlib.suppress(OSError):
                name = Path(f"/proc/{pid}/comm").read_text().strip()
                if name in _PARTS:
                    watched[os.pidfd_open(pid)] = name
                    stack.callback(os.close, [*watched][-1])
        if _PARTS[0] not in watched.values():
            return _PARTS[0]
        poll = select.poll()
        for descriptor in watched:
            poll.register(descriptor, select.POLLIN)
        ((ended, _), *_) = poll.poll()
        return watched[ended]


def processes(mark: str) -> list[int]:
    """Return the pids that belong to a node."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for place in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if wanted in place.read_bytes().split(b"\0") and not _is_zombie(place.parent):
                found.append(int(place.parent.name))
    return sorted(found)


def _is_zombie(process: Path) -> bool:
    return (process / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"


def down(mark: str) -> int:
    """End a node and what runs on it; return how many processes that were.

    Raises:
        Failed: Some of them survive a SIGKILL.
    """
    first = processes(mark)
    left = first
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + _END_SECONDS
        while left := processes(mark):
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            if time.monotonic() > deadline:
                break
            time.sleep(_LOOK_SECONDS)
    if left:
        raise Failed(f"processes of the node survive: {', '.join(map(str, left))}")
    return len(first)


def sockets(pids: list[int]) -> list[Socket]:
    """Return where processes listen, as the kernel has it."""
    listening: dict[str, tuple[str, int]] = {}
    for pid in pids:  # each may be in a network of its own
        for name in _TABLES:
            with contextlib.suppress(OSError):
                listening |= dict(_listening(Path(f"/proc/{pid}/net/{name}").read_text()))
    found = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    inode = str(descriptor.readlink()).removeprefix("socket:[").removesuffix("]")
                    if inode in listening:
                        process = Path(f"/proc/{pid}/comm").read_text().strip()
                        found.add((process, *listening[inode], pid))
    return [Socket(pid=pid, process=process, host=host, port=port) for process, host, port, pid in sorted(found)]


def _listening(table: str) -> Iterator[tuple[str, tuple[str, int]]]:
    for line in table.splitlines()[1:]:
        columns = line.split()
        if columns[3] == _LISTENING:
            address, _, port = columns[1].partition(":")
            yield columns[9], (_host(address), int(port, 16))


def _host(text: str) -> str:
    """Read an address as the kernel writes it: words of four bytes, each in the machine's order."""
    packed = b"".join(
        bytes.fromhex(text[i : i + 8])[:: -1 if sys.byteorder == "little" else 1] for i in range(0, len(text), 8)
    )
    address = ipaddress.ip_address(packed)
    return str(getattr(address, "ipv4_mapped", None) or address)


def outward(address: str) -> str:
    """Return this machine's address as the head sees it.

    Raises:
        Failed: There is no way there.
    """
    host, port = settings.endpoint(address)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, port))
        except OSError as error:
            raise Failed(f"there is no way to {address}: {error.strerror}") from error
        return str(probe.getsockname()[0])
