"""The chapter's remote management, with real processes: `damocles-manager util worker` beside `damocles-worker worker`."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from damocles.cli import manager as manager_cli
from damocles.testing import farm
from damocles.testing.farm import Farm, cli, wait_until

pytestmark = pytest.mark.xdist_group("fleet chapter")

CHAPTER = Path(__file__).parents[1] / "golden" / "fleet" / "chapter.txt"
LOG_TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def shown(section: str) -> list[list[str]]:
    """Return the words of the lines that the chapter shows."""
    (text,) = [block for block in CHAPTER.read_text().split("\n## ") if block.startswith(f"{section}\n")]
    return [line.split() for line in text.strip().splitlines()[1:]]


def paused(f: Farm) -> bool:
    """Return whether all threads wait for a person, with a reason."""
    return all(t.thread_state.state == "Paused" and t.last_error for t in f.all_threads())


def failed_again(f: Farm, index: int, after: int) -> bool:
    """Return whether a thread has failed since its journal had so many steps."""
    return "Failed" in f.events(index)[after:]


@contextmanager
def stuck_farm(base: Path) -> Iterator[Farm]:
    """Run a manager and a worker whose three threads pause at C1Done because there are no parameters."""
    folder = base / "parameters"
    folder.mkdir()
    with Farm(base, parameters=folder, max_sectors=3, seal_interval="1h", name="127.0.0.1") as f:
        f.start_manager()
        f.start_worker()
        wait_until(lambda: paused(f), "all threads pause")
        yield f


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A farm for tests that leave its threads as they are."""
    with stuck_farm(tmp_path_factory.mktemp("farm")) as f:
        yield f


@pytest.fixture
def stuck(shared):
    """The shared farm when all its threads are paused."""
    wait_until(lambda: paused(shared), "all threads pause")
    return shared


@pytest.fixture
def util(capsys):
    """Return what runs `damocles-manager util worker` for a farm and gives exit code, stdout and stderr."""

    def run(f: Farm, *arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = manager_cli.main(["util", "--listen", f"127.0.0.1:{f.manager_port}", "worker", *arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_the_chapter(stuck):
    """list, info, pause and resume print what the chapter prints, and do it."""
    util = ("damocles-manager", "util", "--listen", f"127.0.0.1:{stuck.manager_port}", "worker")

    def listed() -> list[list[str]]:
        lines = cli(*util, "list").stdout.splitlines()
        return [line.split() for line in lines]

    header, row = wait_until(lambda: "3" == (rows := listed())[1][4] and rows, "a ping tells of the pauses")
    assert shown("list")[0] == header
    dest = f"127.0.0.1:{stuck.worker_port}"
    assert [*shown("list")[1][:1], dest, *shown("list")[1][2:6]] == row[:6]
    assert re.fullmatch(r"[0-9.]+m?s", row[6])

    done = cli(*util, "info", "127.0.0.1")
    header, *rows = [line.split() for line in done.stdout.splitlines()]
    assert shown("info")[0] == header
    assert ["0", "1", "2"] == [row[0] for row in rows]
    assert {"s-t010000-1", "s-t010000-2", "s-t010000-3"} == {row[2] for row in rows}
    for row, store in zip(rows, stuck.stores, strict=True):
        like = shown("info")[1]
        text = re.sub(r"/\S*(?=/v28-)", "/var/tmp/filecoin-proof-parameters", " ".join(row[6:]))
        assert [str(store), like[3], like[5], " ".join(like[6:])] == [row[1], row[3], row[5], text]
        assert re.fullmatch(r"\d+s", row[4])
    assert [row[2] for row in rows] == [line.split()[2] for line in cli(*util, "info", dest).stdout.splitlines()[1:]]

    attempts = len(stuck.events(1))
    done = cli(*util, "resume", "127.0.0.1", "1", "PC1Done")
    assert "" == done.stdout
    assert re.fullmatch(
        LOG_TIME + r"\tINFO\tcmd\t\S+\tresume call done, ok = true\t"
        r'\{"name": "127\.0\.0\.1", "dest": "' + dest + r'", "index": 1, "state": "PC1Done", "outcome": "[^"]+"\}\n',
        done.stderr,
    )
    wait_until(lambda: failed_again(stuck, 1, attempts), "thread 1 comes to C1Done again")
    assert ["Resume", "PC2"] == stuck.events(1)[attempts : attempts + 2]

    refused = cli(*util, "resume", "127.0.0.1", "1", "NoSuchState", check=False)
    assert (1, "") == (refused.returncode, refused.stdout)
    assert re.fullmatch(r"error: 127\.0\.0\.1 #1 s-t010000-\d C1Done: .*possible: .*PC1Done.*\n", refused.stderr)
    again = cli(*util, "pause", "127.0.0.1", "1", check=False)
    assert (0, "") == (again.returncode, again.stdout)
    assert "is already paused" in again.stderr
    listing = cli("damocles-worker", "worker", "-c", str(stuck.config), "list").stdout
    assert 3 == listing.count("paused=true")


def test_one_line_brings_the_fleet_on(stuck, util):
    """`resume --error` takes up every thread with that error, wherever it is; a dry run says so before."""
    before = [len(stuck.events(index)) for index in range(3)]
    code, out, err = util(stuck, "resume", "--error", "no cached parameters", "--dry-run")
    assert (0, "dry run: nothing was changed\n") == (code, err)
    assert 3 == len(out.splitlines())
    assert before == [len(stuck.events(index)) for index in range(3)]

    code, out, err = util(stuck, "resume", "--error", "No cached parameters", "--reason", "parameters copied")
    assert (0, "") == (code, err)
    for index, line in enumerate(out.splitlines()):
        assert re.fullmatch(rf"127\.0\.0\.1 #{index} s-t010000-\d C1Done: goes on from C1Done", line)
    for index in range(3):
        wait_until(partial(failed_again, stuck, index, before[index]), "the thread tries again")
    assert "parameters copied" in (stuck.base / "manager.log").read_text()

    assert (3, "", "error: no thread matches; nothing was changed\n") == util(stuck, "resume", "--error", "disk full")
    assert 3 == util(stuck, "resume", "--sector", "s-t010000-99")[0]
    assert 2 == util(stuck, "pause", "127.0.0.1")[0]
    by_worker = cli(
        *("damocles-worker", "worker", "-c", str(stuck.config), "resume", "--in-state", "C1Done", "--dry-run", "--json")
    )
    assert [(0, True), (1, True), (2, True)] == [(o["index"], o["ok"]) for o in json.loads(by_worker.stdout)]


def test_sectors_are_given_up_and_a_worker_is_drained(tmp_path, util):
    """Abort asks twice and is confirmed; a drain counts down; history outlives the worker."""
    with stuck_farm(tmp_path) as f:
        aborting(f, util)
        draining(f, util)
        remembering(f, util)


def aborting(f: Farm, util) -> None:
    """Without --yes it only says what would happen; with it process, files and the manager's record are done with."""
    sector = str(f.thread(2).job_id)
    code, out, err = util(f, "abort", "--sector", sector)
    assert 2 == code
    assert f"aborts {sector}" in out
    assert "pass --yes to do it" in err
    assert sector == f.thread(2).job_id

    code, out, _ = util(f, "abort", "--sector", sector, "--yes", "--reason", "bad disk")
    assert (0, True) == (code, f"aborted {sector}" in out)
    assert f.thread(2).job_id is None
    (record,) = [
        row for row in f.ask_manager("ListSectors", ["offline", 0], list[dict[str, Any]]) if row["AbortReason"]
    ]
    assert "bad disk" in record["AbortReason"]

    code, out, _ = util(f, "history", sector, "--json")
    entries = json.loads(out)["entries"]
    assert (0, "Allocate", "Discarded") == (code, entries[0]["event"], entries[-1]["event"])
    # What an operator did at the manager is of no worker.
    of_workers = [entry for entry in entries if entry["worker"]]
    assert {("127.0.0.1", str(f.stores[2]))} == {(entry["worker"], entry["location"]) for entry in of_workers}


def draining(f: Farm, util) -> None:
    """A drain names the sectors left; waiting for it ends where only paused ones are left."""
    left = {str(thread.job_id) for thread in f.all_threads() if thread.job_id}
    code, out, _ = util(f, "drain", "127.0.0.1", "--reason", "new disks")
    assert (0, True) == (code, out.startswith("draining (new disks); 2 in progress: "))
    assert left == set(re.findall(r"s-t010000-\d", out))
    wait_until(lambda: "live, draining" in util(f, "list", "--wide")[1], "the list tells of the drain", 60)
    code, out, err = util(f, "drain", "127.0.0.1", "--deadline", "300ms", "--wait")
    assert (1, True) == (code, "paused, and will not end by themselves" in err)
    assert 0 == util(f, "abort", "127.0.0.1", "1", "--yes")[0]
    own = cli("damocles-worker", "worker", "-c", str(f.config), "undrain")
    assert own.stdout.startswith("takes new sectors; 1 in progress: ")


def remembering(f: Farm, util) -> None:
    """Without the worker, history tells what was reported to the manager, and says who could not be asked."""
    sector = str(f.thread(0).job_id)
    assert f.worker is not None
    farm.stop(f.worker)
    code, out, err = util(f, "history", sector)
    assert 0 == code
    assert "TicketAssigned -> PC1Done" in out
    assert err.startswith("warning: 127.0.0.1: http://")
    assert 3 == util(f, "history", "s-t010000-99")[0]


def test_logs_and_top_show_why(stuck, util):
    """What a stage wrote, and the fleet on one page, both have the reason in them; attempts are those of the history."""
    code, out, err = util(stuck, "logs", "127.0.0.1", "0")
    assert (0, "") == (code, err)
    assert re.search(r"^\d{4}-\S+Z c2\[\d+\] .*No cached parameters", out, re.MULTILINE)
    sector = str(stuck.thread(0).job_id)
    _, out, _ = util(stuck, "logs", "127.0.0.1", "0", "--sector", sector, "--stage", "C2", "--json")
    assert {(sector, "c2")} == {(line["sector"], line["stage"]) for line in map(json.loads, out.splitlines())}
    code, out, err = util(stuck, "logs", "127.0.0.1", "0", "--sector", "s-t010000-99")
    assert (0, "", "no log lines of s-t010000-99: ") == (code, out, err[:30])
    assert out in cli("damocles-worker", "worker", "-c", str(stuck.config), "logs", "-i", "0", "--json").stdout
    code, out, err = util(stuck, "top")
    assert (0, "") == (code, err)
    assert "1 live" in out
    assert "3 paused" in out
    assert 3 == out.count("permanent: No cached parameters")
    code, out, _ = util(stuck, "info", "--paused", "--wide")
    assert (0, 4) == (code, len(out.splitlines()))
    assert 3 == out.count("resume since ")
    shown = json.loads(util(stuck, "info", "--paused", "--json")[1])["threads"]
    failed = [[entry.attempt for entry in stuck.history(index) if entry.event == "Failed"][-1] for index in range(3)]
    assert failed == [thread["attempt"] for thread in shown]
    _, out, _ = util(stuck, "list", "--wide", "--expiration", "1ms")
    assert re.search(r"s \(!\) +lost ", out)
