"""`damocles-manager util worker info|pause|resume`: which threads, and what is said when there are none."""

import contextlib
import json
import sys
from collections.abc import AsyncIterator

import anyio.to_thread
import pytest

from damocles.cli import manager
from damocles.cli.threads import acts
from damocles.operating import selection
from damocles.rpc import core, dialects
from damocles.rpc.serving import asgi, server
from damocles.wire import control, fleet

NOW = 1_790_000_000.0
INFO = fleet.ThreadInfo("/store", "sealer", "s-t010000-1", 0, fleet.ThreadState("Paused", 5), "C1Done", "C2", None)
THREAD = control.ThreadDetail(info=INFO, worker="w1", dest="10.0.0.7:17890", since=NOW)
DONE = control.Outcome(worker="w1", dest="d", index=0, sector="s-t010000-1", state="C1Done", ok=True, text="goes on")
NAMED = control.Selection(workers=["w1"], indexes=[0])


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[str]:
    """Serve a manager that knows two workers and one thread."""

    async def threads(chosen: control.Selection, _: float) -> control.FleetThreads:
        return control.FleetThreads(threads=selection.selected(chosen, [THREAD]))

    async def workers(_: float) -> list[control.WorkerStatus]:
        return [
            control.WorkerStatus(
                info=fleet.WorkerInfo(name, f"{name}:1"),
                status="live",
                last_ping=NOW,
                age_seconds=1.0,
                interval_seconds=30.0,
            )
            for name in ("w2", "w1")
        ]

    service = core.Service(dialects.MANAGER)
    service.add("Damocles.FleetThreads", threads)
    service.add("Damocles.Workers", workers)
    async with server.serve(asgi.worker_app(service), "127.0.0.1", 0) as bound:
        yield str(bound)


@pytest.fixture
async def util(capsys):
    """Return what runs `damocles-manager util worker` with arguments and gives its exit code, stdout and stderr."""
    async with serving() as address:

        async def util(*arguments: str) -> tuple[int, str, str]:
            capsys.readouterr()
            command = ["util", "worker", *arguments, "--listen", address]
            code = await anyio.to_thread.run_sync(manager.main, command)
            return code, *capsys.readouterr()

        yield util


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--sector", "s-t010000-9"], "no thread matches"),
        (["--state", "c1done"], 'no thread matches; there is no state c1done; did you mean "C1Done"?'),
        (["--plan", "sealr"], 'no thread matches; there is no plan sealr; did you mean "sealer"?'),
    ],
)
async def test_info_of_nothing_says_so(util, flags, text):
    """A sector that no worker has, or a typo, is exit code 3 and a line instead of silence."""
    assert (3, "", f"error: {text}\n") == await util("info", *flags)
    code, out, err = await util("info", "--json", *flags)
    assert (3, [], f"error: {text}\n") == (code, json.loads(out)["threads"], err)
    assert 0 == (await util("info", "--sector", "s-t010000-1"))[0]


async def test_a_typo_beside_a_word_that_fits_is_refused(util):
    """Half of what was asked for would look like all of it."""
    code, out, err = await util("info", "--state", "C1Done", "--state", "PC1Don")
    assert (3, "", 'error: there is no state PC1Don; did you mean "PC1Done"?\n') == (code, out, err)


async def test_a_filter_that_nothing_fits_is_no_error(util):
    """That no thread is in a state, or has an error, is an answer: a line on stderr, and exit code 0."""
    assert (0, "", "no thread matches\n") == await util("info", "--state", "PC1Done")
    code, out, err = await util("info", "w1", "--error", "disk full", "--json")
    assert (0, [], "no thread matches\n") == (code, json.loads(out)["threads"], err)


async def test_info_of_no_worker_names_those_there_are(util):
    """Without a name and without flags the known workers are listed, and how to see all."""
    assert (2, "", "error: which worker? known: w1, w2; or --all\n") == await util("info")


def test_one_thread_is_told_in_a_sentence_on_a_terminal(capsys, monkeypatch):
    """A person reads what happened; where output is no terminal it is the original's log line, on stderr."""
    assert 0 == acts.show_plain([DONE], "resume", NAMED, {"state": None})
    out, err = capsys.readouterr()
    assert ("", ["INFO", "cmd", "resume call done, ok = true"]) == (out, [err.split("\t")[at] for at in (1, 2, 4)])
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert 0 == acts.show_plain([DONE], "resume", NAMED, {"state": None})
    assert ("w1 #0 s-t010000-1 C1Done: goes on\n", "") == capsys.readouterr()
