"""`/http_sd`: tell Prometheus which workers it can scrape, in the format of its `http_sd_configs`.

A list of groups, each with `targets` (HOST:PORT) and `labels`; Prometheus reads all of it every minute and keeps what it had if
that fails. A label that begins with `__meta_` is there while targets are relabelled, and on no sample unless copied.
"""

import urllib.parse
from collections.abc import Iterable
from typing import TypedDict

from msgspec import UnsetType
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from damocles.manager.fleet import acts, watch
from damocles.rpc import address
from damocles.wire import control


class Group(TypedDict):
    """Targets that are alike."""

    targets: list[str]
    labels: dict[str, str]


def groups(statuses: Iterable[control.WorkerStatus]) -> list[Group]:
    """Return the workers that serve metrics, without those that are lost."""
    return [group for status in statuses if status.status != watch.LOST for group in _groups(status)]


def _groups(status: control.WorkerStatus) -> Iterable[Group]:
    port = status.info.metrics_port
    if isinstance(port, UnsetType):
        return
    host = urllib.parse.urlsplit(address.worker_url(status.info.dest)).hostname or ""
    labels = {
        "worker": status.info.name,
        "__meta_damocles_status": status.status,
        "__meta_damocles_version": status.info.version,
    }
    yield {"targets": [str(address.Endpoint(host, port))], "labels": labels}


def route(workers: acts.Fleet) -> Route:
    """Return the route of the manager's site."""

    async def answer(_: Request) -> Response:
        return JSONResponse(groups(await workers.workers()))

    return Route("/http_sd", answer)
