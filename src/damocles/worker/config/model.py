"""The worker's configuration as frozen values; names and defaults are the original's unless noted otherwise.

What a value may be is in `values`. Checks that read the disk, or several keys at once, are in `checks`.
"""

from pathlib import Path
from typing import Any

import pydantic
from pydantic import AliasChoices, Field, StrictBool, StrictStr

from damocles.rpc import address, tls
from damocles.wire import sectors
from damocles.worker.config import rpc, values
from damocles.worker.config.processors import Processors


class RpcServer(values.Table):
    """Where the control API listens, and whom it lets in.

    The original listens on every interface; here that has to be asked for, with a certificate or as `insecure`.
    """

    host: values.Host = rpc.LOOPBACK
    """The address to listen on. The original listens on all (`0.0.0.0`)."""
    port: values.Port = address.WORKER_PORT
    """The port of the control API."""
    tls_cert: Path | None = None
    """Ours: the certificate to listen with, a PEM file; `damocles-manager auth ca` makes it. Like
    `"/etc/damocles/gpu1.pem"`."""
    tls_key: Path | None = None
    """Ours: its key, a PEM file that only the worker's user may read. Like `"/etc/damocles/gpu1.key"`."""
    insecure: StrictBool = False
    """Ours: whether other machines may reach the worker without TLS."""
    admit: values.Admitted = ()
    """Ours: from where the original's programs, which send no token, may operate this worker."""
    known_as: tuple[StrictStr, ...] = ()
    """Ours: names by which programs without a token may call this worker, besides its addresses. Like
    `["gpu1.example.com"]`."""

    @property
    def certificate(self) -> tls.Files | None:
        """What to listen with."""
        if self.tls_cert is None or self.tls_key is None:
            return None
        return tls.Files(self.tls_cert.expanduser(), self.tls_key.expanduser())


class Worker(values.Table):
    """The worker itself: its name and folders."""

    name: StrictStr | None = Field(default=None, min_length=1)
    """The name of this worker, once in a fleet; without the key, its address. Like `"gpu-1"`."""
    rpc_server: RpcServer = RpcServer()
    """Where it listens."""
    ping_interval: values.PingInterval = 30.0
    """The time between two pings to the manager."""
    local_pieces_dir: Path | None = None
    """The old form of `local_pieces_dirs`, for one folder. Like `"/srv/pieces"`."""
    local_pieces_dirs: tuple[Path, ...] | None = None
    """Folders in which pieces are looked for before the manager is asked. Like `["/srv/pieces"]`."""
    unseal_dirs: tuple[values.Folder, ...] = ()
    """Ours: folders below which unsealed pieces may be put; without the key, none."""
    scan_persist_stores: tuple[StrictStr, ...] = Field(
        default=(), validation_alias=AliasChoices("scan_persist_stores", "ScanPersistStores")
    )
    """Patterns of folders that are persist stores where they hold a `sectorstore.json`. Like `["/mnt/*/persist"]`."""
    home: Path = rpc.DEFAULT_HOME
    """Ours: the folder of the worker's own small files: tokens, audit. Like `"/var/lib/damocles-worker"`."""
    shutdown_grace: values.Pause = 30.0
    """Ours: how long stages may still run once the worker has to stop."""
    trash_retention: values.Duration = 7 * 86400.0
    """Ours: how long the files of an aborted sector stay in the trash of its sealing store."""
    allow_env: tuple[StrictStr, ...] = ()
    """Ours: names of environment variables that may be set while the worker runs. Like `["CUDA_VISIBLE_DEVICES"]`."""

    @property
    def pieces_dirs(self) -> tuple[Path, ...]:
        """The folders with pieces; the list wins over the single one."""
        if self.local_pieces_dirs is not None:
            return self.local_pieces_dirs
        return (self.local_pieces_dir,) if self.local_pieces_dir else ()


class Metrics(values.Table):
    """Metrics for Prometheus."""

    enable: StrictBool = False
    """Whether Prometheus can read metrics."""
    http_listen: values.Socket = "127.0.0.1:9000"
    """Where it reads them. The original listens on `0.0.0.0:9000`."""
    open: StrictBool = False
    """Ours: whether everybody may read them; without it a token of scope `read` is needed."""

    @property
    def endpoint(self) -> address.Endpoint:
        """Where to listen."""
        return address.host_port(self.http_listen, 9000)


class RpcClient(values.Table):
    """The manager's address and headers to send with each call."""

    addr: values.ManagerAddress = Field(description='the address of the manager, like "/ip4/127.0.0.1/tcp/1789"')
    """The address of the manager."""
    headers: dict[str, StrictStr] = {}
    """HTTP headers to send with each call; the original reads the key and sends none. Like `{ X-Farm = "north" }`."""

    @property
    def url(self) -> str:
        """The JSON-RPC endpoint."""
        return address.manager_url(self.addr)


class SectorManager(values.Table):
    """The manager. The original shows the token for pieces to everybody; here it goes to the named markets alone."""

    rpc_client: RpcClient = Field(description='a manager: rpc_client.addr = "/ip4/127.0.0.1/tcp/1789"')
    """How the manager is reached."""
    addresses: tuple[values.ManagerAddress, ...] = ()
    """Ours: further managers of the same database. The worker goes to another one when the one that it uses does not answer.
    Like `["https://manager2.example:1789"]`."""
    piece_token: pydantic.SecretStr | None = None
    """The token for the market that pieces are fetched from; it is sent to `piece_origins` alone. Like
    `"eyJhbGciOi…"`."""
    piece_origins: tuple[values.Origin, ...] = ()
    """Ours: the markets that get the `piece_token`."""
    token_file: Path | None = None
    """Ours: the file with the worker's token for the manager. Like `"/etc/damocles/worker-token"`."""
    ca_file: Path | None = None
    """Ours: the authority of the manager's certificate, a PEM file. Like `"/etc/damocles/ca.pem"`."""

    @property
    def urls(self) -> tuple[str, ...]:
        """The endpoints of all managers, each once, that of `rpc_client` first."""
        return tuple(dict.fromkeys([self.rpc_client.url, *(address.manager_url(text) for text in self.addresses)]))

    @property
    def market_tokens(self) -> dict[str, str]:
        """The token for pieces, by the origins that may see it."""
        token = self.piece_token
        return {origin: token.get_secret_value() for origin in self.piece_origins} if token else {}


class Sealing(values.Table):
    """Options of sealing threads: of all, or of one.

    As a layer (see `layered`), only the keys that stand in the file count.
    """

    allowed_miners: tuple[values.Natural, ...] | None = None
    """The miners whose sectors this thread takes; without the key, any. Like `[1000]`."""
    allowed_sizes: tuple[values.SectorSize, ...] | None = None
    """The sector sizes that this thread takes; without the key, any."""
    enable_deals: StrictBool = False
    """Whether sectors are filled with deals, if there are some."""
    disable_cc: StrictBool = False
    """Whether a sector waits for deals rather than being sealed without any."""
    max_deals: values.Natural | None = None
    """The most deals in a sector."""
    min_deal_space: values.Size | None = None
    """The least that the deals of a sector have to fill."""
    max_retries: values.Natural = 5
    """How often a state is tried again after a temporary error; in the original it counts for the whole sector."""
    seal_interval: values.Pause = 30.0
    """The rest between two sectors."""
    recover_interval: values.Interval = 60.0
    """The wait after a temporary error, which doubles with each try, and for work that is not there yet."""
    rpc_polling_interval: values.Interval = 180.0
    """The time between two questions whether a message has landed, or a store has space."""
    ignore_proof_check: StrictBool = False
    """Whether a sector is finished without waiting until its proof has landed."""
    request_task_max_retries: values.Natural = 3
    """How often the manager is asked for work before the thread rests and reads its options again."""
    verify_after_pc2: StrictBool = False
    """Whether PC2 is checked by a C1 with a made-up seed."""
    wdpost_sector_timeout: values.PostTimeout = 60.0
    """Ours: how long the check of a sector's files may take before a window PoSt leaves it out."""
    wdpost_heartbeat_interval: values.Heartbeat = 3.0
    """Ours: the time between two signs of life of a window PoSt that runs."""

    def layered(self, over: "Sealing") -> "Sealing":
        """Return these options with the keys that `over` sets."""
        return self.model_copy(update={name: getattr(over, name) for name in over.model_fields_set})

    @property
    def allowed_proofs(self) -> tuple[sectors.SealProof, ...]:
        """The seal proofs to ask the manager for; empty means any."""
        return tuple(proof for size in self.allowed_sizes or () for proof in sectors.seal_proofs_of(size))


class SealingThread(values.Table):
    """A sealing thread."""

    location: Path | None = None
    """The folder of the sealing store; only the plan `wdpost` does without. Like `"/mnt/nvme1/store1"`."""
    plan: values.PlanName = "sealer"
    """What the thread does with sectors."""
    sealing: Sealing = Sealing()
    """Options of this thread, over those of all."""


class HotConfig(values.Table):
    """`config.toml` in a sealing store: what it sets wins over the main file, without a restart."""

    plan: values.PlanName | None = None
    """The plan from the next sector on."""
    sealing: Sealing = Sealing()
    """Options from the next sector on."""


class Attached(values.Table):
    """A persist store."""

    name: StrictStr | None = Field(default=None, min_length=1)
    """Its name, by which the manager knows it; without the key, its canonical path. Like `"persist-1"`."""
    location: Path = Field(description="the folder of the persist store")
    """The folder. Like `"/mnt/hdd1/persist"`."""
    readonly: StrictBool = False
    """Whether sectors are only read there."""


class Parameters(values.Table):
    """Proof parameters."""

    mirrors: tuple[StrictStr, ...] = ()
    """Ours: addresses from which `params fetch` gets the published parameter files. Like
    `["https://mirror.example.com/params"]`."""


class Config(values.Table):
    """The whole file. `insecure` covers everything that listens: `config.check` spreads it."""

    insecure: StrictBool = False
    """Ours: the same as `insecure` and `open` of everything that listens."""
    worker: Worker = Worker()
    """The worker itself."""
    metrics: Metrics = Metrics()
    """Metrics."""
    sector_manager: SectorManager = Field(
        description='a manager: [sector_manager] with rpc_client.addr = "/ip4/127.0.0.1/tcp/1789"'
    )
    """The manager."""
    sealing: Sealing = Sealing()
    """Options of all threads."""
    sealing_thread: tuple[SealingThread, ...] = Field(
        description='the threads: [[sealing_thread]] with location = "<a folder>", once per thread'
    )
    """The threads."""
    attached: tuple[Attached, ...] = ()
    """Persist stores."""
    processors: Processors = Processors()
    """What runs the stages."""
    parameters: Parameters = Parameters()
    """Proof parameters."""


def field_names(model: Any) -> dict[str, Any]:
    """Return the keys that a table may hold, with their annotations."""
    names: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        names[name] = info.annotation
        if isinstance(info.validation_alias, AliasChoices):
            names.update({str(alias): info.annotation for alias in info.validation_alias.choices})
    return names
