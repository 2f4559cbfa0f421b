"""What a child does to itself before it starts: its CPUs, its memory node, its parent.

The parent sets variables, whose names are the original's; the child obeys them, so that a foreign parent can place our
child and our worker can place foreign children that know them.

*   `VC_CG_CPUSET`: the CPUs to run on, as a list like `0-3,8`. The original makes a cgroup named `VC_CG_NAME` for it;
    we set the affinity of the process, which needs no rights. Children and threads inherit it.
*   `VENUS_WORKER_NUMA_PREFERRED`: the number of the NUMA node to take memory from first.
*   `DAMOCLES_PARENT_PID` (ours): end with that process. Not without it: the kernel counts the *thread* that started a
    child as its parent, and only our parent promises that this thread lives on.
"""

import ctypes
import os
import platform
import signal
from collections.abc import Callable, Collection, MutableMapping
from pathlib import Path

PARENT_VARIABLE = "DAMOCLES_PARENT_PID"
CPUSET_VARIABLE = "VC_CG_CPUSET"
CGROUP_VARIABLE = "VC_CG_NAME"
NUMA_VARIABLE = "VENUS_WORKER_NUMA_PREFERRED"

_PR_SET_PDEATHSIG = 1
_SYS_SET_MEMPOLICY = {"x86_64": 238, "aarch64": 237}
_MPOL_PREFERRED = 1
_POSSIBLE_NODES = Path("/sys/devices/system/node/possible")


def end_with_parent() -> None:
    """Ask the kernel for a SIGKILL when the parent dies; exit at once if it is dead already.

    The end of stdin means the same, but native code may keep the interpreter from reading it.
    """
    parent = os.environ.get(PARENT_VARIABLE, "")
    if parent != str(os.getppid()):
        return  # started through a wrapper, or by somebody else
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        return
    if str(os.getppid()) != parent:
        os._exit(1)


def settle(say: Callable[[str], None]) -> None:
    """Apply the variables for CPUs and memory, before any thread starts; `say` gets a line about each that is impossible."""
    if cpus := os.environ.get(CPUSET_VARIABLE):
        _run_on(cpus, say)
    if node := os.environ.get(NUMA_VARIABLE):
        _prefer_memory_of(node, say)


def parse_cpus(text: str) -> frozenset[int]:
    """Read a list of CPUs (or nodes) like `0-3,8`, as the kernel writes it.

    Raises:
        ValueError: It is no such list.
    """
    cpus: set[int] = set()
    for part in text.strip().split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
            raise ValueError(f"{text!r} is not a list of CPUs: expected one like 0-3,8")
        cpus.update(range(int(first), int(last if dash else first) + 1))
    return frozenset(cpus)


def cpu_list(numbers: Collection[int]) -> str:
    """Write numbers as `parse_cpus` reads them."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][-1] == number - 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ",".join("-".join(map(str, run)) for run in runs)


def cores() -> frozenset[int]:
    """Return the CPUs that this process may run on."""
    return frozenset(os.sched_getaffinity(0))


def nodes() -> frozenset[int]:
    """Return the NUMA nodes of this machine; one, if it does not report them."""
    try:
        return parse_cpus(_POSSIBLE_NODES.read_text())
    except (OSError, ValueError):
        return frozenset({0})


def _run_on(text: str, say: Callable[[str], None]) -> None:
    group = os.environ.get(CGROUP_VARIABLE, "no group")
    try:
        wanted = parse_cpus(text)
    except ValueError as error:
        say(f"cgroup.cpuset ({group}): {error}; running on every CPU")
        return
    allowed = cores()
    usable = wanted & allowed
    if usable:
        os.sched_setaffinity(0, usable)
    if usable != wanted:
        missing = cpu_list(wanted - allowed)
        where = "on the rest" if usable else "on every CPU"
        say(f"cgroup.cpuset = {text!r} ({group}): this machine gives us no CPU {missing}; running {where}")


def _prefer_memory_of(text: str, say: Callable[[str], None]) -> None:
    possible = nodes()
    if not text.isdecimal() or int(text) not in possible:
        say(f"numa_preferred = {text!r}: this machine has the nodes {cpu_list(possible)}; taking memory from any")
        return
    number = _SYS_SET_MEMPOLICY.get(platform.machine())
    if number is None:
        say(f"numa_preferred = {text!r}: not known how to ask for it on {platform.machine()}")
        return
    node, bits = int(text), 8 * ctypes.sizeof(ctypes.c_ulong)
    mask = (ctypes.c_ulong * (node // bits + 1))()
    mask[node // bits] = 1 << (node % bits)
    libc = ctypes.CDLL(None, use_errno=True)
    # The kernel reads one bit less than the size it is told.
    if libc.syscall(number, _MPOL_PREFERRED, ctypes.byref(mask), ctypes.c_ulong(len(mask) * bits + 1)) != 0:
        say(f"numa_preferred = {text!r}: {os.strerror(ctypes.get_errno())}; taking memory from any node")


def prepare_multicore_sdr(environment: MutableMapping[str, str], say: Callable[[str], None]) -> None:
    """Let PC1 use several cores, ten times as fast as one, unless the environment decides otherwise.

    Must come before the library of proofs reads its settings. The library pins its threads to cores that it chooses
    for itself, and does not know of other processes: all children would choose the same. So it may pin only where
    somebody gave this process CPUs of its own.
    """
    if "FIL_PROOFS_USE_MULTICORE_SDR" not in environment:
        cores = len(os.sched_getaffinity(0))
        if cores < 2:
            say("pc1 runs on a single core: its threads would wait for each other on one CPU")
            return
        environment["FIL_PROOFS_USE_MULTICORE_SDR"] = "1"
    if CPUSET_VARIABLE not in environment and not any(name.startswith("HWLOC_") for name in environment):
        # A made-up machine with one core has no group of cores to pin a PC1 to.
        environment["HWLOC_SYNTHETIC"] = "core:1 pu:1"
