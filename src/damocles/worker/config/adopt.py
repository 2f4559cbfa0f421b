"""What a configuration file of the original means here: what is refused, what has another meaning, and what is needed.

The rules read the raw tables. Each finding has the value, its meaning for the original, and, if our worker needs a change
to start, or to do what the original did, the new value.
"""

import copy
import ipaddress
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

from damocles.rpc import address
from damocles.rpc.admission import access
from damocles.text import units
from damocles.wire import sectors
from damocles.worker.config import rpc
from damocles.worker.config.checks import plan_of, strings, table, tables
from damocles.worker.config.processors import GROUP_STAGES
from damocles.worker.config.report import KeyPath

Kind = Literal["refused", "differs", "needed", "ignored"]

LEAST_STAGGER = "1s"
_ALL_INTERFACES = "0.0.0.0"  # noqa: S104 (the original's default)
_METRICS_PORT = 9000
_UNCHANGED: Any = object()
_GONE: Any = object()
# Stages without processors of their own in the original, where these tables have no effect.
_OURS_ALONE = ("synth_proof", "c1", "snap_vanilla", "snap_verify", "snap_decode", "upload", "check_replicas")


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as in the original, at `path`.

    `becomes` is the new value, if one is needed, of the key itself or of the one that is `changed` for it.
    """

    path: KeyPath
    kind: Kind
    text: str
    value: object = None
    _: KW_ONLY
    changed: KeyPath | None = None
    becomes: Any = _UNCHANGED

    @property
    def target(self) -> KeyPath:
        """The key that gets the new value."""
        return self.changed or self.path

    @property
    def changes(self) -> bool:
        """Whether the file has to be changed."""
        return self.becomes is not _UNCHANGED

    @property
    def removes(self) -> bool:
        """Whether that is done by leaving the key out."""
        return self.becomes is _GONE


def differences(data: Mapping[str, Any]) -> list[Difference]:
    """Return what is different for a file of the original."""
    return [
        *_access(data),
        *_metrics(data),
        *_manager(data),
        *_sizes(data),
        *_limits(data),
        *_groups(data),
        *_plans(data),
    ]


def adopted(data: Mapping[str, Any], found: Iterable[Difference]) -> dict[str, Any]:
    """Return the tables with the changes made."""
    result: dict[str, Any] = copy.deepcopy(dict(data))
    for one in found:
        if not one.changes:
            continue
        inner: Any = result
        *above, key = one.target
        for part in above:
            inner = inner[part] if isinstance(part, int) else inner.setdefault(part, {})
        if one.removes:
            del inner[key]
        else:
            inner[key] = one.becomes
    return result


def _access(data: Mapping[str, Any]) -> Iterator[Difference]:
    server, here = table(table(data, "worker"), "rpc_server"), ("worker", "rpc_server")
    host, manager = server.get("host"), _manager_host(data)
    is_local = manager is not None and access.is_loopback(manager)
    if host is None and not is_local:
        text = (
            "the original listens on every interface, here only this machine can connect unless the file says otherwise"
        )
        yield Difference((*here, "host"), "differs", text, becomes=_ALL_INTERFACES)
    elif host is None:
        text = "the original listens on every interface, here only this machine can connect, where the manager is"
        yield Difference((*here, "host"), "differs", text)
    listens = host if isinstance(host, str) else rpc.LOOPBACK if is_local else _ALL_INTERFACES
    if _exposed(listens) and server.get("insecure") is not True and data.get("insecure") is not True:
        text = "other machines reach it without TLS, which has to be declared, once for the whole file"
        yield Difference((*here, "host"), "refused", text, listens, changed=("insecure",), becomes=True)
    if "admit" not in server and manager is not None:
        text = (
            "programs of the original send no token: its manager and command line there are admitted by their address"
        )
        yield Difference((*here, "admit"), "needed", text, becomes=[manager])
    elif "admit" not in server:
        text = "the original's manager and command line send no token: admit those that may operate this worker by their addresses"
        yield Difference((*here, "admit"), "needed", text)


def _metrics(data: Mapping[str, Any]) -> Iterator[Difference]:
    metrics = table(data, "metrics")
    if metrics.get("enable") is not True:
        return
    listen = metrics.get("http_listen")
    if listen is None:
        text = "the original serves metrics on every interface; here only this machine can read them"
        wanted = f"{_ALL_INTERFACES}:{_METRICS_PORT}"
        yield Difference(("metrics", "http_listen"), "differs", text, becomes=wanted)
        listen = wanted
    is_said = metrics.get("open") is True or data.get("insecure") is True
    if isinstance(listen, str) and _exposed(listen.rpartition(":")[0].strip("[]")) and not is_said:
        text = "anybody who can connect may read them, which has to be declared, once for the whole file"
        yield Difference(("metrics", "http_listen"), "refused", text, listen, changed=("insecure",), becomes=True)


def _manager(data: Mapping[str, Any]) -> Iterator[Difference]:
    client, here = table(table(data, "sector_manager"), "rpc_client"), ("sector_manager", "rpc_client")
    addr = client.get("addr")
    if isinstance(addr, str) and addr != (plain := _without_socket(addr)):
        yield Difference((*here, "addr"), "refused", "calls go over HTTP, as in the original", addr, becomes=plain)
    host = _manager_host(data)
    if "token_file" not in table(data, "sector_manager") and not (host is not None and access.is_loopback(host)):
        text = "our manager requires a token (`auth create NAME --scope worker --worker NAME`), the original's requires none"
        yield Difference(("sector_manager", "token_file"), "needed", text)
    if "piece_token" in table(data, "sector_manager") and not table(data, "sector_manager").get("piece_origins"):
        text = "the original sends piece_token to any server that a piece comes from; here it is sent to these markets only"
        yield Difference(("sector_manager", "piece_origins"), "needed", text)
    if client.get("headers"):
        text = "the original reads them and sends none; here they are sent with every call"
        yield Difference((*here, "headers"), "differs", text)


def _sizes(data: Mapping[str, Any]) -> Iterator[Difference]:
    places: list[tuple[KeyPath, Mapping[str, Any]]] = [(("sealing",), table(data, "sealing"))]
    for index, thread in tables(data, "sealing_thread"):
        places.append((("sealing_thread", index, "sealing"), table(thread, "sealing")))
    for here, options in places:
        sizes = strings(options.get("allowed_sizes"))
        if sizes != (known := tuple(map(_sector_size, sizes))):
            text = "a sector size is written with its binary unit"
            yield Difference((*here, "allowed_sizes"), "refused", text, list(sizes), becomes=list(known))
        if "max_retries" in options:
            text = "the original counts over the whole life of a sector, here each state has its own budget"
            yield Difference((*here, "max_retries"), "differs", text, options["max_retries"])
    trees, path = table(table(data, "processors"), "static_tree_d"), ("processors", "static_tree_d")
    if [*trees] != (named := [_sector_size(size) for size in trees]):
        text = "a sector size is written with its binary unit"
        yield Difference(path, "refused", text, becomes=dict(zip(named, trees.values(), strict=True)))


def _limits(data: Mapping[str, Any]) -> Iterator[Difference]:
    processors = table(data, "processors")
    limitation = table(processors, "limitation")
    for path, limits in (
        (("processors", "limit"), table(processors, "limit")),
        (("processors", "limitation", "concurrent"), table(limitation, "concurrent")),
        (("processors", "ext_locks"), table(processors, "ext_locks")),
    ):
        for name, count in limits.items():
            if _is_zero(count):
                text = "0 lets nothing run: in the original, stages that need it wait for ever"
                yield Difference((*path, name), "refused", text, count, becomes=1)
    for stage, text in table(limitation, "staggered").items():
        try:
            is_short = isinstance(text, str) and units.parse_duration(text) < units.parse_duration(LEAST_STAGGER)
        except ValueError:
            continue  # the check of the file says so
        if is_short:
            why = f"the least distance between two starts is {LEAST_STAGGER}"
            yield Difference(
                ("processors", "limitation", "staggered", stage), "refused", why, text, becomes=LEAST_STAGGER
            )
        else:
            why = "the original lets starts through together; here two starts keep this distance"
            yield Difference(("processors", "limitation", "staggered", stage), "differs", why, text)


def _groups(data: Mapping[str, Any]) -> Iterator[Difference]:
    processors = table(data, "processors")
    locks = table(processors, "ext_locks")
    for stage in (*GROUP_STAGES, "sealing_daemons"):
        if stage in _OURS_ALONE and stage in processors:
            yield Difference(("processors", stage), "differs", "has no effect in the original; it has one here")
        for index, group in tables(processors, stage):
            here: KeyPath = ("processors", stage, index)
            if _is_zero(group.get("concurrent")):
                text = "0 lets nothing run: in the original its tasks wait for ever"
                yield Difference((*here, "concurrent"), "refused", text, 0, becomes=1)
            named = strings(group.get("locks"))
            if named != (known := tuple(lock for lock in named if lock in locks)):
                text = f"without a capacity in ext_locks, {', '.join(sorted({*named} - {*known}))} holds nobody up in the original"
                yield Difference((*here, "locks"), "refused", text, list(named), becomes=list(known))


def _plans(data: Mapping[str, Any]) -> Iterator[Difference]:
    for index, thread in tables(data, "sealing_thread"):
        plan = plan_of(thread)
        if plan is not None and not plan.is_original:
            text = "pauses its thread in the original (unknown planner), here it seals"
            yield Difference(("sealing_thread", index, "plan"), "differs", text, plan.name)
    plans = {thread.get("plan") for _, thread in tables(data, "sealing_thread")}
    if "unseal" in plans and "unseal_dirs" not in table(data, "worker"):
        text = "the original puts a piece wherever a file:// destination points; here only below these folders"
        yield Difference(("worker", "unseal_dirs"), "needed", text)
    for retired, instead in (("remote_store", "[[attached]]"), ("attached_selection", "the choice of the manager")):
        if retired in data:
            text = f"neither the original nor this worker reads it any more; {instead} replaced it"
            yield Difference((retired,), "ignored", text, becomes=_GONE)


def _manager_host(data: Mapping[str, Any]) -> str | None:
    """Return the address of the manager, if the file has it and not a name."""
    addr = table(table(data, "sector_manager"), "rpc_client").get("addr")
    try:
        url = address.manager_url(_without_socket(addr)) if isinstance(addr, str) else ""
        return str(ipaddress.ip_address(urllib.parse.urlsplit(url).hostname or ""))
    except ValueError:
        return None


def _without_socket(addr: str) -> str:
    """Return a multiaddr without the part for a WebSocket at its end, which is not part of the manager's address."""
    if not addr.startswith("/"):
        return addr
    return addr.removesuffix("/").removesuffix("/ws") if addr.removesuffix("/").endswith("/ws") else addr


def _sector_size(text: str) -> str:
    """Return the name of the size that a text like `32G` can only mean, else the text."""
    for size in sectors.SectorSize:
        short = size.label.removesuffix("iB")
        if text.strip().lower() in {short.lower(), f"{short}i".lower()}:
            return size.label
    return text


def _is_zero(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value == 0


def _exposed(host: str) -> bool:
    return access.exposed(host, tls=False)
