"""What stands in the manager's configuration: names, kinds and defaults.

`[[Miners]]` has the keys of the original's `sector-manager.cfg`, so that those tables can be copied from there; `[Chain]`
is ours. Of keys the case does not matter.
"""

from typing import Annotated

import pydantic
from pydantic import Field, StrictBool, StrictInt, StrictStr

from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.manager.config import values


class Node(values.Table):
    """A Lotus node: address, file with its token, and file with the authorities that its certificate comes from."""

    api: values.NodeAddress = Field(alias="API")
    """Ours: the address of a Lotus node."""
    token_file: values.File | None = None
    """Ours: a file with its token, of the permission `sign`. Like `"/etc/damocles/lotus-token"`."""
    ca_file: values.File | None = Field(default=None, alias="CAFile")
    """Ours: the authority of its certificate, a PEM file. Like `"/etc/damocles/node-ca.pem"`."""


class Chain(values.Table):
    """The chain that the manager works on."""

    network: str | None = None
    """Ours: the network that the nodes have to be on; without the key, any. Like `"mainnet"`."""
    nodes: tuple[Node, ...]
    """Ours: the nodes, the preferred one first."""

    @pydantic.field_validator("nodes")
    @classmethod
    def _some(cls, nodes: tuple[Node, ...]) -> tuple[Node, ...]:
        if not nodes:
            raise ValueError("expected at least one node")
        return nodes


class Fees(values.Table):
    """What a message may cost."""

    gas_over_estimation: float = Field(default=1.2, ge=1, le=10)
    """What the estimated limit of gas is multiplied by. Like `1.5`."""
    gas_over_premium: float = Field(default=0, ge=0, le=100)
    """What the estimated premium is multiplied by; 0 leaves it as it is. Like `1.25`."""
    gas_fee_cap: values.FIL = Amount(5 * 10**9)
    """The most that a unit of gas may cost."""
    max_fee_cap: values.FIL = None
    """The old form of `GasFeeCap`, in effect where that is empty."""
    max_fee: values.FIL = None
    """Ours: the most that a message may cost in all."""


class Sender(values.Table):
    """Who may send: the first of those with a role in the miner that has enough money."""

    sender: values.Account | None = None
    """Who sends, if it is the worker or a control address of the miner."""
    senders: tuple[values.Account, ...] = ()
    """More of them; the first with enough money sends."""

    @property
    def accounts(self) -> tuple[Address, ...]:
        """All of them, each once."""
        return tuple(dict.fromkeys([*([self.sender] if self.sender else []), *self.senders]))


class Batch(Fees):
    """When sectors share a message: once there are so many, or one has waited for so long."""

    threshold: Annotated[StrictInt, Field(ge=1, le=256)] = 1
    """How many sectors share a message."""
    max_wait: values.Duration = 3600.0
    """How long a sector waits for others at most."""
    check_interval: values.Duration = 60.0
    """The time between two looks at what waits."""
    max_base_fee: values.FIL = None
    """Ours: the base fee above which a message that is not urgent waits."""


class _PreBatch(Batch):
    threshold: Annotated[StrictInt, Field(ge=1, le=256)] = 2
    """How many sectors share a message."""


class _ProveBatch(Batch):
    threshold: Annotated[StrictInt, Field(ge=1, le=256)] = 4
    """How many sectors share a message."""


class Messages(Fees, Sender):
    """Messages of a kind; with `SendFund` they bring deposit or pledge along, without it is the miner's own."""

    send_fund: StrictBool = True
    """Whether deposit or pledge come with the message; otherwise out of the miner's own balance."""
    batch: Batch = Batch()
    """Messages that sectors share."""


class _Pre(Messages):
    batch: _PreBatch = _PreBatch()
    """Messages that sectors share."""


class _Prove(Messages):
    batch: _ProveBatch = _ProveBatch()
    """Messages that sectors share."""


class Commitment(values.Table):
    """Pre-commits, proofs and terminations, and the epochs on top of a message until it counts."""

    confidence: Annotated[StrictInt, Field(ge=0, le=900)] = 10
    """Epochs on top of a message until it counts."""
    pre: _Pre = _Pre()
    """Pre-commits."""
    prove: _Prove = _Prove()
    """Proofs."""
    terminate: _Pre = _Pre()
    """Terminations."""


class Sector(values.Table):
    """Which sectors a miner gets."""

    init_number: values.Count = 0
    """The old form of `MinNumber`. Like `4999`."""
    min_number: values.Count | None = None
    """Numbers of new sectors are greater than this. Like `4999`."""
    max_number: values.Count | None = None
    """The last number of a sector. Like `9999`."""
    enabled: StrictBool = True
    """Whether the miner gets new sectors."""
    enable_deals: StrictBool = False
    """Whether its sectors may hold deals."""
    lifetime_days: Annotated[StrictInt, Field(ge=0, le=36500)] = 540
    """How long sectors without deals are to live. Like `365`."""
    verbose: StrictBool = False
    """Whether the log says why the miner gets no sectors."""

    @property
    def above(self) -> int:
        """The number that all numbers given out are above."""
        return self.init_number if self.min_number is None else self.min_number


class Retry(values.Table):
    """Retries of upgrades."""

    max_attempts: values.Count | None = None
    """The most tries to send an upgrade."""
    poll_interval: values.Duration = 180.0
    """The time between two looks at its message."""
    api_failure_wait: values.Duration = Field(default=180.0, alias="APIFailureWait")
    """The wait after a call of a node has failed."""
    local_failure_wait: values.Duration = 180.0
    """The wait after another failure."""


class SnapUp(Fees, Sender):
    """Upgrades."""

    enabled: StrictBool = False
    """Whether sectors of the miner are upgraded."""
    send_fund: StrictBool = True
    """Whether the pledge comes with the message; otherwise out of the miner's own balance."""
    cleanup_cc_data: StrictBool = Field(default=True, alias="CleanupCCData")
    """Whether the files of the replica before an upgrade are deleted."""
    message_confidential: values.Count | None = None
    """The old form of `MessageConfidence`, which it wins over."""
    release_condidential: values.Count | None = None
    """The old form of `ReleaseConfidence`."""
    message_confidence: Annotated[StrictInt, Field(ge=0, le=900)] = 15
    """Epochs on top of the message of an upgrade until it counts."""
    release_confidence: values.Count = 30
    """Epochs until the files of the replica before an upgrade are deleted."""
    retry: Retry = Retry()
    """Retries of upgrades."""

    @property
    def confidence(self) -> int:
        """Epochs on top of a message until it counts; the old name wins."""
        return self.message_confidence if self.message_confidential is None else min(self.message_confidential, 900)


class PoSt(Fees, Sender):
    """Window PoSts."""

    enabled: StrictBool = True
    """Whether window PoSts of the miner are proved."""
    strict_check: StrictBool = True
    """Whether files are read before a proof, and not only looked for."""
    parallel: StrictBool = False
    """Whether the partitions of a deadline are proved at once."""
    confidence: Annotated[StrictInt, Field(ge=0, le=900)] = 10
    """Epochs on top of a proof's message until it counts."""
    submit_confidence: values.Count = 0
    """Epochs of an open deadline after which a proof is sent."""
    challenge_confidence: values.Count = 0
    """Epochs on top of the challenge after which proving begins."""
    max_recover_sector_limit: values.Count = 0
    """The most sectors that are declared recovered at once; 0 is any number."""
    max_partitions_per_po_st_message: values.Count = Field(default=0, alias="MaxPartitionsPerPoStMessage")
    """The most partitions in a message with a proof; 0 is as many as the chain allows."""
    max_partitions_per_recovery_message: values.Count = 0
    """The most partitions in a declaration of recoveries; 0 is any number."""


class Proof(values.Table):
    """Winning PoSts."""

    enabled: StrictBool = False
    """Whether the miner takes part in the election of blocks. No other program may make blocks of it."""


class Sealing(values.Table):
    """How sectors are sealed, and what is required when they are proved."""

    sealing_epoch_duration: values.Count = 0
    """Epochs that a deal's start has to be away so that it is taken; 0 is any."""
    require_activation_success: StrictBool = False
    """Whether a proof fails as a whole if a piece cannot be activated."""
    require_notification_success: StrictBool = False
    """Whether a proof fails as a whole if an actor refuses the notice about a piece."""
    require_activation_success_update: StrictBool = False
    """The same of upgrades, about pieces."""
    require_notification_success_update: StrictBool = False
    """The same of upgrades, about notices."""
    use_synthetic_po_rep: StrictBool = Field(default=False, alias="UseSyntheticPoRep")
    """Whether sectors get synthetic proofs."""
    use_non_interactive_po_rep: StrictBool = Field(default=False, alias="UseNonInteractivePoRep")
    """Ours: whether sectors are sealed without a pre-commit, by threads with the plan niporep."""
    sealing_sector_deadline_delay_ni: Annotated[StrictInt, Field(ge=2, le=47)] = 6
    """How many deadlines after the open one a sector with a non-interactive proof is put."""

    @pydantic.model_validator(mode="after")
    def _one_kind(self) -> "Sealing":
        if self.use_synthetic_po_rep and self.use_non_interactive_po_rep:
            raise ValueError("UseSyntheticPoRep and UseNonInteractivePoRep exclude each other: leave one out")
        return self


class Miner(values.Table):
    """A miner that sectors are sealed for."""

    actor: values.Count
    """The number of the miner: 1000 for `f01000`. Like `1000`."""
    sector: Sector = Sector()
    """Which sectors it gets."""
    snap_up: SnapUp = SnapUp()
    """Upgrades."""
    commitment: Commitment = Commitment()
    """Pre-commits, proofs and terminations."""
    po_st: PoSt = Field(default=PoSt(), alias="PoSt")
    """Window PoSts."""
    proof: Proof = Proof()
    """Winning PoSts."""
    sealing: Sealing = Sealing()
    """How sectors are sealed."""


class PersistStore(values.Table):
    """A folder for finished sectors; its name is its path if it has none."""

    name: str = ""
    """Its name, by which the workers know it; without the key, its path. Like `"persist-1"`."""
    path: values.File
    """The folder. Like `"/mnt/hdd1/persist"`."""


class Common(values.Table):
    """What is not of one miner."""

    persist_stores: tuple[PersistStore, ...] = ()
    """Where finished sectors are kept."""


class Daemon(values.Table):
    """How `daemon` runs, all of it ours: each key is the option of the same name, and the option wins.

    What is a list there adds to nothing here: an option replaces the whole list.
    """

    listen: values.Listen = "127.0.0.1:1789"
    """Ours: the address to listen on, HOST:PORT."""
    database: StrictStr | None = None
    """Ours: a database on PostgreSQL, instead of the file in the home. Like `"postgresql://damocles@db.lan/damocles"`."""
    tls_cert: values.File | None = Field(default=None, alias="TLSCert")
    """Ours: a PEM file with the certificate to listen with, and its chain. Like `"/etc/damocles/tls/manager.pem"`."""
    tls_key: values.File | None = Field(default=None, alias="TLSKey")
    """Ours: a PEM file with its key. Like `"/etc/damocles/tls/manager.key"`."""
    ca_file: values.File | None = Field(default=None, alias="CAFile")
    """Ours: the authority of workers' certificates, a PEM file. Like `"/etc/damocles/tls/ca.pem"`."""
    admit: tuple[StrictStr, ...] = ()
    """Ours: callers that are admitted without tokens, by address or network. Like `["10.0.0.0/24"]`."""
    known_as: tuple[StrictStr, ...] = ()
    """Ours: names by which they call this machine, if it is not its host name. Like `["manager.lan"]`."""
    deals: values.File | None = None
    """Ours: the folder with deals.json and the pieces of the deals. Like `"/srv/deals"`."""
    alerts: values.File | None = None
    """Ours: the file with the rules and receivers of alerts, by default `alerts.toml` in the home. Like `"/etc/damocles/alerts.toml"`."""
    dashboard: StrictBool = False
    """Ours: serve pages for browsers at /dashboard/."""
    open_metrics: StrictBool = False
    """Ours: let anybody read /metrics."""
    prove_here: Annotated[StrictInt, Field(ge=0, le=64)] = 1
    """Ours: window PoSts that this machine proves at a time when no worker comes for them; 0 leaves all to workers."""
    insecure: StrictBool = False
    """Ours: listen without TLS where other machines can reach it."""
    log_json: StrictBool = Field(default=False, alias="LogJSON")
    """Ours: log JSON lines instead of text."""


class Config(values.Table):
    """The whole file."""

    daemon: Daemon = Daemon()
    """How the daemon runs."""
    chain: Chain
    """The chain."""
    common: Common = Common()
    """What is not of one miner."""
    miners: tuple[Miner, ...]
    """The miners."""

    @pydantic.model_validator(mode="after")
    def _each_once(self) -> "Config":
        if not self.miners:
            raise ValueError("there is no miner: add a table [[Miners]] with its Actor")
        actors = [miner.actor for miner in self.miners]
        if twice := next((actor for actor in actors if actors.count(actor) > 1), None):
            raise ValueError(f"the miner {twice} appears twice")
        names = [store.name or str(store.path) for store in self.common.persist_stores]
        if again := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"the persist store {again} appears twice")
        return self

    def table(self, actor: int) -> Miner | None:
        """Return what the file says of a miner; `None` if it does not name it."""
        return next((miner for miner in self.miners if miner.actor == actor), None)
