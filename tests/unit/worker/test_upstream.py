"""What a worker makes of its manager's answers, and of another manager in its place."""

import pytest

from damocles import methods
from damocles.rpc import errors
from damocles.sealing import failures
from damocles.wire import records, seal
from damocles.worker import upstream

from .conftest import SECTOR, ScriptedCaller

TICKET = seal.Ticket(bytes(32), 100)


@pytest.fixture
def caller() -> ScriptedCaller:
    """Return a manager that knows attempts."""
    return ScriptedCaller({"Damocles.Claim": [4], "Damocles.As": [TICKET], "AssignTicket": [TICKET]})


@pytest.fixture
def manager(caller: ScriptedCaller) -> upstream.Manager:
    """Return it as a thread of a worker sees it."""
    return upstream.Manager(caller)


async def claim(manager: upstream.Manager) -> int | None:
    """Take up the sector."""
    return await manager.claim(SECTOR, "worker-1", "/store", last_known=3, ticket=None)


@pytest.mark.parametrize(
    "error", [errors.RpcError(1, "key not found"), errors.RpcError(errors.Code.METHOD_NOT_FOUND, "method not found")]
)
async def test_a_manager_may_have_no_record(
    manager: upstream.Manager, caller: ScriptedCaller, error: errors.RpcError
) -> None:
    """A sector that it does not know, or a method, is an answer."""
    caller.answers["FindSectorInAllStates"] = [error]
    assert None is await manager.known(SECTOR)


@pytest.mark.parametrize("code", [0, 1, 401, 403, -32603, -32000])
async def test_a_manager_that_fails_has_not_said_that_there_is_no_record(
    manager: upstream.Manager, caller: ScriptedCaller, code: int
) -> None:
    """Taken for "never upgraded", a crash of the manager would have zeros unsealed from an upgraded sector."""
    caller.answers["FindSectorInAllStates"] = [errors.RpcError(code, "boom"), records.KnownSector(upgraded=True)]
    with pytest.raises(failures.Temporary, match="rpc error: FindSectorInAllStates: boom"):
        await manager.known(SECTOR)
    assert records.KnownSector(upgraded=True) == await manager.known(SECTOR)


async def test_the_question_for_the_record_is_shown_like_every_call(
    manager: upstream.Manager, caller: ScriptedCaller
) -> None:
    """What hangs must be seen while it does."""
    shown: list[str | None] = []
    caller.answers["FindSectorInAllStates"] = [records.KnownSector()]
    before = upstream.CALLING.set(shown.append)
    await manager.known(SECTOR)
    upstream.CALLING.reset(before)
    assert ["FindSectorInAllStates", None] == shown


async def test_another_manager_that_knows_no_attempts_is_served(
    manager: upstream.Manager, caller: ScriptedCaller
) -> None:
    """If the original takes the place of ours, the calls go as they are; none of them fails."""
    assert 4 == await claim(manager)
    caller.answers |= {"Damocles.As": [errors.RpcError(errors.Code.METHOD_NOT_FOUND, "method 'Damocles.As' not found")]}
    for _ in range(2):
        assert TICKET == await manager.call(methods.sealer.assign_ticket(SECTOR))
    names = [method for method, _ in caller.asked]
    assert ["Damocles.Claim", "Damocles.As", "Venus.AssignTicket", "Venus.AssignTicket"] == names


async def test_a_method_that_is_unknown_under_an_attempt_keeps_the_attempt(
    manager: upstream.Manager, caller: ScriptedCaller
) -> None:
    """Only a manager without attempts ends them."""
    await claim(manager)
    unknown = errors.RpcError(errors.Code.METHOD_NOT_FOUND, "method 'Venus.AssignTicket' not found")
    caller.answers["Damocles.As"] = [unknown, TICKET]
    with pytest.raises(failures.Temporary, match="AssignTicket"):
        await manager.call(methods.sealer.assign_ticket(SECTOR))
    assert TICKET == await manager.call(methods.sealer.assign_ticket(SECTOR))
    assert "Damocles.As" == caller.asked[-1][0]


async def test_attempts_are_asked_for_again_when_the_manager_was_away(
    manager: upstream.Manager, caller: ScriptedCaller
) -> None:
    """Behind the same address may be one now that knows them."""
    caller.answers["Damocles.Claim"] = [errors.RpcError(errors.Code.METHOD_NOT_FOUND, "not found"), 1]
    assert None is await claim(manager)
    assert None is await claim(manager)
    assert 1 == len(caller.asked)
    caller.answers["AssignTicket"] = [errors.Unreachable("http://manager", "refused")]
    with pytest.raises(failures.Away):
        await manager.call(methods.sealer.assign_ticket(SECTOR))
    assert 1 == await claim(manager)
