"""`ray`: what is refused before anything starts, and what is said where no node runs. Real nodes are in the tests of two machines."""

import json
import signal
import socket
import subprocess

import pytest

from damocles.stages.far import node


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ((), "pass --head, or the --address of one"),
        (("--head", "--address", "10.0.0.1:6379"), "pass --head, or the --address of one"),
        (("--head", "--resource", "GPU"), '--resource GPU: expected a name with an amount, like "GPU=1"'),
        (("--head", "--resource", "GPU=0"), "--resource GPU=0: expected a name with an amount"),
        (("--head", "--resource", "gpu=1"), "--resource gpu=1: Ray's own name for that is GPU"),
        (
            ("--head", "--resource", "memory=64"),
            "--resource memory=64: that is 64 bytes; write the unit, like memory=64GiB",
        ),
        (("--head", "--port", "99999"), "--port"),
        (("--head", "--port", "0"), "--port"),
        (("--head", "--listen", "here"), "--listen: 'here' does not appear to be an IPv4 or IPv6 address"),
        (("--address", "http://gpu1"), "expected the address of a Ray head"),
    ],
)
def test_wrong_usage_is_named(run, given, told):
    """Nothing starts that was not asked for clearly."""
    code, _, err = run("ray", "up", *given)
    assert (2, True) == (code, told in err), err


def test_a_machine_without_the_token_does_not_join(run):
    """Only a head makes a token: another machine's would be another one."""
    code, _, err = run("ray", "up", "--address", "127.0.0.1:6379")
    assert 1 == code
    assert "the cluster's token is missing: copy " in err
    assert "/.ray/auth_token from the machine of the head" in err


def test_a_node_that_no_other_machine_reaches_joins_nothing(run):
    """Ray would take this system for another one, whose clusters have one node: its words help nobody."""
    code, _, err = run("ray", "up", "--address", "127.0.0.1:6379", "--insecure")
    assert 2 == code
    assert "other machines do not reach 127.0.0.1: pass the head's address in their network, or --head" in err


def test_ray_that_is_not_installed_is_named(run, monkeypatch):
    """Whoever has not installed the extra hears how to."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    code, _, err = run("ray", "up", "--head")
    assert (1, True) == (code, "pip install 'damocles[ray]'" in err)


@pytest.mark.parametrize("how", [(), ("--foreground",)])
def test_rays_own_refusal_is_one_line(run, monkeypatch, how):
    """What Ray says last is the reason; no node runs then."""

    def fail(_: node.Start) -> None:
        raise node.Failed("Ray does not start: Address already in use")

    monkeypatch.setattr(node, "up", fail)
    code, out, err = run("ray", "up", "--head", *how)
    assert (1, "") == (code, out)
    assert "error: Ray does not start: Address already in use" in err
    assert 1 == err.count("\n")
    assert 1 == run("ray", "status")[0]


def test_a_node_in_the_foreground_that_ends_is_one_line(run, monkeypatch, tmp_path):
    """A service fails when its node ends, with the name of what has ended and the folder of Ray's logs; nothing of the node is left."""
    ended: list[str] = []
    monkeypatch.setattr(node, "up", lambda _: None)
    monkeypatch.setattr(node, "attend", lambda _: "gcs_server")
    monkeypatch.setattr(node, "down", ended.append)
    code, out, err = run("ray", "up", "--head", "--foreground", "--temp-dir", str(tmp_path / "of-ray"))
    assert (1, 1) == (code, len(ended))
    assert f"error: the node has ended, since its gcs_server did: see {tmp_path}/of-ray/session_latest/logs" in err
    assert "a node at 127.0.0.1" in out


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_node_in_the_foreground_is_ended_by_a_signal(run, monkeypatch, number):
    """Who ends the service ends the node, and that is no failure; the signals are as before then."""
    ended: list[str] = []
    before = signal.getsignal(number)
    monkeypatch.setattr(node, "up", lambda _: None)
    monkeypatch.setattr(node, "attend", lambda _: signal.raise_signal(number))
    monkeypatch.setattr(node, "down", ended.append)
    assert (0, 1) == (run("ray", "up", "--head", "--foreground")[0], len(ended))
    assert before == signal.getsignal(number)


def test_a_node_can_be_ended_whose_start_was_broken_off(run, monkeypatch):
    """What a start leaves behind that does not come to its end, or is not waited for, is this machine's node all the same."""
    left = []

    def break_off(start: node.Start) -> None:
        left.append(subprocess.Popen(["sleep", "600"], env=start.environment))
        raise node.Failed("processes of the node survive")

    monkeypatch.setattr(node, "up", break_off)
    try:
        assert 1 == run("ray", "up", "--head")[0]
        assert (0, "1 processes ended\n") == run("ray", "down")[:2]
        assert left[0].wait(60) < 0
    finally:
        left[0].kill()
        left[0].wait()


def test_without_a_node_there_is_nothing_to_show_or_end(run):
    """Status fails for scripts, down has done what was asked."""
    code, out, _ = run("ray", "status")
    assert (1, "no node runs here; start one: damocles-worker ray up\n") == (code, out)
    assert (1, {"running": False}) == ((status := run("ray", "status", "--json"))[0], json.loads(status[1]))
    assert (0, "no node runs here\n") == run("ray", "down")[:2]
    assert {"ended": 0} == json.loads(run("ray", "down", "--json")[1])


def test_a_place_that_cannot_be_had_is_named_before_ray_begins(run):
    """Ray takes half a minute, three times, and has no words for it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = run("ray", "up", "--head", "--insecure", "--port", str(port))
    assert (1, f"error: port {port} of 127.0.0.1 is in use: end what listens there, or choose another --port\n") == (
        code,
        err,
    )
    code, _, err = run("ray", "up", "--head", "--insecure", "--listen", "192.0.2.7")
    expected = "error: 192.0.2.7 is not an address of this machine (`ip addr` shows those that are)\n"
    assert (1, expected) == (code, err)


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--home", "--home: the node cannot be remembered in"),
        ("--token-file", "the cluster's token cannot be written:"),
    ],
)
def test_a_file_that_cannot_be_written_is_a_line(run, tmp_path, option, told):
    """Nothing has started then."""
    (tmp_path / "file").touch()
    code, _, err = run("ray", "up", "--head", option, str(tmp_path / "file" / "x"))
    assert (1, 1, True) == (code, err.count("\n"), told in err), err
