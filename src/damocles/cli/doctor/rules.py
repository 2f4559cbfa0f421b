"""What both doctors judge: pure functions over what was read (see `reading`)."""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import damocles
from damocles import privacy
from damocles.cli.doctor.findings import Finding, look, ok, wrong
from damocles.rpc.serving import places
from damocles.text import units
from damocles.wire import sectors

# Of clocks: what seals or certificates hardly notice, and what makes them fail.
SKEW_LOOK_SECONDS, SKEW_WRONG_SECONDS = 3.0, 30.0
CERTIFICATE_LOOK_DAYS = 30.0
RENEW = "damocles-manager auth ca --renew makes a new one; SIGHUP lets the daemon read it"
NEW_AUTHORITY = "a new authority is needed, and certificates by it: damocles-manager auth ca"
_DAY_SECONDS = 86400.0
# What workers and managers report, with the original's release in the first.
_VERSION = re.compile(r".+-damocles-py-(?P<worker>.+)|v(?P<manager>.+)-prod-python")
_LAYERS_IN_MEMORY = 2  # of PC1: the one it computes, and the one below it
_HUGE_PAGES_FROM = sectors.SectorSize.MIB512  # below, a layer is too small to matter


def clock(offset_seconds: float | None, whose: str) -> Iterator[Finding]:
    """Compare our clock with another one, which is ahead by `offset_seconds`; of one that told no time, say nothing."""
    if offset_seconds is None:
        return
    skew = abs(offset_seconds)
    text = f"{skew:.0f} s {'behind' if offset_seconds > 0 else 'ahead of'} that of {whose}"
    if skew <= SKEW_LOOK_SECONDS:
        yield ok("clock", f"agrees with that of {whose}")
    elif skew <= SKEW_WRONG_SECONDS:
        yield look("clock", f"{text}: let both machines keep time by NTP (timedatectl set-ntp true)")
    else:
        yield wrong(
            "clock",
            f"{text}: tokens, certificates and deadlines go by it; set it, and keep it by NTP (timedatectl set-ntp true)",
        )


def open_files(limit: int | None, needed: int, whose: str) -> Finding:
    """Judge how many files a process may open (`None`: any number)."""
    problem = places.too_few_of(limit, needed)
    if problem is not None:
        return wrong("open files", f"{whose}: {problem}")
    return ok("open files", f"{whose} may open {'any number' if limit is None else limit}")


def locked_memory(limit_bytes: int | None, sizes: Iterable[sectors.SectorSize], whose: str) -> Iterator[Finding]:
    """Judge how much memory a process may lock (`None`: any amount): PC1 locks two layers, and does without where it may not."""
    largest = max(sizes, default=None)
    if largest is None:
        return
    needed_bytes = _LAYERS_IN_MEMORY * largest
    if limit_bytes is None or limit_bytes >= needed_bytes:
        amount = "any amount" if limit_bytes is None else units.human_size(limit_bytes)
        yield ok("locked memory", f"{whose} may lock {amount}")
        return
    yield look(
        "locked memory",
        f"{whose} may lock {units.human_size(limit_bytes)}, and each PC1 of {largest.label} would lock"
        f" {units.human_size(needed_bytes)}; without, its layers can be swapped out: ulimit -l unlimited, or"
        " LimitMEMLOCK=infinity of its service",
    )


def huge_pages(mode: str | None, sizes: Iterable[sectors.SectorSize]) -> Iterator[Finding]:
    """Judge the kernel's transparent huge pages, which only large sectors notice."""
    if mode is None or max(sizes, default=0) < _HUGE_PAGES_FROM:
        return
    if mode == "always":
        yield ok("huge pages", "transparent ones: always")
        return
    path = "/sys/kernel/mm/transparent_hugepage/enabled"
    yield look("huge pages", f"transparent ones: {mode}; PC1 is faster with them: echo always > {path}")


def certificate(about: Path, ends: float, now: float, renewal: str) -> Finding:
    """Judge when a certificate ends; `renewal` is what to do then."""
    day = datetime.fromtimestamp(ends, UTC).date().isoformat()
    if ends <= now:
        return wrong("certificate", f"{about} has ended on {day}: {renewal}")
    if ends - now < CERTIFICATE_LOOK_DAYS * _DAY_SECONDS:
        return look("certificate", f"{about} ends on {day}: {renewal}")
    return ok("certificate", f"{about} holds until {day}")


def secrets(paths: Iterable[Path]) -> Iterator[Finding]:
    """Judge who may read files and folders with secrets; reads their modes."""
    for path in paths:
        if privacy.is_open(path):
            yield wrong("secrets", f"{path}: {privacy.advice(path)}")


def versions(theirs: Mapping[str, str], ours: str = damocles.__version__) -> Iterator[Finding]:
    """Compare our release with the versions that others report, by their names."""
    others: dict[str, list[str]] = {}
    for name, version in theirs.items():
        others.setdefault(version, []).append(name)
    for version, names in sorted(others.items()):
        who = units.some(names, 5)
        release = _release(version)
        if release == ours:
            yield ok("versions", f"{who}: {ours}, as here")
        elif release is None:
            yield ok("versions", f"{who}: {version or 'unknown'}, the original's or a very old one")
        else:
            yield look("versions", f"{who}: {release}; here it is {ours}: update the older one")


def _release(version: str) -> str | None:
    """Return our release in what our programs report as their versions; `None` if it is of another program."""
    found = _VERSION.fullmatch(version)
    return found and (found["worker"] or found["manager"])


def port(what: str, where: str, problem: str | None) -> Finding:
    """Judge whether a daemon that does not run yet could listen."""
    if problem is None:
        return ok("port", f"{where} is free for {what}")
    return wrong("port", f"{where}, for {what}: {problem}; stop what listens there, or choose another port")


def mount(location: Path, *, device: int, root_device: int, is_known: bool) -> Iterator[Finding]:
    """Judge whether a store is on a disk of its own; of one that is known by its mark, that has been seen to."""
    if device == root_device and not is_known:
        yield look(
            "stores",
            f"{location} is on the system's own disk: if a disk belongs there, mount it before the first start",
        )
