"""What the manager makes of a worker's refusals."""

import pytest

from damocles.manager.fleet import peers as fleet_peers
from damocles.operating import dialogues
from damocles.rpc import core, dialects, errors
from damocles.rpc.serving import asgi, server


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
        with pytest.raises(dialogues.Unanswered, match=said) as raised:
            await peers.hold(str(bound), dialogues.threads(0.0), 20, token=token)
    assert code == raised.value.refused.code
