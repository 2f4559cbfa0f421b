"""A service: its methods, and what it answers to which bytes. No I/O.

    service = core.Service(dialects.WORKER)
    service.add(methods.worker.pause, pause)            # async def pause(index: int) -> bool
    reply = await service.answer(body, core.Call(peer="10.0.0.7:40112"))

A handler has the parameters of the method that it serves; a first one annotated `core.Call` gets the call instead of a
value from the wire. An async generator, or a handler annotated to return one, streams its values to peers on a WebSocket.
"""

import collections.abc
import contextlib
import dataclasses
import inspect
import typing
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, Concatenate, Literal, NamedTuple, ParamSpec, Protocol, TypeAlias, TypeVar, overload

import msgspec
import structlog

from damocles import failpoints
from damocles.methods import declaring, rules
from damocles.rpc import address, callers, dialects, errors, messages
from damocles.rpc.dialects import Fault
from damocles.wire import codec
from damocles.wire.sectors import SectorID

P = ParamSpec("P")
T = TypeVar("T")

log = structlog.get_logger(__name__)

_raw_list = msgspec.json.Decoder(list[msgspec.Raw])
HANDED = "damocles-call-back"  # the header with a token by which the caller may be called back

MOST_LEVELS = 64  # of arrays and objects in a request: what is written down of it has room on any stack
_NAME_CHARACTERS = 200  # of a method's name repeated in an error

# How Go names the JSON values that are not an array, by their first byte.
_GO_KINDS = {b"{": "object", b'"': "string", b"t": "bool", b"f": "bool"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Who calls, and how. `principal` is the name of whom the guard found behind the token, `scopes` what it is for.

    `worker` is the one worker that the token is for; without it, a token of scope worker is shared by all. `handed` is a
    token by which the caller may be called back (header `HANDED`), `under` the sector at which a worker has shown the
    attempt that it makes the call under.
    """

    peer: str = ""  # address and port
    transport: Literal["http", "websocket", "local"] = "local"
    token: str | None = dataclasses.field(default=None, repr=False)
    handed: str | None = dataclasses.field(default=None, repr=False)
    principal: str | None = None
    scopes: frozenset[rules.Scope] = frozenset()
    worker: str | None = None
    under: SectorID | None = None

    @property
    def who(self) -> str:
        """The caller's name, or its address."""
        return self.principal or self.peer

    @property
    def caller(self) -> str:
        """Name and address without the port, as a sector's history has them."""
        ip = address.ip_of(self.peer)
        return self.who if ip is None or str(ip) in self.who else f"{self.who} at {ip}"

    def of(self, principal: callers.Principal) -> "Call":
        """Return the call with whom the guard found behind it."""
        return dataclasses.replace(self, principal=principal.name, scopes=principal.scopes, worker=principal.worker)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A method as it is served: `name` to `has_result` as they are declared, and the handler."""

    name: str
    handler: Callable[..., Any]
    parameters: tuple[str, ...]
    kinds: tuple[Any, ...]
    least: int
    takes_call: bool
    has_result: bool
    streams: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Reply:
    """What goes back over HTTP. The body is empty only in answer to notifications."""

    status: int
    body: bytes


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Handling:
    """A call on its way to its handler: `params` are its parameters as they came, `arguments` as they were decoded."""

    call: Call
    method: Method
    arguments: Sequence[Any]
    params: bytes


class Outcome(NamedTuple):
    """What a handler returned, and its JSON; of a stream its values, which nobody has asked for yet."""

    value: Any
    json: bytes


Proceed: TypeAlias = Callable[[Handling], Awaitable[Outcome]]


class Layer(Protocol):
    """What stands around the handling of every call; a service names its layers from the outside in."""

    async def handle(self, handling: Handling, proceed: Proceed) -> Outcome:
        """Do something before and after the rest, `proceed`, or raise `errors.RpcError` in its place."""


async def _begin(handling: Handling) -> Outcome:
    method = handling.method
    failpoints.reach(f"answer.before:{method.name}")
    begun = method.handler(*([handling.call] if method.takes_call else []), *handling.arguments)
    if method.streams:
        return Outcome(await begun if inspect.isawaitable(begun) else begun, b'"a stream"')
    value = await begun
    return Outcome(value, codec.encode(value))


def _served(declared: declaring.Method[..., Any] | str, handler: Callable[..., Any], *, has_result: bool) -> Method:
    signature = inspect.signature(handler, eval_str=True)
    takes_call = any(parameter.annotation is Call for parameter in [*signature.parameters.values()][:1])
    name = declared if isinstance(declared, str) else declared.name
    own = declaring.described(name, handler, has_result=has_result, skipped=takes_call)
    method = own if isinstance(declared, str) else declared
    if (why := method.misfit(own)) is not None:
        raise TypeError(f"{name}: {why}")
    generator = typing.get_origin(own.returns) is collections.abc.AsyncGenerator
    return Method(
        name=name,
        handler=handler,
        parameters=method.parameters,
        kinds=method.kinds,
        least=method.least,
        takes_call=takes_call,
        has_result=method.has_result,
        streams=generator or inspect.isasyncgenfunction(handler),
    )


class Service:
    """Methods under their wire names, spoken in one dialect.

    A call passes the guard, then the layers from the first to the last, and comes to its handler; what that returns goes
    back through the layers. Without a guard everybody may call everything: only for tests.
    """

    def __init__(
        self, dialect: dialects.Dialect, *, guard: callers.Gate | None = None, layers: Sequence[Layer] = ()
    ) -> None:
        self.dialect = dialect
        self.guard = guard
        self.layers = tuple(layers)
        self._handle: Proceed = _begin
        for layer in reversed(self.layers):
            self._handle = partial(layer.handle, proceed=self._handle)
        self._methods: dict[str, Method] = {}

    @property
    def methods(self) -> Mapping[str, Method]:
        """All methods by name, for reading."""
        return MappingProxyType(self._methods)

    @overload
    def add(
        self,
        method: declaring.Method[P, T],
        handler: Callable[P, Awaitable[T]] | Callable[Concatenate[Call, P], Awaitable[T]],
    ) -> None: ...
    @overload
    def add(self, method: str, handler: Callable[..., Any], *, has_result: bool = True) -> None: ...
    def add(
        self, method: declaring.Method[..., Any] | str, handler: Callable[..., Any], *, has_result: bool = True
    ) -> None:
        """Serve a method by `handler`; of one that is declared nowhere, by its name, the handler's signature is all.

        Raises:
            ValueError: It is served already.
            TypeError: The handler does not fit what is declared, has a parameter that is not positional, or without type.
        """
        served = _served(method, handler, has_result=has_result)
        if served.name in self._methods:
            raise ValueError(f"{served.name} is served already")
        self._methods[served.name] = served

    async def answer(self, body: bytes, call: Call) -> Reply:
        """Answer the body of one HTTP request, whatever it holds."""
        if body.lstrip()[:1] == b"[" and self.dialect.batch_limit:
            return await self._answer_batch(body, call)
        return await self._answer_one(body, call)

    async def _answer_one(self, body: bytes | msgspec.Raw, call: Call) -> Reply:
        try:
            request = self.read(body)
        except errors.ProtocolError as error:
            return Reply(self.dialect.fault_status, self.error(messages.id_of(body), error))
        notifies = self.notifies(request)
        try:
            method, call = await self.admit(request, call)
            if method.streams:
                raise self.dialect.fault(Fault.NEEDS_STREAM, method=method.name)
            result = await self.run(method, request, call)
        except errors.RpcError as error:
            status = self._status(error)
            # A notification wants no answer, but an HTTP error without a body would be a riddle.
            body_back = b"" if notifies and status == 200 else self.error(self.id_of(request), error)
            return Reply(status, body_back)
        return Reply(200, b"" if notifies else self.result(method, request, result))

    def _status(self, error: errors.RpcError) -> int:
        if error.code in {errors.Code.UNAUTHORIZED, errors.Code.FORBIDDEN}:
            return error.code
        return self.dialect.fault_status if isinstance(error, errors.ProtocolError) else 200

    async def _answer_batch(self, body: bytes, call: Call) -> Reply:
        try:
            items = _raw_list.decode(body)
        except messages.UNREADABLE as exc:
            return self._refuse(self.dialect.fault(Fault.NOT_JSON, reason=exc))
        if not 0 < len(items) <= self.dialect.batch_limit:
            reason = f"{len(items)} requests in a batch, allowed are 1 to {self.dialect.batch_limit}"
            return self._refuse(self.dialect.fault(Fault.INVALID, reason=reason))
        # One after the other: a batch is rare, and must not multiply what one peer can ask for at a time.
        replies = [await self._answer_one(item, call) for item in items]
        answers = [reply.body.rstrip(b"\n") for reply in replies if reply.body]
        return Reply(200, b"[%b]\n" % b",".join(answers) if answers else b"")

    def _refuse(self, error: errors.RpcError) -> Reply:
        return Reply(self.dialect.fault_status, self.error(None, error))

    # The steps of a call, for transports that do more between them.

    def read(self, body: bytes | msgspec.Raw) -> messages.Request:
        """Decode one request; its parameters stay bytes.

        Raises:
            errors.ProtocolError: It is no request.
        """
        if codec.levels(bytes(body)) > MOST_LEVELS:
            raise self.dialect.fault(Fault.INVALID, reason=f"it is nested more than {MOST_LEVELS} deep")
        try:
            request = self.dialect.request.decode(body)
        except msgspec.ValidationError as exc:
            is_batch = bytes(body).lstrip()[:1] == b"["
            why = "a batch is answered over HTTP alone: send its requests one by one" if is_batch else str(exc)
            raise self.dialect.fault(Fault.INVALID, reason=why) from exc
        except messages.UNREADABLE as exc:
            reason = exc if bytes(body).strip() else "the body is empty"
            raise self.dialect.fault(Fault.NOT_JSON, reason=reason) from exc
        if isinstance(request, messages.StrictRequest) and request.jsonrpc is None:
            raise self.dialect.fault(Fault.VERSION)
        return request

    def notifies(self, request: messages.Request) -> bool:
        """Return whether the peer wants no answer."""
        return request.id is msgspec.UNSET or (request.id is None and self.dialect.null_id_notifies)

    def id_of(self, request: messages.Request) -> messages.ID:
        """Return the id to answer to."""
        return None if isinstance(request.id, msgspec.UnsetType) else request.id

    async def admit(self, request: messages.Request, call: Call) -> tuple[Method, Call]:
        """Return the method of a request, and the call with its principal.

        A caller without permission is refused before the method is looked up.

        Raises:
            errors.RpcError: The guard refused.
            errors.ProtocolError: There is no such method.
        """
        unknown = self.dialect.fault(Fault.UNKNOWN_METHOD, method=request.method[:_NAME_CHARACTERS])
        if self.guard is not None:
            try:
                principal = await self.guard.authorize(request.method, call.token, call.peer)
            except callers.UnknownMethod:
                raise unknown from None
            except errors.RpcError as refusal:
                if refusal.code == errors.Code.FORBIDDEN and request.method not in self._methods:
                    raise unknown from None  # a rule for what the other daemon serves
                raise
            except Exception as exc:
                log.exception("tokens cannot be looked up", method=request.method[:_NAME_CHARACTERS], peer=call.peer)
                raise self.dialect.fault(Fault.CRASHED, method="authorize", reason=type(exc).__name__) from exc
            call = call.of(principal)
        method = self._methods.get(request.method)
        if method is None:
            raise unknown
        return method, call

    async def identify(self, call: Call) -> callers.Principal | None:
        """Return who calls; None of a stranger, to whom nothing can be answered but a refusal."""
        if self.guard is None:
            return callers.Principal("", frozenset(rules.Scope))
        try:
            return await self.guard.identify(call.token, call.peer)
        except callers.Unidentified:
            return None
        except Exception:  # noqa: BLE001 (`admit` will meet it again, log it and refuse)
            return None

    async def run(self, method: Method, request: messages.Request, call: Call) -> bytes:
        """Decode, call, encode; return the JSON of the result.

        Raises:
            errors.RpcError: A layer or the handler refused.
            errors.ProtocolError: The parameters do not fit, or the handler crashed (which is logged).
        """
        return (await self._handled(method, request, call)).json

    async def own(self, method: str, params: Sequence[Any], who: str) -> bytes:
        """Make a call of the daemon's own as `run` does: it needs nobody's permission, and the audit has it as by `who`."""
        request = messages.LooseRequest(method, msgspec.Raw(codec.encode(list(params))), 0)
        return await self.run(
            self._methods[method], request, Call(principal=who, scopes=frozenset({rules.Scope.ADMIN}))
        )

    async def stream(self, method: Method, request: messages.Request, call: Call) -> AsyncGenerator[Any, None]:
        """Decode, call; return the generator of a streaming method, not yet started. Layers see that it is begun.

        Raises:
            errors.RpcError, errors.ProtocolError: As `run`.
        """
        return typing.cast("AsyncGenerator[Any, None]", (await self._handled(method, request, call)).value)

    async def _handled(self, method: Method, request: messages.Request, call: Call) -> Outcome:
        with self._crashes(method, call):
            params, arguments = bytes(request.params).strip(), self._arguments(method, request)
            handling = Handling(call=call, method=method, arguments=arguments, params=params)
            outcome = await self._handle(handling)
            failpoints.reach(f"answer.after:{method.name}")
            return outcome

    @contextlib.contextmanager
    def _crashes(self, method: Method, call: Call) -> Generator[None, None, None]:
        try:
            yield
        except errors.RpcError:
            raise
        except Exception as exc:
            if isinstance(exc, OSError) and (failure := errors.disk_fails(exc, method.name)) is not None:
                log.error("disk fails", method=method.name, peer=call.peer, error=str(exc))
                raise failure from exc
            log.exception("rpc handler crashed", method=method.name, peer=call.peer)
            reason = f"{type(exc).__name__}: {exc}"
            raise self.dialect.fault(Fault.CRASHED, method=method.name, reason=reason) from exc

    def _arguments(self, method: Method, request: messages.Request) -> list[Any]:
        params = bytes(request.params).strip()
        if params == b"null":
            raws = []
        elif params[:1] == b"[":
            raws = self._decode(method, "array", request.params, list[msgspec.Raw])
        else:
            raise self.dialect.fault(Fault.PARAMS_SHAPE, kind=_GO_KINDS.get(params[:1], "number"))
        if not method.least <= len(raws) <= len(method.kinds):
            fault = Fault.TOO_FEW if len(raws) < method.least else Fault.TOO_MANY
            raise self.dialect.fault(
                fault, method=method.name, got=len(raws), least=method.least, most=len(method.kinds)
            )
        return [
            self._decode(method, getattr(kind, "__name__", str(kind)), raw, kind)
            for raw, kind in zip(raws, method.kinds, strict=False)
        ]

    def _decode(self, method: Method, name: str, raw: msgspec.Raw, kind: Any) -> Any:
        try:
            return codec.decode(raw, kind)
        except messages.UNREADABLE as exc:
            raise self.dialect.fault(Fault.BAD_PARAM, method=method.name, kind=name, reason=exc) from exc

    def result(self, method: Method, request: messages.Request, result: bytes) -> bytes:
        """Write the answer of a call that succeeded."""
        number = codec.encode(self.id_of(request))
        if not method.has_result:
            return self.dialect.no_result % number
        return self.dialect.result % (result, number)

    def error(self, number: messages.ID, error: errors.RpcError) -> bytes:
        """Write the answer of a call that failed."""
        return self.dialect.error % {b"id": codec.encode(number), b"error": messages.encode_error(error)}
