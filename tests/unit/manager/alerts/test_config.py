"""The file of the alerts: what it may say, and what is said of a wrong one."""

from pathlib import Path

import pytest

from damocles.manager.alerts import config as alerts_config
from damocles.manager.alerts import rules as alerts_rules


def written(folder: Path, text: str) -> Path:
    """Write the file and return where."""
    file = folder / alerts_config.FILE_NAME
    file.write_text(text)
    return file


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    """A home without the file alerts by all rules, and tells it in the log only."""
    config = alerts_config.of_home(tmp_path)
    assert alerts_config.Config() == config
    assert alerts_rules.DEFAULTS == config.rules
    assert ((), ()) == (config.webhooks, config.apprise)


def test_what_the_file_says_overrides_the_defaults(tmp_path: Path) -> None:
    """Each key is optional, and the others of its rule stay."""
    config = alerts_config.of_home(
        written(
            tmp_path,
            """
            interval = "10s"
            repeat = "1h"
            lost_after = "5m"
            rules.worker-late.enabled = false
            rules.thread-paused = { for = "1m", severity = "critical" }
            rules.stage-slow = { factor = 2.5, samples = 8, at_least = "10m" }
            rules.store-full.percent = 10
            [[webhook]]
            url = "https://example.net/hook"
            headers.Authorization = "Bearer secret"
            [[apprise]]
            url = "ntfy://topic"
            """,
        ).parent
    )
    rules = {rule.name: rule for rule in config.rules}
    assert (10.0, 3600.0, 300.0) == (config.interval_seconds, config.repeat_seconds, config.lost_after_seconds)
    assert alerts_rules.Rule(name="worker-late", enabled=False) == rules["worker-late"]
    assert alerts_rules.Rule(name="thread-paused", severity="critical", for_seconds=60.0) == rules["thread-paused"]
    slow = alerts_rules.Rule(name="stage-slow", factor=2.5, samples=8, at_least_seconds=600.0)
    assert slow == rules["stage-slow"]
    assert alerts_rules.Rule(name="store-full", severity="critical", percent=10.0) == rules["store-full"]
    (webhook,) = config.webhooks
    assert ("https://example.net/hook", {"Authorization": "Bearer secret"}) == (webhook.url, webhook.headers)
    assert ("ntfy://topic",) == config.apprise
    assert "secret" not in repr(config)
    assert "ntfy" not in repr(config)


def test_times_have_bounds(tmp_path: Path) -> None:
    """What no calendar has is refused, and so is a look without end; a mark before the text is no error."""
    file = written(tmp_path, 'interval = "0s"\nrepeat = "31days"\nrules.thread-paused.for = "99999999999y"')
    with pytest.raises(alerts_config.ConfigError) as raised:
        alerts_config.read(file)
    assert [
        f'{file}: interval: expected from "1s" to "30days"',
        f'{file}: repeat: expected from "1s" to "30days"',
        f'{file}: rules.thread-paused.for: expected at most "100years"',
    ] == str(raised.value).splitlines()
    file.write_text('\ufeffinterval = "7s"')
    assert 7.0 == alerts_config.read(file).interval_seconds


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    """Each problem is a line with the file and the key; values, which may be secret, are not repeated."""
    file = written(
        tmp_path,
        """
        interval = "soon"
        repeet = "4h"
        rules.thread-pause.for = "5m"
        rules.worker-late.fro = "5m"
        rules.worker-lost.severity = "loud"
        rules.store-full.percent = 101
        [[webhook]]
        url = "hooks.example.net/s3cret"
        """,
    )
    with pytest.raises(alerts_config.ConfigError) as raised:
        alerts_config.read(file)
    lines = str(raised.value).splitlines()
    assert all(line.startswith(f"{file}: ") for line in lines)
    assert {
        'interval: expected a duration in quotes, like "30s", "5min" or "1h 30m"',
        'repeet: there is no such key; did you mean "repeat"?',
        'rules.thread-pause: there is no such key; did you mean "thread-paused"?',
        'rules.worker-late.fro: there is no such key; did you mean "for"?',
        "rules.worker-lost.severity: Input should be 'warning' or 'critical'",
        "rules.store-full.percent: Input should be less than or equal to 100",
        "webhook.0.url: expected a URL that begins with https:// or http://",
    } == {line.removeprefix(f"{file}: ") for line in lines}
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[rules", ":1: is not TOML: the ] of a table"),
        (None, ": cannot be read: No such file or directory"),
        ("rules = 1", "rules: Input"),
    ],
)
def test_a_file_that_is_none_is_named(tmp_path: Path, text: str | None, said: str) -> None:
    """A file that cannot be read, or is something else, is one line."""
    file = tmp_path / "alerts.toml" if text is None else written(tmp_path, text)
    with pytest.raises(alerts_config.ConfigError, match=said):
        alerts_config.read(file)
