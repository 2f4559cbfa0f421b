"""`damocles-manager mock`: a manager and a devnode in one process."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from damocles.cli.connecting import manager_at, own_devnode
from damocles.cli.of_manager import starting
from damocles.cli.terminal import exits
from damocles.cli.threads import options
from damocles.manager import daemon
from damocles.manager.alerts import config
from damocles.manager.serving import auth
from damocles.rpc import address
from damocles.rpc.admission import access
from damocles.stores import persist
from damocles.text import units
from damocles.wire.sectors import SealFamily, SealProof, SectorSize

Count = Annotated[int, Parameter(validator=validators.Number(gte=0))]
Epochs = Annotated[int, Parameter(validator=validators.Number(gte=1))]
_SHORTEST_SECONDS, _LONGEST_SECONDS = 0.001, 30 * 86400.0  # between two blocks, or two deadlines


def mock(
    *,
    miner: options.Miner,
    sector_size: str,
    listen: str = manager_at.DEFAULT_LISTEN,
    home: Annotated[Path, Parameter(env_var="DAMOCLES_PATH")] = Path("~/.damocles-manager"),
    database: str | None = None,
    store: list[str] | None = None,
    max_sectors: Count | None = None,
    block_delay: str = "30s",
    pre_commit_delay: Count = 0,
    proof_delay: Count = 0,
    challenge_delay: Epochs = 1,
    fail_messages: Count = 0,
    synthetic: bool = False,
    non_interactive: bool = False,
    deals: Path | None = None,
    wdpost_every: str | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    ca_file: Path | None = None,
    admit: list[str] | None = None,
    known_as: list[str] | None = None,
    open_metrics: bool = False,
    dashboard: bool = False,
    alerts: Path | None = None,
    insecure: bool = False,
    log_json: bool = False,
) -> int:
    """Run a manager with a devnode of its own in the same process: a chain whose FIL is worth nothing, and real proofs.

    It is what `daemon` and `devnode --at-once --without-posts` are together: messages land as soon as they are sent, and no
    deadline has to be proved. Its state is in its home: started again, it continues. This machine's tokens are there too.

    Args:
        miner: The miner, like f010000, t010000 or 10000, from f01000 on.
        sector_size: 2KiB, 8MiB, 512MiB, 32GiB or 64GiB.
        listen: Address to listen on.
        home: Folder of the database, of the devnode, and of this manager's tokens.
        database: PostgreSQL database as postgresql://USER@HOST/NAME, instead of a file in the home; a password stands in
            libpq's password file, not here.
        store: A persist store as NAME=PATH, repeatable; without any, workers may use any name.
        max_sectors: Hand out this many sectors in total, then none.
        block_delay: Length of an epoch in which nobody sends a message.
        pre_commit_delay: Epochs for which the message of a pre-commit waits until it can land.
        proof_delay: Epochs for which the message of a proof, or of an upgrade, waits until it can land.
        challenge_delay: Epochs from the landing of a pre-commit to its seed.
        fail_messages: Let this many pre-commits, and as many proofs, fail once each, to see them sent again.
        synthetic: Hand out sectors whose proof type has synthetic PoRep.
        non_interactive: Hand out sectors with non-interactive PoRep, for workers with the plan niporep.
        deals: Folder with deals.json and the pieces of the deals (see `damocles-manager mock-deals`).
        wdpost_every: Length of a deadline, an epoch at least: how often workers prove window PoSts of the persisted
            sectors; they stay with the manager.
        tls_cert: PEM file with the certificate to listen with, and its chain.
        tls_key: PEM file with its key.
        ca_file: PEM file with the authorities that signed the certificates of workers.
        admit: Admit callers without tokens by address or network, like 10.0.0.0/24; repeatable. For the original's
            workers and command line: they may read, and do what workers do. To allow more, name the scopes, like
            10.0.0.2=read,worker,operate; the narrowest network that matches counts.
        known_as: Name by which programs admitted by address call this machine, if it is not its host name; repeatable.
            Any other name is refused, since it could be a web page's.
        open_metrics: Let anybody read /metrics.
        dashboard: Serve pages for browsers at /dashboard/; they require a log-in with a token.
        alerts: TOML file with the rules and receivers of alerts; default: `alerts.toml` in the home, if it exists.
        insecure: Listen without TLS on an address that other machines can reach.
        log_json: Log JSON lines instead of text.
    """
    try:
        settings = daemon.Settings(
            home=home.expanduser().absolute(),
            listen=address.host_port(listen, address.MANAGER_PORT),
            database=starting.database(database),
            stores=_stores(store or ()),
            chain=own_devnode.OwnDevnode(
                miner=own_devnode.checked(miner),
                proof=_proof(sector_size, synthetic=synthetic, non_interactive=non_interactive),
                max_sectors=max_sectors,
                block_seconds=_block_seconds(block_delay),
                pre_commit_delay=pre_commit_delay,
                proof_delay=proof_delay,
                challenge_delay=challenge_delay,
                fail_messages=fail_messages,
            ),
            deals=starting.deals_in(deals),
            wdpost_every_seconds=_positive(wdpost_every, "--wdpost-every") if wdpost_every else None,
            admit=access.admitted(admit or (), auth.ADMITTED),
            known_as=known_as or (),
            certificate=starting.certificate(tls_cert, tls_key),
            ca_file=ca_file,
            open_metrics=open_metrics,
            dashboard=dashboard,
            alerts=starting.alerts_of(alerts, home.expanduser()),
            read_alerts=partial(starting.alerts_of, alerts, home.expanduser()),
            insecure=insecure,
        )
    except (ValueError, config.ConfigError) as error:
        raise exits.WrongUsage(str(error)) from error
    return starting.run(settings, log_json=log_json)


def _block_seconds(text: str) -> float:
    seconds = _interval(text, "--block-delay")
    if seconds < _SHORTEST_SECONDS:
        raise ValueError(f"--block-delay: an epoch of {seconds:g} s is too short: use 1ms or more")
    return seconds


def _interval(text: str, option: str) -> float:
    try:
        seconds = units.parse_duration(text)
    except ValueError as error:
        raise ValueError(f"{option}: {error}") from error
    if seconds > _LONGEST_SECONDS:
        raise ValueError(f"{option}: {text!r} is longer than 30 days")
    return seconds


def _positive(text: str, option: str) -> float:
    seconds = _interval(text, option)
    if seconds <= 0:
        raise ValueError(f"{option}: {text!r} is not a positive duration: write one like 30m")
    return seconds


def _stores(texts: Sequence[str]) -> dict[str, Path]:
    stores: dict[str, Path] = {}
    for text in texts:
        name, _, path = text.partition("=")
        if not (name and path):
            raise ValueError(f"--store {text!r}: write NAME=PATH, like store1=/mnt/store1")
        if name in stores:
            raise ValueError(f"--store {name} is given twice")
        folder = Path(path).expanduser().absolute()
        if (problem := persist.no_folder(folder)) is not None:
            raise ValueError(f"--store {name}: {problem}")
        stores[name] = folder
    return stores


def _proof(size: str, *, synthetic: bool, non_interactive: bool) -> SealProof:
    if synthetic and non_interactive:
        raise ValueError("--synthetic and --non-interactive are two families of proofs: pass one of them")
    family = SealFamily.SYNTHETIC if synthetic else SealFamily.V1_1
    return SealProof.of(SectorSize.parse(size), SealFamily.NON_INTERACTIVE if non_interactive else family)
