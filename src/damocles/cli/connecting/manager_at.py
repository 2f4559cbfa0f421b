"""Find the manager that a command is for, and call it."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from damocles.cli.connecting import calls, credentials
from damocles.cli.terminal import exits
from damocles.cli.threads import options
from damocles.rpc import address

DEFAULT_LISTEN = "127.0.0.1:1789"
VARIABLE = "DAMOCLES_TOKEN"

Home = Annotated[Path, Parameter(name="--home", env_var="DAMOCLES_PATH", help="The manager's home.")]
DEFAULT_HOME = Path("~/.damocles-manager")


@Parameter(name="*", group=options.CONNECTION)
@dataclass(frozen=True, slots=True, kw_only=True)
class At:
    """The manager's address, our credentials and the time-out."""

    listen: Annotated[str, Parameter(name="--listen", help="The manager's address: HOST:PORT, URL or multiaddr.")] = (
        DEFAULT_LISTEN
    )
    home: Home = DEFAULT_HOME
    token_file: credentials.TokenFile = None
    ca_file: credentials.CaFile = None
    insecure: credentials.Insecure = False
    timeout: options.Timeout = options.DEFAULT_TIMEOUT

    def call(self, more_seconds: float = 0.0) -> AbstractContextManager[calls.Manager]:
        """Return the manager, to be entered; it has the time-out and `more_seconds` for each answer."""
        timeout_seconds = options.seconds(self.timeout)
        try:
            url = address.manager_url(self.listen)
        except ValueError as error:
            raise exits.WrongUsage(f"--listen: {error}") from error
        token = credentials.token(url, given=self.token_file, variable=VARIABLE, home=self.home, insecure=self.insecure)
        connection = credentials.connect(
            url,
            token=token,
            ca_file=self.ca_file,
            timeout_seconds=timeout_seconds + more_seconds,
            insecure=self.insecure,
        )
        return calls.manager_at(
            connection,
            timeout_seconds,
            self.ca_file,
            insecure=self.insecure,
            hint=lambda client: credentials.hint(client, self.home),
        )


USUAL = At()
