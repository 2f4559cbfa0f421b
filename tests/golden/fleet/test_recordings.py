"""Pings, registry and the worker's control API: our structs have the recorded JSON."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from damocles.cli.threads import views
from damocles.operating import dialogues
from damocles.wire import codec, fleet

RECORDED = Path(__file__).with_name("recorded.txt")


def recorded() -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """Read the recorded requests and answers by name; numbers and texts stay, the order of members counts."""
    exchanges = {}
    for block in RECORDED.read_text().split("\n## ")[1:]:
        name, request, answer = block.strip().split("\n")
        exchanges[name] = (msgspec.json.decode(request[2:]), msgspec.json.decode(answer[2:]))
    return exchanges


EXCHANGES = recorded()


def round_trip(value: Any, kind: Any) -> bytes:
    """Read JSON as our struct and write it again."""
    return codec.encode(codec.decode(msgspec.json.encode(value), kind))


def test_a_ping_is_written_as_recorded():
    """What a worker sends about itself is the same, byte for byte."""
    (ping,) = EXCHANGES["WorkerPing"][0]["params"]
    assert msgspec.json.encode(ping) == round_trip(ping, fleet.WorkerInfo)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("WorkerGetPingInfo", fleet.PingInfo | None),
        ("WorkerGetPingInfo, unknown", fleet.PingInfo | None),
        ("WorkerPingInfoList", list[fleet.PingInfo]),
    ],
)
def test_the_registry_is_written_as_recorded(name, kind):
    """What the manager tells of workers is the same, byte for byte."""
    answer = EXCHANGES[name][1]["result"]
    assert msgspec.json.encode(answer) == round_trip(answer, kind)


def test_threads_are_written_as_recorded():
    """What a worker tells of its threads is the same; a processor that is null is left out, which readers allow."""
    answer = EXCHANGES["WorkerList"][1]["result"]
    for thread in answer:
        if thread["thread_state"].get("proc", "") is None:
            del thread["thread_state"]["proc"]
    assert msgspec.json.encode(answer) == round_trip(answer, list[fleet.ThreadInfo])


def test_an_original_worker_is_shown_in_the_columns_of_the_manual(capsys):
    """Each recorded thread is a row; what is not there is NULL, as in the original."""
    dialogue = dialogues.threads(0.0)
    next(dialogue)
    dialogue.send([dialogues.Refused("Method not found", dialogues.METHOD_NOT_FOUND)])
    with pytest.raises(StopIteration) as end:
        dialogue.send([codec.from_builtins(EXCHANGES["WorkerList"][1]["result"], list[fleet.ThreadInfo])])
    views.show_threads(end.value.value, named=False, wide=False, full=False, resume=[""])
    assert RECORDED.with_name("info.txt").read_text() == capsys.readouterr().out
