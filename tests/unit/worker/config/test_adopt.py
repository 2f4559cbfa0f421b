"""A configuration of the original: what is different, and the file that starts."""

import json
import os
from pathlib import Path

import pytest

from damocles.cli import worker as worker_cli
from damocles.stages import host
from damocles.worker.config import adopt, load, report

ORIGINAL = """\
[worker]
name = "w-01"
rpc_server.host = "0.0.0.0"
rpc_server.port = 17891

[metrics]
enable = true
http_listen = "0.0.0.0:9100"

[sector_manager]
rpc_client.addr = "/ip4/10.0.0.1/tcp/1789/ws"
piece_token = "very secret"

[sealing]
allowed_sizes = ["32G", "2KiB"]
max_retries = 10

[[sealing_thread]]
location = "{folder}/store1"

[[sealing_thread]]
plan = "wdpost"
sealing.recover_interval = "15s"

[[attached]]
name = "st1"
location = "{folder}"

[processors.limitation.concurrent]
pc1 = 4
pc2 = 0

[processors.limitation.staggered]
pc1 = "5min"
pc2 = "500ms"

[processors.ext_locks]
gpu0 = 1

[[processors.pc1]]
concurrent = 0
envs = {{ FIL_PROOFS_USE_MULTICORE_SDR = "1" }}

[[processors.pc2]]
locks = ["gpu0", "gpu1"]

[[processors.synth_proof]]

[remote_store]
location = "/old"
"""

# What the original's example file has (its manual's, in our words), with nothing that it would refuse.
EXAMPLE = """\
[worker]
name = "w-01"
rpc_server.port = 17891

[metrics]
enable = true
http_listen = "0.0.0.0:9100"

[sector_manager]
rpc_client.addr = "/ip4/10.0.0.1/tcp/1789"
piece_token = "x"
piece_origins = ["https://10.0.0.1:41235"]

[sealing]
allowed_sizes = ["32GiB"]
enable_deals = true
max_retries = 10

[[sealing_thread]]
location = "{folder}/s1"

[[sealing_thread]]
location = "{folder}/s2"
plan = "snapup"
sealing.allowed_miners = [1000]

[[sealing_thread]]
plan = "wdpost"
sealing.recover_interval = "15s"

[[attached]]
name = "st1"
location = "{folder}"

[processors.limitation.concurrent]
pc1 = 4
pc2 = 2
c2 = 1

[processors.limitation.staggered]
pc1 = "5min"

[processors.ext_locks]
gpu0 = 1

[[processors.pc1]]
numa_preferred = 0
cgroup.cpuset = "0"
concurrent = 2
envs = {{ FIL_PROOFS_USE_MULTICORE_SDR = "1" }}

[[processors.pc2]]
locks = ["gpu0"]
envs = {{ CUDA_VISIBLE_DEVICES = "0" }}
"""


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """A file of the original with all that it takes and we do not."""
    file = tmp_path / "original.toml"
    file.write_text(ORIGINAL.format(folder=tmp_path))
    return file


def found(text: str) -> dict[str, tuple[str, object]]:
    """Return kind and new value of each difference, by the key."""
    document = report.parse(text, Path("original.toml"))
    return {
        report.key_text(one.path): (one.kind, one.becomes if one.changes and not one.removes else None)
        for one in adopt.differences(document.data)
    }


def test_everything_that_differs_is_listed() -> None:
    """What is refused, what means something else, what is needed and what has no effect, each with its new value."""
    assert {
        "worker.rpc_server.host": ("refused", True),
        "worker.rpc_server.admit": ("needed", ["10.0.0.1"]),
        "metrics.http_listen": ("refused", True),
        "sector_manager.rpc_client.addr": ("refused", "/ip4/10.0.0.1/tcp/1789"),
        "sector_manager.token_file": ("needed", None),
        "sector_manager.piece_origins": ("needed", None),
        "sealing.allowed_sizes": ("refused", ["32GiB", "2KiB"]),
        "sealing.max_retries": ("differs", None),
        "processors.limitation.concurrent.pc2": ("refused", 1),
        "processors.limitation.staggered.pc1": ("differs", None),
        "processors.limitation.staggered.pc2": ("refused", "1s"),
        "processors.pc1[0].concurrent": ("refused", 1),
        "processors.pc2[0].locks": ("refused", ["gpu0"]),
        "processors.synth_proof": ("differs", None),
        "remote_store": ("ignored", None),
    } == found(ORIGINAL.format(folder="/"))


@pytest.mark.parametrize(
    ("manager", "host"),
    [("/ip4/127.0.0.1/tcp/1789", ("differs", None)), ("/dns/manager/tcp/1789", ("refused", True))],
)
def test_the_default_of_the_original_is_kept_where_others_have_to_reach_the_worker(
    manager: str, host: tuple[str, object]
) -> None:
    """It listens everywhere without a word; a worker beside its manager need not."""
    text = f'[sector_manager]\nrpc_client.addr = "{manager}"\n'
    assert host == found(text)["worker.rpc_server.host"]
    document = report.parse(text, Path("original.toml"))
    data = adopt.adopted(document.data, adopt.differences(document.data))
    server = data.get("worker", {}).get("rpc_server", {})
    assert ("0.0.0.0" if host[1] else None, host[1]) == (server.get("host"), data.get("insecure"))


@pytest.mark.parametrize("text", [ORIGINAL, EXAMPLE])
def test_the_written_file_starts(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the original takes, what is written is fit for a worker, and nothing in it differs any more."""
    file, out = tmp_path / "original.toml", tmp_path / "worker.toml"
    file.write_text(text.format(folder=tmp_path))
    assert 0 == worker_cli.main(["config", "check", "--from-damocles", str(file), "--write", str(out)])
    assert f"{out}: written, a worker can use it\n" == capsys.readouterr().out.splitlines(keepends=True)[-1]
    loaded = load.load(out)
    assert loaded.config.worker.rpc_server.insecure
    assert loaded.config.metrics.open
    assert ("0.0.0.0", ("10.0.0.1",)) == (
        loaded.config.worker.rpc_server.host,
        loaded.config.worker.rpc_server.admit,
    )
    document = report.read(out)
    assert [] == [one for one in adopt.differences(document.data) if one.changes]
    assert 0o600 == out.stat().st_mode & 0o777
    assert "piece_token" in out.read_text()


def test_what_is_not_touched_stays(original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only the listed keys change; the head of the file names them."""
    out = tmp_path / "worker.toml"
    assert 0 == worker_cli.main(["config", "check", "--from-damocles", str(original), "--write", str(out)])
    before, after = report.read(original).data, report.read(out).data
    assert before["sealing_thread"] == after["sealing_thread"]
    assert before["attached"] == after["attached"]
    assert {"pc1": 4, "pc2": 1} == after["processors"]["limitation"]["concurrent"]
    assert '#   processors.pc2[0].locks = ["gpu0"]' in out.read_text().splitlines()
    assert "very secret" not in capsys.readouterr().out


def test_it_is_told_as_lines_and_as_json(original: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """File, line, key and value of each, what it becomes, and a hint; without --write nothing is written."""
    assert 0 == worker_cli.main(["config", "check", "--from-damocles", str(original)])
    printed = capsys.readouterr()
    assert (
        f'{original}:11: sector_manager.rpc_client.addr = "/ip4/10.0.0.1/tcp/1789/ws": the original accepts it, this worker'
        ' does not: calls go over HTTP, as in the original -> sector_manager.rpc_client.addr = "/ip4/10.0.0.1/tcp/1789"'
    ) in printed.out.splitlines()
    assert "--write OUT writes the file with these changes" in printed.err.splitlines()
    assert 0 == worker_cli.main(["config", "check", "--from-damocles", str(original), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert (True, None) == (told["ok"], told["written"])
    one = next(one for one in told["differences"] if one["key"] == "processors.limitation.staggered.pc2")
    assert ("refused", '"500ms"', 'processors.limitation.staggered.pc2 = "1s"') == (
        one["kind"],
        one["value"],
        one["change"],
    )
    assert ["original.toml"] == sorted(path.name for path in original.parent.iterdir())


def test_what_keeps_it_from_starting_all_the_same_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Mistakes that the original would stumble over too are errors, with the line in the file that was given."""
    file = tmp_path / "original.toml"
    file.write_text(EXAMPLE.format(folder=tmp_path) + '\n[processors.static_tree_d]\n32GiB = "/no/such/file"\n')
    assert 1 == worker_cli.main(["config", "check", "--from-damocles", str(file)])
    line = len(file.read_text().splitlines())
    assert f'error: {file}:{line}: processors.static_tree_d.32GiB = "/no/such/file": there is no such file' in (
        capsys.readouterr().err
    )


def test_the_way_is_shown_to_whoever_starts_with_it(original: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of the original that is refused, by the check or the daemon, ends with the command that lists everything."""
    hint = f"a file of the original? damocles-worker config check --from-damocles {original} lists all differences"
    for command in (["config", "check", str(original)], ["daemon", "-c", str(original)]):
        assert 1 == worker_cli.main(command)
        assert hint in capsys.readouterr().err.splitlines()
    original.write_text("[worker]\nname = 5\n")
    assert 1 == worker_cli.main(["config", "check", str(original)])
    assert hint not in capsys.readouterr().err


def test_nothing_is_replaced(original: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is there is not overwritten, least of all the original's own."""
    assert 1 == worker_cli.main(["config", "check", "--from-damocles", str(original), "--write", str(original)])
    assert f"error: {original} already exists: choose another name; nothing is overwritten\n" == capsys.readouterr().err
    assert 2 == worker_cli.main(["config", "check", str(original), "--write", str(original) + "2"])
    assert "--write needs --from-damocles" in capsys.readouterr().err


def test_one_word_holds_for_the_whole_file(tmp_path: Path) -> None:
    """`insecure = true` on the first line lets the control API and the metrics listen anywhere, as the original does."""
    file = tmp_path / "worker.toml"
    text = EXAMPLE.format(folder=tmp_path).replace("rpc_server.port", 'rpc_server.host = "0.0.0.0"\nrpc_server.port')
    file.write_text(text)
    with pytest.raises(load.ConfigError) as refused:
        load.load(file)
    assert ["worker.rpc_server.host", "metrics.http_listen"] == [problem.key for problem in refused.value.errors]
    file.write_text("insecure = true\n" + text)
    loaded = load.load(file).config
    assert (True, True) == (loaded.worker.rpc_server.insecure, loaded.metrics.open)


def test_cores_and_memory_that_the_machine_lacks_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that runs elsewhere than the file says is a warning, not a surprise in its log."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(host, "nodes", lambda: frozenset({0}))
    file = tmp_path / "worker.toml"
    text = "insecure = true\n" + EXAMPLE.format(folder=tmp_path)
    file.write_text(text)
    file.chmod(0o600)  # there are secrets in it
    assert () == load.load(file).warnings
    changed = text.replace("numa_preferred = 0", "numa_preferred = 7").replace('cpuset = "0"', 'cpuset = "0-7,16"')
    file.write_text(changed.replace("CUDA_VISIBLE_DEVICES", "X") + 'cgroup.cpuset = "8"\n')
    assert [
        "processors.pc1[0].numa_preferred = 7: this machine has node 0: memory is taken from any",
        'processors.pc1[0].cgroup.cpuset = "0-7,16": this machine gives us cores 0-3, but not 4-7,16: runs on the rest',
        'processors.pc2[0].cgroup.cpuset = "8": this machine gives us cores 0-3, but not 8: runs on every core',
    ] == [str(warning).partition(": ")[2] for warning in load.load(file).warnings]
