"""Which token a command shows to a daemon, and which it keeps to itself."""

import socket
from pathlib import Path

import pytest

from damocles.cli import manager as manager_cli
from damocles.cli.connecting import credentials
from damocles.cli.terminal import exits
from damocles.rpc.admission import tokens

HERE = "http://127.0.0.1:1789/rpc/v0"
ELSEWHERE = "http://198.51.100.7:1789/rpc/v0"  # an address that no machine has
VARIABLE = "DAMOCLES_TOKEN_OF_THE_TEST"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A daemon's home with its own token."""
    tokens.ensure_file(tmp_path / "home" / "token")
    return tmp_path / "home"


def found(url: str, home: Path, given: Path | None = None, *, insecure: bool = False) -> str | None:
    """Find the token for a URL."""
    return credentials.token(url, given=given, variable=VARIABLE, home=home, insecure=insecure)


def test_the_token_of_this_machine_is_found(home: Path) -> None:
    """On the daemon's own machine nothing has to be said."""
    for url in (HERE, "https://localhost:1789/rpc/v0", "http://[::1]:1789/rpc/v0"):
        assert tokens.read_file(home / "token") == found(url, home)


def test_it_goes_nowhere_else(home: Path) -> None:
    """Whoever answers at an address of another machine is not sent this machine's token."""
    for url in (ELSEWHERE, "https://198.51.100.7/rpc/v0"):
        assert None is found(url, home)


def test_what_is_given_goes_anywhere(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is named wins over the variable, and that over what is found."""
    given = tmp_path / "given"
    tokens.ensure_file(given)
    monkeypatch.setenv(VARIABLE, "dmc_variable\n")
    for url in (HERE, ELSEWHERE.replace("http:", "https:")):
        assert "dmc_variable" == found(url, home)
        assert tokens.read_file(given) == found(url, home, given)


def test_what_is_given_goes_through_no_network_in_the_clear(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over http a token leaves the machine only where somebody says that the network is not listened in on."""
    given = tmp_path / "given"
    tokens.ensure_file(given)
    with pytest.raises(
        exits.Failed, match=rf"^the token in {given} would cross the network to {ELSEWHERE} .* or pass --insecure$"
    ):
        found(ELSEWHERE, home, given)
    assert tokens.read_file(given) == found(ELSEWHERE, home, given, insecure=True)
    monkeypatch.setenv(VARIABLE, "dmc_variable")
    with pytest.raises(exits.Failed, match=rf"^the token in {VARIABLE} would cross "):
        found(ELSEWHERE, home)


def test_an_address_that_can_be_bound_to_is_not_this_machine(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system lets programs bind to addresses that it does not have, the token still stays here."""
    monkeypatch.setattr(socket.socket, "bind", lambda *_: None)  # as with net.ipv4.ip_nonlocal_bind
    assert None is found(ELSEWHERE, home)


@pytest.mark.parametrize("text", ["a\nb", "dmc_a\ndmc_b", "dmc_\u00e9", "dmc_\udcff", "secret"])
def test_a_variable_with_something_else_is_told(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    """What could not be sent as a token is one line that names its source and does not show it; so with a file."""
    file = tmp_path / "given"
    file.write_bytes(text.encode(errors="surrogateescape"))
    command = ["util", "worker", "list", "--home", str(home)]
    monkeypatch.setenv("DAMOCLES_TOKEN", text)
    assert 1 == manager_cli.main(command)
    assert 1 == manager_cli.main([*command, "--token-file", str(file)])
    assert [
        "error: DAMOCLES_TOKEN holds no token: expected one line that begins with dmc_",
        f"error: {file} holds no token: expected one line that begins with dmc_",
    ] == capsys.readouterr().err.splitlines()


def test_arguments_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes that are no text are wrong usage, wherever they stand."""
    assert 2 == manager_cli.main(["util", "worker", "resume", "--error", "\udcff\udcfe"])
    assert "error: '\\udcff\\udcfe' is not valid UTF-8\n" == capsys.readouterr().err


def test_no_token_is_no_error(tmp_path: Path) -> None:
    """Where there is no token none is shown: the daemon says what it wants, and the original wants none."""
    assert None is found(HERE, tmp_path / "nowhere")


def test_files_that_cannot_be_used_are_told(home: Path, tmp_path: Path) -> None:
    """A file that is missing or holds something else is named, not skipped."""
    with pytest.raises(exits.Failed, match=r"the token file .*/none cannot be read: No such file or directory"):
        found(HERE, home, tmp_path / "none")
    (home / "token").write_text("secret")
    with pytest.raises(exits.Failed, match=r"/home/token holds no token") as raised:
        found(HERE, home)
    assert "secret" not in str(raised.value)
    with pytest.raises(exits.Failed, match=r"the authorities in .* cannot be used"):
        credentials.connect(HERE, token=None, ca_file=tmp_path / "none", timeout_seconds=1)
