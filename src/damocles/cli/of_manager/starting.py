"""What `damocles-manager daemon` and `mock` have in common: some of their options, and the run itself."""

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import anyio

from damocles import logs
from damocles.cli.terminal import exits
from damocles.manager import chains, daemon, errors
from damocles.manager.alerts import config
from damocles.manager.chain import verifiers
from damocles.manager.config import load, model
from damocles.manager.serving import auth
from damocles.rpc import address, tls
from damocles.rpc.admission import access
from damocles.stores import persist
from damocles.text import urls


def run(settings: daemon.Settings, *, log_json: bool) -> int:
    """Run a manager, with a child that verifies proofs, until it is stopped.

    Raises:
        exits.Failed: It cannot start.
    """
    logs.configure(as_json=log_json)
    try:
        anyio.run(partial(_run, settings))
    except errors.StartError as error:
        raise exits.Failed(str(error)) from error
    return exits.OK


def read(file: Path, given: Mapping[str, Any], home: Path) -> tuple[daemon.Settings, model.Daemon]:
    """Read a configuration, and check all of it; return what a manager is started with. `given` wins over `[Daemon]`.

    Raises:
        ValueError, load.ConfigError, config.ConfigError: It would not start so; a line for each thing that is wrong.
    """
    chain = load.load(file)
    said = chain.daemon.model_copy(update=dict(given))
    made = settings(chain, said, home, stores=stores(chain), file=file)
    read_again = partial(_config_of, file, given, home)
    source = chains.Lotus(config=chain, file=file, read=read_again, prove_here=said.prove_here)
    return dataclasses.replace(made, chain=source), said


def _config_of(file: Path, given: Mapping[str, Any], home: Path) -> model.Config:
    try:
        chain = load.load(file)
        settings(chain, chain.daemon.model_copy(update=dict(given)), home, stores=stores(chain))
    except (load.ConfigError, config.ConfigError) as error:
        raise ValueError(str(error)) from error
    return chain


def settings(
    chain: model.Config,
    said: model.Daemon,
    home: Path,
    *,
    stores: Mapping[str, Path] = MappingProxyType({}),
    file: Path | None = None,
) -> daemon.Settings:
    """Return what a manager on a real chain is started with; `file` is where its configuration is from.

    Raises:
        ValueError: It would not start so.
        config.ConfigError: The file of the alerts cannot be used.
    """
    return daemon.Settings(
        home=home,
        listen=address.host_port(said.listen, address.MANAGER_PORT),
        database=database(said.database),
        stores=stores,
        file=file,
        chain=chains.Lotus(config=chain, prove_here=said.prove_here),
        deals=deals_in(said.deals),
        admit=access.admitted(said.admit, auth.ADMITTED),
        known_as=said.known_as,
        certificate=certificate(said.tls_cert, said.tls_key),
        ca_file=said.ca_file,
        open_metrics=said.open_metrics,
        dashboard=said.dashboard,
        alerts=alerts_of(said.alerts, home),
        read_alerts=partial(alerts_of, said.alerts, home),
        insecure=said.insecure,
    )


def stores(config: model.Config) -> dict[str, Path]:
    """Return the persist stores by their names.

    Raises:
        ValueError: Some are not there; one line for each.
    """
    found = {store.name or str(store.path): store.path.absolute() for store in config.common.persist_stores}
    problems = {name: persist.no_folder(folder) for name, folder in found.items()}
    lines = [f"Common.PersistStores: {name}: {problem}" for name, problem in problems.items() if problem]
    if lines:
        raise ValueError("\n".join(lines))
    return found


def alerts_of(file: Path | None, home: Path) -> config.Config:
    """Read what `--alerts` names, or the file of the home."""
    return config.of_home(home) if file is None else config.read(file.expanduser())


def database(url: str | None) -> str | None:
    """Check what `--database` says."""
    if url is not None and not url.startswith(("postgresql://", "postgres://")):
        raise ValueError(
            f"--database: {urls.shown(url)!r} is no PostgreSQL database: write one like postgresql://damocles@db.lan/damocles, or"
            " leave the option out for a file in the home"
        )
    return url


def deals_in(folder: Path | None) -> Path | None:
    """Check the folder of `--deals`."""
    if folder is None:
        return None
    found = folder.expanduser().absolute()
    if not found.is_dir():
        raise ValueError(f"--deals: {found} is not a folder: make it, or correct the path")
    return found


def certificate(file: Path | None, key: Path | None) -> tls.Files | None:
    """Return what `--tls-cert` and `--tls-key` name."""
    if file is None and key is None:
        return None
    if file is None or key is None:
        raise ValueError("--tls-cert and --tls-key go together: pass both")
    return tls.Files(file, key)


async def _run(settings: daemon.Settings) -> None:
    async with verifiers.open_stages() as verifier:
        await daemon.run(settings, verifier)
