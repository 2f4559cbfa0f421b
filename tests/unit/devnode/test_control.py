"""Trouble on request that cannot be is refused, and changes nothing."""

from typing import Any

import pytest

from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.devnode import beginnings
from damocles.devnode.api.control import ControlApi
from damocles.devnode.mischief import Fault
from damocles.devnode.rules import Rules
from damocles.rpc import errors
from damocles.wire import codec
from damocles.wire.codec import CID


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("block_limit", (-1,)),
        ("base_fee", (Amount(-1),)),
        ("lag", (-1,)),
        ("doom", (6, 0, 16)),
        ("doom", (6, 1, -1)),
        ("allocate", (Address.of_id(1000), CID(""), -1, 10)),
        ("allocate", (Address.of_id(1000), CID(""), 2048, -1)),
    ],
)
async def test_what_cannot_be_is_refused(method: str, params: tuple[Any, ...]) -> None:
    """The message says what may be asked for, with the number that was, and the devnode goes on as before."""
    node, _ = beginnings.begin(Rules(), accepts_any_proof=True, secret=bytes(32))
    node.messages_a_block, node.mischief.behind = 3, 2
    with pytest.raises(errors.RpcError, match=r"or more.*not.*-1|1 or more.*not 0"):
        await getattr(ControlApi(node, node.mischief), method)(*params)
    assert (3, 2) == (node.messages_a_block, node.mischief.behind)


@pytest.mark.parametrize(
    "fault", [{"seconds": -1.0}, {"seconds": float("nan")}, {"seconds": float("inf")}, {"times": 0}, {"times": -1}]
)
def test_a_fault_that_cannot_be_is_none(fault: dict[str, Any]) -> None:
    """Neither in this process nor from the wire."""
    with pytest.raises(ValueError, match="or more"):
        Fault(kind="slow", **fault)


def test_a_fault_from_the_wire_says_what_it_may_be() -> None:
    """Whoever asks for seconds below none reads so."""
    with pytest.raises(ValueError, match="seconds of a fault are 0 or more, not -1"):
        codec.decode(b'{"kind": "slow", "seconds": -1}', Fault)
