"""`logs --sector` of both programs: the thread is found by the sector that it has, or had."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
import pytest

from damocles.cli import manager, worker
from damocles.cli.terminal import exits
from damocles.cli.threads import views
from damocles.operating import selection
from damocles.rpc import core, dialects, errors
from damocles.rpc.serving import asgi, server
from damocles.wire import control, fleet

NOW = 1_790_000_000.0
NAMES = ("w1", "w2", "w2")
SECTORS = ("s-t010000-1", "s-t010000-2", None)


def thread(place: int, *, index: int, sector: str | None) -> control.ThreadDetail:
    """Return a thread with a store of its own."""
    info = fleet.ThreadInfo(
        f"/{place}", "sealer", sector, index, fleet.ThreadState("Idle", None), "PC1Done", None, None
    )
    return control.ThreadDetail(info=info, worker=NAMES[place], dest=f"{NAMES[place]}:1", since=NOW)


def step(sector: str, at: float, place: int, *, location: str | None = None) -> control.HistoryEntry:
    """Return a step that a sector made in the store of a thread."""
    return control.HistoryEntry(
        at=NOW + at,
        worker=NAMES[place],
        location=f"/{place}" if location is None else location,
        plan="sealer",
        sector=sector,
        attempt=1,
        prev="Empty",
        state="Allocated",
        event="Allocate",
    )


FLEET = [thread(place, index=(0, 0, 1)[place], sector=SECTORS[place]) for place in range(3)]
# The seventh went from the first store to the third, which is free again; its last step was in no store that there is.
HISTORY = [step("s-t010000-7", at, place) for at, place in ((1, 0), (2, 2))] + [step("s-t010000-7", 3, 1, location="")]


def line(text: str, sector: str = "s-t010000-7") -> control.LogLine:
    """Return what a stage wrote."""
    return control.LogLine(1, NOW, "pc1", 7, text, sector)


@asynccontextmanager
async def serving(threads: list[control.ThreadDetail]) -> AsyncIterator[str]:
    """Serve what a manager, and a worker, tell of these threads; a log has the line `<worker> #<index>`."""

    async def fleet_threads(chosen: control.Selection, _: float) -> control.FleetThreads:
        return control.FleetThreads(threads=selection.selected(chosen, threads))

    async def sector_history(sector: str, _: float) -> control.SectorHistory:
        return control.SectorHistory(entries=[one for one in HISTORY if one.sector == sector])

    async def worker_logs(name: str, index: int, _: int, __: float, ___: float) -> list[control.LogLine]:
        return [line(f"{name} #{index}", sector) for sector in ("s-t010000-1", "s-t010000-7")]

    async def own_threads() -> list[control.ThreadDetail]:
        return threads

    async def own_history(sector: str) -> list[control.HistoryEntry]:
        return [one for one in HISTORY if one.sector == sector]

    async def own_logs(index: int, _: int, __: float) -> list[control.LogLine]:
        return [line(f"#{index}", sector) for sector in ("s-t010000-1", "s-t010000-7")]

    service = core.Service(dialects.MANAGER)
    service.add("Damocles.FleetThreads", fleet_threads)
    service.add("Damocles.SectorHistory", sector_history)
    service.add("Damocles.WorkerLogs", worker_logs)
    service.add("Damocles.Threads", own_threads)
    service.add("Damocles.History", own_history)
    service.add("Damocles.Logs", own_logs)
    async with server.serve(asgi.worker_app(service), "127.0.0.1", 0) as bound:
        yield str(bound)


@pytest.mark.parametrize(
    ("arguments", "threads", "expected"),
    [
        (("--sector", "s-t010000-1"), FLEET, (0, "w1:1 #0\n")),
        (("w1", "--sector", "s-t010000-1"), FLEET, (0, "w1:1 #0\n")),
        (("--sector", "s-t010000-7"), FLEET, (0, "w2:1 #1\n")),
        (("w1", "0", "--sector", "s-t010000-7"), FLEET, (0, "w1 #0\n")),
        (("w2", "--sector", "s-t010000-1"), FLEET, (3, "no thread that answers has, or had, s-t010000-1")),
        (("--sector", "s-t010000-9"), FLEET, (3, "no thread that answers has, or had, s-t010000-9")),
        (("--sector", "s-t010000-7"), FLEET[:1], (0, "w1:1 #0\n")),
        (
            ("--sector", "s-t010000-1"),
            [*FLEET, thread(2, index=2, sector="s-t010000-1")],
            (2, "w1 #0 and w2 #2 have s-t010000-1: name the thread"),
        ),
        (("w1",), FLEET, (2, "which thread? give its worker and its number in the list, like: logs gpu-1 0, or --sec")),
        ((), FLEET, (2, "which thread? give its worker and its number in the list, like: logs gpu-1 0, or --sector")),
    ],
)
async def test_the_manager_finds_the_thread_of_a_sector(capsys, arguments, threads, expected):
    """It is the thread that has it, or the one whose store has its last step; what is not clear is refused."""
    async with serving(threads) as address:
        capsys.readouterr()  # what the server has logged
        command = ["util", "worker", "logs", *arguments, "--listen", address]
        assert expected == said(await anyio.to_thread.run_sync(manager.main, command), capsys, expected)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--sector", "s-t010000-1"), (0, "#0\n")),
        (("--sector", "s-t010000-7"), (0, "#1\n")),
        (("0", "--sector", "s-t010000-7"), (0, "#0\n")),
        (("--sector", "s-t010000-9"), (3, "no thread that answers has, or had, s-t010000-9")),
        (("--sector", "the ninth"), (2, "the ninth")),
    ],
)
async def test_a_worker_finds_the_thread_of_a_sector(capsys, arguments, expected):
    """Likewise, among its own threads."""
    own = [thread(0, index=0, sector="s-t010000-1"), thread(2, index=1, sector=None)]
    async with serving(own) as address:
        capsys.readouterr()  # what the server has logged
        command = ["worker", "logs", *arguments, "-H", address]
        assert expected == said(await anyio.to_thread.run_sync(worker.main, command), capsys, expected)


@pytest.mark.parametrize("is_wrapped", [False, True])
def test_whoever_is_locked_out_while_following_learns_why(is_wrapped):
    """A wait that is cut off is asked once more, and what that says ends it; a worker's and the manager's commands alike."""
    cut_off = errors.Disconnected("http://w1:1", "closed")
    failure = exits.ManagerUnreachable("cut off") if is_wrapped else cut_off
    failure.__cause__ = cut_off if is_wrapped else None
    answers: list[list[control.LogLine] | Exception] = [
        *([line("first")], failure, [line("second")]),
        *(failure, errors.RpcError(errors.Code.UNAUTHORIZED, "token 'alice' was revoked")),
    ]

    def read(_: int, __: float) -> list[control.LogLine]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    following = views.follow(read, on=True)
    assert ["first", "second"] == [next(following).text, next(following).text]
    with pytest.raises(errors.RpcError, match="was revoked"):
        next(following)
    answers[:] = [[line("first")], failure, failure]
    following = views.follow(read, on=True)
    assert "first" == next(following).text
    with pytest.raises(type(failure)):
        next(following)


@pytest.mark.parametrize(("given", "told"), [({}, "no log lines: "), ({"stage": "c2"}, "no log lines of c2: ")])
def test_that_there_are_no_lines_is_said(capsys, given, told):
    """On stderr, so that a program that reads the lines gets none; not where there are some."""
    assert exits.OK == views.print_log([line("one")] if given else [], as_json=True, **given)
    out, err = capsys.readouterr()
    assert ("", True) == (out, told in err)
    views.print_log([line("one")])
    assert "" == capsys.readouterr().err


def said(code: int, capsys: pytest.CaptureFixture[str], expected: tuple[int, str]) -> tuple[int, str]:
    """Return the exit code and the texts of the log, or as much of the error as is expected."""
    out, err = capsys.readouterr()
    texts = "".join(f"{each.split('] ', 1)[1]}\n" for each in out.splitlines())
    return code, texts if code == 0 else expected[1] if expected[1] in err else err
