"""What is said about a cluster that cannot be used: Ray's own complaints, in one line of ours."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import anyio
import msgspec
import pytest
import ray
from ray._private import utils

import damocles
from damocles.stages.far import actor, cluster, driver, settings

GROUP = settings.Group(stage="c2", address="10.0.0.1:6379")
HERE = f"Ray {ray.__version__} and Python {platform.python_version()}"


@pytest.mark.parametrize(("theirs", "python"), [("2.59.0", platform.python_version()), (ray.__version__, "3.11.999")])
def test_another_version_is_named_beside_ours(theirs: str, python: str) -> None:
    """Ray and Python have to be the same to the patch level; both sides are named."""
    with pytest.raises(RuntimeError) as refusal:
        utils.check_version_info({"ray_version": theirs, "python_version": python}, "here")
    told = driver._why(GROUP, refusal.value)
    assert told == (
        f"the Ray cluster at 10.0.0.1:6379 runs Ray {theirs} and Python {python}, here are {HERE}: they have to be the same"
    )


def test_what_no_node_has_is_told_with_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what was asked for with as much as a node has at most; a node that is gone counts for nothing."""
    nodes = [
        {"Alive": True, "Resources": {"CPU": 2.0, "GPU": 1.0, "node:10.0.0.1": 1.0}},
        {"Alive": False, "Resources": {"GPU": 8.0}},
    ]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    wanted = msgspec.structs.replace(GROUP, resources={"GPU": 2.0})
    assert driver.lacking(wanted) == "no node of the Ray cluster has GPU = 2; its only node has CPU, GPU = 1 at most"
    nodes[1]["Alive"] = True
    assert driver.lacking(wanted) is None
    none = msgspec.structs.replace(GROUP, resources={"tape": 1.0})
    assert driver.lacking(none) == "no node of the Ray cluster has tape = 1; its 2 nodes have CPU, GPU"


def test_another_damocles_is_named_beside_ours() -> None:
    """A far machine with another release of ours, or another Python, is not given tasks."""
    there = actor.About(host="gpu1", damocles="9.9", python=platform.python_version(), stamp=0)
    told = cluster.mismatch(there)
    assert told.startswith(f"gpu1 has damocles 9.9 and Python {platform.python_version()}, here are damocles ")
    assert damocles.__version__ in told
    assert not cluster.mismatch(actor.About(host="gpu1", stamp=0, **actor.versions()))


def test_a_machine_that_is_no_node_is_told_how_to_become_one() -> None:
    """A driver has to be on a node of its cluster."""
    told = driver._why(GROUP, RuntimeError("Can't find a node\nfor this raylet"))
    assert told.startswith(
        "this machine is no node of the Ray cluster at 10.0.0.1:6379: damocles-worker ray up --address"
    )
    assert "\n" not in told


def test_the_token_of_the_group_comes_before_one_in_the_environment(tmp_path: Path) -> None:
    """Ray itself takes RAY_AUTH_TOKEN before any file: a worker that has one shows the group's all the same."""
    file = tmp_path / "token"
    file.write_text("b" * 64)
    told = settings.environment(msgspec.structs.replace(GROUP, token_file=str(file)))
    code = "from ray import _raylet; print(_raylet.AuthenticationTokenLoader.instance().get_raw_token())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, settings.TOKEN_VARIABLE: "a" * 64, **told},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "b" * 64 == done.stdout.strip()


async def test_ray_that_is_not_installed_is_what_a_task_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A helper without Ray does not end: it says what is missing, and how to get it."""

    def missing() -> None:
        raise ModuleNotFoundError("No module named 'ray'")

    monkeypatch.setattr(cluster, "_imported", missing)
    monkeypatch.setattr(settings, "environment", lambda _: {})  # it would stay in this process, which is no helper's
    said = anyio.Event()
    there = cluster.Cluster(settings.Group(stage="c2", address="127.0.0.1:1", insecure=True), said.set)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(there.run)
        await said.wait()
        tasks.cancel_scope.cancel()
    assert there.why == "Ray is not installed here: pip install 'damocles[ray]' (No module named 'ray')"
