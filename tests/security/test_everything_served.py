"""Every method and path of both daemons, without a token, with each scope, and with tokens that are good for nothing."""

from collections.abc import AsyncIterator

import httpx2
import msgspec
import pytest
from tests.integration.access.conftest import Daemon, StartManager, StartWorker

from damocles import methods
from damocles.methods.rules import Scope
from damocles.rpc import core
from damocles.rpc.admission import access, tokens

SCOPES = {scope.value: {scope} for scope in Scope}
GOOD_FOR_NOTHING = ("none", "unknown", "revoked", "expired")
# So many that no method takes them: whoever is let in learns that, and nothing happens.
TOO_MANY = [0] * 50


@pytest.fixture(params=["manager", "worker"])
async def daemon(
    request: pytest.FixtureRequest, start_manager: StartManager, start_worker: StartWorker
) -> AsyncIterator[Daemon]:
    """Each of the two daemons."""
    async with (start_manager if request.param == "manager" else start_worker)() as running:
        yield running


@pytest.fixture
async def shown(daemon: Daemon) -> dict[str, str | None]:
    """Return tokens by what they are good for."""
    made: dict[str, str | None] = {scope: await daemon.create(f"a {scope}", Scope(scope)) for scope in SCOPES}
    made["revoked"] = await daemon.create("gone", Scope.ADMIN)
    await daemon.call("Damocles.AuthRevoke", "gone")
    made["expired"] = await daemon.create("over", Scope.ADMIN, 0.000_001)
    return made | {"none": None, "unknown": "dmc_" + "0" * 55}


def body(method: str) -> bytes:
    """Write a call that nobody can answer but with an error."""
    return msgspec.json.encode({"jsonrpc": "2.0", "id": 5, "method": method, "params": TOO_MANY})


async def answer(daemon: Daemon, method: str, token: str | None) -> tuple[int, int, int]:
    """Call a method; return the HTTP status, the id and the code of the error."""
    reply = await daemon.service.answer(body(method), core.Call(peer="10.0.0.7:1", token=token))
    decoded = msgspec.json.decode(reply.body)
    return reply.status, decoded["id"], decoded["error"]["code"]


def test_every_path_of_the_manager_has_a_rule() -> None:
    """What the table has no rule for is not served; here is what it has."""
    assert {"GET /healthcheck"} == access.OPEN
    assert {"GET /metrics", "GET /piecestore/", "PUT /piecestore/"} <= {name for name in access.RULES if " " in name}


async def test_everything_has_a_rule(daemon: Daemon) -> None:
    """Whatever is registered is in the table: a method that is not could not be called."""
    assert [] == sorted(set(daemon.service.methods) - set(access.RULES))
    wanted = {access.route(verb, route.path.split("{")[0]) for route in daemon.routes for verb in route.methods or ()}
    assert [] == sorted(name for name in wanted if access.rule_of(name) is None)


async def test_what_is_declared_is_served(start_manager: StartManager, start_worker: StartWorker) -> None:
    """Both programs serve declared methods alone, and of these every one is served by one of them, as it is declared."""
    async with start_manager() as manager, start_worker() as worker:
        served = [*manager.service.methods.values(), *worker.service.methods.values()]
    assert sorted(methods.ALL) == sorted({one.name for one in served})
    for one in served:
        declared = methods.ALL[one.name]
        assert (declared.parameters, declared.kinds, declared.least) == (one.parameters, one.kinds, one.least)
        assert declared.has_result == one.has_result


async def test_every_method_wants_a_token(daemon: Daemon, shown: dict[str, str | None]) -> None:
    """Without one, or with an unknown, revoked or expired one, every method answers 401 in its dialect."""
    for method in [*daemon.service.methods, "Damocles.Nothing", "rpc.discover", ""]:
        for what in GOOD_FOR_NOTHING:
            assert (401, 5, 401) == await answer(daemon, method, shown[what]), (method, what)


async def test_every_method_wants_its_scope(daemon: Daemon, shown: dict[str, str | None]) -> None:
    """A scope opens what the table says, no more and no less."""
    for method in daemon.service.methods:
        for name, scopes in SCOPES.items():
            status, number, code = await answer(daemon, method, shown[name])
            allowed = access.RULES[method].allows(scopes)
            assert 5 == number
            assert allowed == (code not in {401, 403}), (method, name)
            assert allowed or (403, 403) == (status, code), (method, name)


async def test_unknown_methods_are_told_to_the_known_only(daemon: Daemon, shown: dict[str, str | None]) -> None:
    """Whoever has any token learns that a method is not there."""
    for name in SCOPES:
        assert -32601 == (await answer(daemon, "Damocles.Nothing", shown[name]))[2]


async def test_over_http(daemon: Daemon, shown: dict[str, str | None]) -> None:
    """The same over a real connection, for one method of each kind: status, JSON-RPC body, and a line that helps."""
    kind = "VenusWorker" if "VenusWorker.WorkerVersion" in daemon.service.methods else "Venus"
    read, change, admin = (
        ("VenusWorker.WorkerVersion", "VenusWorker.WorkerResume", "Damocles.AuthCreate")
        if kind == "VenusWorker"
        else ("Venus.StoreList", "Venus.WorkerPingInfoRemove", "Damocles.AuthCreate")
    )
    least = {read: Scope.READ, change: Scope.OPERATE, admin: Scope.ADMIN}
    async with httpx2.AsyncClient() as http:
        for method in (read, change, admin):
            for name, token in shown.items():
                headers = {"content-type": "application/json"}
                if token is not None:
                    headers["authorization"] = f"Bearer {token}"
                response = await http.post(daemon.url, content=body(method), headers=headers)
                error = response.json()["error"]
                assert 5 == response.json()["id"]
                if name in GOOD_FOR_NOTHING:
                    assert (401, 401) == (response.status_code, error["code"])
                    assert f"{method} needs a token with scope {least[method]}" in error["message"]
                    assert "own is in its home (found by --" in error["message"]
                    assert str(daemon.home) not in error["message"]
                elif access.RULES[method].allows(SCOPES[name]):
                    assert error["code"] not in {401, 403}
                else:
                    assert (403, 403) == (response.status_code, error["code"])
                    assert f"a {name} has scope {name}, {method} needs {least[method]}" in error["message"]


async def test_a_batch_is_not_a_way_in(start_worker: StartWorker) -> None:
    """Each request of a batch is refused by itself."""
    async with start_worker() as worker, httpx2.AsyncClient() as http:
        calls = [msgspec.json.decode(body("VenusWorker.WorkerPause")) | {"id": number} for number in (1, 2)]
        response = await http.post(worker.url, json=calls)
    assert [(1, 401), (2, 401)] == [(one["id"], one["error"]["code"]) for one in response.json()]


async def test_another_scheme_or_place_is_no_token(daemon: Daemon) -> None:
    """Only a bearer token in its header counts: no basic auth, query, cookie or other header."""
    token = daemon.token
    content, kind = body("Damocles.AuthList"), {"content-type": "application/json"}
    async with httpx2.AsyncClient() as http:
        for headers in (
            {"authorization": f"Basic {token}"},
            {"authorization": token},
            {"authorization": "Bearer"},
            {"authorization": f"Bearer {token} x"},
            {"x-token": token},
            {"cookie": f"token={token}"},
        ):
            response = await http.post(daemon.url, content=content, headers={**kind, **headers})
            assert 401 == response.status_code, headers
        response = await http.post(daemon.url, content=content, headers=kind, params={"token": token})
        assert 401 == response.status_code
        for scheme in ("Bearer", "bearer"):
            response = await http.post(
                daemon.url, content=content, headers={**kind, "authorization": f"{scheme} {token}"}
            )
            assert response.status_code != 401


async def test_tokens_of_one_daemon_are_good_for_nothing_at_another(
    start_manager: StartManager, start_worker: StartWorker
) -> None:
    """Neither the manager's own tokens nor those that it makes open anything of a worker, and the other way round."""
    async with start_manager() as manager, start_worker() as worker:
        of_manager = [manager.token, tokens.read_file(manager.home / "worker-token")]
        of_manager += [await manager.create(f"for {scope}".replace(" ", "-"), scope) for scope in Scope]
        of_worker = [worker.token, await worker.create("bob", Scope.ADMIN)]
        for here, foreign in ((worker, of_manager), (manager, of_worker)):
            for method in here.service.methods:
                for token in foreign:
                    assert (401, 5, 401) == await answer(here, method, token), method
