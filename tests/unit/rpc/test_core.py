"""What a service answers, and what it asks of its handlers."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import msgspec
import pytest
import structlog.testing

from damocles.methods import rules
from damocles.methods.declaring import declared
from damocles.rpc import callers, core, dialects, errors
from damocles.rpc.admission import access
from damocles.wire.sectors import SectorID

DIALECTS = {"manager": dialects.MANAGER, "worker": dialects.WORKER}


@pytest.fixture(params=DIALECTS)
def service(request: pytest.FixtureRequest) -> core.Service:
    """A service in each dialect."""
    return core.Service(DIALECTS[request.param])


@pytest.fixture
def manager() -> core.Service:
    """A service in the manager's dialect."""
    return core.Service(dialects.MANAGER)


@pytest.fixture
def worker() -> core.Service:
    """A service in the worker's dialect."""
    return core.Service(dialects.WORKER)


async def ask(service: core.Service, method: str, /, *params: Any, **members: Any) -> dict[str, Any]:
    """Call a method and return the answer."""
    request = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params} | members
    reply = await service.answer(msgspec.json.encode(request), core.Call(peer="10.0.0.7:1", token="t"))
    return msgspec.json.decode(reply.body, type=dict[str, Any])


async def error_of(service: core.Service, method: str, /, *params: Any, **members: Any) -> tuple[int, str]:
    """Call a method that fails; return code and message."""
    answer = await ask(service, method, *params, **members)
    return answer["error"]["code"], answer["error"]["message"]


async def resume(index: int, state: str | None = None) -> str:
    """Return the parameters."""
    return f"{index} {state}"


class TestHandlers:
    async def test_decodes_parameters_by_their_annotations(self, service: core.Service) -> None:
        """A handler gets wire structs, and its result is encoded."""

        async def following(sector: SectorID) -> SectorID:
            return SectorID(sector.miner, sector.number + 1)

        service.add("X.Next", following)

        answer = await ask(service, "X.Next", {"Miner": 10000, "Number": 1})

        assert {"Miner": 10000, "Number": 2} == answer["result"]

    async def test_defaults_make_trailing_parameters_optional(self, service: core.Service) -> None:
        """A trailing parameter with a default may be left out, or be null if its type says so."""
        service.add("X.Resume", resume)

        answers = [await ask(service, "X.Resume", *params) for params in ([1], [1, None], [1, "PC1Done"])]

        assert ["1 None", "1 None", "1 PC1Done"] == [answer["result"] for answer in answers]

    @pytest.mark.parametrize("params", [{}, {"params": None}, {"params": []}])
    async def test_no_parameters_may_be_left_out(self, service: core.Service, params: dict[str, Any]) -> None:
        """A method without parameters takes `[]`, null and nothing."""

        async def version() -> str:
            return "v1"

        service.add("X.Version", version)
        body = msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "method": "X.Version"} | params)

        reply = await service.answer(body, core.Call())

        assert b'{"jsonrpc":"2.0","result":"v1","id":1}\n' == reply.body

    async def test_call_is_handed_to_those_who_ask(self, service: core.Service) -> None:
        """A first parameter annotated `Call` gets who calls, and does not count as a parameter."""

        async def whoami(call: core.Call, suffix: str) -> str:
            return call.peer + suffix

        service.add("X.Who", whoami)

        assert "10.0.0.7:1!" == (await ask(service, "X.Who", "!"))["result"]

    async def test_methods_that_return_only_an_error_have_no_result(
        self, manager: core.Service, worker: core.Service
    ) -> None:
        """The manager leaves `result` out, as Go does; the worker writes null."""

        async def remove(name: str) -> None: ...

        for service in (manager, worker):
            service.add("X.Remove", remove, has_result=False)

        assert {"jsonrpc": "2.0", "id": 7} == await ask(manager, "X.Remove", "a")
        assert {"jsonrpc": "2.0", "result": None, "id": 7} == await ask(worker, "X.Remove", "a")

    async def test_errors_of_a_handler_reach_the_peer(self, service: core.Service) -> None:
        """Code, message and data of an `RpcError` come through, with HTTP 200."""

        async def fail() -> None:
            raise errors.RpcError(errors.Code.SECTOR_STATE_NOT_FOUND, "no such sector", {"a": 1})

        service.add("X.Fail", fail)
        reply = await service.answer(b'{"jsonrpc":"2.0","id":1,"method":"X.Fail"}', core.Call())

        error = {"code": 11001, "message": "no such sector", "data": {"a": 1}}
        assert (200, error) == (reply.status, msgspec.json.decode(reply.body)["error"])

    async def test_file_names_with_broken_encoding_do_not_break_an_error(self, service: core.Service) -> None:
        """A message with undecodable bytes of a file name is escaped."""

        async def fail() -> None:
            raise errors.RpcError(1, "cannot read /data/\udcff")

        service.add("X.Fail", fail)

        assert (1, "cannot read /data/\\udcff") == await error_of(service, "X.Fail")

    @pytest.mark.parametrize("result", [ValueError("nine"), object(), "\udcff"])
    async def test_a_crash_is_logged_and_answered(self, service: core.Service, result: Any) -> None:
        """An exception, and a result that has no JSON, are logged and become an error with a body."""

        async def crash() -> Any:
            if isinstance(result, Exception):
                raise result
            return result

        service.add("X.Crash", crash)
        with structlog.testing.capture_logs() as logs:
            reply = await service.answer(b'{"jsonrpc":"2.0","id":1,"method":"X.Crash"}', core.Call(peer="10.0.0.7:1"))

        assert [("rpc handler crashed", "X.Crash", "10.0.0.7:1")] == [
            (e["event"], e["method"], e["peer"]) for e in logs
        ]
        expected = (500, 0) if service.dialect is dialects.MANAGER else (200, -32603)
        assert expected == (reply.status, msgspec.json.decode(reply.body)["error"]["code"])

    async def test_names_are_unique(self, service: core.Service) -> None:
        """A name is served once."""
        service.add("X.Resume", resume)

        with pytest.raises(ValueError, match=r"X\.Resume is served already"):
            service.add("X.Resume", resume)

    async def test_handlers_are_checked_when_added(self, service: core.Service) -> None:
        """A parameter without a type, or not positional, is a mistake of the programmer."""

        async def untyped(a): ...
        async def keyword(*, a: int) -> None: ...
        async def many(*a: int) -> None: ...

        for handler in (untyped, keyword, many):
            with pytest.raises(TypeError, match=r"X\.Bad: parameter a of its handler"):
                service.add("X.Bad", handler)

    async def test_a_declared_method_is_served_as_it_is_declared(self, service: core.Service) -> None:
        """Names and types of parameters, which are optional, and whether there is a result, are those of the declaration."""

        @declared("X.Resume", has_result=False)
        def resume(index: int, state: str | None = None, /) -> str | None:
            """Resume a thread."""

        async def handler(call: core.Call, _number: int, _state: str | None = "PC1") -> str:
            return call.peer

        service.add(resume, handler)

        served = service.methods["X.Resume"]
        assert (("index", "state"), 1, False) == (served.parameters, served.least, served.has_result)
        assert (await ask(service, "X.Resume", 1)).get("result") is None

    async def test_a_handler_has_to_fit_what_is_declared(self, service: core.Service) -> None:
        """One that takes or returns something else is a mistake of the programmer, found before anything is served."""

        @declared("X.Resume")
        def resume(index: int, state: str | None = None, /) -> str | None:
            """Resume a thread."""

        async def fewer(index: int) -> str: ...  # type: ignore[empty-body]
        async def more(index: int, state: str | None, now: bool) -> str: ...  # type: ignore[empty-body]
        async def all_of_them(index: int, state: str | None) -> str: ...  # type: ignore[empty-body]
        async def another(index: str, state: str | None = None) -> str: ...  # type: ignore[empty-body]
        async def result(index: int, state: str | None = None) -> int: ...  # type: ignore[empty-body]

        for handler, why in (
            (fewer, "its handler takes 1 parameters, declared are 1 to 2"),
            (more, "its handler takes 3 parameters, declared are 1 to 2"),
            (all_of_them, "its handler takes 2 parameters, declared are 1 to 2"),
            (another, "its handler takes <class 'str'> for index, declared is <class 'int'>"),
            (result, r"its handler returns <class 'int'>, declared is str \| None"),
        ):
            with pytest.raises(TypeError, match=f"^X.Resume: {why}$"):
                service.add(resume, handler)  # type: ignore[arg-type]

    async def test_streams_need_a_websocket(self, manager: core.Service) -> None:
        """Both kinds of streaming handler are refused over HTTP."""

        async def plain() -> AsyncGenerator[int, None]:
            yield 1

        async def checked() -> AsyncGenerator[int, None]:
            return plain()

        manager.add("X.Plain", plain)
        manager.add("X.Checked", checked)

        for name in ("X.Plain", "X.Checked"):
            code, message = await error_of(manager, name)
            assert (-32601, True) == (code, message.endswith("(no out channel support)"))


ASK = "ask its operator for one (auth create NAME --scope operate)"


class TestAuthorization:
    @staticmethod
    def guarded(identify: Callable[[str], Awaitable[callers.Principal]]) -> core.Service:
        """A service with a method of the table, and a guard that asks `identify`."""
        return core.Service(dialects.MANAGER, guard=access.Guard(identify, help_text="see the manual"))

    async def test_refusal_comes_before_anything_is_looked_up(self) -> None:
        """Whoever may not call learns neither about the parameters nor whether the method is served."""

        async def nobody(token: str) -> callers.Principal:
            raise callers.Unidentified("unknown token")

        service = self.guarded(nobody)
        service.add("VenusWorker.WorkerResume", resume)

        for name in ("VenusWorker.WorkerResume", "VenusWorker.WorkerPause"):
            refusal = (401, f"unknown token: {name} needs a token with scope operate; {ASK}")
            assert refusal == await error_of(service, name, "not an index")

    async def test_handlers_learn_who_is_behind_a_token(self) -> None:
        """The principal that the guard finds is in the call."""

        async def identify(token: str) -> callers.Principal:
            return callers.Principal({"t": "operator"}[token], frozenset({rules.Scope.READ}))

        async def whoami(call: core.Call) -> list[str]:
            return [call.who, *call.scopes]

        service = self.guarded(identify)
        service.add("Damocles.Workers", whoami)

        assert ["operator", "read"] == (await ask(service, "Damocles.Workers"))["result"]

    async def test_a_method_without_a_rule_is_not_served(self) -> None:
        """Not even an admin can call what the table does not have."""

        async def identify(token: str) -> callers.Principal:
            return callers.Principal("root", frozenset(rules.Scope))

        service = self.guarded(identify)
        service.add("X.Resume", resume)

        assert (-32601, "(error code -32601) method 'X.Resume' not found") == await error_of(service, "X.Resume", 1)

    async def test_a_crashing_guard_refuses(self) -> None:
        """An exception while the token is looked up does not let the call through, and is logged."""

        async def identify(token: str) -> callers.Principal:
            raise KeyError("x")

        service = self.guarded(identify)
        service.add("VenusWorker.WorkerResume", resume)

        with structlog.testing.capture_logs() as logs:
            assert 0 == (await error_of(service, "VenusWorker.WorkerResume", 1))[0]
        assert ["tokens cannot be looked up"] == [entry["event"] for entry in logs]

    async def test_tokens_are_not_shown(self) -> None:
        """The representation of a call, which logs show, has no token."""
        assert "secret" not in repr(core.Call(token="secret"))


class TestWorkerDialect:
    @pytest.fixture
    def worker(self) -> core.Service:
        """One method of two parameters, the second optional."""
        service = core.Service(dialects.WORKER)
        service.add("X.Resume", resume)
        return service

    @pytest.mark.parametrize(
        ("params", "expected"),
        [
            ([], (-32602, "`params` should have at least 1 argument(s)")),
            (None, (-32602, "`params` should have at least 1 argument(s)")),
            ([1, None, 3], (-32602, "Expected from 1 to 2 parameters, got 3.")),
            ({"index": 1}, (-32602, "`params` should be an array")),
            (["x"], (-32602, "Invalid params: Expected `int`, got `str`.")),
        ],
    )
    async def test_words_wrong_parameters(self, worker: core.Service, params: Any, expected: tuple[int, str]) -> None:
        """Wrong parameters are -32602, in the words of paritytech's library."""
        assert expected == await error_of(worker, "X.Resume", params=params)

    async def test_unknown_method(self, worker: core.Service) -> None:
        """An unknown method is -32601 with HTTP 200."""
        assert (-32601, "Method not found") == await error_of(worker, "X.Nope")

    @pytest.mark.parametrize("member", [{"jsonrpc": "1.0"}, {"meta": {}}, {"id": 1.5}, {"method": 5}])
    async def test_requests_are_read_strictly(self, worker: core.Service, member: dict[str, Any]) -> None:
        """Another version, an unknown member and values of the wrong type are invalid requests."""
        assert -32600 == (await error_of(worker, "X.Resume", 1, **member))[0]

    async def test_version_is_required(self, worker: core.Service) -> None:
        """A request without `jsonrpc` has its own text, and is answered to its id."""
        reply = await worker.answer(b'{"id":3,"method":"X.Resume","params":[1]}', core.Call())

        error = '{"code":-32600,"message":"Unsupported JSON-RPC protocol version"}'
        assert f'{{"jsonrpc":"2.0","error":{error},"id":3}}\n'.encode() == reply.body

    async def test_null_id_is_a_call(self, worker: core.Service) -> None:
        """A null id is answered; only a missing one makes a notification."""
        assert "1 None" == (await ask(worker, "X.Resume", 1, id=None))["result"]

    async def test_notifications_are_silent(self, worker: core.Service) -> None:
        """Neither a result nor an error is answered without an id."""
        for method in ("X.Resume", "X.Nope"):
            body = msgspec.json.encode({"jsonrpc": "2.0", "method": method, "params": [1]})
            assert core.Reply(200, b"") == await worker.answer(body, core.Call())

    async def test_batches_are_answered_in_order(self, worker: core.Service) -> None:
        """A batch has an answer for each call, none for notifications, an error for what is no request."""
        call = '{"jsonrpc":"2.0","id":%d,"method":"X.Resume","params":[%d]}'
        silent = '{"jsonrpc":"2.0","method":"X.Resume","params":[0]}'
        reply = await worker.answer(f" [{call % (1, 10)},{silent},5,{call % (2, 20)}]".encode(), core.Call())

        answers = msgspec.json.decode(reply.body)
        assert ["10 None", "20 None"] == [answers[0]["result"], answers[2]["result"]]
        assert (3, -32600, None) == (len(answers), answers[1]["error"]["code"], answers[1]["id"])

    async def test_batches_of_notifications_are_silent(self, worker: core.Service) -> None:
        """Nothing is answered where nothing was asked."""
        silent = b'[{"jsonrpc":"2.0","method":"X.Resume","params":[0]}]'

        assert core.Reply(200, b"") == await worker.answer(silent, core.Call())

    @pytest.mark.parametrize(("body", "code"), [(b"[]", -32600), (b"[" + b"1," * 100 + b"1]", -32600), (b"[1", -32700)])
    async def test_batches_are_bounded(self, worker: core.Service, body: bytes, code: int) -> None:
        """An empty, a too long and a broken batch are one error."""
        reply = await worker.answer(body, core.Call())

        assert code == msgspec.json.decode(reply.body)["error"]["code"]


@pytest.mark.parametrize("template", [b"%b", b'{"jsonrpc":"2.0","id":1,"method":"X.Any","params":[%b]}'])
async def test_deep_nesting_is_an_error(service: core.Service, template: bytes) -> None:
    """JSON nested deeper than the interpreter can follow is answered, not a crash."""

    async def swallow(value: Any) -> None: ...

    service.add("X.Any", swallow)
    deep = b"[" * 100_000 + b"]" * 100_000

    reply = await service.answer(template % deep, core.Call())

    assert msgspec.json.decode(reply.body)["error"]["code"] < 0


async def test_long_method_names_are_cut(manager: core.Service) -> None:
    """An error does not repeat a megabyte of a peer's own words."""
    _, message = await error_of(manager, "x" * 1_000_000)

    assert len(message) < 300
