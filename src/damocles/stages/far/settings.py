"""What a group of the configuration says about the cluster; the daemon hands it to the helper in a variable of its environment."""

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

VARIABLE = "DAMOCLES_RAY_GROUP"  # not in the arguments, which every user of the machine can read

TOKEN_VARIABLE = "RAY_AUTH_TOKEN"  # noqa: S105 - Ray's names
TOKEN_FILE_VARIABLE = "RAY_AUTH_TOKEN_PATH"  # noqa: S105
MODE_VARIABLE = "RAY_AUTH_MODE"

NO_RAY = "Ray is not installed here: pip install 'damocles[ray]'"

DEFAULT_PORT = 6379
DEFAULT_LEASE_SECONDS = 15.0


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """One group with `executor = "ray"`. `argv` is empty for our own processor; `envs` are the far child's."""

    stage: str
    address: str
    resources: dict[str, float] = {}
    slots: int = 1
    away: Literal["wait", "local"] = "wait"
    argv: tuple[str, ...] = ()
    envs: dict[str, str] = {}
    ready_seconds: float = 5.0
    lease_seconds: float = DEFAULT_LEASE_SECONDS
    shared: tuple[str, ...] = ()
    token_file: str | None = None
    insecure: bool = False

    @property
    def about(self) -> str:
        """How the group's demands are written."""
        wanted = ", ".join(f"{name} = {amount:g}" for name, amount in self.resources.items())
        return wanted or "no resource"


_OF_RAY = {name.lower(): name for name in ("CPU", "GPU", "memory")}


def misspelled(resource: str) -> str | None:
    """Return what is wrong with a resource's name that differs from one of Ray's own only in its case: nothing would be found by it."""
    name = _OF_RAY.get(resource.lower(), resource)
    return f"Ray's own name for that is {name}" if name != resource else None


# A driver whose ancestor is `uv run` would otherwise have each process there begin with that command, in a project that the
# other machine does not have: none ever starts, and nobody is told.
_OWN_PROGRAMS = {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}


class NoToken(Exception):
    """There is no token for the cluster; the text says where one was looked for."""


def environment(group: Group) -> dict[str, str]:
    """Return the variables by which Ray is told how to reach the cluster.

    Raises:
        NoToken: See `authentication`.
    """
    return {**authentication(group), **confining(endpoint(group.address)[0]), **_OWN_PROGRAMS}


def confining(host: str) -> dict[str, str]:
    """Return the variable without which Ray takes the address that leads outward in place of a loopback one."""
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = host == "localhost"
    return {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"} if is_loopback else {}


def authentication(group: Group, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables by which Ray is told how to show who we are.

    Raises:
        NoToken: There is none, and the group does not say that none is needed.
    """
    if group.insecure:
        return showing(None)
    file = group.token_file or environment.get(TOKEN_FILE_VARIABLE) or default_token_file()
    if group.token_file is None and environment.get(TOKEN_VARIABLE):
        return {MODE_VARIABLE: "token"}
    try:
        has_token = bool(Path(file).expanduser().read_text().strip())
    except OSError as error:
        raise NoToken(f"the cluster's token cannot be read: {file}: {error.strerror}") from error
    if not has_token:
        raise NoToken(f"the cluster's token cannot be read: {file} is empty")
    return showing(Path(file).expanduser())


def showing(token_file: Path | None) -> dict[str, str]:
    """Return the variables by which Ray takes the token of a file, or none; one in the environment would come before it."""
    if token_file is None:
        return {MODE_VARIABLE: "disabled"}
    return {MODE_VARIABLE: "token", TOKEN_FILE_VARIABLE: str(token_file), TOKEN_VARIABLE: ""}


def default_token_file() -> str:
    """Return where Ray keeps the token of a user."""
    return str(Path("~/.ray/auth_token").expanduser())


def endpoint(address: str) -> tuple[str, int]:
    """Read an address like `10.0.0.1:6379`.

    Raises:
        ValueError: It is none.
    """
    host, colon, port = address.rpartition(":")
    if not colon:
        host, port = address, str(DEFAULT_PORT)
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16 or "/" in address:
        raise ValueError('expected the address of a Ray head, like "10.0.0.1:6379"')
    return host, int(port)
