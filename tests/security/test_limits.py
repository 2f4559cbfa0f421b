"""The table of limits for people, and how full they are in the metrics."""

import re
from pathlib import Path

import httpx2
import pytest
from tests.integration.access.conftest import StartManager

from damocles import exposition
from damocles.manager.serving import audit as manager_audit
from damocles.manager.serving import metrics
from damocles.rpc import core, limits
from damocles.rpc.admission import audit, audit_rows
from damocles.text import toml
from damocles.worker.serving import metrics as worker_metrics

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "limits.md"

OF_ONE = {
    "request of a stranger": limits.STRANGER_BYTES,
    "request with scope `read` or `worker`": limits.SMALL_BODY_BYTES,
    "message on a WebSocket": limits.FRAME_BYTES,
    "fragments of such a message": limits.FRAGMENTS_OF_A_FRAME,
    "calls at once on a WebSocket": limits.CALLS_OF_A_WEBSOCKET,
    "queries of one token in the queue for the manager's database": limits.QUERIES_OF_A_TOKEN,
    "looks of one token at the workers of the fleet": limits.LOOKS_OF_A_TOKEN,
    "threads of a worker": limits.THREADS_OF_A_WORKER,
    "id of a request": limits.ID_CHARACTERS,
    "workers named in a call": limits.NAMES_OF_WORKERS,
    "sectors, states, plans or threads named in a call": limits.OTHER_NAMES,
    "addresses of no registered worker in a call": limits.ADDRESSES,
    "time without a byte of an answer being read": limits.UNREAD_SECONDS,
    "connection's unread answers, with which it may ask for more": limits.UNREAD_OF_A_CONNECTION_BYTES,
    "text of a failure or reason that a worker reports": limits.REPORT_CHARACTERS,
    "refusal of a worker that the manager passes on": limits.REFUSAL_CHARACTERS,
    "levels of arrays and objects in a request": core.MOST_LEVELS,
    "value in an entry of the audit": audit_rows.FIELD_BYTES,
    "answer with entries of the audit": manager_audit.ANSWER_BYTES,
    "entries that a full disk owes to the audit": audit.MOST_OWED,
    "file of TOML": toml.MOST_BYTES,
    "levels of arrays and tables in a file of TOML": toml.MOST_LEVELS,
    "reports kept of a sector": limits.REPORTS_OF_A_SECTOR,
    "workers' names, before one without a token of its own is too many": limits.SHARED_NAMES,
    "sectors in progress that the token of one worker was given": limits.SECTORS_OF_A_WORKER,
    "sectors in progress that a shared token, or an admitted address, was given": limits.SECTORS_OF_A_SHARED_TOKEN,
    "space that a piece leaves on the disk": limits.ROOM_KEPT_BYTES,
}
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "characters": 1, "s": 1, "": 1}


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the table under a heading, without its head."""
    part = PAGE.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def number(text: str) -> float:
    """Return the number that a cell says."""
    found = re.fullmatch(r"([\d,]+) ?(\w*)", text)
    assert found is not None, text
    return int(found[1].replace(",", "")) * UNITS[found[2]]


def test_the_page_has_what_one_may_be() -> None:
    """Each limit of one message, call or text is in the table, with the number that the code has."""
    assert OF_ONE == {what: number(most) for what, most, *_ in rows("What one may be")}


async def test_the_page_has_what_fills_up(start_manager: StartManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each limit that the metrics show is in the table, with the number that they show, and no other."""
    tally = metrics.Tally()
    monkeypatch.setattr(metrics, "Tally", lambda: tally)
    async with start_manager():
        levels = tally.gauges.levels()
    assert 2048 == levels["piece_bytes"].most
    listed = {name.strip("`"): most for name, most, *_ in rows("What fills up")}
    assert levels.keys() == listed.keys()
    assert {name: level.most for name, level in levels.items() if name != "piece_bytes"} == {
        name: number(most) for name, most in listed.items() if name != "piece_bytes"
    }


async def test_the_metrics_show_how_full_limits_are(start_manager: StartManager) -> None:
    """A scrape has for each limit how much there is, how much is used, and how often it would have been more."""
    async with start_manager() as manager, manager.client(manager.token) as other:
        await other.call("Venus.Version", returns=str)
        text = await scraped(manager.url.removesuffix("/rpc/v0"), manager.token)
    for limit, most in (("connections", 1000), ("calls_of_a_token", 32)):
        assert f'damocles_manager_limit{{limit="{limit}"}} {most}\n' in text
        assert f'damocles_manager_limit_met_total{{limit="{limit}"}} 0\n' in text
    assert 'damocles_manager_limit_used{limit="connections"} 2\n' in text
    assert 'damocles_manager_limit_used{limit="calls_of_a_token"} 1\n' in text


async def scraped(origin: str, token: str) -> str:
    """Return the metrics."""
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}) as http:
        return (await http.get(f"{origin}/metrics")).text


def test_a_worker_shows_the_same_limits() -> None:
    """The metrics of a worker have them under the same labels."""
    tally = worker_metrics.Tally()
    tally.gauges.watch(lambda: {"connections": limits.Level(2, 1000)}, {"connections": 7})
    text = exposition.text(tally.families()).decode()
    for line in ("limit{", "limit_used{", "limit_met_total{"):
        assert f'damocles_worker_{line}limit="connections"}}' in text
