"""What an operator sees: the commands on real terminals of 80 and 120 columns, with everything in them too long."""

import contextlib
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio.to_thread
import pytest
from msgspec import structs

from damocles.rpc import core, dialects
from damocles.rpc.serving import asgi, server
from damocles.wire import alerts, control, fleet, records, seal
from damocles.wire.sectors import SectorID

NOW = time.time()
NO_PARAMETERS = (
    "permanent: No cached parameters found for stacked-proof-of-replication-merkletree-poseidon_hasher-8-0-0-"
    "sha256_hasher-032d3138d22506ec0082ed72b2dcba18df18477904e35bafee82b3793b06832f [failure finding /var/tmp/filecoin-"
    "proof-parameters/v28-stacked-proof-of-replication-merkletree-poseidon_hasher-8-0-0-sha256_hasher-"
    "032d3138d22506ec0082ed72b2dcba18df18477904e35bafee82b3793b06832f.params]"
)
NO_SPACE = "permanent: [Errno 28] No space left on device: '/srv/persist/somewhere/deep/store-of-the-second-row/sealed'"
GPU = "gpu-machine-of-the-second-row-in-the-new-hall"
STORES = "/srv/damocles/disks/of/the/second/controller"
SECTOR = "s-t010000-1"


def thread(
    index: int, doing: str, error: str | None = None, waiting: control.Waiting | None = None
) -> control.ThreadDetail:
    """Make a thread of the worker with the long name."""
    state = fleet.ThreadState(doing, 7385, "ext(pid: 11932)" if doing == "Running" else None)
    sector = None if doing == "Idle" else f"s-t010000-{index + 1}"
    at = ("C1Done", "C2") if sector else ("Empty", None)
    info = fleet.ThreadInfo(f"{STORES}/store{index:02}", "sealer", sector, index, state, at[0], at[1], error)
    return control.ThreadDetail(
        info=info, worker=GPU, dest="10.0.0.7:17890", host=GPU, since=NOW - 7385, waiting=waiting, draining=not sector
    )


THREADS = [
    thread(0, "Paused", NO_PARAMETERS, control.Waiting("resume", NOW - 7385)),
    thread(1, "Paused", NO_PARAMETERS, control.Waiting("resume", NOW - 7385)),
    thread(2, "Paused", NO_SPACE, control.Waiting("resume", NOW - 7385)),
    thread(3, "Running"),
    thread(4, "Waiting", None, control.Waiting("a slot of pc2 on this machine, which four others hold", NOW - 60)),
    thread(5, "Idle", None, control.Waiting("the next sector (seal_interval)", NOW - 60, NOW + 3600)),
]
INFO = fleet.WorkerInfo(GPU, "10.0.0.7:17890", "0.13.1", fleet.Summary(6, 1, 3, 1, 1, 3))
WORKERS = [
    control.WorkerStatus(
        info=INFO,
        status="live",
        last_ping=NOW - 27.369228601,
        age_seconds=27.369228601,
        interval_seconds=30.0,
        transitions=[control.Transition(NOW - 90000, "live")],
    )
]
ALERT = alerts.Alert(
    id=12,
    rule="parameters-missing",
    subject=GPU,
    severity="critical",
    state="firing",
    text=f"proof parameters are missing, so that #0, #1 cannot go on: {NO_PARAMETERS}",
    since=NOW - 78,
    acknowledged_by="alice",
    note="fetching them from the other farm",
)
AUDIT = [
    control.AuditEntry(
        id=1,
        at=NOW - 100,
        who="alice via manager",
        address="10.0.0.99:51234",
        what="Damocles.FleetAct",
        names=["selection", "act", "timeout_seconds"],
        params=[{"workers": ["w1", "w2"], "error": "No cached parameters"}, {"verb": "resume", "reason": "x"}, 3.5],
        reason="parameters are in place on all machines of the second row",
        ok=True,
        outcome=[{"ok": True, "text": "goes on from C1Done"}] * 3,
    ),
    control.AuditEntry(
        id=2,
        at=NOW,
        who="local",
        address="127.0.0.1:1234",
        what="Venus.WorkerPingInfoRemove",
        names=["name"],
        params=[GPU],
        ok=True,
    ),
]
HISTORY = [
    control.HistoryEntry(
        at=NOW - 50,
        worker=GPU,
        location=f"{STORES}/store00",
        plan="sealer",
        sector=SECTOR,
        attempt=4,
        prev="PersistanceSubmitted",
        state="SeedAssigned",
        event="SeedAssigned",
        seconds=78.3,
        error=NO_PARAMETERS,
    )
]
RECORD = records.SectorState.fresh(SectorID(10000, 1), 5)


class Farm:
    """A manager and a worker that tell of a fleet with long names, paths and errors."""

    def __init__(self, manager: str, worker: str) -> None:
        self.manager, self.worker = manager, worker

    def commands(self) -> dict[str, list[str]]:
        """Return command lines by name; the first word is the program's module."""
        manager, worker = ["--listen", self.manager], ["-H", self.worker]
        return {
            "workers": ["manager", "util", "worker", "list", *manager],
            "workers wide": ["manager", "util", "worker", "list", "--wide", *manager],
            "info": ["manager", "util", "worker", "info", GPU, *manager],
            "info all": ["manager", "util", "worker", "info", "--all", *manager],
            "info wide": ["manager", "util", "worker", "info", GPU, "--wide", *manager],
            "list": ["worker", "worker", "list", *worker],
            "list why": ["worker", "worker", "list", "--why", *worker],
            "history": ["manager", "util", "worker", "history", SECTOR, *manager],
            "sectors": ["manager", "util", "sealer", "sectors", "list", *manager],
            "alerts": ["manager", "alerts", "list", *manager],
            "audit": ["manager", "audit", "list", *manager],
            "top": ["manager", "util", "worker", "top", *manager],
            "info full": ["manager", "util", "worker", "info", GPU, "--full", *manager],
        }


def sectors() -> list[records.SectorState]:
    """Return the manager's record of the sector that has paused."""
    report = seal.ReportStateReq(
        worker=seal.WorkerIdentifier(GPU, f"{STORES}/store00"),
        state_change=seal.StateChange(prev="SeedAssigned", next="C1Done", event="C1"),
        failure=seal.FailureReport(level="Permanent", desc=NO_PARAMETERS),
    )
    return [structs.replace(RECORD, latest_state=report)]


@contextlib.asynccontextmanager
async def farm() -> AsyncIterator[Farm]:
    """Serve both."""
    answers = {
        "Damocles.Workers": WORKERS,
        "Damocles.SectorHistory": control.SectorHistory(entries=HISTORY),
        "Damocles.Alerts": alerts.Board(alerts=[structs.replace(ALERT, since=time.time() - 78)], looked_at=NOW),
        "Damocles.AuditList": AUDIT,
        "Damocles.SectorTimes": [control.SectorTimes(sector=SECTOR, handed_out=NOW - 90000, since=NOW - 7385)],
        "Damocles.Threads": THREADS,
        "VenusWorker.WorkerList": [one.info for one in THREADS],
    }

    def answering(answer: object):
        async def answer_it(_: Any = None, __: Any = None) -> object:
            return answer

        return answer_it

    async def listed(state: str, _: int) -> object:
        return sectors() if state == "online" else []

    async def threads(chosen: control.Selection, _: float) -> object:
        silent = [control.Silence(worker="w2", reason="10.0.0.8:17890 cannot be reached")] if chosen.all else []
        return control.FleetThreads(threads=THREADS, silent=silent)

    manager, worker = core.Service(dialects.MANAGER), core.Service(dialects.WORKER)
    manager.add("Venus.ListSectors", listed)
    manager.add("Damocles.FleetThreads", threads)
    for method, answer in answers.items():
        for service in (manager, worker):
            service.add(method, answering(answer))
    async with (
        server.serve(asgi.worker_app(manager), "127.0.0.1", 0) as at,
        server.serve(asgi.worker_app(worker), "127.0.0.1", 0) as other,
    ):
        yield Farm(str(at), str(other))


_CHILD = """
import json, sys, time
now = float(sys.argv[2])
time.time = lambda: now  # the tests of all modules are read long before these ones run
from damocles.cli import manager, worker
for module, *arguments in json.loads(sys.argv[1]):
    print(end="\\x1e", flush=True)
    {"manager": manager, "worker": worker}[module].main(arguments)
"""


@contextlib.contextmanager
def terminal(
    columns: int, commands: list[list[str]], *, keys: bytes = b"", colour: bool = False
) -> Iterator[list[str]]:
    """Run commands one after the other on a terminal of so many columns and yield what each showed; type `keys` at last."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
    env |= {"TERM": "xterm"} | ({} if colour else {"NO_COLOR": "1"})
    output = bytearray()

    def read() -> None:
        with contextlib.suppress(OSError):  # the end of a terminal that nobody has open any more
            typed = not keys
            while chunk := os.read(leader, 65536):
                output.extend(chunk)
                if not typed and b"Worker" in output:
                    typed = os.write(leader, keys) > 0

    reader = threading.Thread(target=read)
    reader.start()
    command = [sys.executable, "-c", _CHILD, json.dumps(commands), str(NOW)]
    stdin = follower if keys else subprocess.DEVNULL
    try:
        subprocess.run(command, stdin=stdin, stdout=follower, stderr=follower, env=env, check=True, timeout=240)
    finally:
        os.close(follower)
        reader.join()
        os.close(leader)
    yield [text.replace("\r\n", "\n") for text in output.decode().split("\x1e")[1:]]


async def seen(columns: int, *, colour: bool = False) -> dict[str, list[str]]:
    """Return the lines of each command on a terminal of so many columns."""

    def look(commands: dict[str, list[str]]) -> dict[str, list[str]]:
        with terminal(columns, list(commands.values()), colour=colour) as screens:
            return {name: screen.splitlines() for name, screen in zip(commands, screens, strict=True)}

    async with farm() as served:
        return await anyio.to_thread.run_sync(look, served.commands())


@pytest.fixture(scope="module", params=[80, 120])
async def screens(request: pytest.FixtureRequest) -> dict[str, list[str]]:
    """Return what is seen, and the width under `columns`."""
    return {"columns": [" " * request.param], **await seen(request.param)}


def table(lines: list[str]) -> list[str]:
    """Return the table that a screen begins with: its header and the rows of the six threads."""
    return lines[:7]


async def test_no_line_is_longer_than_the_terminal(screens):
    """Whatever is in them, all tables and what stands under them fit; only `--full` lets the terminal break lines."""
    columns = len(screens["columns"][0])
    long = {name: line for name, lines in screens.items() for line in lines if len(line) > columns}
    assert {"info full"} == long.keys()


async def test_each_row_is_one_line_under_a_whole_header(screens):
    """A thread, an alert, an entry is one line; names of columns are never cut, and what is left out is named."""
    for name in ("info", "info all", "info wide", "list", "list why"):
        header, *rows = table(screens[name])
        assert [str(number) for number in range(6)] == [row.split()[name == "info all"] for row in rows], name
        assert "…" not in header
    for name, count in {"workers": 1, "workers wide": 1, "history": 1, "sectors": 1, "alerts": 1, "audit": 2}.items():
        header, *rest = screens[name]
        assert count == len([line for line in rest if not line.startswith("not shown: ")]), name
        assert "…" not in header
    assert "Worker  Address  Threads" in re.sub(" +", "  ", screens["workers"][0])
    assert "#  Sector  State  Stage  Doing  For" in re.sub(" +", "  ", screens["list"][0])


async def test_the_reason_is_what_is_seen_of_a_thread(screens):
    """Missing parameters are said shortly and seen whole; a drained thread, one that waits and one with another error say so."""
    for name in ("info", "list"):
        _, first, _, third, _, fifth, last = table(screens[name])
        assert first.endswith("C2 parameters missing (2KiB)")
        assert "permanent: [Errno 28]" in third
        assert "a slot of pc2" in fifth
        assert last.endswith("drained")


async def test_equal_errors_are_told_once_with_what_to_do(screens):
    """Under the table stands how many threads lack parameters, how to get them and how to resume, to be pasted."""
    found_by = (("info", "damocles-manager util worker", "--listen"), ("list", "damocles-worker worker", "--host"))
    for name, resume, option in found_by:
        text = "\n".join(screens[name])
        assert "2 threads: C2 parameters missing (2KiB)\n" in text
        assert "  fetch:   damocles-worker params fetch --sector-size 2KiB --for porep\n" in text
        assert f"  resume:  {resume} resume --error 'No cached parameters' {option} 127.0.0.1:" in text.replace(
            " \\\n          ", ""
        )


async def test_a_sector_says_for_how_long_it_is_in_its_state(screens):
    """And how many deals it has; at 80 columns there is room for the first, beside the error."""
    header, row = screens["sectors"][:2]
    assert "2h3m" in row.split()
    assert row.rstrip().endswith("C2 parameters missing (2KiB)")
    names = header.split()
    assert ["Sector", "State"] == names[:2]
    assert "For" in names
    assert len(screens["columns"][0]) == 80 or "Deals" in names


async def test_wide_and_full_tell_the_whole_error(screens):
    """`--wide` writes each error out under the table, `--full` in its row."""
    wide = " ".join(" ".join(screens["info wide"]).split())
    assert f"1 thread: {NO_SPACE}" in wide
    assert NO_SPACE in "\n".join(screens["info full"])


async def test_times_have_one_spelling(screens):
    """Durations are like 2h3m and 27s in every table."""
    assert "2h3m" in screens["info"][1]
    assert "27s" in screens["workers"][1].split()
    assert re.search(r" (\d+[hms])+ ", screens["alerts"][1])
    assert "1m18s" in screens["history"][1].split()
    assert "2h3m" in "\n".join(screens["top"])


async def test_the_audit_speaks_the_commands_words(screens):
    """What was done is called as the command is."""
    _, first, second = screens["audit"][:3]
    assert "resume" in first.split()
    assert "workers=w1,w2" in first or "workers=w1,w…" in first
    assert "worker remove" in second


async def test_top_shows_what_is_wrong(screens):
    """Each frame has its headers whole, the paused threads first, with the reason."""
    text = "\n".join(screens["top"])
    assert ["Worker", "Address", "Status", "Ping", "Threads"] == screens["top"][1].split()[:5]
    assert text.index("C2 parameters missing (2KiB)") < text.index("Running")
    assert "(--full" not in text


async def test_piped_it_is_as_it_always_was():
    """Where output is no terminal the worker's list has the lines of the original, the manager's tables its columns."""
    async with farm() as served:
        commands = served.commands()

        def printed(name: str) -> list[str]:
            command = [sys.executable, "-c", _CHILD, json.dumps([commands[name]]), str(NOW)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            return done.stdout.removeprefix("\x1e").splitlines()

        lines = {name: await anyio.to_thread.run_sync(printed, name) for name in ("list", "info", "workers")}
    assert (
        f'#0: "{STORES}/store00"; sector_id=Some(s-t010000-1), paused=true, paused_elapsed=Some(2h 3m 5s), '
        f'state=C1Done, last_err=Some("{NO_PARAMETERS}")' == lines["list"][0]
    )
    assert [
        *("Index", "Loc", "SectorID", "Paused", "PausedElapsed", "State", "LastErr"),
    ] == lines["info"][0].split()
    assert lines["info"][1].endswith(f"true    2h3m5s         C1Done  {NO_PARAMETERS}")
    assert lines["workers"][0].endswith("Errors  LastPing(with ! if expired)")
    assert lines["workers"][1].endswith("27.369228601s")


async def test_colours_are_for_terminals():
    """Paused is red and running green on a terminal, without a change of width; NO_COLOR turns them off."""
    coloured = await seen(80, colour=True)
    assert "\x1b[31mPaused" in coloured["info"][1]
    assert "\x1b[32mRunning" in "\n".join(coloured["info"])
    assert "\x1b[31mcritical" in coloured["alerts"][1]
    plain = {name: [re.sub(r"\x1b\[\d*m", "", line) for line in lines] for name, lines in coloured.items()}
    assert 80 >= max(len(line) for name, lines in plain.items() if name != "info full" for line in lines)


async def test_top_gives_the_terminal_back():
    """It draws on the other screen, no frame is higher or wider than that, and q brings the first one back."""

    def look(command: list[str]) -> str:
        with terminal(80, [command], keys=b"q") as (text,):
            return text

    async with farm() as served:
        text = await anyio.to_thread.run_sync(look, served.commands()["top"])
    assert text.startswith("\x1b[?1049h")
    assert text.endswith("\x1b[?1049l")
    frame = re.sub(r"\x1b\[[?\d]*[a-zA-Z]", "", text.split("\x1b[H")[1]).splitlines()
    assert 24 >= len(frame)
    assert 80 >= max(map(len, frame))
