"""`damocles-manager daemon`: a manager on a real chain."""

from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from damocles.cli.connecting import manager_at
from damocles.cli.of_manager import starting
from damocles.cli.terminal import exits
from damocles.manager import daemon as process
from damocles.manager.alerts import config as alerts_config
from damocles.manager.config import load, model
from damocles.manager.serving import auth
from damocles.rpc import address
from damocles.rpc.admission import access


def daemon(
    *,
    config: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    listen: str = manager_at.DEFAULT_LISTEN,
    home: Annotated[Path, Parameter(env_var="DAMOCLES_PATH")] = Path("~/.damocles-manager"),
    deals: Path | None = None,
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
    """Run a manager on a real chain, by Lotus nodes: hand out sectors, send their messages, pay for them.

    It checks its nodes, miners and senders first, and does not start if it could send nothing.

    Args:
        config: TOML file that names nodes and miners; default: `manager.toml` in the home.
        listen: Address to listen on.
        home: Folder of the database.
        deals: Folder with deals.json and the pieces of the deals (see `damocles-manager mock-deals`).
        tls_cert: PEM file with the certificate to listen with, and its chain.
        tls_key: PEM file with its key.
        ca_file: PEM file with the authorities that signed the certificates of workers.
        admit: Admit callers without tokens by address or network, like 10.0.0.0/24; repeatable. For the original's
            workers and command line.
        known_as: Name by which programs admitted by address call this machine, if it is not its host name;
            repeatable.
        open_metrics: Let anybody read /metrics.
        dashboard: Serve pages for browsers at /dashboard/; they require a log-in with a token.
        alerts: TOML file with the rules and receivers of alerts; default: `alerts.toml` in the home, if it exists.
        insecure: Listen without TLS on an address that other machines can reach.
        log_json: Log JSON lines instead of text.
    """
    folder = home.expanduser().absolute()
    try:
        chain = load.load((config or folder / load.FILE_NAME).expanduser())
        settings = process.Settings(
            home=folder,
            listen=address.host_port(listen, address.MANAGER_PORT),
            stores=_stores(chain),
            chain=chain,
            deals=starting.deals_in(deals),
            admit=access.admitted(admit or (), auth.ADMITTED),
            known_as=known_as or (),
            certificate=starting.certificate(tls_cert, tls_key),
            ca_file=ca_file,
            open_metrics=open_metrics,
            dashboard=dashboard,
            alerts=starting.alerts_of(alerts, folder),
            read_alerts=partial(starting.alerts_of, alerts, folder),
            insecure=insecure,
        )
    except (ValueError, load.ConfigError, alerts_config.ConfigError) as error:
        raise exits.WrongUsage(str(error)) from error
    return starting.run(settings, log_json=log_json)


def _stores(config: model.Config) -> dict[str, Path]:
    stores = {store.name or str(store.path): store.path.absolute() for store in config.common.persist_stores}
    for name, folder in stores.items():
        if not folder.is_dir():
            raise ValueError(f"Common.PersistStores: {name}: {folder} is not a folder: make it, or correct the path")
    return stores
