"""Ask the manager's own service, in process: with the scopes of whoever looks at a page, and in the audit under their name."""

import itertools
from typing import TypeVar

import msgspec

from damocles import methods
from damocles.rpc import core, messages
from damocles.wire import codec

T = TypeVar("T")


class Asking:
    """Calls to a service, as whoever makes them."""

    def __init__(self, service: core.Service) -> None:
        self._service = service
        self._numbers = itertools.count(1)

    async def __call__(self, call: core.Call, ask: methods.Ask[T]) -> T:
        """Make a call and return its result.

        Raises:
            errors.RpcError: It was refused: not with this scope (403), not so, or not now.
        """
        params = msgspec.Raw(codec.encode(list(ask.params)))
        request = messages.LooseRequest(ask.method, params, next(self._numbers))
        found, by = await self._service.admit(request, call)
        return codec.decode(await self._service.run(found, request, by), ask.returns)
