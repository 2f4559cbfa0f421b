"""From the configuration of a processor to its command."""

import os
import sys

import pytest

from damocles.stages import host
from damocles.stages.supervision import pool


def test_default_group_is_our_own_processor() -> None:
    """Without `bin` and `args` our own child serves the stage."""
    command = pool.ProcessorGroup().command("pc1", 0)
    assert (sys.executable, "-m", "damocles.stages.processor.runner", "pc1") == command.argv
    assert ("pc1", 5.0) == (command.stage, command.ready_seconds)


def test_program_gets_the_originals_arguments() -> None:
    """A `bin` without `args` is called as the original calls it; `args` replace that."""
    assert ("/x/worker", "processor", "c2") == pool.ProcessorGroup(bin="/x/worker").command("c2", 0).argv
    assert ("/x/c2", "-v") == pool.ProcessorGroup(bin="/x/c2", args=("-v",)).command("c2", 0).argv


def test_arguments_of_our_own_processor_are_passed_on() -> None:
    """`args` without `bin` are those of the original's executable."""
    argv = pool.ProcessorGroup(args=("processor", "transfer", "--disable-link")).command("transfer", 0).argv
    assert ("transfer", "--disable-link") == argv[-2:]


def test_arguments_without_program_are_refused() -> None:
    """Arguments of an unknown program are an error that names the key."""
    with pytest.raises(ValueError, match=r"processors\.pc1: args"):
        pool.ProcessorGroup(args=("serve",)).command("pc1", 0)
    with pytest.raises(ValueError, match=r"processors\.sealing_daemons"):
        pool.ProcessorGroup().command(pool.DAEMONS, 0)


def test_placement_goes_into_the_environment() -> None:
    """NUMA node and CPUs are told by the original's variables, and `envs` have the last word."""
    group = pool.ProcessorGroup(numa_preferred=1, cgroup_cpuset="0-3", envs={"A": "1", host.CPUSET_VARIABLE: "0"})
    env = group.command("pc2", 3).env
    assert ("1", f"vc-worker/sub-pc2-{os.getpid()}-3", "0", "1") == (
        env[host.NUMA_VARIABLE],
        env[host.CGROUP_VARIABLE],
        env[host.CPUSET_VARIABLE],
        env["A"],
    )


def test_environment_is_inherited_unless_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon's variables of the moment of the start are passed on, or none."""
    monkeypatch.setenv("SOME_VARIABLE", "x")
    assert "x" == pool.ProcessorGroup().command("pc1", 0).env["SOME_VARIABLE"]
    assert {"B": "2"} == pool.ProcessorGroup(inherit_envs=False, envs={"B": "2"}).command("pc1", 0).env


def test_daemons_call_themselves_empty() -> None:
    """Children of `sealing_daemons` have the original's stage name."""
    assert "EMPTY" == pool.ProcessorGroup(bin="/x").command(pool.DAEMONS, 0).stage


@pytest.mark.parametrize(
    ("gpus", "children", "said", "told"),
    [
        (4, 2, None, ["0,2", "1,3"]),
        (2, 2, None, ["0", "1"]),
        (2, 3, None, ["0", "1", "0"]),
        (2, 1, None, [None]),  # one child has them all
        (1, 2, None, [None, None]),
        (0, 2, None, [None, None]),
        (4, 2, "3, GPU-8f1c", ["3", "GPU-8f1c"]),
        (4, 2, "", [None, None]),
    ],
)
def test_children_of_a_stage_share_out_the_gpus(gpus, children, said, told) -> None:
    """Several children of a stage have GPUs of their own, in the order of `nvidia-smi`, or those that the environment names."""
    environment = {} if said is None else {"CUDA_VISIBLE_DEVICES": said}
    found = [pool.gpus_of(number, children, gpus, environment) for number in range(children)]
    assert told == [each.get("CUDA_VISIBLE_DEVICES") for each in found]
    assert {("CUDA_DEVICE_ORDER" in each) for each in found if each} <= {said is None}
