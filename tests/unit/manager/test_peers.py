"""What the manager makes of a worker's refusals."""

import pytest

from damocles.manager import fleet_peers
from damocles.rpc import asgi, core, dialects, errors, server
from damocles.sealing import operations


@pytest.mark.parametrize(
    ("token", "code", "said"),
    [
        ("dmc_of_before", None, "its next ping brings another token"),
        (None, errors.Code.UNAUTHORIZED, "unknown token"),
    ],
)
async def test_a_worker_that_has_started_anew_gives_no_answer_yet(token, code, said):
    """It refuses the token that it handed over before; nobody has to look for one. Called without any, it says what it wants."""

    async def threads() -> None:
        raise errors.RpcError(errors.Code.UNAUTHORIZED, "unknown token")

    service = core.Service(dialects.WORKER)
    service.add("Damocles.Threads", threads)
    async with server.serve(asgi.worker_app(service), "127.0.0.1", 0) as bound, fleet_peers.open_peers() as peers:
        with pytest.raises(operations.Unanswered, match=said) as raised:
            await peers.hold(str(bound), operations.threads(0.0), 20, token=token)
    assert code == raised.value.refused.code
