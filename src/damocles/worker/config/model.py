"""The worker's configuration as frozen values; names and defaults are the original's unless noted otherwise.

What a value may be is in `values`. Checks that read the disk, or several keys at once, are in `checks`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pydantic
from pydantic import AliasChoices, Field, StrictBool, StrictStr

from damocles.rpc import address, tls
from damocles.wire import sectors
from damocles.worker.config import rpc, values

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


class Model(pydantic.BaseModel):
    """A table of the file."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class RpcServer(Model):
    """Where the control API listens, and whom it lets in. The last five keys are not the original's.

    The original listens on every interface; here that has to be asked for, with a certificate or as `insecure`.
    """

    host: values.Host = rpc.LOOPBACK
    port: values.Port = address.WORKER_PORT
    tls_cert: Path | None = None
    tls_key: Path | None = None
    insecure: StrictBool = False
    admit: values.Admitted = ()
    known_as: tuple[StrictStr, ...] = ()

    @property
    def certificate(self) -> tls.Files | None:
        """What to listen with."""
        if self.tls_cert is None or self.tls_key is None:
            return None
        return tls.Files(self.tls_cert.expanduser(), self.tls_key.expanduser())


class Worker(Model):
    """`[worker]`. `unseal_dirs`, `home` (the worker's own small files) and the keys behind it are not the original's."""

    name: StrictStr | None = Field(default=None, min_length=1)
    rpc_server: RpcServer = RpcServer()
    ping_interval: values.PingInterval = 30.0
    local_pieces_dir: Path | None = None
    local_pieces_dirs: tuple[Path, ...] | None = None
    unseal_dirs: tuple[values.Folder, ...] = ()
    scan_persist_stores: tuple[StrictStr, ...] = Field(
        default=(), validation_alias=AliasChoices("scan_persist_stores", "ScanPersistStores")
    )
    home: Path = rpc.DEFAULT_HOME
    shutdown_grace: values.Pause = 30.0
    trash_retention: values.Duration = 7 * 86400.0
    allow_env: tuple[StrictStr, ...] = ()

    @property
    def pieces_dirs(self) -> tuple[Path, ...]:
        """The folders with pieces; the list wins over the single one."""
        if self.local_pieces_dirs is not None:
            return self.local_pieces_dirs
        return (self.local_pieces_dir,) if self.local_pieces_dir else ()


class Metrics(Model):
    """`[metrics]`. The original listens on 0.0.0.0:9000, and everybody may read; here `open` lets everybody."""

    enable: StrictBool = False
    http_listen: values.Socket = "127.0.0.1:9000"
    open: StrictBool = False

    @property
    def endpoint(self) -> address.Endpoint:
        """Where to listen."""
        return address.host_port(self.http_listen, 9000)


class RpcClient(Model):
    """The manager's address and headers to send with each call."""

    addr: values.ManagerAddress = Field(description='the address of the manager, like "/ip4/127.0.0.1/tcp/1789"')
    headers: dict[str, StrictStr] = {}

    @property
    def url(self) -> str:
        """The JSON-RPC endpoint."""
        return address.manager_url(self.addr)


class SectorManager(Model):
    """`[sector_manager]`. The two files are not the original's, nor are the origins: it shows the token to everybody."""

    rpc_client: RpcClient = Field(description='a manager: rpc_client.addr = "/ip4/127.0.0.1/tcp/1789"')
    piece_token: pydantic.SecretStr | None = None
    piece_origins: tuple[values.Origin, ...] = ()
    token_file: Path | None = None
    ca_file: Path | None = None

    @property
    def market_tokens(self) -> dict[str, str]:
        """The token for pieces, by the origins that may see it."""
        token = self.piece_token
        return {origin: token.get_secret_value() for origin in self.piece_origins} if token else {}


class Sealing(Model):
    """Options of a sealing thread; `[sealing]` holds those of all threads. The last two are not the original's.

    As a layer (see `layered`), only the keys that stand in the file count.
    """

    allowed_miners: tuple[values.Natural, ...] | None = None
    allowed_sizes: tuple[values.SectorSize, ...] | None = None
    enable_deals: StrictBool = False
    disable_cc: StrictBool = False
    max_deals: values.Natural | None = None
    min_deal_space: values.Size | None = None
    max_retries: values.Natural = 5
    seal_interval: values.Pause = 30.0
    recover_interval: values.Interval = 60.0
    rpc_polling_interval: values.Interval = 180.0
    ignore_proof_check: StrictBool = False
    request_task_max_retries: values.Natural = 3
    verify_after_pc2: StrictBool = False
    wdpost_sector_timeout: values.PostTimeout = 60.0
    wdpost_heartbeat_interval: values.Heartbeat = 3.0

    def layered(self, over: "Sealing") -> "Sealing":
        """Return these options with the keys that `over` sets."""
        return self.model_copy(update={name: getattr(over, name) for name in over.model_fields_set})

    @property
    def allowed_proofs(self) -> tuple[sectors.SealProof, ...]:
        """The seal proofs to ask the manager for; empty means any."""
        return tuple(proof for size in self.allowed_sizes or () for proof in sectors.seal_proofs_of(size))


class SealingThread(Model):
    """`[[sealing_thread]]`."""

    location: Path | None = None
    plan: values.PlanName = "sealer"
    sealing: Sealing = Sealing()


class HotConfig(Model):
    """`<location>/config.toml`: what it sets wins over the thread's entry in the main file."""

    plan: values.PlanName | None = None
    sealing: Sealing = Sealing()


class Attached(Model):
    """`[[attached]]`: a persist store; without a name, its canonical path is its name."""

    name: StrictStr | None = Field(default=None, min_length=1)
    location: Path = Field(description="the folder of the persist store")
    readonly: StrictBool = False


class Cgroup(Model):
    """Cores that a child is confined to."""

    group_name: StrictStr = "vc-worker"
    cpuset: values.Cpuset | None = None


class Group(Model):
    """`[[processors.<stage>]]`: one child process."""

    bin: StrictStr | None = None
    args: tuple[StrictStr, ...] | None = None
    stable_wait: values.Interval = 5.0
    cgroup: Cgroup = Cgroup()
    envs: dict[str, values.Environment] = {}
    numa_preferred: values.Natural | None = None
    concurrent: values.Count | None = None
    locks: tuple[StrictStr, ...] = ()
    auto_restart: StrictBool = True
    inherit_envs: StrictBool = True


class Limitation(Model):
    """`[processors.limitation]`: how many at once, and how long between two starts."""

    concurrent: dict[str, values.Count] | None = None
    staggered: dict[str, values.Stagger] = {}


class Admission(Model):
    """`[processors.admission]`: what stages may take of this machine, and what counts. Not in the original.

    Default amounts are those of the machine, or of the worker's control group. `never_fits` decides about a stage that even
    the empty machine has too little for: `warn` lets it run alone, with all there is; `refuse` pauses it.
    """

    mode: Literal["off", "memory", "full"] = "memory"
    never_fits: Literal["warn", "refuse"] = "warn"
    memory: values.Size | None = None
    cores: values.Count | None = None
    gpus: values.Natural | None = None
    scratch: values.Size | None = None


class StageCost(Model):
    """`[processors.costs.<stage>.<sector size>]`: what a stage takes of this machine. Not in the original."""

    memory: values.Size | None = None
    cores: values.Count | None = None
    gpus: values.Natural | None = None
    scratch: values.Size | None = None


Groups = tuple[Group, ...] | None


class Processors(Model):
    """`[processors]`."""

    limit: dict[str, values.Count] = {}
    limitation: Limitation = Limitation()
    admission: Admission = Admission()
    costs: dict[values.StageName, dict[values.SectorSize, StageCost]] = {}
    ext_locks: dict[str, values.Count] = {}
    static_tree_d: dict[values.SectorSize, Path] = {}
    add_pieces: Groups = None
    tree_d: Groups = None
    pc1: Groups = None
    pc2: Groups = None
    synth_proof: Groups = None
    c1: Groups = None
    c2: Groups = None
    snap_encode: Groups = None
    snap_vanilla: Groups = None
    snap_prove: Groups = None
    snap_verify: Groups = None
    snap_decode: Groups = None
    transfer: Groups = None
    unseal: Groups = None
    upload: Groups = None
    check_replicas: Groups = None
    window_post: Groups = None
    sealing_daemons: Groups = None

    @property
    def concurrent(self) -> Mapping[str, int]:
        """How many tasks a stage may run at once; the old table `limit` counts only without the new one."""
        return self.limit if self.limitation.concurrent is None else self.limitation.concurrent

    def groups(self, stage: str) -> tuple[Group, ...]:
        """The groups of a stage; none if it has no table of its own."""
        groups: tuple[Group, ...] | None = getattr(self, stage)
        return groups or ()


class Parameters(Model):
    """`[parameters]`: where `params fetch` finds the published proof parameters. Not in the original."""

    mirrors: tuple[StrictStr, ...] = ()


class Config(Model):
    """The whole file. `insecure` covers everything that listens (`config.check` spreads it); it is not the original's."""

    insecure: StrictBool = False
    worker: Worker = Worker()
    metrics: Metrics = Metrics()
    sector_manager: SectorManager = Field(
        description='a manager: [sector_manager] with rpc_client.addr = "/ip4/127.0.0.1/tcp/1789"'
    )
    sealing: Sealing = Sealing()
    sealing_thread: tuple[SealingThread, ...] = Field(
        description='the threads: [[sealing_thread]] with location = "<a folder>", once per thread'
    )
    attached: tuple[Attached, ...] = ()
    processors: Processors = Processors()
    parameters: Parameters = Parameters()


def field_names(model: Any) -> dict[str, Any]:
    """Return the keys that a table may hold, with their annotations."""
    names: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        names[name] = info.annotation
        if isinstance(info.validation_alias, AliasChoices):
            names.update({str(alias): info.annotation for alias in info.validation_alias.choices})
    return names
