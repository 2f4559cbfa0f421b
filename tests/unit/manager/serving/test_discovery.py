"""What Prometheus finds at the manager: a list of groups in its documented format."""

import json
import re

import msgspec
import pytest

from damocles.manager.serving import discovery
from damocles.wire import control, fleet

LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
TARGET = re.compile(r"(\[[0-9a-f:.]+\]|[\w.-]+):\d{1,5}")


def status(name: str, dest: str, *, port: int | msgspec.UnsetType = 9000, status: str = "live") -> control.WorkerStatus:
    """Return a worker as the registry has it."""
    info = fleet.WorkerInfo(name, dest, "0.13.1", metrics_port=port)
    return control.WorkerStatus(info=info, status=status, last_ping=1.0, age_seconds=1.0, interval_seconds=30.0)


def test_every_worker_with_metrics_is_a_group():
    """With its address, whatever form its own has, and its name; nothing but what Prometheus takes."""
    found = discovery.groups(
        [status("gpu-1", "10.0.0.7:17890"), status("gpu-2", "https://gpu2.example.com:17890"), status("v6", "[::1]:1")]
    )
    assert found == json.loads(json.dumps(found))
    for group in found:
        assert {"targets", "labels"} == group.keys()
        assert all(TARGET.fullmatch(target) for target in group["targets"])
        assert all(LABEL.fullmatch(name) and isinstance(value, str) for name, value in group["labels"].items())
    assert [["10.0.0.7:9000"], ["gpu2.example.com:9000"], ["[::1]:9000"]] == [group["targets"] for group in found]
    assert ["gpu-1", "gpu-2", "v6"] == [group["labels"]["worker"] for group in found]


@pytest.mark.parametrize(
    ("one", "count"),
    [
        (status("silent", "10.0.0.7:1", port=msgspec.UNSET), 0),
        (status("gone", "10.0.0.7:1", status="lost"), 0),
        (status("slow", "10.0.0.7:1", status="late"), 1),
    ],
)
def test_who_cannot_be_scraped_is_left_out(one, count):
    """A worker without metrics, one of the original's, and one that is lost; one that is late may still answer."""
    assert count == len(discovery.groups([one]))


def test_nobody_is_an_empty_list():
    """As Prometheus wants it."""
    assert [] == discovery.groups([])
