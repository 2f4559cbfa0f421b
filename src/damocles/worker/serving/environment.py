"""Environment variables of the worker's process, set from outside.

The original sets any variable for anybody who asks, and children inherit them: a way to run code. Here only those that
the configuration allows can be set, like the `DUMP_ERR_RESP_<pid>` of its `worker enable-dump`.
"""

import os
from collections.abc import Sequence
from fnmatch import fnmatchcase

import anyio.to_thread

from damocles import methods
from damocles.rpc import core, errors
from damocles.stages import settings


class Environment:
    """`VenusWorker.WorkerSetEnv` and `WorkerRemoveEnv` for variables that match one of the patterns `allowed`.

    `Damocles.Settings`, which is ours, returns those of the proofs library.
    """

    def __init__(self, allowed: Sequence[str]) -> None:
        self._allowed = allowed

    def register(self, service: core.Service) -> None:
        """Serve the API."""
        service.add(methods.worker.set_env, self.set)
        service.add(methods.worker.remove_env, self.remove)
        service.add(methods.worker.settings, self.settings)

    async def settings(self) -> dict[str, str]:
        """Return the settings of the proofs library that children inherit, among them where its files are."""
        return {name: value for name, value in os.environ.items() if name.startswith(settings.PREFIX)}

    async def set(self, name: str, value: str) -> None:
        """Set a variable; children that are started from now on inherit it."""
        if not _is_name(name) or "\0" in value:
            raise errors.RpcError(errors.Code.INVALID_PARAMS, "invalid environment variable name or value")
        self._check(name)
        for problem in await anyio.to_thread.run_sync(settings.problems, {**os.environ, name: value}):
            if name in problem.names:
                raise errors.RpcError(errors.Code.INVALID_PARAMS, str(problem))
        os.environ[name] = value

    async def remove(self, name: str) -> None:
        """Remove a variable, if it is there."""
        if not _is_name(name):
            raise errors.RpcError(errors.Code.INVALID_PARAMS, "invalid environment variable name")
        self._check(name)
        os.environ.pop(name, None)

    def _check(self, name: str) -> None:
        if not any(fnmatchcase(name, pattern) for pattern in self._allowed):
            allowed = ", ".join(self._allowed) or "none"
            raise errors.RpcError(
                errors.Code.INVALID_PARAMS,
                f"environment variable {name} is refused: worker.allow_env of the worker's configuration allows {allowed}",
            )


def _is_name(name: str) -> bool:
    return bool(name) and "=" not in name and "\0" not in name
