"""Several nodes, and views of the chain."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.golden.chain import recordings

from damocles.chain import methods
from damocles.chain.addresses import Address
from damocles.chain.amounts import Amount
from damocles.lotus import errors, node, nodes
from damocles.lotus.nodes import Nodes
from damocles.lotus.places import Place
from damocles.lotus.view import View

from .replay import Replay, serve
from .test_heads import made

MINER = Address.of_id(1000)


def network(name: str = "localnet", genesis: int = 0) -> dict[str, Any]:
    """Return the rules of a network with an epoch a second."""
    return {
        "NetworkName": name,
        "BlockDelaySecs": 1,
        "ConsensusMinerMinPower": "2048",
        "PreCommitChallengeDelay": 10,
        "ForkUpgradeParams": {},
        "GenesisTimestamp": genesis,
    }


@contextlib.asynccontextmanager
async def pair(first: Replay, second: Replay, *, now: float = 101, wanted: str | None = None) -> AsyncIterator[Nodes]:
    """Yield two nodes with their heads at 100."""
    for replay in (first, second):
        replay.answer("StateGetNetworkParams", network())
        replay.answer("ChainHead", made(100, 99))
    async with (
        serve(first) as one,
        serve(second) as two,
        node.connect(Place(url=one), pauses_seconds=()) as left,
        node.connect(Place(url=two), pauses_seconds=()) as right,
    ):
        yield Nodes([left, right], network=wanted, clock=lambda: now)


@pytest.fixture
def first() -> Replay:
    """Return a node."""
    return Replay()


@pytest.fixture
def second() -> Replay:
    """Return another node."""
    return Replay()


async def test_the_first_node_that_is_well_is_asked(first: Replay, second: Replay) -> None:
    """The others are not even looked at."""
    async with pair(first, second) as lotus:
        url = (await lotus.pick()).url
        assert url == (await lotus.pick()).url
        assert lotus.healths[url].problem is None

    assert first.methods() == ["StateGetNetworkParams", "ChainHead", "ChainHead"]
    assert second.methods() == []


async def test_another_node_is_asked_when_one_goes_away_and_stays(first: Replay, second: Replay) -> None:
    """It is not left when the first one comes back: what one node knows is not mixed with what another does."""
    async with pair(first, second) as lotus:
        one = (await lotus.pick()).url
        first.faults = [(502, b"")]
        other = (await lotus.pick()).url
        assert one != other
        assert "HTTP 502" in (lotus.healths[one].problem or "")
        assert other == (await lotus.pick()).url


@pytest.mark.parametrize(
    ("now", "said"),
    [(111, "its head 100 is 11 epochs old; is it syncing?"), (98, "in the future: its clock or ours is wrong")],
)
async def test_a_node_that_is_out_of_step_is_not_asked(first: Replay, second: Replay, now: float, said: str) -> None:
    """Its head is old, or from the future; the error says of each node what is wrong."""
    async with pair(first, second, now=now) as lotus:
        with pytest.raises(nodes.NoneWell) as caught:
            await lotus.pick()

    assert str(caught.value).count(said) == 2


async def test_a_node_that_lags_is_left_for_one_that_does_not(first: Replay, second: Replay) -> None:
    """A few null rounds are no lag."""
    async with pair(first, second, now=101) as lotus:
        one = (await lotus.pick()).url
        first.answer("ChainHead", made(92, 91))
        assert one == (await lotus.pick()).url
        first.answer("ChainHead", made(90, 89))
        assert one != (await lotus.pick()).url


async def test_a_node_of_another_network_is_never_asked(first: Replay, second: Replay) -> None:
    """By its name, or by its genesis where the name is the same."""
    async with pair(first, second, wanted="localnet") as lotus:
        first.answer("StateGetNetworkParams", network("calibrationnet"))
        url = (await lotus.pick()).url
        assert [health.problem for health in lotus.healths.values() if health.problem] == [
            next(iter(lotus.healths)) + " is on the network calibrationnet, not on localnet"
        ]
        second.faults = [(502, b"")]
        first.answer("StateGetNetworkParams", network(genesis=5))
        with pytest.raises(nodes.NoneWell, match="its genesis differs"):
            await lotus.pick()
        assert url == (await lotus.pick()).url


async def test_a_view_is_of_one_tipset_of_one_node(first: Replay, second: Replay) -> None:
    """Whatever the head does meanwhile; if the node goes away the decision has to be begun again."""
    first.answer("StateNetworkVersion", 28)
    async with pair(first, second) as lotus:
        async with lotus.view() as view:
            first.answer("ChainHead", made(101, 100))
            assert (view.epoch, await view.network_version()) == (100, 28)
            first.faults = [(502, b"")]
            with pytest.raises(errors.Away):
                await view.network_version()
        first.faults = [(502, b"")]
        async with lotus.view() as again:
            assert again.node is not view.node

    asked = [request["params"] for request, _ in first.requests if request["method"].endswith("NetworkVersion")]
    assert asked == [[[{"/": "a100"}]]] * 2
    assert "StateNetworkVersion" not in second.methods()


@pytest.mark.parametrize(("head", "there", "is_on_chain"), [(101, "a", True), (101, "b", False), (99, "a", False)])
async def test_a_view_says_whether_it_was_taken_back(
    first: Replay, second: Replay, head: int, there: str, is_on_chain: bool
) -> None:
    """By what the chain has at its epoch now; a head below it is a chain without it."""
    async with pair(first, second) as lotus, lotus.view() as view:
        first.answer("ChainHead", made(head, head - 1, there))
        first.answer("ChainGetTipSetByHeight", made(100, 99, there))
        assert is_on_chain is await view.is_on_chain()


async def test_an_actor_is_asked_by_a_simulated_message(first: Replay, second: Replay) -> None:
    """The most that a termination costs, as a recorded actor said."""
    call = next(result for note, result in recordings.results("StateCall") if note.startswith("MaxTerminationFee"))
    first.answer("StateCall", call)
    first.answer("StateMinerInfo", next(result for _, result in recordings.results("StateMinerInfo")))
    async with pair(first, second) as lotus, lotus.view() as view:
        fee = await view.max_termination_fee(MINER, 2048, Amount(59604643840))

    assert fee == 64264232859
    sent = first.requests[-1][0]["params"][0]
    assert (call["Msg"]["Method"], call["Msg"]["Params"], "f0100") == (sent["Method"], sent["Params"], sent["From"])


async def test_what_an_actor_refuses_to_tell_is_an_error(first: Replay, second: Replay) -> None:
    """With its exit code, in one line."""
    refused = next(
        result
        for note, result in recordings.results("StateCall")
        if note.startswith("GetNominalSectorExpiration of a sector that")
    )
    first.answer("StateCall", refused)
    first.answer("StateMinerInfo", next(result for _, result in recordings.results("StateMinerInfo")))
    async with pair(first, second) as lotus, lotus.view() as view:
        with pytest.raises(errors.Refused) as caught:
            await view.ask_actor(MINER, methods.NOMINAL_EXPIRATION, 99)

    assert caught.value.exit_code == 17
    assert "\n" not in str(caught.value)


async def test_a_node_that_comes_back_as_another_one_is_not_asked(first: Replay, second: Replay) -> None:
    """Its network is looked at again."""
    async with pair(first, second, wanted="localnet") as lotus:
        one = (await lotus.pick()).url
        first.faults = [(502, b"")]
        await lotus.pick()
        first.answer("StateGetNetworkParams", network("calibrationnet"))
        second.faults = [(502, b"")]
        with pytest.raises(nodes.NoneWell):
            await lotus.pick()
        assert "is on the network calibrationnet" in (lotus.healths[one].problem or "")


async def test_randomness_of_an_epoch_to_come_is_to_be_asked_for_again(first: Replay, second: Replay) -> None:
    """The actor of whom it is goes into it."""
    first.refuse("StateGetRandomnessFromBeacon", "getting beacon randomness: cannot draw randomness from the future")
    async with pair(first, second) as lotus, lotus.view() as view:
        with pytest.raises(errors.NotYet):
            await view.seed(MINER, 200)

    assert first.requests[-1][0]["params"] == [6, 200, "QwDoBw==", [{"/": "a100"}]]


async def test_nodes_are_connected_in_their_order(first: Replay) -> None:
    """One that is not there costs nothing but the look."""
    first.load()
    async with (
        serve(first) as url,
        nodes.connect(
            [Place(url="http://127.0.0.1:1/rpc/v1"), Place(url=url)], behind_epochs=1e12, pauses_seconds=()
        ) as lotus,
    ):
        async with lotus.view() as view:
            assert isinstance(view, View)
            assert view.node.url == url
        assert "cannot be reached" in (lotus.healths["http://127.0.0.1:1/rpc/v1"].problem or "")
