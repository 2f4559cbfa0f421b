"""`[processors]`: what runs the stages, how many at once, and what they may take of the machine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import StrictBool, StrictStr

from damocles.stages.far import settings
from damocles.worker.config import values

# The stages that may have groups. The original has none for C1, synthetic proofs, the small ones of a snap-up and
# uploads, which it runs inside its daemon.
GROUP_STAGES = (
    "add_pieces",
    "tree_d",
    "pc1",
    "pc2",
    "synth_proof",
    "c1",
    "c2",
    "snap_encode",
    "snap_vanilla",
    "snap_prove",
    "snap_verify",
    "snap_decode",
    "transfer",
    "unseal",
    "upload",
    "check_replicas",
    "window_post",
)


class Cgroup(values.Table):
    """Cores that a child is confined to, by its affinity; no control group is made."""

    group_name: StrictStr = "vc-worker"
    """The beginning of `VC_CG_NAME` in the child's environment. Like `"seal"`."""
    cpuset: values.Cpuset | None = None
    """The cores; a program that is not ours gets them as `VC_CG_CPUSET`. Without the key it may use all."""


class Group(values.Table):
    """A child process that runs a stage; it is started with the worker, and again when it dies.

    With `executor = "ray"` the child carries tasks to a Ray cluster; `concurrent` is the number of its places there, 1
    without the key.
    """

    bin: StrictStr | None = None
    """The program; without the key, our own. Like `"/usr/local/bin/gpu-c2"`."""
    args: tuple[StrictStr, ...] | None = None
    """Its arguments; without the key `["processor", "<stage>"]`. Like `["processor", "c2"]`."""
    stable_wait: values.Interval = 5.0
    """How long it may take until it says that it is ready. What does not keeps the worker from starting."""
    cgroup: Cgroup = Cgroup()
    """Cores that it is confined to."""
    envs: dict[str, values.Environment] = {}
    """Environment variables of the child, put over all others. Like `{ CUDA_VISIBLE_DEVICES = "0" }`."""
    numa_preferred: values.Natural | None = None
    """The NUMA node whose memory it takes first. Like `0`."""
    concurrent: values.Count | None = None
    """How many tasks it runs at once; without the key, any number."""
    locks: tuple[StrictStr, ...] = ()
    """Names of `ext_locks` that each of its tasks has to hold. Like `["gpu"]`."""
    auto_restart: StrictBool = True
    """Whether it is started again when it dies."""
    inherit_envs: StrictBool = True
    """Whether it gets the worker's environment, which has no tokens in it."""
    executor: Literal["local", "ray"] = "local"
    """Ours: where its tasks run: on this machine, or on [a Ray cluster](processors.md). Like `"ray"`."""
    address: values.RayHead | None = None
    """Ours: the cluster's head."""
    resources: dict[str, values.Amount] = {}
    """Ours: what a task takes on the cluster: `GPU`, `CPU`, `memory` in bytes, or names of your own. Like `{ GPU = 1
    }`."""
    away: Literal["wait", "local"] = "wait"
    """Ours: what a task does while the cluster cannot be used; with `local` it runs here. Like `"local"`."""
    shared: tuple[values.Folder, ...] = ()
    """Ours: folders that all machines of the cluster have under the same path. Like `["/srv/persist"]`."""
    lease: values.Lease = settings.DEFAULT_LEASE_SECONDS
    """Ours: how long a process on the cluster goes on without a word from here."""
    token_file: Path | None = None
    """Ours: the cluster's token; without the key `~/.ray/auth_token`. Like `"/etc/damocles/ray-token"`."""
    insecure: StrictBool = False
    """Ours: whether a cluster may let in anybody, to run anything on its machines. Like `true`."""

    @property
    def slots(self) -> int | None:
        """How many tasks it runs at once; `None` for any number."""
        return 1 if self.executor == "ray" and self.concurrent is None else self.concurrent


class Limitation(values.Table):
    """How many at once, and how long between two starts."""

    concurrent: dict[str, values.Count] | None = None
    """Tasks of a stage at once. C2 and SnapProve have 1 unless they have groups; others as many as there are threads.
    Like `{ pc1 = 4 }`."""
    staggered: dict[str, values.Stagger] = {}
    """The least time between two starts of a stage; the original lets some starts through together. Like `{ pc1 =
    "10min" }`."""


class Admission(values.Table):
    """What stages may take of this machine, and what counts.

    Default amounts are those of the machine, or of the worker's control group.
    """

    mode: Literal["off", "memory", "full"] = "memory"
    """Ours: what counts: nothing, memory alone, or memory, cores, GPUs and scratch. Like `"full"`."""
    never_fits: Literal["warn", "refuse"] = "warn"
    """Ours: a stage that even the empty machine has too little for runs alone, with all there is, or pauses its
    thread. Like `"refuse"`."""
    memory: values.Size | None = None
    """Ours: memory that stages may take."""
    cores: values.Count | None = None
    """Ours: cores that stages may take."""
    gpus: values.Natural | None = None
    """Ours: GPUs that stages may take; without the key, those that `nvidia-smi` or the driver names."""
    scratch: values.Size | None = None
    """Ours: space in `TMPDIR` that stages may take; without the key, what is free there when the worker starts."""


class StageCost(values.Table):
    """What a stage takes of this machine for a sector size, where it is not what the table of costs says."""

    memory: values.Size | None = None
    """Ours: its memory."""
    cores: values.Count | None = None
    """Ours: its cores."""
    gpus: values.Natural | None = None
    """Ours: its GPUs."""
    scratch: values.Size | None = None
    """Ours: its space in `TMPDIR`."""


Groups = tuple[Group, ...] | None


class Processors(values.Table):
    """What runs the stages; [explained](processors.md) on a page of its own."""

    limit: dict[str, values.Count] = {}
    """The old form of `limitation.concurrent`, without effect beside it. Like `{ pc1 = 4 }`."""
    limitation: Limitation = Limitation()
    """How many at once."""
    admission: Admission = Admission()
    """What the machine has."""
    costs: dict[values.StageName, dict[values.SectorSize, StageCost]] = {}
    """What stages take."""
    ext_locks: dict[str, values.Count] = {}
    """Locks by name, and how many tasks may hold each at once. Like `{ gpu = 1 }`."""
    static_tree_d: dict[values.SectorSize, Path] = {}
    """A tree-d that all sectors without deals share, by sector size; `damocles-worker generator tree-d` makes it.
    Like `{ "32GiB" = "/srv/tree-d" }`."""
    add_pieces: Groups = None
    """Children that write the pieces of a sector into its unsealed file."""
    tree_d: Groups = None
    """Children that build the tree over the data."""
    pc1: Groups = None
    """Children that compute the layers."""
    pc2: Groups = None
    """Children that build the trees over the layers."""
    synth_proof: Groups = None
    """Ours: children that make synthetic proofs; the original makes them in its daemon."""
    c1: Groups = None
    """Ours: children that make the vanilla proofs of a sector; the original makes them in its daemon."""
    c2: Groups = None
    """Children that prove with a zk-SNARK."""
    snap_encode: Groups = None
    """Children that encode deals into a replica."""
    snap_vanilla: Groups = None
    """Ours: children that make the vanilla proofs of an upgrade; the original makes them in its daemon."""
    snap_prove: Groups = None
    """Children that prove an upgrade with a zk-SNARK."""
    snap_verify: Groups = None
    """Ours: children that verify the proof of an upgrade; the original does it in its daemon."""
    snap_decode: Groups = None
    """Ours: children that get the data out of an upgraded replica."""
    transfer: Groups = None
    """Children that copy files between stores."""
    unseal: Groups = None
    """Children that unseal a piece."""
    upload: Groups = None
    """Ours: children that bring a piece to its destination."""
    check_replicas: Groups = None
    """Ours: children that check the files of a sector before it is proved or rebuilt."""
    window_post: Groups = None
    """Children that prove the partitions of a deadline."""
    sealing_daemons: Groups = None
    """Programs that are started with the worker and get no tasks; each needs `bin` and `args`."""

    @property
    def concurrent(self) -> Mapping[str, int]:
        """How many tasks a stage may run at once; the old table `limit` counts only without the new one."""
        return self.limit if self.limitation.concurrent is None else self.limitation.concurrent

    def groups(self, stage: str) -> tuple[Group, ...]:
        """The groups of a stage; none if it has no table of its own."""
        groups: tuple[Group, ...] | None = getattr(self, stage)
        return groups or ()
