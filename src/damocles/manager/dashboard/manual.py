"""The documentation that a wheel brings along, as pages beside the dashboard's own: behind the same session, from memory.

Its pages are not ours: a generator made them, with scripts in them. So they have a policy of their own. Only scripts that stand
in the files as they were packed run there, nothing comes from elsewhere, and none of it can use the session: it may fetch the
documentation alone, sends no form, and opens neither a frame nor a window, in which it could press what a page of ours offers.
"""

import base64
import hashlib
import os
import re
import stat
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path

import anyio.to_thread
import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

import damocles

log = structlog.get_logger(__name__)

BELOW = "/dashboard/docs/"
FOLDER = Path(damocles.__file__).parent / "site"
_INDEX = "index.html"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
_OTHER = "text/plain; charset=utf-8"
# What stands in a policy as it is: names and IPv4 addresses, with a port.
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}(:[0-9]{1,5})?")


class NoPage(LookupError):
    """There is no page at this address: it was mistyped, or is of another version."""

    def __init__(self) -> None:
        super().__init__("there is no page at this address: it was mistyped, or is of another version")


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    kind: str
    scripts: str  # sources of a policy: the hashes of those that stand in the page


class Manual:
    """The files of the documentation by their paths; there is no other way to a file."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = files
        self._asked: dict[str, _File] = {}

    async def answer(self, request: Request) -> Response:
        """Return a file, or the page of a folder.

        Raises:
            NoPage: There is no such file.
        """
        path = request.path_params["path"]
        name = path + _INDEX if path.endswith("/") or not path else path
        if name in self._files:
            file = await self._file(name)
            policy = {"content-security-policy": _policy(file.scripts, request.headers.get("host", ""))}
            return Response(file.content, headers=policy, media_type=file.kind)
        if f"{path}/{_INDEX}" in self._files:
            return RedirectResponse(f"{BELOW}{urllib.parse.quote(path)}/", 307)
        raise NoPage

    async def _file(self, name: str) -> _File:
        """Look for the scripts of a file when it is asked for: in all of them that takes some tenths of a second, for which no start waits."""
        if name not in self._asked:
            self._asked[name] = await anyio.to_thread.run_sync(_made, name, self._files[name])
        return self._asked[name]


def read(folder: Path) -> Manual | None:
    """Read the documentation; None where a package has none. May block."""
    try:
        files = dict(_below(folder))
    except OSError as error:
        log.warning("dashboard: no documentation", error=str(error))
        return None
    return Manual(files) if _INDEX in files else None


def _below(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the files below a folder with their paths there; links are left out, wherever they lead."""
    for parent, _, names in os.walk(folder):
        for name in names:
            file = Path(parent, name)
            if stat.S_ISREG(file.lstat().st_mode):
                yield file.relative_to(folder).as_posix(), file.read_bytes()


def _made(path: str, content: bytes) -> _File:
    kind = _TYPES.get(Path(path).suffix, _OTHER)
    scripts = _Scripts()
    if kind == _TYPES[".html"]:
        scripts.feed(content.decode("utf-8", "replace"))
        scripts.close()
    return _File(content, kind, " ".join(dict.fromkeys(scripts.hashes)))


class _Scripts(HTMLParser):
    """Finds the scripts that stand in a page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)
        self.hashes: list[str] = []
        self._text: list[str] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script" and "src" not in dict(attrs):
            self._text = []

    def handle_data(self, data: str) -> None:
        if self._text is not None:
            self._text.append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "script" and self._text is not None:
            digest = hashlib.sha256("".join(self._text).encode()).digest()
            self.hashes.append(f"'sha256-{base64.b64encode(digest).decode()}'")
            self._text = None


def _policy(scripts: str, host: str) -> str:
    """Return the policy of a file. A host that cannot stand in one fetches nothing: then the search does not work.

    The generator's search makes its looks by a script, as a style in the page.
    """
    fetched = f"{host}{BELOW}" if _HOST.fullmatch(host) else "'none'"
    return (
        f"default-src 'none'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self';"
        f" connect-src {fetched}; worker-src {fetched}; form-action 'none'; base-uri 'none'; frame-ancestors 'none';"
        " sandbox allow-scripts allow-same-origin"
    )
