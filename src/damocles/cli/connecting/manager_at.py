"""Find the manager that a command is for, and call it."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from damocles.cli.connecting import calls, credentials
from damocles.cli.terminal import exits
from damocles.cli.threads import options
from damocles.rpc import address, tls
from damocles.rpc.calling import profiles

DEFAULT_LISTEN = "127.0.0.1:1789"
VARIABLE = "DAMOCLES_TOKEN"

Home = Annotated[Path, Parameter(name="--home", env_var="DAMOCLES_PATH", help="The manager's home.")]
DEFAULT_HOME = Path("~/.damocles-manager")


def configuration(home: Path) -> Path:
    """Return the configuration of a manager: the file that it was started with last, or the usual one in its home."""
    left = profiles.found(home.expanduser())
    return Path(left.config) if left is not None and left.config else home.expanduser() / "manager.toml"


Profile = Annotated[
    Path | None,
    options.Flag(
        name="--profile",
        env_var="DAMOCLES_PROFILE",
        help="A bundle with address, token and authority (see `auth create --bundle`).",
    ),
]


@Parameter(name="*", group=options.CONNECTION)
@dataclass(frozen=True, slots=True, kw_only=True)
class At:
    """The manager's address, our credentials and the time-out.

    What is not given comes from the profile, or is what the manager of the home has left there.
    """

    listen: Annotated[
        str | None,
        options.Flag(
            name="--listen",
            help="The manager's address: HOST:PORT, URL or multiaddr; default: that of this machine's, by its home.",
        ),
    ] = None
    home: Home = DEFAULT_HOME
    profile: Profile = None
    token_file: credentials.TokenFile = None
    ca_file: credentials.CaFile = None
    insecure: credentials.Insecure = False
    timeout: options.Timeout = options.DEFAULT_TIMEOUT

    def call(self, more_seconds: float = 0.0) -> AbstractContextManager[calls.Manager]:
        """Return the manager, to be entered; it has the time-out and `more_seconds` for each answer."""
        timeout_seconds = options.seconds(self.timeout)
        bundle = credentials.bundle(self.profile)
        url, ca_file = self._place(bundle)
        trust: tls.Trust = ca_file
        token = None
        if bundle is not None and url == bundle.url:  # its token is for nobody else
            token = credentials.of_bundle(bundle, insecure=self.insecure)
            if ca_file is None and bundle.authority is not None:
                trust = credentials.trust_of(bundle)
        if token is None or self.token_file is not None:
            token = credentials.token(
                url, given=self.token_file, variable=VARIABLE, home=self.home, insecure=self.insecure
            )
        connection = credentials.connect(
            url, token=token, ca_file=trust, timeout_seconds=timeout_seconds + more_seconds, insecure=self.insecure
        )
        return calls.manager_at(
            connection,
            timeout_seconds,
            ca_file,
            insecure=self.insecure,
            hint=lambda client: credentials.hint(client, self.home),
        )

    def url(self) -> str:
        """Return where the manager is.

        Raises:
            exits.Failed: The address, or the profile, cannot be used.
        """
        return self._place(credentials.bundle(self.profile))[0]

    def configuration(self) -> Path | None:
        """Return the configuration of the manager that is called, `None` if it is not that of the home."""
        left = profiles.found(self.home.expanduser())
        if left is None or left.url != self.url():
            return None
        return configuration(self.home)

    def authority(self) -> str | None:
        """Return the authority of the manager's certificate as PEM, if one is known.

        Raises:
            exits.Failed: It, or the profile, cannot be used.
        """
        bundle = credentials.bundle(self.profile)
        url, file = self._place(bundle)
        if file is None:
            return bundle.authority if bundle is not None and url == bundle.url else None
        try:
            pem = file.expanduser().read_text()
            tls.context_of(pem)
        except (OSError, ValueError) as error:
            raise exits.Failed(f"the authority {file} cannot be used: {error}") from error
        return pem

    def _place(self, bundle: profiles.Bundle | None) -> tuple[str, Path | None]:
        left = profiles.found(self.home.expanduser())
        if self.listen is not None:
            try:
                url = address.manager_url(self.listen)
            except ValueError as error:
                raise exits.WrongUsage(f"--listen: {error}") from error
        elif bundle is not None:
            url = bundle.url
        else:
            url = left.url if left is not None else address.manager_url(DEFAULT_LISTEN)
        its = left.ca_file if left is not None and left.url == url else None
        return url, self.ca_file or (Path(its) if its is not None else None)


USUAL = At()
