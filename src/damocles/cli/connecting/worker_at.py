"""Find the worker that a command is for, and call it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from damocles.cli.connecting import calls, credentials
from damocles.cli.terminal import exits
from damocles.cli.threads import options
from damocles.operating import dialogues
from damocles.rpc import address, errors
from damocles.rpc.calling import profiles, sync
from damocles.worker.config import report, rpc

VARIABLE = "DAMOCLES_WORKER_TOKEN"

Config = Annotated[
    Path | None,
    Parameter(
        name=["--config", "-c"],
        env_var="DAMOCLES_WORKER_CONFIG",
        help="The worker's configuration file, which has its address; overrides --host.",
    ),
]
Host = Annotated[
    str | None,
    Parameter(name=["--host", "-H"], env_var="DAMOCLES_WORKER_HOST", help="The worker's address, HOST:PORT."),
]


@Parameter(name="*", group=options.CONNECTION)
@dataclass(frozen=True, slots=True, kw_only=True)
class At:
    """The worker's address, our credentials and the time-out."""

    config: Config = None
    host: Host = None
    token_file: credentials.TokenFile = None
    ca_file: credentials.CaFile = None
    insecure: credentials.Insecure = False
    timeout: options.Timeout = options.DEFAULT_TIMEOUT

    @contextmanager
    def call(self, more_seconds: float = 0.0) -> Iterator[sync.Client]:
        """Yield a client with the time-out and `more_seconds` for each answer; failures become one line."""
        timeout_seconds = options.seconds(self.timeout) + more_seconds
        place = self.place()
        insecure = self.insecure or place.insecure
        token = credentials.token(
            place.url, given=self.token_file, variable=VARIABLE, home=place.home, insecure=insecure
        )
        ca_file = self.ca_file or place.ca_file
        with credentials.connect(
            place.url, token=token, ca_file=ca_file, timeout_seconds=timeout_seconds, insecure=insecure
        ) as client:
            try:
                yield client
            except errors.RpcError as error:
                if error.code == errors.Code.METHOD_NOT_FOUND:
                    raise exits.Failed(f"the worker at {place.url} {dialogues.lacks()}") from error
                is_unknown = error.code == errors.Code.UNAUTHORIZED
                hint = (self._of_another_user(place) or credentials.hint(client, place.home)) if is_unknown else ""
                raise calls.failed(error.code, f"{error}{hint}") from error
            except errors.CallError as error:
                raise exits.WorkerUnreachable(str(error)) from error

    def _of_another_user(self, place: rpc.Place) -> str:
        """Return a hint that `~` in the configured home is this user's, if that may be why no token was found."""
        is_own = str(place.home).startswith("~/")
        if self.config is None or self.token_file is not None or VARIABLE in os.environ or not is_own:
            return ""
        return (
            f"; looked for its token in {place.home.expanduser()}, since worker.home is {place.home}: if the worker"
            f" runs as another user, set worker.home to an absolute path in {self.config}, or pass --token-file"
        )

    def place(self) -> rpc.Place:
        """Return where the worker is, and its home."""
        if self.config is not None:
            try:
                return rpc.place_in(self.config)
            except report.ConfigError as error:
                raise exits.Failed(str(error)) from error
        if self.host is None and (left := profiles.found(rpc.DEFAULT_HOME.expanduser())) is not None:
            return rpc.Place(left.url, rpc.DEFAULT_HOME, None if left.ca_file is None else Path(left.ca_file))
        try:
            url = address.worker_url(self.host or rpc.LOOPBACK)
        except ValueError as error:
            raise exits.WrongUsage(f"--host: {error}") from error
        return rpc.Place(url, rpc.DEFAULT_HOME, None)


USUAL = At()
