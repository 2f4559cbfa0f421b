"""Report to the manager that this worker lives: who and where it is, and the counts over its threads."""

import socket
from urllib.parse import urlsplit

import anyio
import msgspec
import structlog

from damocles import methods
from damocles.sealing import failures
from damocles.wire import fleet
from damocles.worker import upstream
from damocles.worker.serving import control

log = structlog.get_logger(__name__)

TIMEOUT_SECONDS = 10.0
AWAY_SECONDS = 5.0  # until a manager that is away is pinged again: without our ping it cannot call us
LEAST_SECONDS = 1.0  # between two pings, however much happens


def local_ip(manager_url: str) -> str:
    """Return the address from which this machine reaches the manager; no packet is sent.

    Raises:
        OSError: The manager's host has no address, or no route leads to it.
    """
    parts = urlsplit(manager_url)
    family, kind, _, _, where = socket.getaddrinfo(parts.hostname, parts.port or 80, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as probe:
        probe.connect(where)
        return str(probe.getsockname()[0])


async def run(
    manager: upstream.Manager,
    ours: control.Control,
    name: str,
    dest: str,
    interval_seconds: float,
    *,
    metrics_port: int | msgspec.UnsetType = msgspec.UNSET,
) -> None:
    """Ping at once, then every `interval_seconds`, and when something changes that listings show.

    A manager that is away is pinged more often, and logged once.
    """
    away = False
    while True:
        shown = _shown(ours)
        info = fleet.WorkerInfo(
            name=name,
            dest=dest,
            version=control.VERSION,
            summary=ours.summary(),
            draining=ours.draining or msgspec.UNSET,
            ping_seconds=interval_seconds,
            metrics_port=metrics_port,
        )
        try:
            with anyio.fail_after(TIMEOUT_SECONDS):
                await manager.call(methods.sealer.worker_ping(info))
            if away:
                log.info("the manager answers again")
            away = False
        except (failures.Failure, TimeoutError) as error:
            if not away:
                log.warning("the manager does not answer pings", error=str(error))
            away = True
        except Exception:
            log.exception("ping not sent")  # a defect of ours costs this one, and not the worker
        with anyio.move_on_after(min(interval_seconds, AWAY_SECONDS) if away else interval_seconds):
            await _differs(ours, shown, away=away)


async def _differs(ours: control.Control, shown: object, *, away: bool) -> None:
    """Return when lists would show something else, a moment later: a machine of many threads changes all the time."""
    while True:
        await anyio.sleep(LEAST_SECONDS)
        if not away and _shown(ours) != shown:
            return
        await ours.news()


def _shown(ours: control.Control) -> object:
    """Return what people look for in a list; what runs and what waits changes all the time."""
    summary = ours.summary()
    return summary.empty, summary.paused, summary.errors, ours.draining
