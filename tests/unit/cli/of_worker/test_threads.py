"""`damocles-worker worker`: its output, its options, its errors."""

import json
import subprocess
import sys

import pytest

from damocles.cli.of_manager import workers
from damocles.wire import control
from damocles.wire.fleet import ThreadInfo, ThreadState

NO_PARAMETERS = (
    "permanent: No cached parameters found for stacked-proof-of-replication-merkletree-poseidon_hasher-8-0-0-"
    "sha256_hasher-032d3138d22506ec0082ed72b2dcba18df18477904e35bafee82b3793b06832f [failure finding /var/tmp/filecoin-"
    "proof-parameters/v28-stacked-proof-of-replication-merkletree-poseidon_hasher-8-0-0-sha256_hasher-"
    "032d3138d22506ec0082ed72b2dcba18df18477904e35bafee82b3793b06832f.params]"
)
PAUSED = ThreadInfo(
    location="/mock-tmp/store1",
    plan="sealer",
    job_id="s-t010000-2",
    index=0,
    thread_state=ThreadState("Paused", 17),
    job_state="C1Done",
    job_stage="C2",
    last_error=NO_PARAMETERS,
)
RUNNING = ThreadInfo(
    location="/mock-tmp/store2",
    plan="sealer",
    job_id="s-t010000-3",
    index=1,
    thread_state=ThreadState("Running", 3725, "ext(pid: 11932)"),
    job_state="C1Done",
    job_stage="C2",
    last_error=None,
)
IDLE = ThreadInfo(
    location="-",
    plan="wdpost",
    job_id=None,
    index=2,
    thread_state=ThreadState("Idle"),
    job_state="",
    job_stage=None,
    last_error='critical: "a"\n\tb\\c',
)


async def test_list_prints_the_lines_of_the_manual(serving, run_async):
    """Each thread is one line in the form of the original's manual; texts are quoted as Rust quotes them."""
    async with serving(PAUSED, RUNNING, IDLE) as worker:
        code, out, err = await run_async("worker", "-H", worker.address, "list")
    assert (0, "") == (code, err)
    assert [
        f'#0: "/mock-tmp/store1"; sector_id=Some(s-t010000-2), paused=true, paused_elapsed=Some(17s), state=C1Done, '
        f'last_err=Some("{NO_PARAMETERS}")',
        '#1: "/mock-tmp/store2"; sector_id=Some(s-t010000-3), paused=false, paused_elapsed=None, state=C1Done, '
        "last_err=None",
        '#2: "-"; sector_id=None, paused=false, paused_elapsed=None, state=Empty, '
        'last_err=Some("critical: \\"a\\"\\n\\tb\\\\c")',
    ] == out.splitlines()


async def test_wide_list_has_the_columns_of_v013(serving, run_async):
    """The table is that of damocles v0.13: away from a terminal nothing is cut, and errors are escaped to one line."""
    async with serving(PAUSED, RUNNING, IDLE) as worker:
        code, out, _ = await run_async("worker", "list", "--wide", "--host", worker.address)
    assert 0 == code
    running = "Running(1h 2m 5s) ext(pid: 11932)"
    gap = " " * (len(running) + 2)
    assert [
        f"#   location          Plan    JobID        JobState  JobStage  {'ThreadState'.ljust(len(gap))}LastErr",
        f"0   /mock-tmp/store1  sealer  s-t010000-2  C1Done    C2        {'Paused(17s)'.ljust(len(gap))}{NO_PARAMETERS}",
        f"1   /mock-tmp/store2  sealer  s-t010000-3  C1Done    C2        {running}  -",
        f"2   -                 wdpost  -                      -         {'Idle'.ljust(len(gap))}"
        'critical: \\"a\\"\\n\\tb\\\\c',
    ] == out.splitlines()


async def test_json_list_is_what_the_worker_sent(serving, run_async):
    """The raw structs are printed, and beside their fields whatever else is known."""
    async with serving(PAUSED) as worker:
        _, out, _ = await run_async("worker", "list", "--json", "-H", worker.address)
    (thread,) = json.loads(out)
    assert {"state": "Paused", "elapsed": 17} == thread["thread_state"]
    assert (0, "s-t010000-2", "C1Done") == (thread["index"], thread["job_id"], thread["job_state"])
    assert ("resume", None) == (thread["waiting"]["what"], thread["pid"])


@pytest.mark.parametrize(
    "arguments",
    [
        ("worker", "-c", "FILE", "pause", "--index", "1"),
        ("worker", "--config", "FILE", "pause", "-i", "1"),
        ("worker", "--config=FILE", "pause", "-i", "1"),
        ("worker", "-cFILE", "pause", "-i", "1"),
        ("worker", "pause", "-i", "1", "-c", "FILE"),
        ("worker", "pause", "--index=1", "--config=FILE"),
        ("worker", "-H", "127.0.0.1:9", "-c", "FILE", "pause", "-i", "1"),
        ("worker", "--timeout", "9s", "-c", "FILE", "pause", "-i", "1"),
    ],
)
async def test_the_worker_is_found_by_its_configuration(serving, run_async, tmp_path, arguments):
    """`-c` stands before or behind the command, in every spelling, and wins over `-H`."""
    file = tmp_path / "worker.toml"
    async with serving(PAUSED, RUNNING) as worker:
        file.write_text(f"[worker]\nrpc_server.port = {worker.address.rpartition(':')[2]}\nother = []\n")
        code, out, err = await run_async(*(text.replace("FILE", str(file)) for text in arguments))
    assert (0, "#1 s-t010000-3 C1Done: pauses at its next boundary\n", "") == (code, out, err)
    assert [("pause", 1)] == worker.asked


async def test_the_worker_is_found_by_the_environment(serving, run_async, tmp_path, monkeypatch):
    """`DAMOCLES_WORKER_HOST` and `DAMOCLES_WORKER_CONFIG` stand for the options; the configuration wins."""
    file = tmp_path / "worker.toml"
    async with serving(PAUSED) as worker:
        monkeypatch.setenv("DAMOCLES_WORKER_HOST", worker.address)
        assert 0 == (await run_async("worker", "list"))[0]
        file.write_text("[worker]\nrpc_server.port = 9\n")
        monkeypatch.setenv("DAMOCLES_WORKER_CONFIG", str(file))
        code, _, err = await run_async("worker", "list")
    assert (5, "http://127.0.0.1:9/ cannot be reached") == (code, err.removeprefix("error: ")[:37])


async def test_resume_passes_the_state_on(serving, run_async):
    """A state is optional; with it the worker is told to go on from there."""
    async with serving(PAUSED) as worker:
        first = await run_async("worker", "-H", worker.address, "resume", "--index", "0")
        second = await run_async("worker", "-H", worker.address, "resume", "--state", "PC2Done", "-i", "0")
        third = await run_async("worker", "-H", worker.address, "resume", "-s", "PC2Done", "-i", "0", "--json")
    assert [("resume", 0, None), ("resume", 0, "PC2Done"), ("resume", 0, "PC2Done")] == worker.asked
    assert (0, "#0 s-t010000-2 C1Done: goes on from C1Done\n", "") == first
    assert (0, "#0 s-t010000-2 C1Done: goes on from PC2Done\n", "") == second
    assert [(0, True, "goes on from PC2Done")] == [(o["index"], o["ok"], o["text"]) for o in json.loads(third[1])]


async def test_many_sectors_are_given_up_only_with_yes(serving, run_async):
    """A resume at Aborted asks for --yes as abort does; one thread by its index, the original's form, does not."""
    async with serving(PAUSED, RUNNING) as worker:
        give_up = ("worker", "-H", worker.address, "resume", "--state", "Aborted")
        for chosen in (["--all"], ["--error", "No cached"], ["-i", "0-1"]):
            code, out, err = await run_async(*give_up, *chosen)
            assert (2, True, True) == (code, "s-t010000-2" in out, err.endswith("pass --yes to do it\n"))
        assert [] == worker.asked
        assert 0 == (await run_async(*give_up, "--error", "No cached", "--yes"))[0]
        assert 0 == (await run_async(*give_up, "-i", "0"))[0]
    assert 2 * [("resume", 0, "Aborted")] == worker.asked


@pytest.mark.parametrize(
    ("arguments", "dry_run", "code"),
    [
        (["--all", "--to", "Aborted"], True, 2),
        (["w", "0-1", "Aborted"], True, 2),
        (["gpu-*", "0", "Aborted"], True, 2),
        (["--all", "--to", "Aborted", "--yes"], False, 0),
        (["--all", "--to", "PC2Done"], False, 0),
        (["w", "0", "Aborted"], False, 0),
    ],
)
def test_the_managers_command_asks_likewise(monkeypatch, capsys, arguments, dry_run, code):
    """Without --yes the fleet is only asked what would happen."""
    acts = []

    def act(_: object, wanted: control.Act, __: object) -> list[control.Outcome]:
        acts.append(wanted)
        return [control.Outcome(worker="w", index=0, ok=True, text="is given up")]

    monkeypatch.setattr(workers, "_act", act)
    assert code == workers.app(["resume", *arguments], result_action="return_value")
    assert [dry_run] == [wanted.dry_run for wanted in acts]
    assert (code == 2) == ("pass --yes to do it" in capsys.readouterr().err)


async def test_a_refused_resume_shows_why_and_fails(serving, run_async):
    """The worker's own words, which list what is possible, are shown in one line."""
    async with serving(PAUSED) as worker:
        worker.refusal = "cannot go on at PC2Done; possible: TreeDBuilt, PC1Done, C1Done, Aborted"
        code, out, err = await run_async("worker", "-H", worker.address, "resume", "-i", "0", "-s", "PC2Done")
    assert (1, "", f"error: #0 s-t010000-2 C1Done: {worker.refusal}\n") == (code, out, err)


async def test_resume_of_a_running_thread_fails(serving, run_async):
    """A thread that is not paused cannot be resumed, and the exit code says so."""
    async with serving(PAUSED, RUNNING) as worker:
        answer = await run_async("worker", "-H", worker.address, "resume", "-i", "1")
        code, out, _ = await run_async("worker", "-H", worker.address, "resume", "-i", "1", "--json")
    assert (1, "", "error: #1 s-t010000-3 C1Done: is not paused\n") == answer
    assert (1, [False]) == (code, [outcome["ok"] for outcome in json.loads(out)])


async def test_a_pause_of_a_paused_thread_says_so(serving, run_async):
    """An original worker would pause it again after the next resume, so it is not asked."""
    async with serving(PAUSED) as worker:
        answer = await run_async("worker", "-H", worker.address, "pause", "-i", "0")
    assert (1, "", "error: #0 s-t010000-2 C1Done: is already paused\n") == answer
    assert [] == worker.asked


async def test_an_unknown_index_fails(serving, run_async):
    """An index that no thread has is one line and exit code 3."""
    async with serving(PAUSED) as worker:
        answer = await run_async("worker", "-H", worker.address, "pause", "-i", "9")
    assert (3, "", "error: no thread #9; the worker has #0\n") == answer


async def test_a_thread_may_be_named_without_an_option(serving, run_async):
    """`resume 0 PC2Done` is what `resume --index 0 --state PC2Done` is; a thread that is named twice is wrong usage."""
    async with serving(PAUSED, RUNNING) as worker:
        at = ("-H", worker.address)
        assert 0 == (await run_async("worker", "resume", "0", "PC2Done", *at))[0]
        assert 0 == (await run_async("worker", "pause", "1", *at))[0]
        code, _, err = await run_async("worker", "pause", "0", "--index", "1", *at)
    assert [("resume", 0, "PC2Done"), ("pause", 1)] == worker.asked
    assert (2, "error: the thread is given twice, as 0 and as 1: pass one\n") == (code, err)


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--sector", "s-t010000-9"], "no thread matches"),
        (["--state", "C1Don"], 'no thread matches; there is no state C1Don; did you mean "C1Done"?'),
        (["--state", "Paused"], "no thread matches; Paused is what a thread does: use --paused"),
    ],
)
async def test_a_list_of_nothing_says_so(serving, run_async, flags, text):
    """Flags that no thread matches are exit code 3 and a line, with a word that was probably meant; also as JSON."""
    async with serving(PAUSED) as worker:
        assert (3, "", f"error: {text}\n") == await run_async("worker", "list", *flags, "-H", worker.address)
        assert (3, "[]\n", f"error: {text}\n") == await run_async(
            "worker", "list", "--json", *flags, "-H", worker.address
        )
    async with serving() as worker:
        assert (0, "", "") == await run_async("worker", "list", "-H", worker.address)


async def test_a_typo_beside_a_word_that_fits_is_refused(serving, run_async):
    """Half of what was asked for would look like all of it."""
    async with serving(PAUSED) as worker:
        flags = ("--state", "C1Done", "--plan", "sealer", "--state", "PC1Don")
        assert (3, "", 'error: there is no state PC1Don; did you mean "PC1Done"?\n') == await run_async(
            "worker", "list", *flags, "-H", worker.address
        )


async def test_a_stage_that_there_is_not_is_wrong_usage(run):
    """The stages are a closed set, which is told."""
    code, _, err = run("worker", "logs", "0", "--stage", "precommit", "-H", "127.0.0.1:9")
    assert (2, True) == (
        code,
        err.startswith("error: --stage: there is no stage precommit (add_pieces, tree_d, pc1, pc2, "),
    )
    code, _, err = run("worker", "logs", "-H", "127.0.0.1:9")
    assert (2, "error: which thread? give its number in the list, like: logs 0, or --sector\n") == (code, err)


async def test_a_dry_run_as_json_says_that_it_is_one(serving, run_async):
    """Whatever the worker, `dry_run` tells a script whether anything was done."""
    async with serving(PAUSED) as worker:
        for options, dry_run in (["--dry-run"], True), ([], False):
            _, out, _ = await run_async("worker", "resume", "0", "--json", *options, "-H", worker.address)
            assert [dry_run] == [one["dry_run"] for one in json.loads(out)]
        _, out, _ = await run_async("worker", "abort", "0", "--json", "-H", worker.address)
        assert [True] == [one["dry_run"] for one in json.loads(out)]
    assert [("resume", 0, None)] == worker.asked


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("worker", "pause"), "No thread is selected: give an index"),
        (("worker", "pause", "-i", "abc"), "'abc' is not a thread's index"),
        (("worker", "pause", "-i", "-1"), "'-1' is not a thread's index"),
        (
            ("worker", "pause", "0", "1", "2"),
            "1 2: nothing more is expected here; several threads are written 0,2 or 0-3",
        ),
        (("worker", "list", "now"), "now: nothing more is expected here (try --help)"),
        (("worker", "puase", "-i", "1"), 'Did you mean "pause"'),
        (("worker", "-H", "1:2:3", "list"), "is not an address"),
        (("wrker", "list"), 'Did you mean "worker"'),
    ],
)
def test_wrong_usage_is_told_in_a_line(run, arguments, words):
    """What the command line gets wrong is said without a traceback; exit code 2."""
    code, out, err = run(*arguments)
    assert (2, "") == (code, out)
    assert words in err.splitlines()[0]
    assert err.startswith("error: ")


def test_a_worker_that_is_down_is_told_in_a_line(run):
    """No worker at the address: one line on stderr, exit code 5."""
    code, out, err = run("worker", "-H", "127.0.0.1:9", "list")
    assert (5, "") == (code, out)
    assert (
        "error: http://127.0.0.1:9/ cannot be reached: Connection refused; is it running, and is the address right?\n"
    ) == err


def test_a_wrong_configuration_is_told_by_line(run, tmp_path):
    """Of the configuration, only where the worker listens has to be right; what is wrong with that names the line."""
    file = tmp_path / "worker.toml"
    file.write_text("[worker]\nrpc_server.host = 'here'\nrpc_server.port = 'there'\n")
    code, _, err = run("worker", "-c", file, "list")
    assert 1 == code
    assert [f"error: {file}:2: ", f"error: {file}:3: "] == [
        line[: len(f"error: {file}:2: ")] for line in err.splitlines()
    ]


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_version_is_the_programs(run, option):
    """The version follows the program's name."""
    code, out, _ = run(option)
    assert 0 == code
    assert out.startswith("damocles-worker ")


@pytest.mark.parametrize(
    ("arguments", "banned"),
    [
        (["--version"], ["cyclopts", "msgspec", "pydantic", "rich", "anyio"]),
        (
            ["worker", "-H", "127.0.0.1:9", "list"],
            [
                "pydantic",
                "rich",
                "httpx2",
                "starlette",
                "uvicorn",
                "structlog",
                "sqlalchemy",
                "anyio",
                "damocles_proofs",
            ],
        ),
        (["auth", "list", "-H", "127.0.0.1:9"], ["pydantic", "rich", "structlog", "sqlalchemy", "anyio", "asyncio"]),
    ],
)
def test_short_commands_import_little(arguments, banned):
    """What a short command does not need is not imported, so that it answers at once."""
    code = (
        "import sys; from damocles.cli import worker; worker.main(sys.argv[2:]);"
        "print([name for name in sys.argv[1].split(',') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, ",".join(banned), *arguments], capture_output=True, text=True, check=True
    )
    assert "[]" == done.stdout.splitlines()[-1]
