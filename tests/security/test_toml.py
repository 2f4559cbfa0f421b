"""Odd files where TOML is expected: each is one line that says what is wrong, wherever such a file is read."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from damocles.cli import manager, worker
from damocles.manager.alerts import config as alerts_config
from damocles.stages import settings
from damocles.text import toml
from damocles.worker.config import load, report
from damocles.worker.serving import access as worker_access

NESTED = "arrays and tables are nested more than 64 deep"
PARTS = "a key has more than 64 parts"
CHARACTERS = "a key or number has more than 1000 characters"

ODD: dict[str, tuple[bytes, str]] = {
    "nested arrays": (b"a = " + b"[" * 50_000 + b"]" * 50_000, f":1: is not TOML: {NESTED}"),
    "nested tables": (b"\na = " + b"{a=" * 300 + b"1" + b"}" * 300, f":2: is not TOML: {NESTED}"),
    "nested beyond the file": (b"a = " + b"[{b=" * 40_000, f":1: is not TOML: {NESTED}"),
    "many digits": (b"a = " + b"9" * 100_000, f":1: is not TOML: {CHARACTERS}"),
    "many hexadecimal digits": (b"a = 0x" + b"f" * 100_000, f":1: is not TOML: {CHARACTERS}"),
    "a number too large": (b"a = 9223372036854775808", ": is not TOML: a whole number does not fit into 64 bits"),
    "a key of many parts": (b"x = 1\n" + b".".join([b"a"] * 100_000) + b" = 1", f":2: is not TOML: {PARTS}"),
    "a quoted key of many parts": (b" . ".join([b"'a'"] * 30_000) + b" = 1", f":1: is not TOML: {PARTS}"),
    "a table of many parts": (b"[" + b".".join([b"a"] * 100_000) + b"]", f":1: is not TOML: {PARTS}"),
    "a long key": (b"a" * 100_000 + b" = 1", f":1: is not TOML: {CHARACTERS}"),
    "too large": (b"# nothing\n" * 100_000, ": is not TOML: it is larger than 256 KiB"),
    "binary": (bytes(range(256)), ": is not a text file in UTF-8"),
    "zeros": (bytes(1000), ":1: is not TOML: the line begins neither with a key nor with ["),
    "two marks": ("\ufeff\ufeffa = 1".encode(), ":1: is not TOML: the line begins neither with a key nor with ["),
    "UTF-16": ("a = 1".encode("utf-16"), ": is not a text file in UTF-8"),
}
ODD_FILES = pytest.mark.parametrize("kind", [*ODD, "a folder"])


@pytest.fixture
def odd(tmp_path: Path, kind: str) -> tuple[Path, str]:
    """Return an odd file, and what is said of it."""
    file = tmp_path / "store" / load.HOT_FILE_NAME
    file.parent.mkdir()
    if kind == "a folder":
        file.mkdir()
        return file, f"{file}: cannot be read: Is a directory"
    content, said = ODD[kind]
    file.write_bytes(content)
    return file, f"{file}{said}"


@ODD_FILES
@pytest.mark.parametrize(
    "command",
    [
        ("config", "check", "FILE"),
        ("daemon", "-c", "FILE"),
        ("worker", "list", "-c", "FILE"),
        ("audit", "list", "-c", "FILE"),
        ("config", "check", "--from-damocles", "FILE"),
    ],
    ids=" ".join,
)
def test_a_worker_s_configuration(
    odd: tuple[Path, str], command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command that reads it ends with the line, and a code that is not 0."""
    file, said = odd
    assert worker.main([str(file) if word == "FILE" else word for word in command]) != 0
    printed = capsys.readouterr()
    assert [f"error: {said}"] == printed.err.splitlines()


@ODD_FILES
def test_options_of_a_store(odd: tuple[Path, str]) -> None:
    """The thread's own file is a configuration error, which its thread shows, and nothing else."""
    file, said = odd
    with pytest.raises(load.ConfigError) as raised:
        load.load_hot(file.parent)
    assert said == str(raised.value)


@ODD_FILES
def test_rules_of_alerts(odd: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The manager does not start; and one that runs keeps what it has, since it reads with the same error."""
    file, said = odd
    with pytest.raises(alerts_config.ConfigError) as raised:
        alerts_config.read(file)
    assert said == str(raised.value)
    home = str(tmp_path / "home")
    command = ["mock", "--miner=1000", "--sector-size=2KiB", "--home", home, "--alerts", str(file)]
    assert manager.main(command) != 0
    assert [said] == [line.partition(": ")[2] for line in capsys.readouterr().err.splitlines()]


def test_a_file_without_end_is_read_no_further(tmp_path: Path) -> None:
    """What gives bytes for ever is too large after some of them."""
    (tmp_path / load.HOT_FILE_NAME).symlink_to("/dev/zero")
    with pytest.raises(load.ConfigError, match="is not TOML: it is larger than 256 KiB"):
        load.load_hot(tmp_path)


@pytest.mark.parametrize("kind", ODD)
def test_settings_of_the_proofs_library(odd: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The file that the library itself reads is one problem, and settings in it are taken for none."""
    file, said = odd
    file.rename(file.parent / settings.FILE)
    monkeypatch.chdir(file.parent)
    (problem,) = settings.problems({})
    assert said.removeprefix(str(file)).lstrip(":1234567890").strip() in problem.expected
    assert settings.value(settings.ROWS_TO_DISCARD, {}) is None


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffa = 1",
        "a = 1\r\n\r\n",
        "a = 1 # " + "[" * 1000,
        "a = '" + "[{" * 1000 + "'",
        'a = """\n' + "x.y" * 1000 + "[" * 1000 + '\\""" \n"""',
        "a = '''" + "[" * 1000 + "''x'''",
        'a = "' + "\\\\" * 1000 + "[" * 1000 + '"',
        "a = " + "[" * 64 + "]" * 64,
        ".".join(["a"] * 64) + " = 1",
        "a = 0.1\nb.c = 1979-05-27T07:32:00.999\n" * 1,
        "a = " + "[1.5, 2.5, 3.5]\n" + "".join(f"b{n} = 1.5\n" for n in range(1000)),
        "a = [ " + "{ b = 1 }, " * 1000 + "]",
        "a = -9223372036854775808",
    ],
)
def test_what_people_write_is_read(text: str, tmp_path: Path) -> None:
    """The limits are about nesting and keys: brackets and dots in texts and comments count for nothing, however many."""
    file = tmp_path / "x.toml"
    file.write_bytes(text.encode())
    assert "a" in toml.parse(toml.read(file))


def test_a_problem_keeps_its_line_after_lines_of_windows(tmp_path: Path) -> None:
    """Ends of lines are counted alike, whichever editor made them."""
    file = tmp_path / "x.toml"
    file.write_bytes(b"\xef\xbb\xbfa = 1\r\n\r\nb = \r\n")
    with pytest.raises(report.ConfigError, match=r"x\.toml:3: is not TOML"):
        report.read(file)


_values: st.SearchStrategy[Any] = st.recursive(
    st.integers(-(1 << 63), (1 << 63) - 1) | st.booleans() | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=30,
)


@given(_values)
def test_what_we_write_we_read(value: Any) -> None:
    """Any value comes back as it was: no limit is hit by what is in quotes."""
    assert {"a": value} == toml.parse(f"a = {_written(value)}")


@given(st.lists(st.sampled_from([*"ab1.=[]{}\"'#,\n \\\r\x00-", "\u2028", "'''", '"""']), max_size=200).map("".join))
def test_whatever_a_file_holds_it_is_read_or_refused(text: str) -> None:
    """There is no third outcome."""
    said = "is not TOML: "
    try:
        toml.parse(text)
    except toml.Unusable as error:
        said = str(error)
    assert said.startswith("is not TOML: ")


def _written(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case str():
            return '"' + "".join(f"\\U{ord(char):08x}" if not char.isalnum() else char for char in value) + '"'
        case list():
            return "[" + ", ".join(map(_written, value)) + "]"
        case _:
            return "{" + ", ".join(f"{_written(key)} = {_written(item)}" for key, item in value.items()) + "}"


@pytest.mark.parametrize("content", [b"[" * 100_000, b'[{"x":' * 5000, b"\x00\xff", b"{}"])
async def test_a_worker_s_file_of_tokens(tmp_path: Path, content: bytes) -> None:
    """The home's own files of JSON are treated alike: one line that names the file and what to do."""
    file = tmp_path / worker_access.SHELF_NAME
    file.write_bytes(content)
    with pytest.raises(worker_access.Unusable) as raised:
        await worker_access.open_keyring(tmp_path)
    (line,) = str(raised.value).splitlines()
    assert line.startswith(f"{file} is damaged: ")
    assert line.endswith("; delete it, and a new one is created")
