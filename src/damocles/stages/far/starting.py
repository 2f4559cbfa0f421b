"""`ray start`, with one port more told to Ray's daemon: run as a program, with the arguments of `ray`.

The raylet waits 15 seconds for a port that it is not told, until the agent that chooses it has written it down, and aborts then. `ray start` has options for the
ports of all agents. Three of them reach the raylet; the one where the dashboard's agent listens reaches that agent alone, though the raylet has an argument for it.
"""

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

LISTEN_PORT = "--dashboard-agent-listen-port="  # an option of `ray start`
_ARGUMENT = "--dashboard_agent_listen_port="  # the raylet's


def telling(start: Callable[..., Any], raylet: str, given: Sequence[str]) -> Callable[..., Any]:
    """Return what starts a process of Ray as `start` does, a raylet with the listening port that `ray` was given."""
    ports = [each.removeprefix(LISTEN_PORT) for each in given if each.startswith(LISTEN_PORT)]

    @functools.wraps(start)
    def started(command: list[str], process_type: str, *rest: Any, **more: Any) -> Any:
        told = [f"{_ARGUMENT}{port}" for port in ports] if process_type == raylet else []
        return start([*command, *told], process_type, *rest, **more)

    return started


def main() -> None:
    """Be `ray`."""
    from ray._private import ray_constants, services  # noqa: PLC0415 (node.py reads this module without Ray)
    from ray.scripts import scripts  # noqa: PLC0415

    services.start_ray_process = telling(services.start_ray_process, ray_constants.PROCESS_TYPE_RAYLET, sys.argv[1:])
    scripts.main()


if __name__ == "__main__":
    main()
