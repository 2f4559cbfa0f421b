"""What the commands show of the fleet, and what they say with their exit codes."""

import logging
import sys

import msgspec
import pytest
import structlog

from damocles import logs
from damocles.cli.terminal import exits, tables
from damocles.cli.threads import acts, drains, notes, top, views
from damocles.operating import words
from damocles.parameters import catalog
from damocles.wire import control, fleet
from damocles.wire.sectors import SectorSize

NOW = 1_790_000_000.0
ESCAPES = "\x1b[31m\x9b1m\x07"


def thread(worker: str, index: int, state: str, seconds: int = 0, error: str | None = None) -> control.ThreadDetail:
    """Make a thread that is in a state for some seconds."""
    info = fleet.ThreadInfo(
        f"/store{index}", "sealer", "s-t010000-1", index, fleet.ThreadState(state, seconds), "PC1Done", "PC2", error
    )
    return control.ThreadDetail(info=info, worker=worker, since=NOW - seconds)


def worker(name: str, status: str) -> control.WorkerStatus:
    """Make a worker."""
    info = fleet.WorkerInfo(name, f"{name}:17890")
    return control.WorkerStatus(info=info, status=status, last_ping=NOW, age_seconds=3.0, interval_seconds=30.0)


def outcome(index: int | None, *, ok: bool, silent: bool = False) -> control.Outcome:
    """Make an outcome."""
    return control.Outcome(worker="gpu-1", index=index, state="PC1Done", ok=ok, silent=silent, text="so it went")


def test_words_of_others_are_only_words(capsys):
    """Tables, lines, errors, logs of stages and hints show escape sequences instead of sending them."""
    tables.show(tables.Table[str](columns=["Text"], cells=lambda text: [text]), [ESCAPES])
    exits.print_line(ESCAPES)
    exits.error(f"{ESCAPES}\nmore")
    exits.hint(ESCAPES)
    views.print_log([control.LogLine(1, 0.0, ESCAPES, 7, ESCAPES)])
    acts.show(
        [outcome(0, ok=True), control.Outcome(worker=ESCAPES, ok=False, text=ESCAPES)], dry_run=False, as_json=False
    )
    printed = capsys.readouterr()
    shown = r"\x1b[31m\x9b1m\x07"
    assert [
        "Text",
        shown,
        shown,
        rf"1970-01-01T00:00:00Z {shown}[7] {shown}",
        "gpu-1 #0 - PC1Done: so it went",
    ] == [line.rstrip() for line in printed.out.split("\n")[:-1]]
    assert [f"error: {shown}", "error: more", shown, f"error: {shown}: {shown}"] == printed.err.split("\n")[:-1]


def test_words_of_others_in_the_daemons_logs(capsys):
    """A log line shows escape sequences too, and a traceback keeps its lines."""
    before = logging.getLogger().handlers[:]
    try:
        logs.configure()
        logging.getLogger("x").warning("%s", ESCAPES)
        structlog.get_logger("x").bind().warning("worker joined", worker=ESCAPES, why="a\nb")
    finally:
        structlog.reset_defaults()
        logging.getLogger().handlers[:] = before
    said = capsys.readouterr().err
    assert "\x1b" not in said
    assert 2 == said.count(r"\x1b[31m\x9b1m\x07")


class TestTop:
    def drawn(self, workers, told, rows=None) -> str:
        """Return the screen as text."""
        return "\n".join(top.screen(workers, told, now=NOW, columns=200, rows=rows))

    def test_words_of_workers_are_only_words(self):
        """Neither escape sequences nor markup in what a worker tells reach the screen as such."""
        evil = f"[/red]{ESCAPES}"
        told = control.FleetThreads(
            threads=[thread(evil, 0, evil, 60, evil)], silent=[control.Silence(worker=evil, reason=evil)]
        )
        screen = self.drawn([worker(evil, "live")], told)
        assert "\x1b" not in screen
        assert "\x9b" not in screen
        assert r"[/red]\x1b[31m\x9b1m\x07" in screen

    def test_what_needs_a_person_comes_first(self):
        """Paused threads lead, the longest first, with their error; workers in trouble are above the others."""
        told = control.FleetThreads(
            threads=[
                thread("a", 0, "Running", 7200),
                thread("a", 1, "Paused", 60, "permanent: new"),
                thread("b", 0, "Paused", 3600, "permanent: old"),
                thread("b", 1, "Waiting", 5),
            ],
            silent=[control.Silence(worker="c", reason="did not answer within 5 s")],
        )
        screen = self.drawn([worker("a", "live"), worker("b", "late"), worker("c", "lost")], told)
        places = [screen.index(text) for text in ("c:17890", "b:17890", "a:17890", "old", "new", "2h", "Waiting")]
        assert sorted(places) == places
        assert "3 workers  1 live  1 late  1 lost   4 threads  2 paused  1 running  1 waiting" in screen
        assert "did not answer within 5 s" in screen
        assert "  1 worker  1 live   0 threads" in self.drawn([worker("a", "live")], control.FleetThreads())

    def test_it_is_no_higher_than_the_terminal(self):
        """A fleet that does not fit is cut with a count of what is not shown."""
        workers = [worker(f"w{number}", "live") for number in range(100)]
        told = control.FleetThreads(threads=[thread("w1", number, "Running", number) for number in range(300)])
        lines = self.drawn(workers, told, rows=24).splitlines()
        assert len(lines) <= 24
        assert "more threads" in lines[-1]


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ([outcome(0, ok=True), outcome(1, ok=True)], 0),
        ([outcome(0, ok=True), outcome(1, ok=False)], 1),
        ([outcome(0, ok=True), outcome(None, ok=False, silent=True)], 1),
        ([outcome(None, ok=False, silent=True)], 5),
        ([outcome(0, ok=True), outcome(None, ok=False)], 1),
        ([outcome(None, ok=False)], 3),
    ],
)
def test_exit_codes_of_acts(outcomes, code, capsys):
    """All done is 0, some refused, silent or not there 1, only silence 5, no such thread 3; what went wrong is on stderr."""
    assert code == acts.show(outcomes, dry_run=False, as_json=False)
    out, err = capsys.readouterr()
    assert sum(o.ok for o in outcomes) == out.count("so it went")
    assert sum(not o.ok for o in outcomes) == err.count("error: gpu-1")


def test_an_outcome_is_one_line():
    """Worker, index, sector, state, and what happened."""
    assert "gpu-1 #0 - PC1Done: so it went" == acts.line(outcome(0, ok=True))
    assert "gpu-1: so it went" == acts.line(outcome(None, ok=False))


def test_a_log_is_followed_from_where_it_was_left():
    """The lines there are come at once; then each reading waits for those after the last number."""
    asked = []

    def read(after: int, wait_seconds: float) -> list[control.LogLine]:
        asked.append((after, wait_seconds > 0))
        if len(asked) == 4:
            raise KeyboardInterrupt
        return [] if len(asked) == 2 else [control.LogLine(after + 1, NOW, "pc1", 4711, "layer")]

    with pytest.raises(KeyboardInterrupt):
        assert all(line.text == "layer" for line in views.follow(read, on=True))
    assert [(0, False), (1, True), (1, True), (2, True)] == asked


@pytest.mark.parametrize(
    ("later", "text"),
    [
        ([control.Drain(on=True, deadline=NOW, busy=["s-t010000-1"]), control.Drain(on=True)], None),
        ([control.Drain(on=True, deadline=None, busy=["s-t010000-1"])], "deadline has passed"),
        ([control.Drain(on=False, busy=["s-t010000-1"])], "somebody else ended"),
    ],
)
def test_a_drain_ends_well_or_says_how(later, text, capsys, monkeypatch):
    """It is waited for until nothing is in work, the deadline has come, or somebody takes it back."""
    monkeypatch.setattr(drains, "_POLL_SECONDS", 0)
    states = iter(later)
    start = control.Drain(on=True, deadline=NOW, busy=["s-t010000-1", "s-t010000-2"])
    if text is None:
        assert 0 == drains.wait(start, lambda: next(states), as_json=False)
        assert "drained: no sector is in progress" == capsys.readouterr().out.splitlines()[-1]
        return
    with pytest.raises(exits.Failed, match=text):
        drains.wait(start, lambda: next(states), as_json=False)


def test_waits_are_told_with_their_times():
    """What, since when, until when, and whether a pause follows, perhaps one that a restart would forget."""
    waiting = control.Waiting("a slot of pc2", NOW - 60, NOW + 60)
    detail = control.ThreadDetail(info=thread("a", 0, "Waiting").info, since=NOW, waiting=waiting, pausing=True)
    assert "a slot of pc2 since 2026-09-21T14:12:20Z until 2026-09-21T14:14:20Z, then pauses" == views.waits_for(detail)
    unrecorded = msgspec.structs.replace(detail, waiting=None, unrecorded=True)
    assert "then pauses (not recorded yet: a restart would forget it)" == words.waits(unrecorded, NOW)


def test_a_wide_row_has_a_dash_for_what_is_not_there():
    """An idle thread has no sector, no stage, no process and no error."""
    info = fleet.ThreadInfo("/store", "sealer", None, 3, fleet.ThreadState("Idle"), "Empty", None, None)
    cells = views.wide_thread_cells(control.ThreadDetail(info=info, since=NOW))
    assert ("3", "/store", "sealer", "-", "Empty", "-", "Idle", "-", "1", "0", "-", "-", "-") == cells


@pytest.mark.parametrize(
    ("state", "columns", "lines"),
    [
        (
            "Paused",
            80,
            [
                "2 threads: C2 parameters missing (32GiB)",
                "  fetch:   FIL_PROOFS_PARAMETER_CACHE=/srv/params \\",
                "           damocles-worker params fetch --sector-size 32GiB --for porep",
                "  resume:  resume --error 'No cached parameters'",
            ],
        ),
        (
            "Running",
            120,
            [
                "2 threads: C2 parameters missing (32GiB)",
                "  fetch:   FIL_PROOFS_PARAMETER_CACHE=/srv/params damocles-worker params fetch --sector-size 32GiB --for porep",
            ],
        ),
    ],
)
def test_what_helps_is_for_the_workers_folder(state, columns, lines, monkeypatch):
    """A command names the folder that the worker has looked in, fits, and can be pasted; only what is paused is resumed."""
    monkeypatch.setenv("COLUMNS", str(columns))
    (found,) = catalog.sets([SectorSize.GIB32], [catalog.Kind.POREP])
    name = found.identifier
    error = f"permanent: No cached parameters found for {name[4:]} [failure finding /srv/params/{name}.params]"
    threads = [thread("w1", number, state, 5, error) for number in range(2)]
    assert lines == list(notes.lines(threads, resume=["resume"], whole=False))


def test_what_stands_under_a_table_is_only_words(capsys, monkeypatch):
    """On a terminal, too, neither a cell nor an error that is written out below sends what a worker has put into it."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("NO_COLOR", "1")
    evil = f"No cached parameters found for x [failure finding /{ESCAPES}/v28-x.params]"
    for wide in (False, True):
        views.show_threads([thread("w1", 0, "Paused", 5, evil)], named=True, wide=wide, full=wide, resume=["resume"])
        views.show_threads([thread(ESCAPES, 0, ESCAPES, 5, evil)], named=True, wide=wide, full=False, resume=["resume"])
    printed = capsys.readouterr().out
    assert r"\x1b[31m\x9b1m\x07" in printed
    assert not {"\x1b", "\x9b", "\x07"} & set(printed)


def test_lines_of_another_machine_name_it(capsys):
    """The process behind a line is written with its machine where that is not the worker's."""
    views.print_log([control.LogLine(1, NOW, "c2", 4711, "hot", "s-t01000-1", host) for host in ("gpu1", "")])
    written = [line[line.index("c2[") :] for line in capsys.readouterr().out.splitlines()]
    assert ["c2[gpu1:4711] hot", "c2[4711] hot"] == written


def test_a_process_on_another_machine_is_shown_with_it():
    """`top` and the listings name the machine of a thread's process."""
    there = msgspec.structs.replace(thread("w1", 0, "Running"), pid=4711, host="gpu1", far_host="gpu1")
    assert "gpu1:4711" in top._thread_cells(there, NOW, full=True)
    assert "4711" in top._thread_cells(msgspec.structs.replace(there, far_host=""), NOW, full=True)
