"""The two dialects of JSON-RPC that damocles speaks, as data.

`MANAGER` is go-jsonrpc's (fork v0.1.9): lenient requests, HTTP 500 with a body for what is not the method's own
error. `WORKER` is paritytech's jsonrpc 18: strict requests, always HTTP 200. Texts and codes are those of
damocles v0.13 where one of its programs shows them; `tests/golden/rpc` holds the recordings.
"""

import dataclasses
import enum
from collections.abc import Mapping

import msgspec

from damocles.rpc import errors, messages

_MIB = 1 << 20


class Fault(enum.Enum):
    """Why no handler answered."""

    NOT_JSON = enum.auto()  # {reason}
    INVALID = enum.auto()  # {reason}; JSON, but no request
    VERSION = enum.auto()  # `jsonrpc` is missing
    UNKNOWN_METHOD = enum.auto()  # {method}
    NEEDS_STREAM = enum.auto()  # {method}; its results need a WebSocket
    PARAMS_SHAPE = enum.auto()  # {kind}; `params` is no array
    TOO_FEW = enum.auto()  # {method} {got} {least} {most}
    TOO_MANY = enum.auto()  # likewise
    BAD_PARAM = enum.auto()  # {method} {kind} {reason}
    CRASHED = enum.auto()  # {method} {reason}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """How a server reads requests and words its answers.

    `result`, `no_result` and `error` are templates of whole answers for `%` with bytes. `verbs` and `accepts` are the
    HTTP methods and content types admitted (empty: any); `batch_limit` is the number of requests in an array (0: no
    arrays).
    """

    request: msgspec.json.Decoder[messages.Request]
    requires_version: bool
    null_id_notifies: bool
    batch_limit: int
    body_limit_bytes: int
    verbs: frozenset[str]
    accepts: frozenset[str]
    content_type: str
    fault_status: int
    result: bytes
    no_result: bytes
    error: bytes
    faults: Mapping[Fault, tuple[errors.Code, str]]

    def fault(self, fault: Fault, **details: object) -> errors.ProtocolError:
        """Word a fault."""
        code, template = self.faults[fault]
        return errors.ProtocolError(code, template.format(**details))


_GO_PARAMS = (
    "(error code -32700) unmarshaling param array: json: cannot unmarshal {kind} into Go value of type []jsonrpc.param"
    ": error code -32700"
)
_GO_COUNT = "(error code -32602) wrong param count (method '{method}'): {got} != {most}"

MANAGER = Dialect(
    request=msgspec.json.Decoder(messages.LooseRequest),
    requires_version=False,
    null_id_notifies=True,
    batch_limit=100,  # the original's manager knows no batches: it answers them with an empty body
    body_limit_bytes=16 * _MIB,  # the original takes 100 MiB; no call comes near it
    verbs=frozenset(),
    accepts=frozenset(),
    content_type="text/plain; charset=utf-8",
    fault_status=500,
    result=b'{"jsonrpc":"2.0","result":%b,"id":%b}\n',
    no_result=b'{"jsonrpc":"2.0","id":%b}\n',
    error=b'{"jsonrpc":"2.0","id":%(id)b,"error":%(error)b}\n',
    faults={
        # The original answers the first two with an empty body. Clients then say "unexpected end of JSON input";
        # ours say what is wrong.
        Fault.NOT_JSON: (errors.Code.PARSE, "(error code -32700) not JSON: {reason}: error code -32700"),
        Fault.INVALID: (errors.Code.INVALID_REQUEST, "(error code -32600) not a request: {reason}"),
        Fault.UNKNOWN_METHOD: (errors.Code.METHOD_NOT_FOUND, "(error code -32601) method '{method}' not found"),
        Fault.NEEDS_STREAM: (
            errors.Code.METHOD_NOT_FOUND,
            "(error code -32601) method '{method}' not supported in this mode (no out channel support)",
        ),
        Fault.PARAMS_SHAPE: (errors.Code.PARSE, _GO_PARAMS),
        Fault.TOO_FEW: (errors.Code.INVALID_PARAMS, _GO_COUNT),
        Fault.TOO_MANY: (errors.Code.INVALID_PARAMS, _GO_COUNT),
        Fault.BAD_PARAM: (
            errors.Code.PARSE,
            "(error code -32700) unmarshaling params for '{method}' (param: {kind}): {reason}: error code -32700",
        ),
        Fault.CRASHED: (
            errors.Code.PANIC,
            "(error code 0) fatal error calling '{method}': panic in rpc method '{method}': {reason}: error code 0",
        ),
    },
)

WORKER = Dialect(
    request=msgspec.json.Decoder(messages.StrictRequest),
    requires_version=True,
    null_id_notifies=False,
    batch_limit=100,
    body_limit_bytes=5 * _MIB,
    verbs=frozenset({"POST"}),
    accepts=frozenset({"application/json"}),
    content_type="application/json; charset=utf-8",
    fault_status=200,
    result=b'{"jsonrpc":"2.0","result":%b,"id":%b}\n',
    no_result=b'{"jsonrpc":"2.0","result":null,"id":%b}\n',
    error=b'{"jsonrpc":"2.0","error":%(error)b,"id":%(id)b}\n',
    faults={
        Fault.NOT_JSON: (errors.Code.PARSE, "Parse error: {reason}"),
        Fault.INVALID: (errors.Code.INVALID_REQUEST, "Invalid request: {reason}"),
        Fault.VERSION: (errors.Code.INVALID_REQUEST, "Unsupported JSON-RPC protocol version"),
        Fault.UNKNOWN_METHOD: (errors.Code.METHOD_NOT_FOUND, "Method not found"),
        Fault.NEEDS_STREAM: (errors.Code.METHOD_NOT_FOUND, "Method not found"),
        Fault.PARAMS_SHAPE: (errors.Code.INVALID_PARAMS, "`params` should be an array"),
        Fault.TOO_FEW: (errors.Code.INVALID_PARAMS, "`params` should have at least {least} argument(s)"),
        Fault.TOO_MANY: (errors.Code.INVALID_PARAMS, "Expected from {least} to {most} parameters, got {got}."),
        Fault.BAD_PARAM: (errors.Code.INVALID_PARAMS, "Invalid params: {reason}."),
        Fault.CRASHED: (errors.Code.INTERNAL, "Internal error: {reason}"),
    },
)
