"""What the manager's absence, a taken port and one thread's trouble do to a whole worker process."""

import json
import os
import signal
import socket
import subprocess

import pytest

from damocles.testing.farm import Farm, program, stop, wait_until
from damocles.wire import control


def test_a_worker_that_cannot_listen_ends_with_a_line_and_an_exit_code(tmp_path):
    """A port that is taken is no clean end: exit code 1, and the log says which one."""
    with Farm(tmp_path, threads=1, parameters=tmp_path, max_sectors=0) as f, socket.socket() as taken:
        taken.bind(("127.0.0.1", f.worker_port))
        taken.listen()
        f.start_worker(wait=False)
        assert f.worker is not None
        assert 1 == f.worker.wait(30)
        assert f"127.0.0.1:{f.worker_port} is in use (by pid {os.getpid()} (" in f.log()
        assert "Traceback" not in f.log()


def test_a_worker_whose_processor_does_not_start_ends_with_a_line_and_an_exit_code(tmp_path):
    """A processor that ends at once is named with its command; there is no traceback."""
    broken = '[[processors.tree_d]]\nbin = "/bin/false"\n'
    with Farm(tmp_path, threads=1, parameters=tmp_path, processors=broken) as f:
        f.start_manager()
        f.start_worker(wait=False)
        assert f.worker is not None
        assert 1 == f.worker.wait(30)
        assert "processors.tree_d: child process exited before it was ready" in f.log()
        assert "/bin/false processor tree_d" in f.log()
        assert "Traceback" not in f.log()


def test_a_worker_that_is_told_to_stop_in_a_stage_ends_it_first(tmp_path):
    """SIGTERM cuts no stage short that ends within the grace: its result is recorded, and the exit code is 0."""
    go = tmp_path / "go"
    os.mkfifo(go)
    answer = '{"id":1,"err_msg":null,"output":true}'
    script = f"echo tree_d processor ready; read -r line; cat {go}; echo '{answer}'; cat >/dev/null"
    slow = f'[[processors.tree_d]]\nbin = "/bin/sh"\nargs = ["-c", {json.dumps(script)}]\n'
    with Farm(tmp_path, threads=1, parameters=tmp_path, processors=slow) as f:
        f.start_manager()
        f.start_worker()
        with go.open("wb"):  # waits until the stage reads
            assert f.worker is not None
            f.worker.send_signal(signal.SIGTERM)
            wait_until(lambda: "stopping: no new stage begins" in f.log(), "the worker is told")
        assert 0 == f.worker.wait(30)
        assert "BuildTreeD" == f.events(0)[-1]


def test_a_hangup_ends_neither_daemon_and_reads_files_again(tmp_path):
    """After SIGHUP alerts go by the file as it is; one that is wrong changes nothing, and both daemons go on."""
    with Farm(tmp_path, threads=1, parameters=tmp_path, max_sectors=0) as f:
        f.start_manager()
        f.start_worker()
        assert f.manager is not None
        assert f.worker is not None
        alerts = tmp_path / "manager" / "alerts.toml"
        alerts.write_text('[rules.worker-lost]\nseverity = "warning"\n')
        for daemon in (f.manager, f.worker):
            daemon.send_signal(signal.SIGHUP)
        wait_until(lambda: "read again" in f.logs(), "the file is read")
        wait_until(lambda: "SIGHUP: there is nothing to read again" in f.log(), "the worker has nothing to read")
        alerts.write_text("[rules.worker-lots]\n")
        f.manager.send_signal(signal.SIGHUP)
        wait_until(lambda: "stays in force" in f.logs(), "the file is refused")
        assert 1 == len(f.all_threads())
        assert f.ask_manager("Version", [], str)
        for daemon in (f.worker, f.manager):
            daemon.send_signal(signal.SIGTERM)
            assert 0 == daemon.wait(30)


def test_a_worker_waits_for_its_manager_and_serves_its_operators_meanwhile(tmp_path):
    """Started before the manager it lists its threads, and begins to seal when the manager is there."""
    with Farm(tmp_path, threads=1, parameters=tmp_path, max_sectors=1) as f:
        f.start_manager()
        manager, f.manager = f.manager, None  # it has made its tokens
        assert manager is not None
        manager.kill()
        manager.wait()
        f.start_worker()
        wait_until(lambda: "waiting for the manager before sealing begins" in f.log(), "the worker tells")
        assert [None] == [thread.job_id for thread in f.all_threads()]
        f.start_manager()
        wait_until(lambda: "Allocate" in f.events(0), "a sector is begun")


def test_a_worker_without_its_manager_shows_its_sectors_and_stops_at_once(tmp_path):
    """The journals are read all the same: sectors are listed, with what they wait for, and SIGTERM finds nothing to end."""
    with Farm(tmp_path, threads=1, parameters=tmp_path, max_sectors=1) as f:
        f.start_manager()
        f.start_worker(wait=False, DAMOCLES_FAILPOINTS="handler.before:DealsAcquired=kill")
        assert f.worker is not None
        assert -signal.SIGKILL == f.worker.wait(30)
        manager, f.manager = f.manager, None
        assert manager is not None
        stop(manager)
        f.config.write_text(f.config.read_text().replace('shutdown_grace = "5s"', 'shutdown_grace = "1h"'))
        f.start_worker()
        assert "s-t010000-1" == wait_until(lambda: f.thread(0).job_id, "the sector is shown")
        with f.worker_client() as worker:
            waiting = wait_until(
                lambda: worker.call("Damocles.Threads", [], returns=list[control.ThreadDetail])[0].waiting,
                "what it waits for is shown",
            )
        assert "the manager (StoreBasicInfo)" == waiting.what
        assert 0 == stop(f.worker)
        assert "Restart" == f.events(0)[-1], "no handler ran"


def test_a_sector_whose_allocation_was_lost_is_given_again(tmp_path):
    """A worker killed between the manager's answer and its own record gets the same sector, for there is no other."""
    with Farm(tmp_path, threads=1, parameters=tmp_path, max_sectors=1) as f:
        f.start_manager()
        f.start_worker(wait=False, DAMOCLES_FAILPOINTS="handler.after:Empty=kill")
        assert f.worker is not None
        assert -signal.SIGKILL == f.worker.wait(30)
        f.start_worker()
        wait_until(lambda: "Allocate" in f.events(0), "the sector is taken up")
        assert "s-t010000-1" == f.thread(0).job_id


@pytest.mark.parametrize("trouble", ["options", "record"])
def test_trouble_of_one_thread_leaves_the_others_at_work(tmp_path, trouble):
    """A broken file of options or a damaged journal shows at its thread; the worker starts and the other one seals."""
    with Farm(tmp_path, threads=2, parameters=tmp_path, max_sectors=1) as f:
        f.start_manager()
        if trouble == "options":
            (f.stores[0] / "config.toml").write_text("[sealing]\nmax_retries = -1\n")
        else:
            (f.stores[0] / "meta/journal.db").write_bytes(b"no database" * 1000)
        f.start_worker()
        wait_until(lambda: f.thread(1).job_id, "the other thread has a sector")
        broken = wait_until(lambda: f.thread(0).last_error and f.thread(0), "the trouble is shown")
        assert ("Paused", None) == (broken.thread_state.state, broken.job_id)
        assert str(f.stores[0]) in broken.last_error


@pytest.mark.parametrize("command", ["worker", "manager"])
def test_a_daemon_that_is_told_to_stop_while_it_starts_ends_in_order(tmp_path, command):
    """SIGTERM while the configuration is still being read is exit code 0, as later on."""
    file = tmp_path / "alerts.toml"
    os.mkfifo(file)
    options = {
        "worker": ("damocles-worker", "daemon", "-c", str(file)),
        "manager": (
            "damocles-manager",
            "mock",
            "--miner=1000",
            "--sector-size=2KiB",
            "--home",
            str(tmp_path),
            "--alerts",
            str(file),
        ),
    }
    with subprocess.Popen([program(options[command][0]), *options[command][1:]]) as daemon, file.open("wb"):
        daemon.terminate()  # it has opened the file, and waits for what is in there
        assert 0 == daemon.wait(30)


def test_a_second_worker_in_the_same_home_is_refused_and_told_of_the_first_one(tmp_path):
    """Each would drain and pause the other; whoever has a home keeps it for as long as it lives, and no longer."""
    with Farm(tmp_path, threads=1, parameters=tmp_path, max_sectors=0) as f:
        f.start_manager()
        f.start_worker()
        other = f.moved(tmp_path / "other", "other")
        other.config.write_text(other.config.read_text().replace(f"{other.base}/worker", f"{f.base}/worker"))
        other.start_worker(wait=False)
        assert f.worker is not None
        assert other.worker is not None
        assert 1 == other.worker.wait(30)
        assert f"home {f.base}/worker is in use by another worker (pid {f.worker.pid} on" in other.log()
        assert "Traceback" not in other.log()
        stop(f.worker, kill=True)
        f.worker = None
        other.start_worker()
        assert 0 == stop(other.worker)
