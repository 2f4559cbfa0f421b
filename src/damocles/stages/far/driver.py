"""The only importer of Ray: joins a cluster, and has actors there.

All of it blocks, except for what returns awaitables; `helper` calls the rest in threads.
"""

import re
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import ray
import ray.exceptions

from damocles.stages.far import actor, settings, workplace

LOST = (ray.exceptions.RayError, ConnectionError)  # whatever it is, nobody answers for that attempt any more

_CONNECT_SECONDS = 5.0
_VERSIONS = re.compile(r"Ray: (\S+)\s+Python: (\S+)")
_OWN = {"GPU": "num_gpus", "CPU": "num_cpus", "memory": "memory"}  # what Ray knows by other names


class Unusable(Exception):
    """The cluster cannot be used now; the text is one line that says why, and what to do."""


def join(group: settings.Group) -> None:
    """Become a driver of the cluster, which can be reached. It may be tried again after a failure.

    Raises:
        Unusable: It does not let us in, or is of another version.
    """
    try:
        ray.init(
            address=":".join(map(str, settings.endpoint(group.address))),
            log_to_driver=False,
            logging_level="ERROR",
            namespace="damocles",
        )
    except Exception as error:
        raise Unusable(_why(group, error)) from error


def reach(address: str) -> None:
    """Try whether somebody listens; Ray itself tries for minutes where nobody does.

    Raises:
        Unusable: Nobody does.
    """
    host, port = settings.endpoint(address)
    try:
        socket.create_connection((host, port), _CONNECT_SECONDS).close()
    except OSError as error:
        reason = error.strerror or "no answer"
        raise Unusable(
            f"no Ray cluster answers at {address}: {reason}; start one: damocles-worker ray up --head"
        ) from error


def _why(group: settings.Group, error: Exception) -> str:
    text = str(error)
    if versions := _VERSIONS.findall(text):
        (theirs, their_python), (ours, our_python) = versions[0], versions[-1]
        there, here = f"Ray {theirs} and Python {their_python}", f"Ray {ours} and Python {our_python}"
        return f"the Ray cluster at {group.address} runs {there}, here are {here}: they have to be the same"
    if isinstance(error, ConnectionError):
        return f"the Ray cluster at {group.address} does not let us in: is its token another one than here?"
    if "node" in text.lower() or "raylet" in text.lower():
        join_it = f"damocles-worker ray up --address {group.address}"
        return f"this machine is no node of the Ray cluster at {group.address}: {join_it} ({_line(text)})"
    return f"the Ray cluster at {group.address} cannot be used: {_line(text) or type(error).__name__}"


def _line(text: str) -> str:
    return " ".join(text.split())[:300]


def leave() -> None:
    """Leave the cluster: what we have there ends."""
    ray.shutdown()


def lacking(group: settings.Group) -> str | None:
    """Return what no node has, `None` if one has all of it, though perhaps in use."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(all(node.get(name, 0) >= amount for name, amount in group.resources.items()) for node in nodes):
        return None
    hidden = re.compile(r"node:|object_store_memory")
    known = sorted({name for node in nodes for name in node if not hidden.match(name)})
    most = {name: max(node.get(name, 0) for node in nodes) for name in group.resources}
    told = ", ".join(f"{name} = {most[name]:g} at most" if name in most else name for name in known)
    its = "its only node has" if len(nodes) == 1 else f"its {len(nodes)} nodes have"
    return f"no node of the Ray cluster has {group.about}; {its} {told}"


class Far:
    """An actor, and so a place for one stage. It is created with this; `about` waits for it."""

    def __init__(self, group: settings.Group) -> None:
        options: dict[str, Any] = {"num_cpus": 0, "max_restarts": 0, "max_task_retries": 0}
        options |= {_OWN[name]: amount for name, amount in group.resources.items() if name in _OWN}
        options["resources"] = {name: amount for name, amount in group.resources.items() if name not in _OWN}
        kind = ray.remote(concurrency_groups={actor.CONTROL: 4})(actor.Slot)
        self._actor = kind.options(**options).remote(workplace.of(group))

    def _control(self, method: str, *arguments: Any, **options: Any) -> Any:
        return getattr(self._actor, method).options(concurrency_group=actor.CONTROL).remote(*arguments, **options)

    async def about(self) -> actor.About:
        """Wait for the actor and ask it where it is."""
        return await self._control("about")  # type: ignore[no-any-return]

    async def run(self, attempt: str, stamp: float, request: bytes) -> AsyncIterator[bytes]:
        """Yield the lines about a task."""
        lines = self._actor.run.options(num_returns="streaming").remote(attempt, stamp, request)
        async for line in lines:
            yield await line

    async def renew(self, stamp: float) -> float:
        """Renew the lease; return the next stamp."""
        return await self._control("renew", stamp)  # type: ignore[no-any-return]

    async def stop(self, attempt: str) -> bool:
        """End an attempt; return whether nothing of it goes on."""
        return await self._control("stop", attempt)  # type: ignore[no-any-return]

    async def listed(self, folder: str) -> Mapping[str, int]:
        """Return what is in the folder of an attempt there."""
        return await self._control("listed", folder)  # type: ignore[no-any-return]

    async def read(self, probes: Sequence[str], *, answers: bool) -> Mapping[str, str]:
        """Return what is in small files there."""
        return await self._control("read", list(probes), answers=answers)  # type: ignore[no-any-return]

    def close(self) -> None:
        """End the actor, and with it what it has started."""
        ray.kill(self._actor)
