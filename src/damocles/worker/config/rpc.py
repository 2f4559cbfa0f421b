"""Find a running worker from its configuration file, without reading the rest of it.

The commands that list, pause and resume must answer at once, and also while somebody repairs another part of the file.
"""

import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from damocles.rpc import address
from damocles.text import urls
from damocles.worker.config import report

T = TypeVar("T")

LOOPBACK = "127.0.0.1"


DEFAULT_HOME = Path("~/.damocles-worker")


class Place(NamedTuple):
    """How a worker is reached from its own machine: its URL, its home, and the file of its authority if it has one.

    Of one that is `insecure` the tokens may go through a network in the clear.
    """

    url: str
    home: Path
    ca_file: Path | None
    insecure: bool = False


def place_in(file: Path) -> Place:
    """Return how the worker that uses `file` is reached from this machine.

    Raises:
        config_report.ConfigError: The file cannot be read, or its `[worker]` or `[sector_manager]` is wrong.
    """
    document = report.read(file)
    worker = _table(document, document.data, ("worker",))
    server = _table(document, worker, ("worker", "rpc_server"))
    manager = _table(document, document.data, ("sector_manager",))
    home, ca_file = worker.get("home", DEFAULT_HOME), manager.get("ca_file")
    for path, value in ((("worker", "home"), home), (("sector_manager", "ca_file"), ca_file)):
        if not isinstance(value, str | Path | None):
            raise report.ConfigError([document.problem(path, "expected a path in quotes", value=value)])
    url = _address(document, server).url(scheme="https" if "tls_cert" in server else "http")
    insecure = document.data.get("insecure") is True or server.get("insecure") is True
    return Place(url, Path(home), Path(ca_file) if ca_file is not None else None, insecure)


def address_in(file: Path) -> address.Endpoint:
    """Return where the worker that uses `file` is reached from this machine.

    Raises:
        config_report.ConfigError: The file cannot be read, or its `[worker.rpc_server]` is wrong.
    """
    document = report.read(file)
    return _address(document, _table(document, _table(document, document.data, ("worker",)), ("worker", "rpc_server")))


def _address(document: report.Document, server: dict[str, Any]) -> address.Endpoint:
    errors: list[report.Problem] = []

    def value(key: str, check: Callable[[object], T], default: T) -> T:
        try:
            return check(server[key]) if key in server else default
        except ValueError as error:
            errors.append(document.problem(("worker", "rpc_server", key), str(error), value=server[key]))
            return default

    host = value("host", check_host, LOOPBACK)
    port = value("port", check_port, address.WORKER_PORT)
    if errors:
        raise report.ConfigError(errors)
    return reached_at(host, port)


def reached_at(host: str, port: int) -> address.Endpoint:
    """Return where a server that listens there is reached from the same machine."""
    ip = ipaddress.ip_address(host)
    if ip.is_unspecified:
        host = LOOPBACK if ip.version == 4 else "::1"
    return address.Endpoint(host, port)


def check_host(value: object) -> str:
    """Return an IP address to listen on, as the original demands one; anything else is a `ValueError`."""
    try:
        return str(ipaddress.ip_address(value if isinstance(value, str) else ""))
    except ValueError:
        raise ValueError('expected an IP address in quotes, like "127.0.0.1" or "0.0.0.0"') from None


def check_port(value: object) -> int:
    """Return a TCP port, 0 for any free one; anything else is a `ValueError`."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 16:
        raise ValueError("expected a port from 0 to 65535, without quotes")
    return value


def check_origin(value: str) -> str:
    """Return the origin of a server that a credential may go to: nobody on the way must be able to read it.

    Raises:
        ValueError: It is none, or without TLS on another machine.
    """
    try:
        origin = urls.origin(value)
    except ValueError:
        origin = ""
    from damocles.rpc.admission import access  # noqa: PLC0415 (structlog, which short commands do without)

    if access.in_the_clear(origin):
        raise ValueError(
            'expected the address of a server, like "https://market.example:41235"; http:// on loopback only'
        )
    return origin


def _table(document: report.Document, data: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    table = data.get(path[-1], {})
    if not isinstance(table, dict):
        raise report.ConfigError([document.problem(path, "expected a table", value=table)])
    return table
