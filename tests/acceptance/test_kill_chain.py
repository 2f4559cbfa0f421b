"""The kill matrix of messages: the manager dies or stands still at each step of its outbox, and the devnode has troubles of its own.

A cell is a point that struck, in a run at whose end each message was executed once, under the nonce after the one before it. A
slice runs with the other tests; `make test-kill` runs the whole.
"""

import itertools
from collections.abc import Callable

import pytest

from damocles.testing import storm
from damocles.testing.chain_farm import ChainFarm
from damocles.testing.storm import Family

from .chain_scenarios import SCENARIOS

# What the outbox asks of a node: a nonce, gas, a signature, a place in the pool, what became of it.
_STEPS = ("MpoolGetNonce", "GasEstimateMessageGas", "WalletSign", "MpoolPush", "StateSearchMsg")


def _calls(when: str) -> list[str]:
    return [f"node.{when}:{method}" for method in _STEPS]


def _commits(when: str) -> list[str]:
    """Return the commits of what is handed in, of messages, and of what becomes of both."""
    return [f"database.{when}:{writer}" for writer in ("Commitments.*", "record", "Rounds.*", "Outbox.*")]


_FAMILIES = {
    "manager dies before a step": Family(_calls("before"), "manager"),
    "manager dies before it has heard of a step": Family(_calls("after"), "manager"),
    "manager dies before a commit": Family(_commits("before"), "manager"),
    "manager dies after a commit": Family(_commits("after"), "manager"),
    "manager stands still at a step": Family(_calls("*"), "manager", action="stop"),
    "manager's disk breaks": Family(["database.*"], "manager", action="eio"),
    "manager's disk is full": Family(["database.*"], "manager", action="enospc"),
    "manager dies at any call": Family(["node.*"], "manager"),
}
_NOTHING = "all is well with the devnode"
_TROUBLES: dict[str, Callable[[ChainFarm], None]] = {
    _NOTHING: lambda _: None,
    "the devnode dies": lambda f: f.kill_devnode(),
    "the devnode loses its pool": lambda f: f.kill_devnode(pool=False),
    "tipsets are abandoned": lambda f: f.reorganise(drop=False),
    "tipsets are lost with their messages": lambda f: f.reorganise(drop=True),
}
_CELLS = [
    (scenario, family, trouble)
    for scenario, family, trouble in itertools.product(SCENARIOS, _FAMILIES, _TROUBLES)
    if trouble == _NOTHING or family.endswith(("commit", "step"))
    # A devnode that is started again makes blocks with messages.
    if scenario != "a pre-commit that is replaced" or not trouble.startswith("the devnode")
]
_SLICE = {
    ("a proof", "manager dies after a commit", "the devnode dies"),
    ("a pre-commit", "manager stands still at a step", "the devnode loses its pool"),
    ("a pre-commit", "manager dies before a commit", "tipsets are abandoned"),
    ("a pre-commit", "manager's disk breaks", _NOTHING),
    (
        "a pre-commit that is replaced",
        "manager dies before it has heard of a step",
        "tipsets are lost with their messages",
    ),
}


@pytest.mark.slow
@pytest.mark.timeout(3700)  # the first run that needs a SNARK makes it for all of them
@pytest.mark.parametrize(
    "cell",
    [pytest.param(cell, id=" - ".join(cell), marks=[] if cell in _SLICE else [pytest.mark.whole]) for cell in _CELLS],
)
def test_each_message_is_executed_once(request, tmp_path, record_property, cell):
    """Whatever dies, and wherever: no message is lost, none is executed twice, and no nonce is left out."""
    scenario, family, trouble = SCENARIOS[cell[0]], _FAMILIES[cell[1]], _TROUBLES[cell[2]]
    with scenario(tmp_path, request.getfixturevalue) as run:
        f = run.farm
        assert isinstance(f, ChainFarm)
        struck = storm.ride(f, family, tmp_path / "marks", run.done, 600, meanwhile=lambda: trouble(f))
        run.check()
        assert struck, "no point of the family was reached"
    record_property("cells", len(struck))
    record_property("action", family.action)
