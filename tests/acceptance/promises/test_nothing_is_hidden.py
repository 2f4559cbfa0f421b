"""Whoever asks is told: what waits and why, what failed and why, and at once, whatever else hangs. Real processes."""

import json
import platform
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from damocles.testing import farm
from damocles.testing.farm import Farm, cli, wait_until
from damocles.wire import control

from . import stages
from .stages import PATIENCE_SECONDS, Hand, frozen

FOR_EVER = "100000"  # epochs of a second
AT_ONCE_SECONDS = 10.0  # to start a program, ask, and print on a busy machine: whatever hangs, hangs for longer


def waits(f: Farm, index: int, what: str) -> control.Waiting:
    """Wait until a thread says that it waits for something, and check that it goes on saying since when."""
    asked = time.time()

    def found() -> control.Waiting | None:
        waiting = stages.details(f)[index].waiting
        return waiting if waiting is not None and re.search(what, waiting.what) else None

    try:
        waiting: control.Waiting = wait_until(found, f"thread {index} waits for {what}", PATIENCE_SECONDS)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{stages.details(f)[index]}") from None
    assert asked - PATIENCE_SECONDS < waiting.since <= time.time()
    return waiting


def again(f: Farm, index: int) -> None:
    """Let a thread that would wait for an hour do the same again at once."""
    assert stages.act(f, index, "pause").ok
    waits(f, index, "^resume$")
    assert f.resume(index)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_everything_that_waits_says_for_what_and_since_when(tmp_path: Path) -> None:
    """A slot, the manager, its return, the chain, the seed, a sector and a person are each named, with their times."""
    hand = Hand(tmp_path / "hand")
    processors = hand.processors("pc1", limits="pc1 = 1")
    f = Farm(tmp_path, threads=3, parameters=tmp_path, max_sectors=2, processors=processors)
    f.recover_interval = f.seal_interval = "1h"
    with f:
        f.start_manager("--pre-commit-delay", FOR_EVER)
        hand.hold("pc1")
        f.start_worker()
        hand.held("pc1", 1)
        wait_until(lambda: 2 == sum(t.job_id is not None for t in f.all_threads()), "both sectors are given out")
        (works,) = wait_until(
            lambda: [t.index for t in f.all_threads() if t.job_stage == "PC1" and t.thread_state.proc],
            "one has the slot",
        )
        (empty,) = wait_until(
            lambda: [t.index for t in f.all_threads() if t.job_id is None and t.thread_state.state == "Idle"],
            "one has nothing to do",
        )
        (queued,) = {0, 1, 2} - {works, empty}

        slot = waits(f, queued, r"^slot of pc1 \(limit 1\)$")
        assert slot == waits(f, queued, "slot"), "the time is that of the beginning"
        idle = waits(f, empty, "^work from the manager$")
        assert idle.until is not None
        assert idle.until > time.time() + 1000
        shown = cli(*stages.ours(f, "list", "--why")).stdout
        for waiting in (slot, idle):
            since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(waiting.since))
            assert f"{waiting.what} since {since}" in shown

        assert f.manager is not None
        with frozen(f.manager.pid):
            hand.release("pc1")
            # Whoever gets the slot now asks for its ticket first.
            asked = {works: ("PC2Done", "SubmitPreCommit"), queued: ("TicketAssigned", "AssignTicket")}
            for index, (state, method) in asked.items():
                stages.wait_for(f, index, "Running", state)
                waits(f, index, f"^an answer of the manager to {method}$")
            farm.stop(f.manager, kill=True)
            for index, (_, method) in asked.items():
                retry = waits(f, index, rf"^another try \(temporary: rpc error: {method}: ")
                assert retry.until is not None
                assert time.time() + 1000 < retry.until < time.time() + 3601

        f.start_manager("--pre-commit-delay", FOR_EVER, "--challenge-delay", FOR_EVER)
        assert stages.act(f, works, "pause").ok
        paused = waits(f, works, "^resume$")
        assert paused.until is None
        assert f.resume(works)
        chain = waits(f, works, "^the pre-commit on chain$")
        assert chain.until is not None
        farm.stop(f.manager)
        f.start_manager("--challenge-delay", FOR_EVER)
        again(f, queued)
        seed = waits(f, queued, "^the seed's epoch$")
        assert seed.until is not None
        assert seed.until > time.time()

        with f.worker_client() as worker:
            worker.call("Damocles.Drain", [True, None, "new disks"], returns=control.Drain)
        again(f, empty)
        waits(f, empty, r"^the end of the drain \(new disks\)$")


def timed(*command: str, check: bool = True) -> str:
    """Run a program that has to answer at once."""
    began = time.monotonic()
    done = cli(*command, check=check)
    assert time.monotonic() - began < AT_ONCE_SECONDS, command
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_full_fleet_with_a_hung_worker_still_answers(tmp_path: Path) -> None:
    """Stages that hang, a manager that hangs and a worker that hangs: each time the others tell all they know at once."""
    hand = Hand(tmp_path / "hand")
    processors = hand.processors("pc1", "pc2")
    with Farm(tmp_path, threads=3, parameters=tmp_path, max_sectors=3, processors=processors) as f:
        f.start_manager()
        hand.hold("pc1")
        hand.hold("pc2")
        f.start_worker()
        pc1 = hand.held("pc1", 3)
        assert f.manager is not None
        assert f.worker is not None
        with frozen(pc1, f.manager.pid):
            assert 3 == timed(*stages.ours(f, "list")).count("state=TicketAssigned")
            assert 3 == timed(*stages.ours(f, "list", "--why")).count(f"ext(pid: {pc1})")
            assert 3 == timed(*stages.ours(f, "list", "--wide")).count("PC1")
            assert "3 in progress" in timed(*stages.ours(f, "drain"))
            assert "PC1" not in timed(*stages.ours(f, "history", str(f.thread(0).job_id)))
            timed(*stages.ours(f, "logs", "--index", "0"))
            assert "pauses at" in timed(*stages.ours(f, "pause", "--index", "0"))
            assert "goes on" in timed(*stages.ours(f, "resume", "--index", "0"))
            assert "did not answer within 1 s" in timed(*stages.util(f, "list", "--timeout", "1s"), check=False)
        # Threads that wait for the hanging manager block nobody either.
        wait_until(lambda: f.ask_manager("WorkerPingInfoList", [], list), "the manager knows the worker")
        hand.release("pc1")
        hand.held("pc2", 3)
        with frozen(f.manager.pid):
            hand.release("pc2")
            for index in range(3):
                stages.wait_for(f, index, "Running", "PC2Done")
            assert 3 == timed(*stages.ours(f, "list")).count("state=PC2Done")
            assert "pauses at once" in timed(*stages.ours(f, "pause", "--index", "1", "--now"))
            stages.wait_for(f, 1, "Paused", "PC2Done")
        for index in (0, 2):
            stages.unproven(f, index)
        with frozen(f.worker.pid):
            told = timed(*stages.util(f, "info", "--all", "--timeout", "1s"), check=False)
            assert "test-worker: " in told
            assert "did not answer within" in told
            assert "test-worker" in timed(*stages.util(f, "list"))
            assert "PC1Done -> PC2Done" in timed(*stages.util(f, "history", "s-t010000-1", "--timeout", "1s"))
        assert 3 == timed(*stages.util(f, "info", "--all")).count("s-t010000-")


def table(text: str) -> list[dict[str, str]]:
    """Read a table whose columns stand below their names."""
    header, *lines = text.splitlines()
    names = [(match.group(), match.start()) for match in re.finditer(r"\S+(?: \S+)*", header)]
    ends = [*(start for _, start in names[1:]), None]
    return [{name: line[start:end].strip() for (name, start), end in zip(names, ends, strict=True)} for line in lines]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_every_process_is_told_with_its_sector_and_ended_by_it(tmp_path: Path) -> None:
    """A listing names stage, host, process and age; the process is the one, and it is killed by its sector's name."""
    hand = Hand(tmp_path / "hand")
    # Two processes for one task each: each sector has one of its own.
    group = hand.processors("pc1").replace("[[processors.pc1]]", "[[processors.pc1]]\nconcurrent = 1")
    with Farm(tmp_path, threads=2, parameters=tmp_path, max_sectors=2, processors=group + group) as f:
        f.start_manager()
        hand.hold("pc1")
        f.start_worker()
        hand.held("pc1", 2)
        wait_until(lambda: f.ask_manager("WorkerPingInfoList", [], list), "the manager knows the worker")
        rows = table(cli(*stages.util(f, "info", "test-worker", "--all", "--wide")).stdout)
        assert set(hand.pids("pc1", "held")) == {int(row["Pid"]) for row in rows}
        for row in rows:
            assert ["pc1", str(hand.folder)] == psutil.Process(int(row["Pid"])).cmdline()[-2:]
            assert (platform.node(), "TicketAssigned", "PC1") == (row["Host"], row["JobState"], row["JobStage"])
            assert re.fullmatch(rf"Running\(.+s\) ext\(pid: {row['Pid']}\)", row["ThreadState"])
        victim, other = rows
        ages = {thread.sector: time.time() - thread.since for thread in stages.details(f)}
        assert 0 <= ages[victim["JobID"]] < PATIENCE_SECONDS

        cli(*stages.util(f, "pause", "--sector", victim["JobID"], "--now"))
        stages.wait_for(f, int(victim["Index"]), "Paused", "TicketAssigned")
        assert not stages.is_alive(int(victim["Pid"]))
        assert stages.is_alive(int(other["Pid"]))
        assert "Running" == f.thread(int(other["Index"])).thread_state.state
        hand.release("pc1")
        cli(*stages.util(f, "resume", "--sector", victim["JobID"]))
        for index in range(2):
            stages.unproven(f, index)
            assert {"PC1": 1} == stages.counts(f, index, "PC1")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_failed_stage_tells_why_how_often_and_what_to_do(tmp_path: Path) -> None:
    """Stage, reason, attempts, the end of the log and the next step are one command away, and the step works as printed."""
    hand = Hand(tmp_path / "hand")
    (tmp_path / "manager").mkdir()
    (tmp_path / "manager" / "alerts.toml").write_text('interval = "1s"\nrules.thread-paused.for = "1s"\n')
    processors = hand.processors("pc2")
    with Farm(tmp_path, threads=1, parameters=tmp_path, max_sectors=1, processors=processors) as f:
        f.start_manager()
        hand.fail("pc2", "Read error on /mnt/nvme1")
        f.start_worker()
        stages.wait_for(f, 0, "Paused", "PC1Done", "Read error")
        assert f.resume(0)
        wait_until(lambda: f.events(0).count("Failed") == 2, "it fails again", PATIENCE_SECONDS)
        stages.wait_for(f, 0, "Paused", "PC1Done", "Read error")
        at = ("--listen", f"127.0.0.1:{f.manager_port}")
        (row,) = table(cli(*stages.util(f, "info", "test-worker", "--all", "--wide")).stdout)
        assert ("PC1Done", "PC2", "2") == (row["JobState"], row["JobStage"], row["Attempt"])
        assert "permanent: Read error on /mnt/nvme1" == row["LastErr"]
        assert re.match("resume since ", row["WaitsFor"])
        pid = hand.pids("pc2", "begun")[-1]
        last = cli(*stages.util(f, "logs", "test-worker", "0")).stdout.splitlines()[-2:]
        assert any(f"pc2[{pid}] pc2 looks at its disk" in line for line in last)
        assert any(f"pc2[{pid}] " in line and "Read error" in line for line in last)
        history = cli(*stages.util(f, "history", str(f.thread(0).job_id))).stdout
        assert 2 <= history.count("Read error on /mnt/nvme1")

        def told() -> str:
            found = json.loads(cli("damocles-manager", "alerts", "list", "--json", *at).stdout)["alerts"]
            return next((str(alert["text"]) for alert in found if alert["rule"] == "thread-paused"), "")

        text = wait_until(told, "the alert", PATIENCE_SECONDS)
        assert "Read error on /mnt/nvme1" in text
        (step,) = re.findall(r"damocles-manager (util worker resume test-worker 0)\b", text)
        hand.mend("pc2")
        cli("damocles-manager", *step.split(), *at)
        stages.unproven(f)


@contextmanager
def shams(f: Farm, workers: int) -> Iterator[None]:
    """Run workers with fifty threads each, whose sectors are made up; who lists and selects them is our own."""
    command = [
        *(sys.executable, "-m", "damocles.testing.fleet", "--manager", f"http://127.0.0.1:{f.manager_port}/rpc/v0"),
        *("--token-file", str(f.base / "manager" / "worker-token"), "--workers", str(workers), "--interval", "1"),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert b"ready\n" == process.stdout.readline()
            yield
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_lists_of_a_large_fleet_have_filters_columns_and_json(tmp_path: Path) -> None:
    """Of hundreds of threads those are listed that fit all that is said, in chosen columns, and the same as JSON."""
    with Farm(tmp_path, threads=1, parameters=tmp_path, max_sectors=0) as f:
        f.start_manager()

        def found(*flags: str) -> list[dict[str, Any]]:
            """List as JSON and as a table, and check that they agree."""
            told = json.loads(cli(*stages.util(f, "info", *flags, "--json")).stdout)
            assert not told.get("silent")
            threads: list[dict[str, Any]] = told["threads"]
            places = [(thread["worker"], str(thread["info"]["index"])) for thread in threads]
            text = cli(*stages.util(f, "info", *flags)).stdout
            assert places == [(row["Worker"], row["Index"]) for row in table(text)] if threads else not text
            return threads

        with shams(f, workers=8):
            missing = ("--error", "NO CACHED parameters")
            wait_until(
                lambda: 8 * 43 == len(cli(*stages.util(f, "info", *missing)).stdout.splitlines()) - 1,
                "every sector has failed",
                PATIENCE_SECONDS,
            )
            assert 8 * 43 == len(found(*missing))
            assert 8 * 50 == len(found("--all"))
            some = found("--worker", "sham-00[0-3]", *missing, "--paused", "--state", "C1Done")
            assert {f"sham-00{number}": 43 for number in range(4)} == Counter(t["worker"] for t in some)
            (one,) = found("--sector", "s-t010000-105")
            assert ("sham-002", 5) == (one["worker"], one["info"]["index"])
            assert [] == found("--plan", "unseal")
            assert [] == found("--all", "--worker", "sham-001", "--state", "PC1Done")
            info = cli(*stages.util(f, "info", "--sector", "s-t010000-105", "--wide")).stdout
            (row,) = table(info)
            assert ("sham-002", "sealer", "s-t010000-105") == (row["Worker"], row["Plan"], row["JobID"])
            assert re.match("resume since ", row["WaitsFor"])
            assert platform.node() == row["Host"] == one["host"]
            listed = json.loads(cli(*stages.util(f, "list", "--json")).stdout)
            assert 8 * [50] == [worker["info"]["Summary"]["Threads"] for worker in listed]
