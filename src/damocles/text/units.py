"""Durations, times and sizes as people write them in configs and as the two programs print them, and lists of names.

Three notations meet here: Rust's humantime (`1h 2m 5s`, the worker), Go's durations (`1h2m5s`, the manager) and
binary byte sizes (`32GiB`).
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime

_UNIT_SECONDS = {
    "ns": 1e-9, "nsec": 1e-9,
    "us": 1e-6, "usec": 1e-6, "µs": 1e-6,
    "ms": 1e-3, "msec": 1e-3,
    "s": 1, "sec": 1, "secs": 1, "second": 1, "seconds": 1,
    "m": 60, "min": 60, "mins": 60, "minute": 60, "minutes": 60,
    "h": 3600, "hr": 3600, "hrs": 3600, "hour": 3600, "hours": 3600,
    "d": 86400, "day": 86400, "days": 86400,
    "w": 604800, "week": 604800, "weeks": 604800,
    "M": 2630016, "month": 2630016, "months": 2630016,
    "y": 31557600, "year": 31557600, "years": 31557600,
}  # fmt: skip
_DURATION_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Zµ]+)\s*")
_BRIEF_UNITS = (("y", 31557600), ("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
_PRINTED_UNITS = (("year", 31557600), ("month", 2630016), ("day", 86400), ("h", 3600), ("m", 60), ("s", 1))

LONGEST_SECONDS = 100 * _UNIT_SECONDS["years"]  # that anybody may ask for
_ENDLESS_SECONDS = 1e15
_HALF_YEAR_SECONDS = 182 * 86400

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgtp]?)(i?)b?\s*", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


def parse_duration(text: str) -> float:
    """Read a duration in seconds: humantime (`30s`, `1h 30m`, `5min`) or Go's (`1h30m0.5s`).

    Raises:
        ValueError: The text is not a sequence of numbers with units.
    """
    position, total = 0, 0.0
    while position < len(text):
        match = _DURATION_PART.match(text, position)
        if match is None or match[2] not in _UNIT_SECONDS:
            break
        total += float(match[1]) * _UNIT_SECONDS[match[2]]
        position = match.end()
    if position != len(text) or not text.strip():
        what = "is not a duration without a unit" if text.strip().isdecimal() else "is not a duration"
        raise ValueError(f"{text!r} {what}: write numbers with units, like 30s, 5min or 1h 30m")
    return total


def human_duration(seconds: float) -> str:
    """Write whole seconds as humantime does: `0s`, `42s`, `1m 3s`, `1h 2m 5s`, `1day 2h`; `∞` if they are too many."""
    if not seconds < _ENDLESS_SECONDS:
        return "∞"
    rest, parts = int(seconds), []
    for name, unit_seconds in _PRINTED_UNITS:
        count, rest = divmod(rest, unit_seconds)
        if count:
            plural = "s" if len(name) > 1 and count > 1 else ""
            parts.append(f"{count}{name}{plural}")
    return " ".join(parts) or "0s"


def brief_duration(seconds: float) -> str:
    """Write a duration for people, with its two largest units: `41ms`, `42s`, `1m18s`, `2h5m`, `3d4h`; `∞` as above."""
    if not seconds < _ENDLESS_SECONDS:
        return "∞"
    if seconds < 0:
        return f"-{brief_duration(-seconds)}"
    if seconds < 1:
        return f"{milliseconds}ms" if (milliseconds := int(seconds * 1000)) > 0 else "0s"
    rest, parts = int(seconds), []
    for name, unit_seconds in _BRIEF_UNITS:
        count, rest = divmod(rest, unit_seconds)
        if count:
            parts.append(f"{count}{name}")
        if len(parts) == 2 or (parts and not count):
            break
    return "".join(parts)


def go_duration(seconds: float) -> str:
    """Write a duration as Go's `time.Duration` prints it: `2.756922465s`, `13m42s`, `1h0m5s`, `774.134601ms`.

    A duration that is too long for any calendar is `∞`.
    """
    if not abs(seconds) < _ENDLESS_SECONDS:
        return "∞" if seconds > 0 else "-∞"
    nanos = round(seconds * 1e9)
    if nanos == 0:
        return "0s"
    if nanos < 0:
        return "-" + go_duration(-seconds)
    for unit, size in (("ns", 1), ("µs", 1_000), ("ms", 1_000_000)):
        if nanos < size * 1000:
            return _decimal(nanos, size) + unit
    minutes, rest = divmod(nanos, 60_000_000_000)
    hours, minutes = divmod(minutes, 60)
    text = _decimal(rest, 1_000_000_000) + "s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{hours}h{text}" if hours else text


def _decimal(value: int, unit: int) -> str:
    whole, fraction = divmod(value, unit)
    if not fraction:
        return str(whole)
    digits = str(fraction).rjust(len(str(unit)) - 1, "0").rstrip("0")
    return f"{whole}.{digits}"


def moment(at: float) -> str:
    """Write a unix time as UTC in ISO 8601, or with an `@` as it is where no calendar has it."""
    try:
        return datetime.fromtimestamp(at, UTC).isoformat()[:19] + "Z"
    except (ValueError, OverflowError, OSError):
        return f"@{at:g}"


def brief_moment(at: float, now: float) -> str:
    """Write a unix time as UTC for people, without the year where it goes without saying: `11-28 17:03:55Z`."""
    text = moment(at)
    return text[5:].replace("T", " ") if abs(now - at) < _HALF_YEAR_SECONDS and not text.startswith("@") else text


def parse_size(text: str) -> int:
    """Read a size in bytes: `32GiB`, `1.5 MB`, `2048`; `GB` is decimal and `GiB` binary.

    Raises:
        ValueError: The text is not a number with a byte unit.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a size: write a number with a unit, like 32GiB")
    base = 1024 if match[3] else 1000
    return int(float(match[1]) * base ** _POWERS[match[2].lower()])


def human_size(size_bytes: float) -> str:
    """Write a size with a binary unit: `2KiB`, `1.1GiB`."""
    value, unit = float(size_bytes), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{value:.1f}".removesuffix(".0") + unit


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 thread`, `2 threads`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def some(names: Sequence[str], most: int) -> str:
    """Write names in a line for people, the first ones of many: `w1, w2 and 3 more`."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"
