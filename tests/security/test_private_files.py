"""What the daemons write is for their user alone, or for a group at most; what others can read is said."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import anyio.to_thread
import pytest
import structlog.testing
from tests.integration.access.conftest import StartManager

from damocles import privacy
from damocles.cli import manager as manager_cli
from damocles.cli import worker as worker_cli
from damocles.manager.alerts import config as alerts_config
from damocles.parameters import preflight
from damocles.rpc import tls
from damocles.stores import journal, sealing
from damocles.wire import control
from damocles.worker import daemon as worker_daemon
from damocles.worker.config import load
from damocles.worker.serving import audit, logbook

CONFIG = """
[worker]
home = "{folder}/home"

[sector_manager]
rpc_client.addr = "/ip4/127.0.0.1/tcp/1789"
token_file = "{folder}/worker-token"

[[sealing_thread]]
location = "{folder}/store"

[[attached]]
location = "{folder}"

[[processors.c2]]
bin = "/bin/true"
envs = {{ AWS_SECRET_ACCESS_KEY = "topsecret" }}
"""


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    """Let files be open to all unless a program says otherwise, as systems mostly do."""
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    """Return who may do what with a file."""
    return stat.S_IMODE(path.stat().st_mode)


async def test_a_manager_s_home_is_its_user_s(start_manager: StartManager) -> None:
    """The home is made for one user, and so is each file in it that lets somebody in or says who did what."""
    async with start_manager() as manager:
        assert 0o700 == mode(manager.home)
        files = {path.name: mode(path) for path in manager.home.iterdir() if path.is_file()}
    private = {"token", "worker-token", "manager.db", "manager.db-wal", "manager.db-shm"}
    assert private <= set(files)
    assert dict.fromkeys(private, 0o600) == {name: files[name] for name in private}


async def test_a_worker_s_home_is_its_user_s(tmp_path: Path) -> None:
    """Likewise a worker's: the claim of its home, its tokens and its audit."""
    home = tmp_path / "new" / "home"
    with worker_daemon._claimed(home):
        assert 0o700 == mode(home)
    await audit.Ledger(home).begin(control.AuditEntry(at=0.0, who="a", address="", what="b", ok=True))
    assert 0o600 == mode(home / audit.FILE_NAME)


def test_a_store_s_records_are_for_a_group_at_most(tmp_path: Path) -> None:
    """The journal of a store, what SQLite puts beside it, and the output of stages."""
    store = tmp_path / "store"
    sealing.init(store)
    opened = journal.Journal(store / "meta" / journal.FILE_NAME)
    logged = store / "meta" / logbook.FILE_NAME
    keeper = logbook._Keeper(logged)
    keeper.put(control.LogLine(number=1, at=0.0, stage="pc1", pid=1, text="x"))
    keeper.written()
    files = [*(store / "meta").glob("journal.db*"), logged]
    assert 4 == len(files)
    assert dict.fromkeys(files, 0o640) == {path: mode(path) for path in files}
    opened.close()


def test_a_journal_that_everybody_could_read_is_closed_to_others(tmp_path: Path) -> None:
    """The identity in it is the key to the store's sectors; earlier releases made journals for all to read."""
    file = tmp_path / journal.FILE_NAME
    journal.Journal(file).close()
    for before, after in ((0o644, 0o640), (0o666, 0o660), (0o600, 0o600)):
        file.chmod(before)
        journal.Journal(file).close()
        assert after == mode(file)


@pytest.mark.parametrize(
    ("is_folder", "bits", "is_open"),
    [(False, 0o644, True), (False, 0o640, False), (False, 0o600, False), (True, 0o755, True), (True, 0o750, False)],
)
def test_what_everybody_may_read_is_open(tmp_path: Path, is_folder: bool, bits: int, is_open: bool) -> None:
    """A group is let in on purpose; what is not there is not open."""
    path = tmp_path / "x"
    assert not privacy.is_open(path)
    path.mkdir() if is_folder else path.touch()
    path.chmod(bits)
    assert is_open == privacy.is_open(path)


def test_parameters_that_others_can_change_are_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of parameters is often below /var/tmp, where the first to come makes it."""
    assert [] == preflight.warnings({}, tmp_path)
    assert [] == preflight.warnings({}, tmp_path / "none")
    tmp_path.chmod(0o1777)
    (line,) = preflight.warnings({}, tmp_path)
    assert f"other users can write to {tmp_path}" in line
    tmp_path.chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    assert [] == preflight.warnings({}, Path("/"))  # root's
    if tmp_path.stat().st_uid:
        assert [line] == preflight.warnings({}, tmp_path)


class TestWorkerConfiguration:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        """A configuration with a secret in it, and one beside it."""
        sealing.init(tmp_path / "store")
        (tmp_path / "worker-token").write_text("dmc_x\n")
        file = tmp_path / "worker.toml"
        file.write_text(CONFIG.format(folder=tmp_path))
        for path in (file, tmp_path / "worker-token"):
            path.chmod(0o600)
        return file

    def test_what_is_private_is_not_warned_of(self, file: Path) -> None:
        """Nothing is said of files that only their user can read."""
        assert [] == [str(one) for one in load.load(file).warnings if "every user" in str(one)]

    def test_secrets_that_everybody_can_read_are_named(
        self, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """`config check` names the key and the file and says what to do, and shows no secret."""
        for path in (file, tmp_path / "worker-token"):
            path.chmod(0o644)
        assert 0 == worker_cli.main(["config", "check", str(file)])
        said = capsys.readouterr()
        lines = [line for line in (said.out + said.err).splitlines() if "every user" in line]
        assert [True, True] == [
            f"processors.c2[0].envs.AWS_SECRET_ACCESS_KEY: is a secret, and is in {file};" in "".join(lines),
            f"every user of this machine can read it: chmod o= {tmp_path / 'worker-token'}" in "".join(lines),
        ]
        assert "topsecret" not in said.out + said.err

    def test_a_token_s_way_in_the_clear_is_named(self, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """`config check` says what would keep the worker from starting, unless the file has the word for it."""
        text = file.read_text().replace("/ip4/127.0.0.1/tcp/1789", "/ip4/198.51.100.7/tcp/1789")
        for first, warned in (("", True), ("insecure = true\n", False)):
            file.write_text(first + text)
            assert 0 == worker_cli.main(["config", "check", str(file)])
            said = capsys.readouterr().err
            assert warned == ("the token would cross a network unencrypted" in said), said

    def test_without_a_secret_everybody_may_read_it(self, file: Path) -> None:
        """A configuration that holds no secret may be open."""
        file.write_text(file.read_text().replace("AWS_SECRET_ACCESS_KEY", "RUST_LOG"))
        file.chmod(0o644)
        assert [] == [str(one) for one in load.load(file).warnings if "every user" in str(one)]


async def test_a_manager_warns_of_what_lies_open(start_manager: StartManager, tmp_path: Path) -> None:
    """Its home, the file that says whom to alert and where, and its key are named when it starts, if all can read them."""
    assert 0 == manager_cli.main(["auth", "ca", "--dir", str(tmp_path / "ca"), "--host", "manager,127.0.0.1"])
    key, home, alerts = tmp_path / "ca" / "manager.key", tmp_path / "manager", tmp_path / "manager" / "alerts.toml"
    home.mkdir()
    alerts.write_text('[[webhook]]\nurl = "https://hooks.example/T0P-SECRET"\n')
    certificate = tls.Files(tmp_path / "ca" / "manager.pem", key)

    async def warned() -> list[str]:
        with structlog.testing.capture_logs() as logs:
            async with start_manager(alerts=alerts_config.of_home(home), certificate=certificate):
                pass
        assert "T0P-SECRET" not in str(logs)
        return [entry["path"] for entry in logs if entry["event"] == "secrets are readable by others"]

    for path, bits in ((home, 0o755), (alerts, 0o644), (key, 0o644)):
        path.chmod(bits)
    assert [str(home), str(key), str(alerts)] == await warned()
    for path, bits in ((home, 0o750), (alerts, 0o640), (key, 0o640)):
        path.chmod(bits)
    assert [] == await warned()


async def test_an_alerts_file_without_secrets_may_be_read(start_manager: StartManager, tmp_path: Path) -> None:
    """Thresholds are no secret."""
    file = tmp_path / "alerts.toml"
    file.write_text('lost_after = "10min"\n')
    file.chmod(0o644)
    with structlog.testing.capture_logs() as logs:
        async with start_manager(alerts=alerts_config.read(file)):
            pass
    assert [] == [entry for entry in logs if entry["event"] == "secrets are readable by others"]


def test_a_worker_warns_of_a_home_that_lies_open(tmp_path: Path) -> None:
    """A home from before, which everybody may look into, is used and warned of."""
    tmp_path.chmod(0o755)
    with structlog.testing.capture_logs() as logs, worker_daemon._claimed(tmp_path):
        pass
    assert [f"every user of this machine can read it: chmod o= {tmp_path}"] == [entry["problem"] for entry in logs]


async def test_a_new_token_s_file_is_private_and_replaces_nothing(start_manager: StartManager, tmp_path: Path) -> None:
    """`auth create --output` makes a file for its user alone; what is there stays, and a link is not followed."""
    precious, link, made = tmp_path / "precious", tmp_path / "link", tmp_path / "made"
    precious.write_text("precious")
    link.symlink_to(tmp_path / "not-there")
    async with start_manager() as manager:

        def create(name: str, output: Path) -> int:
            at = ["--listen", manager.url, "--home", str(manager.home)]
            return manager_cli.main(["auth", "create", name, "--scope", "read", "--output", str(output), *at])

        codes = [
            await anyio.to_thread.run_sync(create, name, output)
            for name, output in (("a", made), ("b", precious), ("c", link))
        ]
    assert [True, False, True] == [code == 0 for code in codes]
    assert [0o600, 0o600, False] == [mode(made), mode(link), link.is_symlink()]
    assert "precious" == precious.read_text()
    assert not (tmp_path / "not-there").exists()


def test_an_authority_s_key_is_private(tmp_path: Path) -> None:
    """The keys that `auth ca` makes, and their folder, are for their user alone."""
    folder = tmp_path / "ca"
    assert 0 == manager_cli.main(["auth", "ca", "--dir", str(folder), "--host", "manager"])
    assert [0o700, 0o600, 0o600] == [mode(path) for path in (folder, folder / "ca.key", folder / "manager.key")]
