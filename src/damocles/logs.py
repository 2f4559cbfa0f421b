"""Set up logging of the process: one line per event on stderr, as text or JSON."""

import contextlib
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeAlias

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from damocles.text import redaction, terminal

Level: TypeAlias = Literal["debug", "info", "warning", "error"]

LEVELS: Mapping[Level, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")


def level() -> Level:
    """Return the name of the level below which nothing is logged."""
    return next((name for name, number in LEVELS.items() if number >= logging.getLogger().level), "error")


def set_level(name: Level) -> None:
    """Log what is of a level or more from now on, until the process ends."""
    logging.getLogger().setLevel(LEVELS[name])


def alike(text: str, other: str | None) -> bool:
    """Return whether two texts say the same but for numbers: what has only grown older is not worth another line."""
    return other is not None and _NUMBER.sub("0", text) == _NUMBER.sub("0", other)


def configure(*, as_json: bool = False, level: int = logging.INFO) -> None:
    """Send the logs of structlog and of libraries to stderr.

    Args:
        as_json: One JSON object per line, for log collectors.
        level: What is less is dropped.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.format_exc_info,
    ]
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0)
    )
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        # The loggers are made once, so that what is dropped is decided by the first of the processors.
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _shown, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    # It would log each request with its whole URL, which for a webhook is a secret.
    logging.getLogger("httpx2").setLevel(logging.WARNING)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Log nothing while the block runs: a command reports by what it prints."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)


def _shown(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Escape what others have put into an event, and hide secrets in it; a traceback keeps its lines."""
    return {name: _escaped(redaction.value(value)) for name, value in event.items()}


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return terminal.shown(value, "\n\t")
    if isinstance(value, dict):
        return {name: _escaped(item) for name, item in value.items()}
    return [_escaped(item) for item in value] if isinstance(value, list) else value
