"""Checks of a configuration that look at the disk, or at several keys at once.

They read the raw tables, so that they also find what is wrong in a file with other mistakes; a value of the wrong type
is skipped, since the model has reported it already.
"""

import glob
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard

import msgspec

from damocles.rpc import address
from damocles.rpc.admission import access
from damocles.sealing import planner
from damocles.sealing.plans import table as plans
from damocles.stages import descriptors
from damocles.stores import outlets, persist
from damocles.text import spelling, units
from damocles.wire import sectors
from damocles.worker.config import model, rpc
from damocles.worker.config.processors import GROUP_STAGES
from damocles.worker.config.report import KeyPath

Finding = tuple[KeyPath, object, str]

_STAGES = GROUP_STAGES


class _Description(msgspec.Struct):
    """`sectorstore.json`, as lotus and the original's manager write it."""

    name: str | None = msgspec.field(name="Name", default=None)
    id: str | None = msgspec.field(name="ID", default=None)
    read_only: bool = msgspec.field(name="ReadOnly", default=False)


class ScanError(Exception):
    """A scanned persist store cannot be read; the message names the file."""


def errors(data: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what would keep a worker from running: where, the value there, and what was expected."""
    yield from _access(data)
    yield from _threads(data)
    yield from _stores(data)
    yield from _processors(data)


def oddities(data: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield what has no effect, and so is hardly meant, and what keeps one thread from working and not the others."""
    for index, thread in tables(data, "sealing_thread"):
        location = thread.get("location")
        if isinstance(location, str) and location and (problem := _unusable(Path(location).resolve())) is not None:
            yield ("sealing_thread", index, "location"), location, problem
    processors = table(data, "processors")
    limitation = table(processors, "limitation")
    for path, limits in (
        (("processors", "limit"), table(processors, "limit")),
        (("processors", "limitation", "concurrent"), table(limitation, "concurrent")),
        (("processors", "limitation", "staggered"), table(limitation, "staggered")),
    ):
        for stage in limits:
            if stage not in descriptors.STAGES:
                hint = spelling.did_you_mean(stage, descriptors.STAGES)
                yield (*path, stage), None, f"has no effect: no stage has this name{hint}"
    sealing = table(data, "sealing")
    for index, thread in tables(data, "sealing_thread"):
        options = {**sealing, **table(thread, "sealing")}
        plan = plan_of(thread)
        has_deals_alone = options.get("disable_cc") is True and not options.get("enable_deals")
        if plan is not None and plan.may_seal_deals and has_deals_alone:
            problem = "lets this thread seal nothing: without deals (enable_deals) there is only committed capacity"
            yield ("sealing_thread", index, "sealing", "disable_cc"), True, problem
    manager = table(data, "sector_manager")
    if "piece_token" in manager and not manager.get("piece_origins"):
        problem = (
            'is sent to nobody: name the market that may have it, piece_origins = ["https://market.example:41235"]'
        )
        yield ("sector_manager", "piece_token"), None, problem
    yield from _twice(manager)
    if "limit" in processors and "concurrent" in limitation:
        yield ("processors", "limit"), None, "has no effect beside processors.limitation.concurrent"


def _twice(manager: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield the addresses of managers that are there already; two spellings of a host count as two."""
    addr = table(manager, "rpc_client").get("addr")
    seen = {_manager(addr): "rpc_client.addr"} if isinstance(addr, str) else {}
    for index, text in enumerate(strings(manager.get("addresses"))):
        here = f"addresses[{index}]"
        if (first := seen.setdefault(_manager(text), here)) != here:
            yield ("sector_manager", "addresses", index), text, f"has no effect: {first} is the same address"


def _manager(text: str) -> str:
    try:
        return address.manager_url(text)
    except ValueError:
        return text  # told already


def plan_of(thread: Mapping[str, Any]) -> plans.Plan | None:
    """Return the plan of a thread's table, `None` if there is no such plan."""
    return planner.PLANS.get(str(thread.get("plan", "sealer")))


def persist_stores(attached: tuple[model.Attached, ...], globs: tuple[str, ...]) -> list[persist.PersistStore]:
    """Return the attached stores, then the scanned ones.

    Raises:
        ScanError: A `sectorstore.json` cannot be read.
    """
    stores = []
    for entry in attached:
        path = entry.location.resolve()
        stores.append(persist.PersistStore(name=entry.name or str(path), path=path, read_only=entry.readonly))
    return [*stores, *_scan(globs)]


def _access(data: Mapping[str, Any]) -> Iterator[Finding]:
    server = table(table(data, "worker"), "rpc_server")
    here: KeyPath = ("worker", "rpc_server")
    host = server.get("host", rpc.LOOPBACK)
    has_certificate = "tls_cert" in server and "tls_key" in server
    is_insecure = data.get("insecure") is True  # which is said once for the whole file
    is_said = is_insecure or server.get("insecure") is True
    if _is_host(host) and not is_said and access.exposed(host, tls=has_certificate):
        problem = "can be reached from other machines, and tokens would go there unencrypted"
        yield (*here, "host"), host, f"{problem}: add tls_cert and tls_key, or insecure = true"
    for key, other in (("tls_cert", "tls_key"), ("tls_key", "tls_cert")):
        if key in server and other not in server:
            yield (*here, key), server[key], f"expected {other} beside it"
    metrics = table(data, "metrics")
    listen = metrics.get("http_listen", rpc.LOOPBACK)
    if metrics.get("enable") is True and not (is_insecure or metrics.get("open") is True) and isinstance(listen, str):
        scraped_at = listen.rpartition(":")[0].strip("[]")
        if _is_host(scraped_at) and access.exposed(scraped_at, tls=False):
            problem = "can be reached from other machines, and tokens would go there unencrypted"
            yield ("metrics", "http_listen"), listen, f"{problem}: add open = true to let anybody read the metrics"
    manager = table(data, "sector_manager")
    files = [((*here, key), server.get(key)) for key in ("tls_cert", "tls_key")]
    for path, file in [*files, (("sector_manager", "ca_file"), manager.get("ca_file"))]:
        if isinstance(file, str) and not Path(file).expanduser().is_file():
            yield path, file, "there is no such file; create one with: damocles-manager auth ca"


def _threads(data: Mapping[str, Any]) -> Iterator[Finding]:
    seen: dict[Path, int] = {}
    for index, thread in tables(data, "sealing_thread"):
        location, plan = thread.get("location"), plan_of(thread)
        here: KeyPath = ("sealing_thread", index, "location")
        if location is None:
            if plan is None or plan.has_store:
                yield (
                    here,
                    None,
                    f'missing; plan {thread.get("plan", "sealer")} works in a sealing store: location = "<a folder>"',
                )
        elif location == "":
            yield here, location, "expected a folder"
        elif isinstance(location, str):
            path = Path(location).resolve()
            if (first := seen.setdefault(path, index)) != index:
                yield here, location, f"two threads cannot share a store, sealing_thread[{first}] has it already"


def _unusable(location: Path) -> str | None:
    """Return why there is no sealing store at this path and none can be created there."""
    try:
        if location.exists():
            return None if location.is_dir() else "is not a folder"
        return None if location.parent.is_dir() else f"{location.parent} does not exist; is the disk mounted?"
    except OSError as error:
        return _unreadable(error)


def no_folder(path: Path) -> str | None:
    """Return why there is no folder at this path."""
    try:
        if path.is_dir():
            return None
        return "is not a folder" if path.exists() else "does not exist; is the disk mounted?"
    except OSError as error:
        return _unreadable(error)


def _unreadable(error: OSError) -> str:
    return f"cannot be read: {error.strerror}; is the disk healthy?"


def _stores(data: Mapping[str, Any]) -> Iterator[Finding]:
    names: dict[str, str] = {}
    for index, store in tables(data, "attached"):
        location, name = store.get("location"), store.get("name")
        if not isinstance(location, str):
            continue
        path = Path(location).resolve()
        if (problem := no_folder(path)) is not None:
            yield ("attached", index, "location"), location, problem
        if not isinstance(name, str | None):
            continue
        key = "location" if name is None else "name"
        yield from _named(names, name or str(path), ("attached", index, key), f"attached[{index}]")
    try:
        scanned = list(_scan(scan_globs(data)))
    except ScanError as error:
        yield ("worker", "scan_persist_stores"), None, str(error)
        scanned = []
    for found in scanned:
        yield from _named(names, found.name, ("worker", "scan_persist_stores"), str(found.path / outlets.DESCRIPTION))
    if not names and not data.get("attached") and any(tables(data, "sealing_thread")):
        yield (
            ("attached",),
            None,
            'missing; finished sectors need a persist store: [[attached]] with location = "<a folder>"',
        )


def _named(names: dict[str, str], name: str, path: KeyPath, owner: str) -> Iterator[Finding]:
    if (first := names.setdefault(name, owner)) != owner:
        yield path, name, f"two persist stores cannot share a name, {first} has it already"


def _processors(data: Mapping[str, Any]) -> Iterator[Finding]:
    processors = table(data, "processors")
    for stage in (*_STAGES, "sealing_daemons"):
        if processors.get(stage) == []:
            yield ("processors", stage), [], "expected a group; leave the key out to use the built-in processor"
    for size, path in table(processors, "static_tree_d").items():
        if isinstance(path, str) and _is_sector_size(size) and not Path(path).is_file():
            hint = f"create it with: damocles-worker generator tree-d --sector-size {size} --path {Path(path).parent}"
            yield ("processors", "static_tree_d", size), path, f"there is no such file; {hint}"
    locks = table(processors, "ext_locks")
    for stage in (*_STAGES, "sealing_daemons"):
        for index, group in tables(processors, stage):
            here: KeyPath = ("processors", stage, index)
            args = strings(group.get("args"))
            if "bin" not in group and (stage == "sealing_daemons" or args[:1] not in {(), ("processor",)}):
                yield (*here, "bin"), None, "missing; expected the program that these args are for"
            program = group.get("bin")
            is_here = group.get("executor") != "ray"  # elsewhere it is not ours to look at
            if is_here and isinstance(program, str) and shutil.which(program, path=_search_path(group)) is None:
                problem = "may not be executed" if Path(program).is_file() else "there is no such program"
                yield (*here, "bin"), program, problem
            for lock in strings(group.get("locks")):
                if lock not in locks:
                    hint = spelling.did_you_mean(lock, locks) or f"; add it: processors.ext_locks.{lock} = 1"
                    yield (*here, "locks"), lock, f"expected a lock that has a capacity in processors.ext_locks{hint}"


def _search_path(group: Mapping[str, Any]) -> str:
    """Return where the program of a group is looked for: in the environment that it gets."""
    inherited = os.environ.get("PATH", os.defpath) if group.get("inherit_envs", True) else os.defpath
    return str(table(group, "envs").get("PATH", inherited))


def scan_globs(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the patterns of folders that are looked through for persist stores."""
    worker = table(data, "worker")
    return strings(worker.get("scan_persist_stores", worker.get("ScanPersistStores")))


def _scan(patterns: tuple[str, ...]) -> Iterator[persist.PersistStore]:
    """Yield the stores that describe themselves in a `sectorstore.json`."""
    for pattern in patterns:
        for folder in sorted(glob.glob(pattern)):  # noqa: PTH207  # the patterns are absolute
            file = Path(folder, outlets.DESCRIPTION)
            try:
                if not file.is_file():
                    continue
                described = msgspec.json.decode(file.read_bytes(), type=_Description)
            except (OSError, msgspec.MsgspecError) as error:
                raise ScanError(f"{file} cannot be read: {error}") from error
            path = Path(folder).resolve()
            name = described.name or described.id or str(path)
            yield persist.PersistStore(name=name, path=path, read_only=described.read_only)


def _is_host(value: object) -> TypeGuard[str]:
    try:
        rpc.check_host(value)
    except ValueError:
        return False
    return True


def _is_sector_size(text: str) -> bool:
    try:
        sectors.SectorSize(units.parse_size(text))
    except ValueError:
        return False
    return True


def table(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return an inner table; an empty one if there is none."""
    value = data.get(key)
    return value if isinstance(value, Mapping) else {}


def tables(data: Mapping[str, Any], key: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the tables of an array with their places in it."""
    value = data.get(key)
    for index, one in enumerate(value if isinstance(value, list) else []):
        if isinstance(one, Mapping):
            yield index, one


def strings(value: object) -> tuple[str, ...]:
    """Return the texts of an array."""
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()
