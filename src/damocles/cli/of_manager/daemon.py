"""`damocles-manager daemon`: a manager on a real chain."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from damocles.cli.of_manager import starting
from damocles.cli.terminal import exits
from damocles.manager.alerts import config as alerts_config
from damocles.manager.config import load


def daemon(
    *,
    config: Annotated[Path | None, Parameter(name=["--config", "-c"])] = None,
    listen: str | None = None,
    home: Annotated[Path, Parameter(env_var="DAMOCLES_PATH")] = Path("~/.damocles-manager"),
    database: str | None = None,
    deals: Path | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    ca_file: Path | None = None,
    admit: list[str] | None = None,
    known_as: list[str] | None = None,
    open_metrics: bool = False,
    dashboard: bool = False,
    alerts: Path | None = None,
    prove_here: Annotated[int | None, Parameter(validator=validators.Number(gte=0, lte=64))] = None,
    insecure: bool = False,
    log_json: bool = False,
) -> int:
    """Run a manager on a real chain, by Lotus nodes: hand out sectors, send their messages, pay for them.

    It checks its nodes, miners and senders first, and does not start if it could send nothing. Each option but --config
    and --home can stand in the table `[Daemon]` of the file instead; what is given here wins.

    Args:
        config: TOML file that names nodes and miners; default: `manager.toml` in the home.
        listen: Address to listen on; default: 127.0.0.1:1789.
        home: Folder of the database, and of this manager's tokens.
        database: PostgreSQL database as postgresql://USER@HOST/NAME, instead of a file in the home; a password stands in
            libpq's password file, not here.
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
        prove_here: Window PoSts that this machine proves at a time, from the persist stores of the configuration, when no
            worker with the plan wdpost comes for them; 0 leaves all to workers; default: 1.
        insecure: Listen without TLS on an address that other machines can reach.
        log_json: Log JSON lines instead of text.
    """
    folder = home.expanduser().absolute()
    given = {
        "listen": listen,
        "database": database,
        "deals": deals,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "ca_file": ca_file,
        "admit": admit,
        "known_as": known_as,
        "open_metrics": open_metrics or None,
        "dashboard": dashboard or None,
        "alerts": alerts,
        "prove_here": prove_here,
        "insecure": insecure or None,
        "log_json": log_json or None,
    }
    file = (config or folder / load.FILE_NAME).expanduser()
    try:
        settings, said = starting.read(
            file, {name: value for name, value in given.items() if value is not None}, folder
        )
    except (ValueError, load.ConfigError, alerts_config.ConfigError) as error:
        raise exits.WrongUsage(str(error)) from error
    return starting.run(settings, log_json=said.log_json)
