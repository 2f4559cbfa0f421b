"""What the worker can do, for planning capacity: its machine, what that has granted, and how long stages take."""

from collections.abc import Callable

import anyio
import anyio.to_thread

from damocles.methods import worker as methods
from damocles.rpc import core
from damocles.stages.supervision import executor
from damocles.wire import capacity
from damocles.worker import capacity as worker_capacity
from damocles.worker.config import load


class Capacity:
    """`Damocles.Capacity`."""

    def __init__(self, config: Callable[[], load.Config], stages: executor.Stages) -> None:
        self._config = config
        self._stages = stages
        # Not the limit that all share: a disk that hangs must not use that up.
        self._looks = anyio.CapacityLimiter(2)

    def register(self, service: core.Service) -> None:
        """Serve the API."""
        service.add(methods.report, self.report)

    async def report(self) -> capacity.Report:
        """Return what there is."""
        granted, config = self._stages.granted(), self._config()

        def look() -> capacity.Report:
            found = worker_capacity.look(config)
            return worker_capacity.report(config, found, self._stages.admitted_by, granted)

        return await anyio.to_thread.run_sync(look, abandon_on_cancel=True, limiter=self._looks)
