"""Calls to a manager in this process, from whichever address and with whichever token."""

from dataclasses import dataclass
from typing import Any

from tests.integration.access.conftest import Daemon

from damocles.rpc import core, errors
from damocles.wire import codec, control, exports, seal
from damocles.wire.sectors import SectorID

SECTOR = SectorID(10000, 1)
OTHER = SectorID(10000, 2)


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever calls a manager: with a token, or from an address that is let in."""

    manager: Daemon
    token: str | None = None
    peer: str = "127.0.0.1:4711"
    handed: str | None = None

    async def __call__(self, method: str, *params: Any, returns: Any = Any) -> Any:
        """Call a method and return its result.

        Raises:
            errors.RpcError: It was refused.
        """
        body = codec.encode({"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)})
        call = core.Call(peer=self.peer, token=self.token, handed=self.handed)
        answer = codec.decode((await self.manager.service.answer(body, call)).body, dict[str, Any])
        if "error" in answer:
            raise errors.RpcError(answer["error"]["code"], answer["error"]["message"])
        return codec.decode(codec.encode(answer.get("result")), returns)

    async def refusal(self, method: str, *params: Any) -> errors.RpcError | None:
        """Call a method and return its refusal; `None` if there is none."""
        try:
            await self(method, *params)
        except errors.RpcError as error:
            return error
        return None

    async def code(self, method: str, *params: Any) -> int:
        """Call a method and return the code of its refusal; 0 if there is none."""
        refusal = await self.refusal(method, *params)
        return 0 if refusal is None else refusal.code


async def bound(manager: Daemon, worker: str, name: str | None = None) -> Caller:
    """Return a caller with a token that is for one worker."""
    params = (name or worker, "worker", None, worker)
    made: control.NewToken = await manager.call("Damocles.AuthCreate", *params, returns=control.NewToken)
    return Caller(manager, made.text)


def shared(manager: Daemon) -> Caller:
    """Return a caller with the token that the manager makes for all workers."""
    return Caller(manager, (manager.home / "worker-token").read_text().strip())


def admin(manager: Daemon) -> Caller:
    """Return a caller with the manager's own token."""
    return Caller(manager, manager.token)


async def kept(manager: Daemon) -> list[exports.Kept]:
    """Return all that the manager keeps of its sectors."""
    return list(await manager.call("Damocles.SectorsExport", exports.Query(), returns=list[exports.Kept]))


async def allocated(caller: Caller, store: str) -> control.Claimed:
    """Have a sector handed out to a store."""
    made: control.Claimed = await caller("Damocles.Allocate", seal.AllocateSectorSpec(), store, returns=control.Claimed)
    return made
