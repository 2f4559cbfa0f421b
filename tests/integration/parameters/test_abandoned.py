"""Nobody computes for a command that is gone."""

import os
import signal
import subprocess

import psutil

from damocles.testing.farm import program, wait_until


def test_the_child_ends_with_the_command(tmp_path):
    """A `params generate` that is killed takes the process with it that computes."""
    command = subprocess.Popen(
        [program("damocles-worker"), *("params", "generate", "--sector-size", "2KiB", "--for", "porep")],
        env={**os.environ, "FIL_PROOFS_PARAMETER_CACHE": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        children = wait_until(lambda: psutil.Process(command.pid).children(), "the child starts")
        wait_until(lambda: list(tmp_path.glob("*.part")), "the child computes")
    finally:
        command.send_signal(signal.SIGKILL)
        command.wait()
    wait_until(lambda: not any(child.is_running() for child in children), "the child is gone", 10)
