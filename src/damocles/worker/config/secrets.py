"""Checks of a configuration that look at who may read it, and the files with secrets that it names."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from damocles import privacy
from damocles.rpc import address
from damocles.rpc.admission import handshake
from damocles.worker.config import report
from damocles.worker.config.checks import Finding, strings, table
from damocles.worker.config.report import KeyPath


def oddities(file: Path, data: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield warnings about the first secret in a file that every user can read, keys that name such files, and tokens sent unencrypted."""
    if privacy.is_open(file) and (secret := next(_secrets((), data), None)) is not None:
        yield secret, None, f"is a secret, and is in {file}; {privacy.advice(file)}"
    server, manager = table(table(data, "worker"), "rpc_server"), table(data, "sector_manager")
    named = {
        ("worker", "rpc_server", "tls_key"): server.get("tls_key"),
        ("sector_manager", "token_file"): manager.get("token_file"),
    }
    for key, name in named.items():
        if isinstance(name, str) and privacy.is_open(other := Path(name).expanduser()):
            yield key, name, privacy.advice(other)
    is_insecure = data.get("insecure") is True or server.get("insecure") is True
    for path, where in _managers(manager) if "token_file" in manager and not is_insecure else ():
        if _is_open_way(where):
            danger = "the token would cross a network unencrypted, so the worker does not start: use https://"
            yield path, where, f"{danger}, or insecure = true on the first line"


def _managers(manager: Mapping[str, Any]) -> Iterator[tuple[KeyPath, str]]:
    """Yield the addresses of managers, and where they are written."""
    if isinstance(where := table(manager, "rpc_client").get("addr"), str):
        yield ("sector_manager", "rpc_client", "addr"), where
    for index, text in enumerate(strings(manager.get("addresses"))):
        yield ("sector_manager", "addresses", index), text


def _is_open_way(where: str) -> bool:
    try:
        url = address.manager_url(where)
    except ValueError:
        return False  # told already
    return handshake.wanted(url) and not handshake.is_here(url)


def _secrets(path: KeyPath, value: object) -> Iterator[KeyPath]:
    """Yield the keys below `path` whose texts nobody may read."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _secrets((*path, str(key)), inner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _secrets((*path, index), inner)
    elif isinstance(value, str) and value and report.is_secret(path):
        yield path
