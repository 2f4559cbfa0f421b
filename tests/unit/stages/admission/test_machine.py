"""What a machine has, read from trees that stand for machines."""

from pathlib import Path

from damocles.stages.admission import machine

GIB = 1 << 30
MEMINFO = "MemTotal:       527936000 kB\nMemFree:  100 kB\nMemAvailable:   402653184 kB\nHugePages_Total:       2\n"
V1_MOUNTS = """\
30 24 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw
31 30 0:27 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
33 30 0:29 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
V2_MOUNTS = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"


def grow(root: Path, files: dict[str, str]) -> Path:
    """Write the files of a machine."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def look(root: Path, files: dict[str, str], nvidia: str | None = None) -> machine.Machine:
    """Look at a machine with four CPUs."""
    return machine.look(grow(root, files), cores=range(4), nvidia=lambda: nvidia)


def test_bare_machine(tmp_path):
    """Memory, nodes and huge pages are read; without a control group nothing limits them."""
    nodes = {
        f"sys/devices/system/node/node{n}/{name}": text
        for n, cpus in ((0, "0-1"), (1, "2-3"), (10, ""))
        for name, text in (
            ("cpulist", cpus + "\n"),
            ("meminfo", f"Node {n} MemTotal:  1024 kB\nNode {n} MemFree: 1 kB\n"),
        )
    }
    pool = "sys/kernel/mm/hugepages/hugepages-1048576kB"
    found = look(
        tmp_path,
        {
            "proc/meminfo": MEMINFO,
            "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
            **nodes,
            f"{pool}/nr_hugepages": "66\n",
            f"{pool}/free_hugepages": "2\n",
        },
    )
    assert (527936000 << 10, 402653184 << 10) == (found.memory_bytes, found.available_bytes)
    assert [(0, (0, 1)), (1, (2, 3)), (10, ())] == [(node.number, node.cores) for node in found.nodes]
    assert {1 << 20} == {node.memory_bytes for node in found.nodes}
    assert (machine.HugePages(GIB, 66, 2),) == found.huge_pages
    assert "madvise" == found.transparent_huge_pages
    assert found.cgroup is None
    assert {"cores": 4, "memory": 527936000 << 10, "gpus": 0} == found.capacity()


def test_nothing_to_read(tmp_path):
    """Of a machine that tells nothing, nothing is known: it limits nobody."""
    found = look(tmp_path, {})
    assert {"cores": 4, "gpus": 0} == found.capacity()


def test_v1_limits_of_all_groups_around_count(tmp_path):
    """The tightest limit counts, whichever group has it; page cache that can go is not used memory."""
    inner, outer = "sys/fs/cgroup/memory/farm/worker", "sys/fs/cgroup/memory/farm"
    found = look(
        tmp_path,
        {
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": "4:memory:/farm/worker\n3:cpu,cpuacct:/farm\n0::/\n",
            "proc/self/mountinfo": V1_MOUNTS,
            f"{inner}/memory.limit_in_bytes": "9223372036854771712\n",
            f"{inner}/memory.usage_in_bytes": f"{3 * GIB}\n",
            f"{inner}/memory.stat": f"cache 1\ninactive_file 7\ntotal_inactive_file {GIB}\n",
            f"{outer}/memory.limit_in_bytes": f"{4 * GIB}\n",
            "sys/fs/cgroup/cpu,cpuacct/farm/cpu.cfs_quota_us": "250000\n",
            "sys/fs/cgroup/cpu,cpuacct/farm/cpu.cfs_period_us": "100000\n",
        },
    )
    assert machine.Cgroup(1, "/farm/worker", 4 * GIB, 2 * GIB, 2.5) == found.cgroup
    assert {"cores": 2, "memory": 4 * GIB, "gpus": 0} == found.capacity()


def test_v2_limits(tmp_path):
    """`max` is no limit; memory.high counts too, since beyond it a process stands still."""
    inner, outer = "sys/fs/cgroup/farm.slice/worker.service", "sys/fs/cgroup/farm.slice"
    found = look(
        tmp_path,
        {
            "proc/meminfo": MEMINFO,
            "proc/self/cgroup": "0::/farm.slice/worker.service\n",
            "proc/self/mountinfo": V2_MOUNTS,
            f"{inner}/memory.max": "max\n",
            f"{inner}/memory.high": f"{6 * GIB}\n",
            f"{inner}/memory.current": f"{GIB}\n",
            f"{inner}/cpu.max": "max 100000\n",
            f"{outer}/memory.max": f"{8 * GIB}\n",
            f"{outer}/cpu.max": "50000 100000\n",
        },
    )
    assert machine.Cgroup(2, "/farm.slice/worker.service", 6 * GIB, GIB, 0.5) == found.cgroup
    assert 1 == found.usable_cores, "less than a core is still one that stages take turns on"


def test_in_a_container_the_path_may_be_the_hosts(tmp_path):
    """What is mounted is the container's own group then, and its path is not to be seen."""
    mounts = "31 30 0:27 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
    found = look(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/docker/abc\n",
            "proc/self/mountinfo": mounts,
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{GIB}\n",
        },
    )
    assert found.cgroup is not None
    assert GIB == found.cgroup.memory_bytes


def test_gpus_by_either_way(tmp_path):
    """`nvidia-smi` tells names and memory; where it is missing the driver's files tell names."""
    driver = {f"proc/driver/nvidia/gpus/0000:0{n}:00.0/information": "Model: \t\t NVIDIA A10\nIRQ: 5\n" for n in (1, 2)}
    assert ("NVIDIA A10", "NVIDIA A10") == tuple(gpu.name for gpu in look(tmp_path, driver).gpus)
    told = look(tmp_path, driver, "NVIDIA RTX 6000, Ada, 49140\nNVIDIA X, [N/A]\n\n")
    assert (machine.Gpu("NVIDIA RTX 6000, Ada", 49140 << 20), machine.Gpu("NVIDIA X")) == told.gpus
    assert 2 == told.capacity()["gpus"]


def test_odd_files_are_nothing_known(tmp_path):
    """Whatever lies in the files, looking does not fail."""
    odd = "x\n:::\nMemTotal: many kB\n30 - cgroup2\n1 2 3 / - \0\n"
    names = ("proc/meminfo", "proc/self/cgroup", "proc/self/mountinfo", "sys/devices/system/node/node0/cpulist")
    found = look(tmp_path, dict.fromkeys(names, odd), nvidia=odd)
    assert found.memory_bytes is None
    assert found.cgroup is None


def test_space_of_a_folder_that_is_not_there(tmp_path):
    """It is listed all the same, with nothing known."""
    assert machine.Space("persist x", str(tmp_path / "no")) == machine.space("persist x", tmp_path / "no")
    assert machine.space("store", tmp_path).free_bytes


def test_this_machine():
    """The one that the test runs on has cores, and memory that some of is available."""
    found = machine.look(nvidia=lambda: None)
    assert found.usable_cores >= 1
    assert found.memory_bytes
    assert found.available_bytes
    assert found.nodes
