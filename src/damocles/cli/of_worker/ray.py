"""`damocles-worker ray`: this machine's part of a Ray cluster, and what stands between the worker and it."""

import contextlib
import importlib.util
import ipaddress
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
from cyclopts import App, Parameter, validators

from damocles import durable
from damocles.cli.terminal import exits, tables, watching
from damocles.cli.threads import options
from damocles.stages.far import node, settings
from damocles.text import units
from damocles.wire import codec
from damocles.worker.config import rpc

app = App(name="ray", help="Join machines to a Ray cluster, on which stages of workers run.", version_flags=[])

_FILE = "ray.json"
_LEAST_MEMORY_BYTES = 1 << 20
_TEMP_DIR = Path("/tmp/ray")  # noqa: S108 - Ray's own

Home = Annotated[Path, Parameter(help="Where the node is remembered, to end it.")]
Resources = Annotated[
    tuple[str, ...],
    Parameter(
        name="--resource",
        help='What there is for stages, like "GPU=1" or "memory=64GiB"; repeatable.',
        show_default=False,
    ),
]
TokenFile = Annotated[
    Path | None, Parameter(help="The cluster's token, the same on all machines.", show_default="~/.ray/auth_token")
]


class Node(msgspec.Struct, frozen=True):
    """What is remembered of a node."""

    mark: str
    listen: str
    head: str
    authenticated: bool


@app.command(
    help_epilogue=options.examples(
        "damocles-worker ray up --head --listen 10.0.0.1",
        "damocles-worker ray up --address 10.0.0.1:6379 --resource GPU=1",
    )
)
def up(
    *,
    head: Annotated[
        bool, options.Flag(help="Begin a cluster; the other machines name this one as their --address.")
    ] = False,
    address: Annotated[str | None, options.Flag(help="The head of the cluster to join, like 10.0.0.1:6379.")] = None,
    listen: Annotated[
        str | None,
        Parameter(help="This machine's address there.", show_default="127.0.0.1, or the one that leads to the head"),
    ] = None,
    port: Annotated[
        int, Parameter(help="With --head: where it listens.", validator=validators.Number(gte=1, lte=65535))
    ] = settings.DEFAULT_PORT,
    resource: Resources = (),
    token_file: TokenFile = None,
    insecure: Annotated[bool, options.Flag(help="Let in anybody who reaches the cluster, to run anything.")] = False,
    foreground: Annotated[bool, options.Flag(help="Stay, and end with the node: for a service.")] = False,
    temp_dir: Annotated[
        Path | None, options.Flag(help="For Ray's sockets and logs; Ray has a folder below /tmp otherwise.")
    ] = None,
    home: Home = rpc.DEFAULT_HOME,
    json: options.AsJson = False,
) -> int:
    """Start this machine's node. A head makes the cluster's token; copy it to the other machines."""
    if head == (address is not None):
        raise exits.WrongUsage("pass --head, or the --address of one")
    if importlib.util.find_spec("ray") is None:
        raise exits.Failed(settings.NO_RAY)
    if (known := _known(home)) is not None and node.processes(known.mark):
        raise exits.Failed("this machine's node runs already; see: damocles-worker ray status")
    token = None if insecure else (token_file or Path(settings.default_token_file())).expanduser()
    try:
        here = listen or ("127.0.0.1" if address is None else node.outward(address))
        _check_address(here)
        start = node.Start(
            listen=here,
            address=address,
            port=port,
            resources=dict(_resources(resource)),
            token_file=token,
            folder=temp_dir,
        )
    except node.Failed as error:
        raise exits.Failed(str(error)) from error
    except ValueError as error:
        raise exits.WrongUsage(str(error)) from error
    is_new = token is not None and head and _made(token)
    if token is not None and not token.is_file():
        raise exits.Failed(
            f"the cluster's token is missing: copy {token} from the machine of the head, readable for you alone"
        )
    if address is not None and start.is_loopback:
        raise exits.WrongUsage(
            f"other machines do not reach {here}: pass the head's address in their network, or --head"
        )
    made = Node(start.mark, here, address or f"{here}:{port}", token is not None)
    # Before it starts: what is left of a start that is broken off can be ended, too.
    _remember(home.expanduser(), made)
    with _ending(start.mark) if foreground else contextlib.nullcontext():
        _start(start)
        code = _started(made, start, token if is_new else None, as_json=json)
        if not foreground:
            return code
        ended = node.attend(start.mark)
        logs = (temp_dir or _TEMP_DIR) / "session_latest" / "logs"
        raise exits.Failed(f"the node has ended, since its {ended} did: see {logs}")
    return exits.OK


def _check_address(text: str) -> None:
    try:
        ipaddress.ip_address(text)
    except ValueError as error:
        raise exits.WrongUsage(f"--listen: {error}") from error


def _made(token: Path) -> bool:
    try:
        return node.make_token(token)
    except OSError as error:
        raise exits.Failed(f"the cluster's token cannot be written: {token}: {error.strerror}") from error


def _remember(home: Path, made: Node) -> None:
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        durable.replace(home / _FILE, codec.encode(made))
    except OSError as error:
        raise exits.Failed(f"--home: the node cannot be remembered in {home}: {error.strerror}") from error


@contextlib.contextmanager
def _ending(mark: str) -> Iterator[None]:
    """End a node with the block. A signal ends the block, which is no failure."""

    def end(*_: Any) -> None:
        raise _Ended

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    except _Ended:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _end(mark)


def _end(mark: str) -> int:
    try:
        return node.down(mark)
    except node.Failed as error:
        raise exits.Failed(str(error)) from error


class _Ended(BaseException):
    """A signal ends the node."""


def _start(start: node.Start) -> None:
    try:
        node.up(start)
    except node.Failed as error:
        raise exits.Failed(str(error)) from error


def _started(made: Node, start: node.Start, new_token: Path | None, *, as_json: bool) -> int:
    pids = node.processes(start.mark)
    listening = node.sockets(pids)
    if start.is_loopback and any(each.is_open for each in listening):
        node.down(start.mark)
        raise exits.Failed("Ray listens beyond this machine in spite of 127.0.0.1, and was ended")
    if new_token is not None and not as_json:
        print(f"{new_token}: created; copy it to the other machines of the cluster")
    return _show(made, pids, listening, as_json=as_json)


@app.command
def down(*, home: Home = rpc.DEFAULT_HOME, json: options.AsJson = False) -> int:
    """End this machine's node, and what runs on it: those tasks are run again elsewhere, or when it is back."""
    known = _known(home)
    ended = 0 if known is None else _end(known.mark)
    (home.expanduser() / _FILE).unlink(missing_ok=True)
    if json:
        exits.print_json({"ended": ended})
    else:
        print(f"{ended} processes ended" if ended else "no node runs here")
    return exits.OK


@app.command(
    help_epilogue=options.examples("damocles-worker ray status", "damocles-worker ray status --config worker.toml")
)
@watching.watchable
def status(
    *,
    config: Annotated[
        Path | None,
        Parameter(name=["--config", "-c"], help="Try what this worker would send to a cluster.", show_default=False),
    ] = None,
    home: Home = rpc.DEFAULT_HOME,
    full: options.Full = False,
    json: options.AsJson = False,
) -> int:
    """Show this machine's node and where it listens; with --config, try each group that sends tasks to a cluster.

    Exit code 1 if there is no node, or something is in the way.
    """
    if config is not None:
        return _try(config, full=full, as_json=json)
    known = _known(home)
    pids = [] if known is None else node.processes(known.mark)
    if known is None or not pids:
        if json:
            exits.print_json({"running": False})
        else:
            print("no node runs here; start one: damocles-worker ray up")
        return exits.FAILED
    return _show(known, pids, node.sockets(pids), as_json=json, full=full)


def _known(home: Path) -> Node | None:
    try:
        return codec.decode((home.expanduser() / _FILE).read_bytes(), Node)
    except (OSError, msgspec.DecodeError):
        return None


def _resources(said: tuple[str, ...]) -> Iterator[tuple[str, float]]:
    for text in said:
        name, _, amount = text.partition("=")
        if (problem := settings.misspelled(name)) is not None:
            raise exits.WrongUsage(f"--resource {text}: {problem}")
        try:
            value = float(units.parse_size(amount) if name == "memory" else amount)
        except ValueError:
            value = 0
        if not name or not 0 < value < float("inf"):
            raise exits.WrongUsage(f'--resource {text}: expected a name with an amount, like "GPU=1" or "memory=64GiB"')
        if name == "memory" and value < _LEAST_MEMORY_BYTES:
            raise exits.WrongUsage(f"--resource {text}: that is {value:g} bytes; write the unit, like memory=64GiB")
        yield name, value


_SOCKETS = tables.Table[node.Socket](
    columns=("Process", "Address", "Port", "Reached"),
    cells=lambda each: (
        each.process,
        each.host,
        str(each.port),
        "from other machines" if each.is_open else "from here",
    ),
)


def _show(known: Node, pids: list[int], listening: list[node.Socket], *, as_json: bool, full: bool = False) -> int:
    if as_json:
        facts = [{**codec.to_builtins(each), "open": each.is_open} for each in listening]
        exits.print_json(
            {
                "running": True,
                "head": known.head,
                "listen": known.listen,
                "authenticated": known.authenticated,
                "processes": pids,
                "sockets": facts,
            }
        )
        return exits.OK
    print(f"a node at {known.listen}, of the Ray cluster at {known.head}: {len(pids)} processes")
    tables.show(_SOCKETS, listening, full=full, nothing="it listens nowhere yet: look again in a moment, or in its log")
    if any(each.is_open for each in listening):
        who = "whoever has the token" if known.authenticated else "ANYBODY who reaches them"
        exits.warning(
            f"{who} can run programs here by the sockets that other machines reach: let a firewall admit the cluster alone"
        )
    return exits.OK


_GROUPS = tables.Table[tuple[str, bool, str]](
    columns=("Group", "Ok", "About"), cells=lambda row: (row[0], "yes" if row[1] else "no", row[2])
)


def _try(config: Path, *, full: bool, as_json: bool) -> int:
    from damocles.stages.supervision import pool
    from damocles.worker import processors
    from damocles.worker.config import load

    try:
        settled = load.load(config).config
    except load.ConfigError as error:
        raise exits.Failed(str(error)) from error
    rows = []
    for name, group in processors.far_groups(settled):
        env = {**pool.inherited(), settings.VARIABLE: msgspec.json.encode(group).decode()}
        command = [sys.executable, "-m", "damocles.stages.far.check"]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)  # noqa: S603 - ourselves
        words = done.stdout.strip().splitlines() or done.stderr.strip().splitlines() or ["it has ended without a word"]
        rows.append((name, done.returncode == 0, words[-1]))
    if as_json:
        exits.print_json({"groups": [{"group": name, "ok": ok, "about": about} for name, ok, about in rows]})
    elif rows:
        tables.show(_GROUPS, rows, full=full)
    else:
        print(f'{config}: no group has executor = "ray"')
    return exits.OK if all(ok for _, ok, _ in rows) else exits.FAILED
