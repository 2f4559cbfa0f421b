"""The file with the rules and receivers of alerts: `alerts.toml` in the manager's home, or another one (`--alerts FILE`).

All of it may be left out. Its errors are reported all at once.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import pydantic
from pydantic import BeforeValidator, Field, StrictBool

from damocles.manager.alerts import rules as alerts_rules
from damocles.manager.fleet import watch
from damocles.rpc.admission import access
from damocles.text import spelling, tables, toml, units

FILE_NAME = "alerts.toml"
INTERVAL_SECONDS = 30.0
_LONGEST_INTERVAL_SECONDS = 30 * 86400.0


class ConfigError(Exception):
    """The file cannot be used; each line of the message names a key and what is wrong with it."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Where JSON is sent."""

    url: str
    headers: dict[str, str] = dataclasses.field(default_factory=dict, repr=False)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The file's values, and the defaults. `apprise` holds URLs, which are secrets."""

    interval_seconds: float = INTERVAL_SECONDS
    repeat_seconds: float = alerts_rules.REPEAT_SECONDS
    lost_after_seconds: float = watch.EXPIRATION_SECONDS
    rules: tuple[alerts_rules.Rule, ...] = alerts_rules.DEFAULTS
    webhooks: tuple[Webhook, ...] = ()
    apprise: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    file: Path | None = dataclasses.field(default=None, compare=False)

    @property
    def has_secrets(self) -> bool:
        """Whether the file holds secrets by which others could send messages: URLs are mostly as good as passwords."""
        return bool(self.webhooks or self.apprise)


def read(file: Path) -> Config:
    """Read the file.

    Raises:
        ConfigError: With everything that is wrong.
    """
    try:
        data = toml.parse(toml.read(file))
    except toml.Unusable as error:
        place = f"{file}:{error.line}" if error.line else str(file)
        raise ConfigError(f"{place}: {error}") from error
    try:
        checked = File.model_validate(data)
    except pydantic.ValidationError as error:
        lines = [f"{file}: {_problem(problem)}" for problem in error.errors(include_url=False, include_context=False)]
        raise ConfigError("\n".join(lines)) from error
    return dataclasses.replace(checked.config(), file=file)


def of_home(home: Path) -> Config:
    """Read the file of a manager's home, if there is one."""
    file = home / FILE_NAME
    return read(file) if file.exists() else Config()


def _duration(value: object) -> float:
    try:
        seconds = units.parse_duration(value) if isinstance(value, str) else -1.0
    except ValueError:
        seconds = -1.0
    if seconds < 0:
        raise ValueError('expected a duration in quotes, like "30s", "5min" or "1h 30m"')
    if seconds > units.LONGEST_SECONDS:
        raise ValueError('expected at most "100years"')
    return seconds


def _interval(value: object) -> float:
    seconds = _duration(value)
    if not 1 <= seconds <= _LONGEST_INTERVAL_SECONDS:
        raise ValueError('expected from "1s" to "30days"')
    return seconds


def _url(value: object) -> str:
    if not isinstance(value, str) or not value.startswith(("http://", "https://")):
        raise ValueError("expected a URL that begins with https:// or http://")
    return value


Duration = Annotated[
    float,
    BeforeValidator(_duration),
    tables.Kind("duration", '"15m"', lambda seconds: f'"{units.human_duration(seconds)}"'),
]
Interval = Annotated[
    float,
    BeforeValidator(_interval),
    tables.Kind('duration, `"1s"` to `"30days"`', '"1m"', lambda seconds: f'"{units.human_duration(seconds)}"'),
]


class _Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


_USUAL = alerts_rules.Rule(name="")


class _Rule(_Model):
    """A rule; where the file leaves something out, it is as in the list of rules."""

    enabled: StrictBool | None = None
    """Whether there are such alerts."""
    severity: Literal["warning", "critical"] | None = None
    """How bad it is. Like `"critical"`."""
    for_seconds: Duration | None = Field(default=None, alias="for")
    """How long it must hold until the alert fires."""


class _StageSlow(_Rule):
    """A rule that compares a stage with earlier runs."""

    factor: float = Field(default=_USUAL.factor, gt=1)
    """How many times its median a stage may run. Like `2`."""
    samples: int = Field(default=_USUAL.samples, ge=1)
    """How many runs there have to be before. Like `10`."""
    at_least_seconds: Duration = Field(default=_USUAL.at_least_seconds, alias="at_least")
    """A stage that has run for less is not slow."""


class _StoreFull(_Rule):
    """A rule about space."""

    percent: float = Field(default=_USUAL.percent, ge=0, le=100)
    """How much of a store has to be free. Like `10`."""


class _Rules(_Model):
    """When something becomes an alert: a table for each rule."""

    thread_paused: _Rule | None = Field(default=None, alias="thread-paused")
    """A sealing thread is paused."""
    thread_erroring: _Rule | None = Field(default=None, alias="thread-erroring")
    """A thread that is not paused has an error."""
    parameters_missing: _Rule | None = Field(default=None, alias="parameters-missing")
    """A thread's last error is that proof parameters are missing; there is one alert for each worker."""
    stage_slow: _StageSlow | None = Field(default=None, alias="stage-slow")
    """A stage runs 3 times as long as its median, and a minute, once 5 runs are known."""
    worker_late: _Rule | None = Field(default=None, alias="worker-late")
    """Two pings that were due have not come."""
    worker_lost: _Rule | None = Field(default=None, alias="worker-lost")
    """There has been no ping for 10 minutes (`lost_after`)."""
    worker_unreachable: _Rule | None = Field(default=None, alias="worker-unreachable")
    """A worker pings, but does not list its threads."""
    worker_name_shared: _Rule | None = Field(default=None, alias="worker-name-shared")
    """Two live workers ping under one name; acts by an index are refused until each has its own."""
    store_full: _StoreFull | None = Field(default=None, alias="store-full")
    """Less than 5 %, or less than a sector, is free in a persist store that the manager knows by its path."""
    store_missing: _Rule | None = Field(default=None, alias="store-missing")
    """The path of a persist store that the manager knows is missing, a bare mount point, or another store."""
    manager_disk: _Rule | None = Field(default=None, alias="manager-disk")
    """The manager's home cannot be written or read (full, failing, read-only), or has less than 64 MiB left."""
    manager_silent: _Rule | None = Field(default=None, alias="manager-silent")
    """On PostgreSQL, another manager on the same database has written nothing there for 15 seconds, and has not ended in good order."""
    chain_messages: _Rule | None = Field(default=None, alias="chain-messages")
    """Messages to a real chain make no progress: no node, no money, a base fee above what is allowed, a deadline near."""
    window_post_failed: _Rule | None = Field(default=None, alias="window-post-failed")
    """Nobody has a try left for the last window PoSt of a deadline and partition."""
    window_post_late: _Rule | None = Field(default=None, alias="window-post-late")
    """A window PoSt is not proved after half of the network's deadline; on a real chain, on that."""
    window_post_at_risk: _Rule | None = Field(default=None, alias="window-post-at-risk")
    """On a real chain, partitions of a deadline are not proved though three quarters of its time are over."""
    window_post_missed: _Rule | None = Field(default=None, alias="window-post-missed")
    """On a real chain, a deadline has closed and partitions of it were not proved: their sectors are faulty now."""
    window_post_faults: _Rule | None = Field(default=None, alias="window-post-faults")
    """A window PoSt left out sectors that could not be proved."""
    block_lost: _Rule | None = Field(default=None, alias="block-lost")
    """On a real chain, an election was won within a day and its block is not on the chain."""

    def rules(self) -> tuple[alerts_rules.Rule, ...]:
        """Return the default rules with what is set here."""
        return tuple(self._overridden(rule) for rule in alerts_rules.DEFAULTS)

    def _overridden(self, rule: alerts_rules.Rule) -> alerts_rules.Rule:
        given: _Rule | None = getattr(self, rule.name.replace("-", "_"))
        return rule if given is None else dataclasses.replace(rule, **given.model_dump(exclude_unset=True))


def _not_in_the_clear(hook: "_Webhook") -> "_Webhook":
    """Refuse to send what lets us in to where it can be read on the way."""
    if access.in_the_clear(hook.url) and (hook.headers or urlsplit(hook.url).username is not None):
        raise ValueError("headers, or a name and password, would go there unencrypted: use https:// or leave them out")
    return hook


class _Webhook(_Model):
    """A receiver of alerts as JSON, by POST."""

    url: Annotated[str, BeforeValidator(_url)]
    """Where it is sent. Like `"https://example.net/hook"`."""
    headers: dict[str, str] = {}
    """HTTP headers, for instance with a token. Like `{ Authorization = "Bearer …" }`."""
    _checked = pydantic.model_validator(mode="after")(_not_in_the_clear)


class _Apprise(_Model):
    """A receiver of alerts by [Apprise](https://github.com/caronc/apprise): chat, mail and more."""

    url: str = Field(min_length=1)
    """Where it is sent, in the notation of Apprise. Like `"mailto://user:password@example.net"`."""


class File(_Model):
    """The whole file."""

    interval: Interval = INTERVAL_SECONDS
    """How often the manager asks workers for their threads."""
    repeat: Interval = alerts_rules.REPEAT_SECONDS
    """The time until an alert that nobody has acknowledged is sent again."""
    lost_after: Interval = watch.EXPIRATION_SECONDS
    """How long without a ping a worker is lost, and not only late."""
    rules: _Rules = _Rules()
    """The rules."""
    webhook: tuple[_Webhook, ...] = ()
    """Receivers of JSON."""
    apprise: tuple[_Apprise, ...] = ()
    """Receivers by Apprise."""

    def config(self) -> Config:
        """Return it as the rest of the manager takes it."""
        return Config(
            interval_seconds=self.interval,
            repeat_seconds=self.repeat,
            lost_after_seconds=self.lost_after,
            rules=self.rules.rules(),
            webhooks=tuple(Webhook(url=hook.url, headers=hook.headers) for hook in self.webhook),
            apprise=tuple(entry.url for entry in self.apprise),
        )


def _problem(problem: Any) -> str:
    path = problem["loc"]
    key = ".".join(map(str, path))
    if problem["type"] == "extra_forbidden":
        return f"{key}: there is no such key{spelling.did_you_mean(str(path[-1]), tables.keys_beside(File, path))}"
    return f"{key}: {problem['msg'].removeprefix('Value error, ')}"
