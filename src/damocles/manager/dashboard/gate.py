"""What stands between a browser and the dashboard: the session behind a cookie, and whose page sends a request.

    app = gate.watched(app, sessions)

Behind it a request looks as a program's does: its session's token is its bearer token, so that the same guard asks for
the same scopes. An address that is let in without a token is let in to no page, and no token in a cookie counts.

A page of another site can have a browser send requests here, and also one of another port of this machine, which even
gets the cookie sent along (cookies know no ports). So each request that is not for looking must come from a page of ours:
by `Sec-Fetch-Site`, or else by `Origin`; and behind that, by the marker that stands in our forms alone.
"""

import urllib.parse
from collections.abc import Iterator

from damocles.manager.dashboard import sessions
from damocles.rpc.admission import access
from damocles.rpc.serving import asgi

PREFIX = "/dashboard/"
LOG_IN = "/dashboard/login"
FIRST = "/dashboard/fleet"
# Where routes lead that people type and browsers ask for by themselves. They say nothing, so that they need no token.
LEADS = {
    "GET /": "/dashboard",
    "GET /dashboard": FIRST,
    "GET /favicon.ico": "/dashboard/static/icon.svg",
}
SESSION = "damocles.session"  # in a scope behind the gate

_MOST_COOKIES = 20
_LOOKS = frozenset({"GET", "HEAD"})
# Nothing but our own files, no frame around us, and forms that go nowhere else.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
)
_NOT_KEPT = (b"cache-control", b"no-store")


def watched(app: asgi.App, opened: sessions.Sessions) -> asgi.App:
    """Return `app` with what lies below `PREFIX` behind the gate; the site's root leads there."""

    async def answer(scope: asgi.Message, receive: asgi.Receive, send: asgi.Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
        elif (where := LEADS.get(access.route(scope["method"], scope["path"]))) is not None:
            await _redirect(_hardened(send), where)
        elif not _is_ours(scope["path"]):
            await app(scope, receive, send)
        else:
            await _let_in(app, opened, scope, receive, _hardened(send))

    return answer


async def _let_in(
    app: asgi.App, opened: sessions.Sessions, scope: asgi.Message, receive: asgi.Receive, send: asgi.Send
) -> None:
    headers = dict(scope["headers"])
    has_token = asgi.call_of(scope, "http").token is not None
    if scope["path"] == PREFIX.rstrip("/") or scope["path"] == PREFIX:
        await _redirect(send, FIRST)
    elif not has_token and (why := _foreign(scope, headers)) is not None:
        await _say(send, 403, why)
    elif access.known_as(access.route(scope["method"], scope["path"])) == "GET /dashboard/static/":
        await app(scope, receive, send)
    else:
        session = None if has_token else opened.find(_ids(headers, cookie_name(scope)))
        if session is not None:
            bearer = (b"authorization", f"Bearer {session.token}".encode())
            others = [(name, value) for name, value in scope["headers"] if name != b"authorization"]
            scope = {**scope, "headers": [*others, bearer], SESSION: session}
        if session is not None or has_token or scope["path"] == LOG_IN:
            await app(scope, receive, send)
        else:
            await _send_to_log_in(send, scope, headers)


def session_of(scope: asgi.Message) -> sessions.Session | None:
    """Return the session that a request belongs to; none of a program's, which has shown a token."""
    return scope.get(SESSION)


def ours(wanted: str) -> str:
    """Return where to go, if that is a page of ours: no link and no form leads to another site through us."""
    is_ours = wanted.startswith(PREFIX) and wanted.isascii() and wanted.isprintable() and "\\" not in wanted
    return wanted if is_ours and not wanted.startswith(LOG_IN) else FIRST


def cookie_name(scope: asgi.Message) -> str:
    """Return the name of our cookie: browsers send the same ones to all ports of a machine, so it has ours in it."""
    port = (scope.get("server") or ("", 0))[1]
    return f"__Secure-damocles-{port}" if scope["scheme"] == "https" else f"damocles-{port}"


def cookie(scope: asgi.Message, text: str) -> str:
    """Return the header that has a browser keep a session's id; forget it, if the text is empty."""
    secure = "; Secure" if scope["scheme"] == "https" else ""
    ends = "" if text else "; Max-Age=0"
    return f"{cookie_name(scope)}={text}; Path=/dashboard; HttpOnly; SameSite=Strict{secure}{ends}"


def _is_ours(path: str) -> bool:
    return path.startswith(PREFIX) or path == PREFIX.rstrip("/")


def _foreign(scope: asgi.Message, headers: dict[bytes, bytes]) -> str | None:
    """Return why a request is not from a page of ours; to look, a link on another site is followed."""
    site = headers.get(b"sec-fetch-site")
    if scope["method"] in _LOOKS:
        is_followed = headers.get(b"sec-fetch-mode") == b"navigate" and headers.get(b"sec-fetch-dest") == b"document"
        return None if site in {None, b"same-origin", b"none"} or is_followed else "pages are shown to no other site"
    if site is not None and site != b"same-origin":
        return "this was asked for by another site: open the dashboard's own page and do it there"
    host = headers.get(b"host", b"").decode("latin-1")
    # Through a proxy that speaks TLS, browsers know another scheme than we do; what they say of the site is true then, too.
    if site is not None or headers.get(b"origin") == f"{scope['scheme']}://{host}".encode("latin-1"):
        return None
    return (
        "this browser does not say which page asks (no Origin of ours): open the dashboard's own page and do it there"
    )


def _ids(headers: dict[bytes, bytes], name: str) -> Iterator[str]:
    """Yield what the cookies of our name hold: a neighbour on another port could have set one, too."""
    for part in headers.get(b"cookie", b"").decode("latin-1").split(";")[:_MOST_COOKIES]:
        key, _, value = part.strip().partition("=")
        if key == name and value:
            yield value


async def _send_to_log_in(send: asgi.Send, scope: asgi.Message, headers: dict[bytes, bytes]) -> None:
    """Ask for a log-in, in the way that whoever asks understands."""
    where = f"{LOG_IN}?{urllib.parse.urlencode({'next': _wanted(scope, headers)})}"
    wants_page = b"text/html" in headers.get(b"accept", b"")
    if b"hx-request" in headers:
        await _say(send, 401, "log in again", (b"hx-redirect", where.encode()))
    elif wants_page and headers.get(b"sec-fetch-site") in {b"cross-site", b"same-site"}:
        # A link on another site: the browser keeps a strict cookie back, and sends it when a page of ours asks.
        await _again(send, scope)
    elif wants_page and scope["method"] in _LOOKS:
        await _redirect(send, where)
    else:
        await _say(send, 401, "no session: log in, or send a token of scope read (Authorization: Bearer …)")


def _wanted(scope: asgi.Message, headers: dict[bytes, bytes]) -> str:
    """Return where to go after the log-in."""
    current = urllib.parse.urlsplit(headers.get(b"hx-current-url", b"").decode("latin-1"))
    if current.path.startswith(PREFIX):
        return f"{current.path}?{current.query}" if current.query else current.path
    query = scope.get("query_string", b"").decode("latin-1")
    path = urllib.parse.quote(scope["path"])
    return f"{path}?{query}" if query else path


async def _again(send: asgi.Send, scope: asgi.Message) -> None:
    query = scope.get("query_string", b"").decode("latin-1")
    here = urllib.parse.quote(scope["path"]) + (f"?{query}" if query else "")
    for char, escaped in (("&", "&amp;"), ('"', "&quot;"), ("'", "&#39;"), ("<", "&lt;"), (">", "&gt;")):
        here = here.replace(char, escaped)
    page = (
        f'<!doctype html><html lang="en"><title>Damocles</title><meta http-equiv="refresh" content="0;url={here}">'
        f'<p><a href="{here}">Go on to the dashboard</a></p></html>'
    )
    await asgi.respond(send, 200, page.encode(), "text/html; charset=utf-8")


async def _redirect(send: asgi.Send, where: str) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": 303,
            "headers": [(b"location", where.encode("latin-1", "replace")), (b"content-length", b"0")],
        }
    )
    await send({"type": "http.response.body", "body": b""})


async def _say(send: asgi.Send, status: int, text: str, *headers: tuple[bytes, bytes]) -> None:
    body = f"{text}\n".encode()
    kind = (b"content-type", b"text/plain; charset=utf-8")
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [kind, length, *headers]})
    await send({"type": "http.response.body", "body": body})


def _hardened(send: asgi.Send) -> asgi.Send:
    """Return `send` with headers that have browsers do nothing with an answer but show it."""

    async def passing(message: asgi.Message) -> None:
        if message["type"] == "http.response.start":
            given = list(message.get("headers", []))
            names = {name for name, _ in given}
            extra = [header for header in (*_HEADERS, _NOT_KEPT) if header[0] not in names]
            message = {**message, "headers": [*given, *extra]}
        await send(message)

    return passing
