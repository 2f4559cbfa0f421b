"""What this machine has, read from /proc, /sys and the cgroup files below a root folder; nothing is kept or watched.

Formats: `proc(5)`, `sysfs(5)`, the kernel's documents on cgroup v1 and v2, and `nvidia-smi --query-gpu`. A file that is
missing or odd means that nothing is known, never an error.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

import msgspec

from damocles.stages import host

_UNLIMITED = 1 << 60  # v1 writes the largest number of pages for no limit
_NVIDIA_SECONDS = 10.0


class Node(msgspec.Struct, frozen=True):
    """A NUMA node: its available CPUs, and its memory (`None` where the system does not report it)."""

    number: int
    cores: tuple[int, ...]
    memory_bytes: int | None = None


class HugePages(msgspec.Struct, frozen=True):
    """A pool of huge pages of one size."""

    size_bytes: int
    total: int
    free: int


class Gpu(msgspec.Struct, frozen=True):
    """A GPU by its name; its memory where `nvidia-smi` reports it."""

    name: str
    memory_bytes: int | None = None


class Cgroup(msgspec.Struct, frozen=True):
    """What the control group of this process, and those around it, leave it.

    `used_bytes` is without page cache that the kernel gives back first. `None` is no limit.
    """

    version: int  # 1 or 2, of the memory controller
    path: str
    memory_bytes: int | None = None
    used_bytes: int | None = None
    cores: float | None = None  # a quota of CPU time, in whole cores of time


class Space(msgspec.Struct, frozen=True):
    """A file system that we write to, at a folder; folders with the same `device` share one."""

    what: str
    path: str
    total_bytes: int | None = None
    free_bytes: int | None = None
    device: int | None = None


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What a machine has. Plain values: they can be sent, and compared."""

    cores: tuple[int, ...]  # CPUs that this process may run on
    memory_bytes: int | None
    available_bytes: int | None
    nodes: tuple[Node, ...] = ()
    huge_pages: tuple[HugePages, ...] = ()
    transparent_huge_pages: str | None = None  # always, madvise or never
    cgroup: Cgroup | None = None
    gpus: tuple[Gpu, ...] = ()
    spaces: tuple[Space, ...] = ()

    @property
    def usable_cores(self) -> int:
        """Whole cores that stages can keep busy, at least one: the quota counts as well as the affinity."""
        quota = self.cgroup.cores if self.cgroup is not None else None
        return max(1, len(self.cores) if quota is None else min(len(self.cores), int(quota)))

    @property
    def usable_memory_bytes(self) -> int | None:
        """Memory available to this process, whatever sets the limit."""
        limits = [self.memory_bytes, self.cgroup.memory_bytes if self.cgroup is not None else None]
        return min((limit for limit in limits if limit is not None), default=None)

    def capacity(self) -> dict[str, int]:
        """Return what there is to be granted (see `grants`); what is not known is not limited, and missing."""
        memory = self.usable_memory_bytes
        known = {} if memory is None else {"memory": memory}
        return {"cores": self.usable_cores, **known, "gpus": len(self.gpus)}


def look(
    root: Path = Path("/"),
    *,
    cores: Collection[int] | None = None,
    folders: Collection[tuple[str, Path]] = (),
    nvidia: Callable[[], str | None] | None = None,
) -> Machine:
    """Look at the machine whose `proc` and `sys` lie below `root`.

    Args:
        root: `/`, or a tree with copies of the files.
        cores: CPUs that this process may run on; asked of the kernel if they are not given.
        folders: What is kept where, to look for the space there; this is not below `root`.
        nvidia: Returns what `nvidia-smi` prints (see `query_nvidia`), `None` if there is none.
    """
    memory = _fields(_text(root / "proc/meminfo"))
    return Machine(
        cores=tuple(sorted(host.cores() if cores is None else cores)),
        memory_bytes=memory.get("MemTotal"),
        available_bytes=memory.get("MemAvailable"),
        nodes=tuple(_nodes(root / "sys/devices/system/node")),
        huge_pages=tuple(_huge_pages(root / "sys/kernel/mm/hugepages")),
        transparent_huge_pages=_chosen(_text(root / "sys/kernel/mm/transparent_hugepage/enabled")),
        cgroup=_cgroup(root),
        gpus=tuple(_gpus(root, (nvidia or query_nvidia)())),
        spaces=tuple(space(what, path) for what, path in folders),
    )


def query_nvidia() -> str | None:
    """Return the GPUs as `nvidia-smi` prints them: a line of name and MiB for each; `None` if it cannot be asked."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=_NVIDIA_SECONDS, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout


def space(what: str, path: Path) -> Space:
    """Look at the file system of a folder; one that is not there has its path alone."""
    try:
        usage = shutil.disk_usage(path)
        return Space(what, str(path), usage.total, usage.free, path.stat().st_dev)
    except OSError:
        return Space(what, str(path))


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None


def _fields(text: str) -> dict[str, int]:
    """Read lines like `MemTotal:  1024 kB`, also `Node 0 MemTotal:  1024 kB`, in bytes."""
    found = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdecimal():
            found[name.split()[-1]] = int(words[0]) * (1024 if words[1:] == ["kB"] else 1)
    return found


def _nodes(folder: Path) -> Iterator[Node]:
    numbers = sorted(int(one.name[4:]) for one in folder.glob("node[0-9]*") if one.name[4:].isdecimal())
    for number in numbers:
        try:
            cores = host.parse_cpus(_text(folder / f"node{number}/cpulist"))
        except ValueError:
            cores = frozenset()
        memory = _fields(_text(folder / f"node{number}/meminfo")).get("MemTotal")
        yield Node(number, tuple(sorted(cores)), memory)


def _huge_pages(folder: Path) -> Iterator[HugePages]:
    for pool in sorted(folder.glob("hugepages-*kB")):
        size = pool.name.removeprefix("hugepages-").removesuffix("kB")
        if size.isdecimal():
            yield HugePages(int(size) << 10, _number(pool / "nr_hugepages") or 0, _number(pool / "free_hugepages") or 0)


def _chosen(text: str) -> str | None:
    """Read a choice like `always [madvise] never`."""
    return next((word[1:-1] for word in text.split() if word.startswith("[") and word.endswith("]")), None)


def _gpus(root: Path, listed: str | None) -> Iterator[Gpu]:
    if listed is not None:
        for line in listed.splitlines():
            name, comma, mebibytes = line.rpartition(",")
            if comma and name.strip():
                size = mebibytes.strip()
                yield Gpu(name.strip(), int(size) << 20 if size.isdecimal() else None)
        return
    for one in sorted((root / "proc/driver/nvidia/gpus").glob("*/information")):
        models = [line.partition(":")[2].strip() for line in _text(one).splitlines() if line.startswith("Model:")]
        yield Gpu(models[0] if models else "unknown")


# Control groups.


def _cgroup(root: Path) -> Cgroup | None:
    paths = _paths(_text(root / "proc/self/cgroup"))
    mounts = dict(_mounts(_text(root / "proc/self/mountinfo")))
    if "memory" in mounts and "memory" in paths:
        folders = _chain(root, mounts["memory"], paths["memory"])
        memory = _least(_number(folder / "memory.limit_in_bytes") for folder in folders)
        used = _used(folders[0], "memory.usage_in_bytes", "total_inactive_file")
        quota = _quota_v1(root, mounts, paths)
        return Cgroup(1, paths["memory"], memory, used, quota)
    if "" in mounts and "" in paths:
        folders = _chain(root, mounts[""], paths[""])
        limits = (_number(folder / name) for folder in folders for name in ("memory.max", "memory.high"))
        quota = _least_quota(_quota_v2(_text(folder / "cpu.max")) for folder in folders)
        return Cgroup(2, paths[""], _least(limits), _used(folders[0], "memory.current", "inactive_file"), quota)
    return None


def _paths(text: str) -> dict[str, str]:
    """Read `/proc/self/cgroup`: the path by controller; that of version 2 has the name `""`."""
    found = {}
    for line in text.splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3:
            found.update(dict.fromkeys(parts[1].split(","), parts[2]))
    return found


def _mounts(text: str) -> Iterator[tuple[str, tuple[str, str]]]:
    """Read `/proc/self/mountinfo`: by controller (or `""`) the group that is mounted, and where."""
    for line in text.splitlines():
        head, dash, tail = line.partition(" - ")
        places, kinds = head.split(), tail.split()
        if not dash or len(places) < 5 or len(kinds) < 3:
            continue
        if kinds[0] == "cgroup2":
            yield "", (places[3], places[4])
        elif kinds[0] == "cgroup":
            for controller in kinds[2].split(","):
                yield controller, (places[3], places[4])


def _chain(root: Path, mount: tuple[str, str], path: str) -> list[Path]:
    """Return the folder of a group, and those of the groups around it, as far as they can be seen here."""
    shown, at = mount
    top = root / at.lstrip("/")
    # Within a container, the path may be the host's, and what is mounted is the container's own group.
    inner = path[len(shown) :] if shown != "/" and path.startswith(shown) else path
    folder = top / inner.strip("/")
    if not folder.is_dir():
        folder = top
    chain = [folder]
    while folder != top:
        folder = folder.parent
        chain.append(folder)
    return chain


def _least(limits: Iterator[int | None]) -> int | None:
    return min((limit for limit in limits if limit is not None and limit < _UNLIMITED), default=None)


def _used(folder: Path, usage: str, inactive: str) -> int | None:
    used = _number(folder / usage)
    if used is None:
        return None
    lines = (line.split() for line in _text(folder / "memory.stat").splitlines())
    given_back = next((int(words[1]) for words in lines if words[:1] == [inactive] and words[1].isdecimal()), 0)
    return max(0, used - given_back)


def _quota_v1(root: Path, mounts: Mapping[str, tuple[str, str]], paths: Mapping[str, str]) -> float | None:
    if "cpu" not in mounts or "cpu" not in paths:
        return None
    folders = _chain(root, mounts["cpu"], paths["cpu"])
    pairs = ((_number(one / "cpu.cfs_quota_us"), _number(one / "cpu.cfs_period_us")) for one in folders)
    return _least_quota(quota / period if quota and period else None for quota, period in pairs)


def _quota_v2(text: str) -> float | None:
    words = text.split()
    is_set = len(words) == 2 and words[0].isdecimal() and words[1].isdecimal() and int(words[1]) > 0
    return int(words[0]) / int(words[1]) if is_set else None


def _least_quota(quotas: Iterator[float | None]) -> float | None:
    return min((quota for quota in quotas if quota is not None), default=None)


def environment_scratch() -> Path:
    """Return where stages have their temporary files."""
    return Path(os.environ.get("TMPDIR") or "/tmp")  # noqa: S108 - the default of the C library and ours
