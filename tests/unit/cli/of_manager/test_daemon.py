"""`damocles-manager daemon`: options of the command line and of the file."""

import shlex
from pathlib import Path

import pytest

from damocles.cli import manager, worker
from damocles.cli.of_manager import starting
from damocles.manager import daemon

CHAIN = """
[[Chain.Nodes]]
API = "127.0.0.1:1234"

[[Miners]]
Actor = 1000
"""


@pytest.fixture
def settings_of(monkeypatch, tmp_path):
    """Return what starts a manager with a `[Daemon]` and options, and gives its settings and how it logs."""
    got: list[tuple[daemon.Settings, bool]] = []
    monkeypatch.setattr(starting, "run", lambda settings, *, log_json: got.append((settings, log_json)))
    file = tmp_path / "manager.toml"

    def run(table: str, *options: str) -> tuple[daemon.Settings, bool]:
        file.write_text(f"[Daemon]\n{table}{CHAIN}")
        assert 0 == manager.main(["daemon", "--config", str(file), "--home", str(tmp_path / "home"), *options])
        return got[-1]

    return run


def test_the_file_says_how_to_run(settings_of, tmp_path):
    """A service needs no option but the file's name."""
    (tmp_path / "a.toml").write_text('interval = "7s"\n')
    table = f"""\
Listen = "10.0.0.1"
TLSCert = "~/cert.pem"
TLSKey = "~/key.pem"
Admit = ["10.0.0.0/24"]
KnownAs = ["manager.lan"]
Alerts = "{tmp_path}/a.toml"
Dashboard = true
LogJSON = true
"""
    settings, log_json = settings_of(table)
    assert ("10.0.0.1:1789", True, False, True) == (
        str(settings.listen),
        settings.dashboard,
        settings.open_metrics,
        log_json,
    )
    assert (Path("~/cert.pem").expanduser(), Path("~/key.pem").expanduser()) == settings.certificate
    assert (["10.0.0.0/24"], ["manager.lan"], 7.0) == (
        [str(one.network) for one in settings.admit],
        list(settings.known_as),
        settings.alerts.interval_seconds,
    )


def test_options_win(settings_of):
    """What is typed replaces what the file says, lists as a whole; without either there are defaults."""
    table = 'Listen = "127.0.0.1:7"\nAdmit = ["10.0.0.0/24"]\n'
    settings, _ = settings_of(table, "--listen", "127.0.0.1:8", "--admit", "10.1.0.0/24", "--open-metrics")
    assert ("127.0.0.1:8", ["10.1.0.0/24"], True) == (
        str(settings.listen),
        [str(one.network) for one in settings.admit],
        settings.open_metrics,
    )
    settings, log_json = settings_of("")
    assert ("127.0.0.1:1789", (), False) == (str(settings.listen), tuple(settings.admit), log_json)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ('Listen = "0.0.0.0:1789"', "tokens would go there unencrypted"),
        ('TLSCert = "a.pem"', "--tls-cert and --tls-key go together"),
        ('Admit = ["everybody"]', "everybody"),
        ('Alerts = "none.toml"', "none.toml"),
        ('Listten = "a"', 'Daemon.Listten: there is no such key; did you mean "Listen"?'),
    ],
)
def test_config_check_reports_what_would_keep_it_from_starting(tmp_path, capsys, table, told):
    """Whatever `daemon` would refuse of the table."""
    file = tmp_path / "manager.toml"
    file.write_text(f"[Daemon]\n{table}\n{CHAIN}")
    assert 1 == manager.main(["config", "check", str(file), "--home", str(tmp_path)])
    assert told in capsys.readouterr().err


def test_config_check_and_daemon_say_the_same_of_stores_that_are_not_there(tmp_path, capsys):
    """Each store is named, with the command that makes it, and once these have run both accept the file."""
    file, home = tmp_path / "manager.toml", tmp_path / "home"
    stores = [tmp_path / "a", tmp_path / "b c"]
    tables = "".join(f'[[Common.PersistStores]]\nPath = "{store}"\n' for store in stores)
    file.write_text(f'[Daemon]\nAlerts = "none.toml"\n{tables}{CHAIN}')
    assert 1 == manager.main(["config", "check", str(file)])
    checked = capsys.readouterr().err
    assert "none.toml" in checked, "what else is wrong is told as well"
    file.write_text(f"{tables}{CHAIN}")
    assert 2 == manager.main(["daemon", "--config", str(file), "--home", str(home)])
    refused = capsys.readouterr().err
    commands = [f"store file-init --loc {shlex.quote(str(store))}" for store in stores]
    assert [[True] * 2] * 2 == [[f"`damocles-worker {one}`" in text for one in commands] for text in (checked, refused)]
    for command in commands:
        assert 0 == worker.main(shlex.split(command))
    assert 0 == manager.main(["config", "check", str(file)])
