"""What both daemons serve beside their own: their tokens, and how much they log."""

import structlog

from damocles import logs, methods
from damocles.methods.access import LogLevel
from damocles.rpc import core
from damocles.rpc.admission import keyring

log = structlog.get_logger(__name__)


def register(service: core.Service, ring: keyring.Keyring) -> None:
    """Serve it."""
    keyring.TokenAPI(ring).register(service)
    service.add(methods.access.log_level, log_level)


async def log_level(call: core.Call, level: LogLevel) -> LogLevel:
    """Log what is of this level or more, until the daemon ends; return the level before."""
    before = logs.level()
    log.warning("log level changes", before=before, level=level, by=call.who)  # also in a log that has little else
    logs.set_level(level)
    return before
