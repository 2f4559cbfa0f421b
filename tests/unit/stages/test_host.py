"""What a child makes of the variables that place it."""

import os

import pytest

from damocles.stages import host


@pytest.mark.parametrize(
    ("text", "cpus"), [("0", {0}), ("0-3,8", {0, 1, 2, 3, 8}), (" 1 , 3-3\n", {1, 3}), ("12-13,2", {2, 12, 13})]
)
def test_cpu_lists_are_read(text: str, cpus: set[int]) -> None:
    """Lists are written as the kernel writes them."""
    assert cpus == host.parse_cpus(text)


@pytest.mark.parametrize("text", ["", "a", "3-1", "0-", "-1", "0,,1", "1.5"])
def test_wrong_cpu_lists_are_refused(text: str) -> None:
    """Anything else is an error that quotes the text."""
    with pytest.raises(ValueError, match="is not a list of CPUs"):
        host.parse_cpus(text)


def test_pc1_uses_several_cores_by_default() -> None:
    """Multicore SDR is turned on, and does not pin threads where no CPUs were given to the process."""
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two CPUs")
    said: list[str] = []
    environment: dict[str, str] = {}
    host.prepare_multicore_sdr(environment, said.append)
    assert {"FIL_PROOFS_USE_MULTICORE_SDR": "1", "HWLOC_SYNTHETIC": "core:1 pu:1"} == environment
    assert [] == said


def test_environment_decides_over_pc1() -> None:
    """What the operator has set stays, and CPUs of its own let the library pin."""
    environment = {"FIL_PROOFS_USE_MULTICORE_SDR": "0", host.CPUSET_VARIABLE: "0-3"}
    host.prepare_multicore_sdr(environment, print)
    assert {"FIL_PROOFS_USE_MULTICORE_SDR": "0", host.CPUSET_VARIABLE: "0-3"} == environment


def test_single_core_falls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """On one CPU PC1 stays with one core, and says so."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    said: list[str] = []
    environment: dict[str, str] = {}
    host.prepare_multicore_sdr(environment, said.append)
    assert {} == environment
    assert 1 == len(said)
