"""Make answers of values: HTML by templates, JSON as it is. Whatever others wrote is text in both.

The templates escape every value. What is not printable in a value (colours for terminals, letters that turn the
direction of writing round) is shown as an escape, as in a terminal.
"""

import hashlib
import json
import re
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2
import markupsafe
import msgspec
from starlette.requests import Request
from starlette.responses import Response

from damocles.manager.dashboard import gate
from damocles.methods.rules import Rule, Scope
from damocles.operating import changes, posts, words
from damocles.rpc.serving import asgi
from damocles.text import terminal, units
from damocles.wire import codec

_PACKAGE = "damocles.manager.dashboard"
_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
_FILES = ("htmx.min.js", "dashboard.js", "dashboard.css", "icon.svg")
_FOR_EVER = {"cache-control": "public, max-age=31536000, immutable"}  # its address changes when the file does


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    kind: str
    version: str


class Pages:
    """The templates and files of the package, in memory: while it runs, nothing is read from a disk."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Read them; may block."""
        root = resources.files(_PACKAGE)
        contents = {name: (root / "static" / name).read_bytes() for name in _FILES}
        self._files = {
            name: _File(content, _TYPES[name.rpartition(".")[2]], hashlib.sha256(content).hexdigest()[:16])
            for name, content in contents.items()
        }
        texts = {
            file.name: file.read_text(encoding="utf-8")
            for file in (root / "templates").iterdir()
            if file.name.endswith(".html")
        }
        self._templates = jinja2.Environment(
            loader=jinja2.DictLoader(texts),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            finalize=_shown,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._clock = clock
        self._templates.globals |= {
            "static": self._address,
            "words": words,
            "changes": changes,
            "posts": posts,
            "units": units,
        }
        self._templates.filters |= {
            "id": _identifier,
            "moment": units.moment,
            "line": terminal.shown,
            "query": urllib.parse.urlencode,
        }
        for name in texts:
            self._templates.get_template(name)

    def page(self, request: Request, name: str, view: msgspec.Struct, *, status: int = 200, **more: Any) -> Response:
        """Return a view as whoever asks wants it: as JSON, or by its template for people. `more` is for people alone."""
        if wants_json(request):
            return Response(codec.encode(view), status, {"vary": "accept, cookie"}, "application/json")
        return self.html(request, name, {"view": view, **more}, status=status)

    def html(self, request: Request, name: str, context: Mapping[str, Any], *, status: int = 200) -> Response:
        """Return a page for people."""
        session = gate.session_of(request.scope)
        known = {
            "now": self._clock(),
            "who": session.name if session is not None else "",
            "marker": session.marker if session is not None else "",
            "operates": operates(request),
            "path": request.url.path,
            "here": _here(request),
            "twin": _twin(request) if session is not None and request.method == "GET" else "",
        }
        text = self._templates.get_template(f"{name}.html").render({**known, **context})
        headers = {"vary": "accept, cookie"}
        return Response(text.encode("utf-8", "replace"), status, headers, "text/html; charset=utf-8")

    def part(self, name: str, **context: Any) -> markupsafe.Markup:
        """Return a part of a page, for a template to put in as it is; nothing in it is a session's own."""
        return markupsafe.Markup(self._templates.get_template(f"{name}.html").render(context))  # noqa: S704 (has escaped all)

    def file(self, name: str) -> Response:
        """Return a file of the package."""
        file = self._files.get(name)
        if file is None:
            return Response(b"404 page not found\n", 404, media_type="text/plain")
        return Response(file.content, headers=_FOR_EVER, media_type=file.kind)

    def _address(self, name: str) -> str:
        return f"/dashboard/static/{name}?v={self._files[name].version}"


def operates(request: Request) -> bool:
    """Return whether whoever asks may act."""
    call = request.scope.get(asgi.CALL)
    return call is not None and Rule(Scope.OPERATE).allows(call.scopes)


def wants_json(request: Request) -> bool:
    """Return whether a program asks, by the path's end or by what it accepts."""
    accepted = request.headers.get("accept", "")
    return request.url.path.endswith(".json") or ("application/json" in accepted and "text/html" not in accepted)


def _here(request: Request) -> str:
    query = request.url.query
    return f"{request.url.path}?{query}" if query else request.url.path


def _twin(request: Request) -> str:
    """Return the address of the same page in JSON."""
    query = f"?{request.url.query}" if request.url.query else ""
    return f"{urllib.parse.quote(request.url.path)}.json{query}"


def _shown(value: Any) -> Any:
    """Return what a template puts out; what is not printable as an escape."""
    if isinstance(value, markupsafe.Markup) or not isinstance(value, str):
        return value
    return terminal.shown(value, keep="\n")


def _identifier(value: object) -> str:
    """Return something that can stand as an id in a page for what may hold any letters."""
    text = json.dumps(value) if not isinstance(value, str) else value
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", text)
    return plain if plain == text else f"{plain[:40]}-{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:8]}"


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why something was not shown, or not done."""

    problem: str
