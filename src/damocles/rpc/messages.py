"""JSON-RPC messages as bytes: what clients send and read, what servers read and send.

No I/O, and imports only msgspec, so that command lines start fast. Members may come in any order; we write
`jsonrpc`, `method`, `params`, `id`, like the worker of damocles v0.13.
"""

from http import HTTPStatus
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import UNSET, Raw, UnsetType

from damocles.rpc import errors
from damocles.wire import codec

ID_CHARACTERS = 256  # it is sent back, and so must not be large
_Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=ID_CHARACTERS)]
ID: TypeAlias = int | float | _Text | None
Params: TypeAlias = tuple[Any, ...] | list[Any]  # positional

ANSWER_LIMIT_BYTES = 100 << 20

# Besides ValueError (which msgspec's errors are), what decoding foreign JSON may raise: depth, hooks, sizes.
UNREADABLE = (ValueError, TypeError, RecursionError, MemoryError, OverflowError)

NULL = Raw(b"null")
_EXCERPT_CHARACTERS = 200


class LooseRequest(msgspec.Struct, frozen=True):
    """A request as go-jsonrpc reads it: any `jsonrpc`, further members (`meta`) ignored."""

    method: str
    params: Raw = NULL
    id: ID | UnsetType = UNSET


class StrictRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request as paritytech's jsonrpc reads it; a missing `jsonrpc` is refused later, with its own text."""

    method: str
    jsonrpc: Literal["2.0"] | None = None
    params: Raw = NULL
    id: int | _Text | UnsetType | None = UNSET


Request: TypeAlias = LooseRequest | StrictRequest


class _OnlyID(msgspec.Struct):
    id: ID = None


class _Error(msgspec.Struct, omit_defaults=True):
    code: int
    message: str = ""
    data: Any = None


class _Answer(msgspec.Struct):
    id: Any  # not compared, as the original does not; its presence tells JSON-RPC from other JSON
    result: Raw = NULL  # go-jsonrpc leaves it out when a method returns only an error
    error: _Error | None = None


_only_id = msgspec.json.Decoder(_OnlyID)
_answer = msgspec.json.Decoder(_Answer)


def headers(token: str | None, further: dict[str, str] | None) -> dict[str, str]:
    """Return the HTTP headers of a call: the content type both dialects accept, and the bearer token if any."""
    made = {"content-type": "application/json", "accept": "application/json"}
    if token is not None:
        made["authorization"] = f"Bearer {token}"
    return made | {name.lower(): value for name, value in (further or {}).items()}


def encode_call(number: int, method: str, params: Params) -> bytes:
    """Write a call with positional parameters."""
    return b'{"jsonrpc":"2.0","method":%b,"params":%b,"id":%d}' % (
        codec.encode(method),
        codec.encode(list(params)),
        number,
    )


def decode_answer(body: bytes | bytearray, returns: Any, *, url: str, method: str, status: int) -> Any:
    """Return the result of a call as `returns` (`None`: whatever it is, drop it). The HTTP status decides nothing.

    Raises:
        errors.RpcError: The peer answered with an error.
        errors.Unreachable: The peer is too busy to take the call (HTTP 503).
        errors.BadAnswer: The body is no JSON-RPC answer, or its result is no `returns`.
    """
    try:
        answer = _answer.decode(body)
    except UNREADABLE as exc:
        what = f"HTTP {status}" if body else f"HTTP {status} with an empty body"
        said = f", {excerpt(body)!r}" if body else ""
        if status == HTTPStatus.SERVICE_UNAVAILABLE:  # a server that has too many connections
            raise errors.Unreachable(url, what, said) from exc
        raise errors.BadAnswer(url, what, said, status) from exc
    if answer.error is not None:
        raise errors.RpcError(answer.error.code, answer.error.message, answer.error.data)
    if returns is None:
        return None
    try:
        return codec.decode(answer.result, returns)
    except UNREADABLE as exc:
        raise errors.BadAnswer(url, f"result of {method}: {exc}") from exc


def excerpt(body: bytes | bytearray) -> str:
    """Return the first characters of a body, for a message to people."""
    text = body[: _EXCERPT_CHARACTERS + 1].decode(errors="replace").strip()
    return text if len(text) <= _EXCERPT_CHARACTERS else text[:_EXCERPT_CHARACTERS] + "…"


def id_of(body: bytes | Raw) -> ID:
    """Return the id of a request that is otherwise unusable; `None` if it has none that can be echoed."""
    try:
        return _only_id.decode(body).id
    except UNREADABLE:
        return None


def encode_error(error: errors.RpcError) -> bytes:
    """Write the `error` member of an answer. File names with undecodable bytes in the message are escaped."""
    message = error.message.encode(errors="backslashreplace").decode()
    return codec.encode(_Error(error.code, message, error.data))
