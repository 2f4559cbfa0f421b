"""What both doctors read of a machine; what cannot be read is told as a finding, or is `None`."""

import os
import resource
import socket
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path

from damocles.cli.doctor import rules
from damocles.cli.doctor.findings import Finding, wrong
from damocles.rpc import address

_LIMITS = {"open files": resource.RLIMIT_NOFILE, "locked memory": resource.RLIMIT_MEMLOCK}


def pid_in(owner: str | None) -> int | None:
    """Return the process that holds a lock, by the words it left there (see `stores.holding`)."""
    words = (owner or "").split()
    return int(words[1]) if words[:1] == ["pid"] and len(words) > 1 and words[1].isdecimal() else None


def limits(pid: int | None) -> Mapping[str, int | None]:
    """Return the hard limits of a process, by default this one; `None` means that there is none.

    Another user's process does not tell; then it is this one's, too.
    """
    found = {
        name: None if (hard := resource.getrlimit(number)[1]) == resource.RLIM_INFINITY else hard
        for name, number in _LIMITS.items()
    }
    if pid is not None:
        try:
            found.update(limits_in(Path(f"/proc/{pid}/limits").read_text()))
        except OSError:
            return found
    return found


def limits_in(text: str) -> Mapping[str, int | None]:
    """Read `/proc/PID/limits`: lines of name, soft and hard limit, unit (see `proc(5)`)."""
    found: dict[str, int | None] = {}
    for line in text.splitlines():
        for name in _LIMITS:
            title = f"Max {name}"
            words = line.removeprefix(title).split()
            if line.startswith(title) and len(words) > 1:
                found[name] = int(words[1]) if words[1].isdecimal() else None
    return found


def certificate(file: Path, now: float, renewal: str) -> Iterator[Finding]:
    """Yield how the certificates in a PEM file stand; of a chain, the one that ends first counts."""
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificates(file.read_bytes())
    except (OSError, ValueError, ssl.SSLError) as error:
        yield wrong("certificate", f"{file} cannot be read: {getattr(error, 'strerror', None) or error}")
        return
    yield rules.certificate(file, min(one.not_valid_after_utc.timestamp() for one in found), now, renewal)


def port(where: address.Endpoint) -> str | None:
    """Return why nobody could listen there, `None` if somebody could."""
    try:
        kind = socket.AF_INET6 if ":" in where.host else socket.AF_INET
        with socket.socket(kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((where.host, where.port))
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return None


def device(path: Path) -> int | None:
    """Return the file system of a folder."""
    try:
        return path.stat().st_dev
    except OSError:
        return None


def may_write(path: Path) -> bool:
    """Return whether this user may make files in a folder."""
    return os.access(path, os.R_OK | os.W_OK | os.X_OK)
