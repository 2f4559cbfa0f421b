"""The file with the rules and receivers of alerts: `alerts.toml` in the manager's home, or another one (`--alerts FILE`).

    interval = "30s"                  # how often the manager asks workers for their threads
    repeat = "4h"                     # until an alert that nobody has acknowledged is sent again
    lost_after = "10m"                # without a ping for so long, a worker is lost and not only late

    [rules.thread-paused]             # the rules are in `alerts_rules.DEFAULTS`; each has these three keys
    enabled = true
    for = "5m"
    severity = "critical"

    [[webhook]]                       # POST of JSON
    url = "https://example.net/hook"
    headers = { Authorization = "Bearer …" }

    [[apprise]]                       # chat, mail and more, by https://appriseit.com
    url = "mailto://user:password@example.net"

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
        checked = _File.model_validate(data)
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


Duration = Annotated[float, BeforeValidator(_duration)]
Interval = Annotated[float, BeforeValidator(_interval)]


class _Model(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class _Rule(_Model):
    """Fields are those of `alerts_rules.Rule`; only what stands in the file overrides it."""

    enabled: StrictBool = True
    severity: Literal["warning", "critical"] = "warning"
    for_seconds: Duration = Field(default=0.0, alias="for")


class _StageSlow(_Rule):
    factor: float = Field(default=0, gt=1)
    samples: int = Field(default=0, ge=1)
    at_least_seconds: Duration = Field(default=0.0, alias="at_least")


class _StoreFull(_Rule):
    percent: float = Field(default=0, ge=0, le=100)


class _Rules(_Model):
    """A key for each rule."""

    thread_paused: _Rule | None = Field(default=None, alias="thread-paused")
    thread_erroring: _Rule | None = Field(default=None, alias="thread-erroring")
    parameters_missing: _Rule | None = Field(default=None, alias="parameters-missing")
    stage_slow: _StageSlow | None = Field(default=None, alias="stage-slow")
    worker_late: _Rule | None = Field(default=None, alias="worker-late")
    worker_lost: _Rule | None = Field(default=None, alias="worker-lost")
    worker_unreachable: _Rule | None = Field(default=None, alias="worker-unreachable")
    worker_name_shared: _Rule | None = Field(default=None, alias="worker-name-shared")
    store_full: _StoreFull | None = Field(default=None, alias="store-full")
    store_missing: _Rule | None = Field(default=None, alias="store-missing")
    manager_disk: _Rule | None = Field(default=None, alias="manager-disk")
    chain_messages: _Rule | None = Field(default=None, alias="chain-messages")
    window_post_failed: _Rule | None = Field(default=None, alias="window-post-failed")
    window_post_late: _Rule | None = Field(default=None, alias="window-post-late")
    window_post_faults: _Rule | None = Field(default=None, alias="window-post-faults")

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
    url: Annotated[str, BeforeValidator(_url)]
    headers: dict[str, str] = {}
    _checked = pydantic.model_validator(mode="after")(_not_in_the_clear)


class _Apprise(_Model):
    url: str = Field(min_length=1)


class _File(_Model):
    interval: Interval = INTERVAL_SECONDS
    repeat: Interval = alerts_rules.REPEAT_SECONDS
    lost_after: Interval = watch.EXPIRATION_SECONDS
    rules: _Rules = _Rules()
    webhook: tuple[_Webhook, ...] = ()
    apprise: tuple[_Apprise, ...] = ()

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
        return f"{key}: there is no such key{spelling.did_you_mean(str(path[-1]), tables.keys_beside(_File, path))}"
    return f"{key}: {problem['msg'].removeprefix('Value error, ')}"
