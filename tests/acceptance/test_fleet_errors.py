"""Workers that are down, hang, are unknown or are the original's: each costs its own time-out and has its own answer."""

import json
import re
import time
from typing import Any

import pytest

from damocles.cli import manager as manager_cli
from damocles.cli import worker as worker_cli
from damocles.testing.farm import Farm, cli, free_port, wait_until
from damocles.wire import control

from . import fleet_peers

pytestmark = pytest.mark.xdist_group("fleet errors")


@pytest.fixture(scope="module")
def farm(tmp_path_factory):
    """A manager, and a worker `ours` with one thread that waits for work."""
    base = tmp_path_factory.mktemp("farm")
    with Farm(base, threads=1, max_sectors=0, name="ours") as f:
        f.start_manager()
        f.start_worker()
        wait_until(lambda: f.ask_manager("WorkerPingInfoList", [], list), "the first ping")
        yield f


@pytest.fixture
def util(farm, capsys):
    """Return what runs `damocles-manager util worker` and gives exit code, stdout and stderr."""

    def run(*arguments: str, port: int = farm.manager_port) -> tuple[int, str, str]:
        capsys.readouterr()
        code = manager_cli.main(["util", "--listen", f"127.0.0.1:{port}", "worker", *arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def known(farm, util):
    """Return what makes a worker known to the manager until the end of the test."""
    names = []

    def know(name: str, dest: str) -> None:
        fleet_peers.ping(farm.manager_port, name, dest)
        names.append(name)

    yield know
    for name in names:
        assert (0, f"'{name}' removed\n", "") == util("remove", name, "--yes")


@pytest.fixture
def original(known):
    """A fake original worker `worker-1`."""
    with fleet_peers.original_worker() as fake:
        known("worker-1", fake.dest)
        yield fake


@pytest.fixture
def hanging(known):
    """Three workers `hang-0` to `hang-2` that accept connections and never answer."""
    with (
        fleet_peers.hanging_worker() as one,
        fleet_peers.hanging_worker() as two,
        fleet_peers.hanging_worker() as three,
    ):
        for index, dest in enumerate((one, two, three)):
            known(f"hang-{index}", dest)
        yield


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("info", "nobody"), 6, r"no worker is named 'nobody', and it is not an address; known workers: ours"),
        (("pause", "nobody", "0"), 6, r"no worker is named 'nobody', .*"),
        (("logs", "nobody", "0"), 6, r"no worker is named 'nobody', .*"),
        (("drain", "nobody"), 6, r"no worker is named 'nobody', .*"),
        (("info", "1:2:3"), 6, r"no worker is named '1:2:3', .*"),
        (("remove", "ours"), 2, r"ours is live: its next ping would bring it back, .*; stop it first, or pass --yes"),
        (("remove", "nobody"), 6, r"worker info not found. please make sure the instance name is correct: nobody"),
        (("info", "127.0.0.1:1"), 5, r"127.0.0.1:1: http://127.0.0.1:1/ cannot be reached: Connection refused; .*"),
        (("resume", "127.0.0.1:1", "0"), 5, r"127.0.0.1:1: http://127.0.0.1:1/ cannot be reached: .*"),
        (("drain", "127.0.0.1:1"), 5, r"127.0.0.1:1: http://127.0.0.1:1/ cannot be reached: .*"),
        (("resume", "ours", "0"), 1, r"ours #0 - Empty: is not paused"),
        (("pause", "ours", "99"), 3, r"ours: no thread #99; the worker has #0.*"),
        (("pause", "ours", "5,7-99"), 3, r"ours: no thread #5, #7-#99; the worker has #0.*"),
        (("logs", "ours", "99"), 3, r"ours: no thread #99; the worker has #0.*"),
        (("info", "nothing-*"), 6, r"no worker matches 'nothing-\*'; known workers: ours"),
        (("pause", "nothing-*", "--all"), 6, r"no worker matches 'nothing-\*'; known workers: ours"),
        (("pause", "ours", "--sector", "s-t010000-9"), 3, r"no thread matches; nothing was changed"),
    ],
)
def test_each_error_has_a_line_and_a_code(util, arguments, code, text):
    """What goes wrong is one line on stderr, nothing on stdout, and an exit code of its own."""
    began = time.monotonic()
    got, out, err = util(*arguments)
    assert (code, "") == (got, out)
    assert re.fullmatch(f"error: {text}\n", err), err
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("pause", "ours"), "No thread is selected"),
        (("info",), "which worker?"),
        (("pause", "ours", "abc"), "'abc' is not a thread's index"),
        (("pause", "ours", "-1"), "'-1' is not a thread's index"),
        (("resume", "ours", "0", "PC1Done", "--to", "PC2Done"), "two states"),
        (("history", "2"), "s-t0"),
        (("list", "--timeout", "soon"), "'soon' is not a duration"),
        (("list", "--timeout", "0s"), "is not a positive duration"),
        (("remove",), "NAME is missing (try --help)"),
    ],
)
def test_wrong_usage_is_told_before_anybody_is_called(util, arguments, text):
    """The command line is checked first: exit code 2, also without a manager."""
    code, out, err = util(*arguments, port=1)
    assert (2, "") == (code, out)
    assert text in err.splitlines()[0]


@pytest.mark.parametrize("arguments", [("list",), ("info", "ours"), ("resume", "--error", "x"), ("top",)])
def test_no_manager_is_code_4(util, arguments):
    """Without a manager every command says so."""
    code, out, err = util(*arguments, port=free_port())
    assert (4, "") == (code, out)
    assert re.fullmatch(r"error: manager: http://127\.0\.0\.1:\d+/rpc/v0 cannot be reached: .*\n", err)


def test_a_manager_that_hangs_is_code_4(util):
    """The time-out is kept with a manager that accepts and never answers."""
    with fleet_peers.hanging_worker() as dest:
        began = time.monotonic()
        code, _, err = util("list", "--timeout", "300ms", port=int(dest.rpartition(":")[2]))
    assert (4, True) == (code, "did not answer within 0.3 s" in err)
    assert time.monotonic() - began < 10


def test_workers_that_hang_hold_up_nobody(util, hanging, original):
    """Three hanging workers cost one time-out together; the others are listed and acted on."""
    began = time.monotonic()
    code, out, err = util("info", "--all", "--timeout", "5s")
    took = time.monotonic() - began
    assert 1 == code
    assert ["Worker", "ours", *["worker-1"] * 5] == [line.split()[0] for line in out.splitlines()]
    silent = r"^error: hang-\d: http://\S+ did not answer within 3(\.\d)? s"
    assert 3 == len(re.findall(silent, err, re.MULTILINE))
    assert took < 10

    code, out, err = util("resume", "--paused", "--to", "PC1Done", "--timeout", "5s")
    assert (1, "worker-1 #1 s-t010000-2 PC2Done: goes on from PC1Done\n") == (code, out)
    assert 3 == len(re.findall(silent, err, re.MULTILINE))
    assert 5 == util("pause", "hang-0", "0", "--timeout", "2s")[0]
    assert 5 == util("pause", "hang-*", "--all", "--timeout", "2s")[0]
    code, out, _ = util("list")
    assert (0, 6) == (code, len(out.splitlines()))


def _asked_locally(farm) -> list[dict[str, Any]]:
    done = cli("damocles-worker", "audit", "list", "-c", str(farm.config), "--json", "--who", "local")
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def test_the_audits_tell_how_it_was_and_is(util, farm):
    """Pause, resume and drain have before and after in the manager's audit, and the worker's knows who asked it."""
    # The farm is shared: what was asked of the worker before is not this test's.
    earlier = _asked_locally(farm)
    assert 0 == util("pause", "ours", "0")[0]
    assert 0 == util("resume", "ours", "0")[0]
    assert 0 == util("drain", "ours", "--reason", "disks")[0]
    assert 0 == util("undrain", "ours")[0]
    with farm.manager_client() as manager:
        acts, drains = (
            manager.call("Damocles.AuditList", [control.AuditQuery(what=what)], returns=list[control.AuditEntry])
            for what in ("FleetAct", "WorkerDrain")
        )
    idle, paused = "ours #0", "Paused Empty"
    assert [paused, paused] == [acts[-2].after[idle], acts[-1].before[idle]]
    assert paused not in {acts[-2].before[idle], acts[-1].after[idle]}
    looks = [(entry.before["on"], entry.after["on"]) for entry in drains[-2:]]
    assert [(False, True), (True, False)] == looks
    rows = [row for row in _asked_locally(farm) if row not in earlier]
    assert {"local via manager"} == {row["who"] for row in rows}
    assert paused == rows[-3]["before"]["#0"] != rows[-3]["after"]["#0"]


def test_an_original_worker_is_managed_with_what_it_has(util, original):
    """A worker of v0.13 is listed, paused and resumed as by its own manager; what it lacks is said."""
    code, out, err = util("info", "worker-1")
    golden = (fleet_peers.RECORDED.parent / "info.txt").read_text()
    assert (0, golden, "") == (code, out, err)
    assert golden == util("info", original.dest)[1]
    original.asked.clear()

    assert 0 == util("pause", "worker-1", "0")[0]
    assert [("WorkerList",), ("WorkerPause", 0)] == original.asked
    code, out, err = util("resume", "worker-1", "1", "PC1Done")
    assert ("WorkerResume", 1, "PC1Done") == original.asked[-1]
    assert (0, "") == (code, out)
    line = r'.*\tresume call done, ok = true\t\{"name": "worker-1", "dest": "\S+", "index": 1, "state": "PC1Done", .*\n'
    assert re.fullmatch(line, err)

    count = len(original.asked)
    refused = util("pause", "worker-1", "3")
    assert (1, "", "error: worker-1 #3 - -: a pause is already pending\n") == refused
    assert (1, True) == ((done := util("resume", "worker-1", "1", "NoSuchState"))[0], "is not a state of" in done[2])
    assert (1, True) == ((done := util("pause", "worker-1", "0", "--now"))[0], "cannot kill a running stage" in done[2])
    assert (1, True) == ((done := util("drain", "worker-1"))[0], "it has no Drain" in done[2])
    assert (1, True) == ((done := util("logs", "worker-1", "0"))[0], "it has no Logs" in done[2])
    assert [("WorkerPause", 3)] == [asked for asked in original.asked[count:] if asked != ("WorkerList",)]


def test_the_newest_name_of_a_worker_counts(util, known, original):
    """A worker that got another name is asked once, under the new one; the old name still leads to it."""
    known("worker-2", original.dest)
    code, out, _ = util("info", "worker-*", "--in-state", "PC2Done", "--json")
    assert (0, ["worker-2"]) == (code, [thread["worker"] for thread in json.loads(out)["threads"]])
    assert 0 == util("info", "worker-1")[0]


def test_list_as_json_has_what_the_table_has_not(util):
    """Status, exact times and the estimated interval are in the JSON."""
    code, out, _ = util("list", "--json")
    (ours,) = [worker for worker in json.loads(out) if worker["info"]["Name"] == "ours"]
    assert (0, "live", "live") == (code, ours["status"], ours["transitions"][-1]["status"])
    assert 0 <= ours["age_seconds"] < 5
    assert ours["interval_seconds"] > 0


def test_top_and_remove_have_json(util, farm):
    """What the screen draws, and that a worker is forgotten, come as JSON too."""
    fleet_peers.ping(farm.manager_port, "gone", "127.0.0.1:1")
    code, out, _ = util("top", "--json", "--timeout", "10s")
    told = json.loads(out)
    assert 0 == code
    assert {"ours", "gone"} == {worker["info"]["Name"] for worker in told["workers"]}
    assert (["ours"], ["gone"]) == ([t["worker"] for t in told["threads"]], [s["worker"] for s in told["silent"]])
    code, out, _ = util("remove", "gone", "--yes", "--json")
    assert (0, {"name": "gone", "removed": True}) == (code, json.loads(out))


def test_an_original_manager_is_asked_for_what_it_has(util, capsys):
    """The original's manager lists its workers; what it does not have is said by name."""
    with fleet_peers.original_manager() as port:
        code, out, err = util("list", port=port)
        refused = manager_cli.main(["alerts", "list", "--listen", f"127.0.0.1:{port}"])
        alerts = capsys.readouterr().err
        posts = util("wdpost", "list", port=port)
    assert (0, "") == (code, err)
    assert re.fullmatch(r"worker-1  127\.0\.0\.1:17890  3        1      1       1       \S+ \(!\)", out.splitlines()[1])
    assert (1, True) == (refused, alerts.endswith("or another release: it does not have Damocles.Alerts\n"))
    known = "it does not have Venus.WdPoStAllJobs; the original does if it was started with --worker-prover\n"
    assert (1, "", True) == (posts[0], posts[1], posts[2].endswith(known))


@pytest.fixture
def behind_original(farm):
    """What runs the commands on a fake original manager that lists a fake original worker, ours, and one that is gone."""
    with fleet_peers.original_worker() as fake:
        dests = {"rust": fake.dest, "ours": f"127.0.0.1:{farm.worker_port}", "gone": "127.0.0.1:1"}
        with fleet_peers.original_manager([*dests.items()]) as port:
            yield fake, port


def test_threads_behind_an_original_manager_are_seen_and_steered(util, behind_original):
    """Its manager carries nothing to workers: they are called from here, by name, pattern and address."""
    fake, port = behind_original
    golden = (fleet_peers.RECORDED.parent / "info.txt").read_text()
    assert (0, golden, "") == util("info", "rust", port=port)
    assert (0, golden, "") == util("info", fake.dest, port=port)
    fake.asked.clear()
    code, out, err = util("pause", "rust", "0", port=port)
    assert (0, "") == (code, out)
    assert re.fullmatch(r'.*\tpause call done, ok = true\t\{"name": "rust", "dest": "\S+", "index": 0, .*\n', err)
    assert [("WorkerList",), ("WorkerPause", 0)] == fake.asked
    assert 0 == util("resume", "rust", "1", "PC1Done", port=port)[0]
    assert ("WorkerResume", 1, "PC1Done") == fake.asked[-1]
    code, out, _ = util("resume", "--paused", "--worker", "r*", "--dry-run", port=port)
    assert (0, "rust #1 s-t010000-2 PC2Done: goes on from PC2Done\n") == (code, out)


def test_our_worker_behind_an_original_manager_is_ours(util, behind_original, farm, monkeypatch):
    """What our workers alone can, they can there as well; the token is found as for `damocles-worker`."""
    _, port = behind_original
    code, _, err = util("pause", "ours", "0", port=port)
    assert (7, True) == (code, "ours: no token: Damocles.ActOn needs a token with scope operate" in err)
    monkeypatch.setenv("DAMOCLES_WORKER_TOKEN", (farm.base / "worker" / "token").read_text())
    assert 0 == util("pause", "ours", "0", port=port)[0]
    code, out, _ = util("info", "ours", "--paused", "--json", port=port)
    assert (0, [0]) == (code, [thread["info"]["index"] for thread in json.loads(out)["threads"]])
    assert 0 == util("resume", "ours", "0", port=port)[0]
    assert (0, "draining; 0 in progress\n", "") == util("drain", "ours", port=port)
    assert (0, "takes new sectors; 0 in progress\n", "") == util("undrain", "ours", port=port)
    code, out, err = util("logs", "ours", "0", port=port)
    assert (0, "", "no log lines: ") == (code, out, err[:14])
    code, _, err = util("history", "s-t010000-9", port=port)
    assert (3, True) == (code, "rust: is a worker of the original or too old, it has no History" in err)
    code, out, _ = util("top", "--json", port=port)
    assert (0, {"rust", "ours", "gone"}) == (code, {one["info"]["Name"] for one in json.loads(out)["workers"]})


def test_a_worker_that_an_original_manager_lists_and_nobody_answers_for(util, behind_original):
    """Where the address is from, and how old it is, is in the line; others are listed all the same."""
    _, port = behind_original
    code, out, err = util("info", "gone", port=port)
    assert (5, "") == (code, out)
    source = rf"the address is that of its last ping to the manager at http://127\.0\.0\.1:{port}/rpc/v0, \d+s ago"
    assert re.fullmatch(
        rf"error: gone: http://127\.0\.0\.1:1/ cannot be reached: Connection refused; .*; {source}\n", err
    )
    code, out, err = util("info", "--all", port=port)
    assert (1, {"rust"}) == (code, {line.split()[0] for line in out.splitlines()[1:]})
    assert re.fullmatch(r"error: ours: no token: .*\nerror: gone: http://127\.0\.0\.1:1/ cannot be reached: .*\n", err)
    assert 5 == util("pause", "gone", "0", port=port)[0]
    assert 5 == util("drain", "gone", port=port)[0]
    assert 5 == util("info", "127.0.0.1:2", port=port)[0]
    for nobody in (("info", "nobody"), ("pause", "none-*", "--all"), ("logs", "nobody", "0")):
        code, _, err = util(*nobody, port=port)
        assert (6, True) == (code, "known workers: rust, ours, gone" in err), nobody


@pytest.mark.parametrize(
    "arguments",
    [
        ("worker", "logs", "-i", "0"),
        ("worker", "drain"),
        ("worker", "undrain"),
        ("worker", "history", "s-t010000-1"),
        ("auth", "list"),
    ],
)
def test_what_an_original_worker_does_not_have_is_said(capsys, arguments):
    """Commands of ours on a worker of the original end with a line that says whose it is, and what it can."""
    with fleet_peers.original_worker() as fake:
        assert 1 == worker_cli.main([*arguments, "-H", fake.dest])
    line = f"error: the worker at http://{fake.dest}/ is a worker of the original or too old, it has no such command;"
    assert f"{line} it can list, pause and resume its threads\n" == capsys.readouterr().err
