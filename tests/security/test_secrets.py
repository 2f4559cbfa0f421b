"""Secrets in values of any shape: none is in what logs, histories and errors keep of them."""

import io
import json
import logging
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from damocles import logs
from damocles.rpc.admission import audit_rows, tokens
from damocles.sealing import failures
from damocles.text import redaction
from damocles.wire import codec, control, seal
from damocles.worker.serving import logbook

SECRET = "S3CRETMARKER"
WITH_SECRETS = [
    f"http://user:{SECRET}@host/up",
    f"https://{SECRET}@host:443/up?x",
    f"http://user:{SECRET}/{SECRET}@host/up",
    f"http://host/up?X-Amz-Signature={SECRET}&X-Amz-Date={SECRET}",
    f"http://host/up?{SECRET}",
    f"store://persist/up?name={SECRET}",
    f"mailto://user:{SECRET}@example.net",
    f"piece http://host/a?sig={SECRET}: answered 403, then https://b:{SECRET}@host ended",
    f"Authorization: Bearer {SECRET}12345",
    f"PIECE_FETCHER_TOKEN={SECRET}",
    f"run with password='{SECRET}' now",
    f"dmc_{SECRET}_0123456789abcdef",
    f'the market answered 403: {{"code":1,"password":"{SECRET}"}}',
    f"refused: {{'headers': 1, 'api_key': '{SECRET} and \\' more of {SECRET}'}}",
    json.dumps(json.dumps({"token": SECRET + '"' + SECRET, "sector": 1})),
]
MEMBERS: list[dict[str, Any]] = [
    {"password": SECRET, "reason": "x"},
    {"deeper": [{"ApiKey": f'{SECRET}"{SECRET}\\'}]},
    {"headers": {"X-Custom": SECRET, "Y": f"{SECRET}/"}},
    {"name": "AWS_SECRET", "value": SECRET},
    {"value": SECRET, "key": "cookie"},
]


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what was logged as lines so far, of a logger that is set up as the daemons' are."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    root = logging.getLogger()
    handlers, level, structured = root.handlers[:], root.level, structlog.get_config()
    logs.configure(as_json=True)
    yield stream.getvalue
    structlog.configure(**structured)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize("text", WITH_SECRETS)
def test_no_text_keeps_a_secret(text: str) -> None:
    """A place is still known by what is not secret in it, and what is hidden is seen to be."""
    shown = redaction.text(text)
    assert SECRET not in shown
    assert redaction.MASK in shown
    assert shown == redaction.text(shown)


@pytest.mark.parametrize(
    "text",
    [
        "http://host:8080/up/@me",
        "http://[fd00::7]:80/a@b",
        "worker.toml:3: sector_manager.token_file = /etc/damocles/token",
        "a token needs a name, by which it is listed and revoked",
        "basic information of store persist-2",
        "temporary: no room in the sealing store /mnt/nvme/1: No space left on device",
        "alice@host",
        "a = b",
        "token 'alice' was revoked",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    """Messages keep their words."""
    assert text == redaction.text(text)


def test_names_tell_what_is_secret() -> None:
    """Fields, headers and variables are hidden by their names, and the paths of files with secrets are not."""
    kept = redaction.value(
        {
            "url": f"http://u:{SECRET}@host",
            "token": SECRET,
            "api_key": SECRET,
            "headers": {"X-Custom": SECRET},
            "env": [{"name": "AWS_SECRET", "value": SECRET}, {"name": "RUST_LOG", "value": "debug"}],
            "inner": [{"deeper": {"password": SECRET}}],
            f"http://u:{SECRET}@key": 1,
            "token_file": "/etc/damocles/token",
            "count": 5,
        }
    )
    assert SECRET not in json.dumps(kept)
    assert {"name": "RUST_LOG", "value": "debug"} == kept["env"][1]
    assert ("/etc/damocles/token", 5, "http://***@host") == (kept["token_file"], kept["count"], kept["url"])


@pytest.mark.parametrize("text", WITH_SECRETS)
def test_the_log_has_none(text: str, logged: Any) -> None:
    """Whoever logs what: event, field, list, exception or another library's message."""
    log = structlog.get_logger("test")
    log.info(text, url=text, several=[text], by_name={"dest": text})
    try:
        raise ValueError(text)  # noqa: TRY301
    except ValueError:
        log.exception("failed")
    logging.getLogger("library").warning("called %s", text)
    assert 3 == len(logged().splitlines())
    assert SECRET not in logged()


def test_an_event_stays_one_line(logged: Any) -> None:
    """Text of others in a field, or in a list in a field, begins no line and moves no cursor."""
    structlog.get_logger("test").info("x\x1b[2J", name="a\r\nb\x07", names=["c\x1b[31m\r", {"d": "\x9b"}])
    (line,) = logged().splitlines()
    said = json.loads(line)
    assert ("x\\x1b[2J", "a\\r\nb\\x07") == (said["event"], said["name"])
    assert ["c\\x1b[31m\\r", {"d": "\\x9b"}] == said["names"]


@pytest.mark.parametrize("text", WITH_SECRETS)
def test_histories_have_none(text: str) -> None:
    """What fails is kept by the worker's journal, shown as a last error, and reported to the manager."""
    failure = failures.Permanent(f"piece: {text}")
    assert SECRET not in str(failure)
    assert SECRET not in failure.text
    report = codec.decode(codec.encode({"Level": "Permanent", "Desc": text}), seal.FailureReport)
    assert SECRET not in report.desc


@pytest.mark.parametrize("text", WITH_SECRETS)
def test_old_histories_are_shown_without_them(text: str) -> None:
    """What an earlier release has written into a journal is hidden when it is shown."""
    entry = control.HistoryEntry(
        at=1.0, plan="sealer", sector="s-t010000-1", attempt=1, prev="a", state="b", event="c", error=text
    )
    assert SECRET not in (entry.error or "")


@pytest.mark.parametrize("text", WITH_SECRETS)
def test_reasons_have_none(text: str) -> None:
    """Why an operator pauses, aborts or drains goes to histories and lists as well."""
    act = codec.decode(codec.encode({"verb": "abort", "reason": text}), control.Act)
    drain = msgspec.structs.replace(control.Drain(on=True), reason=text)
    assert SECRET not in act.reason + drain.reason


@pytest.mark.parametrize("text", WITH_SECRETS)
async def test_the_output_of_stages_has_none(text: str) -> None:
    """Lines of a stage's process may be read by whoever may look."""
    book = logbook.Logbook()
    book(0, "pc1", 77, text)
    (line,) = await book.read(0, 0, 0.0)
    assert SECRET not in line.text


def test_a_new_token_is_hidden() -> None:
    """Whatever characters it is made of."""
    for _ in range(200):
        text = tokens.mint()
        assert "x dmc_*** y" == redaction.text(f"x {text} y")


_marked = st.text(min_size=1, max_size=20).map(lambda text: f"{SECRET}{quote(text, safe='')}")


@given(
    scheme=st.sampled_from(["http", "https", "ftp", "s3", "store", "HTTP"]),
    user=st.none() | _marked,
    password=st.none() | _marked,
    host=st.sampled_from(["host", "10.0.0.1:80", "[::1]", "a.b-c:1"]),
    path=st.sampled_from(["", "/", "/a/b", "/@/x", "/a:b@c"]),
    query=st.lists(st.tuples(st.sampled_from(["sig", "a", "X-Token", "ü"]), _marked), max_size=3),
    around=st.sampled_from(["", " ", "'", '"', "<", "(", "\n", ": "]),
)
def test_no_url_keeps_its_secrets(  # noqa: PLR0917
    scheme: str,
    user: str | None,
    password: str | None,
    host: str,
    path: str,
    query: list[tuple[str, str]],
    around: str,
) -> None:
    """Name, password and every value of a query are hidden, wherever in a text the URL stands; host and path stay."""
    who = f"{user}{f':{password}' if password else ''}@" if user else ""
    asked = "?" + "&".join(f"{name}={value}" for name, value in query) if query else ""
    text = f"upload to{around}{scheme}://{who}{host}{path}{asked}{around} ended"
    shown = redaction.text(text)
    assert SECRET not in shown
    assert f"{host}{path}" in shown
    assert SECRET not in redaction.json_text(json.dumps(text).replace("/", "\\/"))


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_a_value_is_hidden_once(value: Any) -> None:
    """Hiding again changes nothing: what was kept can be shown through the same rule."""
    once = redaction.value(value)
    assert once == redaction.value(once)


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize("odd", ["9" * 5000, '"\\ud83d"', "1e999", "[" * 99 + "]" * 99, '"' + "x" * 300_000 + '"', "{"])
def test_nor_does_json_that_cannot_be_decoded(member: dict[str, Any], odd: str) -> None:
    """Whatever stands beside a secret and keeps its row from being read: names hide it all the same, also where it is cut."""
    plain = json.dumps(member)
    texts = [plain, plain.replace("a", "\\u0061").replace("S3", "\\u0053\\u0033"), plain.replace("/", "\\/")]
    for text in texts:
        for whole in (f"[{text},{odd}]", f"[{odd},{text}]", *(f"[{text[:end]}" for end in range(len(text)))):
            assert SECRET[:4] not in json.dumps(audit_rows.kept(whole.encode()))


def test_what_is_no_secret_stays_in_json_too() -> None:
    """Only the values behind names of secrets are hidden."""
    text = '[{"verb":"pause","reason":"no token \\\\ here","name":"a","count":5},'
    assert text == audit_rows.kept(text.encode())
