"""What is asked of a node and what it answers, as recorded."""

import base64
import inspect
import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, get_type_hints

import pytest
from tests.golden.chain import recordings

from damocles.chain.addresses import Address
from damocles.lotus import errors
from damocles.lotus.answers import TipSet
from damocles.lotus.node import Node
from damocles.lotus.view import View
from damocles.wire import codec

from .replay import Replay, plain

# Methods of ours that make more than one call, or choose a part of the parameters themselves.
_OTHERS = {"is_on_chain", "ask_actor", "max_termination_fee", "call", "maybe", "changes", "search", "sign_message"}
_UNRECORDED = {"submit_block"}  # no block of ours was handed in there
_RANDOMNESS = {("StateGetRandomnessFromTickets", 5): "ticket", ("StateGetRandomnessFromBeacon", 6): "seed",
               ("StateGetRandomnessFromBeacon", 4): "window_challenge", ("StateGetRandomnessFromTickets", 9): "chain_commit"}  # fmt: skip


HEAD = next(codec.from_builtins(result, TipSet) for _, result in recordings.results("ChainHead"))
# Two spellings of the empty set that we do not write.
_OTHER_SPELLINGS = {"a filter with one run: 3 zeros, so empty", "an empty list as filter"}


class Stopped(Exception):
    """The call was seen and is not made."""


class Ear:
    """Stands for a node, and hears which method is called."""

    def __init__(self) -> None:
        self.method = ""

    async def call(self, returns: Any, method: str, *params: Any, **_: Any) -> Any:
        """Note the method."""
        self.method = method
        raise Stopped

    maybe = call


def _own_methods(kind: type) -> list[str]:
    return [
        name
        for name, value in vars(kind).items()
        if inspect.iscoroutinefunction(value) and name[0] != "_" and name not in _OTHERS | _UNRECORDED
    ]


async def _wire_names() -> dict[str, tuple[type, str]]:
    """Which of our methods calls which of Lotus'."""
    found: dict[str, tuple[type, str]] = {}
    for kind in (View, Node):
        for name in _own_methods(kind):
            ear: Any = Ear()
            stand_in: Any = kind.__new__(kind)
            stand_in.key, stand_in.node, stand_in.call, stand_in.maybe = (), ear, ear.call, ear.call
            function = getattr(stand_in, name)
            arguments = [_any(hint) for key, hint in get_type_hints(function).items() if key != "return"]
            with pytest.raises(Stopped):
                await function(*arguments)
            found.setdefault(ear.method, (kind, name))
    return found


def _any(hint: Any) -> Any:
    """Return something that a method takes in its place."""
    return Address.of_id(1) if hint is Address else 1


def _again(row: Any, kind: type, name: str, lotus: Node) -> Callable[[], Awaitable[Any]]:
    """Return our call for a recorded one; the parameters become arguments of the types that our method has.

    Raises:
        ValueError: They cannot: they were sent to see them refused.
    """
    params = list(row["request"].get("params", []))
    target: Any = lotus
    if kind is View:
        key = params.pop()
        target = View(lotus, HEAD)
        target.key = key and tuple(codec.from_builtins(key, codec.Rows[codec.CID]))
    if name in _RANDOMNESS.values():
        entropy = params.pop()
        miner = [] if name == "chain_commit" else [f"f0{_actor(entropy)}"]
        params = [*miner, params[1]]
    if name in {"pending", "estimate_premium", "estimate_fee_cap"}:
        params = params[:-1]
    function = getattr(target, name)
    hints = [hint for key, hint in get_type_hints(function).items() if key != "return"]
    if len(params) != len(hints):
        raise ValueError("another number of parameters")
    return partial(function, *(codec.from_builtins(param, hint) for param, hint in zip(params, hints, strict=True)))


def _actor(entropy: str) -> int:
    """Return the actor of whom an entropy is, which is an address in CBOR."""
    return Address(base64.b64decode(entropy)[1:]).id


async def test_every_recorded_call_that_we_also_make_is_made_alike_and_its_answer_read(
    replay: Replay, lotus: Node
) -> None:
    """The same method and parameters leave, but for id and letters of addresses; what comes back fits our types."""
    names = await _wire_names()
    seen, alike = set(), 0
    for row in recordings.rows("exchanges"):
        request, answer = row["request"], row["answer"]
        method = request["method"].removeprefix("Filecoin.")
        if method not in names or row["note"] in _OTHER_SPELLINGS or "_not_json" in answer:
            continue
        if method == "StateReadState" and "FeeDebt" not in json.dumps(answer):
            continue  # of other actors than miners
        kind, name = names[method]
        name = _RANDOMNESS.get((method, request["params"][0]), name) if "Randomness" in method else name
        replay.requests.clear()
        replay.answers = {}
        replay.faults = [(row["status"], json.dumps(answer).encode())]
        try:
            call = _again(row, kind, name, lotus)
        except ValueError:
            continue
        try:
            await call()
        except errors.NodeError:
            assert "error" in answer, row
        else:
            assert "error" not in answer, row
        (sent, _), *_ = replay.requests
        assert sent["method"] == request["method"]
        assert json.dumps(plain(request.get("params", []))) == json.dumps(plain(sent["params"])), row["note"]
        seen.add(method)
        alike += 1

    assert set(names) == seen
    assert alike > 180


async def test_a_message_is_searched_back_from_a_tipset(replay: Replay, lotus: Node) -> None:
    """Tipset first, replacing messages allowed: executed, pending, or never seen."""
    outcomes = set()
    for row in recordings.rows("exchanges"):
        request, answer = row["request"], row["answer"]
        if request["method"] != "Filecoin.StateSearchMsg" or len(request["params"]) != 4:
            continue
        key, cid, epochs, _ = request["params"]
        view = View(lotus, HEAD)
        view.key = key and tuple(link["/"] and codec.CID(link["/"]) for link in key)
        replay.requests.clear()
        replay.faults = [(row["status"], json.dumps(answer).encode())]
        try:
            found = await view.search(codec.CID(cid["/"]), epochs)
            outcomes.add("executed" if found else "pending")
            assert found is None or found.message == answer["result"]["Message"]["/"]
        except errors.Unseen:
            outcomes.add("unseen")
        assert replay.requests[0][0]["params"] == request["params"]

    assert {"executed", "pending", "unseen"} == outcomes
