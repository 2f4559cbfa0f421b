"""What `--help` says: each program for itself, with command lines that work as they stand."""

import shlex

import cyclopts
import pytest

from damocles.cli import manager, worker
from damocles.cli.terminal import exits


def examples(page: cyclopts.App) -> list[list[str]]:
    """Return the command lines that a page ends with."""
    lines = (page.help_epilogue or "").splitlines()
    return [shlex.split(line) for line in lines if line.startswith("    ")]


@pytest.mark.parametrize("program", [manager, worker])
def test_every_example_is_a_command_line(program, pages):
    """What a page shows can be typed: names, options and values are understood, and are those of that page."""
    app = program.parser()
    count = 0
    for name, page in pages(app, program.PROGRAM):
        for words in examples(page):
            assert name.split() == words[: len(name.split())]
            given = exits.options_last(words[1:], "worker" if program is worker else "util", program._CONNECTION)
            app.parse_args(given, exit_on_error=False, print_error=False)
            assert len(shlex.join(words)) <= 78, "it is one line of a terminal"
            count += 1
    assert count > 20


@pytest.mark.parametrize("program", [manager, worker])
def test_what_steers_threads_has_examples(program, pages):
    """Each command on workers, threads and alerts shows how it is typed."""
    groups = tuple(f"{program.PROGRAM} {group} " for group in ("worker", "alerts", "util worker"))
    lacking = [
        name
        for name, page in pages(program.parser(), program.PROGRAM)
        if name.startswith(groups) and "wdpost" not in name and not examples(page)
    ]
    assert [] == lacking


def test_each_program_speaks_for_itself(capsys):
    """The worker's page is about this machine and the manager's about the fleet; both say what exit codes mean."""
    for program, words in ((worker, "Seal sectors on this machine"), (manager, "manage a fleet of workers")):
        assert 0 == program.main(["--help"])
        page = capsys.readouterr().out
        assert words in page
        assert "Exit codes: 0 done" in page


@pytest.mark.parametrize(
    ("program", "command"), [(worker, ["worker", "pause"]), (manager, ["util", "worker", "pause"])]
)
def test_how_to_connect_comes_last(program, command, capsys):
    """What a command does is above what all commands have."""
    assert 0 == program.main([*command, "--help"])
    page = capsys.readouterr().out
    places = [
        page.index(text) for text in ("─ Parameters", "─ Thread selection", "─ Connection", "--timeout", "Examples")
    ]
    assert sorted(places) == places


@pytest.mark.parametrize("name", ["f010000", "t010000", "F010000", "10000"])
def test_a_miner_is_named_as_providers_write_it(name, capsys):
    """An address of the main or a test network, or the bare number; the manager is asked."""
    assert 4 == manager.main(["util", "sealer", "snap", "fetch", name, "--listen", "127.0.0.1:1"])
    assert "cannot be reached" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["f1abc", "f0", "miner", "-5"])
def test_what_is_no_miner_is_wrong_usage(name, capsys):
    """The line says how a miner is written."""
    assert 2 == manager.main(["mock", f"--miner={name}", "--sector-size", "2KiB"])
    assert "is no miner: write its address or number, like f010000, t010000 or 10000" in capsys.readouterr().err
