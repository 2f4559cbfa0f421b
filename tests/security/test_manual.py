"""The documentation beside the dashboard, under attack: nobody reads it without a session, it is all that can be read, and what runs in it can do nothing."""

import base64
import contextlib
import hashlib
import os
from pathlib import Path
from urllib.parse import quote

import httpx2
import pytest
from starlette.requests import Request
from tests.integration.access.conftest import Daemon, StartManager
from tests.security.browsing import browser

from damocles.manager.dashboard import manual
from damocles.manager.serving import auth
from damocles.methods.rules import Scope
from damocles.rpc.admission import access

SCRIPT = "document.title = 'a' < 'b' && '&amp;'"
PAGE = f'<!doctype html><script>{SCRIPT}</script><script src="../a.js"></script><h1>How to</h1>'
PAGES = ["", "index.html", "how-to/", "how-to/index.html", "how-to", "a.js", "nothing", "../fleet"]
OUTSIDE = [
    "../secret",
    "..%2fsecret",
    "%2e%2e/secret",
    "%2e%2e%2fsecret",
    "how-to/../../secret",
    "how-to/..%2f..%2fsecret",
    "how-to/%2e%2e/",
    "..%5csecret",
    "..%255csecret",
    "/secret",
    "%2fetc/passwd",
    "linked",
    "linked/secret",
    "link.html",
    "pipe",
    "index.html%00.js",
    "index.html/",
    "./index.html%2f..",
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the documentation of a package, beside a file that is none of it and to which links lead."""
    made = tmp_path / "package" / "site"
    (made / "how-to").mkdir(parents=True)
    (made.parent / "secret").write_text("secret")
    (made / "index.html").write_text("<h1>First</h1>")
    (made / "how-to" / "index.html").write_text(PAGE)
    (made / "a.js").write_text("1")
    (made / "LICENSE").write_text("MIT")
    (made / "linked").symlink_to(made.parent, target_is_directory=True)
    (made / "link.html").symlink_to(made.parent / "secret")
    os.mkfifo(made / "pipe")
    monkeypatch.setattr(manual, "FOLDER", made)
    return made


async def raw(manager: Daemon, target: str, token: str) -> httpx2.Response:
    """Ask for a path as it stands: no client puts it in order."""
    url = httpx2.URL(manager.url).copy_with(raw_path=target.encode())
    async with httpx2.AsyncClient(trust_env=False) as http:
        return await http.get(url, headers={"authorization": f"Bearer {token}"})


async def test_the_documentation_wants_a_session(start_manager: StartManager, folder: Path) -> None:
    """People are sent to the log-in and programs are refused, whatever they ask for; an address that is let in is let in nowhere here."""
    admitted = access.admitted(["127.0.0.0/8=read,operate"], auth.ADMITTED)
    async with start_manager(dashboard=True, admit=admitted) as manager, browser(manager) as strange:
        assert "/dashboard/docs" not in (await strange.get("/dashboard/login")).text
        for path in PAGES:
            page = await strange.get(f"/dashboard/docs/{path}")
            assert (303, True) == (page.status_code, page.headers["location"].startswith("/dashboard/login?next=")), (
                path
            )
            for headers in ({}, {"authorization": "Bearer dmc_unknown"}):
                refused = await strange.get(f"/dashboard/docs/{path}", accept="*/*", **headers)
                assert 401 == refused.status_code
        worker = await manager.create("w1", Scope.WORKER)
        assert 403 == (await strange.get("/dashboard/docs/", authorization=f"Bearer {worker}")).status_code
    async with start_manager(dashboard=True) as manager, browser(manager, manager.token) as someone:
        framed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}
        assert 403 == (await someone.get("/dashboard/docs/", **framed)).status_code
        assert 405 == (await someone.send("/dashboard/docs/", {})).status_code


async def test_it_is_shown_behind_one(start_manager: StartManager, folder: Path) -> None:
    """Every page leads there; files have their types, and a folder its page, at the address at which its links are right."""
    async with start_manager(dashboard=True) as manager, contextlib.AsyncExitStack() as stack:
        reader = await stack.enter_async_context(browser(manager, await manager.create("reader", Scope.READ)))
        assert '<a href="/dashboard/docs/">Documentation</a>' in (await reader.get("/dashboard/fleet")).text
        found = {path: await reader.get(f"/dashboard/docs/{path}") for path in ("", "how-to/", "a.js", "LICENSE")}
        assert ["text/html; charset=utf-8"] * 2 + [
            "text/javascript; charset=utf-8",
            "text/plain; charset=utf-8",
        ] == [answer.headers["content-type"] for answer in found.values()]
        assert ["<h1>First</h1>", PAGE, "1", "MIT"] == [answer.text for answer in found.values()]
        moved = await reader.get("/dashboard/docs/how-to")
        assert (307, "/dashboard/docs/how-to/") == (moved.status_code, moved.headers["location"])


async def test_nothing_else_is_read(start_manager: StartManager, folder: Path) -> None:
    """No way leads out of the folder: neither dots, in whatever disguise, nor a link, nor what was put there later."""
    async with start_manager(dashboard=True) as manager:
        (folder / "later.html").symlink_to(folder.parent / "secret")
        for path in [*OUTSIDE, "later.html"]:
            answer = await raw(manager, f"/dashboard/docs/{path}", manager.token)
            assert 404 == answer.status_code, path
            assert "secret" not in answer.text
        answer = await raw(manager, f"/dashboard/docs/{quote('how-to')}/", manager.token)
        assert PAGE == answer.text


async def test_what_runs_there_can_do_nothing(start_manager: StartManager, folder: Path) -> None:
    """Only the scripts of the packed files run; they fetch the documentation alone, send no form, open no frame and no window."""
    async with start_manager(dashboard=True) as manager, browser(manager, manager.token) as someone:
        page = await someone.get("/dashboard/docs/how-to/")
        policy = dict(one.strip().partition(" ")[::2] for one in page.headers["content-security-policy"].split(";"))
        digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
        here = f"{someone.origin.removeprefix('http://')}/dashboard/docs/"
        assert {
            "default-src": "'none'",
            "script-src": f"'self' 'sha256-{digest}'",
            "style-src": "'self' 'unsafe-inline'",
            "img-src": "'self' data:",
            "font-src": "'self'",
            "connect-src": here,
            "worker-src": here,
            "form-action": "'none'",
            "base-uri": "'none'",
            "frame-ancestors": "'none'",
            "sandbox": "allow-scripts allow-same-origin",
        } == policy
        assert ("DENY", "nosniff") == (page.headers["x-frame-options"], page.headers["x-content-type-options"])
        plain = (await someone.get("/dashboard/docs/")).headers["content-security-policy"]
        assert "sha256" not in plain


@pytest.mark.parametrize("host", ["", "[::1]:1789", "a; script-src *", "a b", "*", "x" * 300, "a:1789/", "'self'"])
async def test_a_host_says_nothing_else_in_a_policy(folder: Path, host: str) -> None:
    """One that cannot stand in a policy is left out of it: then the pages fetch nothing, and all else stays."""
    made = manual.read(folder)
    assert made is not None
    headers = [(b"host", host.encode())]
    answer = await made.answer(Request({"type": "http", "path_params": {"path": ""}, "headers": headers}))
    assert "; connect-src 'none'; worker-src 'none'; form-action 'none';" in answer.headers["content-security-policy"]


async def test_without_documentation_there_is_no_link(
    start_manager: StartManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package that has none, as in a clone, serves none, and its pages lead to none."""
    monkeypatch.setattr(manual, "FOLDER", tmp_path / "none")
    async with start_manager(dashboard=True) as manager, browser(manager, manager.token) as someone:
        assert "/dashboard/docs" not in (await someone.get("/dashboard/fleet")).text
        for path in PAGES[:-1]:
            assert 404 == (await someone.get(f"/dashboard/docs/{path}")).status_code
