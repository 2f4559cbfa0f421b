"""Checks of a configuration that look at who may read it, and the files with secrets that it names."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from damocles import privacy
from damocles.worker import config_report
from damocles.worker.config_checks import Finding, table
from damocles.worker.config_report import KeyPath


def oddities(file: Path, data: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield the first secret in a file that every user can read, and the keys that name such files."""
    if privacy.is_open(file) and (secret := next(_secrets((), data), None)) is not None:
        yield secret, None, f"is a secret, and stands in {file}; {privacy.advice(file)}"
    server = table(table(data, "worker"), "rpc_server")
    named = {
        ("worker", "rpc_server", "tls_key"): server.get("tls_key"),
        ("sector_manager", "token_file"): table(data, "sector_manager").get("token_file"),
    }
    for path, name in named.items():
        if isinstance(name, str) and privacy.is_open(other := Path(name).expanduser()):
            yield path, name, privacy.advice(other)


def _secrets(path: KeyPath, value: object) -> Iterator[KeyPath]:
    """Yield the keys below `path` whose texts nobody may read."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _secrets((*path, str(key)), inner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _secrets((*path, index), inner)
    elif isinstance(value, str) and value and config_report.is_secret(path):
        yield path
