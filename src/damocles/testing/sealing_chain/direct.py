"""A client of a devnode in the same process: the same JSON, and no sockets."""

from collections.abc import Sequence
from typing import Any, TypeVar

import anyio

from damocles import failpoints
from damocles.devnode import serving
from damocles.devnode.api.service import Broken
from damocles.devnode.node import Node as Devnode
from damocles.lotus import errors
from damocles.lotus.node import Node
from damocles.lotus.places import Place
from damocles.rpc import core, messages
from damocles.rpc import errors as rpc

T = TypeVar("T")
URL = "http://devnode/rpc/v1"


class DirectNode(Node):
    """Our client, with the devnode's service behind it instead of a connection."""

    def __init__(self, devnode: Devnode) -> None:
        super().__init__(Place(url=URL), None, devnode.token, ())  # type: ignore[arg-type]
        self._service = serving.service_of(devnode)

    async def _once(self, returns: type[T], method: str, params: Sequence[Any], seconds: float) -> T:
        name = f"Filecoin.{method}"
        failpoints.reach(f"node.before:{method}")
        try:
            await anyio.lowlevel.checkpoint()
            reply = await self._service.answer(messages.encode_call(1, name, list(params)), core.Call(token=self.token))
            answer: T = messages.decode_answer(reply.body, returns, url=URL, method=name, status=reply.status)
        except Broken as exc:
            raise errors.of(rpc.Disconnected(URL, "as it was told"), URL, method) from exc
        except rpc.CallError as exc:
            raise errors.of(exc, URL, method) from exc
        failpoints.reach(f"node.after:{method}")
        return answer
