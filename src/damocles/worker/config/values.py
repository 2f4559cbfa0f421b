"""The types of values in a worker's configuration, and the errors about impossible ones. Durations become seconds."""

import math
import re
from pathlib import Path
from typing import Annotated

import pydantic
from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, StrictInt, StrictStr

from damocles.rpc import address
from damocles.rpc.admission import access
from damocles.sealing import planner
from damocles.stages.admission import costs
from damocles.stages.far import settings
from damocles.text import spelling, tables, units
from damocles.wire import sectors
from damocles.worker.config import rpc

_CPUSET = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*")


class Table(pydantic.BaseModel):
    """A table of the file. The text under each key is what the reference says about it; keys of ours begin it so."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


def _duration(value: object) -> float:
    try:
        return units.parse_duration(value) if isinstance(value, str) else _refuse()
    except ValueError:
        raise ValueError('expected a duration in quotes, like "30s", "5min" or "1h 30m"') from None


def _stagger(value: object) -> float:
    seconds = _duration(value)
    if seconds < 1:
        raise ValueError('expected at least "1s" between two starts')
    return seconds


def _bounded(least: str, most: str) -> BeforeValidator:
    """Refuse a duration that is less than one or more than the other."""
    least_seconds, most_seconds = units.parse_duration(least), units.parse_duration(most)

    def check(value: object) -> float:
        seconds = _duration(value)
        if not least_seconds <= seconds <= most_seconds:
            raise ValueError(f'expected from "{least}" to "{most}"')
        return seconds

    return BeforeValidator(check)


def _duration_text(seconds: float) -> str:
    return units.human_duration(seconds) if seconds == int(seconds) else f"{seconds}s"


def _size(value: object) -> int:
    try:
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        return units.parse_size(value) if isinstance(value, str) else int(_refuse())
    except ValueError:
        raise ValueError('expected a size in quotes, like "32GiB", or a number of bytes') from None


def _sector_size(value: object) -> sectors.SectorSize:
    try:
        return sectors.SectorSize(_size(value))
    except ValueError:
        valid = ", ".join(f'"{size.label}"' for size in sectors.SectorSize)
        raise ValueError(f"expected a sector size: one of {valid}") from None


def _stage(value: object) -> object:
    if isinstance(value, str) and value not in costs.STAGES:
        hint = spelling.did_you_mean(value, costs.STAGES)
        raise ValueError(f"expected a stage: no stage has this name{hint}")
    return value


def _plan(value: object) -> object:
    if isinstance(value, str) and value not in planner.PLANS:
        hint = spelling.did_you_mean(value, planner.PLANS)
        raise ValueError(f"unknown plan, expected one of {', '.join(planner.PLANS)}{hint}")
    return value


def _host(value: object) -> str:
    return rpc.check_host(value)


def _port(value: object) -> int:
    return rpc.check_port(value)


def _admitted(value: str) -> str:
    access.admitted([value], frozenset())
    return value


def _admitted_once(values: tuple[str, ...]) -> tuple[str, ...]:
    access.admitted(values, frozenset())
    return values


def _absolute(value: Path) -> Path:
    if not value.is_absolute() or value == Path("/"):
        raise ValueError('expected a folder with its whole path, like "/srv/unsealed"')
    return value


def _socket(value: str) -> str:
    host, _, port = value.rpartition(":")
    try:
        rpc.check_host(host.removeprefix("[").removesuffix("]"))
        rpc.check_port(int(port))
    except ValueError:
        raise ValueError('expected an IP address with a port, like "127.0.0.1:9000"') from None
    return value


def _manager(value: str) -> str:
    address.manager_url(value)
    return value


def _ray_head(value: str) -> str:
    settings.endpoint(value)
    return value


def _amount(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError("expected a number above 0: how much of it a task takes, like GPU = 1")
    return value


def _cpuset(value: str) -> str:
    if not _CPUSET.fullmatch(value):
        raise ValueError('expected a list of cores, like "0-7,16-23"')
    return value


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError("expected a whole number from 1 on; 0 would let nothing run, leave the key out for no limit")
    return value


def _environment(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError('expected a string: environment variables are text, write "1" and not 1')  # noqa: TRY004
    return value


def _refuse() -> float:
    raise ValueError


def _shown(words: str, example: str) -> tables.Kind:
    """Return how a duration is written."""
    return tables.Kind(words, f'"{example}"', lambda seconds: f'"{_duration_text(seconds)}"')


_Written = PlainSerializer(_duration_text, when_used="json")
Duration = Annotated[float, _bounded("0s", "100years"), _Written, _shown("duration", "12h")]
# What is done again and again: at 0 it would be done without end, and beyond the other bound never in practice.
Pause = Annotated[float, _bounded("0s", "30days"), _Written, _shown("duration", "1min")]
Interval = Annotated[float, _bounded("10ms", "30days"), _Written, _shown('duration from `"10ms"` on', "2min")]
PingInterval = Annotated[float, _bounded("100ms", "1h"), _Written, _shown('duration, `"100ms"` to `"1h"`', "1min")]
# The lease of a window PoSt is 15 s.
Heartbeat = Annotated[float, _bounded("100ms", "14s"), _Written, _shown('duration, `"100ms"` to `"14s"`', "5s")]
# A deadline has 30 minutes.
PostTimeout = Annotated[float, _bounded("100ms", "30min"), _Written, _shown('duration, `"100ms"` to `"30min"`', "2min")]
Stagger = Annotated[
    float,
    BeforeValidator(_stagger),
    PlainSerializer(_duration_text, when_used="json"),
    _shown('duration from `"1s"` on', "10min"),
]
Size = Annotated[int, BeforeValidator(_size), tables.Kind("size", '"256GiB"')]
SectorSize = Annotated[
    sectors.SectorSize,
    BeforeValidator(_sector_size),
    PlainSerializer(lambda size: size.label, when_used="json"),
    tables.Kind("sector size", '"32GiB"'),
]
Count = Annotated[int, BeforeValidator(_count), tables.Kind("number from 1 on", "2")]
Natural = Annotated[StrictInt, Field(ge=0), tables.Kind("number", "4")]
Environment = Annotated[str, BeforeValidator(_environment), tables.Kind("text", '"0"')]
Host = Annotated[str, BeforeValidator(_host), tables.Kind("IP address", '"10.0.0.11"')]
Port = Annotated[int, BeforeValidator(_port), tables.Kind("port", "17890")]
Admitted = Annotated[
    tuple[Annotated[StrictStr, AfterValidator(_admitted)], ...],
    AfterValidator(_admitted_once),
    tables.Kind("list of addresses or networks", '["10.0.0.1"]'),
]
Folder = Annotated[Path, AfterValidator(_absolute), tables.Kind("whole path", '"/srv/unsealed"')]
Socket = Annotated[StrictStr, AfterValidator(_socket), tables.Kind("IP address with a port", '"0.0.0.0:9000"')]
ManagerAddress = Annotated[
    StrictStr, AfterValidator(_manager), tables.Kind("multiaddr or URL", '"/ip4/10.0.0.1/tcp/1789"')
]
Origin = Annotated[StrictStr, AfterValidator(rpc.check_origin), tables.Kind("origin", '"https://market.example:41235"')]
RayHead = Annotated[StrictStr, AfterValidator(_ray_head), tables.Kind("address with a port", '"10.0.0.1:6379"')]
Amount = Annotated[float, BeforeValidator(_amount), tables.Kind("number above 0", "1")]  # of a resource of Ray
Lease = Annotated[float, _bounded("3s", "10min"), _Written, _shown('duration, `"3s"` to `"10min"`', "30s")]
Cpuset = Annotated[StrictStr, AfterValidator(_cpuset), tables.Kind("list of cores", '"0-7,16-23"')]
StageName = Annotated[StrictStr, BeforeValidator(_stage), tables.Kind("stage", "pc1")]
PlanName = Annotated[StrictStr, BeforeValidator(_plan), tables.Kind("plan", '"snapup"')]
