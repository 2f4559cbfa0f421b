"""Make answers of values: HTML by templates, JSON as it is. Whatever others wrote is text in both.

The templates escape every value. What is not printable in a value (colours for terminals, letters that turn the
direction of writing round) is shown as an escape, as in a terminal.
"""

import hashlib
import json
import re
import secrets
import urllib.parse
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2
import markupsafe
import msgspec
from starlette.requests import Request
from starlette.responses import Response

from damocles.manager.dashboard import drawing, gate, looks
from damocles.methods.rules import Rule, Scope
from damocles.operating import changes, posts, words
from damocles.rpc.serving import asgi
from damocles.text import terminal, units
from damocles.wire import codec

_PACKAGE = "damocles.manager.dashboard"
_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
_FILES = ("htmx.min.js", "renew.js", "dashboard.js", "dashboard.css", "icon.svg")
_AGES = re.compile(r"<time[^>]*>[^<]*</time>")
_SHOWN = "damocles-shown"  # the header that says which state of its live part a page shows
_FOLLOWS = 'hx-trigger="looked from:body" hx-swap="renew settle:0ms"'
_VARIES = {"vary": "accept, cookie"}
_FOR_EVER = {"cache-control": "public, max-age=31536000, immutable"}  # its address changes when the file does


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    kind: str
    version: str


@dataclass(frozen=True, slots=True)
class _Live:
    """The part of a page that follows the fleet, as everybody with the same rights sees it; `state` stays while nothing but ages changes."""

    text: str
    state: str


class Pages:
    """The templates and files of the package, in memory: while it runs, nothing is read from a disk."""

    def __init__(self, clock: Callable[[], float], documentation: str = "") -> None:
        """Read them; may block. `documentation` is the address of the documentation, if there is any."""
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
        self._any_marker = secrets.token_urlsafe(32)  # stands for a session's own; nobody else knows it
        self._templates.globals |= {
            "static": self._address,
            "documentation": documentation,
            "words": words,
            "changes": changes,
            "posts": posts,
            "units": units,
            "steps": drawing.steps,
            "ring": drawing.ring,
        }
        self._templates.filters |= {
            "id": _identifier,
            "moment": units.moment,
            "line": terminal.shown,
            "age": _age,
            "query": urllib.parse.urlencode,
        }
        self._templates.globals["macros"] = self._templates.get_template("macros.html").module
        for name in texts:
            self._templates.get_template(name)

    def page(
        self,
        request: Request,
        name: str,
        view: msgspec.Struct,
        *,
        status: int = 200,
        seen: looks.Seen | None = None,
        also: Hashable = None,
        **more: Any,
    ) -> Response:
        """Return a view as whoever asks wants it: as JSON, or by its template for people. `more` is for people alone.

        With `seen` the view follows from that look, the address and `also` alone, and its live part is made once for everybody.
        """
        if wants_json(request):
            return Response(codec.encode(view), status, _VARIES, "application/json")
        context = {"view": view, **more}
        if "live" not in self._templates.get_template(f"{name}.html").blocks:
            return self.html(request, name, context, status=status)
        live = self._live(request, name, context, seen, also)
        if request.headers.get("hx-target") != "live":
            return self.html(request, name, {**context, "live": self._for(request, live.text)}, status=status)
        if request.headers.get(_SHOWN) == live.state:
            return Response(None, 204, _VARIES)
        return _html(self._for(request, live.text), status)

    def html(self, request: Request, name: str, context: Mapping[str, Any], *, status: int = 200) -> Response:
        """Return a page for people."""
        session = gate.session_of(request.scope)
        known = {
            **self._known(request),
            "now": self._clock(),
            "who": session.name if session is not None else "",
            "marker": session.marker if session is not None else "",
            "path": request.url.path,
            "twin": _twin(request) if session is not None and request.method == "GET" else "",
        }
        return _html(self._templates.get_template(f"{name}.html").render({**known, **context}), status)

    def _live(
        self, request: Request, name: str, context: Mapping[str, Any], seen: looks.Seen | None, also: Hashable
    ) -> _Live:
        known = self._known(request)

        def make() -> _Live:
            template = self._templates.get_template(f"{name}.html")
            now = self._clock() if seen is None else seen.at
            given = template.new_context({**known, "now": now, "marker": self._any_marker, **context})
            inner = "".join(template.blocks["live"](given))
            state = hashlib.sha256(_AGES.sub("", inner).encode("utf-8", "replace")).hexdigest()[:16]
            here = markupsafe.escape(known["here"])
            return _Live(f'<div id="live" data-state="{state}" hx-get="{here}" {_FOLLOWS}>\n{inner}</div>\n', state)

        return make() if seen is None else seen.once(("live", also, *known.values()), make)

    def _known(self, request: Request) -> dict[str, Any]:
        return {"here": _here(request), "operates": operates(request)}

    def _for(self, request: Request, text: str) -> markupsafe.Markup:
        """Put the marker of a session into what is made for all."""
        session = gate.session_of(request.scope)
        return markupsafe.Markup(text.replace(self._any_marker, session.marker if session is not None else ""))  # noqa: S704 (has escaped all)

    def file(self, name: str) -> Response:
        """Return a file of the package."""
        file = self._files.get(name)
        if file is None:
            return Response(b"404 page not found\n", 404, media_type="text/plain")
        return Response(file.content, headers=_FOR_EVER, media_type=file.kind)

    def _address(self, name: str) -> str:
        return f"/dashboard/static/{name}?v={self._files[name].version}"


def _html(text: str, status: int) -> Response:
    return Response(text.encode("utf-8", "replace"), status, _VARIES, "text/html; charset=utf-8")


def operates(request: Request) -> bool:
    """Return whether whoever asks may act."""
    call = request.scope.get(asgi.CALL)
    return call is not None and Rule(Scope.OPERATE).allows(call.scopes)


def wants_json(request: Request) -> bool:
    """Return whether a program asks, by the path's end or by what it accepts."""
    accepted = request.headers.get("accept", "")
    return request.url.path.endswith(".json") or ("application/json" in accepted and "text/html" not in accepted)


def status_of(request: Request, *, problem: bool) -> int:
    """Return the status of a page on which there may be a problem with what its address asks for.

    While somebody types, a page asks for its live part again and again; it shows what it gets with no status but 200.
    """
    return 400 if problem and "hx-request" not in request.headers else 200


def _here(request: Request) -> str:
    query = request.url.query
    return f"{request.url.path}?{query}" if query else request.url.path


def _twin(request: Request) -> str:
    """Return the address of the same page in JSON."""
    query = f"?{request.url.query}" if request.url.query else ""
    return f"{urllib.parse.quote(request.url.path)}.json{query}"


def _age(since: float, now: float) -> markupsafe.Markup:
    """Return how long something lasts; scripts count on from there."""
    text = units.brief_duration(max(0, int(now - since)))
    return markupsafe.Markup('<time data-since="{}">{}</time>').format(round(since), text)


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
