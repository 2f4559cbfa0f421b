"""Read what a form sends, within limits of size and time."""

import urllib.parse

import anyio
from starlette.requests import ClientDisconnect, Request

from damocles.manager.dashboard import gate
from damocles.manager.dashboard.views import acts
from damocles.rpc import errors, limits
from damocles.rpc.serving import asgi

_MOST_FIELDS = 1000
_MANY = "thread"  # a field that may be there often; so may that of a worker, which is a filter, too
_WORKER = "worker"
MARKER = "marker"


async def read(request: Request, limit_bytes: int = limits.SMALL_BODY_BYTES, *, of_session: bool = True) -> acts.Form:
    """Return the fields of a form, which must be from a page of the session if there is one, unless it opens another.

    Raises:
        errors.RpcError: It is too large, too slow, no form, or not from a page of the session.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise _invalid("a form is sent as application/x-www-form-urlencoded")
    body = await _body(request, limit_bytes)
    try:
        pairs = urllib.parse.parse_qsl(
            body.decode("utf-8"), keep_blank_values=True, strict_parsing=False, max_num_fields=_MOST_FIELDS
        )
    except ValueError as error:
        raise _invalid(f"the form cannot be read ({type(error).__name__})") from error
    form = acts.Form(
        texts={name: value for name, value in pairs if name != _MANY},
        threads=[value for name, value in pairs if name == _MANY],
        workers=[value for name, value in pairs if name == _WORKER],
    )
    session = gate.session_of(request.scope)
    if of_session and session is not None and not session.has_sent(form.texts.get(MARKER, "")):
        raise errors.RpcError(errors.Code.FORBIDDEN, "this form is not from a page of this log-in: load the page again")
    return form


async def _body(request: Request, limit_bytes: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    with asgi.place_of(request.scope).body() as grow:
        try:
            with anyio.fail_after(asgi.BODY_SECONDS):
                async for chunk in request.stream():
                    size += len(chunk)
                    if size > limit_bytes:
                        raise _invalid(f"the form is larger than {limit_bytes} bytes")
                    grow(len(chunk))
                    chunks.append(chunk)
        except TimeoutError:
            raise _invalid(f"the form did not arrive within {asgi.BODY_SECONDS:g} s") from None
        except ClientDisconnect:
            raise _invalid("whoever sent the form has gone") from None
        return b"".join(chunks)


def _invalid(text: str) -> errors.RpcError:
    return errors.RpcError(errors.Code.INVALID_PARAMS, text)
