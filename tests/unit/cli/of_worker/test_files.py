"""`damocles-worker config`, `store` and `params`: commands on files."""

import json
import os
import pty
import subprocess
import sys
import tomllib

import pytest

from damocles.parameters import catalog
from damocles.sealing import events, sectors
from damocles.stores import journal
from damocles.wire.sectors import SectorSize

CONFIG = """
[sector_manager]
rpc_client.addr = "/ip4/127.0.0.1/tcp/1789"
rpc_client.headers = { Authorization = "Bearer topsecret" }
piece_origins = ["https://market.example"]
piece_token = "topsecret"

[sealing]
allowed_sizes = ["2KiB"]

[[sealing_thread]]
location = "store1"

[[attached]]
location = "persist"

[[processors.c2]]
envs = { AWS_SECRET_ACCESS_KEY = "topsecret", RUST_LOG = "info" }
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Write a good configuration and give its name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "persist").mkdir()
    (tmp_path / "store1").mkdir()
    (tmp_path / "worker.toml").write_text(CONFIG)
    (tmp_path / "worker.toml").chmod(0o600)  # there are secrets in it
    return tmp_path / "worker.toml"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Make an empty parameter cache and give its path."""
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv(catalog.CACHE_VARIABLE, str(folder))
    return folder


def test_check_passes_a_good_file(run, config):
    """A usable file is ok, whichever way it is named."""
    assert (0, "worker.toml: ok\n", "") == run("config", "check", "worker.toml")
    assert (0, "worker.toml: ok\n", "") == run("config", "check", "-c", "worker.toml")


def test_check_shows_errors_and_warnings(run, config):
    """Everything wrong is listed; an oddity alone fails only with `--strict`."""
    config.write_text(CONFIG + "[worker]\nnam = 'x'\n")
    odd = 'worker.toml:20: worker.nam: unknown key, it has no effect; did you mean "name"?'
    assert (0, "worker.toml: ok\n", f"warning: {odd}\n") == run("config", "check", "worker.toml")
    assert (1, "", f"error: {odd}\n") == run("config", "check", "worker.toml", "--strict")
    config.write_text(CONFIG + "[worker]\nnam = 'x'\nping_interval = 3\n")
    code, _, err = run("config", "check", "worker.toml")
    assert (1, ["warning", "error"]) == (code, [line.split(":")[0] for line in err.splitlines()])
    code, out, err = run("config", "check", "worker.toml", "--json")
    told = json.loads(out)
    assert (1, "", False) == (code, err, told["ok"])
    assert ("worker.ping_interval", "3", 21) == tuple(told["errors"][0][key] for key in ("key", "value", "line"))


def test_check_reads_the_threads_own_files(run, config):
    """A file in a sealing store that no thread could begin with is an error, an oddity in it a warning."""
    hot = config.parent / "store1" / "config.toml"
    hot.write_text("sealing.max_retries = 'many'\n")
    code, out, err = run("config", "check", "worker.toml")
    assert (1, "") == (code, out)
    assert 'store1/config.toml:1: sealing.max_retries = "many": expected a whole number' in err
    assert not json.loads(run("config", "check", "worker.toml", "--json")[1])["ok"]
    hot.write_text("sealing.max_retrys = 3\n")
    code, out, err = run("config", "check", "worker.toml")
    assert (0, "worker.toml: ok\n", 1) == (code, out, err.count("warning: "))
    assert "sealing.max_retrys: unknown key" in err
    assert 1 == run("config", "check", "worker.toml", "--strict")[0]


def test_check_wants_a_file(run):
    """Without a file there is nothing to check."""
    assert (2, "", "error: which file? pass it, or set DAMOCLES_WORKER_CONFIG\n") == run("config", "check")


def test_show_prints_what_is_in_force(run, config):
    """Defaults and hot files are included, the output is TOML, and no secret is in it."""
    (config.parent / "store1" / "config.toml").write_text("sealing.max_retries = 9\n")
    code, out, err = run("config", "show", "-c", "worker.toml")
    assert (0, "") == (code, err)
    assert "topsecret" not in out
    shown = tomllib.loads(out)
    assert (9, "1m", ["2KiB"]) == tuple(
        shown["sealing_thread"][0]["sealing"][key] for key in ("max_retries", "recover_interval", "allowed_sizes")
    )
    rpc_server = {"host": "127.0.0.1", "port": 17890, "insecure": False, "admit": [], "known_as": []}
    assert rpc_server == shown["worker"]["rpc_server"]
    assert [
        {"name": str(config.parent / "persist"), "location": str(config.parent / "persist"), "readonly": False}
    ] == (shown["attached"])
    assert {"AWS_SECRET_ACCESS_KEY": "***", "RUST_LOG": "info"} == shown["processors"]["c2"][0]["envs"]


def test_show_as_json_is_the_same(run, config):
    """JSON and TOML hold the same values, and neither a secret."""
    _, as_json, _ = run("config", "show", "worker.toml", "--json")
    _, as_toml, _ = run("config", "show", "worker.toml")
    assert json.loads(as_json) == tomllib.loads(as_toml)
    assert "topsecret" not in as_json


def test_daemon_refuses_a_bad_file(run, config):
    """A daemon whose file is wrong does not start, says why, and fails; an oddity stops it with `--strict` only."""
    config.write_text(CONFIG.replace("store1", ""))
    code, out, err = run("daemon", "-c", config)
    assert (1, "") == (code, out)
    assert f'error: {config}:12: sealing_thread[0].location = "": expected a folder\n' == err
    config.write_text(CONFIG + "[workr]\n")
    code, _, err = run("daemon", "-c", config, "--strict")
    assert (1, f"error: {config}:19: workr: unknown key") == (
        code,
        err[: len(f"error: {config}:19: workr: unknown key")],
    )
    assert 2 == run("daemon")[0]


def test_stores_are_made(run, tmp_path):
    """Each location is made, with its parents; if one cannot be, the others are, and the exit code is 1."""
    first, second, third = (tmp_path / "a" / name for name in "123")
    assert (0, f"{first}: created\n{second}: created\n", "") == run("store", "sealing-init", "-l", first, second)
    code, out, err = run("store", "sealing-init", "--loc", first, "--loc", third)
    assert (1, f"{third}: created\n", f"error: {first} is already a sealing store\n") == (code, out, err)
    assert 0 == run("store", "file-init", "-l", tmp_path / "persist")[0]
    code, out, _ = run("store", "file-init", "-l", tmp_path / "x", first / ".holder", "--json")
    assert (1, [True, False]) == (code, [entry["error"] is None for entry in json.loads(out)])
    refused = f"error: cannot create the sealing store {first / '.holder'}: Not a directory\n"
    assert (1, "", refused) == run("store", "sealing-init", "-l", first / ".holder")


def test_a_tree_d_that_cannot_be_made_is_a_line(run, tmp_path):
    """A folder that cannot be made, or not written to, is named, and the exit code is 1."""
    (tmp_path / "file").touch()
    for place in (tmp_path / "file" / "below", tmp_path / "file"):
        code, out, err = run("generator", "tree-d", "--sector-size", "2KiB", "--path", place)
        assert (1, "", 1) == (code, out, err.count("\n"))
        assert err.startswith(f"error: cannot write to {place}: ")


def test_show_tells_a_stores_history(run, tmp_path):
    """The journal is a table: time, sector, attempt, state, event, duration, error; JSON has every field."""
    store = tmp_path / "store"
    run("store", "sealing-init", "-l", store)
    book = journal.Journal(store / "meta" / journal.FILE_NAME)
    before = sectors.Sector(plan="sealer")
    book.record(before, events.Failed("Permanent", "no disk\nleft"), before, at=1_700_000_000.0, seconds=63.0)
    book.record(before, events.Resume(), before, at=1_700_000_001.0, seconds=0.0421)
    book.close()
    code, out, _ = run("store", "show", store)
    header, line, short = out.splitlines()
    assert 0 == code
    assert ["Time", "Sector", "Attempt", "State", "Event", "Duration", "Error"] == header.split()
    assert line.startswith("2023-11-14T22:13:20Z  -       1        Empty  ")
    assert line.endswith("1m3s      permanent: no disk\\nleft")
    assert short.endswith("42ms      -")
    _, out, _ = run("store", "show", store, "--json")
    assert ("no disk\nleft", 63.0) == (json.loads(out)[0]["error"], json.loads(out)[0]["seconds"])


def test_show_of_another_folder_fails(run, tmp_path):
    """A folder that is no store is said to be none."""
    code, _, err = run("store", "show", tmp_path)
    assert (1, f"error: {tmp_path} is not a sealing store") == (
        code,
        err[: len(f"error: {tmp_path} is not a sealing store")],
    )


def test_params_list_tells_what_is_here(run, cache):
    """Files are listed by size and kind; a missing one of a size that was asked for is exit code 1."""
    wanted = catalog.sets([SectorSize.KIB2], [catalog.Kind.POREP])[0]
    code, out, err = run("params", "list", "--sector-size", "2KiB", "--for", "porep")
    fetch = "damocles-worker params fetch --sector-size 2KiB --for porep"
    assert (1, f"{cache}: 2 missing\nfetch: {fetch}\n") == (code, err)
    assert ["2KiB", "porep", "missing", "-", wanted.files[0].name] == out.splitlines()[1].split()
    for file in wanted.files:
        (cache / file.name).write_bytes(b"x")
    assert 0 == run("params", "list", "--sector-size", "2KiB", "--for", "porep")[0]


def test_what_is_missing_is_fetched_for_the_same_worker(run, cache, tmp_path):
    """The command that fetches names the configuration that was given: the worker's folder and mirrors may be others than here."""
    config = tmp_path / "a worker.toml"
    config.write_text('[worker]\nname = "w"\nrpc_server.port = 1\n')  # where nobody listens
    _, _, err = run("params", "list", "--sector-size", "2KiB", "--for", "porep", "--config", config)
    fetch = f"damocles-worker params fetch --sector-size 2KiB --for porep --config '{config}'"
    assert err.endswith(f"{cache}: 2 missing\nfetch: {fetch}\n")
    assert 0 == run("params", "list")[0]


def test_params_check_finds_what_is_damaged(run, cache):
    """A file with another digest than the published one is named, with what to do."""
    wanted = catalog.sets([SectorSize.KIB2], [catalog.Kind.POREP])[0]
    for file in wanted.files:
        (cache / file.name).write_bytes(b"x")
    code, out, err = run("params", "check", "--sector-size", "2KiB", "--for", "porep")
    assert 1 == code
    assert 2 == out.count(" bad ")
    assert "is not the published one" in err
    assert "params generate --adopt" in err


def test_params_generate_adopts_and_check_agrees(run, cache):
    """Files that this machine has made can be marked; then they pass, and are called what they are."""
    wanted = catalog.sets([SectorSize.KIB2], [catalog.Kind.POREP])[0]
    for file in wanted.files:
        (cache / file.name).write_bytes(b"x")
    code, _, err = run("params", "generate", "--sector-size", "2KiB", "--for", "porep", "--adopt")
    assert 0 == code
    assert "for test networks only" in err
    code, out, err = run("params", "check", "--sector-size", "2KiB", "--for", "porep", "--json")
    assert (0, ["generated", "generated"]) == (code, [file["status"] for file in json.loads(out)["files"]])


def test_params_fetch_without_a_mirror_says_how_to_name_one(run, cache):
    """No host is built in; the message names option, variable and key."""
    code, _, err = run("params", "fetch", "--sector-size", "2KiB")
    assert 2 == code
    assert all(word in err for word in ("--mirror", "DAMOCLES_PARAMETER_MIRRORS", "parameters.mirrors"))


def test_params_fetch_reports_each_file_that_failed(run, cache, config):
    """Mirrors may come from a worker's configuration; what cannot be fetched is named, exit code 1."""
    config.write_text(CONFIG + "[parameters]\nmirrors = ['http://127.0.0.1:9/']\n")
    code, out, _ = run(
        *("params", "fetch", "--sector-size", "2KiB", "--for", "srs", "--tries", 1, "-c", config, "--json")
    )
    told = json.loads(out)
    assert 1 == code
    assert told["failures"][0].startswith("v28-fil-inner-product-v1.srs: cannot be fetched: http://127.0.0.1:9/: fails")
    assert ["missing"] == [file["status"] for file in told["files"]]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("params", "check", "--sector-size", "3KiB"), "--sector-size: '3KiB' is not a sector size"),
        (("params", "check", "--sector-size", "2KiB", "--for", "snap"), "use porep, wdpost, winning, update, srs"),
        (("params", "check"), "error: --sector-size is missing (try --help)"),
        (("params", "check", "--sector-size"), "error: --sector-size needs a value"),
        (("params", "check", "--sector-sise", "2KiB"), "is missing. Did you mean --sector-size instead of"),
        (("params", "chek"), 'error: Unknown command "chek". Did you mean "check"?'),
        (("params", "list", "--bogus"), "(try --help)"),
        (("params", "fetch", "--sector-size", "2KiB", "--mirror", "ftp://x"), "ftp://x is not the address of a mirror"),
        (("generator", "tree-d", "-s", "1", "-p", "x"), "--sector-size: '1' is not a sector size"),
    ],
)
def test_wrong_usage_is_told_in_a_line(run, arguments, words):
    """Sizes, kinds and mirrors that do not exist are wrong usage."""
    code, out, err = run(*arguments)
    assert (2, "", 1) == (code, out, len(err.splitlines()))
    assert words in err


def test_generator_makes_tree_d_of_an_empty_sector(run, tmp_path):
    """The file can stand in `processors.static_tree_d`: it ends with the commitment of zeros."""
    pytest.importorskip("damocles_proofs")
    code, out, err = run("generator", "tree-d", "--sector-size", "2KiB", "--path", tmp_path / "trees")
    made = tmp_path / "trees" / "sc-02-data-tree-d.dat"
    assert (0, f"{made}: created, for sectors of 2KiB\n") == (code, out), err
    assert "fc7e928296e516faade986b28f92d44a4f24b935485223376a799027bc18f833" == made.read_bytes()[-32:].hex()
    assert ["sc-02-data-tree-d.dat"] == [path.name for path in made.parent.iterdir()]


def test_a_table_fits_the_terminal(cache):
    """On a terminal each file is one line that fits, with both ends of its name; with `--full` the name is whole."""

    def printed(*options: str) -> list[str]:
        leader, follower = pty.openpty()
        command = [sys.executable, "-m", "damocles.cli.worker", "params", "list", "--sector-size", "2KiB", *options]
        env = {**os.environ, "COLUMNS": "70", "TERM": "dumb"}
        subprocess.run(command, stdout=follower, stderr=subprocess.DEVNULL, check=False, env=env)
        os.close(follower)
        lines = os.read(leader, 100_000).decode().splitlines()
        os.close(leader)
        return lines

    wanted = catalog.sets([SectorSize.KIB2], [*catalog.DEFAULT_KINDS])
    names = [file.name for each in wanted for file in each.files]
    header, *lines = printed()
    assert 70 >= max(map(len, lines))
    cut = [line[header.index("File") :].split("…") for line in lines]
    assert names == [
        name for name, (start, end) in zip(names, cut, strict=True) if name.startswith(start) and name.endswith(end)
    ]
    assert names == [line.split()[-1] for line in printed("--full")[1:]]


def test_a_reader_that_has_seen_enough_is_no_error():
    """`… | head -1` ends without a traceback."""
    command = f"{sys.executable} -m damocles.cli.worker params list --json | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert ("{\n", "") == (done.stdout, done.stderr)
