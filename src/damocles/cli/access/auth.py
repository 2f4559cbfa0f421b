"""`damocles-manager auth`, `damocles-worker auth` and `damocles-manager init`: tokens of the two daemons."""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from damocles import durable, methods
from damocles.cli.access import bundles
from damocles.cli.connecting import calls, manager_at, worker_at
from damocles.cli.terminal import exits, tables, watching
from damocles.cli.threads import options
from damocles.methods import rules
from damocles.text import units
from damocles.wire import codec, control

manager_app = App(name="auth", version_flags=[])
worker_app = App(name="auth", version_flags=[])

manager_app.command(
    "damocles.cli.access.authority:ca",
    name="ca",
    help="Create TLS certificates for machines, signed by your own authority.",
)

Name = Annotated[str, Parameter(help="The token's name in the list.")]
Scope = Annotated[
    rules.Scope,
    Parameter(name="--scope", help="read: look; operate: also pause, resume, abort; admin: also tokens; worker: seal."),
]
Worker = Annotated[
    str | None, options.Flag(name="--worker", help="With scope worker: the one worker that the token is for.")
]
Shared = Annotated[
    bool, options.Flag(name="--shared", help="With scope worker: for all workers without a token of their own.")
]
Expires = Annotated[
    str | None, options.Flag(name="--expires", help="How long it is valid, like 90d; default: for ever.")
]
Output = Annotated[
    Path | None,
    options.Flag(name="--output", help="Write it to this file, readable only by you, instead of stdout."),
]


Bundle = Annotated[
    Path | None,
    options.Flag(
        name="--bundle",
        help="Write token, address and authority to this file, readable only by you: for --profile, or a new worker.",
    ),
]
Url = Annotated[
    tuple[str, ...],
    options.Flag(
        name="--url",
        help="With --bundle: the address at which others reach the manager; with scope worker repeatable, for further managers of its database.",
    ),
]


@manager_app.command(
    name="create",
    help_epilogue=options.examples(
        "damocles-manager auth create alice --scope operate --expires 90d",
        "damocles-manager auth create grafana --scope read --output token",
        "damocles-manager auth create gpu1 --scope worker --worker gpu1 --bundle gpu1",
    ),
)
def create_for_manager(
    name: Name,
    /,
    *,
    scope: Scope,
    worker: Worker = None,
    shared: Shared = False,
    expires: Expires = None,
    output: Output = None,
    bundle: Bundle = None,
    url: Url = (),
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Create a token for the manager; it is shown only once.

    A bundle is all that somebody on another machine needs: their command line takes it as --profile, a new worker by
    `damocles-worker init`.
    """
    if scope is rules.Scope.WORKER and (worker is None) is not shared:
        raise exits.WrongUsage("--scope worker: name the worker (--worker NAME), or pass --shared for all of them")
    if scope is not rules.Scope.WORKER and (worker is not None or shared):
        raise exits.WrongUsage(f"--worker and --shared are for tokens of scope worker, not {scope}")
    if bundle is None:
        if url:
            raise exits.WrongUsage("--url needs --bundle")
        return _create(at.call(), name, scope, expires, output, worker=worker, as_json=json)
    if output is not None:
        raise exits.WrongUsage("pass either --output or --bundle")
    if len(url) > 1 and scope is not rules.Scope.WORKER:
        raise exits.WrongUsage("only a worker goes to several managers: pass --url once")
    around = bundles.around(at, next(iter(url), None), url[1:])
    return _create(at.call(), name, scope, expires, bundle, worker=worker, around=around, as_json=json)


@manager_app.command(name="list")
@watching.watchable
def list_for_manager(
    *, full: options.Full = False, json: options.AsJson = False, at: manager_at.At = manager_at.USUAL
) -> int:
    """List the manager's tokens, without their secrets."""
    return _list(at.call(), full=full, as_json=json)


@manager_app.command(name="revoke")
def revoke_for_manager(
    name: Name,
    /,
    *,
    yes: options.Yes = False,
    json: options.AsJson = False,
    at: manager_at.At = manager_at.USUAL,
) -> int:
    """Revoke a token, from the next call on; your own and the manager's only with --yes."""
    return _revoke(at.call(), name, sure=yes, as_json=json)


@worker_app.command(
    name="create",
    help_epilogue=options.examples("damocles-worker auth create alice --scope operate --expires 90d"),
)
def create_for_worker(
    name: Name,
    /,
    *,
    scope: Scope,
    expires: Expires = None,
    output: Output = None,
    json: options.AsJson = False,
    at: worker_at.At = worker_at.USUAL,
) -> int:
    """Create a token for the worker; it is shown only once. The manager needs none."""
    return _create(at.call(), name, scope, expires, output, as_json=json)


@worker_app.command(name="list")
@watching.watchable
def list_for_worker(
    *, full: options.Full = False, json: options.AsJson = False, at: worker_at.At = worker_at.USUAL
) -> int:
    """List the worker's tokens, without their secrets."""
    return _list(at.call(), full=full, as_json=json)


@worker_app.command(name="revoke")
def revoke_for_worker(
    name: Name,
    /,
    *,
    yes: options.Yes = False,
    json: options.AsJson = False,
    at: worker_at.At = worker_at.USUAL,
) -> int:
    """Revoke a token, from the next call on; your own and the worker's only with --yes."""
    return _revoke(at.call(), name, sure=yes, as_json=json)


def init(*, home: manager_at.Home = manager_at.DEFAULT_HOME, json: options.AsJson = False) -> int:
    """Create the manager's home, with a token for this machine's command line and one for workers.

    Existing files are kept. A manager does the same when it starts.
    """
    from damocles.manager import errors
    from damocles.manager.serving import auth

    try:
        files = [str(file) for file in auth.init(home.expanduser().absolute())]
    except errors.StartError as error:
        raise exits.Failed(str(error)) from error
    exits.print_result("\n".join(files), files, as_json=json)
    return exits.OK


def _create(
    connection: AbstractContextManager[calls.Daemon],
    name: str,
    scope: rules.Scope,
    expires: str | None,
    output: Path | None,
    *,
    worker: str | None = None,
    around: bundles.Around | None = None,
    as_json: bool,
) -> int:
    if output is not None and output.exists():
        raise exits.WrongUsage(f"{output} already exists")
    seconds = None if expires is None else options.seconds(expires, "--expires")
    with connection as daemon:
        create = methods.access.create_token
        made = daemon.call(create(name, scope, seconds) if worker is None else create(name, scope, seconds, worker))
    fields = codec.to_builtins(made.token)
    if output is None:
        exits.print_result(made.text, {**fields, "text": made.text}, as_json=as_json)
        return exits.OK
    try:
        durable.replace(output, f"{made.text}\n".encode() if around is None else around(made), private=True)
    except OSError as error:
        raise exits.Failed(
            f"{output} cannot be written: {error.strerror}; the token is lost: revoke {name!r} and create it again"
        ) from error
    exits.print_result(str(output), {**fields, "file": str(output)}, as_json=as_json)
    return exits.OK


def _list(connection: AbstractContextManager[calls.Daemon], *, full: bool, as_json: bool) -> int:
    with connection as daemon:
        known = daemon.call(methods.access.list_tokens())
    if as_json:
        exits.print_json(codec.to_builtins(known))
    else:
        tables.show(_TABLE, known, full=full, nothing="no tokens")
    return exits.OK


def _revoke(connection: AbstractContextManager[calls.Daemon], name: str, *, sure: bool, as_json: bool) -> int:
    with connection as daemon:
        revoked = daemon.call(methods.access.revoke_tokens(name, sure))
    text = "\n".join(f"{token.name} ({token.id}) is revoked" for token in revoked)
    exits.print_result(text, codec.to_builtins(revoked), as_json=as_json)
    return exits.OK


def _cells(token: control.Token) -> Sequence[str]:
    now = time.time()
    state = "revoked" if token.revoked else "expired" if token.expires and token.expires <= now else "valid"
    times = [units.moment(at) if at else "-" for at in (token.created, token.expires, token.used)]
    worker = "shared" if token.shared else token.worker or "-"
    return [token.name, token.scope, worker, token.id, state, times[0], token.created_by, times[1], times[2]]


_TABLE = tables.Table(
    columns=("Name", "Scope", "Worker", "Id", "State", "Created", "By", "Expires", "Used"), cells=_cells
)
