"""What stands in the manager's configuration: names, kinds and defaults.

`[[Miners]]` has the keys of the original's `sector-manager.cfg`, so that those tables can be copied from there; `[Chain]`
is ours. Of keys the case does not matter.
"""

from pathlib import Path
from typing import Annotated

import pydantic
from pydantic import BeforeValidator, Field, StrictBool, StrictInt, StrictStr
from pydantic.alias_generators import to_pascal

from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.rpc import address
from damocles.text import units

_MOST_NUMBER = 2**63 - 1


def _text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected {what} in quotes")  # noqa: TRY004, as every refusal of a value
    return value


def _address(value: object) -> Address:
    return Address.parse(_text(value, "an address, like f1… or f01000,"))


def _amount(value: object) -> Amount | None:
    """Read an amount; the empty text is how the original says that there is none."""
    text = _text(value, 'an amount, like "5 nanoFIL",')
    if not text.strip():
        return None
    amount = Amount.parse(text)
    if amount < 0:
        raise ValueError(f"{text!r} is negative")
    return amount


def _duration(value: object) -> float:
    seconds = units.parse_duration(_text(value, 'a duration, like "1h30m",'))
    if seconds > units.LONGEST_SECONDS:
        raise ValueError('expected at most "100years"')
    return seconds


def _node(value: object) -> str:
    return address.node_url(_text(value, 'the address of a node, like "/ip4/127.0.0.1/tcp/1234",'))


def _listen(value: object) -> str:
    return str(address.host_port(_text(value, 'an address to listen on, like "127.0.0.1:1789",'), address.MANAGER_PORT))


def _path(value: object) -> Path:
    text = _text(value, "a path")
    if not text:
        raise ValueError("expected a path that is not empty")
    return Path(text).expanduser()


FIL = Annotated[Amount | None, BeforeValidator(_amount)]
Duration = Annotated[float, BeforeValidator(_duration)]
Account = Annotated[Address, BeforeValidator(_address)]
File = Annotated[Path, BeforeValidator(_path)]
Count = Annotated[StrictInt, Field(ge=0, le=_MOST_NUMBER)]


class Model(pydantic.BaseModel):
    """A table; its keys are the names of its fields in the original's spelling."""

    model_config = pydantic.ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_pascal,
        hide_input_in_errors=True,
        arbitrary_types_allowed=True,
        validate_default=False,
    )


class Node(Model):
    """A Lotus node: address, file with its token, and file with the authorities that its certificate comes from."""

    api: Annotated[str, BeforeValidator(_node)] = Field(alias="API")
    token_file: File | None = None
    ca_file: File | None = Field(default=None, alias="CAFile")


class Chain(Model):
    """The chain: its nodes in the order in which they are preferred, and the name of its network, if it has to be that one."""

    network: str | None = None
    nodes: tuple[Node, ...]

    @pydantic.field_validator("nodes")
    @classmethod
    def _some(cls, nodes: tuple[Node, ...]) -> tuple[Node, ...]:
        if not nodes:
            raise ValueError("expected at least one node")
        return nodes


class Fees(Model):
    """What a message may cost. `GasFeeCap` is the most for a unit of gas, `MaxFeeCap` that of old, without the former.

    `MaxFee`, the most that a message costs in all, is ours.
    """

    gas_over_estimation: float = Field(default=1.2, ge=1, le=10)
    gas_over_premium: float = Field(default=0, ge=0, le=100)
    gas_fee_cap: FIL = Amount(5 * 10**9)
    max_fee_cap: FIL = None
    max_fee: FIL = None


class Sender(Model):
    """Who may send: the first of those with a role in the miner that has enough money."""

    sender: Account | None = None
    senders: tuple[Account, ...] = ()

    @property
    def accounts(self) -> tuple[Address, ...]:
        """All of them, each once."""
        return tuple(dict.fromkeys([*([self.sender] if self.sender else []), *self.senders]))


class Batch(Fees):
    """When sectors share a message: so many, or when one has waited for so long; not above a base fee (ours)."""

    threshold: Annotated[StrictInt, Field(ge=1, le=256)] = 1
    max_wait: Duration = 3600.0
    check_interval: Duration = 60.0  # of the original; here each head is looked at
    max_base_fee: FIL = None


class _PreBatch(Batch):
    threshold: Annotated[StrictInt, Field(ge=1, le=256)] = 2


class _ProveBatch(Batch):
    threshold: Annotated[StrictInt, Field(ge=1, le=256)] = 4


class Messages(Fees, Sender):
    """Messages of a kind; with `SendFund` they bring deposit or pledge along, without it is the miner's own."""

    send_fund: StrictBool = True
    batch: Batch = Batch()


class _Pre(Messages):
    batch: _PreBatch = _PreBatch()


class _Prove(Messages):
    batch: _ProveBatch = _ProveBatch()


class Commitment(Model):
    """Pre-commits, proofs and terminations, and the epochs on top of a message until it counts."""

    confidence: Annotated[StrictInt, Field(ge=0, le=900)] = 10
    pre: _Pre = _Pre()
    prove: _Prove = _Prove()
    terminate: _Pre = _Pre()


class Sector(Model):
    """Which sectors a miner gets."""

    init_number: Count = 0
    min_number: Count | None = None
    max_number: Count | None = None
    enabled: StrictBool = True
    enable_deals: StrictBool = False
    lifetime_days: Annotated[StrictInt, Field(ge=0, le=36500)] = 540
    verbose: StrictBool = False

    @property
    def above(self) -> int:
        """The number that all numbers given out are above."""
        return self.init_number if self.min_number is None else self.min_number


class Retry(Model):
    """Of upgrades, in the original."""

    max_attempts: Count | None = None
    poll_interval: Duration = 180.0
    api_failure_wait: Duration = Field(default=180.0, alias="APIFailureWait")
    local_failure_wait: Duration = 180.0


class SnapUp(Fees, Sender):
    """Upgrades."""

    enabled: StrictBool = False
    send_fund: StrictBool = True
    cleanup_cc_data: StrictBool = Field(default=True, alias="CleanupCCData")
    message_confidential: Count | None = None
    release_condidential: Count | None = None
    message_confidence: Annotated[StrictInt, Field(ge=0, le=900)] = 15
    release_confidence: Count = 30
    retry: Retry = Retry()

    @property
    def confidence(self) -> int:
        """Epochs on top of a message until it counts; the old name wins."""
        return self.message_confidence if self.message_confidential is None else min(self.message_confidential, 900)


class PoSt(Fees, Sender):
    """Window PoSts."""

    enabled: StrictBool = True
    strict_check: StrictBool = True
    parallel: StrictBool = False
    confidence: Annotated[StrictInt, Field(ge=0, le=900)] = 10
    submit_confidence: Count = 0
    challenge_confidence: Count = 0
    max_recover_sector_limit: Count = 0
    max_partitions_per_po_st_message: Count = Field(default=0, alias="MaxPartitionsPerPoStMessage")
    max_partitions_per_recovery_message: Count = 0


class Proof(Model):
    """Winning PoSts."""

    enabled: StrictBool = False


class Sealing(Model):
    """How sectors are sealed, and what is required when they are proved."""

    sealing_epoch_duration: Count = 0
    require_activation_success: StrictBool = False
    require_notification_success: StrictBool = False
    require_activation_success_update: StrictBool = False
    require_notification_success_update: StrictBool = False
    use_synthetic_po_rep: StrictBool = Field(default=False, alias="UseSyntheticPoRep")
    sealing_sector_deadline_delay_ni: Count = 6


class Miner(Model):
    """A miner that sectors are sealed for."""

    actor: Count
    sector: Sector = Sector()
    snap_up: SnapUp = SnapUp()
    commitment: Commitment = Commitment()
    po_st: PoSt = Field(default=PoSt(), alias="PoSt")
    proof: Proof = Proof()
    sealing: Sealing = Sealing()


class PersistStore(Model):
    """A folder for finished sectors; its name is its path if it has none."""

    name: str = ""
    path: File


class Common(Model):
    """What is not of one miner."""

    persist_stores: tuple[PersistStore, ...] = ()


class Daemon(Model):
    """How `daemon` runs, all of it ours: each key is the option of the same name, and the option wins.

    What is a list there adds to nothing here: an option replaces the whole list.
    """

    listen: Annotated[str, BeforeValidator(_listen)] = "127.0.0.1:1789"
    """Ours: the address to listen on, HOST:PORT."""
    tls_cert: File | None = Field(default=None, alias="TLSCert")
    """Ours: a PEM file with the certificate to listen with, and its chain. Like `"/etc/damocles/tls/manager.pem"`."""
    tls_key: File | None = Field(default=None, alias="TLSKey")
    """Ours: a PEM file with its key. Like `"/etc/damocles/tls/manager.key"`."""
    ca_file: File | None = Field(default=None, alias="CAFile")
    """Ours: the authority of workers' certificates, a PEM file. Like `"/etc/damocles/tls/ca.pem"`."""
    admit: tuple[StrictStr, ...] = ()
    """Ours: callers that are admitted without tokens, by address or network. Like `["10.0.0.0/24"]`."""
    known_as: tuple[StrictStr, ...] = ()
    """Ours: names by which they call this machine, if it is not its host name. Like `["manager.lan"]`."""
    deals: File | None = None
    """Ours: the folder with deals.json and the pieces of the deals. Like `"/srv/deals"`."""
    alerts: File | None = None
    """Ours: the file with the rules and receivers of alerts, by default `alerts.toml` in the home."""
    dashboard: StrictBool = False
    """Ours: serve pages for browsers at /dashboard/."""
    open_metrics: StrictBool = False
    """Ours: let anybody read /metrics."""
    insecure: StrictBool = False
    """Ours: listen without TLS where other machines can reach it."""
    log_json: StrictBool = Field(default=False, alias="LogJSON")
    """Ours: log JSON lines instead of text."""


class Config(Model):
    """The whole file."""

    daemon: Daemon = Daemon()
    chain: Chain
    common: Common = Common()
    miners: tuple[Miner, ...]

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
