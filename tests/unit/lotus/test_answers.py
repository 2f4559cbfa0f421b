"""What a node answers, whole and damaged."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.golden.chain import recordings

from damocles.chain.messages import SignedMessage
from damocles.lotus import answers, miners
from damocles.rpc import errors, messages
from damocles.wire import codec
from damocles.wire.codec import Rows

KINDS: dict[str, Any] = {
    "StateMinerInfo": miners.Info,
    "StateMinerSectors": Rows[miners.Sector],
    "StateMinerPartitions": Rows[miners.Partition],
    "StateMinerDeadlines": list[miners.Deadline],
    "StateSectorPreCommitInfo": miners.PreCommitted | None,
    "StateGetClaims": dict[int, miners.VerifiedClaim],
    "StateSearchMsg": answers.Lookup | None,
    "StateCall": answers.Invocation,
    "ChainHead": answers.TipSet,
    "ChainGetPath": list[answers.HeadChange],
    "MpoolPushMessage": SignedMessage,
}

odd = st.one_of(
    st.none(), st.booleans(), st.integers(), st.just(2**80), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=5),
    st.just([]), st.just({}), st.just([[0]]), st.just({"/": 5}), st.just("t0²"), st.just("-"),
)  # fmt: skip


def _damaged(value: Any, data: st.DataObject) -> Any:
    """Return a tree with one of its parts, however deep, exchanged or left out."""
    if isinstance(value, dict) and value and data.draw(st.integers(0, 5)):
        key = data.draw(st.sampled_from(sorted(value)))
        rest = {name: part for name, part in value.items() if name != key}
        return rest if data.draw(st.integers(0, 9)) == 0 else {**rest, key: _damaged(value[key], data)}
    if isinstance(value, list) and value and data.draw(st.integers(0, 5)):
        at = data.draw(st.integers(0, len(value) - 1))
        return [*value[:at], _damaged(value[at], data), *value[at + 1 :]]
    return data.draw(odd)


@pytest.mark.parametrize("method", KINDS)
@settings(max_examples=60)
@given(data=st.data())
def test_a_damaged_answer_is_read_or_is_an_error_of_one_line(method: str, data: st.DataObject) -> None:
    """Whatever a node or a proxy makes of it."""
    result = data.draw(st.sampled_from([result for _, result in recordings.results(method)][:5]))
    body = codec.encode({"id": 1, "jsonrpc": "2.0", "result": _damaged(result, data)})

    problem = ""
    try:
        messages.decode_answer(body, KINDS[method], url="http://node", method=method, status=200)
    except errors.BadAnswer as error:
        problem = str(error)

    assert "\n" not in problem


def test_a_list_that_was_never_filled_is_empty() -> None:
    """Go writes null for it; which of the two it is says nothing."""
    empty = next(result for note, result in recordings.results("StateMinerInfo") if result["ControlAddresses"] is None)

    assert codec.from_builtins(empty, miners.Info).control_addresses == ()


def test_a_worker_that_is_not_pending_is_none() -> None:
    """Lotus writes `<empty>`, and -1 for the epoch."""
    infos = [codec.from_builtins(result, miners.Info) for _, result in recordings.results("StateMinerInfo")]

    assert {(bool(info.new_worker), info.worker_change_epoch == -1) for info in infos} <= {(False, True), (True, False)}


def test_a_tipset_has_blocks() -> None:
    """Its time and its parents are theirs."""
    with pytest.raises(ValueError, match="without blocks"):
        codec.from_builtins({"Cids": [], "Blocks": [], "Height": 5}, answers.TipSet)
