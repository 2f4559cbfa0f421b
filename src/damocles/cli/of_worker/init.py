"""`damocles-worker init`: what a new worker needs, from a manager's bundle."""

import socket
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from damocles import durable
from damocles.cli.connecting import credentials
from damocles.cli.terminal import exits
from damocles.cli.threads import options
from damocles.rpc.calling import profiles
from damocles.worker.config import report
from damocles.worker.config import rpc as worker_rpc

_TOKEN_NAME, _AUTHORITY_NAME = "manager-token", "ca.pem"
_SCOPE = "worker"

Bundle = Annotated[
    Path,
    Parameter(name="--bundle", help="What `damocles-manager auth create NAME --scope worker --bundle` has written."),
]
Config = Annotated[Path, Parameter(name=["--config", "-c"], help="The configuration to write.")]
Home = Annotated[Path, Parameter(name="--home", help="The worker's home, for its token and the authority.")]
Store = Annotated[
    tuple[Path, ...], options.Flag(name="--store", help="A sealing store: one thread in each; repeatable.")
]
Attach = Annotated[
    tuple[str, ...],
    options.Flag(name="--attach", help="A persist store, as NAME=FOLDER with the manager's name for it; repeatable."),
]


def init(
    *,
    bundle: Bundle,
    config: Config = Path("worker.toml"),
    home: Home = worker_rpc.DEFAULT_HOME,
    store: Store = (),
    attach: Attach = (),
    json: options.AsJson = False,
) -> int:
    """Make a worker's home and its configuration from a manager's bundle; nothing that is there is replaced.

    The bundle's token and authority go into the home, readable only by you; delete the bundle afterwards.
    """
    found = credentials.bundle(bundle)
    assert found is not None
    if found.scope != _SCOPE:
        raise exits.WrongUsage(f"{bundle} is of scope {found.scope}: a worker needs one of scope {_SCOPE}")
    folder = home.expanduser().absolute()
    files = {folder / _TOKEN_NAME: f"{found.token}\n".encode()}
    if found.authority is not None:
        files[folder / _AUTHORITY_NAME] = found.authority.encode()
    tables = _tables(found, folder, store, attach)
    text = "\n".join([_HEAD, *report.toml_lines(tables)]).strip() + "\n"
    for file in (config, *files):
        if file.exists():
            raise exits.Failed(f"{file} exists: choose another place, or remove it")
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for file, content in files.items():
            durable.replace(file, content, private=True)
        durable.replace(config, text.encode())
    except OSError as error:
        raise exits.Failed(f"{error.filename or folder} cannot be written: {error.strerror}") from error
    made = [str(config), *map(str, files)]
    exits.print_result("\n".join(made), made, as_json=json)
    exits.hint(
        f"next: damocles-worker doctor -c {config}" if store else f"next: add stores to {config} (--store, --attach)"
    )
    return exits.OK


_HEAD = """\
# Made by `damocles-worker init`. Sealing stores are made by: damocles-worker store sealing-init -l FOLDER
"""


def _tables(
    found: profiles.Bundle, home: Path, stores: tuple[Path, ...], attached: tuple[str, ...]
) -> dict[str, object]:
    """Return the configuration of a worker that listens on loopback, since it has no certificate yet."""
    manager: dict[str, object] = {"rpc_client": {"addr": found.url}, "token_file": str(home / _TOKEN_NAME)}
    if found.addresses:
        manager["addresses"] = list(found.addresses)
    if found.authority is not None:
        manager["ca_file"] = str(home / _AUTHORITY_NAME)
    named = []
    for text in attached:
        name, equals, where = text.partition("=")
        if not (name and equals and where):
            raise exits.WrongUsage(f"--attach {text!r}: write NAME=FOLDER, with the manager's name for the store")
        named.append({"name": name, "location": str(Path(where).expanduser().absolute())})
    tables: dict[str, object] = {
        "worker": {"name": found.worker or socket.gethostname(), "home": str(home)},
        "sector_manager": manager,
    }
    threads = [{"location": str(one.expanduser().absolute())} for one in stores]
    return {**tables, **({"sealing_thread": threads} if threads else {}), **({"attached": named} if named else {})}
