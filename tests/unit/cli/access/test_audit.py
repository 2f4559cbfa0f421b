"""What a list of the audit shows."""

from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from damocles.wire import codec, control


def entry(what: str, names: list[str], params: list[Any], outcome: Any, *, ok: bool = True) -> control.AuditEntry:
    """Make an entry."""
    return control.AuditEntry(
        at=1_790_000_000.0,
        who="alice",
        address="10.0.0.9:5",
        what=f"Damocles.{what}",
        names=names,
        params=params,
        reason="r",
        ok=ok,
        outcome=outcome,
    )


def done(ok: bool, **more: Any) -> dict[str, Any]:
    """Make an outcome of a thread."""
    return {"ok": ok, "text": "so it went", **more}


DRAIN = entry(
    "WorkerDrain",
    ["worker", "on", "deadline_seconds", "reason", "timeout_seconds"],
    ["demo", False, None, "r", 3.5],
    {"on": False},
)
ACT = ["chosen", "wanted", "timeout_seconds"]
CHOSEN = {"workers": ["gpu-*"], "error": "disk full"}
RESUME = {"verb": "resume", "reason": "r"}
NOTHING = entry("FleetAct", ACT, [CHOSEN, RESUME, 3.5], [])
SOME = entry("FleetAct", ACT, [CHOSEN, RESUME, 3.5], [done(True), done(True), done(False), done(False, silent=True)])
ALL = entry("FleetAct", ACT, [{"all": True}, RESUME, 3.5], [done(True)])
FAILED = entry("AuthRevoke", ["name"], ["bob"], "no such token", ok=False)
CUT_OFF = structs.replace(FAILED, outcome=None, ended=False)
OLD = entry("WorkerDrain", [], ["demo", True], None)


@pytest.fixture
def listed(run, monkeypatch):
    """Return what lists entries as a worker's audit: the table's lines."""
    file = Path("~/.damocles-worker/audit.jsonl").expanduser()
    file.parent.mkdir(parents=True)

    def listed(*entries: control.AuditEntry, options: tuple[str, ...] = ()) -> list[list[str]]:
        file.write_bytes(b"".join(codec.encode(one) + b"\n" for one in entries))
        code, out, err = run("audit", "list", *options)
        assert (0, "") == (code, err)
        return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in out.splitlines()[1:]]

    return listed


@pytest.mark.parametrize(
    ("one", "asked", "outcome"),
    [
        (DRAIN, "worker=demo, on=false", "done"),
        (NOTHING, 'workers=["gpu-*"] error=disk full, verb=resume', "no thread matched; nothing was changed"),
        (SOME, 'workers=["gpu-*"] error=disk full, verb=resume', "2 done, 1 refused, 1 unanswered"),
        (ALL, "all=true, verb=resume", "1 done"),
        (FAILED, "name=bob", "failed: no such token"),
        (OLD, "demo, true", "done"),
        (CUT_OFF, "name=bob", "unknown: it still runs, or its daemon was stopped meanwhile"),
    ],
)
def test_an_entry_says_what_was_asked_and_what_came_of_it(listed, one, asked, outcome):
    """Parameters have their names; those with a column of their own, and those that say nothing, are left out."""
    (row,) = listed(one)
    assert [asked, "r", outcome] == row[-3:]


def test_failures_are_picked_out(listed):
    """`--failed` lists what failed or was refused, wholly or in part."""
    rows = listed(DRAIN, NOTHING, SOME, ALL, FAILED, options=("--failed",))
    assert ["FleetAct", "AuthRevoke"] == [row[3] for row in rows]


def test_the_newest_may_come_first(listed):
    """`--newest-first` turns the list round."""
    assert ["AuthRevoke", "WorkerDrain"] == [row[3] for row in listed(DRAIN, FAILED, options=("--newest-first",))]


def test_entries_are_found_by_the_commands_words(listed):
    """`--what` takes the word of a command as well as a method's name: resume, undrain, AuthRevoke."""
    whats = [
        [line[3] for line in listed(SOME, DRAIN, FAILED, options=("--what", word))] for word in ("resume", "undrain")
    ]
    assert [["FleetAct"], ["WorkerDrain"]] == whats
    assert ["AuthRevoke"] == [line[3] for line in listed(SOME, DRAIN, FAILED, options=("--what", "authrevoke"))]
