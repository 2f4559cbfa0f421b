"""Reading the worker's configuration: what it means, and what is said about mistakes."""

import contextlib
import errno
import os
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from damocles.stages import descriptors, host
from damocles.wire import sectors
from damocles.worker.config import load, report, rpc
from damocles.worker.config.processors import GROUP_STAGES

MINIMAL = """
[sector_manager]
rpc_client.addr = "/ip4/127.0.0.1/tcp/1789"

[[sealing_thread]]
location = "store1"

[[attached]]
location = "persist"
"""

# The example of every section that the original's manual describes, in our words.
FULL = """
[worker]
name = "w-01"
rpc_server.port = 17891
local_pieces_dirs = ["/pieces/a", "/pieces/b"]
local_pieces_dir = "/pieces/old"
ping_interval = "1min"

[metrics]
enable = true
http_listen = "0.0.0.0:9100"
open = true

[sector_manager]
rpc_client.addr = "/ip4/10.0.0.1/tcp/1790"
rpc_client.headers = { X = "y" }
piece_token = "very secret"
piece_origins = ["https://market:41235"]

[sealing]
allowed_sizes = ["2KiB", "32 GiB"]
enable_deals = true
max_retries = 10
min_deal_space = "8GiB"

[[sealing_thread]]
location = "store1"

[[sealing_thread]]
location = "store2"
plan = "snapup"
sealing.allowed_miners = [1000]
sealing.enable_deals = false

[[sealing_thread]]
plan = "wdpost"
[sealing_thread.sealing]
recover_interval = "1h 30m"

[[attached]]
name = "st1"
location = "persist"

[[attached]]
location = "old"
readonly = true

[processors.limit]
pc1 = 99

[processors.limitation.concurrent]
pc1 = 4
c2 = 1

[processors.limitation.staggered]
pc1 = "5min"

[processors.ext_locks]
gpu0 = 1

[processors.static_tree_d]
2KiB = "tree-d"

[[processors.pc1]]
numa_preferred = 0
cgroup.cpuset = "0-15,32"
concurrent = 2
envs = { FIL_PROOFS_USE_MULTICORE_SDR = "1" }

[[processors.pc1]]
numa_preferred = 1

[[processors.c2]]
bin = "/bin/cat"
args = ["--remote", "x"]
locks = ["gpu0"]
stable_wait = "30s"
auto_restart = false
inherit_envs = false

[[processors.sealing_daemons]]
bin = "/bin/sleep"
"""


@pytest.fixture(autouse=True)
def large_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the machine have what the files here ask for."""
    monkeypatch.setattr(host, "cores", lambda: frozenset(range(64)))
    monkeypatch.setattr(host, "nodes", lambda: frozenset({0, 1}))


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Return what writes a configuration and gives its path; the folders and files that it names are there."""
    monkeypatch.chdir(tmp_path)
    for folder in ("persist", "old"):
        (tmp_path / folder).mkdir()
    (tmp_path / "tree-d").write_bytes(b"")

    def to(text: str, name: str = "worker.toml") -> Path:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)  # there are secrets in it
        return path

    return to


def complaints(path: Path, *, strict: bool = False) -> list[str]:
    """Load a file that cannot be used; return what is wrong with it."""
    with pytest.raises(load.ConfigError) as caught:
        load.load(path, strict=strict)
    return [str(problem) for problem in caught.value.errors]


def test_reads_every_section_of_the_original(write):
    """A file for the original is understood as the original understands it."""
    loaded = load.load(write(FULL))
    settings = loaded.config
    assert ["processors.limit"] == [problem.key for problem in loaded.warnings]
    assert ("w-01", 60.0) == (settings.worker.name, settings.worker.ping_interval)
    assert (Path("/pieces/a"), Path("/pieces/b")) == settings.worker.pieces_dirs
    assert ("0.0.0.0", 9100) == settings.metrics.endpoint
    assert "http://10.0.0.1:1790/rpc/v0" == settings.sector_manager.rpc_client.url
    assert {"X": "y"} == settings.sector_manager.rpc_client.headers
    assert {"pc1": 4, "c2": 1} == settings.processors.concurrent
    assert {"pc1": 300.0} == settings.processors.limitation.staggered
    assert {sectors.SectorSize.KIB2: Path("tree-d")} == settings.processors.static_tree_d
    pc1, second = settings.processors.groups("pc1")
    assert (0, "0-15,32", "vc-worker", 2) == (
        pc1.numa_preferred,
        pc1.cgroup.cpuset,
        pc1.cgroup.group_name,
        pc1.concurrent,
    )
    assert (None, None, 5.0, True, True) == (
        second.bin,
        second.concurrent,
        second.stable_wait,
        second.auto_restart,
        second.inherit_envs,
    )
    (c2,) = settings.processors.groups("c2")
    assert ("/bin/cat", ("--remote", "x"), ("gpu0",), 30.0) == (c2.bin, c2.args, c2.locks, c2.stable_wait)
    assert () == settings.processors.groups("pc2")


def test_defaults_are_the_originals(write):
    """What is not configured is as in the original, except that nothing listens off loopback unasked."""
    settings = load.load(write(MINIMAL)).config
    sealing = load.effective(settings, 0).sealing
    assert (5, 30.0, 60.0, 180.0, 3) == (
        sealing.max_retries,
        sealing.seal_interval,
        sealing.recover_interval,
        sealing.rpc_polling_interval,
        sealing.request_task_max_retries,
    )
    assert (None, None, None, None) == (
        sealing.allowed_miners,
        sealing.allowed_sizes,
        sealing.max_deals,
        sealing.min_deal_space,
    )
    assert not any((sealing.enable_deals, sealing.disable_cc, sealing.ignore_proof_check, sealing.verify_after_pc2))
    assert "sealer" == load.effective(settings, 0).plan
    assert ("127.0.0.1", 17890) == (settings.worker.rpc_server.host, settings.worker.rpc_server.port)
    assert (30.0, 30.0, 7 * 86400) == (
        settings.worker.ping_interval,
        settings.worker.shutdown_grace,
        settings.worker.trash_retention,
    )
    assert ("127.0.0.1", 9000) == settings.metrics.endpoint


def test_allowed_sizes_become_three_proofs_each(write):
    """A size stands for its V1_1, synthetic and non-interactive proofs, in this order."""
    settings = load.load(write(FULL)).config
    assert (5, 10, 15, 8, 13, 18) == load.effective(settings, 0).sealing.allowed_proofs


def test_the_old_limit_table_counts_alone_only(write):
    """`limit` is the limits as long as there is no `limitation.concurrent`; beside it, it is warned about."""
    loaded = load.load(write(FULL))
    assert {"pc1": 4, "c2": 1} == loaded.config.processors.concurrent
    assert ["has no effect beside processors.limitation.concurrent"] == [problem.message for problem in loaded.warnings]
    alone = MINIMAL + "[processors.limit]\npc1 = 3\n"
    assert {"pc1": 3} == load.load(write(alone)).config.processors.concurrent


def test_each_layer_wins_over_the_one_before(write):
    """Defaults, `[sealing]`, the thread's own and its hot file: the later wins, and what it leaves out stays."""
    settings = load.load(write(FULL)).config
    write('plan = "sealer"\nsealing.max_retries = 1\nsealing.allowed_miners = [7]\n', "store2/config.toml")
    before = load.effective(settings, 1)
    after = load.effective(settings, 1, load.load_hot(Path("store2")))
    assert ("snapup", 10, (1000,), False) == (
        before.plan,
        before.sealing.max_retries,
        before.sealing.allowed_miners,
        before.sealing.enable_deals,
    )
    assert ("sealer", 1, (7,), False, 8 << 30) == (
        after.plan,
        after.sealing.max_retries,
        after.sealing.allowed_miners,
        after.sealing.enable_deals,
        after.sealing.min_deal_space,
    )
    assert 5400.0 == load.effective(settings, 2).sealing.recover_interval


def test_no_hot_file_is_no_hot_config(write):
    """A thread without a hot file has none."""
    write("", "store1/other")
    assert load.load_hot(Path("store1")) is None


def test_a_bad_hot_file_names_its_line(write):
    """A hot file is checked like the main file; `location` in it is pointed out."""
    write('location = "/elsewhere"\nsealing.max_retris = 3\n', "store1/config.toml")
    hot = load.load_hot(Path("store1"))
    assert hot is not None
    assert [
        "store1/config.toml:1: location: unknown key, it has no effect; a thread cannot move while it runs",
        'store1/config.toml:2: sealing.max_retris: unknown key, it has no effect; did you mean "max_retries"?',
    ] == [str(problem) for problem in hot.warnings]
    write("sealing.max_retries = -1\n", "store1/config.toml")
    with pytest.raises(load.ConfigError, match=r":1: sealing\.max_retries = -1: expected at least 0"):
        load.load_hot(Path("store1"))


def test_everything_wrong_is_said_at_once(write):
    """All mistakes of a file come together, each with its line, key, value and what was expected."""
    path = write(
        """\
[worker]
rpc_server.port = 178910
rpc_server.host = "localhost"
ping_interval = 30

[sector_manager]
rpc_client.headers = {}

[sealing]
allowed_sizes = ["32GiB", "3GiB"]
max_retries = "five"
enable_deals = 1

[[sealing_thread]]
location = "s1"

[[sealing_thread]]
plan = "snapupp"
sealing.seal_interval = "soon"

[[sealing_thread]]
location = "./s1"

[[attached]]
name = "st1"
location = "persist"

[[attached]]
name = "st1"
location = "nowhere"

[metrics]
http_listen = "9100"

[processors.limitation.staggered]
pc1 = "500ms"

[processors.ext_locks]
gpu0 = 0

[processors.static_tree_d]
2KiB = "missing-tree-d"

[[processors.pc1]]
cgroup.cpuset = "0--15"
concurrent = 0
locks = ["gpu1"]
envs = { FIL_PROOFS_USE_MULTICORE_SDR = 1 }

[[processors.c2]]
args = ["--remote"]
"""
    )
    assert [
        "worker.toml:2: worker.rpc_server.port = 178910: expected a port from 0 to 65535, without quotes",
        'worker.toml:3: worker.rpc_server.host = "localhost": expected an IP address in quotes, like "127.0.0.1" or '
        '"0.0.0.0"',
        'worker.toml:4: worker.ping_interval = 30: expected a duration in quotes, like "30s", "5min" or "1h 30m"',
        "worker.toml:7: sector_manager.rpc_client.addr: missing; expected the address of the manager, like "
        '"/ip4/127.0.0.1/tcp/1789"',
        'worker.toml:10: sealing.allowed_sizes[1] = "3GiB": expected a sector size: one of "2KiB", "8MiB", "512MiB", '
        '"32GiB", "64GiB"',
        'worker.toml:11: sealing.max_retries = "five": expected a whole number, without quotes',
        "worker.toml:12: sealing.enable_deals = 1: expected true or false, without quotes",
        'worker.toml:17: sealing_thread[1].location: missing; plan snapupp works in a sealing store: location = "<a '
        'folder>"',
        'worker.toml:18: sealing_thread[1].plan = "snapupp": unknown plan, expected one of sealer, niporep, snapup, '
        'rebuild, unseal, wdpost; did you mean "snapup"?',
        'worker.toml:19: sealing_thread[1].sealing.seal_interval = "soon": expected a duration in quotes, like "30s", '
        '"5min" or "1h 30m"',
        'worker.toml:22: sealing_thread[2].location = "./s1": two threads cannot share a store, sealing_thread[0] has '
        "it already",
        'worker.toml:29: attached[1].name = "st1": two persist stores cannot share a name, attached[0] has it already',
        'worker.toml:30: attached[1].location = "nowhere": does not exist; is the disk mounted?',
        'worker.toml:33: metrics.http_listen = "9100": expected an IP address with a port, like "127.0.0.1:9000"',
        'worker.toml:36: processors.limitation.staggered.pc1 = "500ms": expected at least "1s" between two starts',
        "worker.toml:39: processors.ext_locks.gpu0 = 0: expected a whole number from 1 on; 0 would let nothing run, "
        "leave the key out for no limit",
        'worker.toml:42: processors.static_tree_d.2KiB = "missing-tree-d": there is no such file; create it with: '
        "damocles-worker generator tree-d --sector-size 2KiB --path .",
        'worker.toml:45: processors.pc1[0].cgroup.cpuset = "0--15": expected a list of cores, like "0-7,16-23"',
        "worker.toml:46: processors.pc1[0].concurrent = 0: expected a whole number from 1 on; 0 would let nothing run, "
        "leave the key out for no limit",
        'worker.toml:47: processors.pc1[0].locks = "gpu1": expected a lock that has a capacity in '
        'processors.ext_locks; did you mean "gpu0"?',
        "worker.toml:48: processors.pc1[0].envs.FIL_PROOFS_USE_MULTICORE_SDR = 1: expected a string: environment "
        'variables are text, write "1" and not 1',
        "worker.toml:50: processors.c2[0].bin: missing; expected the program that these args are for",
    ] == complaints(path)


def test_missing_sections_are_named(write):
    """An empty file lacks a manager and threads."""
    assert [
        "worker.toml: sector_manager: missing; expected a manager: [sector_manager] with rpc_client.addr = "
        '"/ip4/127.0.0.1/tcp/1789"',
        'worker.toml: sealing_thread: missing; expected the threads: [[sealing_thread]] with location = "<a folder>", '
        "once per thread",
    ] == complaints(write(""))


def test_threads_need_a_persist_store(write):
    """Sealing without a place for the sectors is refused; a worker without threads needs none."""
    without = MINIMAL[: MINIMAL.index("[[attached]]")]
    assert [
        "worker.toml: attached: missing; finished sectors need a persist store: [[attached]] with location = "
        '"<a folder>"'
    ] == complaints(write(without))
    empty = "sealing_thread = []\n" + without[: without.index("[[sealing_thread]]")]
    assert () == load.load(write(empty)).config.sealing_thread


def test_unknown_keys_are_warned_about_with_a_suggestion(write):
    """A key that nobody reads has no effect; the closest real key is suggested, and with `strict` it is an error."""
    path = write(
        MINIMAL
        + """
[remote_store]
location = "x"

[worker]
ping_intervall = "30s"

[processors.limitation.concurrent]
pc_1 = 1

[[sealing_thread]]
location = "store2"
max_retries = 3
Plan = "sealer"
"""
    )
    expected = [
        "worker.toml:11: remote_store: unknown key, it has no effect; persist stores are [[attached]] tables",
        'worker.toml:15: worker.ping_intervall: unknown key, it has no effect; did you mean "ping_interval"?',
        "worker.toml:18: processors.limitation.concurrent.pc_1: has no effect: no stage has this name; did you mean "
        '"pc1"?',
        "worker.toml:22: sealing_thread[1].max_retries: unknown key, it has no effect; did you mean "
        '"sealing.max_retries"?',
        'worker.toml:23: sealing_thread[1].Plan: unknown key, it has no effect; did you mean "plan"?',
    ]
    assert expected == [str(problem) for problem in load.load(path).warnings]
    assert expected == complaints(path, strict=True)


@pytest.mark.parametrize(
    ("line", "key", "meant"),
    [
        ('sealing.sector_size = "2KiB"', "sealing_thread[0].sealing.sector_size", "allowed_sizes"),
        ('sector_sizes = ["2KiB"]', "sealing_thread[0].sector_sizes", "sealing.allowed_sizes"),
        ('path = "store1"', "sealing_thread[0].path", "location"),
        ("retries = 3", "sealing_thread[0].retries", "sealing.max_retries"),
    ],
)
def test_a_key_by_another_name_is_recognized(write, line, key, meant):
    """What other programs call it leads to the key here, though its letters do not."""
    loaded = load.load(write(MINIMAL.replace('location = "store1"', f'location = "store1"\n{line}')))
    (warning,) = [problem for problem in loaded.warnings if problem.key == key]
    assert f'unknown key, it has no effect; did you mean "{meant}"?' == warning.message


def test_a_typo_that_causes_an_error_is_told_with_it(write):
    """Where a misspelt key makes another one missing, the error carries the warning along."""
    with pytest.raises(load.ConfigError) as caught:
        load.load(write(MINIMAL.replace('location = "store1"', 'locaton = "store1"')))
    assert ["sealing_thread[0].location"] == [problem.key for problem in caught.value.errors]
    assert ["sealing_thread[0].locaton"] == [problem.key for problem in caught.value.warnings]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('[worker]\nname = "w1\n', "worker.toml:2: is not TOML: a quote is not closed"),
        ("[worker", "worker.toml:1: is not TOML: the ] of a table's name is missing"),
    ],
)
def test_a_file_that_is_not_toml_names_the_line(write, text, complaint):
    """Syntax errors come with the line that the parser stopped at."""
    assert [complaint] == complaints(write(text))


def test_a_mark_before_the_text_is_no_error(write):
    """Editors on Windows begin a file with a byte order mark."""
    assert "w-01" == load.load(write("\ufeff" + FULL)).config.worker.name


@pytest.mark.parametrize(
    ("key", "text", "bounds"),
    [
        ("worker.ping_interval", "0s", '"100ms" to "1h"'),
        ("worker.ping_interval", "2h", '"100ms" to "1h"'),
        ("worker.shutdown_grace", "99999999999y", '"0s" to "30days"'),
        ("worker.trash_retention", "99999999999y", '"0s" to "100years"'),
        ("sealing.seal_interval", "99999999999y", '"0s" to "30days"'),
        ("sealing.recover_interval", "0s", '"10ms" to "30days"'),
        ("sealing.rpc_polling_interval", "0s", '"10ms" to "30days"'),
        ("sealing.wdpost_sector_timeout", "0s", '"100ms" to "30min"'),
        ("sealing.wdpost_heartbeat_interval", "0s", '"100ms" to "14s"'),
        ("sealing.wdpost_heartbeat_interval", "15s", '"100ms" to "14s"'),
    ],
)
def test_times_have_bounds(write, key, text, bounds):
    """What would be done without end, or in practice never, is refused with what may be written."""
    with pytest.raises(load.ConfigError) as raised:
        load.load(write(f'{key} = "{text}"\n{MINIMAL}'))
    assert f'{key} = "{text}": expected from {bounds}' in str(raised.value)


def test_a_file_that_is_not_there_is_said_so(tmp_path):
    """A wrong path is one line."""
    path = tmp_path / "nope.toml"
    assert [f"{path}: cannot be read: No such file or directory"] == complaints(path)


def test_secrets_never_appear_in_messages(write):
    """A token that is written wrongly is not repeated, and the loaded configuration does not show it."""
    path = write(MINIMAL.replace("[sector_manager]", "[sector_manager]\npiece_token = [4711]"))
    assert all("4711" not in text for text in complaints(path))
    assert "very secret" not in repr(load.load(write(FULL)))


def test_persist_stores_are_attached_and_scanned(write):
    """Attached stores come first; a scanned folder is a store if it describes itself, by Name, else ID, else path."""
    write('{"ID": "id-a", "Name": "", "ReadOnly": true, "Weight": 3}', "scan/a/sectorstore.json")
    write('{"ID": "id-b", "Name": "name-b"}', "scan/b/sectorstore.json")
    write("{}", "scan/c/sectorstore.json")
    write("", "scan/d/something-else")
    path = write(MINIMAL + '[worker]\nScanPersistStores = ["scan/*"]\n')
    here = Path.cwd()
    assert [
        (str(here / "persist"), here / "persist", False),
        ("id-a", here / "scan/a", True),
        ("name-b", here / "scan/b", False),
        (str(here / "scan/c"), here / "scan/c", False),
    ] == [(store.name, store.path, store.read_only) for store in load.load(path).persist_stores]


def test_scanned_stores_cannot_take_a_name_twice(write):
    """Two stores of one name, or a description that is not JSON, keep the worker from starting."""
    write('{"Name": "st1"}', "scan/a/sectorstore.json")
    scanning = '[worker]\nscan_persist_stores = ["scan/*"]\n'
    named = MINIMAL.replace('location = "persist"', 'location = "persist"\nname = "st1"')
    (text,) = complaints(write(named + scanning))
    assert "two persist stores cannot share a name, attached[0] has it already" in text
    write("{", "scan/a/sectorstore.json")
    (text,) = complaints(write(named + scanning))
    assert "scan/a/sectorstore.json cannot be read" in text


def test_every_stage_that_a_worker_runs_may_have_groups():
    """The sections of groups are the stages, but for those that only the manager uses."""
    assert set(descriptors.STAGES) - {"aggregate_seals", "winning_post", "verify_seal", "verify_window_post"} == set(
        GROUP_STAGES
    )


@pytest.mark.parametrize(
    ("host", "reached"),
    [("127.0.0.1", "http://127.0.0.1:5/"), ("0.0.0.0", "http://127.0.0.1:5/"), ("::", "http://[::1]:5/")],
)
def test_the_control_api_is_reached_from_the_same_machine(write, host, reached):
    """A worker that listens on every interface is reached on loopback, with or without reading the whole file."""
    path = write(MINIMAL + f'[worker]\nrpc_server = {{ host = "{host}", port = 5, insecure = true }}\n')
    assert reached == load.rpc_address(load.load(path).config).url()
    assert reached == rpc.address_in(path).url()


def test_the_short_way_to_the_address_complains_alike(write):
    """Reading only the address gives the same words for the same mistakes, and ignores others."""
    path = write(MINIMAL + '[worker]\nping_interval = 3\nrpc_server.host = "here"\nrpc_server.port = -1\n')
    with pytest.raises(load.ConfigError) as short:
        rpc.address_in(path)
    assert [text for text in complaints(path) if "rpc_server" in text] == [str(error) for error in short.value.errors]
    with pytest.raises(load.ConfigError, match="worker = 3: expected a table"):
        rpc.address_in(write("worker = 3"))


def test_duration_and_sizes_take_the_originals_notations(write):
    """Humantime durations, byte sizes with units and plain numbers of bytes are read."""
    text = MINIMAL + '[sealing]\nseal_interval = "1day 2h"\nmin_deal_space = 2048\nmax_deals = 0\n'
    sealing = load.load(write(text)).config.sealing
    assert (26 * 3600.0, 2048, 0) == (sealing.seal_interval, sealing.min_deal_space, sealing.max_deals)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of everything in a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from _places(item, (*path, key))


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.sampled_from(["", "x", "30s"]),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["", "name", "pc1"]), inner, max_size=2)
    ),
    max_leaves=4,
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_value_in_any_place_is_told_or_taken(write, data):
    """Whatever stands in place of a value, the file is either usable or refused with its errors, never with a crash."""
    document = tomllib.loads(FULL)
    path = data.draw(st.sampled_from(list(_places(document))))
    parent = document
    for part in path[:-1]:
        parent = parent[part]
    value = data.draw(_VALUES)
    if value is None:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    parsed = report.Document(Path("worker.toml"), document, {})
    with contextlib.suppress(load.ConfigError):
        load.check(parsed)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[sealing]\ndisable_cc = true\n", 1),
        ("[sealing]\ndisable_cc = true\nenable_deals = true\n", 0),
        ("[sealing]\nenable_deals = false\n", 0),
    ],
)
def test_a_thread_that_can_seal_nothing_is_told(write, text, told):
    """Neither deals nor committed capacity leaves a thread without any sector to seal."""
    loaded = load.load(write(MINIMAL + text))
    assert told == len([w for w in loaded.warnings if "lets this thread seal nothing" in str(w)])


@pytest.mark.parametrize(
    ("program", "complaint"),
    [
        ("/no/such/bin", "there is no such program"),
        ("no-such-program", "there is no such program"),
        ("./text", "may not be executed"),
        ("sh", None),
    ],
)
def test_a_program_that_cannot_be_started_is_refused(write, program, complaint):
    """A processor's `bin` is looked for as it will be started: as a path, or in the PATH that it gets."""
    write("", "text")
    path = write(MINIMAL + f'\n[[processors.pc1]]\nbin = "{program}"\ninherit_envs = false\n')
    try:
        load.load(path)
        found = None
    except load.ConfigError as error:
        (problem,) = error.errors
        assert "processors.pc1[0].bin" == problem.key
        found = problem.message
    assert complaint == found


def test_a_thread_whose_store_cannot_be_there_is_pointed_out(write):
    """It would wait for a person while the others work: a file in the way, or a folder above that is not there."""
    write("", "file")
    entries = "".join(f'\n[[sealing_thread]]\nlocation = "{name}"\n' for name in ("file", "gone/store", "new"))
    found = load.load(write(MINIMAL + entries)).warnings
    gone = Path("gone").resolve()
    assert [
        ("sealing_thread[1].location", "is not a folder"),
        ("sealing_thread[2].location", f"{gone} does not exist; is the disk mounted?"),
    ] == [(problem.key, problem.message) for problem in found]


@pytest.fixture
def breaks(monkeypatch) -> Callable[[str], None]:
    """Let a folder here, and what is in it, be on a disk that gives I/O errors."""

    def go(name: str) -> None:
        broken, stat = str(Path(name).resolve()), os.stat

        def failing(path: Any, **options: Any) -> os.stat_result:
            if str(path) == broken or str(path).startswith(f"{broken}/"):
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
            return stat(path, **options)

        monkeypatch.setattr(os, "stat", failing)

    return go


@pytest.mark.parametrize("location", ["broken", "broken/store"])
def test_a_store_on_a_broken_disk_costs_its_thread_alone(write, breaks, location):
    """The file can be used by the other threads, and is told of; options on such a disk are an error of their thread."""
    path = write(f'{MINIMAL}\n[[sealing_thread]]\nlocation = "{location}"\n')
    breaks("broken")
    (found,) = load.load(path).warnings
    assert "sealing_thread[1].location" == found.key
    assert "cannot be read: Input/output error; is the disk healthy?" == found.message
    with pytest.raises(load.ConfigError, match=r"config\.toml: cannot be read: Input/output error"):
        load.load_hot(Path(location).resolve())


def test_a_persist_store_on_a_broken_disk_is_named(write, breaks):
    """An attached one is told in its line, a scanned one by its file."""
    (Path("persist") / "scanned").mkdir()
    path = write(f'{MINIMAL}\n[worker]\nscan_persist_stores = ["{Path("persist").resolve()}/*"]\n')
    breaks("persist")
    with pytest.raises(load.ConfigError) as caught:
        load.load(path)
    told = "cannot be read: Input/output error"
    assert f'attached[0].location = "persist": {told}; is the disk healthy?' in str(caught.value)
    assert "worker.scan_persist_stores: " in str(caught.value)
    assert 2 == str(caught.value).count("Input/output error")


def test_a_worker_may_know_several_managers(write):
    """Further addresses are read like the first one, each once; the same again is pointed out."""
    addresses = 'addresses = ["https://m2:1789", "/ip4/10.0.0.3/tcp/1789", "https://m2:1789/rpc/v0"]'
    loaded = load.load(write(MINIMAL.replace("[sector_manager]", f"[sector_manager]\n{addresses}")))
    first, *others = loaded.config.sector_manager.urls
    assert loaded.config.sector_manager.rpc_client.url == first
    assert ["https://m2:1789/rpc/v0", "http://10.0.0.3:1789/rpc/v0"] == others
    (problem,) = [problem for problem in loaded.warnings if problem.key.startswith("sector_manager")]
    assert ("sector_manager.addresses[2]", "has no effect: addresses[0] is the same address") == (
        problem.key,
        problem.message,
    )


def test_an_address_that_is_none_is_named(write):
    """With its place in the list, and what an address looks like."""
    with pytest.raises(load.ConfigError) as caught:
        load.load(write(MINIMAL.replace("[sector_manager]", '[sector_manager]\naddresses = ["ftp://m2"]')))
    assert ["sector_manager.addresses[0]"] == [problem.key for problem in caught.value.errors]


def test_a_token_is_sent_unencrypted_to_no_manager(write, tmp_path):
    """Each address is looked at."""
    keys = f'token_file = "{tmp_path}/token"\naddresses = ["https://m2:1789", "http://198.51.100.7:1789"]'
    found = load.load(write(MINIMAL.replace("[sector_manager]", f"[sector_manager]\n{keys}"))).warnings
    assert ["sector_manager.addresses[1]"] == [one.key for one in found if "unencrypted" in one.message]
