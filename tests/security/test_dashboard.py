"""The dashboard under attack: strangers, other sites, readers who want to act, and whatever a worker can write into a page."""

import contextlib
import subprocess
import sys
import urllib.parse
from pathlib import Path

import anyio
import httpx2
import pytest
import structlog.testing
from tests.integration.access.conftest import StartManager
from tests.security.browsing import Browser, browser, thread, worker

from damocles.manager.dashboard import sessions
from damocles.manager.serving import auth
from damocles.methods.rules import Scope
from damocles.rpc import callers
from damocles.rpc.admission import access
from damocles.wire import codec, control

PAGES = [
    f"/dashboard/{name}" for name in ("fleet", "threads", "alerts", "pipeline", "proving", "stores", "audit", "metrics")
]
ACTS = {
    "/dashboard/threads": {"verb": "pause", "everything": "yes", "step": "do"},
    "/dashboard/drain": {"worker": "w1", "on": "yes"},
    "/dashboard/alerts": {"id": "1", "do": "ack"},
}
# It would set a mark where it ran; here it must stand as text.
SCRIPT = "<script>document.title='run'</script><img src=x onerror=\"document.title='run'\">\x1b[31m\u202e"
CROSS = [
    {"origin": "http://evil.example", "sec-fetch-site": "cross-site"},
    {"origin": "http://127.0.0.1:8080", "sec-fetch-site": "same-site"},
    {"origin": "null", "sec-fetch-site": "cross-site"},
    {"origin": "http://evil.example", "sec-fetch-site": ""},
    {"origin": "", "sec-fetch-site": "cross-site"},
    {"origin": "", "sec-fetch-site": ""},
]


async def test_without_a_dashboard_there_is_none(start_manager: StartManager) -> None:
    """Unless it is asked for, a manager serves no page, not even the log-in, and imports nothing that makes them."""
    async with start_manager() as manager, browser(manager) as strange:
        assert 401 == (await strange.get("/dashboard/login", **{"sec-fetch-site": "none"})).status_code
        known = {"authorization": f"Bearer {manager.token}"}
        for path in [*PAGES, "/dashboard/login", "/dashboard/static/htmx.min.js", "/dashboard/events"]:
            assert 404 == (await strange.get(path, **known)).status_code, path
    seen = "import sys, damocles.manager.daemon as _; print({'jinja2', 'markupsafe'} & set(sys.modules))"
    assert (
        "set()"
        == subprocess.run([sys.executable, "-c", seen], check=True, capture_output=True, text=True).stdout.strip()
    )


async def test_every_page_wants_a_session(start_manager: StartManager) -> None:
    """Without one, people are sent to the log-in, and programs, scripts and streams are refused."""
    async with start_manager(dashboard=True) as manager, browser(manager) as strange:
        paths = [route.path for route in manager.routes if route.path.startswith("/dashboard/")]
        assert set(PAGES) < set(paths)
        for path in paths:
            if path in {"/dashboard/login", "/dashboard/static/{name}"}:
                continue
            page = await strange.get(path)
            assert (303, True) == (page.status_code, page.headers["location"].startswith("/dashboard/login?next="))
            for accept in ("application/json", "text/event-stream", "*/*"):
                refused = await strange.get(path, accept=accept)
                assert (401, "no session") == (refused.status_code, refused.text[:10]), (path, accept)
            assert 401 == (await strange.get(path, **{"hx-request": "true"})).status_code
            assert 401 == (await strange.post(path, {"marker": ""}, accept="*/*")).status_code
        for bad in ("Basic YTpi", "Bearer dmc_unknown", "Bearer"):
            for path in PAGES:
                assert (await strange.get(path, authorization=bad, accept="*/*")).status_code == 401


async def test_no_address_is_let_in_to_a_page(start_manager: StartManager) -> None:
    """A peer that needs no token for calls needs one for pages: what browsers there show could be any site's."""
    admitted = access.admitted(["127.0.0.0/8=read,operate"], auth.ADMITTED)
    async with start_manager(dashboard=True, admit=admitted) as manager, browser(manager) as strange:
        for path in PAGES:
            assert 303 == (await strange.get(path)).status_code
            assert 401 == (await strange.get(path, authorization="Basic YTpi", accept="*/*")).status_code
        for path, fields in ACTS.items():
            assert 401 == (await strange.post(path, fields, accept="*/*")).status_code


async def test_the_cookie_is_no_token(start_manager: StartManager) -> None:
    """A browser keeps an id that is good for pages alone, and no script reads it; a token in a cookie is good for nothing."""
    async with start_manager(dashboard=True) as manager, browser(manager) as someone:
        answer = await someone.post("/dashboard/login", {"token": manager.token})
        kept = answer.headers["set-cookie"]
        assert manager.token not in kept
        assert {"HttpOnly", "SameSite=Strict", "Path=/dashboard"} <= set(kept.split("; "))
        name, _, value = kept.partition(";")[0].partition("=")
        call = {"jsonrpc": "2.0", "id": 1, "method": "Damocles.Workers", "params": []}
        async with httpx2.AsyncClient(trust_env=False) as http:
            for headers in ({"cookie": f"{name}={value}"}, {"authorization": f"Bearer {value}"}):
                assert 401 == (await http.post(manager.url, json=call, headers=headers)).status_code
            page = await http.get(
                f"{someone.origin}/dashboard/fleet",
                headers={"cookie": f"{name}={manager.token}", "accept": "text/html"},
            )
            assert 303 == page.status_code


@pytest.mark.parametrize("what", ["nothing", "unknown", "revoked", "expired", "a worker's"])
async def test_bad_tokens_open_no_session(start_manager: StartManager, what: str) -> None:
    """The log-in says in one line why a token is not taken, gives no cookie and does not repeat the token."""
    async with start_manager(dashboard=True) as manager, browser(manager) as someone:
        token = {"nothing": "", "unknown": "dmc_" + "0" * 55}.get(what) or await manager.create(
            "bob", Scope.WORKER if what == "a worker's" else Scope.READ, 0.000_001 if what == "expired" else None
        )
        token = "" if what == "nothing" else token
        if what == "revoked":
            await manager.call("Damocles.AuthRevoke", "bob")
        with structlog.testing.capture_logs() as logs:
            answer = await someone.post("/dashboard/login", {"token": token})
        assert {"nothing": 400, "a worker's": 403}.get(what, 401) == answer.status_code
        assert 'role="alert"' in answer.text
        assert "set-cookie" not in answer.headers
        assert not token or (token not in answer.text and token not in str(logs))


async def test_a_session_ends_with_its_token(start_manager: StartManager) -> None:
    """Who is shut out sees no page any more at once, and the stream of an open page ends."""
    async with start_manager(dashboard=True) as manager:
        token = await manager.create("bob", Scope.READ)
        async with browser(manager, token) as bob:
            assert 200 == (await bob.get("/dashboard/fleet")).status_code
            url, heard = f"{bob.origin}/dashboard/events", ""
            # The connection ends, in order or cut off: its token is good for nothing any more.
            with anyio.fail_after(20), contextlib.suppress(httpx2.RemoteProtocolError):
                async with bob.http.stream("GET", url, headers={"accept": "text/event-stream"}) as stream:
                    chunks = stream.aiter_text()
                    heard += await anext(chunks)
                    await manager.call("Damocles.AuthRevoke", "bob")
                    async for chunk in chunks:
                        heard += chunk
            assert heard.startswith("retry:")
            assert 303 == (await bob.get("/dashboard/fleet")).status_code


async def test_a_session_ends_at_the_log_out_and_by_time() -> None:
    """It is not found any more: what a browser has kept is worth nothing; nor is it after half a day of rest."""
    now = 0.0

    async def identify(token: str) -> callers.Principal:
        return callers.Principal("bob", frozenset({Scope.READ}))

    opened = sessions.Sessions(identify, lambda: now)
    first, second = (await opened.log_in("x")).id, (await opened.log_in("x")).id
    found = opened.find([first])
    assert found is not None
    found.end()
    assert opened.find([first, "", "x"]) is None
    assert found.over.is_set()
    now = sessions.IDLE_SECONDS - 1
    assert opened.find(["other", second]) is not None
    now += sessions.IDLE_SECONDS + 1
    assert opened.find([second]) is None
    assert 0 == len(opened)


async def test_one_token_has_so_many_sessions() -> None:
    """Whoever logs in again and again ends sessions of their own, the one that rested longest first."""

    async def identify(token: str) -> callers.Principal:
        return callers.Principal(token, frozenset({Scope.READ}))

    opened = sessions.Sessions(identify, lambda: 0.0)
    others = (await opened.log_in("other")).id
    ids = [(await opened.log_in("bob")).id for _ in range(sessions.MOST_OF_A_TOKEN + 2)]
    assert [False, False, True] == [opened.find([one]) is not None for one in ids[:3]]
    assert opened.find([others]) is not None


@pytest.mark.parametrize("headers", CROSS)
async def test_another_site_has_nothing_done(start_manager: StartManager, headers: dict[str, str]) -> None:
    """A form that another site sends is refused, even with the cookie and the marker, and so is its log-in."""
    given = {name: value for name, value in headers.items() if value}
    async with start_manager(dashboard=True) as manager, worker(manager, thread()) as acted:
        async with browser(manager, manager.token) as someone:
            marker = await someone.marker()
            for path, fields in {**ACTS, "/dashboard/logout": {}, "/dashboard/login": {"token": manager.token}}.items():
                answer = await someone.http.post(
                    someone.origin + path, data={"marker": marker, **fields}, headers=given
                )
                assert 403 == answer.status_code, path
                assert "set-cookie" not in answer.headers
            assert 200 == (await someone.get("/dashboard/fleet")).status_code
        assert [] == acted.asked


@pytest.mark.parametrize("marker", [None, "", "x" * 43, "ä\x00"])
async def test_a_form_shows_its_page(start_manager: StartManager, marker: str | None) -> None:
    """Without the marker of this very log-in nothing is done: another one's, or none, is not enough."""
    async with start_manager(dashboard=True) as manager, worker(manager, thread()) as acted:
        async with browser(manager, manager.token) as someone, browser(manager, manager.token) as other:
            for value in [marker, await other.marker()]:
                for path, fields in {**ACTS, "/dashboard/logout": {"x": "y"}}.items():
                    sent = fields if value is None else {"marker": value, **fields}
                    assert 403 == (await someone.post(path, sent)).status_code
        assert [] == acted.asked


async def test_no_other_site_shows_a_page(start_manager: StartManager) -> None:
    """No frame, picture or script of another site gets a page; a link there is followed, and asks for itself again."""
    async with start_manager(dashboard=True) as manager, browser(manager, manager.token) as someone:
        for site in ("cross-site", "same-site"):
            for dest in ("iframe", "image", "script", "empty"):
                mode = "navigate" if dest == "iframe" else "no-cors"
                fetched = {"sec-fetch-site": site, "sec-fetch-mode": mode, "sec-fetch-dest": dest}
                assert 403 == (await someone.get("/dashboard/fleet", **fetched)).status_code
        followed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
        async with browser(manager) as without_cookie:
            path = "/dashboard/threads?error=%22%3E%3Cscript%3Ex&state=C1Done"
            page = await without_cookie.get(path, **followed)
        assert 200 == page.status_code
        assert (
            'http-equiv="refresh" content="0;url=/dashboard/threads?error=%22%3E%3Cscript%3Ex&amp;state=C1Done"'
            in page.text
        )


async def test_nothing_but_our_own_files_runs(start_manager: StartManager) -> None:
    """Every answer forbids inline scripts and styles, other sites' files, frames, and keeping it; no page has any of it."""
    async with start_manager(dashboard=True) as manager, browser(manager, manager.token) as someone:
        for path in [*PAGES, "/dashboard/login", "/dashboard/nothing", "/dashboard/threads.json"]:
            page = await someone.get(path)
            policy = page.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert ("DENY", "nosniff", "no-store") == (
                page.headers["x-frame-options"],
                page.headers["x-content-type-options"],
                page.headers["cache-control"],
            )
            for inline in ("style=", " onclick", " onload", "javascript:", "http://", "https://", "<style"):
                assert inline not in page.text, (path, inline)
        for name in ("htmx.min.js", "dashboard.js", "dashboard.css"):
            assert 200 == (await someone.get(f"/dashboard/static/{name}")).status_code
        for name in ("../render.py", "..%2frender.py", "%2e%2e/render.py", "x", "base.html"):
            assert 404 == (await someone.get(f"/dashboard/static/{name}")).status_code


async def test_a_reader_acts_on_nothing(start_manager: StartManager) -> None:
    """With scope read every page is shown without its forms, and each act is refused with what it takes."""
    async with start_manager(dashboard=True) as manager, worker(manager, thread()) as acted:
        token = await manager.create("reader", Scope.READ)
        async with browser(manager, token) as reader:
            for path in PAGES:
                page = await reader.get(path)
                assert 200 == page.status_code
                assert 'name="verb"' not in page.text
                assert 'action="/dashboard/drain"' not in page.text
            for path, fields in ACTS.items():
                refused = await reader.send(path, fields)
                assert 403 == refused.status_code
                assert "needs operate" in refused.text
        assert [] == acted.asked
        assert [] == [entry for entry in await manager.call("Damocles.AuditList", {}) if entry["who"] == "reader"]


async def test_what_others_write_is_text(start_manager: StartManager, tmp_path: Path) -> None:
    """Whatever others put into errors, names, states, reasons and lines of logs stands in the pages as text, and what cannot
    be printed as an escape.
    """
    name = f"w{SCRIPT}".replace("\x1b", "").replace("\u202e", "")
    evil = thread(last_error=SCRIPT, location=SCRIPT, plan=SCRIPT, job_state=SCRIPT, job_stage=SCRIPT, host=SCRIPT)
    plain = thread(1, last_error=SCRIPT, waiting=control.Waiting(SCRIPT, 1.0), job_id="s-t010000-8")
    step = control.HistoryEntry(
        at=1.0, location=SCRIPT, plan="sealer", sector="s-t010000-7", attempt=1, prev=SCRIPT, state=SCRIPT, event=SCRIPT,
        error=SCRIPT, by=SCRIPT,
    )  # fmt: skip
    stores = {f"s{SCRIPT}": tmp_path}
    async with (
        start_manager(dashboard=True, stores=stores) as manager,
        worker(manager, evil, plain, name=name) as acted,
        browser(manager, manager.token) as someone,
    ):
        acted.history.append(step)
        acted.lines.append(control.LogLine(1, 1.0, SCRIPT, 7, SCRIPT, "s-t010000-7"))
        act = control.Act(verb="pause", reason=SCRIPT)
        await manager.call("Damocles.FleetAct", control.Selection(all=True), act)
        acted.asked.clear()
        shown = {
            path: (await someone.get(path)).text
            for path in [*PAGES, *(f"/dashboard/sectors/s-t010000-{n}" for n in (7, 8))]
        }
        filters = dict.fromkeys(("worker", "error", "state", "plan", "sector", "sort", "who", "what", "since"), SCRIPT)
        drain_page = f"/dashboard/drain?{urllib.parse.urlencode({'worker': name})}"
        shown[drain_page] = (await someone.get(drain_page)).text
        for path in PAGES:
            for asked in [{name: text} for name, text in filters.items()] + [{SCRIPT: SCRIPT}]:
                address = f"{path}?{urllib.parse.urlencode(asked)}"
                shown[address] = (await someone.get(address)).text
        pause, drain = {"verb": "pause", "everything": "yes"}, {"worker": SCRIPT, "on": "yes"}
        shown["sector"] = (await someone.get(f"/dashboard/sectors/{urllib.parse.quote(SCRIPT, safe='')}")).text
        shown["act"] = (await someone.send("/dashboard/threads", pause)).text
        shown["no act"] = (await someone.send("/dashboard/threads", {**pause, "verb": SCRIPT})).text
        shown["drain"] = (await someone.send("/dashboard/drain", drain)).text
        shown["log-in"] = (
            await someone.post("/dashboard/login", {"token": SCRIPT, "next": f"/dashboard/{SCRIPT}"})
        ).text
        assert [] == acted.asked
    for where, page in shown.items():
        assert "<script>" not in page, where
        assert "<img" not in page, where
        assert "document.title='run'" not in page, where
        assert not {"\x1b", "\u202e"} & set(page), where
    for where in ("fleet", "threads", "stores", "audit", "sectors/s-t010000-7", "sectors/s-t010000-8"):
        assert "&lt;script&gt;" in shown[f"/dashboard/{where}"], where


async def test_odd_values_break_no_page(start_manager: StartManager) -> None:
    """Numbers, times and names that no worker of ours would tell leave every page readable, in every order."""
    odd = thread(
        job_id=f"s-t0{'9' * 5000}-1", job_state="", attempt=-5, state_since=1e300,
        waiting=control.Waiting("x", -1e300, 1e308), progress=control.Progress(-1, 0, ""), retries=10**15,
    )  # fmt: skip
    plain = thread(1, job_id="s-t010000-8", progress=control.Progress(10**17, 1, "B"))
    async with start_manager(dashboard=True) as manager, worker(manager, odd, plain) as acted:
        acted.history.append(control.HistoryEntry(
            at=1e300, plan="sealer", sector=None, attempt=0, prev="Empty", state="Empty", event="", seconds=-1e308, error=""
        ))  # fmt: skip
        acted.lines.append(control.LogLine(1, 1e300, "C2\n", 7, "one\n2026-01-01T00:00:00Z forged", ""))
        async with browser(manager, manager.token) as someone:
            orders = [f"/dashboard/threads?sort={sort}" for sort in ("sector", "-state", "for", "try", "why", "plan")]
            for path in [*PAGES, *orders, "/dashboard/sectors/s-t010000-8", "/dashboard/threads.json"]:
                answer = await someone.get(path)
                assert 200 == answer.status_code, (path, answer.text)
            log = (await someone.get("/dashboard/sectors/s-t010000-8")).text
    assert "one\\n2026-01-01T00:00:00Z forged" in log


async def test_who_knocks_fills_no_log(start_manager: StartManager) -> None:
    """A stranger that tries tokens again and again leaves one line; who logs in is named."""
    async with start_manager(dashboard=True) as manager, browser(manager) as someone:
        with structlog.testing.capture_logs() as logs:
            for number in range(5):
                await someone.post("/dashboard/login", {"token": f"dmc_{number:055}"})
            await someone.post("/dashboard/login", {"token": manager.token})
    told = [entry for entry in logs if entry["event"].startswith("dashboard")]
    assert [("dashboard: log-in refused", None), ("dashboard: log-in", "local")] == [
        (entry["event"], entry.get("who")) for entry in told
    ]


async def test_a_line_of_a_log_is_one_message(start_manager: StartManager) -> None:
    """Whatever stands in a line, it comes as the JSON of one event: no line makes events of its own."""
    text = f"{SCRIPT}\n\nevent: over\ndata: x\r\r\n\u2028"
    async with start_manager(dashboard=True) as manager, worker(manager, thread()) as acted:
        acted.lines += [
            control.LogLine(1, 1.0, "C2", 7, text, "s-t010000-7"),
            control.LogLine(2, 1.0, "C2", 7, "of another sector", "s-t010000-8"),
            control.LogLine(3, 1.0, "C2", 7, "end", "s-t010000-7"),
        ]
        token = await manager.create("reader", Scope.READ)
        async with browser(manager, token) as someone:
            url = f"{someone.origin}/dashboard/log?worker=w1&index=0&sector=s-t010000-7"
            heard = ""
            with anyio.fail_after(20):
                async with someone.http.stream("GET", url) as stream:
                    async for chunk in stream.aiter_text():
                        heard += chunk
                        if '"end"' in heard:
                            break
            assert 400 == (await someone.get("/dashboard/log?worker=w1&index=x")).status_code
    events = [event for event in heard.split("\n\n") if event.startswith("id:")]
    assert [1, 3] == [int(event.split()[1]) for event in events]
    assert text == codec.decode(events[0].partition("data: ")[2], control.LogLine).text
    assert 3 == events[0].count("\n") + 1


async def test_nobody_is_led_elsewhere(start_manager: StartManager) -> None:
    """After the log-in a browser goes to a page of ours, wherever a link wanted to send it."""
    async with start_manager(dashboard=True) as manager, browser(manager) as someone:
        bad = [
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "/dashboard/..\\x",
            "javascript:x",
            "/rpc/v0",
        ]
        for wanted in [*bad, "/dashboard/\r\nset-cookie: x=y", "/dashboard/login?next=x"]:
            answer = await someone.post("/dashboard/login", {"token": manager.token, "next": wanted})
            assert "/dashboard/fleet" == answer.headers["location"]
            assert "x=y" not in answer.headers["set-cookie"]
        good = await someone.post(
            "/dashboard/login", {"token": manager.token, "next": "/dashboard/threads?state=C1Done"}
        )
        assert "/dashboard/threads?state=C1Done" == good.headers["location"]


async def test_forms_are_read_within_limits(start_manager: StartManager) -> None:
    """What is too large, is no form, or names too much is refused in a line, whoever sends it."""
    async with start_manager(dashboard=True) as manager, browser(manager, manager.token) as someone:
        marker = await someone.marker()
        large = await someone.post("/dashboard/login", {"token": "x" * 10_000})
        files = await someone.http.post(
            f"{someone.origin}/dashboard/threads", files={"a": b"b"}, headers={"origin": someone.origin}
        )
        many = await someone.post("/dashboard/threads", {"marker": marker, "verb": "pause", "thread": ["[]"] * 300})
        odd = await someone.post("/dashboard/threads", {"marker": marker, "verb": "pause", "thread": '[1,"x",{}]'})
        for answer, words in (
            (large, "larger than 8192 bytes"),
            (files, "a form"),
            (many, "250"),
            (odd, "load the page"),
        ):
            assert 400 == answer.status_code
            assert words in answer.text


async def acted_by(someone: Browser) -> httpx2.Response:
    """Pause all threads."""
    return await someone.send("/dashboard/threads", {**ACTS["/dashboard/threads"], "reason": "new disk"})


async def test_an_act_is_audited_under_its_name(start_manager: StartManager) -> None:
    """What a page has done stands in the audit and at the worker like any call: who, from where, why, what came of it."""
    async with start_manager(dashboard=True) as manager, worker(manager, thread()) as acted:
        token = await manager.create("alice", Scope.OPERATE)
        async with browser(manager, token) as alice:
            assert 200 == (await acted_by(alice)).status_code
        (entry,) = [one for one in await manager.call("Damocles.AuditList", {}) if one["who"] == "alice"]
        assert ("Damocles.FleetAct", "new disk", True) == (entry["what"], entry["reason"], entry["ok"])
        ((_, act, asked_by),) = acted.asked
        assert ("pause", "new disk", "alice") == (act.verb, act.reason, asked_by)


async def test_a_dry_run_comes_first(start_manager: StartManager) -> None:
    """Without its second step a form does nothing; an abort takes a word more."""
    async with start_manager(dashboard=True) as manager, worker(manager, thread()) as acted:
        async with browser(manager, manager.token) as someone:
            for verb in ("pause", "pause-now", "resume", "abort"):
                shown = await someone.send("/dashboard/threads", {"verb": verb, "everything": "yes"})
                assert 200 == shown.status_code
                assert "what would happen" in shown.text
            unsure = await someone.send("/dashboard/threads", {"verb": "abort", "everything": "yes", "step": "do"})
            assert 400 == unsure.status_code
            assert "say that you are sure" in unsure.text
        assert [] == acted.asked


async def test_the_audit_is_paged_from_its_end(start_manager: StartManager) -> None:
    """The newest entries come first, each page goes on where the last one ended, and none is left out."""
    async with start_manager(dashboard=True) as manager, worker(manager, thread()):
        for number in range(103):
            await manager.call("Damocles.FleetAct", {"all": True}, {"verb": "pause", "reason": f"no. {number}"})
        async with browser(manager, manager.token) as someone:
            found, path = [], "/dashboard/audit.json"
            while path:
                page = (await someone.get(path)).json()
                found += [entry["reason"] for entry in page["entries"] if entry["what"] == "Damocles.FleetAct"]
                path = f"/dashboard/audit.json?before={page['older']}" if page["older"] else ""
            assert [f"no. {number}" for number in reversed(range(103))] == found
            (last,) = (await someone.get("/dashboard/audit.json?what=pause&before=3&since=1d")).json()["entries"][:1]
            assert "no. 0" == last["reason"]
